"""A rig in the one training loop: it learns, in both precisions, and goes on where it stopped."""

import pytest
import torch
from rig_samples import CONFIG, SIZE, carrying, some_pictures
from torch.optim import AdamW

from fer_lib.editing.rig_batches import RigSet, rig_loader, to_bytes
from fer_lib.editing.rig_file import make_rig
from fer_lib.editing.rig_loss import diffusion_step
from fer_lib.training.average import MovingAverage
from fer_lib.training.loop import fit
from fer_lib.training.resume import Checkpoints

COUNT = 12


def some_set(carried=False):
    """Bright and dark pictures, as their shaded buffers say; or to which grey ones are carried."""
    _, buffers, _ = some_pictures(torch.Generator().manual_seed(1), COUNT)
    buffers[::2, 6:9], buffers[1::2, 6:9] = 0.9, -0.9
    pictures = to_bytes(buffers[:, 6:9])
    if carried:
        buffers = carrying(buffers, 0.0, 0.9)
    rows = torch.arange(COUNT)
    return RigSet(
        pictures, rows, rows, (buffers * 127).to(torch.int8),
        torch.zeros(COUNT, 1, SIZE, SIZE, dtype=torch.int8), torch.zeros(COUNT, 2),
        torch.ones(COUNT, dtype=torch.bool),
    )  # fmt: skip


def train(path=None, *, epochs=2, precision="fp32", stop_at=None, carried=False):
    torch.manual_seed(3)
    rig = make_rig(CONFIG)
    average = MovingAverage(rig, 0.9)

    def after(done):
        average.update()
        if done == stop_at:
            raise InterruptedError

    history = fit(
        lambda batch: diffusion_step(rig, batch), rig_loader([some_set(carried)], 4), [rig],
        AdamW(rig.parameters(), 3e-3), epochs, precision=precision, max_gradient_norm=1.0,
        on_step=after,
        checkpoints=path and Checkpoints(path, 2, "rig", {"average": average}),
    )  # fmt: skip
    return rig.state_dict(), average.weights, history


def test_a_rig_goes_on_exactly_where_it_stopped(tmp_path):
    path = tmp_path / "rig.safetensors"
    with pytest.raises(InterruptedError):
        train(path, stop_at=5)
    (*again, history), (*whole, unbroken) = train(path), train()
    for one, other in zip(again, whole, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in other)
    assert history["loss"].tolist() == unbroken["loss"].tolist()


def test_a_rig_learns():
    *_, history = train(epochs=6)
    assert history["v_mse"].iloc[-3:].mean() < 0.7 * history["v_mse"].iloc[0]


def test_a_rig_learns_what_the_carried_photographs_lack():
    *_, history = train(epochs=6, carried=True)
    assert 0.7 < history["residual"].iloc[0] < 1.5
    assert history["residual"].iloc[-3:].mean() < 0.7 * history["residual"].iloc[0]


def test_a_rig_learns_nearly_the_same_in_half_precision():
    losses = [train(epochs=2, precision=one)[2]["loss"].tolist() for one in ("fp32", "bf16")]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)
    assert losses[0] != losses[1]
