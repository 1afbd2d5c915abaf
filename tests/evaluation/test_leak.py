import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_lib.evaluation.leak import (
    SharingHead,
    batch_logits,
    fused_predict,
    leak_curve,
    repredicted_leak_curve,
)
from fer_lib.networks.arm import SharingAffinity, affinity_policy
from fer_lib.networks.branches import LandmarkArm, RgbArm
from fer_lib.networks.landmark_fusion import Head, LandmarkFusion

CLASSES = 7


@pytest.fixture(scope="module", params=list(Head))
def network(request):
    """A fusion whose running means, batch norms and α are not those of a fresh network."""
    torch.manual_seed(0)
    fused = LandmarkFusion(RgbArm(CLASSES, 48, 4), LandmarkArm(CLASSES, 160, 2), head=request.param)
    for branch, inputs in ((fused.rgb, faces(16, 1)[0]), (fused.landmark, faces(16, 1)[1])):
        branch.train()
        with torch.no_grad():
            for part in inputs.split(8):
                branch(part)
            branch.arm.alpha.fill_(1.3)
            branch.fc.weight.mul_(3)
    return fused.eval()


def faces(count, seed=2):
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(count, 3, 48, 48, generator=generator)
    heatmaps = (torch.rand(count, 1, 160, 160, generator=generator) > 0.95).float()
    valid = torch.ones(count, dtype=torch.bool)
    valid[3] = False
    return images, heatmaps, valid


def under(affinity, network, run, count, batch_size):
    with torch.no_grad(), affinity_policy(network, affinity):
        parts = [run(slice(at, at + batch_size)) for at in range(0, count, batch_size)]
    return torch.cat(parts).double().numpy()


def test_the_real_network_in_both_modes_follows_from_its_own_logits(network):
    images, _, _ = faces(11)
    head = SharingHead.of(network.rgb)

    def logits(affinity, batch_size):
        return under(affinity, network, lambda s: network.rgb(images[s]).logits, 11, batch_size)

    own = head.own(logits(SharingAffinity.NONE, 11), SharingAffinity.NONE)
    running = logits(SharingAffinity.RUNNING, 4)
    np.testing.assert_allclose(head.per_sample(own), running, atol=1e-5)
    np.testing.assert_allclose(head.own(running, SharingAffinity.RUNNING), own, atol=1e-5)
    for size in (1, 4, 11, 64):
        expected = logits(SharingAffinity.BATCH, size)
        np.testing.assert_allclose(
            batch_logits(own, head.bias, head.alpha, size), expected, atol=1e-5
        )
    assert np.abs(logits(SharingAffinity.BATCH, 4) - logits(SharingAffinity.BATCH, 11)).max() > 1e-2
    with pytest.raises(ValueError, match="per sample, got batch"):
        head.own(expected, SharingAffinity.BATCH)


def test_the_fused_network_under_batch_affinity_follows_from_own_features(network):
    images, heatmaps, valid = faces(11)

    def own(branch, inputs):
        return torch.from_numpy(
            under(SharingAffinity.NONE, network, lambda s: branch(inputs[s]).feature, 11, 11)
        ).float()

    predict = fused_predict(
        network, own(network.rgb, images), own(network.landmark, heatmaps), valid
    )
    for order in (np.arange(11), np.arange(11)[::-1].copy()):
        i, h, v = images[order], heatmaps[order], valid[order]
        for size in (1, 4, 64):
            expected = under(
                SharingAffinity.BATCH, network,
                lambda s, i=i, h=h, v=v: network(i[s], h[s], v[s]).logits, 11, size,
            )
            np.testing.assert_allclose(predict(order, size), expected, atol=1e-5)


def drawn_logits(n=2100, signal=1.4, seed=0):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, CLASSES, n)
    return generator.normal(size=(n, CLASSES)) + signal * np.eye(CLASSES)[labels], labels


def accuracy(table, order, size):
    row = table[(table["order"] == order) & (table["batch_size"] == size)]
    return row["accuracy"].item()


