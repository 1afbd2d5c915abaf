"""What notebook 90 measures of drawing edits: evaluations of the network, and seconds.

*Evaluations*: how often must a denoiser be asked until its edits are as near to the true ones as
those of DDIM with 100 steps? The mean of all pictures that are possible is nearer to the truth than
any one of them (Blau and Michaeli, "The perception-distortion tradeoff", 2018), and a sampler in a
hurry draws something like that mean: so it is told, too, when the picture itself is the same.
*Seconds*: our sampler beside the pipeline of diffusers, with the same U-Net and the same noise.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from fer_lib.datasets.edits import counterfactual_pairs, one_source_per_target
from fer_lib.datasets.store import Store
from fer_lib.editing.buffers import buffer_head
from fer_lib.editing.carry import draw_edit
from fer_lib.editing.rig import RigEditor
from fer_lib.editing.rig_file import load_rig
from fer_lib.editing.samplers import METHODS, sample, seeded_noise
from fer_lib.evaluation.edit_block import difference
from fer_lib.evaluation.edit_gain import psnr_db
from fer_lib.evaluation.intervals import Interval
from fer_lib.evaluation.rig_pairs import EditTask, balanced_pairs, picture, score_gains
from fer_lib.evaluation.speed import speed, speed_ratio
from fer_lib.faces.morphable import MorphableModel
from fer_lib.networks.denoiser import no_photograph
from fer_lib.networks.diffusers_pipeline import PipelineNetwork, ddim_pipeline, draw_by_pipeline
from fer_lib.training.face_study import true_params

EVALUATIONS = (1, 2, 5, 10, 20, 50, 100)
MARGIN_DB, SAME_DB = 0.1, 40.0
"""What may be lost, and how near a picture is that looks the same: 2.6 of 255 grey levels."""
CARRIED, PRIOR = "carried", "prior"
PIPELINE, OURS = "diffusers' pipeline", "ours"
_REFERENCE = "ddim", EVALUATIONS[-1]
_BATCH, _STEPS = 16, 10
_METRIC = "edit_psnr_face_db"


class Drawer(NamedTuple):
    """A rig editor and the (N,14,S,S) buffers of the edits that it is to draw."""

    rig: RigEditor
    buffers: Tensor


@dataclass(frozen=True)
class DrawingBench:
    """Edits that are drawn from seeded noise by two networks.

    Attributes:
        task: N edits of drawn faces with their true codes.
        drawers: ``CARRIED``, the editor, which sees the photograph as the mesh carries it, and
            ``PRIOR``, stage 1 without it.
    """

    task: EditTask
    drawers: dict[str, Drawer]

    @classmethod
    def load(
        cls, editor: Path, prior: Path, store: Store, edits: int, seed: int, device: torch.device
    ) -> DrawingBench:
        """Read what notebook 07 has trained, and take edits of people whom it has never met.

        Args:
            editor: the editor's file.
            prior: the file of stage 1.
            store: of drawn faces in groups.
            edits: N, or as many as there are.
            seed: of the choice.
            device: where the networks compute.
        """
        saved = {CARRIED: load_rig(editor), PRIOR: load_rig(prior)}
        known = frozenset().union(*(one.lineage.subjects for one in saved.values()))
        size = saved[CARRIED].editor.denoiser.spec.size
        task = unseen_edits(store, known, size, edits, seed)
        rigs = (one.editor.to(device) for one in saved.values())
        return cls.of(task, *rigs, buffer_head(saved[CARRIED].about["head"]))

    @classmethod
    def of(
        cls, task: EditTask, editor: RigEditor, prior: RigEditor, head: MorphableModel
    ) -> DrawingBench:
        """Draw the buffers of a task, once for everything."""
        _, edited = draw_edit(head, task.images, task.source, task.edited)
        edited = edited.to(next(editor.parameters()).device)
        drawers = {CARRIED: Drawer(editor, edited), PRIOR: Drawer(prior, no_photograph(edited))}
        return cls(task, drawers)

    @property
    def drawn(self) -> int:
        """How many edits every way of ``ways`` draws."""
        return min(len(self.task), _BATCH)

    def draw(self, name: str, method: str, evaluations: int) -> np.ndarray:
        """Draw all edits, edit n from seed n: (N,s,s,3) uint8.

        Args:
            name: of the drawer.
            method: of the sampler.
            evaluations: how often the network is asked about each picture.
        """
        rig, buffers = self.drawers[name]
        options = {"steps": evaluations, "method": method}
        made = []
        for start in range(0, len(self.task), _BATCH):
            some = buffers[start : start + _BATCH]
            images = self.task.images[start : start + _BATCH].to(buffers.device)
            seeds = range(start, start + len(images))
            made.append(picture(rig.edit(images, some, some, noise=seeds, **options)))
        return np.concatenate(made)

    def quality(self, seed: int = 0) -> pd.DataFrame:
        """Draw all edits with few evaluations and with many.

        Args:
            seed: of the bootstraps, which draw whole persons.

        Returns:
            A row per drawer, method and number: ``drawer``, ``method``, ``evaluations``,
            ``psnr_db`` (to the true edit, in the face), ``value``, ``low``, ``high``, ``n`` (dB
            lost against 100 steps of DDIM, paired) and ``same_db`` (PSNR to the picture of those).
        """
        tables = {name: self._quality(name, seed) for name in self.drawers}
        return pd.concat(tables, names=["drawer", None]).reset_index("drawer", drop=False)

    def _quality(self, name: str, seed: int) -> pd.DataFrame:
        made = {way: self.draw(name, *way) for way in _WAYS}
        scores = score_gains(self.task, {str(way): images for way, images in made.items()})
        own = scores[scores["metric"] == _METRIC].groupby("editor")["value"].mean()
        rows = []
        for way, images in made.items():
            lost = difference(scores, _METRIC, "", str(_REFERENCE), str(way), seed=seed)
            same = psnr_db(images, made[_REFERENCE], self.task.face).mean()
            rows.append((*way, own[str(way)], *lost, same))
        columns = ["method", "evaluations", "psnr_db", *Interval._fields, "same_db"]
        names = [f"{name}, {method}, {evaluations}" for method, evaluations in made]
        return pd.DataFrame(rows, names, columns)

    def ways(self, steps: int = _STEPS) -> dict[str, Callable[[], np.ndarray]]:
        """Give the ways of drawing the first edits by DDIM, for ``speed.time_ways``.

        Args:
            steps: how often the network is asked; they divide the schedule's.

        Returns:
            Name to work, which gives (B,S,S,3) float32 in [0, 1]; ``PIPELINE`` comes first.
        """
        rig, buffers = self.drawers[CARRIED]
        device, buffers, rig = buffers.device, buffers[: self.drawn], rig.eval()
        with torch.no_grad():
            z = rig.code(self.task.images[: self.drawn].to(device))
        network = PipelineNetwork(partial(rig, buffers=buffers, z=z), buffers.shape[-1], device)
        pipeline = ddim_pipeline(network, rig.schedule.alpha)
        lasting = copy.deepcopy(rig).to(memory_format=torch.channels_last)
        ours = partial(_drawn, buffers=buffers, z=z, steps=steps)
        return {
            PIPELINE: partial(draw_by_pipeline, pipeline, range(self.drawn), steps),
            OURS: partial(ours, rig),
            "ours, channels last": partial(ours, lasting),
            "ours, bf16": partial(ours, rig, bf16=True),
            "ours, channels last, bf16": partial(ours, lasting, bf16=True),
        }


_WAYS = [(method, evaluations) for method in METHODS for evaluations in EVALUATIONS]


def unseen_edits(
    store: Store, known: frozenset[str], size: int, count: int, seed: int = 0
) -> EditTask:
    """Take edits with true codes of test people whom no network has met.

    Args:
        store: of drawn faces in groups.
        known: people whom a network has met.
        size: side of the pictures in px.
        count: how many at most.
        seed: of the choice.

    Raises:
        ValueError: all test people are known, or none of them has two expressions.
    """
    index = store.index[store.index["split"] == "test"]
    pairs = counterfactual_pairs(index[~index["subject"].isin(known)])
    if pairs.empty:
        raise ValueError(
            "expected test people in the store whom the editor has not met, found none; make the "
            "store larger or train on this one"
        )
    pairs = balanced_pairs(one_source_per_target(pairs, seed), count, seed)
    ids = pd.Index(store.index["sample_id"])
    rows = [ids.get_indexer(pairs[name]) for name in ("source_id", "target_id")]
    return EditTask.of(store, pairs, size, *(true_params(store, at) for at in rows))


def evaluation_metrics(quality: pd.DataFrame, margin: float = MARGIN_DB) -> dict[str, int]:
    """Name the smallest numbers of evaluations that are enough, as ``metrics.json`` wants them.

    Args:
        quality: from ``DrawingBench.quality``.
        margin: dB that may be lost, by the upper end of the interval.

    Returns:
        ``sampling_evaluations_<ddim|dpm>_<carried|prior>``; ``sampling_evaluations_same_…`` is the
        number at which the pictures are, on average, within ``SAME_DB`` of those of 100 steps of
        DDIM. What no number reaches is left out.
    """
    enough = {"": quality["high"] < margin, "same_": quality["same_db"] >= SAME_DB}
    told = {}
    for kind, reached in enough.items():
        least = quality[reached].groupby(["method", "drawer"], sort=False)["evaluations"].min()
        for (method, drawer), number in least.items():
            told[f"sampling_evaluations_{kind}{method.strip('+')}_{drawer}"] = int(number)
    return told


def speed_metrics(
    times: pd.DataFrame, ways: Mapping[str, Callable[[], np.ndarray]]
) -> dict[str, Interval | float]:
    """Name speeds, ratios and differences as ``metrics.json`` wants them.

    Args:
        times: of ``time_ways``.
        ways: from ``DrawingBench.ways``; each draws once more.

    Returns:
        ``sampling_ratio_<way>``, how many times as fast as diffusers' pipeline each way is (ours in
        float32 is ``sampling_ratio_diffusers``), the speeds of both, and the largest difference of
        any number of a picture from diffusers', of 1.
    """
    theirs, told = ways[PIPELINE](), {}
    for way, work in ways.items():
        if way != PIPELINE:
            name = way.removeprefix(OURS).strip(", ").replace(", ", "_").replace(" ", "_")
            told[f"sampling_ratio_{name or 'diffusers'}"] = speed_ratio(times, way, PIPELINE)
            gap = float(np.abs(work() - theirs).max())
            told[f"sampling_difference_{name or 'diffusers'}_frac"] = gap
    told["sampling_edits_per_s"] = speed(times, OURS)
    return told | {"sampling_diffusers_edits_per_s": speed(times, PIPELINE)}


@torch.no_grad()
def _drawn(
    rig: RigEditor, buffers: Tensor, z: Tensor, steps: int, *, bf16: bool = False
) -> np.ndarray:
    """Draw as the pipeline does: seeds from 0, nothing clipped before the end."""
    x_T = seeded_noise(range(len(buffers)), (3, *buffers.shape[2:]), buffers.device)
    with torch.autocast(buffers.device.type, torch.bfloat16, enabled=bf16):
        images = sample(partial(rig, buffers=buffers, z=z), x_T, rig.schedule, steps)
    return (images / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()
