"""CSIM: what a sound embedder gives, and how each kind of nonsense is found before any number."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn import functional

from fer_lib.evaluation.embedders import make_embedder
from fer_lib.evaluation.identity import Embedder, EmbedderSpec, Faces, cosine
from fer_lib.evaluation.identity_scores import (
    copy_fault,
    measure_identity,
)
from fer_lib.faces.align import ARCFACE_112, align_faces
from fer_lib.networks.checkpoints import Lineage
from fer_lib.networks.identity import IDENTITY_NETS
from fer_lib.weights import state_hash

PEOPLE, SIZE = 16, 128


class Patches(nn.Module):
    """Brightness of a face's patches about their middle: enough to tell drawn people apart."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(()))

    def forward(self, crops):
        patches = functional.adaptive_avg_pool2d(crops, 14).mean(1)
        return self.gain * (patches - patches.mean((1, 2), keepdim=True)).flatten(1)


def align(images, five):
    return align_faces(images, five, ARCFACE_112)


def embedder(answer=None, lineage=None, network=None):
    network = network or Patches()
    spec = EmbedderSpec(
        "patches", "five points", state_hash(network.state_dict()), "none", lineage or Lineage()
    )
    return Embedder(spec, network, answer or network, align)


@pytest.fixture(scope="module")
def faces():
    """Two pictures of each of 16 drawn people: own blotches, own skin, other noise and place."""
    generator = torch.Generator().manual_seed(0)
    blotches = torch.rand(PEOPLE, 1, 14, 14, generator=generator).repeat_interleave(2, 0)
    smooth = functional.interpolate(blotches, (112, 112), mode="nearest")
    skin = 0.2 + 0.6 * smooth + torch.tensor([0.15, 0.0, -0.15])[None, :, None, None]
    canvas = torch.full((2 * PEOPLE, 3, SIZE, SIZE), 0.5)
    five = torch.tensor(ARCFACE_112.points).repeat(2 * PEOPLE, 1, 1)
    for row, (picture, shift) in enumerate(zip(skin, (0, 9) * PEOPLE, strict=True)):
        canvas[row, :, shift : shift + 112, shift : shift + 112] = picture
        five[row] += shift
    canvas += 0.3 * torch.randn(canvas.shape, generator=generator)
    images = (canvas.clamp(0, 1) * 255).byte().permute(0, 2, 3, 1).numpy()
    subjects = np.repeat([f"p{person:02}" for person in range(PEOPLE)], 2)
    return Faces(images, five.numpy(), subjects)


@pytest.fixture(scope="module")
def metric(faces):
    return measure_identity(embedder(), faces, draws=50)


def faults(candidate, faces):
    return "; ".join(measure_identity(candidate, faces, draws=2).faults)


def compare(metric, faces, sources, edits, lineage=None):
    embeddings = metric.embedder.embed(faces)
    return metric.compare(
        embeddings[sources], embeddings[edits], faces.subjects[sources],
        subjects=faces.subjects[sources], lineage=lineage or Lineage(),
    )  # fmt: skip


EVEN, ODD = np.arange(0, 2 * PEOPLE, 2), np.arange(1, 2 * PEOPLE, 2)


def test_cosine_by_hand():
    first = np.array([[1.0, 0.0], [2.0, 2.0], [1.0, 1.0], [0.0, 0.0]])
    second = np.array([[0.0, 3.0], [1.0, 1.0], [-2.0, -2.0], [1.0, 0.0]])
    assert cosine(first, second) == pytest.approx([0, 1, -1, np.nan], nan_ok=True)
    with pytest.raises(ValueError, match="paired embeddings"):
        cosine(first, second[:2])


def test_a_sound_embedder_is_valid_and_tells_people_apart(metric):
    assert metric.faults == ()
    statistics = metric.calibration.statistics
    assert len(metric.calibration.genuine) == PEOPLE
    assert len(metric.calibration.impostor) == 2 * PEOPLE * (PEOPLE - 1)
    assert statistics["auc"].value == 1
    assert statistics["eer"].n == PEOPLE
    assert statistics["mu_genuine"].low <= statistics["mu_genuine"].value


