"""Drawn faces, and small rigs: those that know an answer in closed form, and the real networks."""

from functools import lru_cache

import torch
from torch import nn

from fer_lib.datasets.subjects import ViewConfig
from fer_lib.datasets.synthetic import SyntheticConfig, draw_subject
from fer_lib.editing.buffers import BUFFERS, carried_photograph
from fer_lib.editing.rig import RigEditor
from fer_lib.editing.rig_file import make_rig
from fer_lib.editing.schedule import Schedule, v_from_clean
from fer_lib.faces.params import FaceParams
from fer_lib.networks.denoiser import NO_PHOTOGRAPH

SIZE = 16
CONFIG = {
    "denoiser": {"size": SIZE, "widths": (8, 16), "attention": (8,), "groups": 4, "code_length": 6},
    "code": {"depth": 18, "length": 6, "width": 4, "size": SIZE},
    "schedule": {"steps": 100, "kind": "linear"},
}


class Knowing(nn.Module):
    """A denoiser that takes the shaded buffer for the picture; it counts what it is asked."""

    def __init__(self, schedule):
        super().__init__()
        self.schedule, self.asked, self.modes = schedule, 0, set()

    def forward(self, x_t, t, buffers, z):
        self.asked += 1
        self.modes.add(self.training)
        return v_from_clean(x_t, buffers[:, 6:9], *self.schedule.at(t, x_t))


class Lacking(nn.Module):
    """A denoiser that knows what the carried photographs lack, y = (x₀ - c) / s; it may be off."""

    def __init__(self, schedule, lacking, off=0.0):
        super().__init__()
        self.schedule, self.lacking, self.off = schedule, lacking, off

    def forward(self, residual, t, buffers, z):
        levels = residual_levels(self.schedule, t, buffers)
        return v_from_clean(residual, self.lacking, *levels) + self.off


def residual_levels(schedule, t, buffers):
    """α' = α s / r and σ' = σ / r of the residual, with r² = s² α² + σ²."""
    _, s = carried_photograph(buffers)
    alpha, sigma = schedule.at(t, s)
    r = (s.square() * alpha.square() + sigma.square()).sqrt()
    return alpha * s / r, sigma / r


class Mean(nn.Module):
    """A code that is the mean colour."""

    def forward(self, images):
        return images.mean((2, 3))


def knowing_rig(steps=100):
    schedule = Schedule(steps)
    return RigEditor(Knowing(schedule), Mean(), schedule)


def small_rig(seed=0):
    """A rig of the real networks with random weights, the last convolutions too."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        rig = make_rig(CONFIG)
        for parameter in rig.denoiser.parameters():
            if not parameter.any():
                nn.init.normal_(parameter, std=0.05)
    return rig.eval()


def some_pictures(generator, count=3):
    """Pictures, buffers of theirs and buffers of an edit that differ in the middle alone.

    No photograph is carried.
    """
    images = torch.rand(count, 3, SIZE, SIZE, generator=generator) * 2 - 1
    drawn = torch.rand(count, 10, SIZE, SIZE, generator=generator) - 0.5
    drawn[:, 9] = 0
    drawn[:, 9, 4:12, 4:12] = 1
    buffers = carrying(drawn, 0.0, NO_PHOTOGRAPH)
    edited = buffers.clone()
    edited[:, :9, 7:9, 7:9] += 0.4
    return images, buffers, edited


def carrying(buffers, c, s):
    """The same faces, to which the picture c is carried, in doubt by s."""
    filled = buffers.new_zeros(len(buffers), BUFFERS["doubt"].stop, *buffers.shape[2:])
    filled[:, :10] = buffers[:, :10]
    filled[:, BUFFERS["carried"]], filled[:, BUFFERS["doubt"]] = c, s
    return filled


@lru_cache
def photographs(model="embedded", size=64, emotions=("neutral", "surprise")):
    """Faces of one subject as a store has them: images in [0, 1], landmarks, parameters."""
    config = SyntheticConfig(
        subjects=1, groups=1, size=size, seed=5, emotions=emotions, model=model,
        view=ViewConfig(occluded_share=0.0),
    )  # fmt: skip
    drawn = draw_subject(config, 0)
    images = torch.from_numpy(drawn.faces).permute(0, 3, 1, 2) / 255
    return images, torch.from_numpy(drawn.landmarks), FaceParams.from_numpy(drawn.params)
