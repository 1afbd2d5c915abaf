"""Faces for training an encoder: arrays of stores, what is known of them, batches by person.

A set says of every face and factor how far its numbers are to be trusted: 1 for the exact truth of
a render, less for a fit, 0 where nothing is known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from fer_lib.datasets.store import Store
from fer_lib.faces.mesh_points import ARKIT_NAMES, MESH_POINTS
from fer_lib.faces.morphable import N_LANDMARKS
from fer_lib.faces.params import FaceParams
from fer_lib.networks.face_encoder import FaceEncoderSpec

KNOWN: tuple[str, ...] = (
    "shape", "expression", "pose", "camera", "albedo", "light", "landmarks", "mesh",
)  # fmt: skip
"""What a set can know of a face; ``mesh`` is the mesh as a target, not as an input."""


@dataclass(frozen=True)
class FaceBatch:
    """Some faces with their truth; tensors on one device.

    Attributes:
        faces: (B,S,S,3) uint8 loose crops.
        params: parameters in the frame of the crop; zeros where nothing is known.
        landmarks_px: (B,68,2) crop pixels; NaN unknown.
        mesh: (B,478,3) crop pixels; NaN unknown.
        scores: (B,52) in [0, 1]; NaN unknown.
        subjects: (B,) int64, a number per person; negative where unknown.
        trust: (B,8) float32 weight of each factor, in the order of ``KNOWN``.
    """

    faces: Tensor
    params: FaceParams
    landmarks_px: Tensor
    mesh: Tensor
    scores: Tensor
    subjects: Tensor
    trust: Tensor

    def __len__(self) -> int:
        """Give the number of faces."""
        return len(self.faces)

    def to(self, device: torch.device | str) -> FaceBatch:
        """Give the same batch on a device."""
        return FaceBatch(*(getattr(self, field.name).to(device) for field in fields(self)))

    def __getitem__(self, chosen: slice | Tensor) -> FaceBatch:
        """Take some of the faces."""
        return FaceBatch(*(getattr(self, field.name)[chosen] for field in fields(self)))

    def known(self, name: str) -> Tensor:
        """Give the weights (B,) of one of ``KNOWN``."""
        return self.trust[:, KNOWN.index(name)]


@dataclass(frozen=True)
class FaceSet:
    """Faces of one source; rows are fetched from the disk when a batch needs them.

    Attributes:
        faces: (M,S,S,3) uint8, memory-mapped or not.
        rows: (N,) int64, which of them belong to the set.
        truth: everything else of a batch, N faces, with ``faces`` empty.
    """

    faces: np.ndarray
    rows: np.ndarray
    truth: FaceBatch

    @classmethod
    def of(
        cls,
        store: Store,
        rows: np.ndarray,
        spec: FaceEncoderSpec,
        trust: Mapping[str, float],
        params: FaceParams | None = None,
        landmarks_px: Tensor | None = None,
    ) -> FaceSet:
        """Take faces of a store.

        Args:
            store: where they are.
            rows: (N,) positions.
            spec: the encoder they are for.
            trust: weight of each of ``KNOWN``; absent ones weigh 0.
            params: N fits; None takes the true parameters of the store.
            landmarks_px: (N,68,2) crop pixels, such as ``project_landmarks`` gives them where the
                mesh has looked at renders; None takes the store's.

        Returns:
            The set. Faces with a number that is not finite are not trusted in that factor.

        Raises:
            ValueError: a factor is unknown, or trusted parameters do not fit the encoder.
        """
        if stray := set(trust) - set(KNOWN):
            raise ValueError(f"expected trust in some of {KNOWN}, got {sorted(stray)}")
        rows = np.asarray(rows, dtype=np.int64)
        if params is None and store.params:
            params = FaceParams.from_numpy({k: v[rows] for k, v in store.params.items()})
        params = _fitting(params, spec, len(rows), trust)
        landmarks = landmarks_px
        if landmarks is None:
            landmarks = _array(store.landmarks, rows, (N_LANDMARKS, 2))
        mesh = _array(store.extras.get("mesh"), rows, (MESH_POINTS, 3))
        scores = _array(store.extras.get("arkit"), rows, (len(ARKIT_NAMES),))
        finite = [getattr(params, name).flatten(1).isfinite().all(1) for name in KNOWN[:6]]
        finite += [points.flatten(1).isfinite().all(1) for points in (landmarks, mesh)]
        weights = torch.tensor([trust.get(name, 0.0) for name in KNOWN]) * torch.stack(finite, 1)
        cleaned = {name: getattr(params, name).nan_to_num(0, 0, 0) for name in KNOWN[:6]}
        subjects = torch.from_numpy(pd.factorize(store.index["subject"].iloc[rows])[0])
        no_faces = torch.empty(len(rows), 0, dtype=torch.uint8)
        truth = FaceBatch(
            no_faces, params.replace(**cleaned), landmarks, mesh, scores, subjects.long(), weights
        )
        return cls(store.faces, rows, truth)

    def __len__(self) -> int:
        """Give the number of faces."""
        return len(self.rows)

    @property
    def crop_px(self) -> int:
        """Side of the crops in pixels."""
        return self.faces.shape[1]

    def take(self, positions: Sequence[int] | np.ndarray | Tensor) -> FaceBatch:
        """Fetch the faces at some positions of the set."""
        chosen = torch.as_tensor(positions, dtype=torch.int64)
        faces = torch.from_numpy(np.ascontiguousarray(self.faces[self.rows[chosen.numpy()]]))
        return replace(self.truth[chosen], faces=faces)


def join(batches: Sequence[FaceBatch]) -> FaceBatch:
    """Put batches of one crop size together; people of different batches are different people.

    Raises:
        ValueError: crops or parameters have different sizes.
    """
    sides = {batch.faces.shape[1] for batch in batches}
    if len(sides) != 1:
        raise ValueError(f"expected stores of one size, got {sorted(sides)} px; write them alike")
    parts = {
        f.name: torch.cat([getattr(batch, f.name) for batch in batches])
        for f in fields(FaceBatch) if f.name not in ("params", "subjects")
    }  # fmt: skip
    tensors = {n: torch.cat([getattr(b.params, n) for b in batches]) for n in KNOWN[:6]}
    base, subjects = 0, []
    for batch in batches:
        subjects.append(torch.where(batch.subjects < 0, -1, batch.subjects + base))
        base += int(batch.subjects.max()) + 1 if len(batch) else 0
    params = batches[0].params.replace(**tensors)
    return FaceBatch(params=params, subjects=torch.cat(subjects), **parts)


def face_loader(sets: Sequence[FaceSet], batch_size: int, together: int = 2) -> DataLoader:
    """Make a loader of shuffled batches in which photographs of a person come together.

    Args:
        sets: where the faces come from; all are mixed.
        batch_size: faces per batch; a last smaller batch is left out of the epoch.
        together: faces of one person that stay next to each other.
    """
    ends = np.cumsum([0, *(len(one) for one in sets)])

    def collate(positions: list[int]) -> FaceBatch:
        places = np.asarray(positions)
        parts = [
            one.take(places[(places >= low) & (places < high)] - low)
            for one, low, high in zip(sets, ends, ends[1:], strict=False)
        ]
        return join([part for part in parts if len(part)])

    sampler = _ByPerson(sets, min(batch_size, int(ends[-1])), together)
    return DataLoader(range(int(ends[-1])), batch_sampler=sampler, collate_fn=collate)


class _ByPerson(Sampler[list[int]]):
    """Batches of positions; groups of one person's faces are shuffled as a whole."""

    def __init__(self, sets: Sequence[FaceSet], batch_size: int, together: int) -> None:
        people, base = [], 0
        for one in sets:
            own = one.truth.subjects.numpy()
            # Whoever is unknown is a person alone.
            own = np.where(own < 0, own.max(initial=-1) + 1 + np.arange(len(own)), own)
            people.append(own + base)
            base += int(own.max(initial=-1)) + 1
        self.people = np.concatenate(people)
        self.batch_size, self.together = batch_size, together

    def __len__(self) -> int:
        return len(self.people) // self.batch_size

    def __iter__(self) -> Iterator[list[int]]:
        mixed = torch.randperm(len(self.people)).numpy()
        order = mixed[np.argsort(self.people[mixed], kind="stable")]
        people = self.people[order]
        first = np.r_[True, people[1:] != people[:-1]]
        starts = np.flatnonzero(first)[np.cumsum(first) - 1]
        rank = (np.arange(len(order)) - starts) // self.together
        group = np.cumsum(first | np.r_[True, rank[1:] != rank[:-1]]) - 1
        key = torch.randperm(int(group[-1]) + 1).numpy()[group]
        order = order[np.argsort(key, kind="stable")]
        for k in range(len(self)):
            yield order[k * self.batch_size : (k + 1) * self.batch_size].tolist()


