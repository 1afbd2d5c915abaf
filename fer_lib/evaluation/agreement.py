"""Two or three recognisers on the same samples: who is right where, and by how much one is ahead.

Source: seed 001, Tables 2 and 11.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import t as student

from fer_lib import published
from fer_lib.evaluation.intervals import Interval, bootstrap_interval, wilson_interval
from fer_lib.evaluation.recognition import NO_PREDICTION, Answers

CELLS: tuple[str, ...] = tuple(published.FUSION_RIGHT_WRONG)
"""Both right, RGB only, landmarks only, neither: the cells of Table 2."""

ORACLE = "either right"

_CASES: dict[tuple[bool, bool, bool], str] = {
    (True, True, True): "all right",
    (False, True, True): "fusion corrects RGB, as landmarks say",
    (False, False, True): "fusion corrects RGB, both wrong",
    (True, False, True): "fusion keeps RGB, landmarks wrong",
    (True, False, False): "fusion spoils RGB, landmarks wrong",
    (True, True, False): "fusion spoils RGB, both right",
    (False, True, False): "landmarks right, fusion wrong",
    (False, False, False): "all wrong",
}


class PooledDifference(NamedTuple):
    """How far one recogniser is ahead of another over several training seeds, in points.

    Attributes:
        mean: mean over the seeds of second minus first. Its interval resamples people and takes
            the seeds as given: it says what *these* trained networks would do on other people.
        over_seeds: the same mean with Student's interval over the seeds, n of them. It takes the
            test people as given: it says what other seeds would do on *these* people. NaN bounds
            with one seed.
        by_seed: (S,) second minus first of each seed.
    """

    mean: Interval
    over_seeds: Interval
    by_seed: tuple[float, ...]


def check_same_samples(*answers: Answers) -> None:
    """Refuse recognisers that were not asked about the same samples in the same classes.

    Raises:
        ValueError: samples, their order, their true emotions or the class names differ.
    """
    first = answers[0]
    for other in answers[1:]:
        if other.emotions != first.emotions:
            raise ValueError(
                f"expected recognisers of the same emotions in the same order, got "
                f"{list(first.emotions)} and {list(other.emotions)}; compare within one training"
            )
        same_ids = np.array_equal(other.sample_ids, first.sample_ids)
        if not same_ids or not np.array_equal(other.labels, first.labels):
            raise ValueError(
                "expected recognisers of the same samples in the same order; read both from "
                "predictions of one split"
            )


def right_wrong_table(rgb: Answers, landmark: Answers) -> pd.DataFrame:
    """Count where the RGB and the landmark network are right, beside seed 001's Table 2.

    Args:
        rgb: what the RGB network says.
        landmark: what the landmark network says of the same samples.

    Returns:
        Rows ``both right``, ``RGB only``, ``landmarks only``, ``neither``, and ``either right``:
        the accuracy of an oracle that always picks the branch that is right, which no fusion of
        two labels can beat. Columns ``count``, ``share`` with Wilson's ``low`` and ``high``,
        ``published_count`` and ``published_share`` (3,068 images of RAF-DB).
    """
    counts = _cell_counts(rgb, landmark, np.ones(len(rgb.labels), bool))
    theirs = dict(published.FUSION_RIGHT_WRONG)
    rows = {}
    for name, (count, n) in _with_oracle(counts).items():
        share, low, high, _ = wilson_interval(count, n)
        printed, total = _with_oracle(theirs)[name]
        rows[name] = (count, share, low, high, printed, printed / total)
    columns = ["count", "share", "low", "high", "published_count", "published_share"]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    return table.astype({"count": int, "published_count": int})


def right_wrong_by_emotion(rgb: Answers, landmark: Answers) -> pd.DataFrame:
    """Count where the two networks are right, emotion by emotion.

    Args:
        rgb: what the RGB network says.
        landmark: what the landmark network says of the same samples.

    Returns:
        One row per emotion: ``n``, the four cells of Table 2 as counts, and the oracle's recall
        ``either right`` with Wilson's ``low`` and ``high``; NaN where n = 0.
    """
    rows = {}
    for position, emotion in enumerate(rgb.emotions):
        counts = _cell_counts(rgb, landmark, rgb.labels == position)
        share, low, high, n = wilson_interval(*_with_oracle(counts)[ORACLE])
        rows[emotion] = {"n": n, **counts, ORACLE: share, "low": low, "high": high}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("emotion")


def oracle_accuracy(rgb: Answers, landmark: Answers) -> Interval:
    """Give the share of samples that at least one of two networks gets right."""
    counts = _cell_counts(rgb, landmark, np.ones(len(rgb.labels), bool))
    return wilson_interval(*_with_oracle(counts)[ORACLE])


def sample_labels(
    answers: Mapping[str, Answers],
    n: int = 1,
    seed: int = 0,
    rgb: str = "rgb",
    landmarks: str = "landmarks",
    fusion: str = "fusion",
) -> pd.DataFrame:
    """Draw samples of every case of right and wrong, as seed 001's Table 11 shows them.

    Args:
        answers: recogniser → answers to the same samples; others than the three may be there, and
            their labels are listed too.
        n: largest number of samples per case.
        seed: of the draw.
        rgb: name of the RGB network.
        landmarks: name of the landmark network.
        fusion: name of the fused network.

    Returns:
        One row per drawn sample, cases in a fixed order and those that do not occur left out:
        ``position`` (row in the answers), ``sample_id``, ``case``, ``case_count`` (samples of this
        case in all), ``true``, and per recogniser its label ``<name>`` and the label's probability
        ``<name>_p``. Without an answer these are ``no prediction`` and NaN.

    Raises:
        ValueError: one of the three is absent, samples differ, or ``n`` is below 1.
    """
    trio = (rgb, landmarks, fusion)
    if not set(trio) <= set(answers) or n < 1:
        raise ValueError(
            f"expected answers of {list(trio)} and n of at least 1, got {list(answers)} and {n}"
        )
    check_same_samples(*answers.values())
    right = np.column_stack([answers[name].right for name in trio])
    generator = np.random.default_rng(seed)
    rows = []
    for case, name in _CASES.items():
        members = np.flatnonzero((right == case).all(axis=1))
        drawn = np.sort(generator.permutation(members)[:n])
        rows += [_sample_row(answers, int(i), name, len(members)) for i in drawn]
    return pd.DataFrame(rows)


def paired_difference(
    first: Answers,
    second: Answers,
    clusters: ArrayLike | None = None,
    *,
    draws: int = 2000,
    seed: int = 0,
) -> Interval:
    """Give second minus first overall accuracy on the same samples, in percentage points.

    Args:
        first: one recogniser.
        second: the other.
        clusters: (N,) groups that are drawn as a whole; by default the answers' subjects, and
            single samples where these are unknown.
        draws: number of resamples.
        seed: of the bootstrap.

    Returns:
        The difference and its 95 % percentile interval over people: both recognisers are scored on
        the same resample, so that what is hard for both cancels. The trained networks are taken as
        given; another training seed is not in the interval.
    """
    check_same_samples(first, second)
    groups = first.subjects if clusters is None else clusters
    return _difference_interval([(first, second)], [groups], draws, seed)


def pooled_difference(
    pairs: Sequence[tuple[Answers, Answers]], *, draws: int = 2000, seed: int = 0
) -> PooledDifference:
    """Pool second minus first overall accuracy over training seeds, in percentage points.

    A resample draws people once and scores every seed on them, for the seeds were tested on the
    same people and their errors go together. People of one name are one person in all seeds. Every
    seed counts alike, however many samples it was tested on.

    Args:
        pairs: (first, second) of each seed; within a pair the samples are the same.
        draws: number of resamples.
        seed: of the bootstrap.

    Returns:
        The mean with an interval over people, the same with an interval over seeds, and each seed.
        n of the mean is the number of distinct samples.

    Raises:
        ValueError: no pair, samples that differ within one, or subjects known in some seeds only.
    """
    if not pairs:
        raise ValueError("expected at least one pair of recognisers, got none; train one seed")
    for first, second in pairs:
        check_same_samples(first, second)
    known = [first.subjects is not None for first, _ in pairs]
    if any(known) and not all(known):
        raise ValueError("expected subjects in every seed's answers or in none, got both")
    # Without subjects the sample itself is the cluster: the seeds share it.
    groups = [first.subjects if all(known) else first.sample_ids for first, _ in pairs]
    mean = _difference_interval(pairs, groups, draws, seed)
    by_seed = [100 * (second.right.mean() - first.right.mean()) for first, second in pairs]
    return PooledDifference(mean, _student_interval(by_seed), tuple(float(d) for d in by_seed))


def _cell_counts(rgb: Answers, landmark: Answers, chosen: NDArray[np.bool_]) -> dict[str, int]:
    check_same_samples(rgb, landmark)
    a, b = rgb.right[chosen], landmark.right[chosen]
    cells = (a & b, a & ~b, ~a & b, ~a & ~b)
    return {name: int(cell.sum()) for name, cell in zip(CELLS, cells, strict=True)}


def _with_oracle(counts: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    n = sum(counts.values())
    either = n - counts["neither"]
    return {name: (count, n) for name, count in {**counts, ORACLE: either}.items()}


def _sample_row(
    answers: Mapping[str, Answers], position: int, case: str, count: int
) -> dict[str, object]:
    first = next(iter(answers.values()))
    row: dict[str, object] = {
        "position": position, "sample_id": first.sample_ids[position], "case": case,
        "case_count": count, "true": first.emotions[first.labels[position]],
    }  # fmt: skip
    for name, said in answers.items():
        label = said.predicted[position]
        row[name] = NO_PREDICTION if label < 0 else said.emotions[label]
        row[f"{name}_p"] = np.nan if label < 0 else said.probabilities[position, label]
    return row


def _difference_interval(
    pairs: Sequence[tuple[Answers, Answers]],
    groups: Sequence[ArrayLike | None],
    draws: int,
    seed: int,
) -> Interval:
    sizes = [len(first.labels) for first, _ in pairs]
    # Two columns per seed, its gain and its count; a row of another seed adds nothing to them.
    contributions = np.zeros((sum(sizes), 2 * len(pairs)))
    start = 0
    for column, ((first, second), size) in enumerate(zip(pairs, sizes, strict=True)):
        rows = slice(start, start + size)
        contributions[rows, 2 * column] = second.right.astype(float) - first.right
        contributions[rows, 2 * column + 1] = 1
        start += size
    clusters = None if groups[0] is None else np.concatenate([np.asarray(g, str) for g in groups])
    interval = bootstrap_interval(contributions, _mean_gain_pt, clusters, draws=draws, seed=seed)
    distinct = {name for first, _ in pairs for name in first.sample_ids.tolist()}
    return interval._replace(n=len(distinct))


def _mean_gain_pt(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    gains, counts = sums[:, 0::2], sums[:, 1::2]
    # A resample with nobody of one seed's people says nothing: NaN, which percentiles leave out.
    shares = np.divide(gains, counts, out=np.full_like(gains, np.nan), where=counts > 0)
    return 100 * shares.mean(axis=1)


def _student_interval(values: Sequence[float]) -> Interval:
    mean, n = float(np.mean(values)), len(values)
    if n < 2:
        return Interval(mean, np.nan, np.nan, n)
    half = float(student.ppf(0.975, n - 1) * np.std(values, ddof=1) / n**0.5)
    return Interval(mean, mean - half, mean + half, n)
