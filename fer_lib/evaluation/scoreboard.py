"""From prediction tables to what a notebook shows: named answers, rows with intervals, metrics."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial

import pandas as pd

from fer_lib.evaluation.intervals import Interval
from fer_lib.evaluation.recognition import (
    Answers,
    average_accuracy,
    macro_f1,
    overall_accuracy,
    top_k_accuracy,
)


def answers_by_recogniser(
    predictions: pd.DataFrame, samples: pd.DataFrame, protocol: str
) -> dict[str, Answers]:
    """Split prediction tables into the answers of each recogniser on the same samples.

    Args:
        predictions: one or several prediction tables, one below the other; ``run`` is
            ``<run_id>:<recogniser>``.
        samples: the sample table of everything that was to be recognised; a sample without a
            prediction counts as wrong.
        protocol: which rows to take, such as ``per-sample``.

    Returns:
        Recogniser → answers, in the order of the table. Recognisers of one name from several runs
        are told apart by their run.

    Raises:
        ValueError: nothing was predicted by this protocol.
    """
    chosen = predictions[predictions["protocol"] == protocol]
    if chosen.empty:
        known = sorted(predictions["protocol"].unique())
        raise ValueError(f"expected predictions by the protocol {protocol!r}, got only {known}")
    runs = list(dict.fromkeys(chosen["run"]))
    names = [run.rpartition(":")[2] for run in runs]
    labels = [
        name if names.count(name) == 1 else f"{name} ({run.rpartition(':')[0]})"
        for run, name in zip(runs, names, strict=True)
    ]
    return {
        label: Answers.from_tables(_own_columns(chosen[chosen["run"] == run]), samples)
        for run, label in zip(runs, labels, strict=True)
    }


def interval_rows(scores: pd.DataFrame, score: str) -> pd.DataFrame:
    """Take one score of a comparison table in the form that ``plots.intervals`` draws.

    Args:
        scores: from ``comparison_table``.
        score: ``overall_accuracy``, ``average_accuracy`` or ``macro_f1``.

    Returns:
        Columns ``value``, ``low``, ``high``, ``n``; one row per recogniser.
    """
    names = {score: "value", f"{score}_low": "low", f"{score}_high": "high", "n": "n"}
    return scores[list(names)].rename(columns=names)


def headline_metrics(
    answers: Mapping[str, Answers], prefix: str, *, seed: int = 0
) -> dict[str, Interval]:
    """Name every recogniser's scores as ``metrics.json`` wants them.

    Args:
        answers: recogniser → answers.
        prefix: put before each name, such as the store's.
        seed: of the bootstrap.

    Returns:
        ``<prefix>_<recogniser>_accuracy_frac`` and so for ``average_accuracy``, ``macro_f1``,
        ``top_2``, ``top_3``; each with its interval and n, one score of all recognisers after the
        other.
    """
    measures = {
        "accuracy": overall_accuracy,
        "average_accuracy": partial(average_accuracy, seed=seed),
        "macro_f1": partial(macro_f1, seed=seed),
        "top_2": partial(top_k_accuracy, k=2),
        "top_3": partial(top_k_accuracy, k=3),
    }
    return {
        metric_name(prefix, name, score, "frac"): measure(answer)
        for score, measure in measures.items()
        for name, answer in answers.items()
    }


def metric_name(*words: str) -> str:
    """Join words to a metric's name: lower case, digits and underscores, a letter first."""
    name = re.sub(r"[^a-z0-9]+", "_", "_".join(words).lower()).strip("_")
    return name if name[:1].isalpha() else f"m_{name}"


def _own_columns(predictions: pd.DataFrame) -> pd.DataFrame:
    """Drop the probabilities of emotions that this recogniser has no class for."""
    foreign = [c for c in predictions if c.startswith("p_") and predictions[c].isna().all()]
    if len(foreign) == sum(column.startswith("p_") for column in predictions):
        return predictions
    return predictions.drop(columns=foreign)