def test_a_class_sorted_list_scores_higher_by_the_published_protocol():
    own, labels = drawn_logits()
    table = leak_curve(own, np.zeros(CLASSES), 1.0, labels)
    honest = accuracy(table, "per-sample", 1)
    assert 0.4 < honest < 0.7
    assert honest == (own.argmax(axis=1) == labels).mean()
    assert accuracy(table, "sorted", 64) > honest + 0.1
    assert accuracy(table, "file", 64) < honest + 0.02
    assert accuracy(table, "shuffled", 64) < honest + 0.02
    assert accuracy(table, "file", 1) == honest
    assert table[table["order"] == "shuffled"]["seeds"].eq(5).all()
    assert (table["low"] <= table["accuracy"] + 1 / 2100).all()
    assert (table["seed_low"] <= table["accuracy"]).all()
    assert (table["seed_high"] >= table["accuracy"]).all()


def test_without_signal_or_without_sharing_the_order_gives_nothing():
    own, labels = drawn_logits(signal=0)
    blind = leak_curve(own, np.zeros(CLASSES), 1.0, labels, batch_sizes=[64])
    assert blind["accuracy"].max() < 1 / CLASSES + 0.05
    own, labels = drawn_logits()
    still = leak_curve(own, np.ones(CLASSES), 0.0, labels)
    assert still["accuracy"].nunique() == 1


def test_much_sharing_makes_a_single_class_batch_unanimous():
    labels = np.repeat(np.arange(CLASSES), 64)
    own = np.random.default_rng(0).normal(size=(len(labels), CLASSES)) + np.eye(CLASSES)[labels]
    table = leak_curve(own, np.zeros(CLASSES), 1000.0, labels, orders=["file"], batch_sizes=[64])
    assert accuracy(table, "file", 64) == 1
    assert accuracy(table, "per-sample", 1) < 0.6


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 30), st.integers(1, 40), st.integers(0, 99))
def test_log_probabilities_serve_as_logits(n, size, seed):
    generator = np.random.default_rng(seed)
    own, bias = generator.normal(size=(n, 5)), generator.normal(size=5)
    moved = own + generator.normal(scale=50, size=(n, 1))
    first, second = batch_logits(own, bias, 0.8, size), batch_logits(moved, bias, 0.8, size)
    difference = first - second
    assert np.ptp(difference, axis=1) == pytest.approx(0, abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 30), st.integers(1, 40), st.integers(0, 99))
def test_batches_stay_apart_and_their_inner_order_does_not_matter(n, size, seed):
    generator = np.random.default_rng(seed)
    own = generator.normal(size=(n, 3))
    whole = batch_logits(own, np.zeros(3), 1.0, size)
    parts = [batch_logits(own[at : at + size], np.zeros(3), 1.0, size) for at in range(0, n, size)]
    np.testing.assert_allclose(whole, np.concatenate(parts), atol=1e-12)
    turned = batch_logits(own[:size][::-1], np.zeros(3), 1.0, size)[::-1]
    np.testing.assert_allclose(whole[:size], turned, atol=1e-12)


def test_the_curve_asks_for_every_order_and_counts_the_failed():
    labels, asked = np.array([2, 0, 1, 0]), []

    def predict(order, size):
        asked.append((order.tolist(), size))
        return np.eye(3)[labels[order]]

    table = repredicted_leak_curve(predict, labels, batch_sizes=[2], seeds=[4], failed=4)
    assert asked[0] == ([0, 1, 2, 3], 2)
    assert asked[2] == ([1, 3, 2, 0], 2)
    assert sorted(asked[1][0]) == [0, 1, 2, 3]
    assert table["accuracy"].tolist() == [0.5] * 3
    assert table["n"].eq(8).all()


def test_what_cannot_be_scored_is_refused():
    own, labels = drawn_logits(10)
    with pytest.raises(ValueError, match="orders out of"):
        leak_curve(own, np.zeros(CLASSES), 1, labels, orders=["alphabetical"])
    with pytest.raises(ValueError, match="0 samples"):
        leak_curve(own[:0], np.zeros(CLASSES), 1, labels[:0])
    with pytest.raises(ValueError, match="at least 1 sample"):
        batch_logits(own, np.zeros(CLASSES), 1, 0)
