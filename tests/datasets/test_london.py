"""Reader of the London Set: both layouts, points in the pixels at hand, hostile templates."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fer_lib.datasets.london import LANDMARKS, read_london, read_london_landmarks, read_tem
from fer_lib.datasets.splits import check_subjects
from fer_lib.faces.align import usable_points

LEFT_LIDS, RIGHT_LIDS = (18, 19, 20, 21, 22, 28, 29, 30), (23, 24, 25, 26, 27, 31, 32, 33)
LINES = "44\n0\n2\n0 0\n0\n2\n1 1\n"


def made_points():
    """A template in the 1350-px frame: lids around (570, 640) and (780, 640), a nose, a mouth."""
    points = np.random.default_rng(0).integers(100, 1250, (LANDMARKS, 2)).astype(np.float32)
    circle = np.exp(2j * np.pi * np.arange(8) / 8)
    for lids, centre in ((LEFT_LIDS, 570), (RIGHT_LIDS, 780)):
        points[list(lids)] = np.stack([centre + 30 * circle.real, 640 + 10 * circle.imag], axis=1)
    points[[54, 60, 87, 93]] = [(650, 760), (700, 764), (600, 850), (750, 852)]
    return points


FIVE_IN_FRAME = np.array([(570, 640), (780, 640), (675, 762), (600, 850), (750, 852)], np.float32)


def tem_text(points):
    return f"{len(points)}\n" + "".join(f"{x}\t{y}\n" for x, y in points.tolist()) + LINES


def put_picture(path, side):
    path.parent.mkdir(parents=True, exist_ok=True)
    size = side if isinstance(side, tuple) else (side, side)
    Image.new("RGB", size, (120, 100, 90)).save(path)


def put_tem(path, text=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(tem_text(made_points()) if text is None else text)


def make_archive(root, numbers=("001", "002"), side=1350):
    for number in numbers:
        for stem in (f"neutral_front/{number}_03", f"smiling_front/{number}_08"):
            put_picture(root / f"{stem}.jpg", side)
            put_tem(root / f"{stem}.tem")
    return root


def make_resized(root, numbers=("001", "002"), side=512):
    for number in numbers:
        put_picture(root / "neutral" / f"{number}.jpg", side)
        put_picture(root / "smiling" / f"{number}.jpg", side)
        put_tem(root / "tem" / f"{number}.tem")
    return root


def test_the_public_archive_is_read(tmp_path):
    samples = read_london(make_archive(tmp_path))
    assert samples["source_path"].tolist() == [
        "neutral_front/001_03.jpg", "smiling_front/001_08.jpg",
        "neutral_front/002_03.jpg", "smiling_front/002_08.jpg",
    ]
    assert samples["sample_id"].tolist()[:2] == ["london_001_neutral", "london_001_happiness"]
    assert samples["emotion"].tolist() == ["neutral", "happiness"] * 2
    assert samples["subject"].tolist() == ["london_001"] * 2 + ["london_002"] * 2
    assert samples["pair"].equals(samples["subject"])
    assert (samples["status"] == "ok").all()


def test_in_the_archives_own_size_the_points_stay_as_written(tmp_path):
    samples = read_london(make_archive(tmp_path))
    annotations = read_london_landmarks(tmp_path, samples)
    assert annotations.scheme == "london189"
    assert annotations.notes == (None,) * 4
    for row in range(4):
        np.testing.assert_allclose(annotations.landmarks[row], made_points(), atol=1e-3)
        np.testing.assert_allclose(annotations.five[row], FIVE_IN_FRAME, atol=1e-3)


def test_the_resized_copy_has_points_for_the_neutral_pictures_alone(tmp_path):
    samples = read_london(make_resized(tmp_path))
    annotations = read_london_landmarks(tmp_path, samples)
    neutral = (samples["emotion"] == "neutral").to_numpy()
    assert np.isfinite(annotations.five[neutral]).all()
    assert np.isnan(annotations.landmarks[~neutral]).all()
    assert annotations.notes[0] is None
    assert annotations.notes[1] == "there is no 001.tem for smiling/001.jpg"


@pytest.mark.parametrize("side", [135, 512, 1350, 2700])
def test_scaling_follows_the_picture_and_keeps_its_edges(tmp_path, side):
    points = made_points()
    points[[150, 151]] = [(-0.5, -0.5), (1349.5, 1349.5)]
    samples = read_london(make_resized(tmp_path, ["001"], side))
    put_tem(tmp_path / "tem" / "001.tem", tem_text(points))
    landmarks = read_london_landmarks(tmp_path, samples).landmarks[0]
    expected = (points + 0.5) * side / 1350 - 0.5
    np.testing.assert_allclose(landmarks, expected, atol=2e-3)
    np.testing.assert_allclose(landmarks[150], -0.5, atol=1e-3)
    np.testing.assert_allclose(landmarks[151], side - 0.5, atol=1e-3)


def test_a_marked_pixel_is_found_again_after_resizing(tmp_path):
    # The centre of mass of a smooth spot says where resizing moves a point.
    across, down = np.arange(1350.0) - 570, np.arange(1350.0)[:, None] - 640
    spot = Image.fromarray(np.exp(-(across**2 + down**2) / 200).astype(np.float32))
    small = np.asarray(spot.resize((512, 512), Image.Resampling.LANCZOS), np.float64)
    rows, columns = np.indices(small.shape)
    found = np.array([(columns * small).sum(), (rows * small).sum()]) / small.sum()
    annotations = read_london_landmarks(tmp_path, read_london(make_resized(tmp_path, ["001"])))
    np.testing.assert_allclose(annotations.five[0, 0], found, atol=0.005)


def test_only_the_header_of_a_picture_is_needed(tmp_path):
    make_resized(tmp_path, ["001"])
    picture = tmp_path / "neutral" / "001.jpg"
    picture.write_bytes(picture.read_bytes()[:700])
    annotations = read_london_landmarks(tmp_path, read_london(tmp_path))
    assert np.isfinite(annotations.five[0]).all()


def test_a_tem_beside_the_picture_goes_before_the_folder_tem(tmp_path):
    make_resized(tmp_path, ["001"])
    put_tem(tmp_path / "neutral" / "001.tem", tem_text(made_points() + 5))
    annotations = read_london_landmarks(tmp_path, read_london(tmp_path))
    np.testing.assert_allclose(
        annotations.five[0], (FIVE_IN_FRAME + 5.5) * 512 / 1350 - 0.5, atol=1e-3
    )


def test_landmarks_follow_the_rows_they_are_asked_for(tmp_path):
    samples = read_london(make_archive(tmp_path, ["001", "002", "003"]))
    put_tem(tmp_path / "smiling_front" / "002_08.tem", tem_text(made_points() + 7))
    some = samples.iloc[[5, 3, 0]]
    five = read_london_landmarks(tmp_path, some).five
    shifts = np.array([0, 7, 0]).reshape(3, 1, 1)
    np.testing.assert_allclose(five, FIVE_IN_FRAME + shifts, atol=1e-3)
    assert read_london_landmarks(tmp_path, samples.iloc[:0]).five.shape == (0, 5, 2)


def test_a_missing_picture_keeps_its_row(tmp_path):
    make_archive(tmp_path, ["001", "002"])
    (tmp_path / "smiling_front" / "002_08.jpg").unlink()
    samples = read_london(tmp_path)
    row = samples.set_index("sample_id").loc["london_002_happiness"]
    assert len(samples) == 4
    assert (row["status"], row["pair"]) == ("missing", "london_002")
    assert row["status_reason"] == "there is no picture of 002 in smiling_front/"
    assert row.isna()["source_path"]
    annotations = read_london_landmarks(tmp_path, samples)
    assert np.isnan(annotations.five[3]).all()
    assert "no picture" in annotations.notes[3]


def test_a_folder_named_like_a_picture_is_missing(tmp_path):
    make_archive(tmp_path, ["001"])
    (tmp_path / "neutral_front" / "002_03.jpg").mkdir()
    row = read_london(tmp_path).set_index("sample_id").loc["london_002_neutral"]
    assert (row["status"], row["status_reason"]) == (
        "missing", "neutral_front/002_03.jpg is not a file",
    )


def test_hidden_files_and_other_kinds_are_left_alone(tmp_path):
    make_archive(tmp_path, ["001"])
    for name in ("._001_03.jpg", ".DS_Store", "Thumbs.db", "notes.txt"):
        (tmp_path / "neutral_front" / name).write_bytes(b"x")
    assert len(read_london(tmp_path)) == 2


def test_splits_are_by_person_and_follow_the_seed(tmp_path):
    make_resized(tmp_path, [f"{number:03d}" for number in range(1, 31)], side=8)
    samples = read_london(tmp_path, (0.5, 0.2, 0.3), seed=1)
    check_subjects(samples)
    assert samples["split"].value_counts().to_dict() == {"train": 30, "val": 12, "test": 18}
    assert not samples["split"].equals(read_london(tmp_path, (0.5, 0.2, 0.3), seed=2)["split"])


@pytest.mark.parametrize("folders", [(), ("neutral",), ("neutral_front", "smiling")])
def test_a_root_without_the_layout_is_refused(tmp_path, folders):
    for name in folders:
        (tmp_path / name).mkdir()
    for read in (read_london, lambda root: read_london_landmarks(root, None)):
        with pytest.raises(ValueError, match="found neither"):
            read(tmp_path)


def test_both_layouts_at_once_are_refused(tmp_path):
    make_resized(make_archive(tmp_path, ["001"], 8), ["001"], 8)
    with pytest.raises(ValueError, match="found both"):
        read_london(tmp_path)


def test_folders_without_pictures_are_refused(tmp_path):
    make_archive(tmp_path, [])
    for name in ("neutral", "smiling"):
        (tmp_path / name).mkdir()
    with pytest.raises(ValueError, match="found none"):
        read_london(tmp_path)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("holiday.jpg", "named like"),
        ("1.jpg", "named like"),
        ("001_3.jpg", "named like"),
        ("٠٠١.jpg", "named like"),
        ("001_04.jpg", "one picture per person"),
        ("001.PNG", "one picture per person"),
    ],
)
def test_pictures_that_tell_no_person_are_refused(tmp_path, name, reason):
    make_archive(tmp_path, ["001"], 8)
    (tmp_path / "neutral_front" / name).write_bytes(b"x")
    with pytest.raises(ValueError, match=reason):
        read_london(tmp_path)


def good_rows():
    return tem_text(made_points()).splitlines()[1 : LANDMARKS + 1]


HOSTILE = {
    "empty": ("", "number of points first"),
    "blank": (" \n\t\n", "number of points first"),
    "words": ("hello\n1 2\n", "number of points first"),
    "zero": ("0\n", "number of points first"),
    "negative": ("-189\n1 2\n", "number of points first"),
    "fraction": ("1.0\n1 2\n", "number of points first"),
    "count_in_the_millions": ("99999999999999999999\n1 2\n", "number of points first"),
    "huge": ("999999\n1\t2\n", "expected 999999 points"),
    "short": ("189\n" + "1 2\n" * 100, "expected 189 points"),
    "point_lost": ("189\n" + "\n".join(good_rows()[:-1]) + "\n" + LINES, "point 188"),
    "other_template": ("68\n" + "1 2\n" * 68, "expected 189 points"),
    "nan": ("189\n" + "nan nan\n" * 189, "point 0"),
    "infinite": ("189\n" + "1 inf\n" * 189, "point 0"),
    "overflow": ("189\n" + "1 1e999\n" * 189, "point 0"),
    "far": ("189\n" + "1 100001\n" * 189, "point 0"),
    "words_inside": ("189\n" + "1 2\n" * 9 + "a b\n" * 180, "point 9"),
    "three_columns": ("189\n" + "1 2 3\n" * 189, "point 0"),
    "underscores": ("189\n" + "1_0 2\n" * 189, "point 0"),
    "nul": ("189\n" + "\0\0 1\n" * 189, "point 0"),
    "one_place": ("189\n" + "600 600\n" * 189, "frame of 1350 px"),
    "mirrored": (tem_text([1350, 0] - made_points() * [1, -1]), "frame of 1350 px"),
    "already_resized": (tem_text(made_points() * 512 / 1350), "frame of 1350 px"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_templates_are_nan_with_a_reason(tmp_path, kind):
    text, reason = HOSTILE[kind]
    make_archive(tmp_path, ["001"])
    put_tem(tmp_path / "neutral_front" / "001_03.tem", text)
    annotations = read_london_landmarks(tmp_path, read_london(tmp_path))
    assert np.isnan(annotations.landmarks[0]).all()
    assert np.isnan(annotations.five[0]).all()
    assert reason in annotations.notes[0]
    assert "\n" not in annotations.notes[0]
    assert np.isfinite(annotations.five[1]).all()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\xff\xfe1\x008\x009\x00", "expected text"),
        (bytes(range(256)), "expected text"),
        (b"189\n" + b" " * 1_000_000, "at most"),
        (None, "not a file"),
    ],
)
def test_files_that_are_no_text_are_nan_with_a_reason(tmp_path, content, reason):
    make_archive(tmp_path, ["001"])
    path = tmp_path / "neutral_front" / "001_03.tem"
    path.unlink()
    path.mkdir() if content is None else path.write_bytes(content)
    annotations = read_london_landmarks(tmp_path, read_london(tmp_path))
    assert np.isnan(annotations.five[0]).all()
    assert reason in annotations.notes[0]
    with pytest.raises(ValueError, match=reason):
        read_tem(path)


def test_pictures_of_unknown_scale_are_nan_with_a_reason(tmp_path):
    make_archive(tmp_path, ["001"])
    put_picture(tmp_path / "neutral_front" / "001_03.jpg", (512, 640))
    (tmp_path / "smiling_front" / "001_08.jpg").write_bytes(b"no picture")
    samples = read_london(tmp_path)
    annotations = read_london_landmarks(tmp_path, samples)
    assert (samples["status"] == "ok").all()
    assert np.isnan(annotations.five).all()
    assert annotations.notes[0] == "expected a square picture, 001_03.jpg is 512 x 640 px"
    assert "header cannot be read" in annotations.notes[1]


def test_a_template_that_is_not_there_is_a_sentence(tmp_path):
    with pytest.raises(ValueError, match="is not a file"):
        read_tem(tmp_path / "none.tem")


def test_the_line_definitions_are_not_looked_at(tmp_path):
    path = tmp_path / "a.tem"
    path.write_text("2\n1 2\n3 4\nwhatever comes after\n1e999\n")
    assert read_tem(path).tolist() == [[1, 2], [3, 4]]


coordinates = st.floats(-1e5, 1e5, width=32)
formats = st.sampled_from(("{!r}", "{:.9g}", "{:.8e}", "{:+.8E}"))
gaps = st.sampled_from((" ", "\t", "  ", " \t "))
ends = st.sampled_from(("\n", "\r\n", "\r", " \n", "\n\n"))


@settings(deadline=None, max_examples=80)
@given(
    st.lists(st.tuples(coordinates, coordinates), min_size=1, max_size=12),
    formats, gaps, ends, st.sampled_from(("", "\ufeff", " ")), st.sampled_from(("", LINES)),
)
def test_what_is_written_is_read(tmp_path_factory, points, number, gap, end, start, lines):
    path = tmp_path_factory.mktemp("tem") / "a.tem"
    rows = [number.format(x) + gap + number.format(y) + end for x, y in points]
    text = f"{start}{len(points)}{end}{''.join(rows)}{lines}"
    path.write_bytes(text.encode())
    read = read_tem(path)
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, np.array(points, np.float32))


@settings(deadline=None, max_examples=80)
@given(st.one_of(st.binary(max_size=60), st.text("0123456789 \t\n.-enai", max_size=60)))
def test_any_bytes_give_points_or_a_sentence(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("tem") / "a.tem"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    try:
        points = read_tem(path)
    except ValueError as error:
        assert str(error)
        assert "\n" not in str(error)
        return
    assert points.shape[1] == 2
    assert np.isfinite(points).all()


@pytest.fixture(scope="module")
def real(shared):
    root = shared / "data" / "london512"
    if not root.is_dir():
        pytest.skip("the folder london512 is absent")
    samples = read_london(root)
    return samples, read_london_landmarks(root, samples)


def test_the_real_folder_is_whole(real):
    samples, _ = real
    assert len(samples) == 136
    assert samples["subject"].nunique() == 68
    assert samples["emotion"].value_counts().to_dict() == {"neutral": 68, "happiness": 68}
    assert (samples["status"] == "ok").all()
    check_subjects(samples)


def test_real_points_make_a_face_in_the_picture(real):
    samples, annotations = real
    neutral = (samples["emotion"] == "neutral").to_numpy()
    five = annotations.five[neutral]
    assert np.isfinite(annotations.landmarks[neutral]).all()
    assert np.isnan(annotations.five[~neutral]).all()
    assert [note is None for note in annotations.notes] == neutral.tolist()
    assert usable_points(torch.from_numpy(five)).all()
    assert (five > 0).all()
    assert (five < 511).all()
    eye_distance = np.linalg.norm(five[:, 1] - five[:, 0], axis=1)
    assert (eye_distance > 60).all()
    assert (eye_distance < 100).all()
    assert (five[:, 0, 0] < five[:, 2, 0]).all()
    assert (five[:, 2, 0] < five[:, 1, 0]).all()
    assert (five[:, 3, 0] < five[:, 4, 0]).all()
    assert (five[:, :2, 1].max(axis=1) < five[:, 2, 1]).all()
    assert (five[:, 2, 1] < five[:, 3:, 1].min(axis=1)).all()


def test_real_pupils_lie_between_their_lids(real):
    samples, annotations = real
    points = annotations.landmarks[(samples["emotion"] == "neutral").to_numpy()]
    for pupil, lids in ((0, LEFT_LIDS), (1, RIGHT_LIDS)):
        outline = points[:, list(lids)]
        assert (points[:, pupil] > outline.min(axis=1)).all()
        assert (points[:, pupil] < outline.max(axis=1)).all()
