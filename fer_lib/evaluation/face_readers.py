"""Recognisers that answer about faces in pictures: judges, and the landmark fusion of 02.

A judge sees a crop; the fusion also wants the landmarks in it. Both take a picture and the place of
its face, so whoever reads photographs and clips need not know which of them answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
import torch

from fer_lib.evaluation.crop_rules import CUTS, FacePlace, cut_faces
from fer_lib.evaluation.judges import Judge
from fer_lib.faces.align import seed_affine
from fer_lib.faces.warp import transform_points
from fer_lib.networks.checkpoints import load_recogniser
from fer_lib.networks.landmark_fusion import LandmarkFusion
from fer_lib.tables import probability_columns
from fer_lib.training.inference import Faces, predict
from fer_lib.weights import state_hash

FUSION_NAME = "landmark fusion of 02"
SCHEMES = {"ibug68": 68, "five": 5}
"""Landmark schemes that are found in photographs, and their numbers of points."""

Pictures = Sequence[np.ndarray | None]
Places = Sequence[FacePlace | None]


class FaceReader(Protocol):
    """Answers about the face of each picture.

    Attributes:
        name: as it stands in tables.
        emotions: class names in the order of its probabilities.
    """

    name: str
    emotions: tuple[str, ...]

    def read(self, pictures: Pictures, places: Places) -> pd.DataFrame:
        """Say which emotion each face shows.

        Args:
            pictures: N arrays (H, W, 3) uint8 RGB, or None without a place.
            places: of their faces, None where there is none.

        Returns:
            N rows: ``p_<emotion>``, ``label``, of a reader of affect ``valence`` and ``arousal``
            in [-1, 1]; NaN and no label where the face could not be cut.
        """


class JudgeReader:
    """A judge that is shown faces of people whom nobody knows.

    Args:
        judge: any whose crop rule is in ``crop_rules.CUTS``.

    Raises:
        ValueError: the judge is not valid, or cuts by another rule.
    """

    def __init__(self, judge: Judge) -> None:
        if judge.faults:
            raise ValueError(f"judge {judge.spec.name!r} is not valid: {'; '.join(judge.faults)}")
        if judge.spec.crop not in CUTS:
            raise ValueError(f"judge {judge.spec.name!r} cuts by unknown rule {judge.spec.crop!r}")
        self._judge, self.name, self.emotions = judge, judge.spec.name, judge.spec.emotions

    def read(self, pictures: Pictures, places: Places) -> pd.DataFrame:
        """Say which emotion each face shows, as ``FaceReader.read``."""
        crops = cut_faces(pictures, places, self._judge.spec)
        named = zip(map(str, range(len(crops))), crops, strict=True)
        tables = list(self._judge.judge_stream(named, batch_size=max(1, len(crops))))
        return pd.concat(tables, ignore_index=True).drop(columns="sample_id")


class FusionReader:
    """The RGB and landmark fusion; without landmarks it is its RGB branch's answer, fused alone.

    Args:
        path: a fusion checkpoint of notebook 02.
        scheme: of the landmarks that it learned from, a key of ``SCHEMES``.
        device: where it answers.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file holds no fusion, or not the recorded weights, or its landmarks are not
            found in photographs.
    """

    def __init__(
        self, path: Path, scheme: str = "ibug68", device: torch.device | str = "cpu"
    ) -> None:
        found = load_recogniser(path)
        if not isinstance(found.network, LandmarkFusion):
            raise ValueError(f"expected a landmark fusion in {path.name}, found another network")
        if state_hash(found.network.state_dict()) != found.recorded_sha256:
            raise ValueError(f"{path.name} is not valid: its weights are not the recorded ones")
        if scheme not in SCHEMES:
            raise ValueError(
                f"expected a fusion trained on landmarks out of {list(SCHEMES)}, {path.name} "
                f"learned from {scheme!r}, which are not found in photographs"
            )
        self.name, self.emotions, self._scheme = FUSION_NAME, found.emotions, scheme
        self._network, self._device = found.network.to(device), device
        self._side = found.network.rgb.config["image_size"]

    def read(self, pictures: Pictures, places: Places) -> pd.DataFrame:
        """Say which emotion each face shows, as ``FaceReader.read``."""
        cut = CUTS["tight"]
        crops = [
            None if place is None else cut(picture, place, self._side)
            for picture, place in zip(pictures, places, strict=True)
        ]
        rows = [row for row, crop in enumerate(crops) if crop is not None]
        cells = np.full((len(crops), len(self.emotions)), np.nan, np.float32)
        labels = np.full(len(crops), None, object)
        if rows:
            cells[rows] = self._probabilities(
                [crops[row] for row in rows], [places[row] for row in rows]
            )
            labels[rows] = np.array(self.emotions, object)[cells[rows].argmax(axis=1)]
        table = pd.DataFrame(cells, columns=probability_columns(self.emotions))
        return table.assign(label=pd.Series(labels, dtype="str"))

    def _probabilities(self, crops: Pictures, places: Sequence[FacePlace]) -> np.ndarray:
        points = torch.stack([self._landmarks(place) for place in places])
        faces = Faces.of(np.stack(crops), points, np.zeros(len(crops))).to(self._device)
        return predict(self._network, faces, device=self._device)["fusion"]

    def _landmarks(self, place: FacePlace) -> torch.Tensor:
        """Landmarks in the tight crop, (K, 2) px; NaN where they are unknown."""
        points = place.five if self._scheme == "five" else place.landmarks
        if points is None:
            return torch.full((SCHEMES[self._scheme], 2), torch.nan)
        matrix, _ = seed_affine(torch.from_numpy(place.five)[None], self._side)
        return transform_points(torch.from_numpy(points)[None], matrix)[0]
