"""The edit studio without a front end: what a wish means, and what the controls do."""

import io
from datetime import UTC, datetime
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from fer_lib.editing.buffers import BUFFERS, buffer_head, carried_photograph, draw_buffers
from fer_lib.editing.rig import RigEditor
from fer_lib.editing.schedule import Schedule, v_from_clean
from fer_lib.explore import EditBench, EditStart, EditWish, edit_studio, photograph_reader
from fer_lib.explore.edit_studio import KEEP
from fer_lib.faces.action_units import action_units
from fer_lib.faces.locate import Location
from fer_lib.faces.operations import with_emotion
from fer_lib.faces.params import FaceParams
from fer_lib.labels import AU_COLUMNS
from fer_lib.media.edited_mark import read_mark

SIZE, SMALL = 32, 16


class Mean(nn.Module):
    """A code that is the mean colour."""

    def forward(self, images):
        return images.mean((2, 3))


class Painter(nn.Module):
    """A denoiser that paints the shaded buffer where there is doubt; it counts what it is asked."""

    def __init__(self, schedule):
        super().__init__()
        self.schedule, self.spec, self.asked = schedule, SimpleNamespace(size=SMALL), 0
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, residual, t, buffers, z):
        self.asked += 1
        alpha, sigma = self.schedule.at(t, residual)
        c, s = carried_photograph(buffers)
        s = s.clamp_min(1e-3)
        r = (s.square() * alpha.square() + sigma.square()).sqrt()
        lacking = (buffers[:, BUFFERS["shaded"]] - c) / s
        return v_from_clean(residual, lacking, alpha * s / r, sigma / r)


@pytest.fixture(scope="module")
def head():
    return buffer_head("embedded")


@pytest.fixture
def bench(head):
    schedule = Schedule(100)
    return EditBench(RigEditor(Painter(schedule), Mean(), schedule), head, "painter")


@pytest.fixture(scope="module")
def start(head):
    sizes = [(len(head.shape_names),), (len(head.expression_names),), (3,), (4,),
             (len(head.albedo_names),), (9, 3)]  # fmt: skip
    params = FaceParams(*(torch.zeros(1, *size) for size in sizes))
    light = torch.zeros(1, 9, 3)
    light[:, 0] = 0.9
    params = params.replace(camera=torch.tensor([[0.3, 0, 0, 14.0]]), light=light)
    params = with_emotion(params, "happiness", head.expression_names, 0.4)
    drawn = (draw_buffers(head, params, SIZE)[0, BUFFERS["shaded"]] + 1) / 2
    photo = (drawn * 255).round().byte().permute(1, 2, 0).contiguous().numpy()
    return EditStart(photo, params)


def test_a_wish_moves_what_it_names_and_strength_goes_part_of_the_way(bench, head, start):
    names = head.expression_names
    assert torch.equal(bench.aim(start.params, EditWish()).expression, start.params.expression)
    angry = bench.aim(start.params, EditWish("anger"))
    assert torch.equal(angry.expression, with_emotion(start.params, "anger", names).expression)
    assert torch.equal(angry.shape, start.params.shape)
    half = bench.aim(start.params, EditWish("anger", strength=0.5)).expression
    assert torch.allclose(half, (angry.expression + start.params.expression) / 2)
    units = action_units(bench.aim(start.params, EditWish(units={"au26": 0.5})).expression, names)
    before = action_units(start.params.expression, names)
    moved = (units - before)[0]
    assert moved[AU_COLUMNS.index("au26")] == pytest.approx(0.5, abs=1e-5)
    assert moved.abs().sum() == pytest.approx(0.5, abs=1e-5)
    assert EditWish("anger", {"au26": 0.5, "au12": 0.0}).target == "anger, au26 +0.50"
    assert EditWish().target == "no change"


def test_strength_0_is_the_photograph_and_1_is_not(bench, start):
    same = bench.edit(start, EditWish("surprise", strength=0, steps=2))
    assert np.abs(same.astype(int) - start.photo).max() <= 1
    assert (bench.edit(start, EditWish("surprise", steps=2)) != start.photo).any()
    fresh = bench.edit(start, EditWish("surprise", steps=2, seed=3))
    assert (fresh == bench.edit(start, EditWish("surprise", steps=2, seed=3))).all()


