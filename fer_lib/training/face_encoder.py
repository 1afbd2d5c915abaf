"""Training of a face encoder, on renders with exact truth and on photographs with fits.

The recipe is DECA's (Feng et al., SIGGRAPH 2021) with parameters known where faces are rendered.
Call it twice to go on: first with renders alone, then with photographs among them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd
import torch
from torch import Tensor
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR

from fer_lib.faces.fitting.correspondence import Correspondence
from fer_lib.faces.morphable import MorphableModel
from fer_lib.networks.face_encoder import FaceEncoder
from fer_lib.networks.face_view import View
from fer_lib.networks.linear_encoder import fit_ridge
from fer_lib.training.face_augment import FaceAugmentation, random_view, vary_photographs
from fer_lib.training.face_batches import KNOWN, FaceBatch, FaceSet, face_loader
from fer_lib.training.face_losses import FaceLoss, FaceLossWeights, FaceTargets
from fer_lib.training.face_mirror import FaceMirror
from fer_lib.training.loop import BestState, fit

_RISE = 0.15
_CALIBRATION_FACES = 2000


@dataclass(frozen=True)
class FaceEncoderTraining:
    """How an encoder is trained.

    Attributes:
        epochs: how often every face is seen.
        batch_size: faces per step.
        learning_rate: peak of AdamW's one-cycle schedule.
        weight_decay: AdamW's.
        together: photographs of one person that share a batch.
        no_mesh_probability: of hiding a face's mesh.
        no_image_probability: of hiding its image instead.
        augmentation: how strongly faces are varied.
        weights: of the loss's terms.
        precision: ``fp32`` or ``bf16``, of the forward pass only.
        device: where to train.
        seed: fixes the training.
    """

    epochs: int = 20
    batch_size: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 0.02
    together: int = 2
    no_mesh_probability: float = 0.3
    no_image_probability: float = 0.1
    augmentation: FaceAugmentation = field(default_factory=FaceAugmentation)
    weights: FaceLossWeights = field(default_factory=FaceLossWeights)
    precision: str = "fp32"
    device: torch.device | str = "cpu"
    seed: int = 0


@dataclass(frozen=True)
class TrainedEncoder:
    """What a training gives.

    Attributes:
        network: in evaluation mode; with validation faces, in the state of its best epoch.
        history: one row per epoch: every term of the loss, and ``val_…`` of the validation faces.
    """

    network: FaceEncoder
    history: pd.DataFrame


def train_face_encoder(
    network: FaceEncoder,
    model: MorphableModel,
    sets: Sequence[FaceSet],
    training: FaceEncoderTraining,
    *,
    validation: FaceSet | None = None,
    correspondence: Correspondence | None = None,
    description: str = "face encoder",
) -> TrainedEncoder:
    """Train an encoder; a fresh one is first given the scale of the parameters.

    Args:
        network: changed in place, moved to the training's device.
        model: whose parameters it encodes; the narrow face will do unless pixels are compared.
        sets: what to learn from; the first one calibrates a fresh network, so β and ψ are known.
        training: how.
        validation: faces of other people, which choose the best epoch by their loss.
        correspondence: where the mesh lies on the model, to learn from the mesh of photographs.
        description: name of the progress bar.

    Returns:
        The encoder and its history.

    Raises:
        ValueError: the first set does not know the parameters of a fresh network.
    """
    network.to(training.device)
    if not network.calibrated:
        calibrate(network, sets[0])
    mirror = FaceMirror.of(model, network.reader.reference if network.spec.mesh_modes else None)
    criterion = FaceLoss(model, training.weights, correspondence).to(training.device)
    loader = face_loader(sets, training.batch_size, training.together)
    optimiser = AdamW(
        network.parameters(), training.learning_rate, weight_decay=training.weight_decay
    )
    total = max(training.epochs * len(loader), 3)
    rise = max(_RISE, 2 / total)
    scheduler = OneCycleLR(
        optimiser, training.learning_rate, total, pct_start=rise, cycle_momentum=False
    )
    best = None
    if validation is not None:
        check = _Validation(network, criterion, validation, training)
        best = BestState(network, check, "val_score")
    history = fit(
        lambda batch: encoder_step(network, criterion, mirror, batch, training),
        loader, [network], optimiser, training.epochs,
        scheduler=scheduler, scheduler_every="step", device=training.device,
        precision=training.precision, seed=training.seed, on_epoch=best, description=description,
    )  # fmt: skip
    if best is not None:
        best.restore()
    return TrainedEncoder(network.eval(), history)


def calibrate(network: FaceEncoder, faces: FaceSet) -> None:
    """Give a fresh encoder the scale of its parameters and a linear reading of the mesh.

    Args:
        network: changed in place.
        faces: whose parameters are known.

    Raises:
        ValueError: no face has known parameters.
    """
    some = faces.truth[:_CALIBRATION_FACES].to(network.centre.device)
    known = (some.trust[:, : len(KNOWN) - 2] > 0).all(1)
    if known.sum() < 2:
        raise ValueError(
            "expected a first set whose parameters are all known, got none; renders come first"
        )
    view = View.central(len(some), network.spec.central, network.centre.device)
    network.calibrate(view.params(some.params)[known])
    if network.spec.mesh_modes:
        mesh = view.points(some.mesh, faces.crop_px)
        network.reader.learn(mesh, some.scores)
        features, seen = network.reader(mesh, some.scores)
        both = known & seen
        targets = network.raw_targets(view.params(some.params[both]))
        # The shortcut starts as the best linear answer; the rest learns what that leaves.
        ridge = fit_ridge(features[both], targets, some.subjects[both])
        with torch.no_grad():
            network.shortcut.weight[: targets.shape[1]] = ridge.weight.T
            network.centre[: targets.shape[1]] += ridge.bias * network.spread[: targets.shape[1]]


def encoder_step(
    network: FaceEncoder,
    criterion: FaceLoss,
    mirror: FaceMirror,
    batch: FaceBatch,
    training: FaceEncoderTraining,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Vary a batch, encode it and compare; a step for ``loop.fit``.

    Args:
        network: the encoder.
        criterion: the loss.
        mirror: what changes sides.
        batch: faces on the network's device.
        training: how strongly to vary, how often to hide an input.

    Returns:
        The loss and its terms by name.
    """
    device, count = batch.trust.device, len(batch)
    with torch.no_grad(), torch.autocast(device.type, enabled=False):
        strength = training.augmentation
        batch = mirror.apply(batch, torch.rand(count, device=device) < strength.flip_probability)
        view = random_view(count, network.spec.central, strength, device)
        target = make_targets(batch, view, network.spec.image_size)
        images = vary_photographs(target.images, strength)
        draw = torch.rand(count, device=device)
        hidden = draw < training.no_mesh_probability
        mesh = torch.where(hidden[:, None, None], torch.nan, target.mesh)
        # Only a face whose mesh is there can go without its image.
        seen = (draw < 1 - training.no_image_probability) | ~mesh.isfinite().all(2).all(1)
    if not network.spec.mesh_modes:
        seen = None
    return criterion(network(images, mesh, batch.scores, seen), target)


