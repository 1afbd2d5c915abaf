"""How near answered face parameters are to the truth.

Arrays in, numbers out, each with n and a 95 % interval that resamples people where they are known.
Shapes are compared after shift and scale: what a photograph does not tell is no error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from fer_lib.evaluation.intervals import Interval, bootstrap_interval, bootstrap_sums
from fer_lib.faces.morphable import MorphableModel
from fer_lib.faces.params import FaceParams, rotation_matrix
from fer_lib.training.face_points import project_landmarks

_CHUNK = 64
_TAILS = (2.5, 97.5)
_RIGHT_EYE, _LEFT_EYE = slice(36, 42), slice(42, 48)


def coefficient_r2(
    predicted: ArrayLike,
    true: ArrayLike,
    names: Sequence[str],
    subjects: ArrayLike | None = None,
    *,
    draws: int = 500,
    seed: int = 0,
) -> dict[str, Interval]:
    """Give R² of every coefficient: 1 is perfect, 0 as good as the mean, below 0 worse.

    Args:
        predicted: (N,C).
        true: (N,C).
        names: of the C coefficients: modes of shape or expression, or action units.
        subjects: (N,) names of the people; None resamples faces.
        draws: number of resamples.
        seed: of the resampling.

    Returns:
        Interval by name; NaN where the truth does not vary.
    """
    x, y = np.asarray(predicted, np.float64), np.asarray(true, np.float64)
    if x.shape != y.shape or x.shape[1:] != (len(names),):
        raise ValueError(
            f"expected (N, {len(names)}) predicted and true, got {x.shape} and {y.shape}"
        )
    # About the mean: sums of squares of large numbers would lose their difference.
    y, x = y - y.mean(0), x - y.mean(0)
    sums = np.concatenate([(x - y) ** 2, y**2, y, np.ones((len(y), 1))], axis=1)
    value = _r2(sums.sum(0, keepdims=True))[0]
    resampled = _r2(bootstrap_sums(sums, subjects, draws, seed))
    limits = _limits(resampled)
    return {
        name: Interval(float(value[k]), float(limits[0, k]), float(limits[1, k]), len(y))
        for k, name in enumerate(names)
    }


def _r2(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    errors, squares, totals = np.split(sums[:, :-1], 3, axis=1)
    count = np.maximum(sums[:, -1:], 1)
    variation = squares - totals**2 / count
    return np.where(variation > 1e-12, 1 - errors / np.maximum(variation, 1e-12), np.nan)


def _limits(resampled: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(all="ignore"):
        usable = np.where(np.isnan(resampled).all(0), 0.0, resampled)
        limits = np.nanpercentile(usable, _TAILS, axis=0)
    return np.where(np.isnan(resampled).all(0), np.nan, limits)


def mean_interval(values: ArrayLike, subjects: ArrayLike | None = None, seed: int = 0) -> Interval:
    """Give a mean with its interval; people are resampled as a whole.

    Args:
        values: (N,) per face, such as errors.
        subjects: (N,) names of the people; None resamples faces.
        seed: of the resampling.
    """
    values = np.asarray(values, np.float64)
    sums = np.stack([values, np.ones_like(values)], axis=1)
    return bootstrap_interval(sums, ratio_of_sums, subjects, seed=seed)


def ratio_of_sums(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Divide the first column of (B, 2) sums by the second."""
    return sums[:, 0] / np.maximum(sums[:, 1], 1e-12)


def shape_errors_mm(
    predicted: Tensor, true: Tensor, model: MorphableModel, vertices: Tensor | None = None
) -> NDArray[np.float64]:
    """Root mean square distance of neutral faces, after the best shift and scale.

    Zeros as ``predicted`` give the mean face, the baseline.

    Args:
        predicted: (N,n_shape) β.
        true: (N,n_shape).
        model: whose β they are.
        vertices: positions of the vertices that count; None counts all.

    Returns:
        (N,) millimetres of the true face.
    """
    fields = (model.template, model.shape_basis)
    template, basis = (f if vertices is None else f[..., vertices, :] for f in fields)

    def error(first: Tensor, second: Tensor) -> Tensor:
        moved, fixed = (
            template + torch.einsum("bn,nvc->bvc", beta, basis) for beta in (first, second)
        )
        moved, fixed = (points - points.mean(1, keepdim=True) for points in (moved, fixed))
        factor = (moved * fixed).sum((1, 2)) / moved.square().sum((1, 2))
        return (factor[:, None, None] * moved - fixed).square().sum(2).mean(1).sqrt()

    return _in_chunks(error, predicted, true) * model.unit_mm


