"""Buffers lie under the photograph that their parameters belong to, and an edit moves ψ alone."""

import pytest
import torch
from rig_samples import photographs

from fer_lib.editing.buffers import (
    BUFFERS,
    buffer_head,
    carried_photograph,
    differs,
    draw_buffers,
    edited_params,
)
from fer_lib.faces.expression import clip_expression, prototype_coefficients
from fer_lib.faces.operations import FACTORS, mirror
from fer_lib.faces.regions import region_masks
from fer_lib.faces.render import GAMMA, render
from fer_lib.networks.denoiser import BUFFER_CHANNELS

SIZE = 64


@pytest.fixture(scope="module")
def embedded():
    return photographs()


@pytest.fixture(scope="module", params=["embedded", "ict"])
def name(request):
    if request.param == "ict":
        request.getfixturevalue("shared")
    return request.param


def correlation(first, second):
    return float(torch.corrcoef(torch.stack([first, second]))[0, 1])


def test_buffers_lie_exactly_under_the_photograph(name, embedded):
    images, landmarks, params = embedded if name == "embedded" else photographs(name)
    model = buffer_head(name)
    below_fringe = torch.arange(SIZE)[:, None] > landmarks[:, 27, 1, None, None]
    inside = (region_masks(landmarks, SIZE)["face"] == 1) & below_fringe

    def match(right, down):
        camera = params.camera + torch.tensor([0.0, right / SIZE, down / SIZE, 0.0])
        buffers = draw_buffers(model, params.replace(camera=camera), SIZE)
        assert buffers[:, 9][inside].mean() > 0.98
        return correlation(buffers[:, BUFFERS["shaded"]].mean(1)[inside], images.mean(1)[inside])

    own = match(0, 0)
    assert own > 0.9
    for right, down in ((-0.5, 0), (0.5, 0), (0, -0.5), (0, 0.5)):
        assert match(right, down) < own - 0.01


def test_a_shared_expression_has_the_same_buffers_whoever_is_beside_it(embedded):
    model, params = buffer_head("embedded"), embedded[2]
    both = draw_buffers(model, params, SIZE)
    alone = torch.cat([draw_buffers(model, params[k], SIZE) for k in range(2)])
    assert torch.equal(both, alone)
    assert not torch.equal(both[0], both[1])


def test_buffers_of_a_larger_picture_are_the_same_view(embedded):
    model, params = buffer_head("embedded"), embedded[2][0]
    small, large = (
        draw_buffers(model, params, size, steps)[:, BUFFERS["mask"]]
        for size, steps in ((32, 4), (64, 2))
    )
    assert torch.allclose(torch.nn.functional.avg_pool2d(large, 2), small, atol=1e-6)


def test_every_channel_has_one_name():
    channels = [k for place in BUFFERS.values() for k in range(place.start, place.stop)]
    assert channels == list(range(BUFFER_CHANNELS))


def test_buffers_are_in_their_range_and_empty_outside(embedded):
    buffers = draw_buffers(buffer_head("embedded"), embedded[2], SIZE)
    assert buffers.shape == (2, BUFFER_CHANNELS, SIZE, SIZE)
    assert buffers.abs().max() <= 1
    outside = (buffers[:, BUFFERS["mask"]] == 0).expand(-1, 3, -1, -1)
    assert outside.any()
    for buffer, empty in (("normals", 0), ("albedo", -1), ("shaded", -1)):
        assert (buffers[:, BUFFERS[buffer]][outside] == empty).all()
    length = buffers[:, BUFFERS["normals"]].norm(dim=1)
    assert length.max() <= 1 + 1e-5


def test_drawn_faces_carry_no_photograph(embedded):
    buffers = draw_buffers(buffer_head("embedded"), embedded[2], SIZE)
    c, s = carried_photograph(buffers)
    assert c.shape == (2, 3, SIZE, SIZE)
    assert s.shape == (2, 1, SIZE, SIZE)
    assert (c == 0).all()
    assert (s == 1).all()


@pytest.mark.parametrize("channels", [10, 13, 15])
def test_other_channels_are_no_buffers(channels):
    with pytest.raises(ValueError, match=rf"expected buffers .*14, S, S\), got \(2, {channels}, "):
        carried_photograph(torch.zeros(2, channels, 8, 8))
    with pytest.raises(ValueError, match="draw them by draw_buffers or draw_edit"):
        carried_photograph(torch.zeros(14, 8, 8))


