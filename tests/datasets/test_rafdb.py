"""Reader of RAF-DB: layouts, splits, files that are not there."""

import pandas as pd
import pytest
from rafdb_samples import draw_faces, write_labels, write_rafdb

from fer_lib.datasets.rafdb import LICENCE, SOURCE, read_rafdb
from fer_lib.datasets.splits import check_subjects
from fer_lib.labels import emotion_of_id


@pytest.fixture(scope="module")
def faces():
    return draw_faces()


@pytest.fixture
def basic(tmp_path, faces):
    return write_rafdb(tmp_path / "basic", faces, pictures=False)


def rows_by_id(root, **settings):
    return read_rafdb(root, **settings).set_index("sample_id")


def test_the_list_becomes_the_table(basic, faces):
    table = read_rafdb(basic)
    assert table["sample_id"].tolist() == [face.stem for face in faces]
    assert table["emotion"].tolist() == [emotion_of_id("rafdb", face.label) for face in faces]
    assert set(table["status"]) == {"ok"} and table["status_reason"].isna().all()
    assert table["source_path"].tolist() == [f"Image/original/{face.stem}.jpg" for face in faces]
    assert all((basic / path).is_file() for path in table["source_path"])
    sides = ["box_left", "box_top", "box_right", "box_bottom"]
    for row, face in zip(table[sides].to_numpy(), faces, strict=True):
        assert row == pytest.approx(face.box, abs=1e-3)
    assert table["subject"].isna().all()
    check_subjects(table)


def test_the_parent_of_basic_is_the_same_copy(basic):
    above, inside = read_rafdb(basic.parent), read_rafdb(basic)
    assert above["source_path"].tolist() == [f"basic/{path}" for path in inside["source_path"]]
    columns = above.columns.drop("source_path")
    pd.testing.assert_frame_equal(above[columns], inside[columns])


def test_both_spellings_give_the_same_table(tmp_path, faces):
    tables = [
        read_rafdb(write_rafdb(tmp_path / name, faces, spelling=name, pictures=False))
        for name in ("patition", "partition")
    ]
    pd.testing.assert_frame_equal(*tables)


def test_two_lists_must_agree(basic):
    write_labels(basic, (basic / "EmoLabel" / "list_patition_label.txt").read_bytes(), "partition")
    assert len(read_rafdb(basic)) == 21
    write_labels(basic, "train_00001.jpg 5\n", "partition")
    with pytest.raises(ValueError, match="different content"):
        read_rafdb(basic)


def test_byte_order_mark_and_windows_line_ends(basic, faces):
    expected = read_rafdb(basic)
    lines = "".join(f"{face.stem}.jpg\t{face.label}\r\n\r\n" for face in faces)
    write_labels(basic, b"\xef\xbb\xbf" + lines.encode())
    pd.testing.assert_frame_equal(read_rafdb(basic), expected)


def test_val_is_a_share_of_every_emotion_of_train(tmp_path):
    labels = [1] * 200 + [2] * 50 + [4] * 10
    lines = [f"train_{i:05d}.jpg {label}" for i, label in enumerate(labels)]
    write_labels(tmp_path, "\n".join([*lines, *(f"test_{i:04d}.jpg 1" for i in range(40))]))
    table = read_rafdb(tmp_path, val_fraction=0.2, seed=3)
    counts = table.groupby(["split", "emotion"]).size().to_dict()
    assert counts == {
        ("train", "surprise"): 160, ("val", "surprise"): 40, ("train", "fear"): 40,
        ("val", "fear"): 10, ("train", "happiness"): 8, ("val", "happiness"): 2,
        ("test", "surprise"): 40,
    }
    pd.testing.assert_frame_equal(table, read_rafdb(tmp_path, val_fraction=0.2, seed=3))
    assert not table["split"].equals(read_rafdb(tmp_path, val_fraction=0.2, seed=4)["split"])
    assert "val" not in set(read_rafdb(tmp_path, val_fraction=0)["split"])


def test_val_does_not_depend_on_the_order_of_the_list(tmp_path):
    lines = [f"train_{i:05d}.jpg {i % 7 + 1}" for i in range(70)]
    write_labels(tmp_path / "a", "\n".join(lines))
    write_labels(tmp_path / "b", "\n".join(lines[::-1]))
    first, second = (rows_by_id(tmp_path / name)["split"] for name in "ab")
    assert first.sort_index().equals(second.sort_index())


@pytest.mark.parametrize("fraction", [-0.1, 1.0, float("nan")])
def test_a_share_outside_0_to_1_is_refused(basic, fraction):
    with pytest.raises(ValueError, match="share of val"):
        read_rafdb(basic, val_fraction=fraction)


