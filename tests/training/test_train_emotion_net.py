import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, normalize

from fer_lib.networks.emotion_net import EmotionNet
from fer_lib.training.augment import Augmentation
from fer_lib.training.emotion_faces import EmotionFaces
from fer_lib.training.emotion_net import (
    MARGIN_LOSSES,
    emotion_loss,
    emotion_scores,
    run_features,
    train_all,
    train_head,
    train_identity,
    verification_auc,
)
from fer_lib.training.supervised import TrainingSettings
from fer_lib.weights import state_hash

STILL = Augmentation(0, 0, 0, 0, 0, 0, 0)
SETTINGS = TrainingSettings(epochs=2, batch_size=16, learning_rate=2e-3, augmentation=STILL)
COLOURS = torch.tensor([[220, 30, 30], [30, 220, 30], [30, 30, 220]])


def make_faces(count=48, seed=0):
    """Discs of three colours (who) on a bright or dark ground (what)."""
    generator = torch.Generator().manual_seed(seed)
    people, emotions = torch.arange(count) % 3, torch.arange(count) // 3 % 2
    ground = (60 + 130 * emotions)[:, None, None, None].expand(count, 32, 32, 3).clone()
    ground[:, 8:24, 8:24] = COLOURS[people][:, None, None]
    noise = torch.randint(-20, 20, ground.shape, generator=generator)
    crops = (ground + noise).clamp(0, 255).to(torch.uint8)
    affect = torch.stack([2.0 * emotions - 1, 1 - 2.0 * emotions], dim=1) * 0.8
    return EmotionFaces(crops, emotions, affect, people, torch.arange(count))


def make_network(affect=True):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = EmotionNet("tiny", classes=2, affect=affect, image_size=32)
        # Thirty layers of batch norm need more steps to settle than a test has time for.
        network.trunk = nn.Sequential(
            nn.Conv2d(3, 1280, 8, 8), nn.BatchNorm2d(1280), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        )  # fmt: skip
    return network


def parts(network):
    head = {name: value for name, value in network.state_dict().items() if "classifier" in name}
    below = {name: value for name, value in network.state_dict().items() if name not in head}
    return state_hash(head), state_hash(below)


def test_head_first_leaves_everything_below_bit_identical():
    network, faces = make_network(), make_faces()
    head, below = parts(network)
    history = train_head(network, faces, make_faces(seed=1), SETTINGS)
    trained, kept = parts(network)
    assert kept == below and trained != head
    assert len(history) == 2 and not network.training


def test_margin_losses_have_their_closed_forms():
    generator = torch.Generator().manual_seed(0)
    features, people = torch.randn(9, 5, generator=generator), torch.arange(9) % 3
    for kind, published in (("cosface", 0.35), ("arcface", 28.6)):
        plain, margin = (MARGIN_LOSSES[kind](3, 5, scale=30.0, margin=m) for m in (0, published))
        margin.W.data = plain.W.data
        assert MARGIN_LOSSES[kind](3, 5).margin == margin.margin
        cosines = normalize(features) @ normalize(plain.W, dim=0)
        expected = cross_entropy(30 * cosines, people)
        assert plain(features, people).item() == pytest.approx(expected.item(), rel=1e-5)
        own = cosines.gather(1, people[:, None])
        turned = own - 0.35 if kind == "cosface" else (own.acos() + math.radians(28.6)).cos()
        expected = cross_entropy(30 * cosines.scatter(1, people[:, None], turned), people)
        assert margin(features, people).item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("kind", MARGIN_LOSSES)
def test_margin_losses_have_finite_gradients_at_both_poles(kind):
    margin = MARGIN_LOSSES[kind](2, 2, scale=30.0)
    margin.W.data = torch.eye(2)
    faces = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], requires_grad=True)
    margin(faces, torch.tensor([0, 0])).backward()
    assert faces.grad.isfinite().all() and margin.W.grad.isfinite().all()


@pytest.mark.parametrize("kind", MARGIN_LOSSES)
def test_identity_leaves_the_head_and_learns_to_tell_people_apart(kind):
    network, faces = make_network(), make_faces()
    head, below = parts(network)
    settings = replace(SETTINGS, epochs=6, learning_rate=5e-3)
    history = train_identity(network, faces, make_faces(seed=1), settings, kind)
    kept, trained = parts(network)
    assert kept == head and trained != below
    assert history["val_auc"].max() > 0.9


