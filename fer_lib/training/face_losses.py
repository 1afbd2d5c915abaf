"""What an encoder of faces is punished for, after DECA (Feng et al., SIGGRAPH 2021).

Every term is a mean over the batch in which each face counts as far as its truth is trusted: a
factor of weight 0 pulls at nothing. ψ is compared by squares: the median of a sparse coefficient is
0, so absolute errors would teach to answer 0. Terms are scaled to be about 1 for a rough guess.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fer_lib.faces.fitting.correspondence import Correspondence
from fer_lib.faces.morphable import N_LANDMARKS, MorphableModel
from fer_lib.faces.params import FaceParams
from fer_lib.faces.render import render
from fer_lib.networks.face_encoder import Encoding
from fer_lib.training.face_points import FacePoints, spread_of

# Upper and lower lids, and inner lips, of the 68: what closes an eye or a mouth.
_LID_PAIRS = ((37, 41), (38, 40), (43, 47), (44, 46))
_LIP_PAIRS = ((61, 67), (62, 66), (63, 65))
_SPREADS = {"pose": 0.1, "light": 0.15, "albedo": 1.0, "shape": 1.0, "expression": 0.2}
_SCALE_SPREAD, _SHIFT_SPREAD = 0.05, 0.03
_NEUTRAL_MM, _EXPRESSION_MM = 2.5, 2.0


@dataclass(frozen=True)
class FaceLossWeights:
    """Weight of every term; 0 leaves it out.

    Attributes:
        landmarks: 68 projected landmarks against the known ones.
        mesh: projected mesh points against the mesh, where a correspondence is given.
        eyes: opening of the eyes in the landmarks.
        lips: opening of the mouth.
        parameters: every known parameter by itself.
        variance: likelihood of the errors of β and ψ under the answered variances.
        vertices: neutral face and expression over the whole surface.
        consistency: β of a person against β of another photograph of the person.
        swap: landmarks with the β of that other photograph.
        photometric: pixels of a few rendered faces.
        regulariser: size of what is not known.
    """

    landmarks: float = 5.0
    mesh: float = 5.0
    eyes: float = 5.0
    lips: float = 2.5
    parameters: float = 0.3
    variance: float = 0.05
    vertices: float = 1.0
    consistency: float = 0.1
    swap: float = 1.0
    photometric: float = 0.0
    regulariser: float = 0.02


class FaceTargets(NamedTuple):
    """The truth of a batch in the frame of its views; positions as ``View.points`` gives them.

    Attributes:
        images: (B,3,S,S) RGB in [0, 1].
        params: parameters.
        landmarks: (B,68,2).
        mesh: (B,478,3).
        subjects: (B,) int64, negative where unknown.
        trust: weight (B,) by name, of ``face_batches.KNOWN``.
    """

    images: Tensor
    params: FaceParams
    landmarks: Tensor
    mesh: Tensor
    subjects: Tensor
    trust: dict[str, Tensor]


class FaceLoss(nn.Module):
    """Sums all terms.

    Args:
        model: whose parameters are encoded; drawn only by the photometric term.
        weights: of the terms.
        correspondence: where the mesh's points lie on the model; without it the mesh is no target.
        rendered_faces: how many faces of a batch the photometric term draws.
        rendered_px: side of these pictures.
    """

    def __init__(
        self,
        model: MorphableModel,
        weights: FaceLossWeights,
        correspondence: Correspondence | None = None,
        rendered_faces: int = 4,
        rendered_px: int = 64,
    ) -> None:
        super().__init__()
        self.model, self.weights = model, weights
        self.rendered_faces, self.rendered_px = rendered_faces, rendered_px
        self.landmarks = FacePoints.landmarks(model, _landmark_weights())
        self.mesh = None if correspondence is None else FacePoints.mesh(model, correspondence)
        shape = _without_size(model.shape_basis, model.template)
        for name, basis in (("shape", shape), ("expression", model.expression_basis)):
            self.register_buffer(f"{name}_metric", surface_metric(basis, model.unit_mm), False)

    def forward(self, answer: Encoding, target: FaceTargets) -> tuple[Tensor, dict[str, Tensor]]:
        """Compare answers with the truth.

        Args:
            answer: of the encoder, in the frame of the views.
            target: the truth there.

        Returns:
            The loss, and every term by name before its weight.
        """
        # Half precision would move the landmarks by a per cent of the face.
        with torch.autocast(target.landmarks.device.type, enabled=False):
            terms = self._points(answer, target) | self._factors(answer, target)
            terms |= {"regulariser": _size_of_the_unknown(answer.params, target.trust)}
            if self.weights.photometric:
                terms["photometric"] = self._pixels(answer.params, target)
            loss = sum(getattr(self.weights, name) * value for name, value in terms.items())
        return loss, terms

    def _points(self, answer: Encoding, target: FaceTargets) -> dict[str, Tensor]:
        params, trust, truth = answer.params, target.trust["landmarks"], target.landmarks
        placed = self.landmarks.place(params)
        terms = {
            "landmarks": (trust * self.landmarks.error(placed, truth)).mean(),
            "eyes": (trust * _opening_error(placed, truth, _LID_PAIRS)).mean(),
            "lips": (trust * _opening_error(placed, truth, _LIP_PAIRS)).mean(),
        }
        partner, has = partners(target.subjects)
        beta = params.shape[partner]
        swapped = self.landmarks.error(self.landmarks.place(params, beta), truth)
        terms["swap"] = (has * trust * swapped).mean()
        terms["consistency"] = (has * (params.shape - beta).square().mean(1)).mean()
        if self.mesh is not None:
            points = target.mesh[:, : len(self.mesh.template), :2]
            error = self.mesh.error(self.mesh.place(params), points)
            terms["mesh"] = (target.trust["mesh"] * error).mean()
        return terms

    def _factors(self, answer: Encoding, target: FaceTargets) -> dict[str, Tensor]:
        params, truth, trust = answer.params, target.params, target.trust
        gaps = {name: getattr(params, name) - getattr(truth, name) for name in _SPREADS}
        squares = {n: (gap / _SPREADS[n]).square().flatten(1).mean(1) for n, gap in gaps.items()}
        squares["camera"] = _camera_error(params.camera, truth.camera)
        spread = {"shape": answer.shape_log_var, "expression": answer.expression_log_var}
        # The variances learn from the errors, but the errors not from the variances: a coefficient
        # that looks hopeless at first would be given up.
        unlikely = {
            name: (log_var + gaps[name].detach().square() / log_var.exp()).mean(1) / 2
            for name, log_var in spread.items()
        }
        surface = {
            "shape": _squared_mm(gaps["shape"], self.shape_metric) / _NEUTRAL_MM**2,
            "expression": _squared_mm(gaps["expression"], self.expression_metric)
            / _EXPRESSION_MM**2,
        }
        groups = {"parameters": squares, "variance": unlikely, "vertices": surface}
        return {
            group: sum((trust[name] * value).mean() for name, value in values.items())
            for group, values in groups.items()
        }

    def _pixels(self, params: FaceParams, target: FaceTargets) -> Tensor:
        some = slice(0, self.rendered_faces)
        drawn = render(self.model, params[some], self.rendered_px, supersample=1)
        seen = nn.functional.interpolate(target.images[some], [self.rendered_px] * 2, mode="area")
        inside = drawn.mask.detach()
        error = ((drawn.image - seen).abs() * inside).sum((1, 2, 3))
        return (error / (3 * inside.sum((1, 2, 3)).clamp_min(1))).mean()


def partners(subjects: Tensor) -> tuple[Tensor, Tensor]:
    """Find another photograph of the same person in a batch.

    Args:
        subjects: (B,) int64, negative where unknown.

    Returns:
        (B,) int64 positions, the nearest after one's own in a circle, and (B,) float32, 0 where
        there is none.
    """
    count = len(subjects)
    places = torch.arange(count, device=subjects.device)
    same = (subjects[:, None] == subjects) & (subjects[:, None] >= 0)
    steps = (places - places[:, None]) % count
    steps = torch.where(same & (steps > 0), steps, count)
    step = steps.min(dim=1).values
    return (places + step) % count, (step < count).float()


def surface_metric(basis: Tensor, unit_mm: float) -> Tensor:
    """Give G with cᵀ G c = mean squared displacement in mm², basis (n,V,3) → (n,n) float32."""
    flat = basis.flatten(1).double() * unit_mm
    return (flat @ flat.T / basis.shape[1]).float()


def _without_size(basis: Tensor, template: Tensor) -> Tensor:
    """Take shift and growth out of a basis: a photograph tells neither from a camera's distance."""
    centred = template - template.mean(0)
    direction = centred / centred.norm()
    basis = basis - basis.mean(1, keepdim=True)
    return basis - (basis * direction).sum((1, 2), keepdim=True) * direction


