"""From a photograph to the parameters of a face: a ResNet on the crop beside an MLP on the mesh.

After DECA (Feng et al., SIGGRAPH 2021), with group norm – an answer never depends on its batch –
and with a variance per coefficient of shape and expression, so that a fit can start from it. The
sizes come from a spec: any morphable model will do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fer_lib.faces.expression import clip_expression
from fer_lib.faces.morphable import MorphableModel
from fer_lib.faces.params import CAMERA_COLUMNS, FaceParams
from fer_lib.networks.face_view import View
from fer_lib.networks.group_resnet import DEPTHS, trunk, trunk_features
from fer_lib.networks.mesh_reader import MeshReader

_LOG_VARIANCE = (-8.0, 4.0)
_INSIDE = (0.02, 0.98)
_GREY, _CONTRAST = 0.45, 0.25


@dataclass(frozen=True)
class FaceEncoderSpec:
    """Everything that decides the encoder's sizes and the meaning of its numbers.

    Attributes:
        model: name of the morphable model.
        n_shape: number of β.
        n_albedo: number of α.
        psi_low: least value of every ψ.
        psi_high: greatest value of every ψ.
        image_size: side of the view in px.
        central: share of the crop's side that the view shows.
        depth: 18 or 50, torchvision's ResNets.
        width: channels of the first stage; 64 is the published network.
        hidden: width of the layers behind both branches.
        mesh_modes: principal components of the mesh that are read; 0 reads no mesh.
        camera_kind: ``perspective`` or ``weak_perspective``.
        distance_iod: the perspective camera's fixed distance.
    """

    model: str
    n_shape: int
    n_albedo: int
    psi_low: tuple[float, ...]
    psi_high: tuple[float, ...]
    image_size: int = 96
    central: float = 0.7
    depth: int = 18
    width: int = 64
    hidden: int = 512
    mesh_modes: int = 160
    camera_kind: str = "perspective"
    distance_iod: float = 16.0

    def __post_init__(self) -> None:
        """Refuse networks that do not exist.

        Raises:
            ValueError: depth, width, share or camera is refused.
        """
        if self.depth not in DEPTHS or self.width % 4 or self.width <= 0:
            raise ValueError(
                "expected depth 18 or 50 and a width that is a multiple of 4, got "
                f"{self.depth} and {self.width}"
            )
        if self.camera_kind not in CAMERA_COLUMNS or not 0 < self.central <= 1:
            raise ValueError(
                f"expected a camera out of {sorted(CAMERA_COLUMNS)} and a central share in (0, 1], "
                f"got {self.camera_kind!r} and {self.central}"
            )

    @classmethod
    def of(cls, model: MorphableModel, **options: float | str) -> FaceEncoderSpec:
        """Take the sizes from a model; ``options`` are further fields."""
        widest = torch.full((len(model.expression_names),), math.inf)
        low, high = (clip_expression(s * widest, model.expression_names) for s in (-1, 1))
        sizes = (len(model.shape_names), len(model.albedo_names))
        return cls(model.name, *sizes, tuple(low.tolist()), tuple(high.tolist()), **options)

    @property
    def sizes(self) -> dict[str, int]:
        """Length of every part of the network's answer, in its order."""
        return {
            "shape": self.n_shape, "expression": len(self.psi_low), "pose": 3, "camera": 3,
            "light": 27, "albedo": self.n_albedo,
            "shape_log_var": self.n_shape, "expression_log_var": len(self.psi_low),
        }  # fmt: skip


class Encoding(NamedTuple):
    """What an encoder says of B faces; camera, roll and light belong to the frame of ``params``.

    Attributes:
        params: mean of every parameter.
        shape_log_var: (B,n_shape) log variance of β.
        expression_log_var: (B,n_expr) log variance of ψ.
    """

    params: FaceParams
    shape_log_var: Tensor
    expression_log_var: Tensor

    @property
    def prior(self) -> tuple[Tensor, Tensor]:
        """Gaussian over (β, ψ) for a fit: mean and variance, (B,n_shape + n_expr) each."""
        mean = torch.cat([self.params.shape, self.params.expression], dim=1)
        return mean, torch.cat([self.shape_log_var, self.expression_log_var], dim=1).exp()


