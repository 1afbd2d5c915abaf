import numpy as np
import pytest
import torch
from rig_samples import SIZE

from fer_lib.editing import rig_batches
from fer_lib.editing.buffers import BUFFERS, buffer_head, carried_photograph, draw_buffers
from fer_lib.editing.carry import draw_edit
from fer_lib.editing.rig_batches import (
    RigSet,
    draw_edits,
    draw_faces,
    mirror_batch,
    rig_loader,
    shrink_pictures,
    to_bytes,
    to_pixels,
    way_back,
)
from fer_lib.editing.rig_edits import Edits
from fer_lib.faces.embedded import sample_shape
from fer_lib.faces.light import sample_light
from fer_lib.faces.operations import MirrorTable, mirror, mirror_table
from fer_lib.faces.params import FaceParams

TABLE = MirrorTable(torch.ones(2), torch.tensor([1, 0]), torch.ones(2))
AU26 = buffer_head("embedded").expression_names.index("au26")


def some_set(count=10):
    """Samples by hand, with two numbers of expression of which the first tells which one it is."""
    rows = torch.arange(count)
    psi = torch.stack([rows / count, torch.zeros(count)], 1)
    buffers = torch.zeros(count, 14, SIZE, SIZE, dtype=torch.int8)
    return RigSet(
        pictures(count), rows, rows, buffers, buffers[:, :1], psi,
        torch.ones(count, dtype=torch.bool),
    )  # fmt: skip


def pictures(count):
    return torch.arange(count, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, SIZE, SIZE)


def faces_of(psi):
    """Faces of one person, with the mouth as far open as told."""
    model, count = buffer_head("embedded"), len(psi)
    expression = torch.zeros(count, len(model.expression_names))
    expression[:, AU26] = torch.as_tensor(psi)
    light = torch.zeros(count, 9, 3)
    light[:, 0] = 0.9
    return FaceParams(
        torch.zeros(count, len(model.shape_names)), expression, torch.zeros(count, 3),
        torch.tensor([0.3, 0.0, 0.0, 14.0]).repeat(count, 1),
        torch.zeros(count, len(model.albedo_names)), light,
    )  # fmt: skip


@pytest.fixture(scope="module")
def photos():
    generator = torch.Generator().manual_seed(3)
    return torch.randint(0, 256, (3, 3, SIZE, SIZE), dtype=torch.uint8, generator=generator)


@pytest.fixture(scope="module")
def faces():
    return faces_of([0.0, 0.1, 0.7])


@pytest.fixture(scope="module")
def alone(photos, faces):
    return draw_faces(buffer_head("embedded"), photos, faces)


@pytest.fixture(scope="module")
def edited(photos, faces):
    """The first face as the third, and the second with an opener mouth, as nobody knows it."""
    psi = faces_of([0.7, 0.9]).expression
    edits = Edits(torch.tensor([0, 1]), torch.tensor([2, 1]), psi, torch.tensor([True, False]))
    return draw_edits(buffer_head("embedded"), photos, faces, edits)


def test_pixels_and_bytes_are_the_same_numbers():
    every = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_bytes(to_pixels(every)), every)
    assert to_pixels(every)[[0, -1]].tolist() == [-1, 1]


def test_pictures_are_shrunk_about_their_middle(generator):
    faces = torch.randint(0, 256, (3, 12, 12, 3), generator=generator).byte().numpy()
    assert np.array_equal(shrink_pictures(faces, 12).permute(0, 2, 3, 1).numpy(), faces)
    small = shrink_pictures(faces, 7)
    assert small.shape == (3, 3, 7, 7)
    mirrored = shrink_pictures(np.ascontiguousarray(faces[:, :, ::-1]), 7).flip(3)
    assert (small.int() - mirrored.int()).abs().max() <= 1