def expression_errors_mm(
    predicted: Tensor, true: Tensor, model: MorphableModel, vertices: Tensor | None = None
) -> NDArray[np.float64]:
    """Root mean square distance between the displacements of two expressions of one face.

    Zeros as ``predicted`` give the neutral face, the baseline.

    Args:
        predicted: (N,n_expr) ψ.
        true: (N,n_expr).
        model: whose ψ they are.
        vertices: positions of the vertices that count; None counts all.

    Returns:
        (N,) millimetres.
    """
    basis = model.expression_basis
    basis = basis if vertices is None else basis[:, vertices]

    def error(first: Tensor, second: Tensor) -> Tensor:
        gap = torch.einsum("bn,nvc->bvc", first - second, basis)
        return gap.square().sum(2).mean(1).sqrt()

    return _in_chunks(error, predicted, true) * model.unit_mm


def _in_chunks(
    function: Callable[[Tensor, Tensor], Tensor], first: Tensor, second: Tensor
) -> NDArray[np.float64]:
    parts = zip(first.split(_CHUNK), second.split(_CHUNK), strict=True)
    return torch.cat([function(a, b) for a, b in parts]).double().cpu().numpy()


def rotation_errors_deg(predicted: Tensor, true: Tensor) -> NDArray[np.float64]:
    """Angle of the rotation between two poses, (N,3) radians each → (N,) degrees."""
    turn = rotation_matrix(predicted.double()) @ rotation_matrix(true.double()).mT
    # By the sine too: an arc cosine is blind to small angles.
    trace = turn.diagonal(dim1=1, dim2=2).sum(1)
    skew = torch.stack([turn[:, i, j] - turn[:, j, i] for i, j in ((2, 1), (0, 2), (1, 0))], 1)
    return torch.atan2(skew.norm(dim=1), trace - 1).rad2deg().cpu().numpy()


def landmark_errors_pct_iod(predicted_px: ArrayLike, true_px: ArrayLike) -> NDArray[np.float64]:
    """Mean distance of 68 landmarks in per cent of the distance between the true eyes.

    Args:
        predicted_px: (N,68,2).
        true_px: (N,68,2); an eye is the mean of its six points.

    Returns:
        (N,) per cent.
    """
    placed, known = np.asarray(predicted_px, np.float64), np.asarray(true_px, np.float64)
    eyes = known[:, _LEFT_EYE].mean(1) - known[:, _RIGHT_EYE].mean(1)
    distance = np.linalg.norm(placed - known, axis=2).mean(1)
    return 100 * distance / np.linalg.norm(eyes, axis=1)


def parameter_table(
    answers: Mapping[str, FaceParams],
    true: FaceParams,
    model: MorphableModel,
    subjects: ArrayLike | None = None,
    vertices: Tensor | None = None,
    size: int | None = None,
) -> pd.DataFrame:
    """Compare several estimators on faces whose parameters are known.

    Args:
        answers: parameters by the estimator's name; beside them stands ``mean face, neutral``.
        true: the truth, in the same order.
        model: whose parameters they are.
        subjects: (N,) names of the people.
        vertices: positions of the vertices that count.
        size: side of the crop in pixels; with it the 68 landmarks are compared too.

    Returns:
        One row per estimator and metric: ``estimator``, ``metric``, ``value``, ``low``, ``high``,
        ``n``.
    """
    nothing = true.replace(
        shape=torch.zeros_like(true.shape),
        expression=torch.zeros_like(true.expression),
        pose=torch.zeros_like(true.pose),
    )
    rows = []
    for name, params in {**answers, "mean face, neutral": nothing}.items():
        metrics = {
            "shape_mm": shape_errors_mm(params.shape, true.shape, model, vertices),
            "expression_mm": expression_errors_mm(
                params.expression, true.expression, model, vertices
            ),
            "rotation_deg": rotation_errors_deg(params.pose, true.pose),
        }
        if size is not None:
            placed = (project_landmarks(one, model, size).numpy() for one in (params, true))
            metrics["landmark_pct_iod"] = landmark_errors_pct_iod(*placed)
        rows += [(name, key, *mean_interval(errors, subjects)) for key, errors in metrics.items()]
    return pd.DataFrame(rows, columns=["estimator", "metric", "value", "low", "high", "n"])


def r2_table(
    answers: Mapping[str, FaceParams],
    true: FaceParams,
    read: Callable[[FaceParams], Tensor],
    names: Sequence[str],
    subjects: ArrayLike | None = None,
) -> pd.DataFrame:
    """Give R² of every coefficient for several estimators.

    Args:
        answers: parameters by the estimator's name.
        true: the truth, in the same order.
        read: takes the (N,C) coefficients out of parameters.
        names: of the C coefficients.
        subjects: (N,) names of the people.

    Returns:
        One row per coefficient whose truth varies, its name as index; a column per estimator.
    """
    known = read(true)
    columns = {
        way: {n: one.value for n, one in coefficient_r2(read(p), known, names, subjects).items()}
        for way, p in answers.items()
    }
    return pd.DataFrame(columns).dropna(how="all").rename_axis("mode")


def metrics_of(table: pd.DataFrame, estimator: str) -> dict[str, Interval]:
    """Take one estimator's metrics out of ``parameter_table``."""
    rows = table[table["estimator"] == estimator]
    return {row.metric: Interval(row.value, row.low, row.high, row.n) for row in rows.itertuples()}
