"""From files to a store: every sample has its row, every failure its reason."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from fer_lib.datasets.annotations import Annotations
from fer_lib.datasets.preprocess import build_store, failure_table
from fer_lib.datasets.store_writer import StoreCard
from fer_lib.faces.align import LOOSE_FRAME, frame_points
from fer_lib.faces.detect import Detection, FaceDetector
from fer_lib.faces.locate import FaceLocator
from fer_lib.faces.mesh import MeshFace
from fer_lib.faces.mesh_points import IBUG68
from fer_lib.media.images import read_image
from fer_lib.tables import sample_table

CARD = StoreCard("test", "none", "loose", landmark_scheme="five")


class MarkedFaces:
    """Stands in for the detector: a face is where pure red, green and blue pixels mark it."""

    def detect(self, images):
        return [self._detect_one(image) for image in images]

    def _detect_one(self, image):
        places = [np.argwhere((image == colour).all(axis=2)) for colour in self.colours]
        if any(len(place) != 1 for place in places):
            return None
        eye, other_eye, mouth = (place[0][::-1].astype(np.float32) for place in places)
        points = np.stack((eye, other_eye, (eye + other_eye) / 2, mouth, mouth))
        return Detection((1.0, 2.0, 30.0, 40.0), 0.9, points)

    colours = ((255, 0, 0), (0, 255, 0), (0, 0, 255))


def draw(path, places, side=64):
    image = np.full((side, side, 3), 90, np.uint8)
    for (x, y), colour in zip(places, MarkedFaces.colours, strict=True):
        image[y, x] = colour
    Image.fromarray(image).save(path)


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    draw(folder / "good.png", [(20, 20), (44, 24), (30, 44)])
    draw(folder / "mirrored.png", [(44, 20), (20, 20), (32, 44)])
    Image.new("RGB", (50, 40)).save(folder / "blank.png")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n")
    (folder / "folder.png").mkdir()
    return folder


def samples(*names, **columns):
    rows = [{"sample_id": f"{i} {name}", "source_path": name} for i, name in enumerate(names)]
    return sample_table([{**row, **columns} for row in rows])


def build(source, table, size=48):
    return build_store(
        table, source, source.parent / "store", size=size, card=CARD,
        locator=FaceLocator(MarkedFaces()),
    )


def test_every_failure_keeps_its_row_and_reason(source):
    names = ["good.png", "blank.png", "broken.png", "absent.png", "folder.png", "mirrored.png"]
    store = build(source, samples(*names))
    assert store.index["status"].tolist() == [
        "ok", "no_face", "unreadable", "missing", "missing", "bad_landmarks",
    ]
    assert store.index["status_reason"].notna().tolist() == [False] + [True] * 5
    assert "broken.png" in store.index["status_reason"][2]
    assert store.index["landmark_source"].tolist()[:1] == ["mtcnn"]
    assert store.index["landmark_source"].isna().tolist() == [False] + [True] * 5
    assert (store.faces[1:] == 0).all()
    assert np.isnan(store.landmarks[1:]).all()
    assert store.card["counts"]["status"]["ok"] == 1
    assert failure_table(store.index)["status"].tolist() == [
        "bad_landmarks", "missing", "missing", "no_face", "unreadable",
    ]


def test_rows_that_are_not_ok_are_not_read(source):
    table = samples("good.png", "good.png")
    table.loc[0, ["status", "status_reason"]] = ["ambiguous_label", "annotators tie"]
    table.loc[1, "source_path"] = None
    index = build(source, table).index
    assert index["status"].tolist() == ["ambiguous_label", "missing"]
    assert index["status_reason"].tolist() == ["annotators tie", "the row names no file"]


def test_a_readers_note_survives_success(source):
    index = build(source, samples("good.png", status_reason="annotators disagree")).index
    assert index["status_reason"].tolist() == ["annotators disagree"]


def test_face_lies_in_the_loose_frame_and_box_is_kept(source):
    store = build(source, samples("good.png"), size=96)
    points = torch.from_numpy(store.landmarks[0].copy()).double()
    anchors = torch.stack((points[0], points[1], points[3:].mean(0)))
    # The three points are not quite the frame's triangle: the similarity meets them on average.
    difference = anchors - frame_points(LOOSE_FRAME, 96)
    assert difference.mean(0).abs().max() < 1e-4
    assert difference.abs().max() < 4
    box = store.index.loc[0, ["box_left", "box_top", "box_right", "box_bottom"]]
    assert box.tolist() == [1, 2, 30, 40]


def test_order_is_kept_and_rows_do_not_depend_on_their_neighbours(source):
    rng = np.random.default_rng(0)
    names = []
    for i in range(70):
        x, y = rng.integers(5, 20, 2)
        draw(source / f"{i}.png", [(x, y), (x + 30, y + 2), (x + 14, y + 30)], side=60 + i % 3)
        names.append(f"{i}.png")
    store = build(source, samples(*names))
    some = [3, 33, 69]
    alone = build_store(
        samples(*[names[i] for i in some]), source, source.parent / "some", size=48,
        locator=FaceLocator(MarkedFaces()), card=CARD,
    )
    assert np.array_equal(alone.faces, store.faces[some])
    assert np.array_equal(alone.landmarks, store.landmarks[some])


def test_the_same_source_gives_the_same_hash_wherever_it_lies(source):
    first = build(source, samples("good.png", "blank.png")).card["hash"]
    moved = source.rename(source.parent / "elsewhere")
    assert build(moved, samples("good.png", "blank.png")).card["hash"] == first


def test_an_empty_table_gives_an_empty_store(source):
    assert len(build(source, samples())) == 0


def test_photographs_become_level_centred_faces(shared, tmp_path):
    folder = shared / "data" / "facial_expressions" / "images"
    if not folder.is_dir():
        pytest.skip("the photographs of facial_expressions are absent")
    names = sorted(path.name for path in folder.iterdir())[:200:40]
    detector = FaceDetector()
    store = build_store(
        samples(*names), folder, tmp_path / "s", size=96, locator=FaceLocator(detector), card=CARD
    )
    assert read_image(folder / names[0]).shape == (350, 350, 3)
    assert (store.index["status"] == "ok").sum() >= 4
    five = store.landmarks[store.select()]
    eyes = five[:, 1] - five[:, 0]
    assert np.abs(np.degrees(np.arctan2(eyes[:, 1], eyes[:, 0]))).max() < 15
    assert np.abs(five[:, :2].mean(axis=(0, 1)) - [48, 40]).max() < 6


FIVE = ((20, 20), (44, 24), (32, 30), (28, 44), (34, 44))


class UprightMesh:
    """Stands in for the mesh: in pictures 64 px wide its points spread around FIVE."""

    def find(self, image, near=None):
        if image.shape[1] != 64 or MarkedFaces().detect([image])[0] is None:
            return None
        points = np.zeros((478, 3), np.float32)
        eyes = np.repeat(np.array(FIVE[:2], np.float32), 6, axis=0)
        points[IBUG68[36:48], :2] = eyes
        points[IBUG68[[30, 48, 54]], :2] = FIVE[2:]
        points[:, 2] = 10
        return MeshFace(points, np.linspace(0, 1, 52, dtype=np.float32), 1.0)


def with_mesh(source, table, scheme, known=None):
    return build_store(
        table, source, source.parent / "store", size=48, annotations=known,
        locator=FaceLocator(MarkedFaces(), UprightMesh()),
        card=replace(CARD, landmark_scheme=scheme),
    )


def annotations(n):
    five = np.tile(np.array(FIVE, np.float32), (n, 1, 1))
    return Annotations(five, np.tile(five[:, :1], (1, 37, 1)), "rafdb37", (None,) * n)


def test_the_data_sets_points_come_first_then_the_mesh_then_mtcnn(source):
    known = replace(annotations(3), notes=("exchanged eyes", "no file", "no file"))
    known.five[1:] = np.nan
    draw(source / "wide.png", [(20, 20), (44, 24), (30, 44)], side=80)
    store = with_mesh(source, samples("good.png", "good.png", "wide.png"), "ibug68", known)
    assert store.index["landmark_source"].tolist() == ["dataset", "mesh", "mtcnn"]
    assert np.isfinite(store.five).all()
    for array in (store.landmarks, store.extras["mesh"], store.extras["arkit"]):
        assert np.isfinite(array[:2]).all()
        assert np.isnan(array[2]).all()
    assert store.index["status_reason"].tolist() == [
        "exchanged eyes", "no file", "no file; no mesh found: its landmarks are unknown",
    ]
    assert store.card["landmark_scheme"] == "ibug68"
    store.verify()


def test_mesh_and_annotations_move_into_the_crop_with_the_face(source):
    store = with_mesh(source, samples("good.png"), "rafdb37", annotations(1))
    assert store.landmarks.shape == (1, 37, 2)
    assert np.allclose(store.landmarks[0], store.five[0, 0], atol=1e-4)
    mesh = store.extras["mesh"][0]
    assert np.allclose(mesh[IBUG68[48], :2], store.five[0, 3], atol=1e-4)
    source_eyes = np.linalg.norm(np.subtract(*FIVE[:2]))
    crop_eyes = np.linalg.norm(store.five[0, 1] - store.five[0, 0])
    assert np.allclose(mesh[:, 2], 10 * crop_eyes / source_eyes, rtol=1e-4)


def test_landmarks_that_nobody_gives_are_refused(source):
    with pytest.raises(ValueError, match="rafdb37"):
        with_mesh(source, samples("good.png"), "rafdb37")


def test_a_box_of_the_data_set_stays(source):
    table = samples("good.png", "good.png")
    sides = ["box_left", "box_top", "box_right", "box_bottom"]
    table.loc[0, sides] = [5, 6, 7, 8]
    index = build(source, table).index
    assert index[sides].to_numpy().tolist() == [[5, 6, 7, 8], [1, 2, 30, 40]]


def test_a_note_of_the_reader_and_one_of_the_chain_are_both_kept(source):
    draw(source / "wide.png", [(20, 20), (44, 24), (30, 44)], side=80)
    table = samples("wide.png", status_reason="annotators disagree")
    assert with_mesh(source, table, "ibug68").index["status_reason"][0] == (
        "annotators disagree; no mesh found: its landmarks are unknown"
    )