def test_faces_are_drawn_as_themselves_and_without_a_photograph(photos, faces, alone):
    assert len(alone) == 3
    batch = alone.take(torch.arange(3))
    assert torch.equal(to_bytes(batch.images), photos)
    assert torch.equal(batch.sources, batch.images)
    assert torch.equal(batch.psi, faces.expression)
    assert batch.known.all()
    seen = draw_buffers(buffer_head("embedded"), faces, SIZE)
    assert (batch.buffers - seen).abs().max() <= 0.5 / 127 + 1e-6
    c, s = carried_photograph(batch.buffers)
    assert (c == 0).all()
    assert (s == 1).all()
    assert torch.equal(batch.covered, batch.buffers[:, BUFFERS["mask"]])


def test_edits_are_drawn_with_the_photographs_of_their_sources(photos, faces, edited):
    assert len(edited) == 2
    batch = edited.take(torch.arange(2))
    assert torch.equal(to_bytes(batch.sources), photos[[0, 1]])
    assert batch.known.tolist() == [True, False]
    assert batch.psi[:, AU26].tolist() == pytest.approx([0.7, 0.9])
    source = faces[[0, 1]]
    seen = draw_edit(
        buffer_head("embedded"), to_pixels(photos[:2]), source,
        source.replace(expression=batch.psi),
    )[1]  # fmt: skip
    assert (batch.buffers - seen).abs().max() <= 0.5 / 127 + 1e-6
    assert torch.equal(to_bytes(batch.images[0]), photos[2])
    # Nobody knows the result of the second one: in its place stands what was carried.
    assert torch.equal(batch.images[1], carried_photograph(batch.buffers)[0][1])
    assert not torch.equal(to_bytes(batch.images[1]), photos[1])


def test_both_faces_of_an_edit_are_covered(photos, faces, monkeypatch):
    here, there = torch.zeros(2, 1, 14, SIZE, SIZE)
    here[:, BUFFERS["mask"], :2] = 1
    there[:, BUFFERS["mask"], 1:5] = 0.5
    monkeypatch.setattr(rig_batches, "draw_edit", lambda *_: (here, there))
    edit = Edits(torch.tensor([1]), torch.tensor([2]), faces[2].expression, torch.tensor([True]))
    drawn = draw_edits(buffer_head("embedded"), photos, faces, edit).take(torch.tensor([0]))
    expected = torch.maximum(here, there)[:, BUFFERS["mask"]]
    assert torch.allclose(drawn.covered, expected, atol=0.5 / 127)


def test_the_way_back_from_a_bent_photograph_is_known(photos, faces, edited):
    every, moved, edits = way_back(edited, faces)
    assert torch.equal(every[:3], photos)
    assert torch.equal(moved[3:].expression, edited.psi)
    assert torch.equal(moved[3:].shape, faces[[0, 1]].shape)
    drawn = draw_edits(buffer_head("embedded"), every, moved, edits)
    batch = drawn.take(torch.arange(2))
    assert batch.known.all()
    assert torch.equal(to_bytes(batch.images), photos[[0, 1]])
    there = edited.take(torch.arange(2)).buffers[:, BUFFERS["carried"]]
    assert (batch.sources - there).abs().max() <= 1 / 255 + 1e-6
    assert torch.equal(batch.psi, faces[[0, 1]].expression)
    # What did not move on the way there has not moved on the way back.
    sure = (batch.buffers[:, BUFFERS["doubt"]] == 0).expand_as(batch.images)
    assert sure.any()
    assert (batch.buffers[:, BUFFERS["carried"]] - batch.images)[sure].abs().max() < 2 / 127


def test_buffers_keep_what_is_exactly_nothing(alone, edited):
    for one in (alone, edited):
        buffers = one.take(torch.arange(2)).buffers
        nowhere = (buffers[:, BUFFERS["mask"]] == 0).expand(-1, 3, -1, -1)
        assert nowhere.any()
        assert (buffers[:, BUFFERS["normals"]][nowhere] == 0).all()


def test_an_epoch_shows_every_sample_once_in_an_order_that_the_seed_decides():
    sets = [some_set(), some_set(2)]
    loader = rig_loader(sets, 4)
    orders = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        orders.append([b.psi[:, 0].tolist() for b in loader])
    assert orders[0] == orders[1] != orders[2]
    every = [psi for batch in orders[0] for psi in batch]
    assert sorted(every) == sorted([*some_set().psi[:, 0].tolist(), 0, 0.5])


