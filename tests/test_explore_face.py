"""The face explorer without a front end: what its sliders mean, and what its controls do."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from fer_lib.explore import FaceStart, face, face_controls, face_explorer, face_files
from fer_lib.faces.action_units import action_units
from fer_lib.faces.embedded import embedded_head
from fer_lib.faces.ict.head import ict_head
from fer_lib.faces.operations import mirror, with_emotion
from fer_lib.faces.params import FaceParams
from fer_lib.labels import AU_COLUMNS
from fer_lib.plots.face_pictures import plain_picture

SIZE = 32


def same(first, second):
    arrays = first.numpy(), second.numpy()
    return all((arrays[0][name] == arrays[1][name]).all() for name in arrays[0])


def person(model, seed, emotion="neutral"):
    generator = torch.Generator().manual_seed(seed)
    who = face_controls.random_person(face_controls.average_face(model), model, generator)
    # Between the steps and beyond the ends of the sliders, as fits are.
    who = who.replace(pose=torch.tensor([[0.123, 1.5, -0.2]]), shape=who.shape * 3)
    return with_emotion(who, emotion, model.expression_names)


def zeros(shape, expression, albedo):
    sizes = ((shape,), (expression,), (3,), (4,), (albedo,), (9, 3))
    face = FaceParams(*(torch.zeros(1, *size) for size in sizes))
    return face.replace(camera=torch.tensor([[0.2, 0.0, 0.0, 16.0]]))


def image(widget):
    return np.asarray(Image.open(io.BytesIO(widget.value)))


@pytest.fixture(scope="module")
def head():
    return embedded_head()


@pytest.fixture(scope="module")
def starts(head):
    photo = np.full((20, 30, 3), 9, np.uint8)
    neutral = person(head, 2)
    return {
        "Anna": FaceStart(person(head, 1), "embedded", photo),
        "Ben": FaceStart(person(head, 2, "happiness"), "embedded", neutral=neutral),
        "of the other model": FaceStart(zeros(100, 53, 24), "ict"),
    }


@pytest.fixture
def explorer(starts, tmp_path):
    return face_explorer(starts, model="embedded", size=SIZE, folder=tmp_path / "new")


@pytest.fixture(params=["embedded", "ict"])
def model(request):
    if request.param == "embedded":
        return embedded_head()
    request.getfixturevalue("shared")
    return ict_head()


def test_sliders_that_stand_still_change_nothing(model):
    start = person(model, 0, "surprise")
    shown = face_controls.slider_values(start, model)
    assert set(shown) == {s.name for s in face_controls.face_sliders(model, start.camera_kind)}
    assert same(face_controls.moved_face(start, shown, shown, model), start)


def test_a_slider_moves_its_own_factor_by_its_own_amount(model):
    start = person(model, 0)
    shown = face_controls.slider_values(start, model)
    first = model.shape_names[0]
    moves = {first: -0.5, "yaw": 30.0, "distance": 2.0, "au12": 0.5, "au26": 0.25}
    values = shown | {name: shown[name] + by for name, by in moves.items()}
    moved = face_controls.moved_face(start, shown, values, model)
    told = face_controls.slider_values(moved, model)
    for name, value in values.items():
        assert told[name] == pytest.approx(value, abs=1e-4)
    assert torch.equal(moved.light, start.light)
    assert torch.equal(moved.albedo, start.albedo)
    units = action_units(moved.expression, model.expression_names)[0]
    assert units[AU_COLUMNS.index("au12")] == pytest.approx(0.5, abs=1e-5)


def test_the_lamp_lights_its_own_side(head):
    start = face_controls.average_face(head)
    lamp = face_controls.lit(start.light, 0.0, 1.0, 70.0, 0.0)
    picture = plain_picture(head, start.replace(light=lamp), SIZE).astype(float)
    middle = picture[12:20, 8:24].mean(axis=(0, 2))
    assert middle[8:].mean() > 1.5 * middle[:8].mean()
    half = face_controls.lit(start.light, 0.5, 0.0, 0.0, 0.0)
    assert torch.equal(half, 0.5 * start.light)


def test_a_transfer_takes_the_expression_or_the_difference(head, starts):
    anna, ben = starts["Anna"], starts["Ben"]
    absolute = face_controls.transferred(anna, ben, head, False)
    assert torch.equal(absolute.expression, ben.params.expression)
    assert torch.equal(absolute.shape, anna.params.shape)
    tired = anna._replace(params=with_emotion(anna.params, "sadness", head.expression_names))
    moved = face_controls.transferred(tired, ben, head, True).expression
    assert torch.allclose(moved, tired.params.expression + ben.params.expression, atol=1e-6)
    with pytest.raises(ValueError, match="neutral face of B is unknown"):
        face_controls.transferred(ben, anna, head, True)


def test_files_are_read_back_and_never_overwritten(head, tmp_path):
    start = person(head, 4, "anger")
    first = face_files.save_face(tmp_path / "a" / "b", "me", start, head)
    second = face_files.save_face(tmp_path / "a" / "b", "me", person(head, 5), head)
    assert (first.name, second.name) == ("me.npz", "me-2.npz")
    with np.load(first) as arrays:
        assert same(FaceParams.from_numpy(arrays), start)
        assert str(arrays["model"]) == "embedded"
        assert tuple(arrays["expression_names"]) == head.expression_names
    for name in ("", " ", "..", ".hidden", "a/b", "/etc/x"):
        with pytest.raises(ValueError, match="file name"):
            face_files.save_picture(tmp_path, name, b"")


def test_the_explorer_shows_the_average_face_at_once(explorer, head):
    expected = plain_picture(head, face_controls.average_face(head), SIZE)
    assert np.array_equal(image(explorer.picture), expected)
    assert explorer.photo.layout.display == "none"
    assert explorer.start.options == (face.AVERAGE, "Anna", "Ben")
    assert explorer.children[2].children[-1].titles == ("shape", "AUs", "view", "light", "transfer")


def test_a_start_is_shown_exactly_beside_its_photograph(explorer, starts):
    explorer.start.value = "Anna"
    assert same(explorer.params, starts["Anna"].params)
    assert explorer.photo.layout.display == ""
    assert np.array_equal(image(explorer.photo), starts["Anna"].photo)
    explorer.sliders["roll"].value += 10
    assert explorer.params.pose[0, 1] == starts["Anna"].params.pose[0, 1]
    explorer.buttons["reset"].click()
    assert same(explorer.params, starts["Anna"].params)
    explorer.start.value = "Ben"
    assert explorer.photo.layout.display == "none"


def test_a_slider_draws_a_new_picture(explorer):
    before = explorer.picture.value
    explorer.sliders["au26"].value = 1.0
    assert explorer.picture.value != before
    assert action_units(explorer.params.expression, embedded_head().expression_names)[
        0, AU_COLUMNS.index("au26")
    ] == pytest.approx(1.0)
    assert explorer.note.value == ""


def test_emotions_replace_or_add_and_can_be_taken_back(explorer, head, starts):
    explorer.start.value = "Ben"
    own, names = starts["Ben"].params, head.expression_names
    explorer.emotion.value = "surprise"
    assert same(explorer.params, with_emotion(own, "surprise", names))
    assert explorer.sliders["au02"].value == pytest.approx(0.9)
    explorer.strength.value = 0.5
    explorer.added.value = True
    assert same(explorer.params, with_emotion(own, "surprise", names, 0.5, "added"))
    explorer.sliders["pitch"].value += 5
    explorer.emotion.value = face.OWN
    assert torch.equal(explorer.params.expression, own.expression)
    assert not torch.equal(explorer.params.pose, own.pose)


def test_buttons_mirror_and_change_the_person(explorer, head, starts):
    explorer.start.value = "Anna"
    explorer.buttons["mirror"].click()
    assert same(explorer.params, mirror(starts["Anna"].params, head))
    explorer.buttons["mirror"].click()
    assert same(explorer.params, starts["Anna"].params)
    explorer.buttons["random person"].click()
    first = explorer.params
    assert torch.equal(first.pose, starts["Anna"].params.pose)
    explorer.buttons["random person"].click()
    assert not torch.equal(first.shape, explorer.params.shape)


def test_what_is_seen_is_written(explorer, tmp_path):
    explorer.sliders["yaw"].value = 20
    explorer.buttons["save picture"].click()
    explorer.buttons["save parameters"].click()
    assert (tmp_path / "new" / "face.png").read_bytes() == explorer.picture.value
    with np.load(tmp_path / "new" / "face.npz") as arrays:
        assert same(FaceParams.from_numpy(arrays), explorer.params)
    assert explorer.note.value.startswith("Written: ")


def test_the_transfer_shows_both_faces_and_the_mixture(explorer, head, starts):
    assert (explorer.first.value, explorer.second.value) == ("Anna", "Ben")
    mixed = face_controls.transferred(starts["Anna"], starts["Ben"], head, False)
    shown = image(explorer.transfer)
    assert shown.shape == (SIZE, 3 * SIZE, 3)
    for place, params in enumerate((starts["Anna"].params, starts["Ben"].params, mixed)):
        part = shown[:, place * SIZE : (place + 1) * SIZE]
        assert np.array_equal(part, plain_picture(head, params, SIZE))


def test_what_fails_is_told_in_one_sentence(explorer, monkeypatch):
    explorer.difference.value = True
    explorer.second.value = "Anna"
    assert explorer.note.value.startswith("the neutral face of B is unknown")
    explorer.name.value = "<b>/x"
    explorer.buttons["save picture"].click()
    assert "file name without folders" in explorer.note.value
    assert "&lt;b&gt;" in explorer.note.value

    def broken():
        raise OSError("no such\narchive")

    monkeypatch.setitem(face.HEADS, "ict", broken)
    before = explorer.picture.value
    explorer.model.value = "ict"
    assert explorer.note.value == "no such archive"
    assert explorer.model.value == "embedded"
    assert explorer.picture.value == before


def test_the_model_can_be_changed(explorer, shared):
    explorer.model.value = "ict"
    assert explorer.note.value == ""
    assert explorer.start.options == (face.AVERAGE, "of the other model")
    assert explorer.params.shape.shape == (1, 100)
    assert "identity000" in explorer.sliders
    explorer.emotion.value = "happiness"
    assert explorer.sliders["au12"].value == pytest.approx(0.95, abs=1e-5)


def test_a_start_with_the_coefficients_of_another_model_is_refused():
    starts = {"x": FaceStart(zeros(100, 53, 24), "embedded")}
    with pytest.raises(ValueError, match="model embedded with"):
        face_explorer(starts, model="embedded", size=SIZE)


def test_an_explorer_without_starts_has_no_transfer(tmp_path):
    explorer = face_explorer(model="embedded", size=SIZE)
    assert explorer.difference.disabled
    assert explorer.transfer.value == b""


def test_starts_that_are_not_one_face_of_a_known_model_are_refused(head):
    one = person(head, 0)
    for start in (FaceStart(one, "flame"), FaceStart(one[[0, 0]], "embedded")):
        with pytest.raises(ValueError, match="one face of a model"):
            face_explorer({"x": start}, model="embedded")
