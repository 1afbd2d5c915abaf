"""The study of notebook 06, step by step: learn from renders, fit photographs, learn from the fits.

Nothing here chooses on test people: renders are split by subject, and what is learned from
photographs (colours, the leak of expressions into β, the second stage) comes from the training
people of another data set than the one it is tested on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from fer_lib import assets
from fer_lib.config import FaceEncoderConfig, resolve_device
from fer_lib.datasets.sources import MESH_ASSET
from fer_lib.datasets.store import Store
from fer_lib.faces.fitting.albedo_basis import AlbedoBasis, learn_albedo
from fer_lib.faces.fitting.calibration import Calibration, learn_calibration
from fer_lib.faces.fitting.correspondence import Correspondence, correspondence
from fer_lib.faces.heads import HEADS, narrow_head
from fer_lib.faces.morphable import MorphableModel
from fer_lib.faces.params import FaceParams
from fer_lib.faces.warp import resize_points, to_uint8
from fer_lib.networks.checkpoints import Lineage
from fer_lib.networks.face_encoder import Encoding, FaceEncoder, FaceEncoderSpec, encode
from fer_lib.networks.face_estimate import Estimate, FaceEstimator, without_photo
from fer_lib.networks.linear_encoder import LinearEncoder
from fer_lib.training.face_batches import KNOWN, FaceSet
from fer_lib.training.face_encoder import FaceEncoderTraining, TrainedEncoder, train_face_encoder
from fer_lib.training.face_points import project_landmarks

_RENDERS = dict.fromkeys(KNOWN, 1.0) | {"mesh": 0.0}
# Another head's β and ψ mean something else; where it looks and how it is lit means the same.
_OTHER_HEAD = {"pose": 0.5, "camera": 0.5, "light": 0.5, "mesh": 0.5}
# A fit is no truth: it teaches less than a render, and its mesh more than its coefficients.
_FITTED = {"shape": 0.3, "expression": 0.3, "pose": 0.5, "camera": 0.5, "mesh": 1.0}
_COLOUR_FACES = 300


@dataclass(frozen=True)
class Faces:
    """Some rows of a store, in memory.

    Attributes:
        crops: (N,S,S,3) uint8.
        mesh: (N,478,3) crop pixels, NaN where not found or not looked for.
        scores: (N,52), likewise.
        subjects: (N,) names.
        rows: (N,) positions in the store.
    """

    crops: Tensor
    mesh: Tensor
    scores: Tensor
    subjects: np.ndarray
    rows: np.ndarray

    @classmethod
    def load(cls, store: Store, rows: np.ndarray) -> Faces:
        """Read rows of a store."""
        extras = {
            name: torch.from_numpy(np.array(store.extras[name][rows]))
            if name in store.extras
            else torch.full((len(rows), *shape), torch.nan)
            for name, shape in (("mesh", (478, 3)), ("arkit", (52,)))
        }
        subjects = store.index["subject"].iloc[rows].to_numpy()
        crops = torch.from_numpy(np.array(store.faces[rows]))
        return cls(crops, extras["mesh"], extras["arkit"], subjects, rows)

    def __len__(self) -> int:
        """Give the number of faces."""
        return len(self.rows)

    @property
    def has_mesh(self) -> bool:
        """Whether any face has a mesh."""
        return bool(self.mesh.isfinite().any())

    @property
    def people(self) -> Tensor:
        """(N,) int64 number of each person."""
        return torch.from_numpy(pd.factorize(self.subjects)[0]).long()


def head_of(store: Store) -> str:
    """Name the head that drew a synthetic store.

    Raises:
        ValueError: the store was not drawn.
    """
    settings = store.card["lineage"].get("settings", {})
    if "model" not in settings and not store.params:
        raise ValueError(
            "expected a store with true face parameters, got photographs; name them PHOTOGRAPHS"
        )
    return settings.get("model", "embedded")


def true_params(store: Store, rows: np.ndarray) -> FaceParams:
    """Read the true parameters of drawn faces."""
    return FaceParams.from_numpy({name: values[rows] for name, values in store.params.items()})


def render_set(store: Store, rows: np.ndarray, spec: FaceEncoderSpec) -> FaceSet:
    """Take drawn faces to learn from: all that is known of this head, pose and light of another."""
    if head_of(store) != spec.model:
        return FaceSet.of(store, rows, spec, _OTHER_HEAD)
    model = narrow_head(spec.model)
    landmarks = project_landmarks(true_params(store, rows), model, store.size)
    return FaceSet.of(store, rows, spec, _RENDERS, landmarks_px=landmarks)


def photograph_set(
    store: Store, faces: Faces, estimate: Estimate, spec: FaceEncoderSpec, size: int
) -> FaceSet:
    """Take photographs to learn from, with their fits as uncertain truth.

    Args:
        store: of the photographs.
        faces: some of them.
        estimate: their fits; refused ones are left out.
        spec: of the encoder.
        size: side of the crops in pixels that the other faces of the training have.

    Returns:
        The set, its crops shrunk to that side and kept in memory.
    """
    good = estimate.good
    fits = estimate.params[good]
    full = FaceSet.of(store, faces.rows[good.numpy()], spec, _FITTED, params=fits)
    crops = faces.crops[good].permute(0, 3, 1, 2).float() / 255
    points = {
        "landmarks_px": resize_points(full.truth.landmarks_px, store.size, size),
        "mesh": torch.cat(
            [
                resize_points(full.truth.mesh[..., :2], store.size, size),
                full.truth.mesh[..., 2:] * (size / store.size),
            ],
            dim=2,
        ),
    }
    shrunk = to_uint8(interpolate(crops, [size, size], mode="area")).numpy()
    return FaceSet(shrunk, np.arange(len(shrunk)), replace(full.truth, **points))


def mesh_points(model: MorphableModel) -> Correspondence:
    """Give the learned places of the mesh's points on a head's narrow face."""
    drawn = HEADS[model.name]()
    return correspondence(model, drawn, assets.get(MESH_ASSET))


def encoder_spec(model: MorphableModel, cfg: FaceEncoderConfig, mesh: bool) -> FaceEncoderSpec:
    """Size the encoder; without meshes in the store it reads pictures alone."""
    return FaceEncoderSpec.of(
        model, image_size=cfg.image_size, depth=cfg.depth, width=cfg.width, hidden=cfg.hidden,
        mesh_modes=cfg.mesh_modes if mesh else 0,
    )  # fmt: skip


def encoder_training(
    cfg: FaceEncoderConfig, epochs: int, share: float = 1.0
) -> FaceEncoderTraining:
    """Give the training's settings; ``share`` lowers the learning rate of a later stage."""
    return FaceEncoderTraining(
        epochs=epochs, batch_size=cfg.batch_size, learning_rate=share * cfg.learning_rate,
        precision=cfg.precision, device=resolve_device(cfg.device), seed=cfg.seed,
    )  # fmt: skip