def make_targets(batch: FaceBatch, view: View, size: int) -> FaceTargets:
    """Bring a batch into the frame of its views.

    Args:
        batch: faces.
        view: B views.
        size: side of their images in pixels.
    """
    crop_px = batch.faces.shape[1]
    return FaceTargets(
        view.cut(batch.faces, size),
        view.params(batch.params),
        view.points(batch.landmarks_px, crop_px),
        view.points(batch.mesh, crop_px),
        batch.subjects,
        {name: batch.known(name) for name in KNOWN},
    )


class _Validation:
    """Gives the terms of the loss on faces as they are, without variation."""

    def __init__(
        self,
        network: FaceEncoder,
        criterion: FaceLoss,
        faces: FaceSet,
        training: FaceEncoderTraining,
    ) -> None:
        self.network, self.criterion, self.faces, self.training = (
            network,
            criterion,
            faces,
            training,
        )

    @torch.no_grad()
    def __call__(self) -> dict[str, float]:
        self.network.eval()
        sums: dict[str, float] = {}
        spec, step = self.network.spec, self.training.batch_size
        for start in range(0, len(self.faces), step):
            places = range(start, min(start + step, len(self.faces)))
            batch = self.faces.take(places).to(self.training.device)
            view = View.central(len(batch), spec.central, batch.trust.device)
            target = make_targets(batch, view, spec.image_size)
            loss, terms = self.criterion(
                self.network(target.images, target.mesh, batch.scores), target
            )
            for name, value in {"score": -loss, **terms}.items():
                sums[name] = sums.get(name, 0.0) + float(value) * len(batch)
        return {f"val_{name}": total / len(self.faces) for name, total in sums.items()}
