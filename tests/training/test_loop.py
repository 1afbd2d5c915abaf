import pytest
import torch
from accelerate.state import AcceleratorState
from torch.optim import SGD
from torch.optim.lr_scheduler import ExponentialLR
from torch.utils.data import DataLoader, TensorDataset

from fer_lib.training.loop import BestState, fit


def line_problem(seed=0, batch_size=8):
    torch.manual_seed(seed)
    inputs = torch.randn(32, 3)
    targets = inputs @ torch.tensor([1.0, -2.0, 0.5])
    network = torch.nn.Linear(3, 1)
    optimiser = SGD(network.parameters(), lr=0.1)

    def step(batch):
        loss = (network(batch[0]).squeeze(1) - batch[1]).square().mean()
        return loss, {"rmse": loss.sqrt()}

    loader = DataLoader(TensorDataset(inputs, targets), batch_size, shuffle=True)
    return network, optimiser, step, loader


def test_history_has_one_row_per_epoch_and_the_loss_falls():
    network, optimiser, step, loader = line_problem()
    history = fit(step, loader, [network], optimiser, 20, on_epoch=lambda e: {"twice": 2 * e})
    assert history["epoch"].tolist() == list(range(20))
    assert history["loss"].iloc[-1] < 1e-3 < history["loss"].iloc[0]
    assert history["twice"].tolist() == [2 * e for e in range(20)]
    assert {"rmse", "learning_rate", "duration_s"} <= set(history.columns)


def test_equal_seeds_give_equal_weights_and_the_callers_random_state_is_left_alone():
    results, after = [], []
    for seed in (3, 3, 4):
        network, optimiser, step, loader = line_problem()
        torch.manual_seed(11)
        fit(step, loader, [network], optimiser, 2, seed=seed)
        results.append(network.weight.detach().clone())
        after.append(torch.rand(1).item())
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])
    torch.manual_seed(11)
    assert set(after) == {torch.rand(1).item()}


def test_two_precisions_work_in_one_process_and_nothing_is_left_behind():
    seen = []
    for precision in ("fp32", "bf16", "fp32"):
        network, optimiser, step, loader = line_problem()

        def watched(batch, network=network, step=step):
            seen.append(network(batch[0]).dtype)
            return step(batch)

        fit(watched, loader, [network], optimiser, 1, precision=precision)
        assert not AcceleratorState._shared_state
        assert network.weight.dtype == torch.float32
    assert seen == [torch.float32] * 4 + [torch.bfloat16] * 4 + [torch.float32] * 4


def test_not_finite_loss_names_epoch_and_step():
    network, optimiser, step, loader = line_problem()
    count = 0

    def failing(batch):
        nonlocal count
        count += 1
        loss, values = step(batch)
        return loss * (float("nan") if count == 6 else 1), values

    with pytest.raises(FloatingPointError, match="epoch 1, step 1"):
        fit(failing, loader, [network], optimiser, 3)
    assert not AcceleratorState._shared_state


@pytest.mark.parametrize(("every", "expected"), [("epoch", 0.1 * 0.5), ("step", 0.1 * 0.5**4)])
def test_schedule_advances_per_epoch_or_per_step(every, expected):
    network, optimiser, step, loader = line_problem()
    schedule = ExponentialLR(optimiser, 0.5)
    history = fit(
        step, loader, [network], optimiser, 2, scheduler=schedule, scheduler_every=every
    )
    assert history["learning_rate"].tolist() == pytest.approx([0.1, expected])


def test_networks_are_put_into_training_mode_before_each_epoch():
    network, optimiser, step, loader = line_problem()
    modes = []

    def watched(batch):
        modes.append(network.training)
        return step(batch)

    fit(watched, loader, [network], optimiser, 2, on_epoch=lambda e: network.eval() and None)
    assert all(modes)


def test_best_state_comes_back_even_if_later_epochs_are_worse():
    network, optimiser, step, loader = line_problem()
    scores = iter([0.1, 0.9, 0.9, 0.3])
    weights = []

    def evaluate():
        weights.append(network.weight.detach().clone())
        return {"score": next(scores)}

    best = BestState(network, evaluate, "score")
    history = fit(step, loader, [network], optimiser, 4, on_epoch=best)
    best.restore()
    assert best.epoch == 1
    assert history["score"].tolist() == [0.1, 0.9, 0.9, 0.3]
    assert torch.equal(network.weight, weights[1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "fp8"}, "fp32 or bf16"),
        ({"scheduler_every": "day"}, "epoch or step"),
    ],
)
def test_unknown_options_are_refused(options, message):
    network, optimiser, step, loader = line_problem()
    with pytest.raises(ValueError, match=message):
        fit(step, loader, [network], optimiser, 1, **options)


def test_an_empty_loader_is_refused():
    network, optimiser, step, _ = line_problem()
    with pytest.raises(ValueError, match="at least one batch"):
        fit(step, [], [network], optimiser, 1)


def test_on_step_hears_of_every_step_after_it_is_done():
    network, optimiser, step, loader = line_problem()
    start, heard, moved = network.weight.detach().clone(), [], []

    def listen(done):
        heard.append(done)
        moved.append(not torch.equal(network.weight, start))

    fit(step, loader, [network], optimiser, 2, on_step=listen)
    assert heard == list(range(1, 9))
    assert all(moved)


def test_long_gradients_are_shortened():
    network, optimiser, step, loader = line_problem()
    start = network.weight.detach().clone(), network.bias.detach().clone()
    fit(step, [next(iter(loader))], [network], optimiser, 1, max_gradient_norm=0.01)
    moved = torch.cat([(network.weight - start[0]).flatten(), network.bias - start[1]])
    assert moved.norm().item() == pytest.approx(0.1 * 0.01, rel=1e-3)