def learn_from_renders(
    model: MorphableModel,
    spec: FaceEncoderSpec,
    stores: tuple[Store, ...],
    cfg: FaceEncoderConfig,
) -> TrainedEncoder:
    """Train an encoder on drawn faces; the first store's head is the one that is encoded.

    Args:
        model: the narrow face.
        spec: of the encoder.
        stores: of drawn faces.
        cfg: settings.

    Returns:
        The encoder in the state of its best epoch on the validation people of the first store.
    """
    sets = [render_set(store, store.select(split="train"), spec) for store in stores]
    validation = render_set(stores[0], stores[0].select(split="val"), spec)
    torch.manual_seed(cfg.seed)
    where = mesh_points(model) if spec.mesh_modes and len(stores) > 1 else None
    return train_face_encoder(
        FaceEncoder(spec), model, sets, encoder_training(cfg, cfg.epochs),
        validation=validation, correspondence=where, description="learning from renders",
    )  # fmt: skip


def learn_from_fits(
    network: FaceEncoder,
    model: MorphableModel,
    store: Store,
    photographs: FaceSet,
    cfg: FaceEncoderConfig,
) -> TrainedEncoder:
    """Go on with photographs among the renders; renders of unseen people still choose the epoch."""
    renders = render_set(store, store.select(split="train"), network.spec)
    validation = render_set(store, store.select(split="val"), network.spec)
    return train_face_encoder(
        network, model, [renders, photographs], encoder_training(cfg, cfg.photo_epochs, 0.3),
        validation=validation, correspondence=mesh_points(model),
        description="learning from fits",
    )  # fmt: skip