def test_an_epoch_may_be_longer_or_shorter_than_the_samples():
    assert [len(list(rig_loader([some_set()], 4, batches=n))) for n in (1, 7)] == [1, 7]
    assert len(rig_loader([some_set()], 4)) == 2
    assert [len(batch.psi) for batch in rig_loader([some_set()], 64)] == [10]


def test_half_of_the_samples_are_mirrored_if_wished():
    torch.manual_seed(0)
    batches = list(rig_loader([some_set()], 10, batches=40, table=TABLE))
    share = torch.cat([batch.psi[:, 1] > 0 for batch in batches]).float().mean() * 10 / 9
    assert 0.4 < share < 0.6


def test_a_mirror_shows_the_same_samples_twice_around(generator):
    batch = some_set().take(torch.arange(10))
    batch = batch._replace(
        images=torch.rand(10, 3, SIZE, SIZE, generator=generator),
        buffers=torch.rand(10, 14, SIZE, SIZE, generator=generator),
    )
    chosen = torch.arange(10) % 2 == 0
    once = mirror_batch(batch, TABLE, chosen)
    assert torch.equal(once.images[1], batch.images[1])
    assert torch.equal(once.images[0], batch.images[0].flip(2))
    assert torch.equal(once.buffers[0, 0], -batch.buffers[0, 0].flip(1))
    assert torch.equal(once.buffers[0, 1:], batch.buffers[0, 1:].flip(2))
    twice = mirror_batch(once, TABLE, chosen)
    assert all(torch.equal(one, other) for one, other in zip(twice, batch, strict=True))


def test_mirrored_buffers_are_the_buffers_of_the_mirrored_face(generator):
    model = buffer_head("embedded")
    count = 2
    psi = 0.7 * torch.rand(count, len(model.expression_names), generator=generator) ** 3
    psi[:, [name.startswith("gaze") for name in model.expression_names]] = 0
    faces = FaceParams(
        sample_shape(generator, count, male=False), psi,
        0.2 * torch.randn(count, 3, generator=generator),
        torch.tensor([0.24, 0.02, 0.0, 14.0]).repeat(count, 1),
        torch.zeros(count, len(model.albedo_names)), sample_light(generator, count),
    )  # fmt: skip
    photos = torch.randint(0, 256, (count, 3, 6, 6), generator=generator).float()
    photos = torch.nn.functional.interpolate(photos, (48, 48), mode="bicubic").clamp(0, 255).byte()
    rows, unknown = torch.arange(count), torch.zeros(count, dtype=torch.bool)
    table, every = mirror_table(model), torch.ones(count, dtype=torch.bool)
    aims = [psi.flip(0), psi.flip(0)[:, table.expression_source] * table.expression_sign]
    sides = [(photos, faces), (photos.flip(3), mirror(faces, table))]
    alone = [draw_faces(model, *side) for side in sides]
    edited = [
        draw_edits(model, *side, Edits(rows, rows, aim, unknown))
        for side, aim in zip(sides, aims, strict=True)
    ]
    for here, there in (alone, edited):
        flipped = mirror_batch(here.take(rows), table, every)
        other = there.take(rows)
        assert torch.allclose(flipped.psi, other.psi)
        gap = (flipped.buffers - other.buffers).abs()
        assert gap.mean() < 0.004
        assert gap[:, BUFFERS["carried"]].mean() < 0.004
        # Without turning the normals about, they would be off by far more.
        flipped.buffers[:, 0] *= -1
        assert (flipped.buffers - other.buffers)[:, 0].abs().mean() > 0.1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda one: draw_faces(buffer_head("embedded"), one, faces_of([0.0])), "3 of 1"),
        (lambda one: draw_edits(buffer_head("embedded"), one, faces_of([0.0]), None), "3 of 1"),
        (lambda _: rig_loader([], 4), "samples to learn from"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(photos, make, message):
    with pytest.raises(ValueError, match=message):
        make(photos)
