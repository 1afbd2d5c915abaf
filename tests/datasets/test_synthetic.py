import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from fer_lib.datasets.backgrounds import sample_background
from fer_lib.datasets.occluders import OCCLUDERS, Scene, compose, draw_occluder
from fer_lib.datasets.outlines import coverage, distance_to_line, distance_to_outline
from fer_lib.datasets.seen_faces import as_seen
from fer_lib.datasets.subjects import ViewConfig
from fer_lib.datasets.synthetic import (
    SyntheticConfig,
    draw_subject,
    generate,
    subject_name,
)
from fer_lib.faces.action_units import action_units
from fer_lib.faces.align import five_points
from fer_lib.faces.embedded import Groom, embedded_head
from fer_lib.faces.ict import ict_head
from fer_lib.faces.locate import Location
from fer_lib.faces.params import FaceParams
from fer_lib.faces.render import render
from fer_lib.labels import AU_COLUMNS, EMOTIONS
from fer_lib.tables import SAMPLE_COLUMNS, sample_table

CONFIG = SyntheticConfig(subjects=3, groups=2, size=48, view=ViewConfig(occluded_share=0.5))

CLEAR = ViewConfig(occluded_share=0.0)


@pytest.fixture(scope="module")
def subject():
    return draw_subject(CONFIG, 1)


def bytes_of(drawn):
    arrays = [drawn.faces, drawn.landmarks, *drawn.params.values()]
    return [array.tobytes() for array in arrays] + [drawn.samples.to_json()]


def test_same_seed_gives_the_same_bytes_for_one_and_two_workers_and_in_this_process():
    config = dataclasses.replace(CONFIG, emotions=("neutral", "happiness"), groups=1)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        here = [bytes_of(draw_subject(config, number)) for number in range(3)]
    finally:
        torch.set_num_threads(threads)
    assert [bytes_of(drawn) for drawn in generate(config, workers=1)] == here
    assert [bytes_of(drawn) for drawn in generate(config, workers=2)] == here


def test_another_seed_gives_other_people():
    small = dataclasses.replace(CONFIG, emotions=("neutral",), groups=1)
    first, second = (draw_subject(dataclasses.replace(small, seed=s), 0) for s in (0, 1))
    assert not np.array_equal(first.params["shape"], second.params["shape"])
    assert not np.array_equal(first.faces, second.faces)


def test_a_subject_does_not_depend_on_how_many_others_or_groups_there_are(subject):
    fewer = draw_subject(dataclasses.replace(CONFIG, subjects=2, groups=1), 1)
    assert np.array_equal(fewer.faces, subject.faces[:8])


def test_drawing_leaves_the_global_generator_alone():
    state = torch.get_rng_state()
    next(iter(generate(dataclasses.replace(CONFIG, subjects=1, emotions=("fear",)), workers=1)))
    assert torch.equal(state, torch.get_rng_state())


def test_no_worker_is_refused():
    with pytest.raises(ValueError, match="one worker"):
        next(generate(CONFIG, workers=0))


def test_samples_are_a_sample_table_with_every_label(subject):
    samples = subject.samples
    assert list(samples.columns) == list(SAMPLE_COLUMNS)
    pd.testing.assert_frame_equal(samples, sample_table(samples))
    assert samples["sample_id"][1] == "synthetic-s0001-g0-happiness"
    assert samples["emotion"].tolist() == [*EMOTIONS, *EMOTIONS]
    assert samples["pair"].nunique() == 2
    assert set(samples["subject"]) == {subject_name(1)} == {"synthetic-s0001"}
    labels = samples[["valence", "arousal", *AU_COLUMNS]]
    assert labels.notna().all().all()
    assert labels[["valence", "arousal"]].abs().max().max() <= 1
    smiles, sadness = (samples[samples["emotion"] == e] for e in ("happiness", "sadness"))
    assert smiles["valence"].min() > 0 > sadness["valence"].max()


def test_unit_labels_are_those_of_the_true_expression(subject):
    names = embedded_head(Groom()).expression_names
    expected = action_units(torch.from_numpy(subject.params["expression"]), names)
    got = subject.samples[list(AU_COLUMNS)].to_numpy(np.float32)
    np.testing.assert_allclose(got, expected.numpy(), atol=1e-6)


def test_within_a_group_only_the_expression_changes(subject):
    for group in (slice(0, 8), slice(8, 16)):
        for name, values in subject.params.items():
            rows = values[group]
            if name in ("expression", "intensity"):
                assert len(np.unique(rows, axis=0)) == 8, name
            else:
                assert (rows == rows[0]).all(), name
    assert not np.array_equal(subject.params["pose"][0], subject.params["pose"][8])


def test_within_a_group_the_background_and_its_noise_are_identical(subject):
    row = CONFIG.size // 3
    edge = subject.faces[:8, :row, :2]
    assert (edge == edge[0]).all()
    assert edge[0].std() > 0
    assert not np.array_equal(subject.faces[0], subject.faces[1])