def test_faces_differ_around_what_is_drawn_differently_and_nowhere_else():
    first = torch.zeros(2, BUFFER_CHANNELS, 64, 64)
    second = first.clone()
    second[0, 4, 30, 30] = 0.1
    second[0, 8, 60, 5] = -0.05
    second[1, BUFFERS["carried"]], second[1, BUFFERS["doubt"]] = 0.7, 1.0
    found = differs(first, second)
    assert torch.equal(found, differs(second, first))
    assert not found[1].any()
    # 1/16 of the side is marked whole, and its border is half as wide.
    assert found[0, 0, 28:33, 28:33].min() == 1
    rows, columns = (found[0, 0, :45] > 0).nonzero().T
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (24, 36, 24, 36)
    assert found[0, 0, 60, 5] == pytest.approx(0.5)


def test_shading_is_lambert_without_highlights(embedded):
    model, params = buffer_head("embedded"), embedded[2]
    shaded = draw_buffers(model, params, SIZE)[:, BUFFERS["shaded"]]
    surface = render(model, params, SIZE).surface
    lambert = surface.resolve((surface.albedo * surface.shading.clamp_min(0.03)).clamp(0, 1))
    assert torch.allclose(((shaded + 1) / 2) ** GAMMA, lambert, atol=1e-5)


def test_mirrored_faces_have_mirrored_buffers(embedded):
    model, params = buffer_head("embedded"), embedded[2]
    here = draw_buffers(model, params, SIZE)
    there = draw_buffers(model, mirror(params, model), SIZE).flip(3)
    there[:, 0] *= -1
    solid = (here[:, BUFFERS["mask"]] == 1).expand_as(here)
    assert (here - there)[solid].abs().mean() < 0.01


def test_only_psi_moves(embedded):
    names, params = buffer_head("embedded").expression_names, embedded[2]
    psi = params.expression.flip(0)
    for target in ({"psi": psi}, {"emotion": "fear"}, {"aus": {"au12": 1.0}}, {"difference": psi}):
        edited = edited_params(params, names, **target, strength=0.7)
        for factor in FACTORS:
            same = torch.equal(getattr(edited, factor), getattr(params, factor))
            assert same == (factor != "expression")


def test_strength_goes_straight_from_the_source_to_the_target(embedded):
    names, params = buffer_head("embedded").expression_names, embedded[2]
    happy = prototype_coefficients("happiness", names)
    source, half, whole = (
        edited_params(params, names, emotion="happiness", strength=s).expression
        for s in (0.0, 0.5, 1.0)
    )
    assert torch.equal(source, params.expression)
    assert torch.equal(whole, happy.expand_as(whole))
    assert torch.allclose(half, (source + whole) / 2)
    own = edited_params(params, names, psi=happy, strength=torch.tensor([0.0, 1.0])).expression
    assert torch.equal(own[0], source[0])
    assert torch.equal(own[1], happy)


def test_a_difference_is_added_and_kept_in_range(embedded):
    names, params = buffer_head("embedded").expression_names, embedded[2]
    change = torch.full((len(names),), 0.9)
    edited = edited_params(params, names, difference=change).expression
    assert torch.equal(edited, clip_expression(params.expression + change, names))
    assert edited.max() < (params.expression + change).max()


def test_what_is_no_edit_is_refused(embedded):
    names, params = buffer_head("embedded").expression_names, embedded[2]
    with pytest.raises(ValueError, match="expected one of psi, emotion, aus and difference"):
        edited_params(params, names)
    with pytest.raises(ValueError, match=r"got \['emotion', 'aus'\]"):
        edited_params(params, names, emotion="fear", aus={"au12": 1.0})
    with pytest.raises(ValueError, match=r"strength in \[0, 1\]"):
        edited_params(params, names, emotion="fear", strength=1.2)
    with pytest.raises(ValueError, match="expected ψ of shape"):
        edited_params(params, names, psi=torch.zeros(3, len(names)))
    with pytest.raises(ValueError, match="expected a head out of"):
        buffer_head("flame")
