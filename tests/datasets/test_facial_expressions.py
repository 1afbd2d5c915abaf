"""Reader of facial_expressions: hostile legends lose nothing."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_lib.datasets.facial_expressions import read_facial_expressions
from fer_lib.datasets.splits import check_subjects


def make_tree(folder, legend, images=()):
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / "data").mkdir(exist_ok=True)
    legend = legend if isinstance(legend, bytes) else legend.encode()
    (folder / "data" / "legend.csv").write_bytes(legend)
    for name in images:
        (folder / "images" / name).write_bytes(b"x")
    return folder


def read_rows(folder, rows, images=("A_Bee_0001.jpg",)):
    legend = "user.id,image,emotion\n" + "\n".join(rows) + "\n"
    table = read_facial_expressions(make_tree(folder, legend, images))
    return table.set_index("sample_id")


def test_labels_in_any_case_become_canonical(tmp_path):
    images = ["A_Bee_0001.jpg", "A_Bee_0002.jpg"]
    table = read_rows(
        tmp_path, ["1,A_Bee_0001.jpg,HAPPINESS", "1, A_Bee_0002.jpg , Sadness "], images
    )
    assert table["emotion"].tolist() == ["happiness", "sadness"]
    assert table["status"].tolist() == ["ok", "ok"]
    assert table["source_path"].tolist() == ["images/A_Bee_0001.jpg", "images/A_Bee_0002.jpg"]


def test_repeated_rows_of_one_annotator_are_one_vote(tmp_path):
    rows = ["1,A_Bee_0001.jpg,fear", "1,A_Bee_0001.jpg,Fear", "2,A_Bee_0001.jpg,anger"]
    row = read_rows(tmp_path, rows).iloc[0]
    assert row["status"] == "ambiguous_label"
    assert row["status_reason"] == "annotators tie: anger 1, fear 1"
    assert row.isna()["emotion"]


def test_majority_wins_and_leaves_a_note(tmp_path):
    rows = [f"{word},A_Bee_0001.jpg,{word}" for word in ("joy", "happy", "sad")]
    row = read_rows(tmp_path, rows).iloc[0]
    assert (row["emotion"], row["status"]) == ("happiness", "ok")
    assert row["status_reason"] == "annotators disagree: happiness 2, sadness 1"


def test_an_unknown_label_beside_a_known_one_is_noted(tmp_path):
    row = read_rows(tmp_path, ["1,A_Bee_0001.jpg,fear", "2,A_Bee_0001.jpg,puzzled"]).iloc[0]
    assert (row["emotion"], row["status"]) == ("fear", "ok")
    assert "puzzled" in row["status_reason"]


@pytest.mark.parametrize("word", ["", "puzzled", "7", "nan"])
def test_no_usable_label_is_ambiguous(tmp_path, word):
    row = read_rows(tmp_path, [f"1,A_Bee_0001.jpg,{word}"]).iloc[0]
    assert row["status"] == "ambiguous_label"
    assert repr(word) in row["status_reason"]


def test_missing_files_keep_row_label_and_reason(tmp_path):
    row = read_rows(tmp_path, ["1,A_Bee_0009.jpg,fear"]).iloc[0]
    assert (row["status"], row["emotion"]) == ("missing", "fear")
    assert "not in images/" in row["status_reason"]


@pytest.mark.parametrize("name", ["../data/legend.csv", "/etc/passwd", "..", "a\\b", "x" * 900])
def test_names_cannot_point_out_of_the_folder(tmp_path, name):
    assert read_rows(tmp_path, [f"1,{name},fear"]).iloc[0]["status"] == "missing"


def test_subject_comes_from_the_file_name(tmp_path):
    names = ["Aaron_Peirsol_0003.jpg", "A_B_C_0012.JPG", "facial-expressions_2868588k.jpg", "x.png"]
    table = read_rows(tmp_path, [f"1,{name},fear" for name in names], names)
    assert table.loc[names, "subject"].tolist() == [
        "Aaron_Peirsol", "A_B_C", "facial-expressions_2868588k", "x",
    ]


def test_splits_are_by_subject_and_row_order_does_not_matter(tmp_path):
    rows = [f"1,P{s}_X_{i:04d}.jpg,fear" for s in range(30) for i in range(3)]
    table = read_rows(tmp_path / "a", rows, [])
    check_subjects(table)
    assert table.equals(read_rows(tmp_path / "b", rows[::-1], []))
    assert set(table["split"]) == {"train", "val", "test"}


def test_byte_order_mark_quotes_long_rows_and_strange_bytes_are_survived(tmp_path):
    legend = (
        b"\xef\xbb\xbf\"user.id\",\"image\",\"emotion\"\r\n1,\"A_Bee_0001.jpg\",\"fear\"\r\n\r\n"
        b"1,A_Bee_0002.jpg,anger,more,fields\r\n1,\"A_Bee_0003.jpg,fear\r\n1,\xff\xfe_0001.jpg,joy\r\n"
        b",,\r\n2,A_Bee_0004.jpg"
    )
    table = read_facial_expressions(make_tree(tmp_path, legend)).set_index("sample_id")
    assert len(table) == 5
    assert table.loc["A_Bee_0001.jpg", "emotion"] == "fear"
    assert table.loc["A_Bee_0002.jpg", "emotion"] == "anger"
    assert table.loc["A_Bee_0003.jpg", "emotion"] == "fear"
    assert table.loc["A_Bee_0004.jpg", "status"] == "missing"


@pytest.mark.parametrize(
    ("legend", "reason"),
    [
        (b"", "not a readable table"),
        (b"user.id,image,emotion\n", "at least one image"),
        (b"user,file,label\n1,a.jpg,fear\n", "are absent"),
    ],
)
def test_legends_without_content_are_refused(tmp_path, legend, reason):
    with pytest.raises(ValueError, match=reason):
        read_facial_expressions(make_tree(tmp_path, legend))


def test_a_folder_without_legend_is_refused(tmp_path):
    with pytest.raises(ValueError, match="expected the legend"):
        read_facial_expressions(tmp_path)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(*[st.text(max_size=12)] * 3), max_size=8))
def test_any_text_gives_a_table_or_a_sentence(tmp_path_factory, rows):
    legend = "user.id,image,emotion\n" + "\n".join(",".join(row) for row in rows)
    folder = make_tree(tmp_path_factory.mktemp("tree"), legend.encode("utf-8", "surrogatepass"))
    try:
        table = read_facial_expressions(folder)
    except ValueError as error:
        assert "\n" not in str(error).strip()
        return
    assert (table["status"] != "ok").all()
    assert table["split"].notna().all()


def test_real_legend_reads_whole(shared):
    folder = shared / "data" / "facial_expressions"
    if not folder.is_dir():
        pytest.skip("the folder facial_expressions is absent")
    table = read_facial_expressions(folder)
    assert len(table) == 4906
    assert table["subject"].nunique() == 2504
    check_subjects(table)
