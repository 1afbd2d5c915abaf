"""The two trainings of a rig editor, from stores to networks, as plain calls.

Every training is written down as it goes: started again with the same settings, data and code it
goes on where it was broken off, and ends with the same weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from fer_lib import paths, provenance
from fer_lib.config import RigEditorConfig, resolve_device
from fer_lib.datasets.store import Store
from fer_lib.editing.rig import RigEditor
from fer_lib.editing.rig_batches import (
    RigBatch,
    RigSet,
    rig_loader,
    shrink_pictures,
    to_pixels,
)
from fer_lib.editing.rig_file import make_rig
from fer_lib.editing.rig_loss import KeepingWeights, diffusion_step, keeping_step
from fer_lib.editing.rig_reader import Reader, encoder_reading, measure_reader
from fer_lib.evaluation.rig_codes import CodeReader, train_guide
from fer_lib.evaluation.rig_faces import RigFaces, named_people
from fer_lib.faces.morphable import MorphableModel
from fer_lib.faces.operations import mirror_table
from fer_lib.networks.checkpoints import Lineage
from fer_lib.training.average import MovingAverage
from fer_lib.training.face_study import true_params
from fer_lib.training.loop import Values, fit
from fer_lib.training.resume import Checkpoints
from fer_lib.weights import state_hash

NOTEBOOK = "07_train_diffusion_editor"
_WARM_UP = 50
_LONGEST_GRADIENT = 1.0
_LARGE = 128
# Settings that no training depends on: one that was broken off goes on when they change.
_MEASURING = {
    "second_store", "pairs", "sampling_steps", "edit_steps", "test_pairs", "noise_seeds",
    "judges", "embedders", "lpips",
}  # fmt: skip

RigStep = Callable[[RigEditor, RigBatch], tuple[torch.Tensor, Values]]
Preview = Callable[[RigEditor], np.ndarray]
"""Draws a row of (P,s,s,3) uint8 pictures with an editor in training."""


class Stage(NamedTuple):
    """What a training gives beside its network.

    Attributes:
        history: one row per checkpoint, with the ``steps`` done.
        pictures: (P,s,s,3) uint8 that were drawn at every checkpoint, by the number of steps.
        file: of the training under way.
    """

    history: pd.DataFrame
    pictures: dict[int, np.ndarray]
    file: Path


def make_guide(
    store: Store, reader: CodeReader, cfg: RigEditorConfig, lineage: Lineage
) -> tuple[Reader, Lineage]:
    """Train the encoder that guides stage 2, and find out how far it can be believed.

    It learns from the store's training people and is put to the test on its validation people.

    Args:
        store: of drawn faces in groups.
        reader: whose encoder it starts from.
        cfg: settings.
        lineage: of the editor before it is guided.

    Returns:
        The guide, and the lineage of an editor that it has guided.
    """
    device = resolve_device(cfg.device)
    network = train_guide(reader.network, store, store.select(split="train"), cfg).to(device)
    rows = store.select(split="val")
    images = to_pixels(shrink_pictures(store.faces[rows], cfg.image_size)).to(device)
    groups = torch.from_numpy(pd.factorize(store.index["pair"].iloc[rows])[0]).to(device)
    truth = true_params(store, rows).to(device)
    guide = measure_reader(encoder_reading(network), images, truth, groups)
    met = store.index["subject"].iloc[np.r_[store.select(split="train"), rows]]
    own = {state_hash(network.state_dict())}
    return guide, replace(
        lineage, subjects=lineage.subjects | named_people(met), networks=lineage.networks | own
    )


def fresh_editor(cfg: RigEditorConfig) -> RigEditor:
    """Make the networks that settings name, with weights that follow from the seed."""
    torch.manual_seed(cfg.seed)
    code = {"depth": cfg.depth, "length": cfg.code_length, "width": cfg.code_width}
    denoiser = {"size": cfg.image_size, "widths": cfg.widths, "code_length": cfg.code_length}
    # As in the published sizes; small pictures attend where they are 8 px wide.
    attends = 16 if cfg.image_size >= _LARGE else 8
    sides = {cfg.image_size >> level for level in range(len(cfg.widths))}
    denoiser |= {"attention": sorted(sides & {attends})}
    if cfg.image_size >= _LARGE:
        denoiser |= {"blocks": 2, "dropout": 0.1}
    denoiser |= {"groups": math.gcd(32, *(width // 4 for width in cfg.widths))}
    return make_rig({"denoiser": denoiser, "code": code | {"size": cfg.image_size}, "schedule": {}})


def train_prior(
    editor: RigEditor,
    faces: RigFaces,
    head: MorphableModel,
    cfg: RigEditorConfig,
    preview: Preview | None = None,
) -> Stage:
    """Train stage 1, the prior: every face as itself; arguments as of ``train_stage``."""
    return train_stage(
        editor, diffusion_step, faces.alone, head, cfg, stage="prior", preview=preview
    )


def train_shape(
    editor: RigEditor,
    faces: RigFaces,
    head: MorphableModel,
    guide: Reader,
    cfg: RigEditorConfig,
    preview: Preview | None = None,
) -> Stage:
    """Train stage 2, in which β must not change: edits too, read by the guide."""
    # What is drawn is no face any more but what a photograph lacks: nothing, to begin with.
    for part in editor.denoiser.unet.conv_out.parameters():
        torch.nn.init.zeros_(part)
    weights = KeepingWeights(shape=cfg.keeping_weight, expression=cfg.keeping_weight)
    step = partial(keeping_step, reader=guide, weights=weights)
    return train_stage(editor, step, faces.edits, head, cfg, stage="shape", preview=preview)


def train_stage(
    editor: RigEditor,
    step: RigStep,
    sets: Sequence[RigSet],
    head: MorphableModel,
    cfg: RigEditorConfig,
    *,
    stage: str,
    preview: Preview | None = None,
) -> Stage:
    """Train an editor in one stage; an "epoch" is what lies between two checkpoints.

    Args:
        editor: changed in place; ends on the settings' device with its averaged weights.
        step: gives the loss of a batch.
        sets: what to learn from.
        head: whose faces they are.
        cfg: settings.
        stage: ``prior`` or ``shape``; names its settings and its file.
        preview: draws a row of pictures after every checkpoint.

    Returns:
        History, pictures and file; ``forget`` the file once all is done.

    Raises:
        ValueError: there is nothing to learn from, or the file is of another training.
    """
    device = resolve_device(cfg.device)
    steps, rate = getattr(cfg, f"{stage}_steps"), getattr(cfg, f"{stage}_learning_rate")
    epochs = math.ceil(steps / cfg.checkpoint_steps)
    loader = rig_loader(
        sets, cfg.batch_size, batches=math.ceil(steps / epochs), table=mirror_table(head)
    )
    editor.to(device, memory_format=torch.channels_last)
    optimiser = AdamW(editor.parameters(), rate, weight_decay=0.0)
    average = MovingAverage(editor, cfg.ema)
    file = training_file(stage, cfg, sets)

    def show(epoch: int) -> None:
        if preview is not None:
            with average.applied():
                _write_row(_preview_file(file, (epoch + 1) * len(loader)), preview(editor))

    history = fit(
        lambda batch: step(editor, batch), loader, [editor], optimiser, epochs,
        scheduler=LambdaLR(optimiser, lambda done: min(1.0, (done + 1) / _WARM_UP)),
        scheduler_every="step", device=device, precision=cfg.precision, seed=cfg.seed,
        max_gradient_norm=_LONGEST_GRADIENT, on_step=lambda done: average.update(), on_epoch=show,
        checkpoints=Checkpoints(file, len(loader), file.stem, {"average": average}),
        description=f"stage {stage}",
    )  # fmt: skip
    editor.load_state_dict(average.weights)
    editor.eval()
    return Stage(history.assign(steps=(history["epoch"] + 1) * len(loader)), _previews(file), file)


def training_file(stage: str, cfg: RigEditorConfig, sets: Sequence[RigSet]) -> Path:
    """Give the file of a training under way: settings, data and code decide its name."""
    tensors = [[int(part.sum()) for part in (one.pictures, one.buffers)] for one in sets]
    settings = {name: value for name, value in cfg.as_dict().items() if name not in _MEASURING}
    told = [stage, settings, tensors, provenance.source_hash(None)]
    folder = paths.results_dir() / NOTEBOOK / "under_way"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{stage}-{provenance.json_hash(told)[:16]}.safetensors"


def forget(file: Path) -> None:
    """Delete what a finished training has left on the disk."""
    for path in [file, *file.parent.glob(f"{file.stem}-*.png")]:
        path.unlink(missing_ok=True)


def _previews(file: Path) -> dict[int, np.ndarray]:
    found = sorted(file.parent.glob(f"{file.stem}-*.png"))
    return {int(path.stem.rpartition("-")[2]): _read_row(path) for path in found}


def _preview_file(file: Path, steps: int) -> Path:
    return file.with_name(f"{file.stem}-{steps:07d}.png")


def _write_row(path: Path, pictures: np.ndarray) -> None:
    """Write (P,s,s,3) uint8 side by side, to be looked at while the training goes on."""
    Image.fromarray(np.concatenate(list(pictures), axis=1)).save(path)


def _read_row(path: Path) -> np.ndarray:
    with Image.open(path, formats=["PNG"]) as row:
        pixels = np.asarray(row)
    return np.stack(np.split(pixels, pixels.shape[1] // pixels.shape[0], axis=1))