def test_true_parameters_draw_the_face_again():
    config = dataclasses.replace(CONFIG, pixel_noise=0.0, groups=1, view=CLEAR)
    drawn = draw_subject(config, 2)
    fields = {f.name: drawn.params[f"groom_{f.name}"][0].item() for f in dataclasses.fields(Groom)}
    again = render(embedded_head(Groom(**fields)), FaceParams.from_numpy(drawn.params), config.size)
    np.testing.assert_allclose(again.landmarks_px.numpy(), drawn.landmarks, atol=1e-3)
    whole = (again.mask == 1).expand(-1, 3, -1, -1)
    stored = torch.from_numpy(drawn.faces).permute(0, 3, 1, 2) / 255
    assert (again.image - stored)[whole].abs().quantile(0.999) < 3 / 255


@pytest.mark.parametrize("model", ["embedded", "ict"])
def test_fine_pictures_are_those_that_the_faces_are_averaged_from(model, shared):
    config = dataclasses.replace(CONFIG, model=model, groups=1, emotions=("neutral", "fear"))
    plain, drawn = draw_subject(config, 0), draw_subject(config, 0, fine=True)
    assert plain.fine is None and drawn.fine.shape == (2, 96, 96, 3)
    assert np.abs(plain.faces.astype(int) - drawn.faces).mean() < 1e-3
    np.testing.assert_allclose(drawn.landmarks, plain.landmarks, atol=1e-4)
    # Clipped noise and the gamma curve leave little between the two means.
    averaged = drawn.fine.reshape(2, 48, 2, 48, 2, 3).mean(axis=(2, 4))
    assert np.abs(averaged - drawn.faces).mean() < 1.5


class AllKnowing:
    """A locator that answers with the truth of the pictures that it is given."""

    has_mesh = False

    def __init__(self, five):
        self._five = five

    def locate(self, images):
        assert {image.shape for image in images} == {(96, 96, 3)}
        return [Location(five, "mesh", None, None) for five in self._five]


def test_points_of_fine_pictures_are_given_in_pixels_of_the_faces():
    config = dataclasses.replace(CONFIG, groups=1, emotions=("neutral", "fear"))
    drawn = draw_subject(config, 0, fine=True)
    five = five_points(torch.from_numpy(drawn.landmarks)).numpy()
    seen = as_seen(drawn, AllKnowing(2 * five + 0.5))
    np.testing.assert_allclose(seen.extras["five"], five, atol=1e-4)
    assert np.array_equal(seen.faces, drawn.faces) and seen.fine is None


ICT = dataclasses.replace(
    CONFIG, model="ict", subjects=2, emotions=("neutral", "happiness", "fear")
)


@pytest.fixture(scope="module")
def ict_subject(shared):
    return draw_subject(ICT, 1)


def test_ict_faces_are_the_same_for_two_workers_and_in_this_process(ict_subject):
    drawn = list(generate(ICT, workers=2))
    assert bytes_of(drawn[1]) == bytes_of(ict_subject)
    assert bytes_of(drawn[0]) != bytes_of(ict_subject)


def test_ict_samples_are_labelled_and_never_mix_with_the_embedded_heads(ict_subject, subject):
    samples, params = ict_subject.samples, ict_subject.params
    pd.testing.assert_frame_equal(samples, sample_table(samples))
    assert set(samples["subject"]) == {"ict-s0001"} == {subject_name(1, "ict")}
    assert samples["sample_id"].str.startswith("ict-s0001-g").all()
    assert not set(samples["sample_id"]) & set(subject.samples["sample_id"])
    psi = torch.from_numpy(params["expression"])
    assert params["shape"].shape == (6, 100) and psi.shape == (6, 53)
    assert psi.min() >= 0 and psi.max() <= 1
    expected = action_units(psi, ict_head().expression_names).numpy()
    np.testing.assert_array_equal(samples[list(AU_COLUMNS)].to_numpy(np.float32), expected)
    smiles = samples["emotion"] == "happiness"
    assert samples.loc[smiles, "au12"].min() > samples.loc[~smiles, "au12"].max()