def _squared_mm(gap: Tensor, metric: Tensor) -> Tensor:
    return ((gap @ metric) * gap).sum(1)


def _camera_error(answer: Tensor, truth: Tensor) -> Tensor:
    # An unknown scale is written as 0.
    scale = (answer[:, 0] / truth[:, 0].clamp_min(1e-3)).clamp(0.1, 10).log() / _SCALE_SPREAD
    shift = (answer[:, 1:3] - truth[:, 1:3]) / _SHIFT_SPREAD
    return (scale.square() + shift.square().sum(1)) / 3


def _opening_error(placed: Tensor, target: Tensor, pairs: tuple[tuple[int, int], ...]) -> Tensor:
    upper, lower = (list(side) for side in zip(*pairs, strict=True))
    target = target.nan_to_num(0)
    gap = placed[:, upper] - placed[:, lower] - (target[:, upper] - target[:, lower])
    return gap.abs().sum(2).mean(1) / spread_of(target)


def _size_of_the_unknown(params: FaceParams, trust: dict[str, Tensor]) -> Tensor:
    colour = params.light - params.light.mean(2, keepdim=True)
    sizes = {"shape": params.shape, "albedo": params.albedo, "light": colour}
    sizes["expression"] = params.expression / _SPREADS["expression"]
    return sum(((1 - trust[n]) * s.square().flatten(1).mean(1)).mean() for n, s in sizes.items())


def _landmark_weights() -> Tensor:
    """DECA's weights of the 68, scaled to a mean of 1."""
    weights = torch.ones(N_LANDMARKS)
    weights[[5, 6, 10, 11]] = 2
    weights[27:36] = weights[48:68] = 1.5
    weights[[30, 31, 35, 48, 54]] = 3
    return weights / weights.mean()
