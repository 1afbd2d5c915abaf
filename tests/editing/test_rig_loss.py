import pytest
import torch
from rig_samples import CONFIG, SIZE, Lacking, carrying, knowing_rig, small_rig, some_pictures
from torch import nn

from fer_lib.editing.buffers import BUFFERS
from fer_lib.editing.rig import RigEditor
from fer_lib.editing.rig_batches import RigBatch
from fer_lib.editing.rig_file import make_rig
from fer_lib.editing.rig_loss import (
    KeepingWeights,
    diffusion_step,
    keeping_step,
    readable_times,
    spread_times,
)
from fer_lib.editing.rig_reader import Reader
from fer_lib.editing.schedule import Schedule, v_from_clean
from fer_lib.faces.params import FaceParams

COUNT = 64


class Drawing(nn.Module):
    """A denoiser that always promises the same pictures; the picture can be learned."""

    def __init__(self, schedule, promised):
        super().__init__()
        self.schedule, self.promised = schedule, nn.Parameter(promised.clone())
        self.seen = []

    def forward(self, x_t, t, buffers, z):
        self.seen.append((t, buffers, z))
        return v_from_clean(x_t, self.promised, *self.schedule.at(t, x_t))


class Colours(nn.Module):
    def forward(self, images):
        return images.mean((2, 3)) + 1


def rig_that_promises(pictures, steps=1000):
    schedule = Schedule(steps)
    return RigEditor(Drawing(schedule, pictures), Colours(), schedule)


def faces(shape, psi):
    zeros = [torch.zeros(len(shape), *size) for size in ((3,), (4,), (1,), (9, 3))]
    return FaceParams(shape, psi, *zeros)


def read(images):
    """β is the mean of red and of green, ψ that of blue."""
    means = images.mean((2, 3))
    return faces(means[:, :2], means[:, 2:])


def plain_reader(**changes):
    ones, zeros = torch.ones(2), torch.zeros(2)
    parts = {"shape_trust": ones, "shape_variance": ones, "shape_margin": zeros,
             "psi_trust": ones[:1], "psi_variance": ones[:1]}  # fmt: skip
    return Reader(read, **(parts | changes))


def flat(red, green, blue, count=COUNT):
    colour = torch.tensor([red, green, blue], dtype=torch.float32)
    return colour[:, None, None].expand(count, 3, SIZE, SIZE).clone()


def batch_of(images, sources, psi, known, covered=0.0):
    """Samples to which no photograph is carried."""
    return RigBatch(
        images, sources, carrying(torch.zeros(len(images), 10, SIZE, SIZE), 0.0, 1.0),
        torch.full((len(images), 1, SIZE, SIZE), covered), torch.full((len(images), 1), psi),
        torch.full((len(images),), known),
    )  # fmt: skip


