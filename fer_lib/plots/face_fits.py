"""Fitted faces: over their photographs, with each other's expression, and how good they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
import pandas as pd
import torch
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from fer_lib.faces.morphable import MorphableModel
from fer_lib.faces.operations import transfer_expression
from fer_lib.faces.params import FaceParams
from fer_lib.plots.face_pictures import error_pictures, faded, fit_pictures, plain_picture
from fer_lib.plots.sheets import contact_sheet
from fer_lib.plots.style import INK, MUTED, PALETTE, finish

FIT_COLUMNS = ("photograph", "grid of the fit", "fit on the photograph", "geometry", "68 points")
TIER_COLOURS: dict[str, str] = {"A": "#1d4e6e", "B": "#6fa8c9", "C": "#cbd5de"}
"""Colours of the tiers of modes, from those that can be identified to those that cannot."""

_MODEL_POINTS, _PHOTO_POINTS = PALETTE[1], "#0b3954"
_VIEWS_DEG = (0.0, 40.0, 80.0)
_PLATE = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}


def fit_sheet(
    model: MorphableModel,
    params: FaceParams,
    photos: np.ndarray,
    landmarks_px: np.ndarray | None = None,
    row_titles: Sequence[str] = (),
) -> Figure:
    """Hold fits against their photographs, one row per face.

    Args:
        model: the model of the fits.
        params: N fits in the frame of the photographs.
        photos: ``(N, S, S, 3)`` uint8 RGB.
        landmarks_px: ``(N, 68, 2)`` points found in the photographs, for example those of the
            mesh; NaN is left out.
        row_titles: a title for each face, or none.

    Returns:
        The figure: photograph, grid lines of the fitted surface (0.2 inter-ocular distances
        apart), render of the face laid on it, geometry alone, and 68 points (dots: the model's;
        rings: those found).

    Raises:
        ValueError: fits and photographs differ in number, or a photograph is not square.
    """
    if len(params) != len(photos) or photos.shape[1] != photos.shape[2]:
        raise ValueError(f"expected {len(params)} square photographs, got {photos.shape}")
    drawn = [fit_pictures(model, params[k], photo) for k, photo in enumerate(photos)]
    images = [
        picture
        for photo, one in zip(photos, drawn, strict=True)
        for picture in (photo, one.grid, one.laid, one.geometry, faded(photo, 0.45))
    ]
    titles = list(FIT_COLUMNS)
    titles[-1] += ": ● model" if landmarks_px is None else ": ● model  ○ found"
    figure = contact_sheet(images, len(titles), titles, row_titles, inches_per_image=1.7)
    for k, axes in enumerate(figure.axes[len(titles) - 1 :: len(titles)]):
        limits = axes.get_xlim(), axes.get_ylim()
        axes.scatter(*drawn[k].landmarks_px.T, s=5, c=_MODEL_POINTS, linewidths=0)
        if landmarks_px is not None:
            axes.scatter(*landmarks_px[k].T, s=13, facecolors="none", edgecolors=_PHOTO_POINTS,
                         linewidths=0.6)  # fmt: skip
        axes.set(xlim=limits[0], ylim=limits[1])
    return figure


def transfer_strip(
    model: MorphableModel,
    sources: FaceParams,
    targets: FaceParams,
    size: int = 160,
    *,
    target_neutral: FaceParams | None = None,
    source_photos: Sequence[np.ndarray] | None = None,
    target_photos: Sequence[np.ndarray] | None = None,
    on_photos: bool = False,
    source_titles: Sequence[str] = (),
    target_titles: Sequence[str] = (),
) -> Figure:
    """Show every source (rows) with the expression of every target (columns).

    Args:
        model: the model of all faces.
        sources: A faces that keep shape, pose, camera, albedo and light.
        targets: B faces that show the expressions.
        size: side of one picture in pixels.
        target_neutral: B faces, the targets' neutral; with it the difference is transferred.
        source_photos: A photographs for the first column; the sources' own renders without.
        target_photos: B photographs for the first row; the targets' own renders without.
        on_photos: lay the faces on the sources' photographs instead of drawing whole heads.
        source_titles: a name for each source, or none.
        target_titles: a name for each target, or none.

    Returns:
        The figure; first row and first column, framed, are what went in.

    Raises:
        ValueError: faces are to be laid on photographs and there are none.
    """
    if on_photos and source_photos is None:
        raise ValueError("expected source_photos to lay the faces on, got None")
    top = _given(target_photos) or [plain_picture(model, one, size) for one in _each(targets)]
    left = _given(source_photos) or [plain_picture(model, one, size) for one in _each(sources)]
    images = [None, *top]
    for row in range(len(sources)):
        repeated = sources[[row] * len(targets)]
        faces = transfer_expression(
            repeated, targets, model.expression_names, target_neutral=target_neutral
        )
        images.append(left[row])
        for one in _each(faces):
            images.append(
                fit_pictures(model, one, left[row]).laid
                if on_photos
                else plain_picture(model, one, size)
            )
    columns = len(targets) + 1
    figure = contact_sheet(
        images, columns, ["", *target_titles], ["", *source_titles], inches_per_image=1.4
    )
    for index, axes in enumerate(figure.axes):
        if index and (index < columns or index % columns == 0):
            axes.spines[:].set(visible=True, color=PALETTE[0], linewidth=2.5)
    corner = figure.axes[0]
    corner.text(0.5, 0.5, "shape of the row,\nexpression of\nthe column", fontsize=8, color=MUTED,
                ha="center", va="center", transform=corner.transAxes)  # fmt: skip
    return figure


def score_bars(
    table: pd.DataFrame, tiers: Mapping[str, str] | None = None, label: str = "R²",
    floor: float = -0.5,
) -> Figure:  # fmt: skip
    """Show a score per mode or action unit, the best first.

    Args:
        table: one row per mode, its name as index; one column per method, the first drawn as bars
            and deciding the order, the others as marks. NaN is a mode that was not scored.
        tiers: tier of each mode, keys of ``TIER_COLOURS``; one colour without.
        label: what the score is.
        floor: scores below are drawn here, those of the bars with their number.

    Returns:
        The figure.

    Raises:
        ValueError: a mode has no tier.
    """
    if tiers is not None and (missing := sorted(set(table.index) - set(tiers))):
        raise ValueError(f"expected a tier for every mode, {missing} have none")
    first, *others = table.columns
    rows = table.sort_values(first, ascending=False, kind="stable")
    places, left = np.arange(len(rows)), floor if (table < 0).any(axis=None) else 0.0
    figure = Figure(figsize=(5.5, 0.19 * len(rows) + 1.1), dpi=120)
    axes = figure.add_subplot()
    colours = PALETTE[0] if tiers is None else [TIER_COLOURS[tiers[name]] for name in rows.index]
    axes.barh(places, rows[first].clip(lower=floor), 0.72, color=colours, label=first)
    for place, value in zip(places, rows[first], strict=True):
        if not value >= floor:
            words = "not scored" if np.isnan(value) else f"{value:.1f}"
            axes.annotate(words, (left, place), (4, 0), textcoords="offset points", va="center",
                          fontsize=7, color=INK, bbox=_PLATE)  # fmt: skip
    for name, marker, colour in zip(others, "Ds^o", PALETTE[1:], strict=False):
        axes.plot(rows[name].clip(lower=floor), places, marker, ms=3.5, mfc="white", mec=colour,
                  label=name)  # fmt: skip
    axes.axvline(0, color=INK, lw=0.8)
    axes.set(yticks=places, yticklabels=rows.index, xlabel=label, ylim=(len(rows) - 0.4, -0.6))
    axes.set_xlim(left, 1)
    axes.grid(axis="x", color="#e4e7eb")
    axes.set_axisbelow(True)
    handles = axes.get_legend_handles_labels()[0] if others else []
    if tiers is not None:
        used = sorted(set(tiers[name] for name in rows.index))
        handles = [h for h in handles if h.get_label() != first]
        handles = [Patch(color=TIER_COLOURS[t], label=f"{first}, tier {t}") for t in used] + handles
    if handles:
        axes.legend(
            handles=handles, frameon=False, fontsize=8, loc="lower right", bbox_to_anchor=(1, 1),
            ncol=len(handles), columnspacing=1, handlelength=1.2,
        )  # fmt: skip
    return finish(figure, axes)


def error_map(
    model: MorphableModel,
    error_mm: np.ndarray,
    limit_mm: float | None = None,
    label: str = "error, mm",
) -> Figure:
    """Show an error per vertex on the mean face, from the front and from the image's left.

    Args:
        model: whose vertices.
        error_mm: ``(V,)``; NaN is a vertex that was not measured and stays grey.
        limit_mm: error of the brightest colour; the 98th percentile without.
        label: what the colours are.

    Returns:
        The figure.

    Raises:
        ValueError: there is not one error per vertex, or none was measured.
    """
    known = np.isfinite(error_mm)
    if error_mm.shape != (len(model.template),) or not known.any():
        raise ValueError(
            f"expected {len(model.template)} errors, some of them measured, got {error_mm.shape} "
            f"with {known.sum()} measured"
        )
    limit = float(np.percentile(error_mm[known], 98)) if limit_mm is None else limit_mm
    ramp = matplotlib.colormaps["cividis"](np.linspace(0, 1, 256))[:, :3]
    share = np.clip(error_mm / max(limit, 1e-12), 0, 1)
    pictures = error_pictures(model, _mean_face(model, _VIEWS_DEG), share, ramp, 320)
    figure = Figure(figsize=(2.4 * len(_VIEWS_DEG) + 0.9, 2.5), dpi=120)
    width = 2.4 / figure.get_figwidth()
    for k, picture in enumerate(pictures):
        axes = figure.add_axes((k * width, 0, width, 1))
        axes.imshow(picture)
        axes.set_axis_off()
    colours = ScalarMappable(Normalize(0, limit), "cividis")
    bar = figure.colorbar(colours, cax=figure.add_axes((3 * width + 0.01, 0.15, 0.018, 0.7)),
                          extend="max", label=label)  # fmt: skip
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, length=0)
    return figure


def _mean_face(model: MorphableModel, yaws_deg: Sequence[float]) -> FaceParams:
    count = len(yaws_deg)
    pose = torch.zeros(count, 3)
    pose[:, 1] = torch.tensor(yaws_deg).deg2rad()
    return FaceParams(
        shape=torch.zeros(count, len(model.shape_names)),
        expression=torch.zeros(count, len(model.expression_names)),
        pose=pose,
        camera=torch.tensor([[0.27, 0.0, 0.0]]).repeat(count, 1),
        albedo=torch.zeros(count, len(model.albedo_names)),
        light=torch.zeros(count, 9, 3),
        camera_kind="weak_perspective",
    ).to(model.template.device)


def _given(photos: Sequence[np.ndarray] | None) -> list[np.ndarray]:
    return [] if photos is None else list(photos)


def _each(faces: FaceParams) -> list[FaceParams]:
    return [faces[k] for k in range(len(faces))]
