"""The EmoNet judge: expression, valence and arousal, where the user has EmoNet's files.

The files are CC BY-NC-ND 4.0: the user supplies them, nothing here downloads or bundles them.

The 5-class file's last class is **anger**. Its README says fear, but the published evaluation keeps
AffectNet's classes 0, 1, 2, 3 and 6, and counts 6, anger, as 4 (`labels.emotion_order("emonet5")`).
Where labelled faces are at hand, `judgements.mean_probabilities` shows it.

Source: Toisoul et al. 2021, Nature Machine Intelligence 3, and the published evaluation code.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fer_lib import assets, paths
from fer_lib.evaluation.affect import DIMENSIONS, affect_table
from fer_lib.evaluation.emonet_crop import EmoNetCrops, cut_emonet_crops
from fer_lib.evaluation.intervals import bootstrap_interval
from fer_lib.evaluation.judge_crops import as_images
from fer_lib.evaluation.judge_spec import Answers, JudgeSpec, UnavailableError
from fer_lib.evaluation.judges import Judge
from fer_lib.labels import emotion_order
from fer_lib.networks.checkpoints import Lineage
from fer_lib.networks.emonet import CLASS_COUNTS, IMAGE_SIZE, heatmap_landmarks, load_emonet
from fer_lib.weights import state_hash

MAX_LANDMARK_ERROR_PCT_IOD = 25.0
"""The judge does not see the faces above this median error of its own landmarks. Chosen between
FAN's published errors, a few per cent, and those of an untrained network, which are several times
as large as this."""

_SIGHT_FACES = 8
_OUTER_EYES = (36, 45)


def emonet_file(classes: int = 8) -> Path:
    """Find the file that the user supplies, ``emonet_5.pth`` or ``emonet_8.pth`` in ``data/raw``.

    Raises:
        UnavailableError: it is not there; the message says what to do.
        ValueError: there is no file for so many classes.
    """
    if classes not in CLASS_COUNTS:
        raise ValueError(f"expected one of {CLASS_COUNTS} classes, got {classes}")
    path = paths.data_dir() / "raw" / f"emonet_{classes}.pth"
    if not path.is_file():
        raise UnavailableError(
            "EmoNet is unavailable, its licence (CC BY-NC-ND 4.0) keeps it out of this project: "
            f"take pretrained/{path.name} from github.com/face-analysis/emonet and put it at {path}"
        )
    return path


def load_emonet_judge(path: Path, device: torch.device | str = "cpu") -> Judge:
    """Make a judge of one of EmoNet's files; the file says how many classes it has.

    Args:
        path: such as `emonet_file` gives it.
        device: where it answers.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no EmoNet.
    """
    # An edit set may name the published file or the network that was made of it.
    network = load_emonet(path)
    return emonet_judge(network, device, Lineage(networks=frozenset([assets.file_sha256(path)])))


def emonet_judge(
    network: nn.Module, device: torch.device | str = "cpu", lineage: Lineage | None = None
) -> Judge:
    """Make a judge of expression, valence and arousal of a network.

    Args:
        network: gives `EmoNetOutput`, with 5 or 8 classes (its attribute ``classes``).
        device: where it answers.
        lineage: what it has been in touch with; None is empty.
    """
    spec = JudgeSpec(
        name=f"EmoNet, {network.classes} classes",
        image_size=IMAGE_SIZE,
        crop="emonet",
        emotions=emotion_order(f"emonet{network.classes}"),
        weights_sha256=state_hash(network.state_dict()),
        licence="CC BY-NC-ND 4.0",
        lineage=lineage or Lineage(),
        affect=True,
    )

    def answer(images: Tensor) -> Answers:
        said = network(images)
        affect = torch.stack((said.valence, said.arousal), dim=1)
        return Answers(said.logits.softmax(dim=1), affect)

    return Judge(spec, network, answer, device)


def flip_consistency(
    judge: Judge,
    crops: np.ndarray,
    *,
    subjects: Sequence[str | None],
    lineage: Lineage,
    draws: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare a judge's answers to faces with those to their mirror images: its own noise floor.

    Where a target is a picture its truth is the judge's own answer; no edit can be held to a finer
    measure than this one.

    Args:
        judge: whose table has ``valence`` and ``arousal``.
        crops: (N, S, S, 3) uint8 RGB, cut by the judge's crop rule.
        subjects: N names of the people; they are resampled as a whole where all are known.
        lineage: of the edit set or recogniser that the crops come from.
        draws: resamples of the bootstrap.
        seed: of the bootstrap.

    Returns:
        As `affect_table`, the mirror image against the image, and a row ``expression``,
        ``agreement``: the share of faces with the same label.

    Raises:
        ValueError: the judge is not valid or was in touch with what it judges.
    """
    own, mirrored = (
        judge.judge(faces, range(len(crops)), subjects=subjects, lineage=lineage, batch_size=16)
        for faces in (crops, crops[:, :, ::-1])
    )
    clusters = None if pd.isna(pd.Series(subjects, dtype=object)).any() else subjects
    truth, answers = own[[*DIMENSIONS]], mirrored[[*DIMENSIONS]]
    table = affect_table(truth, answers, clusters, draws=draws, seed=seed)
    same = (own["label"] == mirrored["label"]).to_numpy()
    agreement = bootstrap_interval(
        np.stack([same, np.ones(len(crops))], axis=1),
        lambda sums: sums[:, 0] / sums[:, 1],
        clusters, draws=draws, seed=seed,
    )  # fmt: skip
    row = pd.DataFrame([[*agreement, 0]], columns=table.columns)
    row.index = pd.MultiIndex.from_tuples([("expression", "agreement")], names=table.index.names)
    return pd.concat([table, row])


