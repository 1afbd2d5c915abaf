import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_lib.networks.branches import RgbArm
from fer_lib.networks.landmark_fusion import LandmarkFusion
from fer_lib.training import folds
from fer_lib.training.augment import Augmentation
from fer_lib.training.folds import out_of_fold_views, subject_folds
from fer_lib.training.fusion import train_fusion
from fer_lib.training.inference import Faces
from fer_lib.training.supervised import TrainingSettings

STILL = TrainingSettings(epochs=1, batch_size=8, augmentation=Augmentation(0, 0, 0, 0, 0, 0, 0))


def faces_of(subjects, labels=None, samples=None, side=48):
    count = len(subjects)
    generator = np.random.default_rng(0)
    crops = generator.integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    labels = np.arange(count) % 3 if labels is None else labels
    points = generator.uniform(0, side, (count, 6, 2))
    return Faces.of(crops, points, labels, samples=samples, subjects=subjects)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-1, 6), min_size=12, max_size=40), st.integers(2, 3),
       st.integers(0, 9))
def test_nobody_is_in_two_folds_and_no_fold_is_empty(subjects, count, seed):
    faces = faces_of(subjects, side=2)
    if len({s for s in subjects if s >= 0}) + subjects.count(-1) < count:
        with pytest.raises(ValueError, match="FOLDS"):
            subject_folds(faces, count, seed)
        return
    fold_of = subject_folds(faces, count, seed)
    assert set(fold_of.tolist()) == set(range(count))
    for subject in set(subjects) - {-1}:
        assert len(fold_of[faces.subjects == subject].unique()) == 1
    assert torch.equal(fold_of, subject_folds(faces, count, seed))


def test_folds_are_of_equal_size_when_people_are():
    faces = faces_of(np.repeat(np.arange(9), 4), side=2)
    assert subject_folds(faces, 3).bincount().tolist() == [12, 12, 12]
    seeds = {tuple(subject_folds(faces, 3, seed).tolist()) for seed in range(5)}
    assert len(seeds) > 1


def test_unknown_people_are_dealt_out_class_by_class_and_repeats_stay_together():
    labels = np.repeat([0, 1, 2], [12, 6, 3])
    samples = np.arange(21) * 7 - 50
    fold_of = subject_folds(faces_of([-1] * 21, labels, samples, 2), 3)
    for label, share in enumerate((4, 2, 1)):
        assert fold_of[labels == label].bincount(minlength=3).tolist() == [share] * 3
    twice = subject_folds(faces_of([-1] * 42, np.tile(labels, 2), np.tile(samples, 2), 2), 3)
    assert torch.equal(twice[:21], twice[21:])


@pytest.mark.parametrize("count", [0, 1, 5])
def test_impossible_folds_are_refused(count):
    with pytest.raises(ValueError, match="FOLDS"):
        subject_folds(faces_of([0, 0, 1, 2, 3], side=2), count)


def test_a_face_is_judged_by_a_network_that_has_met_neither_it_nor_its_subject(monkeypatch):
    """Training and judging are watched: who learned what, and who was asked about what."""
    faces = faces_of(np.repeat(np.arange(6), 4))
    fold_of = subject_folds(faces, 3, STILL.seed)
    learned, asked = [], []

    def train_rgb(network, train, val, given):
        learned.append(set(train.subjects.tolist()))
        return folds.pd.DataFrame({"epoch": [0]})

    original = folds.cache_rgb_views

    def cache_rgb_views(network, crops, count, given):
        same = (faces.crops[:, None] == crops[None]).flatten(2).all(dim=2).any(dim=1)
        asked.append((len(learned) - 1, same.nonzero()[:, 0], network))
        return original(network, crops, count, given)

    monkeypatch.setattr(folds, "train_rgb", train_rgb)
    monkeypatch.setattr(folds, "cache_rgb_views", cache_rgb_views)
    config = RgbArm(3, 48, 4, stride=16).config
    views, history = out_of_fold_views(config, faces, faces, STILL, 3, 2)
    assert history["fold"].tolist() == [0, 1, 2]
    assert sorted(torch.cat([places for _, places, _ in asked]).tolist()) == list(range(24))
    for turn, places, network in asked:
        assert not learned[turn] & set(faces.subjects[places].tolist())
        assert learned[turn] | set(faces.subjects[places].tolist()) == set(range(6))
        assert (fold_of[places] == turn).all()
        images = faces.crops[places].permute(0, 3, 1, 2).float() / 255
        with torch.no_grad():
            said = network(images).logits
        torch.testing.assert_close(views.logits[0, places], said, atol=1e-5, rtol=1e-5)
    assert views.logits.shape == (2, 24, 3)


def test_the_head_learns_from_out_of_fold_views_and_the_seed_fixes_them():
    faces = faces_of(np.repeat(np.arange(4), 4))
    rgb = RgbArm(3, 48, 4, stride=16)
    before = torch.get_rng_state()
    first, again = (out_of_fold_views(rgb.config, faces, faces, STILL, 2)[0] for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first.logits, again.logits)
    network = LandmarkFusion(rgb, folds.build({"network": "landmark_arm", "classes": 3,
                                               "image_size": 144, "width": 2}),
                             head="log_probabilities")
    history = train_fusion(network, faces, faces, STILL, views=first)
    assert np.isfinite(history["loss"]).all()
