"""Schedules of very short trainings."""

import pytest
import torch

from fer_lib.training.supervised import TrainingSettings, _scheduler, paper_optimiser


@pytest.mark.parametrize("epochs", [1, 2, 3, 7])
@pytest.mark.parametrize("steps", [1, 2, 3, 5])
def test_one_cycle_lasts_any_number_of_steps_and_reaches_its_peak(epochs, steps):
    settings = TrainingSettings(epochs=epochs, learning_rate=0.1, schedule="onecycle")
    optimiser = paper_optimiser([torch.nn.Parameter(torch.zeros(1))], settings.learning_rate)
    scheduler, every = _scheduler(optimiser, settings, steps)
    rates = []
    for _ in range(epochs * steps):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        scheduler.step()
    assert every == "step"
    assert all(0 <= rate <= 0.1 + 1e-9 for rate in rates)
    assert epochs * steps == 1 or max(rates) > 0.085