def test_the_noise_is_found_once_for_many_wishes(bench, start):
    counter = bench.editor.denoiser
    bench.edit(start, EditWish("surprise", steps=3))
    first = counter.asked
    bench.edit(start, EditWish("anger", steps=3))
    assert counter.asked - first == 3
    bench.edit(start, EditWish("anger", steps=2))
    assert counter.asked - first > 3 + 2


@pytest.fixture
def studio(bench, start, tmp_path):
    return edit_studio(bench, {"ann": start}, folder=tmp_path / "edits", side=64)


def picture(widget):
    return np.asarray(Image.open(io.BytesIO(widget.value)))


def test_edit_and_save_leave_a_marked_file(studio, start, tmp_path):
    assert (picture(studio.before) == start.photo).all()
    assert read_mark(studio.before.value) is None
    studio.buttons["save"].click()
    assert "press edit" in studio.note.value
    studio.emotion.value, studio.strength.value, studio.steps.value = "anger", 0.5, 2
    studio.buttons["edit"].click()
    assert (picture(studio.after) != start.photo).any()
    studio.name.value = "angry <ann>"
    studio.buttons["save"].click()
    (path,) = (tmp_path / "edits").iterdir()
    assert path.name == "angry <ann>.png"
    assert "&lt;ann&gt;" in studio.note.value
    assert read_mark(path) == ("painter", "anger", 0.5)
    studio.buttons["reset"].click()
    assert studio.emotion.value == KEEP
    assert (picture(studio.after) == start.photo).all()


def test_sliders_that_stand_still_ask_for_nothing(studio):
    assert not any(studio.wish.units.values())
    studio.units["au26"].value += 0.25
    assert studio.wish.target == "au26 +0.25"
    studio.fresh.value, studio.seed.value = True, 7
    assert studio.wish.seed == 7


def bring(studio, name="me.png"):
    file = {"name": name, "type": "image/png", "size": 3, "content": b"abc",
            "last_modified": datetime.now(UTC)}  # fmt: skip
    studio.upload.value = (file,)


def test_an_upload_joins_the_faces_or_says_why_not(bench, start):
    def read(content):
        if read.fails:
            raise ValueError("no face\nin <it>")
        return start._replace(photo=start.photo[:, ::-1].copy())

    read.fails = False
    studio = edit_studio(bench, {"ann": start}, read=read)
    bring(studio)
    assert studio.face.value == "me.png"
    assert (picture(studio.before) == start.photo[:, ::-1]).all()
    assert studio.note.value == "me.png: a face was found."
    read.fails = True
    bring(studio, "other.png")
    assert studio.note.value == "no face in &lt;it&gt;"
    assert studio.face.value == "me.png"
    assert studio.upload.value == ()


class Locator:
    """Finds a face in the middle, or nobody."""

    has_mesh = False

    def __init__(self, five):
        self.five = five

    def locate(self, images, given=None):
        one = None if self.five is None else Location(self.five, "mtcnn", (0, 0, 9, 9), None)
        return [one for _ in images]


def test_a_photograph_is_cut_as_in_a_store_and_read(start):
    class Reader:
        def photographs(self, faces):
            assert (len(faces), faces.has_mesh) == (1, False)
            return start.params

    buffer = io.BytesIO()
    Image.fromarray(np.full((40, 40, 3), 90, np.uint8)).save(buffer, "png")
    five = np.float32([[14, 16], [26, 16], [20, 21], [15, 27], [25, 27]])
    read = photograph_reader(Reader(), Locator(five), SIZE)
    found = read(buffer.getvalue())
    assert found.photo.shape == (SIZE, SIZE, 3)
    assert found.photo[SIZE // 2, SIZE // 2].tolist() == [90, 90, 90]
    with pytest.raises(ValueError, match="face"):
        photograph_reader(Reader(), Locator(None), SIZE)(buffer.getvalue())


def test_no_face_or_one_of_another_head_is_refused(bench, start):
    with pytest.raises(ValueError, match="at least one face"):
        edit_studio(bench, {})
    foreign = start.params.replace(shape=torch.zeros(1, 3))
    with pytest.raises(ValueError, match="coefficients"):
        edit_studio(bench, {"x": start._replace(params=foreign)})
    assert edit_studio(bench, {"ann": start}).upload.disabled
