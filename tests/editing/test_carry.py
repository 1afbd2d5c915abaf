"""The carried photograph: where it is exactly itself, and what an editor makes of the rest."""

import pytest
import torch
from rig_samples import (
    SIZE,
    Lacking,
    Mean,
    carrying,
    photographs,
    residual_levels,
    small_rig,
    some_pictures,
)
from torch import nn

from fer_lib.editing import carry
from fer_lib.editing.buffers import (
    BUFFERS,
    buffer_head,
    carried_photograph,
    draw_buffers,
    edited_params,
)
from fer_lib.editing.carry import draw_edit
from fer_lib.editing.rig import RigEditor, mirror_buffers
from fer_lib.editing.rig_batches import to_bytes
from fer_lib.editing.rivals import mesh_motion, warp_by_mesh
from fer_lib.editing.schedule import Schedule, clean_and_noise
from fer_lib.faces.operations import mirror
from fer_lib.networks.denoiser import drop_conditions

SIDE = 64
SCHEDULE = Schedule(100)


@pytest.fixture(scope="module")
def model():
    return buffer_head("embedded")


@pytest.fixture(scope="module")
def edits():
    """Photographs in [-1, 1], their faces, and those with each other's expression."""
    images, _, faces = photographs(size=SIDE)
    return 2 * images - 1, faces, faces.replace(expression=faces.expression.flip(0))


@pytest.fixture(scope="module")
def drawn(model, edits):
    return draw_edit(model, *edits)


@pytest.mark.parametrize("size", [16, 48, 64])
def test_without_a_change_the_photograph_is_itself_and_beyond_doubt(model, size):
    images, _, faces = photographs(size=size)
    photo = 2 * images - 1
    source, edited = draw_edit(model, photo, faces, faces)
    assert not edited[:, BUFFERS["doubt"]].any()
    for buffers in (source, edited):
        assert torch.equal(buffers[:, BUFFERS["carried"]], photo)
        assert torch.equal(buffers[:, :10], draw_buffers(model, faces, size)[:, :10])


def test_an_edit_carries_the_warp_and_its_source_the_photograph(model, edits, drawn):
    images, source, edited = edits
    (before, own), (after, _) = (carried_photograph(one) for one in drawn)
    assert torch.equal(before, images)
    # As what has moved: the source is drawn like an edit, or its noise would be none.
    assert torch.allclose(own, torch.tensor(0.05))
    assert torch.allclose(after, warp_by_mesh(images, model, source, edited), atol=1e-5)
    assert torch.equal(drawn[0][:, :10], draw_buffers(model, source, SIDE)[:, :10])
    assert torch.equal(drawn[1][:, :10], draw_buffers(model, edited, SIDE)[:, :10])
    assert not torch.equal(after, before)


def test_where_there_is_no_doubt_the_photograph_is_itself(model, edits, drawn):
    images, source, edited = edits
    carried, doubt = carried_photograph(drawn[1])
    sure = (doubt == 0).expand_as(images)
    assert 0.1 < sure.float().mean() < 0.5
    assert torch.equal(carried[sure], images[sure])
    # So says the mesh: nothing is cut off there.
    assert torch.allclose(
        warp_by_mesh(images, model, source, edited)[sure], images[sure], atol=1e-5
    )
    moved = mesh_motion(model, source, edited, SIDE).shift_px.abs().amax(1, keepdim=True) > 1e-3
    assert (doubt[moved] > 0).all()


def test_doubt_is_largest_where_the_photograph_does_not_show_it(model, edits, drawn):
    _, source, edited = edits
    doubt = drawn[1][:, BUFFERS["doubt"]]
    hidden = mesh_motion(model, source, edited, SIDE).hidden
    assert doubt.min() == 0
    assert torch.allclose(doubt[hidden == 1], torch.tensor(0.2))
    assert doubt[hidden == 0].max() <= 0.05 + 1e-6


def test_the_carried_photograph_is_about_as_far_from_the_truth_as_doubted(edits, drawn):
    # The truth of each edit is the other photograph.
    carried, doubt = carried_photograph(drawn[1])
    error = (carried - edits[0].flip(0)).square().mean(1, keepdim=True)
    ratio = (error.mean() / doubt.square().mean()).sqrt()
    assert 0.5 < ratio < 2
    assert error[doubt == 0].mean() < 0.01 * error[doubt > 0].mean()


def test_the_edit_of_the_mirror_is_the_mirrored_edit(model, edits, drawn):
    images, *faces = edits
    there = draw_edit(model, images.flip(3), *(mirror(one, model) for one in faces))
    for one, other in zip(drawn, there, strict=True):
        gap = (mirror_buffers(one) - other)[:, BUFFERS["carried"].start :]
        assert gap.square().mean().sqrt() < 1e-3
    assert (drawn[1].flip(3) - drawn[1])[:, BUFFERS["carried"]].square().mean().sqrt() > 0.05