def test_times_are_spread_over_the_schedule_and_uniform():
    torch.manual_seed(0)
    draws = [spread_times(10, 100, "cpu") for _ in range(500)]
    assert all(sorted((t // 10).tolist()) == list(range(10)) for t in draws)
    assert len({tuple((t // 10).tolist()) for t in draws}) > 400
    counts = torch.bincount(torch.cat(draws), minlength=100)
    assert len(counts) == 100
    assert counts.min() > 20


def test_a_rig_that_knows_the_pictures_has_no_error(generator):
    _, buffers, _ = some_pictures(generator, 8)
    shown = buffers[:, 6:9]
    batch = batch_of(shown, shown, 0.0, True)._replace(buffers=buffers)
    rig = knowing_rig(1000)
    loss, values = diffusion_step(rig, batch, drop=0.0)
    # Close to the clean picture v is a small difference divided by a small σ.
    assert loss.item() < 1e-6
    assert values["v_mse"].item() < 1e-6


def test_the_loss_is_the_weighted_error_of_v():
    torch.manual_seed(0)
    images = flat(0.2, 0.2, 0.2)
    rig = rig_that_promises(images + 0.1)
    loss, values = diffusion_step(rig, batch_of(images, images, 0.0, True), gamma=5.0, drop=0.0)
    t = rig.denoiser.seen[0][0]
    # A promise that is off by 0.1 is a velocity that is off by 0.1 / σ.
    error = (0.1 / rig.schedule.sigma[t]).square()
    assert values["v_mse"].item() == pytest.approx(error.mean().item(), rel=1e-3)
    weights = rig.schedule.min_snr_weight(t, 5.0)
    assert loss.item() == pytest.approx((weights * error).mean().item(), rel=1e-3)


def carried_batch(generator, s, count=COUNT):
    """Samples that are what is carried and s times what it lacks; and what it lacks."""
    c = 0.3 * torch.randn(count, 3, SIZE, SIZE, generator=generator)
    lacking = torch.randn(count, 3, SIZE, SIZE, generator=generator)
    batch = batch_of(c + s * lacking, c, 0.0, True)
    return batch._replace(buffers=carrying(batch.buffers, c, s)), lacking


def test_a_fresh_rig_leaves_all_of_the_residual(generator):
    torch.manual_seed(0)
    s = 0.1 + 0.4 * torch.rand(COUNT, 1, SIZE, SIZE, generator=generator)
    loss, values = diffusion_step(make_rig(CONFIG), carried_batch(generator, s)[0], drop=0.0)
    assert values["residual"].item() == pytest.approx(1, abs=0.03)
    assert loss.item() == pytest.approx(values["residual"].item())
    assert values["v_mse"].item() == 0


@pytest.mark.parametrize("s", [0.4, 0.01])
def test_the_residual_is_a_share_of_what_was_to_be_expected(generator, s):
    torch.manual_seed(0)
    doubt = torch.zeros(COUNT, 1, SIZE, SIZE)
    doubt[..., ::2] = s
    batch, lacking = carried_batch(generator, doubt)
    for off in (0.0, 0.5):
        schedule = Schedule(1000)
        rig = RigEditor(Lacking(schedule, lacking, off), Colours(), schedule)
        _, values = diffusion_step(rig, batch, drop=0.0)
        # Whatever the level of noise; hardly any doubt at all counts less.
        share = off**2 * (s**2 / 2) / (s**2 / 2 + 1e-4)
        assert values["residual"].item() == pytest.approx(share, rel=2e-3, abs=1e-4)


def test_with_and_without_a_photograph_every_sample_counts_as_one(generator):
    batch, _ = carried_batch(generator, 0.3, 8)
    alone = batch_of(batch.images, batch.sources, 0.0, True)
    half = torch.arange(8) < 4
    mixed = batch._replace(
        buffers=torch.where(half.view(-1, 1, 1, 1), batch.buffers, alone.buffers)
    )
    rig, found = make_rig(CONFIG), []
    for one in (batch, alone, mixed, mixed._replace(known=half), mixed._replace(known=~half)):
        torch.manual_seed(0)
        found.append(diffusion_step(rig, one, drop=0.0))
    (_, told), (whole, values), (carried, first), (drawn, second) = found[0], *found[2:]
    assert values["residual"].item() == pytest.approx(told["residual"].item(), abs=0.1)
    assert (first["residual"], second["v_mse"]) == (values["residual"], values["v_mse"])
    assert (first["v_mse"].item(), second["residual"].item()) == (0, 0)
    assert whole.item() == pytest.approx((carried.item() + drawn.item()) / 2, rel=1e-5)


def test_unknown_results_count_nothing_beside_known_ones(generator):
    batch, _ = carried_batch(generator, 0.3, 8)
    known = torch.arange(8) % 2 == 0
    other = torch.where(known.view(-1, 1, 1, 1), batch.images, 5.0)
    rig, found = make_rig(CONFIG), []
    for images in (batch.images, other):
        torch.manual_seed(0)
        found.append(diffusion_step(rig, batch._replace(images=images, known=known), drop=0.0))
    assert found[0] == found[1]


def test_samples_without_a_known_result_count_nothing():
    rig = rig_that_promises(flat(0, 0, 0))
    batch = batch_of(flat(0.5, 0, 0), flat(0, 0, 0), 0.0, False)
    loss, values = diffusion_step(rig, batch)
    assert loss.item() == 0
    assert [value.item() for value in values.values()] == [0, 0]
    loss.backward()
    assert not rig.denoiser.promised.grad.any()


@pytest.mark.parametrize(("drop", "share"), [(0.0, 0.0), (0.25, 0.25), (1.0, 1.0)])
def test_conditions_are_dropped_as_often_as_asked_and_independently(drop, share):
    torch.manual_seed(0)
    images = flat(0.5, 0.5, 0.5, 2000)
    rig = rig_that_promises(images)
    batch = batch_of(images, images, 0.0, True)
    diffusion_step(rig, batch._replace(buffers=carrying(batch.buffers, images, 0.1)), drop=drop)
    ((_, buffers, z),) = rig.denoiser.seen
    no_buffers = (buffers[:, BUFFERS["mask"]] == -1).flatten(1).all(1).float()
    no_picture = (buffers[:, BUFFERS["doubt"]] == 1).flatten(1).all(1).float()
    no_code = (z == 0).all(1).float()
    # The photograph is missing wherever the buffers are.
    assert (no_picture >= no_buffers).all()
    either = 1 - (1 - share) ** 2
    for dropped, often in ((no_buffers, share), (no_code, share), (no_picture, either)):
        assert dropped.mean().item() == pytest.approx(often, abs=0.04)
    for one, other in ((no_buffers, no_code), (no_picture, no_code)):
        both = (one * other).mean().item()
        assert both == pytest.approx((one.mean() * other.mean()).item(), abs=0.03)


def test_the_code_is_read_from_the_source():
    rig = rig_that_promises(flat(0, 0, 0))
    diffusion_step(rig, batch_of(flat(0.9, 0, 0), flat(-0.3, 0.1, 0), 0.0, True), drop=0.0)
    assert torch.allclose(rig.denoiser.seen[0][2][0], torch.tensor([0.7, 1.1, 1.0]))


def terms_of(promised, source, psi, *, reader=None, covered=0.0, known=False, **weights):
    torch.manual_seed(0)
    rig = rig_that_promises(promised)
    batch = batch_of(source, source, psi, known, covered)
    loss, values = keeping_step(
        rig, batch, reader or plain_reader(), weights=KeepingWeights(**weights), drop=0.0
    )
    return rig, loss, values


def test_doing_nothing_keeps_the_shape_and_misses_the_expression():
    source = flat(0.1, 0.2, 0.0)
    _, _, values = terms_of(source, source, 0.5)
    assert values["shape"].item() == pytest.approx(0, abs=1e-8)
    assert values["expression"].item() == pytest.approx(0.25, rel=1e-4)
    assert values["background"].item() == pytest.approx(0, abs=1e-6)


def test_an_edit_is_punished_for_shape_and_background_in_their_units():
    source = flat(0.1, 0.2, 0.0)
    reader = plain_reader(
        shape_trust=torch.tensor([1.0, 0.25]), shape_variance=torch.tensor([0.5, 1.0])
    )
    promised, weights = flat(0.4, 0.4, 0.3), {"shape": 0.2, "expression": 0.7}
    _, loss, values = terms_of(promised, source, 0.5, reader=reader, covered=0.25, **weights)
    assert values["expression"].item() == pytest.approx(0.04, rel=1e-4)
    assert values["shape"].item() == pytest.approx((0.09 / 0.5 + 0.25 * 0.04) / 1.25, rel=1e-4)
    assert values["background"].item() == pytest.approx(0.75 * (0.3 + 0.2 + 0.3) / 3, rel=1e-4)
    expected = 0.2 * values["shape"] + 0.7 * values["expression"] + 0.05 * values["background"]
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_changes_of_shape_within_the_margin_are_free():
    source = flat(0.1, 0.2, 0.0)
    reader = plain_reader(shape_margin=torch.tensor([0.1, 0.0]))
    _, _, values = terms_of(flat(0.4, 0.2, 0.0), source, 0.0, reader=reader)
    assert values["shape"].item() == pytest.approx(0, abs=1e-9)
    _, _, values = terms_of(flat(0.6, 0.2, 0.0), source, 0.0, reader=reader)
    assert values["shape"].item() == pytest.approx((0.25 - 0.1) / 2, rel=1e-4)


def test_unknown_results_are_only_noised_as_far_as_they_can_be_read():
    source = flat(0.0, 0.0, 0.0)
    rig, _, _ = terms_of(source, source, 0.0, least_snr=0.5, largest_snr=4.0)
    snr = rig.schedule.snr[rig.denoiser.seen[0][0]]
    assert snr.min() >= 0.5
    assert snr.max() <= 4.0
    assert snr.max() / snr.min() > 6
    first, last = readable_times(rig.schedule, KeepingWeights(0, 0, 0, 0.5, 4.0))
    assert rig.schedule.snr[first - 1] > 4 >= rig.schedule.snr[first]
    assert rig.schedule.snr[last] >= 0.5 > rig.schedule.snr[last + 1]
    rig, _, _ = terms_of(source, source, 0.0, known=True)
    assert rig.schedule.snr[rig.denoiser.seen[0][0]].max() > 100


def test_edits_that_carry_a_photograph_are_read_likewise():
    source = flat(0.1, 0.2, 0.0)
    rig = RigEditor(Lacking(Schedule(1000), (flat(0.4, 0.2, 0.5) - source) / 0.5), Colours(),
                    Schedule(1000))  # fmt: skip
    batch = batch_of(source, source, 0.5, False)
    batch = batch._replace(buffers=carrying(batch.buffers, source, 0.5))
    _, values = keeping_step(rig, batch, plain_reader(), drop=0.0)
    assert values["expression"].item() == pytest.approx(0, abs=1e-6)
    assert values["shape"].item() == pytest.approx(0.09 / 2, rel=1e-3)
    assert (values["v_mse"].item(), values["residual"].item()) == (0, 0)


def test_without_a_readable_sample_only_the_velocity_counts():
    rig = rig_that_promises(flat(0.5, 0, 0))
    batch = batch_of(flat(0, 0, 0), flat(0, 0, 0), 0.5, True)
    torch.manual_seed(0)
    loss, values = keeping_step(rig, batch, plain_reader(), drop=1.0)
    assert [values[name].item() for name in ("shape", "expression", "background")] == [0] * 3
    ((t, *_),) = rig.denoiser.seen
    error = (0.5 / rig.schedule.sigma[t]).square() / 3
    expected = (rig.schedule.min_snr_weight(t, 5.0) * error).mean().item()
    assert loss.item() == pytest.approx(expected, rel=1e-3)


def test_a_window_without_timesteps_is_refused():
    with pytest.raises(ValueError, match="widen the window"):
        readable_times(Schedule(1000), KeepingWeights(least_snr=1.0, largest_snr=1.0001))


def test_a_promise_beyond_the_range_of_pictures_still_learns():
    source = flat(0.0, 0.0, 0.0)
    rig, loss, values = terms_of(flat(0.0, 0.0, 1.5), source, 0.5, background=0.0)
    # It is read as a picture, which ends at 1, and pulled back all the same.
    assert values["expression"].item() == pytest.approx(0.25, rel=1e-4)
    loss.backward()
    assert (rig.denoiser.promised.grad[:, 2] > 0).all()


def test_both_networks_of_a_rig_learn(generator):
    images, buffers, edited = some_pictures(generator, 6)
    rig = small_rig().train()
    psi = torch.full((6, 1), 0.2)
    known = torch.arange(6) % 2 == 0
    edited[3:] = carrying(edited[3:], images[3:], 0.1)
    covered = buffers[:, BUFFERS["mask"]]
    batch = RigBatch(images, images.flip(0), edited, covered, psi, known)
    loss, _ = keeping_step(rig, batch, plain_reader(), drop=0.0)
    loss.backward()
    for network in (rig.denoiser, rig.code):
        assert all(parameter.grad.isfinite().all() for parameter in network.parameters())
        assert any(parameter.grad.any() for parameter in network.parameters())
