"""Where the points of the landmark mesh lie on a morphable face, learned from pictures of it.

The mesh and a morphable model call different places by the same name, so nothing is matched by
hand: faces are drawn, the mesh looks at them, and every mesh point gets the place on the surface
that follows
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor

from fer_lib import paths
from fer_lib.faces.camera import project, to_camera
from fer_lib.faces.fitting.response import learn_response, mirror_of
from fer_lib.faces.light import sample_light
from fer_lib.faces.mesh import FaceMesh
from fer_lib.faces.morphable import MorphableModel
from fer_lib.faces.params import FaceParams
from fer_lib.faces.render import render
from fer_lib.weights import state_hash

N_POINTS = 468
# Changes with what is learned, so that an older file is not taken for the newer.
_METHOD = b"places and response"
_PICTURE_PX, _IOD_PX = 256, 60.0
_TRUNCATION, _ROBUST, _ROUNDS, _LEAST_SIGMA = 0.15, 0.02, 3, 0.005
_SUM_WEIGHT = 10.0
_YAW, _PITCH, _ROLL = 0.15, 0.10, 0.05
_SHOWN, _STRONGEST, _COLOURS, _SMILES = 0.10, 0.8, 0.5, ("mouthSmile", "au12")
_DISTANCE = (12.0, 24.0)
_LEAST_SEEN = 0.5


@dataclass(frozen=True)
class Correspondence:
    """Places of the mesh's surface points on a morphable face.

    Attributes:
        vertices: (468,M) int64 vertices that a point is mixed from.
        weights: (468,M) float32 their shares, not negative, sum 1; 0 where fewer are needed.
        sigma: (468,) float32 standard deviation of a coordinate, in inter-ocular distances.
        response: (1+n_shape+n_expr,468,2) float32 what the mesh sees beyond those places: a
            constant, and per unit of each coefficient; x right, y up, inter-ocular distances.
    """

    vertices: Tensor
    weights: Tensor
    sigma: Tensor
    response: Tensor

    def points(self, values: Tensor) -> Tensor:
        """Read values of the vertices at the points.

        Args:
            values: (...,V,C), such as vertices of heads or a basis.

        Returns:
            (...,468,C).
        """
        weights = self.weights.to(values)[..., None]
        return (values[..., self.vertices.to(values.device), :] * weights).sum(-2)

    def save(self, path: Path) -> None:
        """Write to an npz file.

        Args:
            path: where to; its folder is made.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.part.npz")
        np.savez(beside, **{name: value.cpu().numpy() for name, value in vars(self).items()})
        beside.replace(path)

    @classmethod
    def load(cls, path: Path) -> Correspondence:
        """Read what `save` wrote.

        Args:
            path: the npz file.

        Returns:
            The correspondence on the CPU.

        Raises:
            ValueError: the file is not such an npz.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                return cls(**{f.name: torch.from_numpy(file[f.name]) for f in fields(cls)})
        except (OSError, KeyError, ValueError) as error:
            raise ValueError(
                f"expected correspondences in {path.name}, cannot read them ({error}); delete the "
                "file, it is learned anew"
            ) from error


def correspondence(face: MorphableModel, drawn: MorphableModel, bundle: Path) -> Correspondence:
    """Give the correspondence of a model and the mesh, learned at first use and then kept.

    Args:
        face: the model whose vertices are looked for, such as the narrow face.
        drawn: the same head with all its parts, for the pictures.
        bundle: the mesh's `face_landmarker.task`.

    Returns:
        The correspondence; kept under `models/<model>` of the data folder by a hash of both
        models' tables and of the bundle.
    """
    tables = {
        f"{k}.{name}": getattr(m, name).cpu()
        for k, m in enumerate((face, drawn))
        for name in ("template", "shape_basis", "expression_basis", "triangles", "albedo_mean")
    }
    key = hashlib.sha256(_METHOD + bundle.read_bytes() + state_hash(tables).encode()).hexdigest()[
        :16
    ]
    path = paths.model_dir(face.name) / f"correspondence_{key}.npz"
    if not path.is_file():
        generator = torch.Generator().manual_seed(0)
        learn_correspondence(face, drawn, FaceMesh(bundle), generator).save(path)
    return Correspondence.load(path)


def learn_correspondence(
    face: MorphableModel,
    drawn: MorphableModel,
    mesh: FaceMesh,
    generator: torch.Generator,
    faces: int = 160,
) -> Correspondence:
    """Learn where the mesh's points lie, from drawn faces and their mirror images.

    Per point the vertex with the least truncated mean distance is chosen, then shares of it and
    its neighbours by non-negative least squares, re-weighted against outliers (Geman & McClure
    1987); what remains is the response. A point and its mirror partner get mirrored places.

    Args:
        face: the model whose vertices are looked for.
        drawn: the same head with all its parts, for the pictures.
        mesh: finds the points.
        generator: of the faces.
        faces: how many are drawn; each is also looked at mirrored.

    Returns:
        The correspondence.

    Raises:
        ValueError: the mesh finds fewer than half of the drawn faces.
    """
    params = _drawn_faces(drawn, generator, faces)
    seen, places, found = _look(face, drawn, mesh, params)
    mirror, flip = mirror_of(face), places.new_tensor([-1.0, 1.0])
    both = torch.cat([places, places[:, mirror.vertices] * flip])
    points = torch.cat(seen.unbind(1))
    # The partner of k is the point that is where k was when the picture is mirrored.
    partner = (seen[:, 0, :, None] - (seen[:, 1] * flip)[:, None]).norm(dim=-1).mean(0).argmin(1)
    vertices, weights = _match(points, both, face.triangles)
    vertices = torch.cat([vertices, mirror.vertices[vertices[partner]]], dim=1)
    weights = torch.cat([weights, weights[partner]], dim=1) / 2
    beta = torch.cat([params.shape[found], params.shape[found] * mirror.signs])
    psi = params.expression[found]
    psi = torch.cat([psi, psi[:, mirror.modes] * mirror.mode_signs])
    error = points - (both[:, vertices] * weights[..., None]).sum(2)
    response, sigma = learn_response(error * places.new_tensor([1.0, -1.0]), beta, psi)
    return Correspondence(vertices, weights, sigma.clamp_min(_LEAST_SIGMA), response)


def _drawn_faces(model: MorphableModel, generator: torch.Generator, count: int) -> FaceParams:
    """Faces of all kinds, a third with the expression that photographs show most, the smile."""
    shape = torch.randn(count, len(model.shape_names), generator=generator).clamp(-2.5, 2.5)
    names = model.expression_names
    shown = torch.rand(count, len(names), generator=generator) < _SHOWN
    psi = _STRONGEST * torch.rand(count, len(names), generator=generator) * shown
    smile = torch.tensor([n.startswith(_SMILES) for n in names])
    smiling = torch.rand(count, 1, generator=generator)
    psi = torch.where(smile & (smiling < 1 / 3), 3 * _STRONGEST * smiling, psi)
    turn = torch.tensor([_PITCH, _YAW, _ROLL])
    near, far = _DISTANCE
    camera = torch.zeros(count, 4)
    camera[:, 0] = _IOD_PX / _PICTURE_PX
    camera[:, 3] = near + (far - near) * torch.rand(count, generator=generator)
    return FaceParams(
        shape,
        psi,
        turn * torch.randn(count, 3, generator=generator),
        camera,
        _COLOURS * torch.randn(count, len(model.albedo_names), generator=generator),
        sample_light(generator, count),
    )


def _look(
    face: MorphableModel, drawn: MorphableModel, mesh: FaceMesh, params: FaceParams
) -> tuple[Tensor, Tensor, Tensor]:
    """Mesh points (N,2,468,2), straight and mirrored, vertices (N,V,2), and which faces (N,)."""
    seen, places, faces = [], [], []
    for k in range(len(params)):
        one = params[k]
        image = render(drawn, one, _PICTURE_PX).image[0].permute(1, 2, 0).numpy()
        image = (image * 255).round().astype(np.uint8)
        found = [mesh.find(np.ascontiguousarray(i)) for i in (image, image[:, ::-1])]
        if None in found:
            continue
        faces.append(k)
        centre = (_PICTURE_PX - 1) / 2
        seen.append(np.stack([(f.points[:N_POINTS, :2] - centre) / _IOD_PX for f in found]))
        projected = project(to_camera(face.vertices(one.shape, one.expression), one.pose), one,
                            _PICTURE_PX)  # fmt: skip
        places.append((torch.cat([projected.x_px, projected.y_px]).T - centre) / _IOD_PX)
    if len(seen) < _LEAST_SEEN * len(params):
        raise ValueError(
            f"expected the mesh to find most of {len(params)} drawn faces, it found {len(seen)}; "
            "look at a picture of the model"
        )
    return torch.from_numpy(np.stack(seen)), torch.stack(places), torch.tensor(faces)


def _match(points: Tensor, places: Tensor, triangles: Tensor) -> tuple[Tensor, Tensor]:
    """Vertices (468,M) and weights (468,M) of points (N,468,2) at places (N,V,2)."""
    far = sum(torch.cdist(p, v).clamp_max(_TRUNCATION) for p, v in zip(points, places, strict=True))
    edges = torch.cat([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    edges = torch.cat([edges, edges.flip(1)])
    rows = []
    for k, vertex in enumerate(far.argmin(1)):
        ring = torch.cat([vertex[None], edges[edges[:, 0] == vertex, 1].unique()])
        rows.append((ring, _mix(places[:, ring].numpy(), points[:, k].numpy())))
    width = max(len(ring) for ring, _ in rows)
    vertices = torch.stack([torch.cat([r, r[:1].expand(width - len(r))]) for r, _ in rows])
    weights = torch.stack(
        [torch.nn.functional.pad(torch.from_numpy(w), (0, width - len(w))) for _, w in rows]
    )
    return vertices, weights.float()


def _mix(places: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Shares (M,) of places (N,M,2) that follow points (N,2)."""
    trust = np.ones(len(points))
    for _ in range(_ROUNDS):
        root = np.sqrt(trust)[:, None]
        rows = (places.transpose(0, 2, 1) * root[..., None]).reshape(-1, places.shape[1])
        # A strong last equation makes the shares sum to one.
        rows = np.vstack([rows, np.full(places.shape[1], _SUM_WEIGHT)])
        weights, _ = nnls(rows, np.append((points * root).ravel(), _SUM_WEIGHT))
        weights /= weights.sum()
        square = ((np.einsum("nmc,m->nc", places, weights) - points) ** 2).sum(1)
        trust = (_ROBUST**2 / (_ROBUST**2 + square)) ** 2
    return weights
