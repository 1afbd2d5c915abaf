"""A few drawn people with several expressions as a store in memory, and an editor that paints."""

from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch
from torch import nn

from fer_lib import config
from fer_lib.datasets.store import Store
from fer_lib.editing.buffers import BUFFERS, buffer_head, carried_photograph, draw_buffers
from fer_lib.editing.rig import RigEditor
from fer_lib.editing.schedule import Schedule, v_from_clean
from fer_lib.faces.expression import prototype_coefficients
from fer_lib.faces.locate import Location
from fer_lib.faces.params import FaceParams
from fer_lib.tables import sample_table

EMOTIONS = ("neutral", "happiness", "surprise", "anger")
SIZE, SMALL = 32, 16
FIVE = np.float32([[11, 13], [21, 13], [16, 17], [12, 22], [20, 22]])

CFG = config.RigEditorConfig(
    store="s", second_store="", pairs="", photographs="", image_size=SMALL, widths=(8, 8),
    depth=18, code_width=4, code_length=4, prior_steps=4, shape_steps=2, checkpoint_steps=2,
    batch_size=4, prior_learning_rate=1e-3, shape_learning_rate=1e-3, ema=0.5, train_faces=8,
    read_faces=0, keeping_weight=0.1, sampling_steps=2, edit_steps=2,
    test_pairs=6, noise_seeds=2, encoder_epochs=1, judges=(), embedders=(), lpips=(),
    precision="fp32", seed=0, device="cpu",
)  # fmt: skip


class Locator:
    """Finds every face where all faces are."""

    has_mesh = False

    def locate(self, images):
        return [Location(FIVE, "mtcnn", (4, 4, 28, 28), None) for _ in images]


class Mean(nn.Module):
    """A code that is the mean colour."""

    def forward(self, images):
        return images.mean((2, 3))


class Painter(nn.Module):
    """A denoiser that takes the shaded buffer for the picture, where that is in doubt."""

    def __init__(self, schedule):
        super().__init__()
        self.schedule, self.spec = schedule, SimpleNamespace(size=SMALL)
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, residual, t, buffers, z):
        alpha, sigma = self.schedule.at(t, residual)
        c, s = carried_photograph(buffers)
        s = s.clamp_min(1e-3)
        r = (s.square() * alpha.square() + sigma.square()).sqrt()
        lacking = (buffers[:, BUFFERS["shaded"]] - c) / s
        return v_from_clean(residual, lacking, alpha * s / r, sigma / r)


def painter():
    schedule = Schedule(100)
    return RigEditor(Painter(schedule), Mean(), schedule)


@lru_cache
def head():
    return buffer_head("embedded")


def faces(people):
    """Parameters of people, each with all expressions."""
    model, generator = head(), torch.Generator().manual_seed(5)
    count = people * len(EMOTIONS)
    beta, alpha = (0.5 * torch.randn(people, len(names), generator=generator)
                   for names in (model.shape_names, model.albedo_names))  # fmt: skip
    psi = torch.stack([prototype_coefficients(name, model.expression_names) for name in EMOTIONS])
    light = torch.zeros(count, 9, 3)
    light[:, 0] = 0.9
    return FaceParams(
        beta.repeat_interleave(len(EMOTIONS), 0), psi.repeat(people, 1), torch.zeros(count, 3),
        torch.tensor([0.3, 0.0, 0.0, 14.0]).repeat(count, 1),
        alpha.repeat_interleave(len(EMOTIONS), 0), light,
    )  # fmt: skip


@lru_cache
def drawn_store(people=4, split=("train", "train", "val", "test")):
    """Store of drawn faces as the buffers shade them, on grey."""
    params = faces(people)
    buffers = draw_buffers(head(), params, SIZE)
    image = (buffers[:, BUFFERS["shaded"]] + 1) / 2 + 0.5 * (1 - buffers[:, BUFFERS["mask"]])
    pixels = (image.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).contiguous().numpy()
    names = [f"p{k // len(EMOTIONS)}" for k in range(len(params))]
    emotions = list(EMOTIONS) * people
    index = sample_table(pd.DataFrame({
        "sample_id": [f"{a}-{b}" for a, b in zip(names, emotions, strict=True)],
        "subject": names, "pair": names, "emotion": emotions, "status": "ok",
        "split": [split[k // len(EMOTIONS) % len(split)] for k in range(len(params))],
        **{f"au{unit:02d}": 0.0 for unit in (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 18, 20, 23,
                                            25, 26, 43)},
    }))  # fmt: skip
    points = np.random.default_rng(0).uniform(8, 24, (len(params), 68, 2)).astype(np.float32)
    card = {"hash": "abc", "source": "drawn", "licence": "none", "alignment": "none",
            "landmark_scheme": "ibug68", "lineage": {}}  # fmt: skip
    store = Store(Path("memory"), index, pixels, points, card, {})
    # A cached property: the store has no file to read it from.
    store.__dict__["params"] = params.numpy()
    return store
