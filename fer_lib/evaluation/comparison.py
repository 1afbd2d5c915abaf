"""Recognisers beside each other on the same samples: one table, and a paired test per pair."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binomtest

from fer_lib.evaluation.recognition import (
    Answers,
    average_accuracy,
    macro_f1,
    macro_f1_gain,
    overall_accuracy,
    top_k_accuracy,
)


class PairedTest(NamedTuple):
    """Exact McNemar test: samples that only one of two systems gets right, and the p value."""

    n: int
    only_first: int
    only_second: int
    p_value: float


def mcnemar_exact(first_right: ArrayLike, second_right: ArrayLike) -> PairedTest:
    """Test whether two systems are right equally often on the same samples.

    Args:
        first_right: (N,) bool of one system.
        second_right: (N,) bool of the other, same samples in the same order.

    Returns:
        Discordant counts and the two-sided exact p value; 1 where no sample is discordant.

    Source: McNemar 1947, with the binomial distribution in place of χ².
    """
    first, second = np.asarray(first_right, bool), np.asarray(second_right, bool)
    if first.shape != second.shape:
        raise ValueError(f"expected the same samples, got {first.shape} and {second.shape}")
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    discordant = only_first + only_second
    p_value = float(binomtest(only_first, discordant).pvalue) if discordant else 1.0
    return PairedTest(len(first), only_first, only_second, p_value)


def majority_answers(answers: Answers, emotion: str | None = None) -> Answers:
    """Give what a system would say that always names one emotion.

    Args:
        answers: whose samples to answer.
        emotion: what to say, such as the training set's most frequent class; by default these
            samples' own, the best that any constant answer can do.
    """
    counts = np.bincount(answers.labels, minlength=len(answers.emotions))
    said = int(counts.argmax()) if emotion is None else answers.emotions.index(emotion)
    probabilities = np.zeros_like(answers.probabilities)
    probabilities[:, said] = 1
    return Answers(
        answers.sample_ids, answers.labels, probabilities, answers.emotions, answers.subjects
    )


def comparison_table(recognisers: Mapping[str, Answers], *, seed: int = 0) -> pd.DataFrame:
    """Compare recognisers on the same samples, with the majority class as the trivial one.

    Args:
        recognisers: name → answers.
        seed: of the bootstrap.

    Returns:
        One row per recogniser and one for the majority class: ``n``, ``failed``, and for each of
        ``overall_accuracy``, ``average_accuracy``, ``macro_f1`` the value, ``…_low`` and
        ``…_high``; ``top_2`` and ``top_3``.
    """
    _check_same_samples(recognisers)
    first = next(iter(recognisers.values()))
    rows = {"majority class": majority_answers(first), **recognisers}
    scores = {name: _scores(answers, seed) for name, answers in rows.items()}
    # A constant answer has no second guess: its top 2 would be an accident of column order.
    scores["majority class"] |= {"top_2": np.nan, "top_3": np.nan}
    return pd.DataFrame.from_dict(scores, orient="index")


def paired_tests(recognisers: Mapping[str, Answers], *, seed: int = 0) -> pd.DataFrame:
    """Compare every two recognisers: McNemar's test, and a paired bootstrap of macro-F1.

    Args:
        recognisers: name → answers.
        seed: of the bootstrap.

    Returns:
        One row per pair: ``first``, ``second``, ``n``, ``only_first``, ``only_second`` (samples
        that only this one gets right), ``second_minus_first_pt``, ``p_value``, ``p_holm``, the p
        value corrected for the number of pairs, and ``macro_f1_gain_pt`` with ``…_low`` and
        ``…_high``, second minus first.
    """
    _check_same_samples(recognisers)
    rows = []
    for first, second in combinations(recognisers, 2):
        test = mcnemar_exact(recognisers[first].right, recognisers[second].right)
        ahead = 100 * (test.only_second - test.only_first) / test.n
        f1 = macro_f1_gain(recognisers[first], recognisers[second], seed=seed)
        gain = [100 * bound for bound in f1[:3]]
        rows.append((first, second, *test[:3], ahead, test.p_value, *gain))
    gains = ["macro_f1_gain_pt", "macro_f1_gain_pt_low", "macro_f1_gain_pt_high"]
    counts = ["n", "only_first", "only_second"]
    columns = ["first", "second", *counts, "second_minus_first_pt", "p_value", *gains]
    table = pd.DataFrame(rows, columns=columns)
    table.insert(columns.index("p_value") + 1, "p_holm", holm(table["p_value"]))
    return table


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Correct p values for their number, so that all of them hold together.

    Args:
        p_values: (m,) in [0, 1].

    Returns:
        (m,) corrected values, in the same order.

    Source: Holm 1979, the step-down procedure.
    """
    raw = np.asarray(p_values, np.float64)
    order = np.argsort(raw, kind="stable")
    stepped = np.maximum.accumulate(raw[order] * np.arange(len(raw), 0, -1))
    corrected = np.empty_like(raw)
    corrected[order] = np.minimum(stepped, 1)
    return corrected


def _scores(answers: Answers, seed: int) -> dict[str, float]:
    scores: dict[str, float] = {
        "n": len(answers.labels),
        "failed": int((answers.predicted < 0).sum()),
    }
    intervals = {
        "overall_accuracy": overall_accuracy(answers),
        "average_accuracy": average_accuracy(answers, seed=seed),
        "macro_f1": macro_f1(answers, seed=seed),
    }
    for name, interval in intervals.items():
        bounds = {f"{name}_low": interval.low, f"{name}_high": interval.high}
        scores |= {name: interval.value, **bounds}
    return scores | {f"top_{k}": top_k_accuracy(answers, k).value for k in (2, 3)}


def _check_same_samples(recognisers: Mapping[str, Answers]) -> None:
    if not recognisers:
        raise ValueError("expected at least one recogniser, got none; train one first")
    sets = [(a.sample_ids.tolist(), a.labels.tolist()) for a in recognisers.values()]
    if any(other != sets[0] for other in sets[1:]):
        raise ValueError(
            "expected recognisers of the same samples in the same order; score others apart"
        )