def test_an_answer_depends_neither_on_its_batch_nor_on_the_chunks(model, edits, drawn, monkeypatch):
    def three(one):
        return one[[0, 1, 0]]

    together = draw_edit(model, *map(three, edits))
    for k in (0, 1):
        alone = draw_edit(model, *(one[k : k + 1] for one in edits))
        for one, two, other in zip(alone, drawn, together, strict=True):
            assert torch.equal(one[0], two[k])
            assert torch.equal(one[0], other[k])
    monkeypatch.setattr(carry, "CHUNK", 2)
    chunked = draw_edit(model, *map(three, edits))
    assert all(torch.equal(one, two) for one, two in zip(chunked, together, strict=True))


def test_there_is_one_photograph_and_one_edit_per_face(model, edits):
    images, source, edited = edits
    with pytest.raises(ValueError, match="got 1 and 2 of 2"):
        draw_edit(model, images[:1], source, edited)
    with pytest.raises(ValueError, match="got 2 and 1 of 2"):
        draw_edit(model, images, source, edited[0])


class Wild(nn.Module):
    """A denoiser that answers nonsense."""

    def forward(self, x_t, t, buffers, z):
        return 1e6 * x_t + buffers[:, :3]


class Nothing(nn.Module):
    """A denoiser that answers zero, as a fresh one; it notes what it is shown."""

    def forward(self, x_t, t, buffers, z):
        self.shown = x_t
        return torch.zeros_like(x_t)


class Gaussian(nn.Module):
    """A denoiser that knows that what is lacking is Gaussian, of this mean and this spread."""

    def __init__(self, mean, spread):
        super().__init__()
        self.mean, self.variance = mean, spread**2

    def forward(self, residual, t, buffers, z):
        alpha, sigma = residual_levels(SCHEDULE, t, buffers)
        there = alpha.square() * self.variance + sigma.square()
        lacking = self.mean + alpha * self.variance / there * (residual - alpha * self.mean)
        return (alpha * residual - lacking) / sigma


def editor(denoiser):
    return RigEditor(denoiser, Mean(), SCHEDULE)


@pytest.fixture
def noisy(generator):
    """Noisy pictures at four levels, and what carries c to them with doubt s; float64."""

    def some(channels):
        return torch.rand(4, channels, SIZE, SIZE, generator=generator, dtype=torch.float64)

    x_t, c, s = 4 * some(3) - 2, 2 * some(3) - 1, some(1) + 0.01
    t = torch.tensor([0, 20, 60, 99])
    return x_t, t, c, s, carrying(some(10), c, s), *SCHEDULE.at(t, x_t)


def test_without_a_photograph_the_editor_answers_what_the_denoiser_does(generator):
    images, buffers, _ = some_pictures(generator)
    t, z = torch.tensor([0, 50, 99]), torch.randn(3, 6, generator=generator)
    rig = small_rig()
    answer = rig.denoiser(images, t, buffers, z)
    assert answer.abs().mean() > 0.1
    assert torch.allclose(rig(images, t, buffers, z), answer, atol=1e-6)


def test_without_doubt_the_promise_is_the_carried_photograph_whatever_is_answered(noisy):
    x_t, t, c, _, buffers, *levels = noisy
    v = editor(Wild())(x_t, t, carrying(buffers, c, 0.0), None)
    promised, _ = clean_and_noise(x_t, v, *levels)
    assert torch.allclose(promised, c, rtol=0, atol=1e-12)


def test_a_denoiser_that_answers_nothing_gives_the_mean_of_the_doubt(noisy):
    x_t, t, c, s, buffers, alpha, sigma = noisy
    v = editor(Nothing())(x_t, t, buffers, None)
    promised, _ = clean_and_noise(x_t, v, alpha, sigma)
    # E[x₀ | x_t] for x₀ ~ N(c, s²).
    gain = alpha * s.square() / (alpha.square() * s.square() + sigma.square())
    assert torch.allclose(promised, c + gain * (x_t - alpha * c), atol=1e-10)


def test_a_denoiser_that_knows_the_residual_gives_its_posterior_mean(noisy):
    x_t, t, c, s, buffers, alpha, sigma = noisy
    v = editor(Gaussian(0.4, 0.7))(x_t, t, buffers, None)
    promised, _ = clean_and_noise(x_t, v, alpha, sigma)
    mean, variance = c + 0.4 * s, (0.7 * s).square()
    gain = alpha * variance / (alpha.square() * variance + sigma.square())
    assert torch.allclose(promised, mean + gain * (x_t - alpha * mean), atol=1e-10)