def _array(values: np.ndarray | None, rows: np.ndarray, shape: tuple[int, ...]) -> Tensor:
    """Rows of an array; NaN where it is absent or holds something else."""
    if values is None or values.shape[1:] != shape:
        return torch.full((len(rows), *shape), torch.nan)
    return torch.from_numpy(np.array(values[rows], dtype=np.float32))


def _fitting(
    params: FaceParams | None, spec: FaceEncoderSpec, count: int, trust: Mapping[str, float]
) -> FaceParams:
    """The parameters in the encoder's sizes and camera; zeros stand for another model's factors."""
    sizes = {**spec.sizes, "light": 9}
    kinds = {"shape": (), "expression": (), "albedo": (), "pose": (), "light": (3,)}
    tensors = {}
    for name, rest in kinds.items():
        shape = (count, sizes[name], *rest)
        tensor = None if params is None else getattr(params, name)
        if tensor is not None and tuple(tensor.shape) != shape and trust.get(name, 0) > 0:
            raise ValueError(
                f"expected {name} of shape {shape} for the model {spec.model}, got "
                f"{tuple(tensor.shape)}; trust it 0 where it is another model's"
            )
        fits = tensor is not None and tuple(tensor.shape) == shape
        tensors[name] = tensor if fits else torch.full(shape, torch.nan)
    # One inter-ocular distance at the pivot means the same to both kinds of camera.
    camera = torch.full((count, 3), torch.nan) if params is None else params.camera[:, :3]
    if spec.camera_kind == "perspective":
        camera = torch.cat([camera, torch.full((count, 1), spec.distance_iod)], dim=1)
    return FaceParams(**tensors, camera=camera, camera_kind=spec.camera_kind)
