"""Figures that others have published, as data, to stand beside what is measured here.

Sources: seed 001, "Emotion estimation from face images with facial landmarks" (tables 1 to 8, 11,
Figure 4);
seed 002, 12th lab meeting (AffectNet counts); seed 000, 13th lab meeting (HSEmotion tables).
"""

from __future__ import annotations

import pandas as pd

from fer_lib.labels import EMOTIONS, emotion_order

AFFECTNET_COUNTS: dict[str, int] = {
    "neutral": 75374, "happiness": 134915, "sadness": 25959, "surprise": 14590, "fear": 6878,
    "disgust": 4303, "anger": 25382, "contempt": 4250,
    "none": 33588, "uncertain": 12145, "non_face": 82915,
}
"""Seed 002: AffectNet's images per category, training and validation together."""

AFFECTNET_TOTAL = 420299

AFFECTNET_AFTER_LABELLING: dict[str, int] = {
    "neutral": 74874, "happiness": 134415, "sadness": 25459, "surprise": 14090, "fear": 6378,
    "disgust": 3803, "anger": 25382, "contempt": 3750,
}
"""Seed 002: the list after labelling, as printed; its Anger still holds 500 validation images."""

AFFECTNET_TRAINED_ON = 287651
"""Seed 002: the data set size that the training log of the same deck shows."""

AFFECTNET_VALIDATION_PER_CLASS = 500

_RAFDB = emotion_order("rafdb")

RAFDB_COUNTS: dict[str, dict[str, int]] = {
    "train": dict(zip(_RAFDB, (1290, 281, 717, 4772, 1982, 705, 2524), strict=True)),
    "test": dict(zip(_RAFDB, (329, 74, 160, 1185, 478, 162, 680), strict=True)),
}
"""Seed 001, Table 3."""

_FUSION_RECALL = {
    "RGB baseline": (0.8997, 0.8514, 0.6687, 0.9637, 0.8808, 0.8025, 0.9779),
    "fusion": (0.9058, 0.8514, 0.6875, 0.9629, 0.8766, 0.8210, 0.9824),
}
_FUSION_OVERALL = {
    "RGB baseline": (0.9205, 0.9775, 0.9886, 0.8635),
    "fusion": (0.9231, 0.9772, 0.9870, 0.8696),
}
FUSION_RIGHT_WRONG: dict[str, int] = {
    "both right": 2018, "RGB only": 806, "landmarks only": 62, "neither": 182,
}
"""Seed 001, Table 2: RGB and landmark network right or wrong on the 3,068 test images."""

_WEIGHTING_RECALL = {
    "none": (0.9058, 0.8514, 0.7188, 0.9595, 0.8661, 0.7963, 0.9794),
    "confidence": (0.9149, 0.8649, 0.6562, 0.9629, 0.8640, 0.7901, 0.9853),
    "agreement": (0.9027, 0.8514, 0.6813, 0.9646, 0.8724, 0.8025, 0.9824),
    "both": (0.9058, 0.8514, 0.6875, 0.9629, 0.8766, 0.8210, 0.9824),
}
_WEIGHTING_OVERALL = {
    "none": (0.9198, 0.9739, 0.9876, 0.8682),
    "confidence": (0.9198, 0.9729, 0.9857, 0.8626),
    "agreement": (0.9214, 0.9752, 0.9883, 0.8653),
    "both": (0.9231, 0.9772, 0.9870, 0.8696),
}
_OVERALL_COLUMNS = ("top-1", "top-2", "top-3", "average accuracy")

FUSION_BEST_WEIGHT = 0.6
"""Seed 001, Figure 4: the w with the largest gain; chosen on the test images."""

_LANDMARK_CNN = (
    ("input", None, None, 224, 1),
    ("conv", 5, 1, 220, 32), ("maxpool", 2, 2, 110, 32),
    ("conv", 3, 1, 108, 64), ("maxpool", 2, 2, 54, 64),
    ("conv", 3, 1, 52, 128), ("maxpool", 2, 2, 26, 128),
    ("conv", 3, 1, 24, 256), ("maxpool", 2, 2, 12, 256),
    ("conv", 3, 1, 10, 512), ("conv", 4, 1, 7, 512),
)

FUSION_OPTIMISER: dict[str, float | bool | tuple[float, float]] = {
    "epsilon": 1e-16, "weight decouple": True, "rectify": False, "lr": 1e-3,
    "betas": (0.9, 0.999), "weight decay": 1e-2,
}
"""Seed 001, Table 4: AdaBelief; beside it ExponentialLR with gamma 0.9 and batches of 256."""

FUSION_SECONDS: dict[str, float] = {"training epoch": 900.0, "test set": 60.0}
"""Seed 001, section 5.1: 12,271 images to train on, 3,068 to test, on one RTX A5000."""

_FUSION_SAMPLES = (
    ("neutral", "neutral", "sadness", "neutral"),
    ("happiness", "happiness", "happiness", "happiness"),
    ("anger", "neutral", "happiness", "anger"),
    ("sadness", "sadness", "happiness", "happiness"),
)

