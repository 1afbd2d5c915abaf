import os
from pathlib import Path

import numpy as np
import pytest
import torch

from fer_lib.datasets.crops import cut_tight_crops
from fer_lib.datasets.store import Store
from fer_lib.datasets.store_writer import StoreCard, StoreWriter
from fer_lib.evaluation.crop_rules import (
    CUTS,
    FacePlace,
    cut_box,
    cut_faces,
    cut_store_faces,
    store_places,
)
from fer_lib.evaluation.emonet_crop import cut_emonet_crops
from fer_lib.evaluation.judge_spec import JudgeSpec
from fer_lib.networks.checkpoints import Lineage
from fer_lib.tables import sample_table

SIDE = 96
FIVE = np.array([(30, 38), (64, 38), (47, 52), (38, 66), (56, 66)], np.float32)


def spec_of(crop, size=48):
    return JudgeSpec("any", size, crop, ("neutral", "anger"), "0", "none", Lineage())


def landmarks():
    """68 points whose eyes and mouth corners are those of FIVE, within a box of 20 … 76."""
    points = np.random.default_rng(0).uniform(25, 70, (68, 2)).astype(np.float32)
    points[0], points[8] = (20, 30), (47, 76)
    points[36:42], points[42:48] = FIVE[0], FIVE[1]
    points[30], points[48], points[54] = FIVE[2:]
    return points


@pytest.fixture
def store(tmp_path):
    rng = np.random.default_rng(1)
    faces = rng.integers(0, 255, (3, SIDE, SIDE, 3), np.uint8)
    faces[1] = 0
    points = np.stack([landmarks(), np.full((68, 2), np.nan), landmarks() + 3]).astype(np.float32)
    rows = sample_table([
        {"sample_id": "a"},
        {"sample_id": "b", "status": "no_face", "status_reason": "nobody"},
        {"sample_id": "c"},
    ])  # fmt: skip
    card = StoreCard("drawn", "none", "none", landmark_scheme="ibug68")
    with StoreWriter(tmp_path / "s", n=3, size=SIDE, n_landmarks=68, card=card) as writer:
        writer.write(rows, faces, points)
    return Store.open(tmp_path / "s")


@pytest.mark.parametrize("rule", sorted(CUTS))
def test_every_rule_cuts_a_store_row_by_row(store, rule):
    spec = spec_of(rule, 256 if rule == "emonet" else 48)
    crops = cut_store_faces(store, [2, 1, 0, 2], spec)
    assert crops[1] is None
    assert all(crop.dtype == np.uint8 and crop.shape[2] == 3 for crop in crops if crop is not None)
    assert np.array_equal(crops[0], crops[3])
    (alone,) = cut_store_faces(store, [2], spec)
    assert np.array_equal(alone, crops[0])
    assert not np.array_equal(crops[0], crops[2])


@pytest.mark.parametrize("rule", sorted(CUTS))
def test_a_photograph_of_the_loose_crop_is_cut_as_the_store_is(store, rule):
    spec = spec_of(rule, 256 if rule == "emonet" else 48)
    (place,) = store_places(store, [0])
    (single,) = cut_faces([np.array(store.faces[0])], [place], spec)
    (stored,) = cut_store_faces(store, [0], spec)
    assert np.abs(single.astype(int) - stored).max() <= 1


def test_a_warp_of_a_part_is_the_warp_of_the_whole():
    rng = np.random.default_rng(2)
    picture = rng.integers(0, 255, (700, 900, 3), np.uint8)
    # Far from the origin, at the border, small and large: what lies outside is black.
    for scale, shift in ((1, (500, 300)), (3, (-20, 10)), (0.4, (860, 660)), (8, (100, -90))):
        points = (landmarks() * scale + shift).astype(np.float32)
        whole = cut_emonet_crops(torch.from_numpy(picture)[None], torch.from_numpy(points)[None])
        part = CUTS["emonet"](picture, FacePlace(FIVE, None, points), 256)
        assert np.abs(part.astype(int) - whole.faces[0].numpy()).max() <= 1


