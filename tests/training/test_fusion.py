import numpy as np
import pytest
import torch
from timm.optim import AdaBelief

from fer_lib.networks.arm import SharingAffinity
from fer_lib.networks.branches import LandmarkArm, RgbArm
from fer_lib.networks.landmark_fusion import LandmarkFusion
from fer_lib.training.augment import Augmentation
from fer_lib.training.fusion import (
    RgbViews,
    cache_rgb_views,
    fusion_epoch,
    train_fusion,
    train_rgb,
)
from fer_lib.training.inference import Faces, predict, run_fusion, run_rgb
from fer_lib.training.plain import plain_fusion_epoch
from fer_lib.training.supervised import TrainingSettings, paper_optimiser
from fer_lib.weights import state_hash

STILL = Augmentation(0, 0, 0, 0, 0, 0, 0)
QUICK = TrainingSettings(
    epochs=6, batch_size=16, learning_rate=3e-3, schedule="onecycle", augmentation=STILL
)


def made_faces(count=48, classes=3, seed=0):
    """Faces whose class is the height of a bright bar, and of half of the landmarks."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    crops = generator.integers(0, 90, (count, 48, 48, 3), dtype=np.uint8)
    points = generator.uniform(4, 44, (count, 10, 2))
    for crop, places, label in zip(crops, points, labels, strict=True):
        crop[14 * label + 4 : 14 * label + 12] = 230
        places[:5, 1] = 14 * label + 8
    return Faces.of(crops, points, labels)


def small_fusion(classes=3, **options):
    torch.manual_seed(0)
    return LandmarkFusion(RgbArm(classes, 48, 4), LandmarkArm(classes, 160, 2), **options)


def test_optimiser_has_the_papers_settings():
    optimiser = paper_optimiser([torch.nn.Parameter(torch.zeros(2))])
    assert isinstance(optimiser, AdaBelief)
    expected = {
        "lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-16, "weight_decay": 1e-2,
        "decoupled_decay": True, "rectify": False, "fixed_decay": False, "amsgrad": False,
    }
    assert expected.items() <= optimiser.param_groups[0].items()


def test_optimiser_follows_the_published_algorithm():
    torch.manual_seed(0)
    parameter = torch.nn.Parameter(torch.randn(5, dtype=torch.float64))
    optimiser = paper_optimiser([parameter])
    value, mean, spread = parameter.detach().clone(), 0.0, 0.0
    for count in range(1, 31):
        gradient = torch.randn(5, dtype=torch.float64)
        parameter.grad = gradient.clone()
        optimiser.step()
        mean = 0.9 * mean + 0.1 * gradient
        spread = 0.999 * spread + 0.001 * (gradient - mean) ** 2 + 1e-16
        value = value * (1 - 1e-3 * 1e-2)
        denominator = (spread / (1 - 0.999**count)) ** 0.5 + 1e-16
        value = value - 1e-3 / (1 - 0.9**count) * mean / denominator
        torch.testing.assert_close(parameter.detach(), value, rtol=1e-10, atol=1e-12)


def test_rgb_branch_learns_a_small_set_by_heart():
    faces = made_faces()
    torch.manual_seed(0)
    network = RgbArm(3, 48, 4)
    history = train_rgb(network, faces, faces, QUICK)
    assert history["val_accuracy"].max() == 1
    predicted = predict(network, faces)["rgb"]
    assert (predicted.argmax(axis=1) == faces.labels.numpy()).all()
    np.testing.assert_allclose(predicted.sum(axis=1), 1, atol=1e-5)


def test_fusion_learns_from_landmarks_what_a_blind_rgb_branch_cannot_know():
    faces = made_faces()
    network = small_fusion()
    frozen = state_hash(network.rgb.state_dict())
    history = train_fusion(network, faces, faces, QUICK)
    assert history["val_accuracy"].max() == 1
    assert state_hash(network.rgb.state_dict()) == frozen
    assert all(parameter.grad is None for parameter in network.rgb.parameters())


def test_an_rgb_branch_that_is_not_frozen_changes_and_learns():
    faces = made_faces()
    network = small_fusion(rgb_frozen=False)
    before = state_hash(network.rgb.state_dict())
    history = train_fusion(network, faces, faces, QUICK)
    assert state_hash(network.rgb.state_dict()) != before
    assert history["val_accuracy"].max() == 1
    # Its own head learns too: w compares its labels with the landmark branch's.
    assert history["val_rgb_accuracy"].max() == 1


def test_image_and_landmarks_are_mirrored_together():
    faces = made_faces(24)
    seen = []
    network = small_fusion(rgb_frozen=False)
    network.rgb.register_forward_pre_hook(lambda module, args: seen.append(("image", args[0])))
    network.landmark.register_forward_pre_hook(lambda module, args: seen.append(("map", args[0])))
    one = faces.take([0] * 16)
    always_still = TrainingSettings(epochs=1, batch_size=16, augmentation=Augmentation(
        0.5, 0, 0, 0, 0, 0, 0))
    train_fusion(network, one, faces, always_still)
    (_, images), (_, maps) = seen[:2]
    turned = [bool((values != values[:1]).flatten(1).any(1)[number]) for values in (images, maps)
              for number in range(16)]
    assert turned[:16] == turned[16:]
    assert 0 < sum(turned[:16]) < 16


def test_views_that_do_not_fit_are_refused():
    faces, network = made_faces(12), small_fusion()
    calm = TrainingSettings(epochs=1, batch_size=6, augmentation=STILL)
    views = cache_rgb_views(network.rgb, faces.crops, 2, calm)
    with pytest.raises(ValueError, match="views of 11 faces"):
        train_fusion(network, faces.take(range(11)), faces, calm, views=views)
    foreign = RgbViews(views.logits, views.features[..., :0], views.mirrored)
    with pytest.raises(ValueError, match="log_probabilities"):
        train_fusion(network, faces, faces, calm, views=foreign)
    with pytest.raises(ValueError, match="learns"):
        train_fusion(small_fusion(rgb_frozen=False), faces, faces, calm, views=views)


def test_one_epoch_from_cached_views_is_one_epoch_of_the_plain_loop():
    """Nothing varied, one batch: both take the same step, so all weights agree afterwards."""
    faces = made_faces(16)
    settings = TrainingSettings(epochs=1, batch_size=16, augmentation=STILL)
    ours, plain = small_fusion(), small_fusion()
    views = cache_rgb_views(ours.rgb.eval(), faces.crops, 1, settings)
    losses = fusion_epoch(ours, faces, views, settings), plain_fusion_epoch(plain, faces, settings)
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    for first, second in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(first, second, atol=5e-3, rtol=0)
    before = small_fusion()
    assert any((a != b).any() for a, b in zip(plain.fc.parameters(), before.fc.parameters(),
                                              strict=True))
    assert state_hash(plain.rgb.state_dict()) == state_hash(before.rgb.state_dict())


def test_the_plain_loop_learns_as_well():
    faces, network = made_faces(), small_fusion()
    settings = TrainingSettings(epochs=1, batch_size=16, learning_rate=3e-3, augmentation=STILL)
    for _ in range(6):
        plain_fusion_epoch(network, faces, settings)
    assert (predict(network, faces)["fusion"].argmax(axis=1) == faces.labels.numpy()).all()


def test_the_best_epoch_is_the_one_that_is_kept():
    faces = made_faces(24)
    network = small_fusion()
    history = train_fusion(network, faces, faces, QUICK)
    output = run_fusion(network, faces)
    accuracy = (output.logits.argmax(dim=1) == faces.labels).float().mean().item()
    assert accuracy == pytest.approx(history["val_accuracy"].max())


@pytest.mark.parametrize("size", [1, 7, 64])
def test_answers_do_not_depend_on_batch_or_order(size):
    faces, network = made_faces(30), small_fusion()
    reference = predict(network, faces, batch_size=30)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(size))
    shuffled = predict(network, faces.take(order), batch_size=size)
    for name, expected in reference.items():
        np.testing.assert_allclose(shuffled[name], expected[order], atol=1e-6, rtol=0)


def test_the_published_protocol_does_depend_on_the_batch():
    faces, network = made_faces(30), small_fusion()
    whole = predict(network, faces, 30, affinity=SharingAffinity.BATCH)
    parts = predict(network, faces, 7, affinity=SharingAffinity.BATCH)
    assert all(np.abs(whole[name] - parts[name]).max() > 1e-4 for name in whole)
    again = predict(network, faces, 7)
    np.testing.assert_allclose(again["rgb"], predict(network, faces, 30)["rgb"], atol=1e-6)


def test_cached_views_are_what_the_branch_says_of_plain_and_mirrored_faces():
    faces, network = made_faces(12), small_fusion().rgb
    calm = TrainingSettings(augmentation=Augmentation(0.5, 0, 0, 0, 0, 0, 0))
    views = cache_rgb_views(network, faces.crops, 2, calm)
    assert views.mirrored.tolist() == [False, True]
    plain, mirrored = (run_rgb(network, crops) for crops in (faces.crops, faces.crops.flip(2)))
    torch.testing.assert_close(views.features[0], plain.feature)
    torch.testing.assert_close(views.logits[1], mirrored.logits)


def test_landmarks_that_are_not_usable_leave_the_rgb_answer_of_a_warm_start():
    faces = made_faces(6)
    blind = Faces.of(faces.crops, faces.landmarks_px, faces.labels, np.zeros(6, dtype=bool))
    network = small_fusion()
    network.warm_start()
    output = run_fusion(network, blind)
    assert (output.weight == 0).all()
    torch.testing.assert_close(output.logits, output.rgb_logits, atol=1e-6, rtol=0)


def test_training_survives_faces_without_landmarks():
    faces = made_faces(24)
    faces.landmarks_px[::2] = torch.nan
    history = train_fusion(small_fusion(), faces, faces, QUICK)
    assert np.isfinite(history["loss"]).all()


def test_bf16_training_leaves_float32_weights_that_work():
    faces = made_faces()
    torch.manual_seed(0)
    network = RgbArm(3, 48, 4)
    settings = TrainingSettings(
        epochs=6, batch_size=16, learning_rate=3e-3, schedule="onecycle", augmentation=STILL,
        precision="bf16", class_weights=(1.0, 1.0, 1.0), label_smoothing=0.1,
    )
    assert train_rgb(network, faces, faces, settings)["val_accuracy"].max() == 1
    assert {value.dtype for value in network.parameters()} == {torch.float32}


def test_hostile_faces_and_settings_are_refused():
    faces = made_faces(6)
    with pytest.raises(ValueError, match="as many crops"):
        Faces.of(faces.crops, faces.landmarks_px[:5], faces.labels)
    with pytest.raises(ValueError, match="uint8"):
        Faces.of(faces.crops.float(), faces.landmarks_px, faces.labels)
    with pytest.raises(ValueError, match="at least one face"):
        run_rgb(small_fusion().rgb, faces.take([]).crops)
    with pytest.raises(ValueError, match="schedule"):
        TrainingSettings(schedule="cosine")