def test_bad_lines_keep_their_row_and_reason(basic):
    path = basic / "EmoLabel" / "list_patition_label.txt"
    write_labels(basic, path.read_text() + "train_00099.jpg 9\n?!\nface_1.jpg 4\n")
    table = rows_by_id(basic)
    assert len(table) == 24
    assert table.loc["train_00099", "status"] == "missing"
    assert "got '9'" in table.loc["train_00099", "status_reason"]
    assert "neither in Image/original" in table.loc["train_00099", "status_reason"]
    assert table.loc["line_00023", "status"] == "ambiguous_label"
    assert table.loc["line_00023", "status_reason"].startswith(
        "list_patition_label.txt line 23: no image is named in '?!'"
    )
    assert "boundingbox" not in table.loc["line_00023", "status_reason"]
    assert table.isna().loc["face_1", "split"]
    assert "neither train nor test" in table.loc["face_1", "status_reason"]
    assert (table["status"] == "ok").sum() == 21


def test_a_bad_label_of_a_file_that_is_there_is_ambiguous(basic):
    path = basic / "EmoLabel" / "list_patition_label.txt"
    write_labels(basic, path.read_text().replace("test_0003.jpg 3", "test_0003.jpg"))
    row = rows_by_id(basic).loc["test_0003"]
    assert row["status"] == "ambiguous_label" and row.isna()["emotion"]
    assert row["source_path"] == "Image/original/test_0003.jpg"


def test_without_originals_the_aligned_images_are_taken(tmp_path, faces):
    table = read_rafdb(write_rafdb(tmp_path, faces, kinds=("aligned",), pictures=False))
    assert table["source_path"].tolist() == [
        f"Image/aligned/{face.stem}_aligned.jpg" for face in faces
    ]
    assert set(table["status"]) == {"ok"} and table["status_reason"].isna().all()
    # Boxes are in pixels of the originals.
    assert table["box_left"].isna().all()


def test_a_single_original_that_is_not_there_is_noted(basic):
    (basic / "Image" / "original" / "train_00001.jpg").unlink()
    (basic / "Image" / "original" / "train_00002.jpg").unlink()
    (basic / "Image" / "aligned" / "train_00002_aligned.jpg").unlink()
    table = rows_by_id(basic)
    assert table.loc["train_00001", "status"] == "ok"
    assert table.loc["train_00001", "source_path"] == "Image/aligned/train_00001_aligned.jpg"
    assert table.loc["train_00001", "status_reason"].startswith("the original is not there")
    assert pd.isna(table.loc["train_00001", "box_left"])
    assert table.loc["train_00002", "status"] == "missing"
    assert table.loc["train_00002", "emotion"] == "fear"


def test_folders_and_link_loops_with_an_images_name_are_missing(basic):
    for name in ("train_00001", "train_00002"):
        (basic / "Image" / "original" / f"{name}.jpg").unlink()
        (basic / "Image" / "aligned" / f"{name}_aligned.jpg").unlink()
    (basic / "Image" / "original" / "train_00001.jpg").mkdir()
    loop = basic / "Image" / "original" / "train_00002.jpg"
    loop.symlink_to(loop)
    assert rows_by_id(basic).loc[["train_00001", "train_00002"], "status"].eq("missing").all()


@pytest.mark.parametrize(
    "content", [b"", b"1 2 3", b"1 2 3 x", b"5 5 5 9", b"5 9 6 9", b"nan 1 2 3", b"\xff\xfe"]
)
def test_a_malformed_box_is_unknown_and_noted(basic, content):
    (basic / "Annotation" / "boundingbox" / "test_0001_boundingbox.txt").write_bytes(content)
    row = rows_by_id(basic).loc["test_0001"]
    assert row["status"] == "ok" and pd.isna(row["box_left"])
    assert row["status_reason"].startswith("boundingbox: expected")


def test_a_box_that_is_not_there_is_noted_unless_the_copy_has_none(basic):
    boxes = basic / "Annotation" / "boundingbox"
    (boxes / "test_0001_boundingbox.txt").unlink()
    assert "is not there" in rows_by_id(basic).loc["test_0001", "status_reason"]
    boxes.rename(basic / "Annotation" / "elsewhere")
    table = read_rafdb(basic)
    assert table["box_left"].isna().all() and table["status_reason"].isna().all()


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.write_text("x")])
def test_another_folder_is_refused(tmp_path, make):
    make(tmp_path / "basic")
    with pytest.raises(ValueError, match=r"expected RAF-DB at .* found neither"):
        read_rafdb(tmp_path)
    with pytest.raises(ValueError, match="found neither"):
        read_rafdb(tmp_path / "nowhere")


def test_the_card_says_that_nothing_may_be_passed_on():
    assert "RAF-DB" in SOURCE
    assert "non-commercial" in LICENCE