def test_a_mirrored_face_swaps_the_halves_of_its_embedding(faces):
    candidate = embedder()
    crops, _ = candidate.crops(faces)
    plain, mirrored = candidate.embed_crops(crops[:3]), candidate.embed_crops(crops[:3].flip(3))
    half = plain.shape[1] // 2
    assert np.allclose(plain, np.roll(mirrored, half, axis=1), atol=1e-6)
    assert np.linalg.norm(plain, axis=1) == pytest.approx(1, abs=1e-5)


def test_embeddings_do_not_depend_on_the_batch_and_unusable_faces_keep_their_row(faces):
    candidate = embedder()
    five = faces.five.copy()
    five[1] = np.nan
    broken = Faces(faces.images, five, faces.subjects)
    together, alone = candidate.embed(broken), candidate.embed(broken, batch_size=5)
    assert np.isnan(together[1]).all()
    assert not np.isnan(np.delete(together, 1, axis=0)).any()
    assert np.allclose(together, alone, atol=1e-6, equal_nan=True)
    measured = measure_identity(candidate, broken, draws=2)
    assert measured.unusable == 1
    assert measured.faults == ()


def test_scores_are_normalised_between_strangers_and_other_pictures(metric, faces):
    scores = compare(metric, faces, EVEN, ODD)
    assert scores["csim_normalised"].mean() == pytest.approx(1)
    assert scores["same_person"].all()
    assert not scores["unchanged"].any()
    strangers = compare(metric, faces, EVEN, np.roll(ODD, 2))
    assert abs(strangers["csim_normalised"].mean()) < 0.3
    assert not strangers["same_person"].any()


def test_a_face_that_failed_counts_as_another_person(metric, faces):
    embeddings = metric.embedder.embed(faces)[ODD]
    embeddings[0] = np.nan
    scores = metric.compare(
        metric.embedder.embed(faces)[EVEN], embeddings, faces.subjects[EVEN],
        subjects=(), lineage=Lineage(),
    )  # fmt: skip
    assert scores["csim"].notna().sum() == PEOPLE - 1
    assert scores["same_person"].mean() == pytest.approx(1 - 1 / PEOPLE)


def test_copies_of_the_source_are_named(metric, faces):
    copied, edited = compare(metric, faces, EVEN, EVEN), compare(metric, faces, EVEN, ODD)
    assert "16 of 16 edits" in copy_fault(copied)
    assert copy_fault(edited) is None
    assert copy_fault(pd.concat([copied[:5], edited])) is None


def test_means_of_embeddings_are_refused(metric, faces):
    embeddings = metric.embedder.embed(faces)
    means = [embeddings[rows].mean(axis=0, keepdims=True) for rows in (EVEN, ODD)]
    with pytest.raises(ValueError, match="average the cosines and not the embeddings"):
        metric.compare(*means, ["everyone"], subjects=(), lineage=Lineage())


def test_an_embedder_that_guided_an_editor_is_refused_as_its_judge(metric, faces):
    guided = Lineage(networks=frozenset([metric.embedder.spec.weights_sha256]))
    with pytest.raises(ValueError, match="in the lineage of what it is to judge"):
        compare(metric, faces, EVEN, ODD, guided)


def test_an_embedder_that_learned_from_the_people_is_refused(faces):
    known = embedder(lineage=Lineage(subjects=frozenset(["p03"])))
    others = np.flatnonzero(faces.subjects != "p03")
    unknown = Faces(faces.images[others], faces.five[others], faces.subjects[others])
    metric = measure_identity(known, unknown, draws=2)
    assert metric.faults == ()
    with pytest.raises(ValueError, match=r"learned from 1 of the subjects.*'p03'"):
        compare(metric, faces, EVEN, ODD)


def test_an_embedder_is_not_calibrated_on_people_it_learned_from(faces):
    known = embedder(lineage=Lineage(subjects=frozenset(["p03"])))
    assert f"learned from is {1 / PEOPLE:.3f}, expected 0" in faults(known, faces)


def test_swapped_channels_are_found(faces):
    swapped = Faces(faces.images[..., ::-1], faces.five, faces.subjects)
    assert "else BGR) is 0.000" in faults(embedder(), swapped)


def test_points_of_other_pictures_are_found(faces):
    generator = np.random.default_rng(0)
    moved = faces.five + generator.normal(0, 15, (len(faces.five), 1, 2)).astype(np.float32)
    assert "AUC of one person" in faults(embedder(), Faces(faces.images, moved, faces.subjects))