def test_a_tiny_set_is_learned_by_heart():
    network, faces = make_network(), make_faces(24)
    history = train_all(network, faces, faces, replace(SETTINGS, epochs=12, batch_size=8))
    scores = emotion_scores(network, run_features(network, faces.crops), faces)
    assert scores["val_accuracy"] == 1 and scores["val_ccc_valence"] > 0.8
    assert scores["val_score"] == pytest.approx(history["val_score"].max(), abs=1e-5)


def test_training_repeats_and_leaves_the_caller_his_random_state():
    before, hashes = torch.get_rng_state(), []
    for seed in (1, 1, 2):
        network = make_network()
        settings = replace(SETTINGS, epochs=1, seed=seed, augmentation=Augmentation())
        train_identity(network, make_faces(), make_faces(seed=1), settings)
        hashes.append(state_hash(network.state_dict()))
    assert hashes[0] == hashes[1] != hashes[2]
    assert torch.equal(torch.get_rng_state(), before)


def test_half_precision_trains_too():
    history = train_all(
        make_network(),
        make_faces(16),
        make_faces(16),
        replace(SETTINGS, epochs=1, precision="bf16"),
    )
    assert math.isfinite(history["loss"].iloc[0])


def test_affect_adds_its_loss_only_where_the_head_has_it():
    faces = make_faces(6)
    features = torch.randn(6, 1280, generator=torch.Generator().manual_seed(0))
    with_affect, without = make_network(), make_network(affect=False)
    without.classifier.weight.data = with_affect.classifier.weight.data[:2].clone()
    without.classifier.bias.data = with_affect.classifier.bias.data[:2].clone()
    both, one = (emotion_loss(net, features, faces, SETTINGS)[0] for net in (with_affect, without))
    unknown = faces._replace(affect=torch.full_like(faces.affect, math.nan))
    assert both > one
    alone = emotion_loss(with_affect, features, unknown, SETTINGS)[0]
    assert alone.item() == pytest.approx(one.item())
    assert set(emotion_scores(without, features, faces)) == {
        "val_accuracy",
        "val_recall",
        "val_score",
    }


def test_recall_does_not_let_a_frequent_class_win():
    network, faces = make_network(affect=False), make_faces(6)
    network.classifier.weight.data.zero_()
    network.classifier.bias.data = torch.tensor([1.0, 0.0])
    scores = emotion_scores(
        network, torch.zeros(6, 1280), faces._replace(emotions=torch.tensor([0, 0, 0, 0, 0, 1]))
    )
    assert scores["val_accuracy"] == pytest.approx(5 / 6) and scores["val_recall"] == 0.5


def test_features_do_not_depend_on_the_batch():
    network, faces = make_network().eval(), make_faces(7)
    together, alone = (run_features(network, faces.crops, size) for size in (7, 1))
    assert torch.allclose(together, alone, atol=1e-5)


def test_verification_has_its_closed_forms():
    sphere = torch.tensor([[1.0, 0], [1, 0.1], [0, 1], [0.1, 1]])
    people, scenes = torch.tensor([0, 0, 1, 1]), torch.arange(4)
    assert verification_auc(sphere, people, scenes) == 1
    assert verification_auc(sphere, torch.tensor([0, 1, 0, 1]), scenes) < 0.5
    assert verification_auc(torch.ones(4, 2), people, scenes) == 0.5
    assert verification_auc(sphere, torch.tensor([0, 0, 1, -1]), scenes) == 1


def test_faces_of_one_scene_are_no_pair_where_somebody_was_seen_in_two():
    faces = torch.tensor([[1.0, 0], [1, 0], [0, 1], [1, 1], [-1, 0.5]])
    people = torch.tensor([0, 0, 0, 1, 1])
    # Without scenes the two equal faces help; the person's other scene is as far as a stranger.
    alone = verification_auc(faces, people, torch.arange(5))
    apart = verification_auc(faces, people, torch.tensor([0, 0, 1, 2, 2]))
    assert apart < alone
    assert verification_auc(faces, people, torch.tensor([0, 0, 0, 1, 1])) == alone


def test_faces_of_nobody_or_without_pairs_are_refused():
    with pytest.raises(ValueError, match="known people"):
        train_identity(
            make_network(),
            make_faces()._replace(people=torch.full((48,), -1)),
            make_faces(),
            SETTINGS,
        )
    with pytest.raises(ValueError, match="two faces of a person"):
        verification_auc(torch.rand(3, 2), torch.arange(3), torch.arange(3))
