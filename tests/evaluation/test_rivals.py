"""Late fusion as prediction rows, gains over a baseline, and pooling over seeds."""

import numpy as np
import pandas as pd
import pytest

from fer_lib.evaluation.recognition import Answers
from fer_lib.evaluation.rivals import (
    gain_metrics,
    gains_over,
    late_fusion_rows,
    pooled_over_seeds,
)
from fer_lib.evaluation.scoreboard import answers_by_recogniser

EMOTIONS = ("happiness", "fear")


def predictions(run, split, first, second, rows):
    """Two recognisers' probabilities of happiness for samples of a split."""
    tables = [
        pd.DataFrame({
            "run": f"{run}:{name}", "sample_id": rows["sample_id"], "split": split,
            "protocol": "per-sample", "emotion": rows["emotion"],
            "p_happiness": np.float32(p), "p_fear": 1 - np.float32(p),
        })
        for name, p in (("rgb", first), ("landmarks", second))
    ]  # fmt: skip
    return pd.concat(tables)


@pytest.fixture
def samples():
    rng = np.random.default_rng(0)
    return pd.DataFrame({
        "sample_id": [f"s{i}" for i in range(80)],
        "split": ["val"] * 40 + ["test"] * 40,
        "subject": [f"p{i // 4}" for i in range(80)],
        "emotion": rng.permutation(np.repeat(EMOTIONS, 40)),
    })


def noisy(rows, seed, strength):
    rng = np.random.default_rng(seed)
    truth = np.where(rows["emotion"] == "happiness", 1, -1)
    return 1 / (1 + np.exp(-(strength * truth + rng.normal(size=len(rows)))))


def tables(samples, run="r1", seed=0):
    found = {}
    for number, split in enumerate(("val", "test")):
        rows = samples[samples["split"] == split]
        seeds = (10 * seed + number, 100 + 10 * seed + number)
        found[split] = predictions(
            run, split, noisy(rows, seeds[0], 1.0), noisy(rows, seeds[1], 0.7), rows
        )
    return found


def test_late_fusion_rows_are_the_normalised_product(samples):
    found = tables(samples)
    late, weight = late_fusion_rows(found["test"], found["val"], samples)
    wide = {
        name: rows.set_index("sample_id")[["p_happiness", "p_fear"]].astype(float)
        for name, rows in found["test"].groupby("run")
    }
    product = wide["r1:rgb"] * wide["r1:landmarks"] ** weight
    expected = product.div(product.sum(axis=1), axis=0)
    got = late.set_index("sample_id")[["p_happiness", "p_fear"]].loc[expected.index]
    assert np.allclose(got, expected, atol=1e-6)
    assert late["run"].unique().tolist() == ["r1:late fusion"]
    both = pd.concat([found["test"], late])
    rows = samples[samples["split"] == "test"]
    assert list(answers_by_recogniser(both, rows, "per-sample")) == [
        "rgb", "landmarks", "late fusion",
    ]


def test_the_weight_is_chosen_on_validation_samples_alone(samples):
    found = tables(samples)
    rows = samples[samples["split"] == "val"]
    useless = predictions("r1", "val", noisy(rows, 3, 3.0), noisy(rows, 4, 0.0), rows)
    spoiled = found["test"].copy()
    assert late_fusion_rows(spoiled, useless, samples)[1] <= 0.3
    reversed_test = found["test"].assign(
        p_happiness=found["test"]["p_fear"], p_fear=found["test"]["p_happiness"])
    assert late_fusion_rows(reversed_test, found["val"], samples)[1] == (
        late_fusion_rows(found["test"], found["val"], samples)[1])


def answers(right):
    right = np.asarray(right, bool)
    probabilities = np.where(right[:, None], (0.9, 0.1), (0.1, 0.9))
    n = len(right)
    return Answers(np.arange(n).astype(str), np.zeros(n, int), probabilities, EMOTIONS,
                   np.arange(n).astype(str))


def test_gains_are_paired_differences_in_points():
    gains = gains_over({"rgb": answers([1, 1, 0, 0]), "fusion": answers([1, 1, 1, 0])}, "rgb")
    assert gains.loc["fusion", "value"] == 25
    assert gains.index.tolist() == ["fusion"]
    metrics = gain_metrics(gains, "store", "rgb")
    assert metrics["store_fusion_minus_rgb_oa_pt"]["value"] == 25
    assert metrics["store_fusion_minus_rgb_oa_pt"]["n"] == 4


def test_pooling_compares_each_seed_with_its_own_baseline(samples):
    rows = samples[samples["split"] == "test"]
    seeds = [tables(samples, f"r{seed}", seed)["test"] for seed in (1, 2, 3)]
    pooled = pooled_over_seeds(seeds, rows, baseline="rgb")
    assert list(pooled) == ["landmarks"]
    single = []
    for table in seeds:
        said = answers_by_recogniser(table, rows, "per-sample")
        single.append(100 * (said["landmarks"].right.mean() - said["rgb"].right.mean()))
    assert np.allclose(pooled["landmarks"].by_seed, single)
    assert np.isclose(pooled["landmarks"].mean.value, np.mean(single))
    assert pooled["landmarks"].over_seeds.n == 3