class FaceEncoder(nn.Module):
    """The encoder; either of its two inputs may be missing.

    Args:
        spec: its sizes.
    """

    def __init__(self, spec: FaceEncoderSpec) -> None:
        super().__init__()
        self.spec = spec
        self.trunk = trunk(spec.depth, spec.width, spec.image_size)
        self.image_layer = nn.Linear(trunk_features(spec.depth, spec.width), spec.hidden)
        self.no_image = nn.Parameter(torch.zeros(spec.hidden))
        total = sum(spec.sizes.values())
        if spec.mesh_modes:
            self.reader = MeshReader(spec.mesh_modes)
            self.mesh_layers = _mlp(self.reader.length, spec.hidden, spec.hidden)
            self.no_mesh = nn.Parameter(torch.zeros(spec.hidden))
            # Most of what the mesh tells is linear in it.
            self.shortcut = nn.Linear(self.reader.length, total, bias=False)
            nn.init.zeros_(self.shortcut.weight)
        self.head = _mlp(spec.hidden, spec.hidden, total)
        self.register_buffer("centre", torch.zeros(total))
        self.register_buffer("spread", torch.ones(total))
        self.register_buffer("calibrated", torch.tensor(False))
        self.register_buffer("psi_low", torch.tensor(spec.psi_low), persistent=False)
        self.register_buffer("psi_high", torch.tensor(spec.psi_high), persistent=False)

    @torch.no_grad()
    def calibrate(self, params: FaceParams) -> None:
        """Let a fresh network answer the average face, on the scale of the parameters.

        Args:
            params: faces to learn from, in the frame of the view.
        """
        parts = self._parts(params)
        mean = torch.cat([part.mean(0) for part in parts])
        spread = torch.cat([part.std(0) for part in parts]).clamp_min(1e-3)
        psi_part = slice(self.spec.n_shape, self.spec.n_shape + len(self.spec.psi_low))
        log_var = torch.cat([params.shape, params.expression], 1).var(0).clamp_min(1e-4).log()
        mean[psi_part] = mean[psi_part].clamp(*_INSIDE).logit()
        spread[psi_part] = 1.0
        self.centre.copy_(torch.cat([mean, log_var]))
        self.spread.copy_(torch.cat([spread, torch.ones_like(log_var)]))
        self.calibrated.fill_(True)

    def raw_targets(self, params: FaceParams) -> Tensor:
        """Give what the last layer would have to say of B faces in the frame of the view.

        Returns:
            (B,P): every mean, before centre and spread; ψ kept inside its range for the sigmoid.
        """
        parts = self._parts(params)
        parts[1] = parts[1].clamp(*_INSIDE).logit()
        values = torch.cat(parts, dim=1)
        count = values.shape[1]
        return (values - self.centre[:count]) / self.spread[:count]

    def _parts(self, params: FaceParams) -> list[Tensor]:
        """The means as the answer's layout has them; ψ as a share of its range."""
        psi = (params.expression - self.psi_low) / (self.psi_high - self.psi_low)
        camera = torch.cat([params.camera[:, :1].log(), params.camera[:, 1:3]], dim=1)
        light = params.light.flatten(1)
        return [params.shape, psi, params.pose, camera, light, params.albedo]

    def forward(
        self,
        images: Tensor | None,
        mesh: Tensor | None = None,
        scores: Tensor | None = None,
        seen: Tensor | None = None,
    ) -> Encoding:
        """Encode views.

        Args:
            images: (B,3,S,S) float RGB in [0, 1], S = ``image_size``; None where there is only the
                mesh.
            mesh: (B,478,3) as ``View.points`` gives it, NaN in the rows of faces without.
            scores: (B,52) in [0, 1], NaN likewise.
            seen: (B,) bool, False hides a face's image; None shows all.

        Returns:
            The answer in the frame of the view, float32.

        Raises:
            ValueError: the images have another size, or there is neither image nor mesh.
        """
        reads_mesh = mesh is not None and scores is not None and self.spec.mesh_modes > 0
        if images is None and not reads_mesh:
            raise ValueError(
                "expected images or a mesh with scores that the encoder reads, got none"
            )
        hidden, straight = 0.0, 0.0
        if reads_mesh:
            features, known = self._read_mesh(mesh, scores)
            hidden = torch.where(known[:, None], self.mesh_layers(features), self.no_mesh)
            straight = self.shortcut(features)
        elif self.spec.mesh_modes:
            hidden = self.no_mesh
        if images is None:
            return self._decode(self.head(hidden + self.no_image) + straight)
        image = self._read_image(images)
        image = image if seen is None else torch.where(seen[:, None], image, self.no_image)
        return self._decode(self.head(hidden + image) + straight)

    def _read_mesh(self, mesh: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        # A fraction of a per cent of the face matters here: too little for half precision.
        with torch.autocast(mesh.device.type, enabled=False):
            return self.reader(mesh.float(), scores.float())

    def _read_image(self, images: Tensor) -> Tensor:
        side = self.spec.image_size
        if images.shape[1:] != (3, side, side):
            raise ValueError(
                f"expected views (B, 3, {side}, {side}), got {tuple(images.shape)}; cut them by "
                "View.cut"
            )
        return self.image_layer(self.trunk((images - _GREY) / _CONTRAST).flatten(1))

    def _decode(self, raw: Tensor) -> Encoding:
        values = raw.float() * self.spread + self.centre
        names = dict(
            zip(self.spec.sizes, values.split(list(self.spec.sizes.values()), 1), strict=True)
        )
        psi = self.psi_low + (self.psi_high - self.psi_low) * names["expression"].sigmoid()
        camera = [names["camera"][:, :1].clamp(-6, 3).exp(), names["camera"][:, 1:]]
        if self.spec.camera_kind == "perspective":
            camera.append(torch.full_like(camera[0], self.spec.distance_iod))
        params = FaceParams(
            names["shape"], psi, names["pose"], torch.cat(camera, dim=1), names["albedo"],
            names["light"].unflatten(1, (9, 3)), self.spec.camera_kind,
        )  # fmt: skip
        variances = (
            names[f"{part}_log_var"].clamp(*_LOG_VARIANCE) for part in ("shape", "expression")
        )
        return Encoding(params, *variances)


@torch.no_grad()
def encode(
    network: FaceEncoder,
    faces: Tensor | None,
    mesh: Tensor | None = None,
    scores: Tensor | None = None,
    crop_px: int | None = None,
    batch_size: int = 64,
) -> Encoding:
    """Encode any number of a store's faces.

    Args:
        network: the encoder; it is put into evaluation mode.
        faces: (N,S,S,3) uint8 loose crops; None encodes the mesh alone.
        mesh: (N,478,3) in crop pixels, NaN or None where unknown.
        scores: (N,52), likewise.
        crop_px: side of the crop; needed without faces.
        batch_size: faces at a time; matters to the speed alone.

    Returns:
        The answer in the frame of the crops, on the network's device.

    Raises:
        ValueError: neither faces nor the side of their crop are given.
    """
    crop_px = crop_px if faces is None else faces.shape[1]
    if crop_px is None:
        raise ValueError(
            "expected crop_px where there are no faces, got None; pass the store's size"
        )
    network.eval()
    device, parts = network.centre.device, []
    count = len(mesh if faces is None else faces)
    for start in range(0, count, batch_size):
        rows = slice(start, min(start + batch_size, count))
        view = View.central(rows.stop - start, network.spec.central, device)
        images = (
            None if faces is None else view.cut(faces[rows].to(device), network.spec.image_size)
        )
        points = None if mesh is None else view.points(mesh[rows].to(device), crop_px)
        answer = network(images, points, None if scores is None else scores[rows].to(device))
        parts.append(answer._replace(params=view.inverse().params(answer.params)))
    return join_encodings(parts)


def join_encodings(parts: Sequence[Encoding]) -> Encoding:
    """Put answers one behind the other."""
    names = [field.name for field in fields(FaceParams) if field.name != "camera_kind"]
    tensors = {n: torch.cat([getattr(part.params, n) for part in parts]) for n in names}
    return Encoding(
        parts[0].params.replace(**tensors),
        torch.cat([part.shape_log_var for part in parts]),
        torch.cat([part.expression_log_var for part in parts]),
    )


def _mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.LayerNorm(hidden), nn.GELU(), nn.Linear(hidden, outputs)
    )
