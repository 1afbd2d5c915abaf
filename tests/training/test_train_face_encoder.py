"""Training of the face encoder: batches, mirrors, masks, losses, and that it learns."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from face_samples import drawn_store

from fer_lib.faces.embedded import embedded_head
from fer_lib.faces.fitting.correspondence import Correspondence
from fer_lib.faces.params import FaceParams
from fer_lib.faces.render import render
from fer_lib.networks.face_encoder import Encoding, FaceEncoder, FaceEncoderSpec
from fer_lib.networks.face_view import View
from fer_lib.training.face_augment import (
    FaceAugmentation,
    compress,
    random_view,
    vary_photographs,
)
from fer_lib.training.face_batches import KNOWN, FaceSet, face_loader, join
from fer_lib.training.face_encoder import (
    FaceEncoderTraining,
    make_targets,
    train_face_encoder,
)
from fer_lib.training.face_losses import FaceLoss, FaceLossWeights, partners, surface_metric
from fer_lib.training.face_mirror import LANDMARK_PARTNERS, SCORE_PARTNERS, FaceMirror
from fer_lib.training.face_points import project_landmarks

ALL = dict.fromkeys(KNOWN, 1.0)
NONE = {name: 0.0 for name in FaceLossWeights().__dict__}
STILL = FaceAugmentation(**dict.fromkeys(FaceAugmentation().__dict__, 0.0))


@pytest.fixture(scope="module")
def model():
    return embedded_head()


@pytest.fixture(scope="module")
def store():
    return drawn_store()


@pytest.fixture(scope="module")
def spec(model):
    return FaceEncoderSpec.of(model, image_size=32, width=8, hidden=32, mesh_modes=6)


@pytest.fixture(scope="module")
def faces(store, spec):
    return FaceSet.of(store, np.arange(len(store)), spec, ALL)


def targets_of(faces, size=32):
    batch = faces.take(range(len(faces)))
    return make_targets(batch, View.central(len(batch), 0.7), size)


def truth_as_answer(target, model):
    wide = torch.zeros(len(target.images), len(model.shape_names))
    return Encoding(target.params, wide, torch.zeros_like(target.params.expression))


def test_rows_come_back_as_the_store_holds_them(store, spec):
    rows = np.array([5, 2, 7])
    batch = FaceSet.of(store, rows, spec, ALL).take([2, 0])
    np.testing.assert_array_equal(batch.faces, store.faces[[7, 5]])
    np.testing.assert_allclose(batch.params.shape, store.params["shape"][[7, 5]])
    assert batch.params.camera[:, 3].tolist() == [16.0, 16.0]
    assert batch.trust.shape == (2, 8)


def test_what_is_not_finite_is_not_trusted(store, spec):
    params = FaceSet.of(store, np.arange(4), spec, ALL).truth.params
    light = params.light.clone()
    light[1, 0, 0] = torch.nan
    batch = FaceSet.of(store, np.arange(4), spec, {"light": 0.5}, params.replace(light=light)).take(
        range(4)
    )
    assert batch.known("light").tolist() == [0.5, 0, 0.5, 0.5]
    assert batch.known("shape").max() == 0
    assert batch.params.light.isfinite().all()


def test_parameters_of_another_model_are_refused_where_they_are_trusted(store, spec):
    other = replace(spec, n_shape=spec.n_shape + 1)
    with pytest.raises(ValueError, match="another model"):
        FaceSet.of(store, np.arange(4), other, ALL)
    kept = FaceSet.of(store, np.arange(4), other, {"pose": 1.0, "landmarks": 1.0})
    assert kept.truth.params.shape.abs().max() == 0
    assert kept.truth.params.pose.abs().min() > 0
    with pytest.raises(ValueError, match="expected trust"):
        FaceSet.of(store, np.arange(4), spec, {"nose": 1.0})


def test_photographs_of_a_person_share_a_batch_and_people_of_two_sets_do_not(faces):
    loader = face_loader([faces, faces], batch_size=6, together=3)
    torch.manual_seed(0)
    seen = 0
    for batch in loader:
        counts = torch.unique(batch.subjects, return_counts=True)[1]
        assert counts.tolist() == [3, 3]
        seen += len(batch)
    assert seen == 18
    both = join([faces.take([0, 1]), faces.take([0, 1])]).subjects
    assert both[0] == both[1] != both[2] == both[3]


def test_partners_are_other_photographs_of_the_same_person():
    place, has = partners(torch.tensor([4, 1, 4, -1, 4, -1]))
    assert place[[0, 2, 4]].tolist() == [2, 4, 0]
    assert has.tolist() == [1, 0, 1, 0, 1, 0]


def test_a_mirrored_face_is_the_face_drawn_from_mirrored_parameters(model, faces):
    mirror = FaceMirror.of(model)
    batch = faces.take([1, 4])
    flipped = mirror.apply(batch, torch.tensor([True, False]))
    criterion = FaceLoss(model, FaceLossWeights())
    placed = (criterion.landmarks.place(flipped.params) + 0.5) * 64 - 0.5
    # The store's cameras stand nearer or farther than the encoder's.
    assert (placed - flipped.landmarks_px).norm(dim=2).mean() < 0.5
    straight, turned = (render(model, p, 64, 1).image for p in (batch.params, flipped.params))
    own = (turned[0] - straight[0].flip(2)).abs().mean()
    assert own < 0.3 * (turned[0] - straight[0]).abs().mean()
    assert torch.equal(turned[1], straight[1])
    twice = mirror.apply(mirror.apply(batch, torch.ones(2).bool()), torch.ones(2).bool())
    torch.testing.assert_close(twice.landmarks_px, batch.landmarks_px)
    assert flipped.mesh[0].isnan().all()


def test_landmarks_of_known_parameters_are_those_of_the_drawing(model, store):
    params = FaceParams.from_numpy(store.params)
    placed = project_landmarks(params, model, 64)
    np.testing.assert_allclose(placed, store.landmarks, atol=2e-3)


def test_partners_on_the_other_side():
    for partner in (LANDMARK_PARTNERS, SCORE_PARTNERS):
        assert torch.equal(partner[partner], torch.arange(len(partner)))
    assert LANDMARK_PARTNERS[[0, 8, 27, 36, 48, 60]].tolist() == [16, 8, 27, 45, 54, 64]
    assert SCORE_PARTNERS[[0, 1]].tolist() == [0, 2]


def test_mesh_points_are_paired_with_their_reflection(model, generator):
    half = torch.rand(220, 3, generator=generator) + torch.tensor([0.1, 0, 0])
    middle = torch.rand(28, 3, generator=generator) * torch.tensor([0.0, 1, 1])
    order = torch.randperm(468, generator=generator)
    points = torch.cat([half, half * torch.tensor([-1.0, 1, 1]), middle])[order]
    noisy = points + 1e-4 * torch.randn(468, 3, generator=generator)
    partner = FaceMirror.of(model, noisy).mesh_points
    assert torch.equal(partner[partner], torch.arange(478))
    reflected = points[partner[:468]] * torch.tensor([-1.0, 1, 1])
    torch.testing.assert_close(reflected, points, rtol=0, atol=1e-5)


def test_the_truth_has_no_loss_but_that_of_the_cameras_distance(model, faces):
    target = targets_of(faces)
    _, terms = FaceLoss(model, FaceLossWeights())(truth_as_answer(target, model), target)
    assert terms["parameters"] == terms["vertices"] == 0
    assert max(terms[name] for name in ("landmarks", "eyes", "lips", "swap")) < 0.03
    assert terms["variance"] == 0
    assert terms["consistency"] == 0


@pytest.mark.parametrize("name", KNOWN)
def test_what_is_not_trusted_pulls_at_nothing(name, model, faces):
    target = targets_of(faces)
    trust = {key: weight * float(key == name) for key, weight in target.trust.items()}
    leaves = {
        key: (getattr(target.params, key) + 0.01).requires_grad_()
        for key in ("shape", "expression", "pose", "camera", "albedo", "light")
    }
    answer = truth_as_answer(target, model)._replace(params=target.params.replace(**leaves))
    weights = replace(FaceLossWeights(), regulariser=0.0, consistency=0.0)
    weight = torch.ones(468, 1)
    places = torch.arange(468)[:, None]
    coefficients = 1 + len(model.shape_names) + len(model.expression_names)
    points = Correspondence(places, weight, torch.ones(468), torch.zeros(coefficients, 468, 2))
    loss, _ = FaceLoss(model, weights, points)(answer, target._replace(trust=trust))
    loss.backward()
    moved = {k for k, leaf in leaves.items() if leaf.grad is not None and leaf.grad.abs().max() > 0}
    geometry = {"shape", "expression", "pose", "camera"}
    assert moved == (geometry if name in ("landmarks", "mesh") else {name})


def test_a_shifted_face_costs_its_shift(model, faces):
    target = targets_of(faces)
    camera = target.params.camera.clone()
    camera[:, 1] += 0.1
    answer = truth_as_answer(target, model)
    answer = answer._replace(params=answer.params.replace(camera=camera))
    weights = replace(FaceLossWeights(**NONE), landmarks=1.0)
    loss, _ = FaceLoss(model, weights)(answer, target)
    size = (
        (target.landmarks - target.landmarks.mean(1, keepdim=True)).square().sum(2).mean(1).sqrt()
    )
    assert loss.item() == pytest.approx(float((0.1 / size).mean()), rel=0.05)


def test_pixels_cost_nothing_where_the_picture_is_the_drawing(model, faces):
    target = targets_of(faces)
    drawn = render(model, target.params, 32, supersample=1)
    weights = replace(FaceLossWeights(**NONE), photometric=1.0)
    criterion = FaceLoss(model, weights, rendered_faces=2, rendered_px=32)
    answer = truth_as_answer(target, model)
    same, _ = criterion(answer, target._replace(images=drawn.image))
    dark, _ = criterion(answer, target._replace(images=drawn.image * 0.5))
    assert same < 1e-6 < 0.05 < dark


def test_the_metric_measures_displacement(generator):
    basis, gap = torch.randn(4, 30, 3, generator=generator), torch.randn(4, generator=generator)
    direct = (63 * torch.einsum("n,nvc->vc", gap, basis)).square().sum(1).mean()
    torch.testing.assert_close(gap @ surface_metric(basis, 63.0) @ gap, direct)


def test_changes_of_photographs_stay_in_range_and_can_be_switched_off(generator):
    images = torch.rand(6, 3, 32, 32, generator=generator)
    varied = vary_photographs(images, FaceAugmentation(), generator)
    assert 0 <= varied.min() <= varied.max() <= 1
    assert (varied - images).abs().mean() > 0.01
    torch.testing.assert_close(
        vary_photographs(images, STILL, generator), images, rtol=0, atol=2e-4
    )
    view = random_view(5, 0.7, STILL, generator=generator)
    torch.testing.assert_close(view, View.central(5, 0.7))


def test_compression_rounds_patterns_and_spares_flat_areas(generator):
    images = torch.rand(2, 3, 16, 16, generator=generator)
    strong = compress(images, torch.tensor([0.5, 0.0]))
    torch.testing.assert_close(strong[1], images[1], rtol=0, atol=1e-4)
    assert (strong[0] - images[0]).abs().mean() > 0.05
    flat = torch.full((1, 3, 16, 16), 0.5)
    torch.testing.assert_close(compress(flat, torch.tensor([0.5])), flat)


def test_it_learns_a_few_faces_by_heart(model, faces, spec):
    torch.manual_seed(0)
    training = FaceEncoderTraining(
        epochs=9, batch_size=9, together=3, learning_rate=5e-3, augmentation=STILL
    )
    trained = train_face_encoder(FaceEncoder(spec), model, [faces], training, validation=faces)
    history = trained.history
    assert history["vertices"].iloc[-1] < 0.6 * history["vertices"].iloc[0]
    assert history["landmarks"].iloc[-1] < 0.7 * history["landmarks"].iloc[0]
    assert history["val_score"].max() == history["val_score"].iloc[-3:].max()
    assert not trained.network.training


def test_half_precision_starts_from_the_same_losses(model, faces, spec):
    losses = []
    for precision in ("fp32", "bf16"):
        torch.manual_seed(0)
        training = FaceEncoderTraining(epochs=1, batch_size=9, precision=precision)
        history = train_face_encoder(FaceEncoder(spec), model, [faces], training).history
        losses.append(history[["landmarks", "vertices", "parameters"]].iloc[0].to_numpy())
    np.testing.assert_allclose(losses[1], losses[0], rtol=0.05)
    assert (losses[1] != losses[0]).any()


def test_training_repeats_itself(model, faces, spec):
    training = FaceEncoderTraining(epochs=1, batch_size=9)
    states = []
    for _ in range(2):
        torch.manual_seed(0)
        network = FaceEncoder(spec)
        train_face_encoder(network, model, [faces], training)
        states.append(network.state_dict()["head.3.weight"])
    assert torch.equal(*states)


def test_a_fresh_encoder_cannot_start_from_photographs(model, store, spec):
    unknown = FaceSet.of(store, np.arange(9), spec, {"landmarks": 1.0})
    with pytest.raises(ValueError, match="renders come first"):
        train_face_encoder(FaceEncoder(spec), model, [unknown], FaceEncoderTraining(epochs=1))
