"""From files to a store: every sample has its row, every failure its reason."""

import numpy as np
import pytest
import torch
from PIL import Image

from fer_lib.datasets.preprocess import build_store, failure_table
from fer_lib.datasets.store_writer import StoreCard
from fer_lib.faces.align import LOOSE_FRAME, frame_points
from fer_lib.faces.detect import Detection, FaceDetector
from fer_lib.media.images import read_image
from fer_lib.tables import sample_table

CARD = StoreCard("test", "none", "loose")


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
        table, source, source.parent / "store", size=size, detector=MarkedFaces(), card=CARD
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
        detector=MarkedFaces(), card=CARD,
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
        samples(*names), folder, tmp_path / "s", size=96, detector=detector, card=CARD
    )
    assert read_image(folder / names[0]).shape == (350, 350, 3)
    assert (store.index["status"] == "ok").sum() >= 4
    five = store.landmarks[store.select()]
    eyes = five[:, 1] - five[:, 0]
    assert np.abs(np.degrees(np.arctan2(eyes[:, 1], eyes[:, 0]))).max() < 15
    assert np.abs(five[:, :2].mean(axis=(0, 1)) - [48, 40]).max() < 6
