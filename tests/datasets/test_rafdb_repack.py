"""Re-packs of RAF-DB: class folders and tables become the same rows as the label list."""

import pytest
from rafdb_samples import WORDS, draw_faces, write_rafdb, write_repack

from fer_lib.datasets.rafdb import read_rafdb

COMPARED = ["sample_id", "split", "emotion", "status"]


@pytest.fixture(scope="module")
def faces():
    return draw_faces(train=70, test=21)


@pytest.fixture
def repack(tmp_path, faces):
    return write_repack(tmp_path, faces)


def rows_by_id(root):
    return read_rafdb(root).set_index("sample_id")


@pytest.mark.parametrize("class_names", [None, WORDS, [word.upper() for word in WORDS]])
@pytest.mark.parametrize("tables", [True, False])
def test_a_repack_is_the_full_set_but_for_its_paths(tmp_path, faces, class_names, tables):
    full = read_rafdb(write_rafdb(tmp_path / "full", faces, pictures=False))
    root = write_repack(tmp_path / "pack", faces, class_names, tables)
    table = read_rafdb(root)
    rank = {"train": 0, "val": 0, "test": 1}
    # The label list has train and val mingled by id; a re-pack has train before val.
    assert table[COMPARED].sort_values("sample_id").to_numpy().tolist() == (
        full[COMPARED].sort_values("sample_id").to_numpy().tolist()
    )
    assert table["split"].map(rank).is_monotonic_increasing
    assert table["status_reason"].isna().all()
    assert all((root / path).is_file() for path in table["source_path"])


def test_rows_are_sorted_by_id_not_by_class(repack):
    table = read_rafdb(repack)
    ids = table["sample_id"].tolist()
    assert ids == sorted(ids, key=lambda name: (name.startswith("test"), name))
    assert table["emotion"].tolist()[:3] == ["surprise", "fear", "disgust"]


def test_the_parent_with_tables_beside_dataset(tmp_path, faces):
    inner = write_repack(tmp_path / "DATASET", faces)
    for split in ("train", "test"):
        (inner / f"{split}_labels.csv").rename(tmp_path / f"{split}_labels.csv")
    (tmp_path / "test_labels.csv").write_text("image,label\ntest_0001_aligned.jpg,5\n")
    for root, prefix in ((tmp_path, "DATASET/"), (inner, "")):
        row = rows_by_id(root).loc["test_0001"]
        assert row["status"] == "ambiguous_label"
        assert row["source_path"] == f"{prefix}test/1/test_0001_aligned.jpg"


def test_folder_and_table_that_disagree_are_ambiguous(repack):
    table = repack / "train_labels.csv"
    table.write_text(table.read_text().replace("00001_aligned.jpg,1", "00001_aligned.jpg,5"))
    row = rows_by_id(repack).loc["train_00001"]
    assert row["status"] == "ambiguous_label" and row.isna()["emotion"]
    assert row["status_reason"] == "labels disagree: folder train/1, train_labels.csv '5'"


def test_a_row_without_file_and_a_file_without_row_are_kept(repack):
    (repack / "train/1/train_00001_aligned.jpg").unlink()
    table = repack / "train_labels.csv"
    table.write_text(table.read_text().replace("train_00002_aligned.jpg,2\n", ""))
    rows = rows_by_id(repack)
    assert len(rows) == 91
    assert tuple(rows.loc["train_00001", ["status", "emotion"]]) == ("missing", "surprise")
    assert rows.loc["train_00001", "status_reason"] == "the file is in no folder"
    assert tuple(rows.loc["train_00002", ["status", "emotion"]]) == ("ok", "fear")
    assert rows.loc["train_00002", "status_reason"] == "train_labels.csv does not list it"


def test_an_image_in_two_places(repack):
    (repack / "train/2/train_00001_aligned.jpg").write_bytes(b"x")
    (repack / "test/3/train_00003_aligned.jpg").write_bytes(b"x")
    rows = rows_by_id(repack)
    assert rows.loc["train_00001", "status"] == "ambiguous_label"
    assert "folder train/1, folder train/2" in rows.loc["train_00001", "status_reason"]
    assert tuple(rows.loc["train_00003", ["status", "split"]]) == ("ambiguous_label", "test")
    assert "it stands in train and test" in rows.loc["train_00003", "status_reason"]