def test_the_denoiser_sees_and_answers_for_the_residual_alone(noisy, generator):
    noise, t, c, s, buffers, alpha, sigma = noisy
    lacking = torch.randn(c.shape, generator=generator, dtype=c.dtype)
    x_0 = c + s * lacking
    x_t = alpha * x_0 + sigma * noise
    here, there = residual_levels(SCHEDULE, t, buffers)
    assert torch.allclose(here.square() + there.square(), torch.ones_like(s))
    silent = editor(Nothing())
    expected = silent(x_t, t, buffers, None)
    assert torch.allclose(silent.denoiser.shown, here * lacking + there * noise)
    # v - expected = s/r · (v of the residual).
    v = alpha * noise - sigma * x_0
    of_residual = here * noise - there * lacking
    r = (alpha.square() * s.square() + sigma.square()).sqrt()
    assert torch.allclose(v - expected, s / r * of_residual)
    assert torch.allclose(editor(Lacking(SCHEDULE, lacking))(x_t, t, buffers, None), v)


def test_an_editor_answers_alike_for_a_face_alone_and_among_others(generator):
    images, buffers, edited = some_pictures(generator)
    buffers[1:] = carrying(edited[1:], images[1:], 0.1)
    t, z = torch.tensor([5, 50, 99]), torch.randn(3, 6, generator=generator)
    rig = small_rig()
    among = rig(images, t, buffers, z)
    for k in range(3):
        alone = rig(*(one[k : k + 1] for one in (images, t, buffers, z)))
        assert torch.allclose(alone[0], among[k], atol=1e-5)


def test_a_dropped_photograph_has_no_effect_through_anything(generator):
    images, _, edited = some_pictures(generator)
    t, z = torch.tensor([5, 50, 99]), torch.randn(3, 6, generator=generator)
    none, every = torch.zeros(3, dtype=torch.bool), torch.ones(3, dtype=torch.bool)
    wild = carrying(edited, torch.nan, torch.inf)
    rig = small_rig()
    dropped, _ = drop_conditions(wild, z, none, none, every)
    assert torch.equal(rig(images, t, dropped, z), rig(images, t, edited, z))
    shown = rig(images, t, carrying(edited, images, 0.1), z)
    assert (shown - rig(images, t, edited, z)).abs().mean() > 0.1


@pytest.mark.parametrize("noise", ["invert", [1, 2, 3]])
def test_an_edit_without_doubt_is_the_carried_photograph(generator, noise):
    images, buffers, edited = some_pictures(generator)
    other = images.flip(0)
    given = carrying(buffers, images, 0.0), carrying(edited, other, 0.0)
    assert torch.allclose(small_rig().edit(images, *given, steps=3, noise=noise), other, atol=1e-4)


def test_an_edit_keeps_what_is_beyond_doubt_and_changes_the_rest(generator):
    images, buffers, edited = some_pictures(generator)
    doubt = torch.zeros(3, 1, SIZE, SIZE)
    doubt[..., 7:9, 7:9] = 0.5
    given = carrying(buffers, images, 0.0), carrying(edited, images, doubt)
    made = small_rig().edit(images, *given, steps=3, noise=[1, 2, 3])
    kept = (doubt == 0).expand_as(images)
    assert torch.allclose(made[kept], images[kept], atol=1e-4)
    assert (made - images)[~kept].abs().mean() > 0.05


@pytest.mark.parametrize("noise", ["invert", [1, 2]])
def test_strength_0_gives_the_photograph_back(model, noise):
    images, _, faces = photographs(size=SIZE)
    photo, names = 2 * images[:2] - 1, model.expression_names
    same = edited_params(faces[:2], names, emotion="surprise", strength=0.0)
    before, after = draw_edit(model, photo, faces[:2], same)
    made = small_rig().edit(photo, before, after, steps=3, noise=noise)
    assert torch.equal(to_bytes(made), to_bytes(photo))


def test_the_edit_of_a_mirrored_photograph_is_the_mirrored_edit_from_end_to_end(model):
    images, _, faces = photographs(size=SIZE)
    photo, faces = 2 * images[:2] - 1, faces[:2]
    aim = edited_params(faces, model.expression_names, aus={"au12": 1.0, "au02": 0.8})
    flipped = (photo.flip(3), *(mirror(one, model) for one in (faces, aim)))
    rig = small_rig()
    one, other = (
        rig.edit(some[0], *draw_edit(model, *some), steps=3, both_sides=True)
        for some in ((photo, faces, aim), flipped)
    )
    assert (one - photo).abs().max() > 0.05
    # Rasterising breaks ties to one side.
    assert (other.flip(3) - one).square().mean().sqrt() < 0.02
