import multiprocessing
import os
import random
import signal

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR, StepLR
from torch.utils.data import DataLoader, TensorDataset

from fer_lib import weights
from fer_lib.training.average import MovingAverage
from fer_lib.training.loop import fit
from fer_lib.training.resume import Checkpoints

EPOCHS, BATCHES = 3, 8
STEPS = EPOCHS * BATCHES


class Broken(Exception):
    pass


def train(path, *, every=2, at=None, stop=None, scheduler="step", of="", seed=5, on_epoch=None):
    """Train something that needs random numbers in its data, its batches and its layers."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.3), nn.BatchNorm1d(8), nn.Linear(8, 1))
    data = TensorDataset(torch.randn(8 * BATCHES, 3), torch.randn(8 * BATCHES, 1))

    def collate(samples):
        inputs, targets = (torch.stack(part) for part in zip(*samples, strict=True))
        return inputs + 0.1 * torch.randn_like(inputs), targets

    def step(batch):
        loss = (network(batch[0]) - batch[1]).square().mean()
        return loss, {"rmse": loss.sqrt()}

    average = MovingAverage(network, 0.9)

    def after(done):
        average.update()
        if done == at:
            stop()

    optimiser = AdamW(network.parameters(), 0.01)
    schedule = {
        "step": lambda: OneCycleLR(optimiser, 0.01, STEPS), "epoch": lambda: StepLR(optimiser, 2)
    }[scheduler]()  # fmt: skip
    checkpoints = path and Checkpoints(path, every, of, {"average": average})
    history = fit(
        step, DataLoader(data, 8, shuffle=True, collate_fn=collate), [network], optimiser, EPOCHS,
        scheduler=schedule, scheduler_every=scheduler, seed=seed, max_gradient_norm=0.5,
        on_step=after, on_epoch=on_epoch, checkpoints=checkpoints,
    )  # fmt: skip
    return network.state_dict(), average.weights, history.drop(columns="duration_s")


def assert_same(first, second):
    for one, other in zip(first[:2], second[:2], strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)
    assert first[2].equals(second[2])


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def train_and_die(path, at, while_writing):
    """Train until killed: after a step, or in the middle of writing the next checkpoint."""

    def die_writing():
        def write(tensors, filename, metadata):
            filename.write_bytes(b"half of a checkpoint")
            kill()

        weights.save_file = write

    train(path, at=at, stop=die_writing if while_writing else kill)


def test_training_goes_on_exactly_after_being_killed_at_three_random_steps(tmp_path):
    context = multiprocessing.get_context("forkserver")
    # Optimisers import the last one when they are first made; each child would.
    context.set_forkserver_preload(["fer_lib.training.loop", "torch._dynamo"])
    path = tmp_path / "training.safetensors"
    steps = sorted(random.Random(7).sample(range(3, STEPS - 1), 3))
    for kill_number, at in enumerate(steps):
        child = context.Process(target=train_and_die, args=(path, at, kill_number == 1))
        child.start()
        child.join()
        assert child.exitcode == -signal.SIGKILL, steps
        assert path.is_file()
    assert_same(train(path), train(None))


def interrupt():
    raise Broken


# False alarm where the first thing after the break is the end of the first epoch.
@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
@pytest.mark.parametrize("scheduler", ["step", "epoch"])
@pytest.mark.parametrize("at", [1, BATCHES - 1, BATCHES, BATCHES + 1, STEPS])
def test_training_goes_on_exactly_wherever_in_an_epoch_it_stopped(tmp_path, at, scheduler):
    path = tmp_path / "training.safetensors"
    with pytest.raises(Broken):
        train(path, every=1, at=at, stop=interrupt, scheduler=scheduler)
    assert path.is_file() == (at > 1)
    assert_same(train(path, every=3, scheduler=scheduler), train(None, scheduler=scheduler))


def test_what_is_said_of_epochs_comes_back_as_plain_numbers(tmp_path):
    path, seen = tmp_path / "training.safetensors", []

    def judge(epoch):
        seen.append(epoch)
        return {"score": np.float32(0.5 * epoch)}

    with pytest.raises(Broken):
        train(path, at=2 * BATCHES + 3, stop=interrupt, on_epoch=judge)
    *_, history = train(path, on_epoch=judge)
    assert history["score"].tolist() == [0, 0.5, 1]
    assert seen == [0, 1, 2]


def test_a_finished_training_is_read_and_not_repeated(tmp_path):
    path = tmp_path / "training.safetensors"
    first = train(path)
    assert_same(train(path, at=STEPS, stop=interrupt), first)


@pytest.mark.parametrize(
    ("other", "message"), [({"seed": 6}, "seed 5 instead of 6"), ({"of": "b"}, "of '' instead")]
)
def test_another_training_is_refused(tmp_path, other, message):
    path = tmp_path / "training.safetensors"
    train(path)
    with pytest.raises(ValueError, match=message):
        train(path, **other)


def test_a_networks_file_is_refused(tmp_path):
    path = weights.save_network(tmp_path / "net.safetensors", {"a": torch.ones(1)}, {"b": 1})
    with pytest.raises(ValueError, match="another network's file"):
        train(path)


def test_a_state_that_is_no_data_is_refused(tmp_path):
    class Strange:
        def state_dict(self):
            return {"function": print}

        def load_state_dict(self, state):
            pass

    network = nn.Linear(1, 1)
    checkpoints = Checkpoints(tmp_path / "x", 1, parts={"strange": Strange()})
    with pytest.raises(ValueError, match="plain values in the state"):
        fit(
            lambda batch: (network(batch).sum(), {}), [torch.ones(1, 1)], [network],
            AdamW(network.parameters()), 1, checkpoints=checkpoints,
        )  # fmt: skip


def test_a_checkpoint_every_no_step_is_refused(tmp_path):
    with pytest.raises(ValueError, match="every 1 step or more"):
        Checkpoints(tmp_path / "x", 0)