def test_tight_and_emonet_rules_are_those_of_training_and_of_the_published_code(store):
    rows = [0, 2]
    tight = cut_store_faces(store, rows, spec_of("tight"))
    assert np.array_equal(np.stack(tight), cut_tight_crops(store, rows, 48).faces.numpy())
    faces = torch.from_numpy(np.array(store.faces[rows]))
    published = cut_emonet_crops(faces, torch.from_numpy(np.array(store.landmarks[rows])))
    for crop, other in zip(
        cut_store_faces(store, rows, spec_of("emonet", 256)), published.faces, strict=True
    ):
        assert np.abs(crop.astype(int) - other.numpy()).max() <= 1


def test_the_box_is_that_of_the_landmarks_without_a_mesh(store):
    (place,) = store_places(store, [0])
    points = np.array(store.landmarks[0])
    assert place.box == (*points.min(axis=0), *points.max(axis=0))
    (crop,) = cut_store_faces(store, [0], spec_of("box"))
    left, top, right, bottom = map(int, place.box)
    assert np.array_equal(crop, store.faces[0, top:bottom, left:right])


def test_boxes_are_whole_pixels_and_black_beyond_the_image():
    image = np.arange(1, 4 * 5 * 3 + 1, dtype=np.uint8).reshape(4, 5, 3)
    assert np.array_equal(cut_box(image, (1.9, 0.2, 3.5, 2.9)), image[0:2, 1:3])
    wide = cut_box(image, (-2, -1, 7, 6))
    assert wide.shape == (7, 9, 3)
    assert np.array_equal(wide[1:5, 2:7], image)
    assert wide.sum() == image.sum()
    for box in ((9, 9, 12, 12), (3, 3, 3, 5), (np.nan, 0, 2, 2), (-9, 0, -1, 3)):
        assert cut_box(image, box) is None


def test_what_a_rule_lacks_is_no_crop_and_not_a_black_one():
    picture = np.full((50, 50, 3), 200, np.uint8)
    blind = FacePlace(np.full((5, 2), np.nan, np.float32), None)
    for rule, cut in CUTS.items():
        assert cut(picture, blind, 256 if rule == "emonet" else 48) is None
    lost = FacePlace(FIVE, None, np.full((68, 2), np.nan, np.float32))
    assert CUTS["emonet"](picture, lost, 256) is None
    assert cut_faces([None, picture], [None, None], spec_of("tight")) == [None, None]


def test_an_unknown_rule_and_a_store_without_landmarks_are_sentences(store, tmp_path):
    with pytest.raises(ValueError, match="cuts by 'oval'; add its rule"):
        cut_store_faces(store, [0], spec_of("oval"))
    card = StoreCard("drawn", "none", "none", landmark_scheme="five")
    with StoreWriter(tmp_path / "f", n=1, size=SIDE, n_landmarks=5, card=card) as writer:
        writer.write(sample_table([{"sample_id": "a"}]), np.zeros((1, SIDE, SIDE, 3), np.uint8),
                     FIVE[None])  # fmt: skip
    five = Store.open(tmp_path / "f")
    with pytest.raises(ValueError, match="expected 68 landmarks or a mesh"):
        cut_store_faces(five, [0], spec_of("emonet", 256))
    (crop,) = cut_store_faces(five, [0], spec_of("tight"))
    assert crop.shape == (48, 48, 3)


@pytest.mark.parametrize("name", ["synthetic", "london_224"])
@pytest.mark.parametrize("rule", sorted(CUTS))
def test_every_face_of_a_real_store_is_cut(name, rule):
    path = Path(os.environ.get("FER_DATA", Path(__file__).parents[2] / "data")) / "processed" / name
    if not (path / "card.json").is_file():
        pytest.skip(f"the store {name} has not been written here")
    real = Store.open(path)
    rows = np.linspace(0, len(real) - 1, 12).astype(int)
    crops = cut_store_faces(real, rows, spec_of(rule, 256 if rule == "emonet" else 64))
    for crop in crops:
        assert min(crop.shape[:2]) > real.size / 4
        # A face, not an empty corner: it has contrast in its middle half.
        height, width = crop.shape[:2]
        assert crop[height // 4 : -height // 4, width // 4 : -width // 4].std() > 10