@torch.no_grad()
def landmark_errors_pct_iod(judge: Judge, crops: EmoNetCrops) -> NDArray[np.float64]:
    """Say how far EmoNet's own landmarks are from known ones: whether it sees the faces.

    Args:
        judge: of an EmoNet.
        crops: the faces.

    Returns:
        (N,) mean distance over 68 landmarks in per cent of the distance of the outer eye corners;
        NaN where landmarks are unknown.
    """
    images = as_images(crops.faces.numpy()).to(judge.device)
    found, known = heatmap_landmarks(judge.network(images).heatmaps).cpu(), crops.landmarks_px
    eyes = (known[:, _OUTER_EYES[0]] - known[:, _OUTER_EYES[1]]).norm(dim=1)
    return (100 * (found - known).norm(dim=2).mean(dim=1) / eyes).double().numpy()


def check_sight(judge: Judge, images: np.ndarray, landmarks_px: np.ndarray) -> None:
    """Refuse an EmoNet that does not see the faces: whose own landmarks lie elsewhere.

    Weights that fit by name need not be trained ones; this asks real faces, the first few that have
    landmarks. Where none has, it says nothing.

    Args:
        judge: of an EmoNet.
        images: (N, H, W, 3) uint8 RGB, such as a store's faces.
        landmarks_px: (N, 68, 2) float in their pixels, NaN unknown.

    Raises:
        ValueError: the median error exceeds ``MAX_LANDMARK_ERROR_PCT_IOD``.
    """
    known = np.flatnonzero(np.isfinite(landmarks_px).all(axis=(1, 2)))[:_SIGHT_FACES]
    if not len(known):
        return
    parts = (torch.from_numpy(np.array(part[known])) for part in (images, landmarks_px))
    errors = landmark_errors_pct_iod(judge, cut_emonet_crops(*parts))
    error = np.nanmedian(errors)
    # A comparison with NaN is false: landmarks that fit no crop do not count as seen.
    if not error <= MAX_LANDMARK_ERROR_PCT_IOD:
        raise ValueError(
            f"judge {judge.spec.name!r} is not valid: its landmarks are {error:.0f} % of the eyes' "
            f"distance away from those of {len(errors)} faces; check the file, the pictures (RGB) "
            "and their landmarks"
        )