def lineage_of(stores: Sequence[Store]) -> Lineage:
    """Say what an encoder has met: the training people of all stores that it learned from."""
    people = {
        subject
        for store in stores
        for subject in store.index["subject"].iloc[store.select(split="train")].dropna()
    }
    return Lineage(frozenset(store.card["hash"] for store in stores), frozenset(people))


def linear_rival(store: Store, spec: FaceEncoderSpec) -> LinearEncoder:
    """Fit the linear inverse of the mesh on the same renders."""
    faces = Faces.load(store, store.select(split="train"))
    params = true_params(store, faces.rows)
    return LinearEncoder.fit(spec, params, faces.mesh, faces.scores, faces.people, store.size)


def proposer(network: FaceEncoder):  # noqa: ANN201 - a `face_estimate.Proposer`
    """Let an encoder propose to an estimator."""

    def propose(faces: Tensor, mesh: Tensor, scores: Tensor) -> Encoding:
        answer = encode(network, faces, mesh, scores)
        tensors = answer.params.to("cpu")
        return Encoding(tensors, answer.shape_log_var.cpu(), answer.expression_log_var.cpu())

    return propose


def learn_colours(estimator: FaceEstimator, store: Store, seed: int = 0) -> AlbedoBasis:
    """Learn a luminance basis of skin from training people of photographs, one each."""
    faces = _training_people(store, several=False, limit=_COLOUR_FACES, seed=seed)
    estimate = without_photo(estimator).estimate(faces.crops, faces.mesh, faces.scores)
    good = estimate.good
    images = faces.crops[good].permute(0, 3, 1, 2).float() / 255
    return learn_albedo(
        estimator.model, estimate.params[good], images, store.card["source"],
        store.card["licence"], luminance=True,
    )  # fmt: skip


def fit_people(
    estimator: FaceEstimator, store: Store, *, together: bool, limit: int, seed: int = 0
) -> tuple[Faces, Estimate]:
    """Fit training people of whom there are several photographs.

    Args:
        estimator: how.
        store: of photographs.
        together: whether photographs of a person share β: a teacher; apart they teach how β moves
            with an expression.
        limit: number of photographs at most.
        seed: of their choice.

    Returns:
        The faces and their fits.
    """
    faces = _training_people(store, several=True, limit=limit, seed=seed)
    groups = faces.people if together else None
    return faces, estimator.estimate(faces.crops, faces.mesh, faces.scores, groups)


def learn_leak(faces: Faces, estimate: Estimate) -> Calibration:
    """Learn how expressions leak into β from separate fits of the same people."""
    good = estimate.good
    params = estimate.params[good]
    return learn_calibration(params.shape, params.expression, faces.people[good])


def _training_people(store: Store, *, several: bool, limit: int, seed: int) -> Faces:
    """Photographs of people with several of them, or one each of people without."""
    rows = store.select(split="train")
    subjects = store.index["subject"].iloc[rows]
    repeated = subjects.duplicated(keep=False).to_numpy()
    rows = rows[repeated == several]
    people = pd.factorize(store.index["subject"].iloc[rows])[0]
    order = np.random.default_rng(seed).permutation(people.max(initial=-1) + 1)[people]
    kept = np.argsort(order, kind="stable")[:limit]
    return Faces.load(store, np.sort(rows[kept]))


def with_proposer(estimator: FaceEstimator, network: FaceEncoder) -> FaceEstimator:
    """The same estimator starting from another network's answer."""
    return replace(estimator, proposer=proposer(network))