def test_within_an_ict_group_only_the_expression_changes(ict_subject):
    for name, values in ict_subject.params.items():
        for rows in (values[:3], values[3:]):
            changes = len(np.unique(rows, axis=0)) == 3
            assert changes if name in ("expression", "intensity") else (rows == rows[0]).all(), name
    corners = ict_subject.faces[:, : ICT.size // 6, : ICT.size // 8]
    assert (corners[:3] == corners[0]).all() and (corners[3:] == corners[3]).all()
    assert corners[0].std() > 0 and not np.array_equal(corners[0], corners[3])


def test_true_parameters_draw_the_ict_face_again(shared):
    drawn = draw_subject(dataclasses.replace(ICT, pixel_noise=0.0, groups=1, view=CLEAR), 0)
    fields = {f.name: drawn.params[f"groom_{f.name}"][0].item() for f in dataclasses.fields(Groom)}
    again = render(ict_head(Groom(**fields)), FaceParams.from_numpy(drawn.params), ICT.size)
    np.testing.assert_allclose(again.landmarks_px.numpy(), drawn.landmarks, atol=1e-3)
    whole = (again.mask == 1).expand(-1, 3, -1, -1)
    stored = torch.from_numpy(drawn.faces).permute(0, 3, 1, 2) / 255
    assert (again.image - stored)[whole].abs().quantile(0.99) < 3 / 255


def test_a_model_that_nobody_knows_is_refused():
    with pytest.raises(ValueError, match="flame"):
        draw_subject(dataclasses.replace(CONFIG, model="flame"), 0)


def test_faces_stand_in_the_loose_crop(subject):
    eyes = subject.landmarks[:, 36:48].reshape(-1, 2, 6, 2).mean(axis=2) / CONFIG.size
    assert subject.landmarks.dtype == np.float32
    assert np.abs(eyes[:, :, 1] - 0.41).max() < 0.12
    distance = np.linalg.norm(eyes[:, 1] - eyes[:, 0], axis=1)
    assert 0.2 < distance.min() and distance.max() < 0.34


def test_occluders_are_named_in_the_parameters_and_drawn_as_often_as_asked():
    always = ViewConfig(occluded_share=1.0)
    config = SyntheticConfig(size=16, groups=4, emotions=("neutral",), view=always)
    kinds = np.concatenate([draw_subject(config, n).params["occluder"] for n in range(6)])
    assert set(kinds) <= set(OCCLUDERS) - {"none"}
    assert len(set(kinds)) >= 3
    never = draw_subject(dataclasses.replace(config, view=CLEAR), 0)
    assert set(never.params["occluder"]) == {"none"}


def flat_scene(size=64):
    landmarks = embedded_head(Groom()).template[embedded_head(Groom()).landmark_vertices]

    def to_pixels(points):
        return points[:, :2] * torch.tensor([16.0, -16.0]) + torch.tensor([31.5, 26.0])

    light = torch.zeros(9, 3)
    light[0] = 3.0
    skin, hair = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.1, 0.05, 0.02])
    facing = torch.tensor([0.0, 0.0, 1.0])
    return Scene(to_pixels, landmarks, facing, light, skin, hair, size, 16.0)


@pytest.mark.parametrize("kind", OCCLUDERS)
def test_every_occluder_is_a_transparent_layer_over_part_of_the_face(kind):
    layer = draw_occluder(kind, flat_scene(), torch.Generator().manual_seed(1))
    assert layer.shape == (4, 64, 64) and layer.isfinite().all()
    assert layer.min() >= 0 and layer.max() <= 1
    assert (layer[:3] <= layer[3] + 1e-6).all()
    assert (layer[3].max() > 0.5) == (kind != "none")
    image = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    composed = compose(image, layer)
    clear = layer[3] == 0
    assert clear.float().mean() > 0.3
    assert torch.equal(composed[..., clear], image[..., clear])


def test_unknown_occluder_is_refused():
    with pytest.raises(ValueError, match="beard"):
        draw_occluder("beard", flat_scene(), torch.Generator())


def test_distances_to_a_square_and_a_line_are_exact():
    square = torch.tensor([[2.0, 2], [8, 2], [8, 8], [2, 8]])
    for outline in (square, square.flip(0)):
        distance = distance_to_outline(outline, 12, scale_px=2.0)
        assert distance[5, 5].item() == pytest.approx(-1.5)
        assert distance[5, 10].item() == pytest.approx(1.0)
        assert distance[11, 11].item() == pytest.approx(np.hypot(3, 3) / 2)
        assert ((distance < 0) == (distance_to_outline(square, 12, 2.0) < 0)).all()
    line = distance_to_line(torch.tensor([[1.0, 4], [9, 4]]), 12, scale_px=1.0)
    assert line[7, 5].item() == pytest.approx(3)
    assert line[4, 11].item() == pytest.approx(2)
    assert coverage(line, 1.0)[4, 5].item() == 0.5


def test_backgrounds_are_calm_and_repeatable():
    images = [sample_background(torch.Generator().manual_seed(s), 32) for s in range(30)]
    stack = torch.cat(images)
    assert stack.shape == (30, 3, 32, 32) and stack.min() >= 0 and stack.max() <= 1
    chroma = stack.amax(1) - stack.amin(1)
    assert chroma.mean() < 0.15
    assert stack.mean(dim=(2, 3)).std() > 0.05
    assert torch.equal(images[3], sample_background(torch.Generator().manual_seed(3), 32))
