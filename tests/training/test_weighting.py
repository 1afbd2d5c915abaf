import numpy as np
import pandas as pd
import pytest
import torch

from fer_lib.networks.branches import LandmarkArm, RgbArm
from fer_lib.networks.landmark_fusion import LandmarkFusion, Weighting
from fer_lib.training.augment import Augmentation
from fer_lib.training.inference import Faces, landmarks_known, run_fusion
from fer_lib.training.supervised import TrainingSettings
from fer_lib.training.weighting import (
    SWEEP,
    choose_weight,
    fuse_again,
    refit_rgb_head,
    sweep_disagreement_weight,
    weighting_ablation,
)
from fer_lib.weights import state_hash

W = (0.0, 0.35)
BRIEF = TrainingSettings(epochs=12, batch_size=6, learning_rate=3e-2,
                         augmentation=Augmentation(0, 0, 0, 0, 0, 0, 0))


def made_faces(count=12, seed=0):
    generator = np.random.default_rng(seed)
    crops = generator.integers(0, 256, (count, 48, 48, 3), dtype=np.uint8)
    points = generator.uniform(4, 44, (count, 10, 2))
    points[::5] = np.nan
    return Faces.of(crops, points, generator.integers(0, 3, count))


def fusion(**options):
    """An untrained fusion that gives many answers: every head is centred on these faces."""
    torch.manual_seed(1)
    network = LandmarkFusion(RgbArm(3, 48, 4, stride=16), LandmarkArm(3, 160, 2), **options).eval()
    network.fc.weight.data[:, network.rgb_length :].mul_(5)
    with torch.no_grad():
        for branch, name in ((network.rgb, "rgb_logits"), (network.landmark, "landmark_logits"),
                             (network, "logits")):
            said = getattr(run_fusion(network, made_faces()), name)
            branch.fc.bias -= said.mean(dim=0)
    return network


@pytest.mark.parametrize(("head", "weighting"), [
    ("features", Weighting.BOTH), ("log_probabilities", Weighting.BOTH),
    ("features", Weighting.AGREEMENT), ("log_probabilities", Weighting.CONFIDENCE),
])
def test_cached_logits_are_those_of_the_network_run_again_with_that_w(head, weighting):
    faces, network = made_faces(), fusion(head=head, weighting=weighting)
    known = landmarks_known(faces.landmarks_px)
    cached = run_fusion(network, faces)
    table = sweep_disagreement_weight(network, cached, known, faces.labels, W)
    assert table["w"].tolist() == list(W)
    weights = set()
    for row in table.itertuples():
        network.disagreement_weight = row.w
        again = run_fusion(network, faces)
        joined = fuse_again(network, cached, known)
        torch.testing.assert_close(joined.logits, again.logits, atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(joined.weight, again.weight, atol=1e-6, rtol=0)
        correct = int((again.logits.argmax(dim=1) == faces.labels).sum())
        assert (row.correct, row.n, row.accuracy) == (correct, 12, correct / 12)
        assert len(again.logits.argmax(dim=1).unique()) == 3
        weights.add(tuple(again.weight.tolist()))
    assert (len(weights) > 1) == (weighting in ("agreement", "both"))


def test_the_sweep_is_the_published_one():
    assert SWEEP == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1])


def test_the_best_w_is_chosen_and_of_equals_the_one_nearest_to_the_published_one():
    table = pd.DataFrame({"w": [0.0, 0.4, 0.7, 1.0], "correct": [5, 9, 9, 3]})
    assert choose_weight(table) == 0.7
    assert choose_weight(table.assign(correct=[9, 8, 8, 8])) == 0.0
    assert choose_weight(table.assign(correct=1)) == 0.7


def told_faces():
    """Faces whose landmarks tell the class in cached outputs: the RGB logits are mute."""
    faces = made_faces()
    network = fusion()
    output = run_fusion(network, faces)
    code = torch.nn.functional.one_hot(faces.labels, network.landmark.arm.feature_length).float()
    known = landmarks_known(faces.landmarks_px).float()
    return faces, network, output._replace(
        landmark_feature=20 * code * known[:, None], landmark_logits=10 * code[:, :3]
    )


def test_heads_are_trained_per_mode_and_the_network_stays_as_it_is():
    faces, network, output = told_faces()
    before, state = state_hash(network.state_dict()), torch.get_rng_state()
    variants = weighting_ablation(network, faces, faces, output, output, BRIEF)
    assert list(variants) == ["none", "confidence", "agreement", "both"]
    assert state_hash(network.state_dict()) == before
    assert torch.equal(torch.get_rng_state(), state)
    known = landmarks_known(faces.landmarks_px)
    for name, variant in variants.items():
        assert variant.rgb is network.rgb and variant.landmark is network.landmark
        assert variant.weighting == name
        answers = fuse_again(variant, output, known).logits.argmax(dim=1)
        assert (answers == faces.labels)[known].all()
    heads = {state_hash(variant.fc.state_dict()) for variant in variants.values()}
    assert len(heads) == 4
    again = weighting_ablation(network, faces, faces, output, output, BRIEF, ["both"])
    assert state_hash(again["both"].fc.state_dict()) == state_hash(variants["both"].fc.state_dict())


def test_modes_differ_where_the_formula_says_so():
    faces, network, output = told_faces()
    known = landmarks_known(faces.landmarks_px)
    settings = TrainingSettings(epochs=1, batch_size=16, augmentation=BRIEF.augmentation)
    variants = weighting_ablation(network, faces, faces, output, output, settings)
    weight = {name: fuse_again(v, output, known).weight for name, v in variants.items()}
    torch.testing.assert_close(weight["none"], known.float())
    torch.testing.assert_close(weight["both"], weight["confidence"] * weight["agreement"])
    agree = output.landmark_logits.argmax(dim=1) == output.rgb_logits.argmax(dim=1)
    expected = known.float() * torch.where(agree, 1.0, 0.6)
    torch.testing.assert_close(weight["agreement"], expected)


def test_a_head_refitted_without_landmarks_hears_nothing_of_them():
    faces, network = made_faces(), fusion()
    before = state_hash(network.state_dict())
    output = run_fusion(network, faces)
    refitted = refit_rgb_head(network, faces, faces, output, output, BRIEF)
    assert state_hash(network.state_dict()) == before
    blind = torch.zeros(len(faces), dtype=torch.bool)
    answers = fuse_again(refitted, output, blind)
    assert (answers.weight == 0).all()
    other = output._replace(landmark_feature=torch.randn_like(output.landmark_feature))
    assert torch.equal(fuse_again(refitted, other, blind).logits, answers.logits)
    # The landmark part of the head gets no gradient; decay leaves its zeros as they are.
    assert (refitted.fc.weight[:, refitted.rgb_length :] == 0).all()
    right = (answers.logits.argmax(dim=1) == faces.labels).float().mean()
    assert right >= (output.rgb_logits.argmax(dim=1) == faces.labels).float().mean()
