"""How often a network must be asked, and ours beside diffusers' pipeline; nothing is timed here."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from rig_store import CFG, SMALL, drawn_store, head, painter

from fer_lib.editing.rig_file import save_rig
from fer_lib.evaluation import rig_speed
from fer_lib.evaluation.rig_speed import CARRIED, OURS, PIPELINE, PRIOR, DrawingBench
from fer_lib.evaluation.rig_study import rig as working
from fer_lib.evaluation.rig_training import fresh_editor
from fer_lib.evaluation.speed import time_ways
from fer_lib.networks.checkpoints import Lineage

EDITS, CPU = 3, torch.device("cpu")
MANY = ("ddim", 20)  # stands for 100 steps


def random_rig(seed):
    """A rig whose ends are no zeros, so that every condition and every step matters."""
    editor = fresh_editor(replace(CFG, seed=seed))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in editor.denoiser.parameters():
            weight += 0.03 * torch.randn(weight.shape, generator=generator)
    return editor


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rigs")
    files = [folder / f"{name}.safetensors" for name in ("editor", "prior")]
    lineage = Lineage(frozenset(), frozenset(["p0", "p1"]), frozenset())
    for seed, file in enumerate(files):
        save_rig(file, random_rig(seed), lineage, {"head": "embedded"})
    return DrawingBench.load(*files, drawn_store(), EDITS, 0, CPU)


def quality_of(bench, *ways):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rig_speed, "_REFERENCE", MANY)
        patch.setattr(rig_speed, "_WAYS", [*ways, MANY])
        return bench.quality()


def test_the_numbers_end_with_the_reference():
    assert rig_speed._REFERENCE == ("ddim", 100) == rig_speed._WAYS[6]
    assert len(set(rig_speed._WAYS)) == 14


def test_edits_are_of_people_whom_nobody_has_met(bench):
    assert set(bench.task.pairs["subject"]) == {"p3"}
    assert bench.drawn == len(bench.task) == EDITS
    with pytest.raises(ValueError, match="not met, found none"):
        rig_speed.unseen_edits(drawn_store(), frozenset(["p3"]), SMALL, EDITS)


@pytest.mark.parametrize(("name", "carried"), [(CARRIED, True), (PRIOR, False)])
def test_they_are_drawn_as_the_study_draws_them_whatever_the_batch(
    bench, name, carried, monkeypatch
):
    rig, task = bench.drawers[name].rig, bench.task
    options = {"noise": range(EDITS), "steps": 4, "method": "dpm++"}
    edit = working(rig, head(), carried=carried, **options)
    wanted = rig_speed.picture(edit(task.images, task.source, task.edited))
    monkeypatch.setattr(rig_speed, "_BATCH", 2)
    found = bench.draw(name, "dpm++", 4).astype(int)
    assert np.abs(found - wanted).max() <= 1
    assert np.ptp(found) > 50


@pytest.mark.parametrize("method", ["ddim", "dpm++"])
def test_evaluations_are_counted_by_the_network_itself(bench, method):
    asked = []
    network = bench.drawers[PRIOR].rig.denoiser
    hook = network.register_forward_hook(lambda *_: asked.append(1))
    bench.draw(PRIOR, method, 5)
    hook.remove()
    assert len(asked) == 5


def test_quality_is_the_distance_to_the_true_edit(bench):
    quality = quality_of(bench, ("ddim", 1), ("dpm++", 1), ("dpm++", 3))
    assert list(quality["drawer"]) == [CARRIED] * 4 + [PRIOR] * 4
    one, many = (bench.draw(PRIOR, *way) for way in (("ddim", 1), MANY))
    reached = [rig_speed.psnr_db(p, bench.task.true, bench.task.face).mean() for p in (one, many)]
    row = quality.loc["prior, ddim, 1"]
    assert row["psnr_db"] == pytest.approx(reached[0])
    assert row["value"] == pytest.approx(reached[1] - reached[0])
    assert row["low"] <= row["value"] <= row["high"]
    assert row["n"] == EDITS
    for name in (CARRIED, PRIOR):
        own = quality.loc[f"{name}, ddim, 20"]
        assert own[["value", "low", "high"]].tolist() == [0, 0, 0]
        assert own["same_db"] > 58
        assert quality.loc[f"{name}, ddim, 1", "same_db"] < 50
        # Both methods begin with the same step of first order.
        first, second = (quality.loc[f"{name}, {method}, 1"] for method in ("ddim", "dpm++"))
        assert first.iloc[3:].tolist() == second.iloc[3:].tolist()


def test_one_evaluation_is_enough_for_who_knows_the_picture(bench):
    knows = DrawingBench.of(bench.task, painter(), painter(), head())
    told = rig_speed.evaluation_metrics(quality_of(knows, ("ddim", 1), ("dpm++", 4)))
    assert told["sampling_evaluations_ddim_prior"] == 1
    assert told["sampling_evaluations_dpm_prior"] == 4
    assert told["sampling_evaluations_same_ddim_prior"] == 1


def test_the_smallest_number_within_the_margin_is_told():
    rows = [("prior", "ddim", 5, 0.3, 20), ("prior", "ddim", 20, 0.09, 39),
            ("prior", "ddim", 50, 0.01, 41), ("prior", "ddim", 100, 0, 58),
            ("prior", "dpm++", 5, 0.11, 30), ("prior", "dpm++", 20, 0.1, 39),
            ("carried", "dpm++", 1, -0.2, 45), ("carried", "dpm++", 2, 0.0, 46)]  # fmt: skip
    columns = ["drawer", "method", "evaluations", "high", "same_db"]
    told = rig_speed.evaluation_metrics(pd.DataFrame(rows, columns=columns))
    assert told == {
        "sampling_evaluations_ddim_prior": 20, "sampling_evaluations_dpm_carried": 1,
        "sampling_evaluations_same_ddim_prior": 50, "sampling_evaluations_same_dpm_carried": 1,
    }  # fmt: skip


def test_all_ways_draw_the_pictures_of_diffusers(bench):
    ways = bench.ways(steps=4)
    assert next(iter(ways)) == PIPELINE
    wanted = ways[PIPELINE]()
    assert wanted.shape == (EDITS, SMALL, SMALL, 3)
    assert 0.05 < wanted.std()
    for name, work in ways.items():
        gap = np.abs(work() - wanted).max()
        assert (1e-5 < gap < 0.1) if "bf16" in name else gap < 1e-5, name
    # The channels-last network is a copy.
    assert all(weight.is_contiguous() for weight in bench.drawers[CARRIED].rig.parameters())


def test_metrics_are_named_after_the_ways(bench):
    ways = bench.ways(steps=1)
    told = rig_speed.speed_metrics(time_ways(ways, bench.drawn, rounds=1), ways)
    assert set(told) == {
        f"sampling_{kind}" for kind in ("edits_per_s", "diffusers_edits_per_s")
    } | {
        f"sampling_{kind}" for name in ("diffusers", "bf16", "channels_last", "channels_last_bf16")
        for kind in (f"ratio_{name}", f"difference_{name}_frac")
    }
    assert told["sampling_difference_diffusers_frac"] < 1e-4
    assert told["sampling_ratio_diffusers"].n == 1
    assert OURS in ways