_HSEMOTION_ROWS = (
    "neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt",
)
_HSEMOTION_MODEL_1 = (
    (0.03864949, 0.11584566, 0.13711014, 0.15667582, 0.01892511, 0.27473205, 0.12030374,
     0.13775802),
    (0.02480852, 0.22372024, 0.1931877, 0.10860517, 0.32003048, 0.01372685, 0.0387065, 0.07721451),
    (0.03075677, 0.11294241, 0.14292344, 0.19185445, 0.02270117, 0.12398288, 0.2730794, 0.10175941),
    (0.02508629, 0.11338066, 0.11843958, 0.24201417, 0.04055903, 0.1157910, 0.04722752, 0.29750171),
    (0.02500796, 0.12272419, 0.13342838, 0.2508508, 0.04425258, 0.13663422, 0.07321069, 0.21389122),
    (0.04780658, 0.12109236, 0.22110176, 0.13221651, 0.03519486, 0.1752103, 0.14923671, 0.11814097),
    (0.07998699, 0.11607216, 0.17896989, 0.15306064, 0.02150113, 0.19026837, 0.1545323, 0.10560852),
    (0.03644938, 0.1692974, 0.16875081, 0.12296025, 0.15637058, 0.1368660, 0.0675307, 0.14177483),
)


def fusion_recall() -> pd.DataFrame:
    """Give seed 001's Table 5: recall per class on RAF-DB, one row per system, fractions."""
    return pd.DataFrame(_FUSION_RECALL, index=list(emotion_order("rafdb"))).T


def fusion_overall() -> pd.DataFrame:
    """Give seed 001's Table 6: overall accuracy (top 1, 2, 3) and average accuracy, fractions."""
    return pd.DataFrame.from_dict(_FUSION_OVERALL, orient="index", columns=_OVERALL_COLUMNS)


def rafdb_counts() -> pd.DataFrame:
    """Give seed 001's Table 3 in the layout of ``balance.class_table``.

    Returns:
        One row per canonical emotion and ``total``, columns ``train``, ``val``, ``test``,
        ``total``; RAF-DB has no contempt and no validation split, hence zeros there.
    """
    table = pd.DataFrame(RAFDB_COUNTS).reindex(
        index=list(EMOTIONS), columns=["train", "val", "test"], fill_value=0
    )
    counts = table.fillna(0).astype(int)
    counts["total"] = counts.sum(axis=1)
    counts.loc["total"] = counts.sum()
    return counts.rename_axis(index="emotion", columns=None)


def weighting_recall() -> pd.DataFrame:
    """Give seed 001's Table 7: recall per class, one row per weighting of the landmark feature.

    Returns:
        Rows ``none``, ``confidence``, ``agreement``, ``both``; fractions.
    """
    return pd.DataFrame(_WEIGHTING_RECALL, index=list(emotion_order("rafdb"))).T


def weighting_overall() -> pd.DataFrame:
    """Give seed 001's Table 8: as Table 6, one row per weighting of the landmark feature."""
    return pd.DataFrame.from_dict(_WEIGHTING_OVERALL, orient="index", columns=_OVERALL_COLUMNS)


def fusion_weight_gain() -> pd.DataFrame:
    """Give the two points of seed 001's Figure 4 that its text and tables tell.

    The curve itself is a picture without numbers. Its best point, w = 0.6, is the fusion of Table
    6. At w = 1 agreement does not matter, which is the row ``confidence`` of Table 8; the paper
    does not say whether that row is the same training run.

    Returns:
        Columns ``w``, ``gain_pt`` (overall accuracy above the RGB baseline) and ``source``.
    """
    baseline = fusion_overall().loc["RGB baseline", "top-1"]
    points = (
        (FUSION_BEST_WEIGHT, fusion_overall().loc["fusion", "top-1"], "Table 6, fusion"),
        (1.0, weighting_overall().loc["confidence", "top-1"], "Table 8, confidence only"),
    )
    rows = [(w, round(100 * (accuracy - baseline), 2), source) for w, accuracy, source in points]
    return pd.DataFrame(rows, columns=["w", "gain_pt", "source"])


def landmark_cnn() -> pd.DataFrame:
    """Give seed 001's Table 1: the landmark network's layers in order.

    Returns:
        Columns ``layer``, ``kernel``, ``stride`` (NA for the input), ``side`` (px of the square
        output) and ``channels``.
    """
    columns = ["layer", "kernel", "stride", "side", "channels"]
    table = pd.DataFrame(list(_LANDMARK_CNN), columns=columns)
    return table.astype({"kernel": "Int64", "stride": "Int64"})


def fusion_samples() -> pd.DataFrame:
    """Give seed 001's Table 11: four images' true label and what the three networks named."""
    return pd.DataFrame(list(_FUSION_SAMPLES), columns=["true", "landmarks", "rgb", "fusion"])


def hsemotion_probabilities() -> pd.DataFrame:
    """Give seed 000's first table: HSEmotion probabilities of one edited face per emotion.

    Returns:
        Rows are the target emotions, columns the judge's classes in its own alphabetical order.
    """
    columns = list(emotion_order("hsemotion8"))
    return pd.DataFrame(_HSEMOTION_MODEL_1, index=list(_HSEMOTION_ROWS), columns=columns)
