"""Late fusion as rows of a prediction table, and differences pooled over training seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from fer_lib.evaluation.agreement import (
    PooledDifference,
    paired_difference,
    pooled_difference,
)
from fer_lib.evaluation.intervals import Interval
from fer_lib.evaluation.late_fusion import choose_lambda, late_fusion
from fer_lib.evaluation.recognition import Answers
from fer_lib.evaluation.scoreboard import answers_by_recogniser, metric_name
from fer_lib.tables import PER_SAMPLE, prediction_table, probability_columns


def late_fusion_rows(
    predictions: pd.DataFrame,
    val_predictions: pd.DataFrame,
    samples: pd.DataFrame,
    *,
    first: str = "rgb",
    second: str = "landmarks",
    name: str = "late fusion",
) -> tuple[pd.DataFrame, float]:
    """Fuse two recognisers of one run by their log-probabilities, λ chosen on validation samples.

    Args:
        predictions: prediction table of the split that is reported.
        val_predictions: the same recognisers on the validation split.
        samples: sample table of both splits.
        first: a recogniser of the run.
        second: the one that is weighted by λ.
        name: what to call the result.

    Returns:
        Rows for the prediction table (protocol ``per-sample``) and λ.
    """
    weight = choose_lambda(*_pair(val_predictions, samples, first, second))
    fused = late_fusion(*_pair(predictions, samples, first, second), weight)
    run = predictions["run"].iloc[0].rpartition(":")[0]
    split = predictions["split"].iloc[0]
    table = pd.DataFrame(fused.probabilities, columns=probability_columns(fused.emotions)).assign(
        run=f"{run}:{name}",
        sample_id=fused.sample_ids,
        split=split,
        protocol=PER_SAMPLE,
        emotion=np.array(fused.emotions)[fused.labels],
    )
    return prediction_table(table, fused.emotions), weight


def gains_over(answers: Mapping[str, Answers], baseline: str, *, seed: int = 0) -> pd.DataFrame:
    """Compare every recogniser with one of them on the same samples, in points of accuracy.

    Args:
        answers: recogniser → answers.
        baseline: the one that all others are compared with.
        seed: of the bootstrap.

    Returns:
        One row per other recogniser: ``value``, ``low``, ``high`` (bootstrap by person), ``n``.
    """
    rows = {
        name: paired_difference(answers[baseline], answer, seed=seed)
        for name, answer in answers.items()
        if name != baseline
    }
    table = pd.DataFrame.from_dict(rows, orient="index", columns=list(Interval._fields))
    return table.astype({"n": int})


def gain_metrics(gains: pd.DataFrame, prefix: str, baseline: str) -> dict[str, dict[str, float]]:
    """Name the rows of ``gains_over`` as ``metrics.json`` wants them.

    Args:
        gains: the table.
        prefix: put before each name, such as the store's.
        baseline: the recogniser that the others were compared with.

    Returns:
        ``<prefix>_<recogniser>_minus_<baseline>_oa_pt`` with interval and n.
    """
    return {
        metric_name(prefix, str(name), "minus", baseline, "oa_pt"): {
            **row[["value", "low", "high"]].astype(float).to_dict(),
            "n": int(row["n"]),
        }
        for name, row in gains.iterrows()
    }


def pooled_over_seeds(
    predictions: Sequence[pd.DataFrame], samples: pd.DataFrame, *, baseline: str, seed: int = 0
) -> dict[str, PooledDifference]:
    """Compare every recogniser of several training seeds with one of them, paired by sample.

    Args:
        predictions: a prediction table per training seed, of the same split.
        samples: sample table of that split.
        baseline: the recogniser that all others are compared with, seed by seed.
        seed: of the bootstrap.

    Returns:
        Recogniser → its overall accuracy minus the baseline's, pooled; those that every seed has.
    """
    by_seed = [answers_by_recogniser(table, samples, PER_SAMPLE) for table in predictions]
    shared = [name for name in by_seed[0] if all(name in answers for answers in by_seed)]
    return {
        name: pooled_difference(
            [(answers[baseline], answers[name]) for answers in by_seed], seed=seed
        )
        for name in shared
        if name != baseline
    }


def _pair(
    predictions: pd.DataFrame, samples: pd.DataFrame, first: str, second: str
) -> tuple[Answers, Answers]:
    split = samples[samples["split"] == predictions["split"].iloc[0]]
    answers = answers_by_recogniser(predictions, split, PER_SAMPLE)
    return answers[first], answers[second]
