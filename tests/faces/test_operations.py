"""Operations on face parameters: what they change, what they leave, and that mirrors mirror."""

from dataclasses import replace

import pytest
import torch

from fer_lib.faces import operations
from fer_lib.faces.action_units import action_units
from fer_lib.faces.embedded import embedded_head
from fer_lib.faces.expression import clip_expression, prototype_coefficients
from fer_lib.faces.ict.head import ict_head
from fer_lib.faces.light import sample_light
from fer_lib.faces.params import FaceParams
from fer_lib.faces.render import render
from fer_lib.faces.warp import flip_points
from fer_lib.labels import AU_COLUMNS, EMOTIONS

NAMES = ("au04", "au12", "au12_left", "au12_right", "gaze_x")
# Every iBUG landmark's place on the other side of the face.
FLIP68 = [
    *range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1), 45, 44, 43, 42, 47,
    46, 39, 38, 37, 36, 41, 40, *range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), 67, 66,
    65,
]  # fmt: skip


def faces(model, seed, count=2):
    """Faces with everything asymmetric that can be."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    names = model.expression_names
    return FaceParams(
        shape=0.7 * normal(count, len(model.shape_names)),
        expression=clip_expression(0.4 * normal(count, len(names)), names),
        pose=0.2 * normal(count, 3),
        camera=torch.tensor([0.24, 0.0, 0.0, 14.0]) * (1 + 0.1 * normal(count, 4))
        + torch.tensor([0.0, 0.03, -0.02, 0.0]),
        albedo=torch.zeros(count, len(model.albedo_names)),
        light=sample_light(generator, count),
    )


def few(psi, camera_kind="perspective", shape=0.0):
    """A batch of one with five expression modes."""
    return FaceParams(
        torch.full((1, 3), shape), torch.tensor([psi]), torch.zeros(1, 3),
        torch.ones(1, 4 if camera_kind == "perspective" else 3), torch.zeros(1, 2),
        torch.zeros(1, 9, 3), camera_kind,
    )  # fmt: skip


@pytest.fixture(scope="module", params=["embedded", "ict"])
def model(request):
    if request.param == "embedded":
        return embedded_head()
    request.getfixturevalue("shared")
    return ict_head()


@pytest.mark.parametrize("factor", operations.FACTORS)
def test_a_swap_exchanges_one_factor_and_no_other(factor):
    head = embedded_head()
    source, target = faces(head, 0), faces(head, 1)
    mixed = operations.swap(source, target, factor)
    for name in operations.FACTORS:
        kept, other = getattr(source, name), getattr(target, name)
        if name != "albedo":
            assert not torch.equal(kept, other)
        assert torch.equal(getattr(mixed, name), other if name == factor else kept)
    assert torch.equal(getattr(operations.swap(mixed, source, factor), factor),
                       getattr(source, factor))  # fmt: skip


def test_a_swapped_camera_brings_its_kind_along():
    mixed = operations.swap(few([0.0] * 5), few([0.0] * 5, "weak_perspective"), "camera")
    assert mixed.camera_kind == "weak_perspective"
    assert mixed.camera.shape == (1, 3)


def test_faces_that_do_not_fit_are_refused():
    one = few([0.0] * 5)
    with pytest.raises(ValueError, match="factor out of"):
        operations.swap(one, one, "nose")
    with pytest.raises(ValueError, match="got 1, 2"):
        operations.swap(one, one[[0, 0]], "shape")
    with pytest.raises(ValueError, match="of one model, got 5 and 4"):
        operations.swap(one, few([0.0] * 4), "expression")
    with pytest.raises(ValueError, match="one kind of camera"):
        operations.blend(one, replace(one, camera=one.camera[:, :3],
                                      camera_kind="weak_perspective"), 0.5)  # fmt: skip
    with pytest.raises(ValueError, match="target_neutral"):
        operations.transfer_expression(one, one, NAMES, source_neutral=one)


def test_a_transfer_is_absolute_or_a_difference_within_range():
    source, target = few([0.5, 0.2, 0.0, 0.1, -0.3], shape=1.0), few([0.1, 1.2, 0.0, 0.3, 0.5])
    neutral, own = few([0.3, 0.1, 0.0, 0.0, 0.1]), few([0.2, 0.1, 0.0, 0.0, -0.5])
    absolute = operations.transfer_expression(source, target, NAMES)
    assert torch.equal(absolute.expression, target.expression)
    assert torch.equal(absolute.shape, source.shape)
    moved = operations.transfer_expression(source, target, NAMES, target_neutral=neutral)
    assert moved.expression[0].tolist() == pytest.approx([0.3, 1.25, 0.0, 0.4, 0.1])
    moved = operations.transfer_expression(
        source, target, NAMES, target_neutral=neutral, source_neutral=own
    )
    assert moved.expression[0].tolist() == pytest.approx([0.0, 1.2, 0.0, 0.3, -0.1])
    still = operations.transfer_expression(source, target, NAMES, target_neutral=target)
    assert torch.equal(still.expression, source.expression)


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_an_emotion_replaces_or_is_added(model, emotion):
    names, start = model.expression_names, faces(model, 2)
    pattern = prototype_coefficients(emotion, names)
    shown = operations.with_emotion(start, emotion, names, 0.5)
    assert torch.equal(shown.expression, clip_expression(0.5 * pattern, names).expand(2, -1))
    none = operations.with_emotion(start, emotion, names, 0.0, "added")
    assert torch.equal(none.expression, start.expression)
    more = operations.with_emotion(start, emotion, names, 1.0, "added")
    assert torch.equal(more.expression, clip_expression(start.expression + pattern, names))
    assert torch.equal(more.shape, start.shape)


def test_action_units_are_shown_and_read_back(model):
    names, start = model.expression_names, faces(model, 3)
    units = {"au04": 0.5, "au12": 0.8}
    read = action_units(operations.with_action_units(start, units, names).expression, names)[0]
    told = dict(zip(AU_COLUMNS, read.tolist(), strict=True))
    assert {unit for unit, amount in told.items() if amount > 0.01} == set(units)
    assert [told[unit] for unit in units] == pytest.approx(list(units.values()), abs=1e-5)
    start = start.replace(expression=0.3 * start.expression)
    more = operations.with_action_units(start, {"au26": 0.2}, names, "added")
    raised = action_units(more.expression, names) - action_units(start.expression, names)
    assert raised[:, AU_COLUMNS.index("au26")].tolist() == pytest.approx([0.2] * 2, abs=1e-5)
    with pytest.raises(ValueError, match="mode out of"):
        operations.with_action_units(start, units, names, "twice")


def test_a_blend_has_exact_ends_and_a_middle(model):
    first, second = faces(model, 4), faces(model, 5)
    for share, end in ((0.0, first), (1.0, second)):
        got = operations.blend(first, second, share).numpy()
        assert all((got[name] == value).all() for name, value in end.numpy().items())
    middle = operations.blend(first, second, 0.5).pose
    torch.testing.assert_close(middle, (first.pose + second.pose) / 2)


def test_modes_are_paired_as_their_names_and_fields_say(model):
    table, names = operations.mirror_table(model), model.expression_names
    partner = {name: names[k] for name, k in zip(names, table.expression_source, strict=True)}
    signs = dict(zip(names, table.expression_sign.tolist(), strict=True))
    if model.name == "embedded":
        assert partner["au12_left"] == "au12_right"
        assert {name for name, sign in signs.items() if sign < 0} == {"gaze_x"}
        assert table.shape_sign.eq(1).all()
    else:
        expected = {"jawLeft": "jawRight", "mouthLeft": "mouthRight", "jawOpen": "jawOpen",
                    "mouthSmile_L": "mouthSmile_R", "eyeLookIn_L": "eyeLookIn_R"}  # fmt: skip
        assert {name: partner[name] for name in expected} == expected
        assert set(signs.values()) == {1.0}
        assert 20 < table.shape_sign.lt(0).sum() < 50
    assert torch.equal(table.expression_source[table.expression_source],
                       torch.arange(len(names)))  # fmt: skip


def test_a_mode_without_its_other_side_is_refused():
    head = embedded_head()
    names = [name.replace("au14_right", "au99") for name in head.expression_names]
    with pytest.raises(ValueError, match="au14_right"):
        operations.mirror_table(replace(head, expression_names=tuple(names)))


def test_a_mirror_of_a_mirror_is_the_face(model):
    face = faces(model, 6)
    table = operations.mirror_table(model)
    once = operations.mirror(face, table)
    assert not torch.equal(once.pose, face.pose)
    twice = operations.mirror(once, model).numpy()
    assert all((twice[name] == value).all() for name, value in face.numpy().items())


@torch.no_grad()
def test_a_mirrored_face_is_drawn_as_the_mirrored_picture(model):
    face, size = faces(model, 7), 96
    drawn = render(model, face, size, 1)
    other = render(model, operations.mirror(face, model), size, 1)
    expected = flip_points(drawn.landmarks_px, size)[:, FLIP68]
    assert (other.landmarks_px - expected).abs().max() < 0.06
    difference = (other.image - drawn.image.flip(-1)).abs().mean()
    assert difference < 0.02 < 3 * (drawn.image - drawn.image.flip(-1)).abs().mean()
