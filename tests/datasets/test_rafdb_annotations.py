"""RAF-DB's annotation files: exact where well formed, NaN with a reason where not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rafdb_samples import draw_faces, write_rafdb, write_repack

from fer_lib.datasets.rafdb import read_rafdb
from fer_lib.datasets.rafdb_annotations import (
    order_five,
    read_rafdb_attributes,
    read_rafdb_landmarks,
)
from fer_lib.datasets.rafdb_files import (
    ATTRIBUTES,
    parse_attributes,
    parse_box,
    parse_five,
    parse_landmarks,
)

BLANK = st.text(alphabet=" \t\v\f\u00a0", max_size=3)
PARTING = st.text(alphabet=" \t\v\f", min_size=1, max_size=3)
LINE_END = st.sampled_from(["\n", "\r\n", "\r", "\n\n", "\r\n \r\n"])
PIXEL = st.floats(-500, 5000, width=32)
NUMBER = st.sampled_from(["{:.6f}", "{:.9e}", "{:.9E}", "{:+.7f}", "{!r}"])


@pytest.fixture(scope="module")
def faces():
    return draw_faces()


@pytest.fixture
def basic(tmp_path, faces):
    return write_rafdb(tmp_path / "basic", faces, pictures=False)


@given(
    values=st.lists(PIXEL, min_size=74, max_size=74),
    before=BLANK, parting=PARTING, after=BLANK, end=LINE_END, number=NUMBER,
)
@settings(max_examples=50, deadline=None)
def test_numbers_in_any_notation_and_white_space_are_the_same_points(
    values, before, parting, after, end, number
):
    points = np.array(values, dtype=np.float32).reshape(37, 2)
    rows = [before + parting.join(number.format(float(v)) for v in p) + after for p in points]
    found = parse_landmarks(end.join(rows) + end)
    np.testing.assert_allclose(found, points, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(parse_five(end.join(rows[:5])), found[:5])


@settings(deadline=None)
@given(row=st.integers(0, 36), junk=st.text(min_size=1, max_size=12).filter(str.strip))
def test_text_or_numbers_too_many_never_change_a_point(row, junk):
    good = [f"{i}.5\t{i}.25" for i in range(37)]
    bad = [*good[:row], f"{good[row]} {junk}", *good[row + 1 :]]
    with pytest.raises(ValueError, match="expected"):
        parse_landmarks("\n".join(bad))
    with pytest.raises(ValueError, match=r"expected 37 rows"):
        parse_landmarks("\n".join([*good, junk]))


@pytest.mark.parametrize("x", ["nan", "inf", "-inf", "1_0", "1,5", "", "1e999", "1e6", "٣", "0x10"])
def test_what_is_no_pixel_is_refused(x):
    rows = ["1 2"] * 36
    with pytest.raises(ValueError, match="row 37"):
        parse_landmarks("\n".join([*rows, f"{x} 2"]))


@settings(deadline=None)
@given(st.text(max_size=80))
def test_any_text_is_parsed_or_refused(text):
    for parse in (parse_landmarks, parse_five, parse_attributes, parse_box):
        try:
            parse(text)
        except ValueError as error:
            assert str(error).startswith("expected")


@pytest.mark.parametrize("text", ["1.5 2 30 40 ", "1.5\t2\t3e1\t40\r\n", "\n 1.5 2\n30 40"])
def test_a_box_in_any_white_space(text):
    assert parse_box(text).tolist() == [1.5, 2, 30, 40]


def test_landmarks_come_row_by_row_of_the_samples(basic, faces):
    samples = read_rafdb(basic)
    found = read_rafdb_landmarks(basic.parent, samples)
    assert (found.scheme, found.notes) == ("rafdb37", (None,) * len(faces))
    assert (found.five.dtype, found.landmarks.dtype) == (np.float32, np.float32)
    np.testing.assert_allclose(found.five, [face.five for face in faces], atol=1e-4)
    np.testing.assert_allclose(found.landmarks, [face.auto for face in faces], atol=1e-4)
    some = read_rafdb_landmarks(basic, samples.iloc[[5, 2]])
    np.testing.assert_array_equal(some.landmarks, found.landmarks[[5, 2]])
    assert read_rafdb_landmarks(basic, samples.iloc[:0]).five.shape == (0, 5, 2)


BAD_FILES = {
    "train_00001": (None, "is not there"),
    "train_00002": (b"", "expected 37 rows, got 0"),
    "train_00003": (b"1 2\n" * 36, "expected 37 rows, got 36"),
    "train_00004": (b"1 2\n" * 36 + b"nan nan\n", "in row 37, got 'nan nan'"),
    "train_00005": (b"1 2 eye\n" + b"1 2\n" * 36, "in row 1, got '1 2 eye'"),
    "train_00006": (b"1 2\n" * 38, "got 38"),
    "train_00007": (b"\xff\xfe\x00" * 40, "expected 37 rows"),
    "train_00008": (b"1 2\n" * 50_000, "too long"),
}


def test_bad_files_are_nan_with_a_reason_and_no_other_row_suffers(basic):
    auto = basic / "Annotation" / "auto"
    for stem, (content, _) in BAD_FILES.items():
        (auto / f"{stem}_auto_attri.txt").unlink()
        if content is not None:
            (auto / f"{stem}_auto_attri.txt").write_bytes(content)
    samples = read_rafdb(basic)
    found = read_rafdb_landmarks(basic, samples)
    bad = samples["sample_id"].isin(list(BAD_FILES)).to_numpy()
    np.testing.assert_array_equal(np.isnan(found.landmarks).all(axis=(1, 2)), bad)
    np.testing.assert_array_equal(np.isnan(found.landmarks).any(axis=(1, 2)), bad)
    assert not np.isnan(found.five).any()
    for stem, note in zip(samples["sample_id"], found.notes, strict=True):
        assert (note is None) == (stem not in BAD_FILES)
        if note:
            assert note.startswith("auto: ") and BAD_FILES[stem][1] in note


def test_manual_points_and_attributes_fail_apart(basic):
    manual = basic / "Annotation" / "manual"
    points = "10 10\n30 10\n20 20\n12 30\n28 30\n"
    texts = {
        "train_00001": points + "1\n2\n4\n",
        "train_00002": points + "1\n4\n",
        "train_00003": points + "1\n3\n4\n",
        "train_00004": points.replace("20 20", "20") + "0\n0\n0\n",
        "train_00005": points.replace("\n", "\r\n") + "\t2 \r\n1\r\n0",
    }
    for stem, text in texts.items():
        (manual / f"{stem}_manu_attri.txt").write_text(text, newline="")
    samples = read_rafdb(basic).head(5)
    found = read_rafdb_landmarks(basic, samples)
    assert np.isnan(found.five).any(axis=(1, 2)).tolist() == [False, False, False, True, False]
    assert "row 3, got '20'" in found.notes[3]
    table = read_rafdb_attributes(basic, samples)
    assert table["sample_id"].tolist() == list(texts)
    rows = table[list(ATTRIBUTES)].astype("object").where(table[list(ATTRIBUTES)].notna(), None)
    assert rows.to_numpy().tolist() == [
        ["female", "asian", "70+"], [None] * 3, [None] * 3, ["male", "caucasian", "0-3"],
        ["unsure", "african_american", "0-3"],
    ]
    assert "expected 8 rows, got 7" in table.loc[1, "reason"]
    assert "expected race from 0 to 2, got '3'" in table.loc[2, "reason"]
    assert table["reason"].isna().tolist() == [True, False, False, True, True]


def test_attributes_are_named_categories(basic, faces):
    table = read_rafdb_attributes(basic, read_rafdb(basic))
    for position, (column, names) in enumerate(ATTRIBUTES.items()):
        assert tuple(table[column].cat.categories) == names
        assert table[column].cat.codes.tolist() == [face.attributes[position] for face in faces]
    assert table["age"].cat.ordered and not table["gender"].cat.ordered


@settings(deadline=None)
@given(
    angle=st.floats(-180, 180), scale=st.floats(0.3, 20), eyes=st.booleans(), mouth=st.booleans()
)
def test_points_are_put_in_order_however_the_face_is_turned(angle, scale, eyes, mouth):
    five = np.array([(25, 35), (75, 35), (50, 55), (36, 75), (64, 75)], dtype=float)
    turn = np.deg2rad(angle)
    rotation = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    true = (five @ rotation.T + 200)[None].astype(np.float32)
    given_points = true.copy()
    if eyes:
        given_points[:, :2] = true[:, [1, 0]]
    if mouth:
        given_points[:, 3:] = true[:, [4, 3]]
    found, changed = order_five(given_points)
    np.testing.assert_array_equal(found, true)
    assert changed.tolist() == [eyes or mouth]


def test_a_profile_is_left_as_it_is():
    # Eyes that nearly coincide: which of them is left is not for their positions to say.
    five = np.array([[(50, 35), (49, 36), (30, 55), (48, 75), (40, 75)]], dtype=np.float32)
    found, changed = order_five(np.concatenate([five, five[:, [1, 0, 2, 4, 3]]]))
    np.testing.assert_array_equal(found[:, :2], [five[0, :2], five[0, 1::-1]])
    assert not changed[0]


def test_unknown_points_stay_unknown():
    found, changed = order_five(np.full((2, 5, 2), np.nan, dtype=np.float32))
    assert np.isnan(found).all() and not changed.any()


def test_exchanged_eyes_are_noted(basic, faces):
    rows = [f"{x} {y}" for x, y in faces[0].five[[1, 0, 2, 4, 3]]]
    path = basic / "Annotation" / "manual" / "train_00001_manu_attri.txt"
    path.write_text("\n".join([*rows, "0", "0", "0"]))
    found = read_rafdb_landmarks(basic, read_rafdb(basic))
    np.testing.assert_allclose(found.five[0], faces[0].five, atol=1e-4)
    assert found.notes[0] == "manual: points exchanged to stand image-left first"
    assert set(found.notes[1:]) == {None}


def test_a_row_with_the_aligned_image_has_no_landmarks(basic):
    (basic / "Image" / "original" / "train_00001.jpg").unlink()
    found = read_rafdb_landmarks(basic, read_rafdb(basic))
    assert np.isnan(found.landmarks[0]).all() and np.isnan(found.five[0]).all()
    assert "original image, which is not there" in found.notes[0]
    assert not np.isnan(found.landmarks[1:]).any()


def test_an_id_cannot_point_out_of_the_folder(basic):
    samples = read_rafdb(basic).head(1).assign(sample_id="../auto/train_00001")
    found = read_rafdb_landmarks(basic, samples)
    assert np.isnan(found.landmarks).all() and "no file name" in found.notes[0]


@pytest.mark.parametrize("case", ["re-pack", "Image/original", "Annotation"])
def test_copies_without_landmarks_say_why_and_what_to_do(tmp_path, faces, case):
    if case == "re-pack":
        write_repack(tmp_path, faces)
    else:
        kinds = ("aligned",) if case == "Image/original" else ("original", "aligned")
        write_rafdb(tmp_path, faces, kinds=kinds, pictures=False)
    if case == "Annotation":
        (tmp_path / "Annotation").rename(tmp_path / "elsewhere")
    samples = read_rafdb(tmp_path)
    for read in (read_rafdb_landmarks, read_rafdb_attributes):
        with pytest.raises(ValueError, match=case) as error:
            read(tmp_path, samples)
        assert "mesh" in str(error.value) and "request the full set" in str(error.value)
