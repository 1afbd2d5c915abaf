"""Codes of faces for the rig editor: what notebook 06 reads in pictures, and a second opinion.

The encoder that guides an editor must not measure it. The second one has another backbone, another
seed and has learned from other people.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from fer_lib.config import RigEditorConfig, resolve_device
from fer_lib.datasets.store import Store
from fer_lib.faces.action_units import action_units
from fer_lib.faces.fitting.albedo_basis import AlbedoBasis, painted_albedo
from fer_lib.faces.fitting.calibration import Calibration
from fer_lib.faces.heads import narrow_head
from fer_lib.faces.params import FaceParams
from fer_lib.labels import AU_COLUMNS
from fer_lib.networks.checkpoints import Lineage
from fer_lib.networks.face_encoder import FaceEncoder, encode
from fer_lib.networks.face_encoder_file import load_face_encoder
from fer_lib.networks.face_estimate import (
    ON_PHOTOGRAPHS,
    ON_RENDERS,
    FaceEstimator,
    calibrated,
    coloured,
)
from fer_lib.training.face_encoder import FaceEncoderTraining, train_face_encoder
from fer_lib.training.face_study import Faces, mesh_points, render_set, with_proposer
from fer_lib.weights import state_hash

_OTHER_DEPTH = {18: 50, 50: 18}
_BATCH = 32


@dataclass(frozen=True)
class CodeReader:
    """An encoder, with the fit where there is a mesh; it reads drawn faces or photographs.

    Attributes:
        network: the encoder.
        lineage: what it has been in touch with, itself included.
        painted: the fit in the head's own colours; None where the encoder reads pictures alone.
        colours: of photographs, if they were learned.
        leak: of expressions into β, if it was learned.
    """

    network: FaceEncoder
    lineage: Lineage
    painted: FaceEstimator | None = None
    colours: AlbedoBasis | None = None
    leak: Calibration | None = None

    @classmethod
    def load(cls, checkpoint: Path) -> CodeReader:
        """Read what notebook 06 has written: the encoder, and colours and leak beside it.

        Args:
            checkpoint: the encoder's file.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: a file holds something else.
        """
        network, lineage = load_face_encoder(checkpoint)
        own = frozenset([state_hash(network.state_dict())])
        lineage = replace(lineage, networks=lineage.networks | own)
        if not network.spec.mesh_modes:
            return cls(network, lineage)
        face = narrow_head(network.spec.model)
        painted = FaceEstimator(face, mesh_points(face), painted_albedo(face), config=ON_RENDERS)
        colours, leak = (checkpoint.with_name(name) for name in ("colours.npz", "leak.npz"))
        return cls(
            network, lineage, with_proposer(painted, network),
            AlbedoBasis.load(colours) if colours.is_file() else None,
            Calibration.load(leak) if leak.is_file() else None,
        )  # fmt: skip

    def drawn(self, faces: Faces) -> FaceParams:
        """Read drawn faces: encoder and fit, or the encoder alone where there is no mesh."""
        if self.painted is None or not faces.has_mesh:
            return encode(self.network, faces.crops).params.to("cpu")
        return self.painted.estimate(faces.crops, faces.mesh, faces.scores).params

    def photographs(self, faces: Faces, *, together: bool = False) -> FaceParams:
        """Read photographs, in the head's own colours.

        Args:
            faces: photographs with their meshes.
            together: whether photographs of a person share β.

        Returns:
            The parameters; where no mesh was found, the encoder's answer.
        """
        if self.painted is None or not faces.has_mesh:
            return self.drawn(faces)
        basis = self.colours or self.painted.albedo
        estimator = replace(self.painted, albedo=basis, config=ON_PHOTOGRAPHS)
        groups = faces.people if together else None
        params = estimator.estimate(faces.crops, faces.mesh, faces.scores, groups).params
        if self.leak and not together:
            size = faces.crops.shape[1]
            params = calibrated(estimator, params, faces.mesh, size, self.leak)
        return self._coloured(params, faces)

    def _coloured(self, params: FaceParams, faces: Faces) -> FaceParams:
        """Colour those faces whose mesh says where they are."""
        seen = faces.mesh.isfinite().flatten(1).all(1).nonzero()[:, 0]
        painted = coloured(self.painted, params[seen], faces.crops[seen], faces.mesh[seen])
        albedo, light = params.albedo.clone(), params.light.clone()
        albedo[seen], light[seen] = painted.albedo, painted.light
        return params.replace(albedo=albedo, light=light)


def train_guide(
    first: FaceEncoder, store: Store, rows: np.ndarray, cfg: RigEditorConfig
) -> FaceEncoder:
    """Train the encoder that guides an editor: it reads pictures alone, through which gradients go.

    An encoder that has a mesh relies on it. This one starts from its picture half.

    Args:
        first: the encoder that reads codes.
        store: of drawn faces.
        rows: (N,) positions of faces to learn from.
        cfg: settings.

    Returns:
        The encoder, in evaluation mode.
    """
    guide = FaceEncoder(replace(first.spec, mesh_modes=0))
    own = guide.state_dict()
    guide.load_state_dict({
        name: value if value.shape == own[name].shape else own[name]
        for name, value in first.state_dict().items() if name in own
    })  # fmt: skip
    return _trained(guide, store, rows, cfg, cfg.encoder_epochs, cfg.seed, "guide")


def unmet_faces(store: Store, other: Store | None = None) -> tuple[Store, np.ndarray]:
    """Find faces of people that nobody has learned from or is tested on, for the second encoder.

    Drawn people are told apart by their number and by the head and seed they were made from.

    Args:
        store: of the editor.
        other: drawn faces of other people; None takes the validation people.

    Returns:
        A store, and the positions of the faces in it.

    Raises:
        ValueError: all people of the other store are those of the first one.
    """
    if other is None:
        return store, store.select(split="val")
    rows = other.select(split="train")
    if _made_from(store) == _made_from(other):
        met = other.index["subject"].iloc[rows].isin(store.index["subject"])
        rows = rows[~met.to_numpy()]
    if not len(rows):
        raise ValueError(
            "expected drawn faces of other people for the second encoder, got the editor's own; "
            "make their store with another SEED"
        )
    return other, rows


def _made_from(store: Store) -> tuple[object, object]:
    settings = store.card["lineage"].get("settings", {})
    return settings.get("model"), settings.get("seed")


def train_second_encoder(
    first: FaceEncoder, store: Store, rows: np.ndarray, cfg: RigEditorConfig
) -> FaceEncoder:
    """Train the encoder that measures: another backbone, another seed, other people.

    Args:
        first: the encoder that guides the editor, of the same head.
        store: of drawn faces.
        rows: (N,) positions of faces of people that the first has not learned from.
        cfg: settings.

    Returns:
        The encoder on the CPU, in evaluation mode.
    """
    spec = replace(first.spec, depth=_OTHER_DEPTH[first.spec.depth])
    seed = cfg.seed + 1
    torch.manual_seed(seed)
    second = FaceEncoder(spec)
    return _trained(second, store, rows, cfg, cfg.encoder_epochs, seed, "second encoder").to("cpu")


def _trained(
    network: FaceEncoder, store: Store, rows: np.ndarray, cfg: RigEditorConfig, epochs: int,
    seed: int, description: str,
) -> FaceEncoder:  # fmt: skip
    training = FaceEncoderTraining(
        epochs=epochs, batch_size=_BATCH, precision=cfg.precision,
        device=resolve_device(cfg.device), seed=seed,
    )  # fmt: skip
    head, faces = narrow_head(network.spec.model), render_set(store, rows, network.spec)
    return train_face_encoder(network, head, [faces], training, description=description).network


def read_pictures(
    network: FaceEncoder, stores: Sequence[Store], names: Sequence[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Let an encoder read pictures, each as it is found in its own store.

    Args:
        network: the encoder.
        stores: the source store and those of edit sets' pictures.
        names: of the pictures.

    Returns:
        β and intensities of the action units; rows are the names, each once.

    Raises:
        ValueError: a picture is in none of the stores.
    """
    wanted = pd.Index(names).unique()
    known = pd.concat([store.index["sample_id"] for store in stores])
    if missing := len(wanted.difference(known)):
        raise ValueError(f"expected pictures of these stores, {missing} are in none; add theirs")
    both = pd.concat([_read(network, store, wanted) for store in stores]).loc[wanted]
    units = [*AU_COLUMNS]
    return both.drop(columns=units), both[units]


def _read(network: FaceEncoder, store: Store, wanted: pd.Index) -> pd.DataFrame:
    ids = store.index["sample_id"]
    rows = np.flatnonzero(ids.isin(wanted))
    if not len(rows):
        return pd.DataFrame()
    faces = Faces.load(store, rows)
    reads_mesh = network.spec.mesh_modes > 0 and faces.has_mesh
    seen = (faces.mesh, faces.scores) if reads_mesh else (None, None)
    params = encode(network, faces.crops, *seen).params.to("cpu")
    names = narrow_head(network.spec.model).expression_names
    units = action_units(params.expression, names).numpy()
    beta = pd.DataFrame(params.shape.numpy(), index=ids.iloc[rows].to_numpy())
    return beta.assign(**dict(zip(AU_COLUMNS, units.T, strict=True)))
