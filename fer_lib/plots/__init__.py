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
from fer_lib.plots.sheets import contact_sheet

__all__ = [
    "class_counts",
    "confusion_heatmap",
    "contact_sheet",
    "error_curves",
    "intervals",
    "probability_heatmap",
    "speeds",
    "training_curves",
]