def test_a_name_that_contradicts_its_split_is_noted(repack):
    (repack / "test/3/train_09999.jpg").write_bytes(b"x")
    row = rows_by_id(repack).loc["train_09999"]
    assert tuple(row[["split", "status"]]) == ("test", "ok")
    assert "the name says train, the folder test" in row["status_reason"]


def test_folders_of_no_class_keep_their_images(repack):
    for place in ("train/puzzled", "train/contempt", "train", "train/.hidden", "train/1/deeper"):
        (repack / place).mkdir(exist_ok=True)
        (repack / place / f"{place.replace('/', '-')}.jpg").write_bytes(b"x")
    rows = rows_by_id(repack)
    assert len(rows) == 94
    strange = ["train/puzzled/train-puzzled", "train/contempt/train-contempt", "train/train"]
    assert rows.loc[strange, "status"].eq("ambiguous_label").all()
    assert rows.loc["train/puzzled/train-puzzled", "status_reason"].startswith(
        "no class of RAF-DB: folder train/puzzled"
    )
    assert rows.loc["train/train", "status_reason"].startswith("no folder and no table")


def test_images_of_other_names_are_told_apart_and_not_sorted_by_class(tmp_path):
    for word in ("anger", "fear", "happy"):
        for split in ("train", "test"):
            (tmp_path / split / word).mkdir(parents=True)
            for number in range(3):
                (tmp_path / split / word / f"{number}.png").write_bytes(b"x")
    table = read_rafdb(tmp_path)
    assert len(table) == 18 and set(table["status"]) == {"ok"}
    assert table["emotion"].tolist()[:4] == ["anger", "fear", "happiness", "anger"]


def test_flat_folders_take_the_label_of_the_table(tmp_path, faces):
    write_repack(tmp_path, faces)
    for image in sorted((tmp_path / "test").glob("*/*.jpg")):
        image.rename(tmp_path / "test" / image.name)
    rows = rows_by_id(tmp_path)
    assert set(rows["status"]) == {"ok"}
    assert rows.loc["test_0002", "emotion"] == "fear"


def test_a_val_folder_is_kept_and_none_is_drawn(repack):
    (repack / "valid" / "4").mkdir(parents=True)
    (repack / "train/4/train_00004_aligned.jpg").rename(
        repack / "valid/4/train_00004_aligned.jpg"
    )
    (repack / "train_labels.csv").unlink()
    rows = rows_by_id(repack)
    assert rows.index[rows["split"] == "val"].tolist() == ["train_00004"]
    assert rows["status_reason"].isna().all()


def test_classes_that_count_from_0_are_refused(tmp_path, faces):
    write_repack(tmp_path, faces, class_names="0123456", tables=False)
    with pytest.raises(ValueError, match=r"the folders of .*, got classes that count from 0"):
        read_rafdb(tmp_path)


@pytest.mark.parametrize("text", ["", "file,class\na.jpg,1\n", "\x00\xff"])
def test_a_table_without_its_columns_is_refused(repack, text):
    (repack / "test_labels.csv").write_text(text)
    with pytest.raises(ValueError, match=r"columns image and label in test_labels\.csv"):
        read_rafdb(repack)


def test_hostile_rows_of_a_table_lose_nothing(repack):
    table = repack / "test_labels.csv"
    rows = 'test_0900.jpg\n"../../x.jpg",4,5\n,\n,3\ntest_0901.jpg,"7"\n'
    table.write_bytes(b"\xef\xbb\xbf" + (table.read_text() + rows).replace("\n", "\r\n").encode())
    found = rows_by_id(repack)
    assert len(found) == 95
    assert (found["status"] == "missing").sum() == 4
    assert found.loc["test_0901", "emotion"] == "neutral"
    assert found.loc["test/x", "emotion"] == "happiness"
    assert found.loc[["test_0900", "test/x"], "source_path"].isna().all()
