"""A few drawn faces as a store, for the tests of the face encoder's training."""

from pathlib import Path

import pandas as pd
import torch

from fer_lib.datasets.store import Store
from fer_lib.faces.embedded import embedded_head, sample_shape
from fer_lib.faces.light import sample_light
from fer_lib.faces.params import FaceParams
from fer_lib.faces.render import render
from fer_lib.tables import sample_table


def drawn_store(subjects=3, photographs=3, size=64, seed=0):
    """Give a store in memory: people photographed several times, a made-up mesh and scores."""
    model, generator = embedded_head(), torch.Generator().manual_seed(seed)
    params = _some_faces(model, subjects, photographs, generator)
    drawn = render(model, params, size, supersample=1)
    count = len(params)
    # 478 points between the landmarks, and their depth.
    mix = torch.rand(478, 68, generator=generator) ** 20
    flat = mix / mix.sum(1, keepdim=True) @ drawn.landmarks_px
    depth = torch.randn(count, 478, 1, generator=generator)
    extras = {
        "mesh": torch.cat([flat, depth], dim=2).numpy(),
        "arkit": torch.rand(count, 52, generator=generator).numpy(),
    }
    names = [f"s{k // photographs}" for k in range(count)]
    ids = [f"{name}-{k}" for k, name in enumerate(names)]
    index = sample_table(pd.DataFrame({"sample_id": ids, "subject": names, "status": "ok"}))
    faces = (drawn.image * 255).byte().permute(0, 2, 3, 1).contiguous().numpy()
    store = Store(Path("memory"), index, faces, drawn.landmarks_px.numpy(), {}, extras)
    # A cached property: the store has no file to read it from.
    store.__dict__["params"] = params.numpy()
    return store


def _some_faces(model, subjects, photographs, generator):
    count = subjects * photographs
    psi = torch.rand(count, len(model.expression_names), generator=generator) ** 4
    camera = torch.tensor([0.24, 0.0, 0.0, 14.0]).repeat(count, 1)
    camera[:, :3] += 0.02 * torch.randn(count, 3, generator=generator)
    albedo = 0.3 * torch.randn(subjects, len(model.albedo_names), generator=generator)
    return FaceParams(
        sample_shape(generator, subjects, male=False).repeat_interleave(photographs, dim=0),
        psi,
        0.2 * torch.randn(count, 3, generator=generator),
        camera,
        albedo.repeat_interleave(photographs, dim=0),
        sample_light(generator, count),
    )
