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

HSEMOTION_VA_MTL: dict[str, float] = {
    "accuracy": 0.6193, "valence ccc": 0.594, "arousal ccc": 0.549, "valence rmse": 0.434,
    "arousal rmse": 0.387,
}
"""HSEmotion's enet_b0_8_va_mtl on AffectNet's 4,000 validation images: 8 emotions, affect."""

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

_HSEMOTION_MODEL_2 = (
    (0.08983804, 0.11835746, 0.12076012, 0.11081797, 0.0100575, 0.26437962, 0.21224573, 0.07354358),
    (0.02257971, 0.26237637, 0.1955304, 0.09387732, 0.33390281, 0.00605903, 0.02859106, 0.05708338),
    (0.02389675, 0.06402919, 0.06746347, 0.07549801, 0.00375921, 0.03047472, 0.71220291,
     0.02267566),
    (0.02862763, 0.0861389, 0.12505601, 0.41494909, 0.02072958, 0.06575909, 0.12465041, 0.13408922),
    (0.02268051, 0.09717619, 0.11936814, 0.39416319, 0.02387075, 0.05946692, 0.18778381,
     0.09549052),
    (0.06517775, 0.10123553, 0.21719702, 0.09206677, 0.02068331, 0.11065248, 0.33751765, 0.0554695),
    (0.13064747, 0.08380242, 0.20833561, 0.09529929, 0.01045593, 0.1069052, 0.31875423, 0.04579984),
    (0.04908623, 0.21848573, 0.18250702, 0.10341771, 0.22761634, 0.07066401, 0.07823687,
     0.06998617),
)
_HSEMOTION_PREDICTED = (
    ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "neutral", "contempt"),
    ("neutral", "happiness", "sadness", "fear", "fear", "sadness", "sadness", "happiness"),
)
_CSIM = {
    "happiness": (0.9991289551530050, 0.9991500822195200),
    "neutral": (0.9992253874641800, 0.99937070177147),
    "sadness": (0.999353341531626, 0.9991631364899060),
    "disgust": (0.9993047995447710, 0.9991973576733690),
    "surprise": (0.9991803598517230, 0.9990699802366610),
    "anger": (0.9992440512510850, 0.9991830557048840),
    "fear": (0.9992428167300590, 0.9991767291212830),
    "contempt": (0.9991535004929470, 0.9990630171746850),
}
_EMONET_DEMO = (
    ("neutral", -0.276, 0.214), ("happiness", 0.531, 0.317), ("happiness", 0.849, 0.130),
    ("surprise", 0.255, 0.829), ("surprise", 0.578, 0.547),
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


def hsemotion_probabilities(model: int = 1) -> pd.DataFrame:
    """Give a table of seed 000: HSEmotion probabilities of one edited face per emotion.

    Args:
        model: 1 or 2, the two editors that the seed compares.

    Returns:
        Rows are the target emotions, columns the judge's classes in its own alphabetical order.
    """
    rows = {1: _HSEMOTION_MODEL_1, 2: _HSEMOTION_MODEL_2}[model]
    columns = list(emotion_order("hsemotion8"))
    return pd.DataFrame(list(rows), index=list(_HSEMOTION_ROWS), columns=columns)


def hsemotion_predicted() -> pd.DataFrame:
    """Give seed 000's second pair of tables: what the edited face of each emotion was named.

    Returns:
        Rows are the target emotions, columns ``model 1`` and ``model 2``; one face per cell.
    """
    columns = {f"model {k + 1}": names for k, names in enumerate(_HSEMOTION_PREDICTED)}
    return pd.DataFrame(columns, index=list(_HSEMOTION_ROWS))


def csim() -> pd.DataFrame:
    """Give seed 002's two tables of CSIM per emotion (CosFace), in the deck's order of pages.

    The deck does not say how many faces a number rests on. All sixteen lie within 0.0004 of each
    other: untrained networks give such values between strangers.

    Returns:
        Rows are emotions, columns ``first table`` and ``second table``.
    """
    return pd.DataFrame.from_dict(_CSIM, orient="index", columns=["first table", "second table"])


def emonet_demo() -> pd.DataFrame:
    """Give the five faces of seed 000's trial of EmoNet, in the order in which they are printed.

    Which of them is source, target and output is told by the page's layout alone, which the text
    does not keep. The first is called neutral at an intensity of 0.35, which EmoNet's own cleaning
    rule (below 0.2) excludes.

    Returns:
        Columns ``emotion``, ``valence``, ``arousal``.
    """
    return pd.DataFrame(list(_EMONET_DEMO), columns=["emotion", "valence", "arousal"])
