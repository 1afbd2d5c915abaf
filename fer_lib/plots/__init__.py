"""Figures: tables and images in, a matplotlib Figure out. Nothing here computes a result."""

from fer_lib.plots.charts import (
    class_counts,
    confusion_heatmap,
    error_curves,
    intervals,
    probability_heatmap,
    speeds,
    training_curves,
)
from fer_lib.plots.face_fits import error_map, fit_sheet, score_bars, transfer_strip
from fer_lib.plots.fusion import label_strip, leak_figure, right_wrong, weight_sweep
from fer_lib.plots.identity import identity_histogram
from fer_lib.plots.saliency import (
    SALIENCY_CAPTION,
    FaceExplanation,
    explanation_figure,
    saliency_overlay,
    saliency_panel,
)
from fer_lib.plots.sheets import contact_sheet
from fer_lib.plots.tradeoff import tradeoff

__all__ = [
    "SALIENCY_CAPTION",
    "FaceExplanation",
    "class_counts",
    "confusion_heatmap",
    "contact_sheet",
    "error_curves",
    "error_map",
    "explanation_figure",
    "fit_sheet",
    "identity_histogram",
    "intervals",
    "label_strip",
    "leak_figure",
    "probability_heatmap",
    "right_wrong",
    "saliency_overlay",
    "saliency_panel",
    "score_bars",
    "speeds",
    "tradeoff",
    "training_curves",
    "transfer_strip",
    "weight_sweep",
]