def test_a_common_mean_is_found(faces):
    network = Patches()
    found = faults(embedder(lambda crops: network(crops) + 1, network=network), faces)
    for test in ("strangers", "length of the mean embedding", "noise and faces"):
        assert test in found


def test_many_pictures_of_one_person_are_no_common_mean(metric, faces):
    rows = np.concatenate([np.tile([0, 1], 40), np.arange(2, 2 * PEOPLE)])
    generator = np.random.default_rng(0)
    noise = generator.integers(-9, 10, faces.images[rows].shape)
    images = np.clip(faces.images[rows] + noise, 0, 255).astype(np.uint8)
    crowd = Faces(images, faces.five[rows], faces.subjects[rows])
    embeddings = metric.embedder.embed(crowd)
    assert np.linalg.norm(embeddings.mean(axis=0)) > 0.5
    assert "length of the mean embedding" not in faults(embedder(), crowd)


def test_answers_that_hang_on_the_batch_are_found(faces):
    network = Patches()
    answer = lambda crops: network(crops) - network(crops).mean(0)  # noqa: E731
    assert "face with itself" in faults(embedder(answer, network=network), faces)


def test_features_that_hold_no_person_are_found(faces):
    network = Patches()
    generator = torch.Generator().manual_seed(0)
    answer = lambda crops: torch.randn(len(crops), 64, generator=generator)  # noqa: E731
    assert "AUC of one person" in faults(embedder(answer, network=network), faces)


def test_answers_that_are_not_finite_are_found(faces):
    network = Patches()
    assert "finite" in faults(embedder(lambda c: network(c) / 0 * 0, network=network), faces)


def test_changed_weights_are_found(faces):
    candidate = embedder()
    nn.init.constant_(candidate.network.gain, 2.0)
    assert "agreement of the weights" in faults(candidate, faces)


def test_too_few_people_are_not_enough(faces):
    few = Faces(faces.images[:12], faces.five[:12], faces.subjects[:12])
    assert "number of pairs of strangers to calibrate with is 60" in faults(embedder(), few)
    alone = Faces(faces.images[::2], faces.five[::2], faces.subjects[::2])
    metric = measure_identity(embedder(), alone, draws=2)
    assert metric.calibration is None
    with pytest.raises(ValueError, match="identity metric 'patches' is not valid: number of pairs"):
        compare(metric, faces, EVEN, ODD)


def test_an_unknown_person_is_refused(faces):
    unknown = faces.subjects.astype(object)
    unknown[3] = None
    with pytest.raises(ValueError, match="expected the person of every face"):
        measure_identity(embedder(), Faces(faces.images, faces.five, unknown))


@pytest.mark.parametrize(
    ("images", "five", "subjects", "message"),
    [
        (np.zeros((2, 8, 8, 3), np.float32), np.zeros((2, 5, 2)), ["a", "b"], "uint8 RGB"),
        (np.zeros((2, 8, 8), np.uint8), np.zeros((2, 5, 2)), ["a", "b"], "uint8 RGB"),
        (np.zeros((2, 8, 8, 4), np.uint8), np.zeros((2, 5, 2)), ["a", "b"], "uint8 RGB"),
        (np.zeros((2, 8, 8, 3), np.uint8), np.zeros((2, 68, 2)), ["a", "b"], "five points"),
        (np.zeros((2, 8, 8, 3), np.uint8), np.zeros((2, 5, 2)), ["a"], "five points"),
    ],
    ids=["float", "grey", "rgba", "68 points", "one person"],
)
def test_faces_of_another_form_are_refused(images, five, subjects, message):
    with pytest.raises(ValueError, match=message):
        Faces(images, five, np.array(subjects))


def test_a_random_facenet_is_not_valid(faces):
    torch.manual_seed(0)
    name = "facenet_vggface2"
    four = Faces(faces.images[:4], faces.five[:4], faces.subjects[:4])
    metric = measure_identity(make_embedder(name, IDENTITY_NETS[name].build()), four, draws=2)
    assert metric.calibration.statistics["mu_impostor"].value > 0.99
    found = "; ".join(metric.faults)
    for test in ("cosine of strangers", "length of the mean embedding", "noise and faces"):
        assert test in found
    with pytest.raises(ValueError, match="is not valid"):
        metric.compare(np.ones((1, 4)), np.ones((1, 4)), ["a"], subjects=(), lineage=Lineage())
