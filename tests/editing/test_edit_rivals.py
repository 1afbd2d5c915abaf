"""Rivals keep what they must keep, move what moves, and beat doing nothing on true edits."""

import pytest
import torch
from rig_samples import photographs

from fer_lib.editing.buffers import buffer_head
from fer_lib.editing.rivals import (
    RIVALS,
    SUPERSAMPLE,
    copy_source,
    mesh_motion,
    paste_render,
    warp_by_mesh,
    warp_drawn,
)
from fer_lib.faces.operations import mirror
from fer_lib.faces.regions import region_masks
from fer_lib.faces.render import render

SIZE = 64


@pytest.fixture(scope="module")
def faces():
    """Two faces of a store that differ in expression alone: images in [-1, 1], parameters."""
    images, _, params = photographs()
    return 2 * images - 1, params


@pytest.fixture(scope="module")
def pair(faces):
    """A true edit: images and parameters of source and edit."""
    images, params = faces
    return images[:1], images[1:], params[0], params[1]


@pytest.fixture(scope="module")
def model():
    return buffer_head("embedded")


@pytest.fixture(scope="module")
def drawn(model, pair):
    """The same edit of a photograph that shows nothing but the parameters."""
    return [2 * render(model, params, SIZE).image - 1 for params in pair[2:]]


def face_of(model, *params):
    masks = [region_masks(render(model, p, SIZE).landmarks_px, SIZE)["face"] for p in params]
    return torch.stack(masks).amax(0)[:, None] == 1


def psnr(first, second, where):
    return float(10 * torch.log10(4 / (first - second).square()[where.expand_as(first)].mean()))


def test_a_copy_is_the_source(model, pair):
    image, _, source, edited = pair
    assert torch.equal(copy_source(image, model, source, edited), image)


def test_a_warp_without_a_change_is_the_source(model, pair):
    image, _, source, _ = pair
    assert torch.allclose(warp_by_mesh(image, model, source, source), image, atol=1e-4)
    motion = mesh_motion(model, source, source, SIZE)
    assert not motion.shift_px.any()
    assert not motion.hidden.any()


def test_a_shifted_camera_shifts_the_picture(model, pair, drawn):
    source, pixels = pair[2], 3
    camera = source.camera.clone()
    camera[:, 1] += pixels / SIZE
    moved = source.replace(camera=camera)
    motion = mesh_motion(model, source, moved, SIZE)
    inside = face_of(model, moved)
    assert torch.allclose(motion.shift_px[:, :1][inside], torch.tensor(-float(pixels)), atol=1e-3)
    assert motion.shift_px[:, 1:][inside].abs().max() < 1e-3
    warped = warp_by_mesh(drawn[0], model, source, moved)
    truth = drawn[0].roll(pixels, 3)
    assert psnr(warped, truth, inside) > 45


def test_faces_that_are_drawn_already_are_warped_alike(model, pair):
    image, _, source, edited = pair
    drawn = (render(model, params, SIZE, SUPERSAMPLE) for params in (source, edited))
    warped, hidden = warp_drawn(image, model, source, edited, *drawn)
    assert torch.equal(warped, warp_by_mesh(image, model, source, edited))
    assert torch.equal(hidden, mesh_motion(model, source, edited, SIZE).hidden)


def test_an_opening_mouth_hides_what_was_behind_the_lips(model, pair):
    source = pair[2].replace(expression=torch.zeros_like(pair[2].expression))
    psi = source.expression.clone()
    psi[:, list(model.expression_names).index("au26")] = 1.0
    opened = source.replace(expression=psi)
    masks = region_masks(render(model, opened, SIZE).landmarks_px, SIZE)
    hidden = mesh_motion(model, source, opened, SIZE).hidden[:, 0]
    assert hidden[masks["mouth"] == 1].max() == 1
    assert hidden[masks["eyes"] == 1].max() == 0
    # Closing it again shows new skin below the chin, not in the face.
    closed = mesh_motion(model, opened, source, SIZE).hidden
    assert closed[face_of(model, source)].mean() < 0.01 < closed.mean()


def test_pasting_is_exact_where_the_photograph_is_a_render(model, pair, drawn):
    pasted = paste_render(drawn[0], model, *pair[2:])
    assert psnr(pasted, drawn[1], face_of(model, *pair[2:])) > 35
    corner = torch.zeros(1, 1, SIZE, SIZE, dtype=torch.bool)
    corner[..., :4] = True
    assert torch.equal(pasted[corner.expand_as(pasted)], drawn[0][corner.expand_as(pasted)])


def test_a_pasted_render_takes_the_colours_of_the_photograph(model, pair, drawn):
    tint = torch.tensor([0.9, 0.7, 0.5])[None, :, None, None]
    photo, truth = (tint * (image + 1) - 1 for image in drawn)
    pasted = paste_render(photo, model, *pair[2:])
    assert psnr(pasted, truth, face_of(model, *pair[2:])) > 35


def test_paste_and_warp_beat_doing_nothing_on_a_true_edit(model, pair):
    image, truth, source, edited = pair
    face = face_of(model, source, edited)
    made = {name: rival(image, model, source, edited) for name, rival in RIVALS.items()}
    worth = {name: psnr(picture, truth, face) for name, picture in made.items()}
    assert worth["pasted render"] > worth["copy source"] + 2
    assert worth["mesh warp"] > worth["copy source"] + 2
    for picture in made.values():
        assert picture.shape == image.shape
        assert picture.abs().max() <= 1


@pytest.mark.parametrize("rival", RIVALS.values(), ids=RIVALS)
def test_a_mirrored_edit_is_the_edit_of_the_mirror(rival, model, pair):
    image, _, *params = pair
    here = rival(image, model, *params).flip(3)
    there = rival(image.flip(3), model, *(mirror(p, model) for p in params))
    assert psnr(here, there, torch.ones(1, 1, SIZE, SIZE, dtype=torch.bool)) > 30


@pytest.mark.parametrize("rival", RIVALS.values(), ids=RIVALS)
def test_an_edit_does_not_depend_on_its_batch(rival, model, faces, pair):
    image, _, source, edited = pair
    images, params = faces
    alone = rival(image, model, source, edited)
    beside = rival(images, model, params, params[[1, 0]])
    assert torch.allclose(alone, beside[:1], atol=1e-5)
