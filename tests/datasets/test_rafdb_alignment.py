"""The check of RAF-DB's alignment: 1 where it is ours, clearly lower where it is not."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from rafdb_samples import align, draw_faces, write_rafdb

from fer_lib.datasets.rafdb import read_rafdb
from fer_lib.datasets.rafdb_alignment import cross_correlation, realign_ncc


@pytest.fixture(scope="module")
def faces():
    return draw_faces(train=10, test=4)


@pytest.fixture
def basic(tmp_path, faces):
    return write_rafdb(tmp_path, faces)


def shipped(basic, face):
    return basic / "Image" / "aligned" / f"{face.stem}_aligned.jpg"


def scores(basic, limit=100):
    return realign_ncc(basic, read_rafdb(basic), limit)


def test_the_picture_itself_is_1_and_its_negative_is_minus_1():
    picture = np.random.default_rng(0).integers(0, 256, size=(20, 30)).astype(np.uint8)
    assert cross_correlation(picture, picture) == pytest.approx(1, abs=1e-12)
    assert cross_correlation(picture, 255 - picture) == pytest.approx(-1, abs=1e-12)
    assert cross_correlation(picture, 0.3 * picture + 40) == pytest.approx(1, abs=1e-12)


def test_pictures_that_have_nothing_in_common_are_0():
    across, down = np.meshgrid(np.arange(8) - 3.5, np.arange(8) - 3.5)
    assert cross_correlation(across, down) == pytest.approx(0, abs=1e-12)


def test_a_closed_form():
    # (-1, 0, 1) and (-1, 1, 0) after their means: 1 / 2.
    assert cross_correlation(np.array([1, 2, 3]), np.array([4, 6, 5])) == pytest.approx(0.5)


@pytest.mark.parametrize(("a", "b"), [(np.ones(4), np.arange(4)), (np.ones(4), np.ones(5))])
def test_pictures_that_cannot_be_compared_are_refused(a, b):
    with pytest.raises(ValueError, match="expected pictures"):
        cross_correlation(a, b)


def test_images_aligned_by_the_affine_agree(basic, faces):
    table = scores(basic)
    assert table["sample_id"].tolist() == [face.stem for face in faces]
    assert table["reason"].isna().all()
    assert table["ncc"].min() > 0.97


def test_images_five_pixels_aside_are_clearly_lower(basic, faces):
    exact = scores(basic)["ncc"]
    for face in faces:
        moved = np.roll(np.asarray(align(face)), 5, axis=1)
        Image.fromarray(moved).save(shipped(basic, face), quality=95)
    aside = scores(basic)["ncc"]
    assert aside.max() < 0.95 and (exact - aside).min() > 0.05


def test_images_of_wrong_points_are_clearly_lower(basic, faces):
    exact = scores(basic)["ncc"]
    for face in faces:
        # Mouth taken for nose: the face is stretched.
        align(face, face.five[[0, 1, 2, 2, 2]]).save(shipped(basic, face), quality=95)
    wrong = scores(basic)["ncc"]
    assert wrong.max() < 0.95 and (exact - wrong).min() > 0.05


def test_what_cannot_be_compared_is_nan_with_a_reason(basic, faces):
    shipped(basic, faces[0]).write_bytes(b"no image")
    shipped(basic, faces[1]).unlink()
    faces[2].image.resize((64, 64)).save(shipped(basic, faces[2]))
    (basic / "Image" / "original" / f"{faces[3].stem}.jpg").write_bytes(b"")
    (basic / "Image" / "original" / f"{faces[4].stem}.jpg").unlink()
    manual = basic / "Annotation" / "manual"
    attributes = "0\n0\n0\n"
    texts = ["1 1\n", "9 9\n" * 5 + attributes, "-900 0\n-850 0\n-875 20\n-890 40\n-860 40\n"]
    for face, text in zip(faces[5:], texts, strict=False):
        (manual / f"{face.stem}_manu_attri.txt").write_text(text)
    Image.new("RGB", (100, 100), "grey").save(shipped(basic, faces[8]))
    table = scores(basic)
    reasons = [
        "not an image", "does not exist", "100 x 100 pixels, got 64 x 64", "is empty",
        "original image, which is not there", "manual: expected 5 rows", "do not fix an affine",
        "mostly outside", "single brightness",
    ]
    for reason, found in zip(reasons, table["reason"], strict=False):
        assert reason in found
    assert table["ncc"].isna().tolist() == [True] * 9 + [False] * 5


def test_what_lies_outside_the_original_does_not_count(basic, faces):
    for face in faces:
        left, right = face.auto[:, 0].min(), face.auto[:, 0].max()
        # The right third of the face is cut away; the aligned image is white there.
        image = face.image.crop((0, 0, int(left + 0.7 * (right - left)), face.image.height))
        inside = align(replace(face, image=Image.new("L", image.size, 255)))
        white = Image.new("RGB", (100, 100), "white")
        aligned = align(replace(face, image=image))
        white.paste(aligned, mask=inside.point(lambda value: 255 * (value > 0)))
        image.save(basic / "Image" / "original" / f"{face.stem}.jpg", quality=95)
        white.save(shipped(basic, face), quality=95)
    assert scores(basic)["ncc"].min() > 0.97


def test_a_limit_spreads_over_the_table(basic, faces):
    assert scores(basic, 2)["sample_id"].tolist() == [faces[0].stem, faces[7].stem]
    assert len(scores(basic, 5)) == 5
    assert len(scores(basic, 14)) == 14
    with pytest.raises(ValueError, match="at least 1"):
        scores(basic, 0)
