"""RAF-DB's label list: every line is in the table, a file of something else is refused."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fer_lib.datasets.rafdb_labels import parse_label_list
from fer_lib.labels import emotion_order

GOOD = [f"train_{number:05d}.jpg {number % 7 + 1}" for number in range(1, 15)]
BLANK = st.text(alphabet=" \t\v\f\u00a0\u3000", max_size=3)
PARTING = st.text(alphabet=" \t\v\f\u00a0", min_size=1, max_size=3)
LINE_END = st.sampled_from(["\n", "\r\n", "\r", "\n\n", "\r\n \t\r\n"])


def parse(*lines):
    """Parse lines among enough good ones that the file is a list."""
    return {item.sample_id: item for item in parse_label_list("\n".join([*GOOD, *lines]), "list")}


def test_each_number_has_its_emotion():
    names = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")
    text = "\n".join(f"test_{number:04d}.jpg {number}" for number in range(1, 8))
    assert tuple(item.emotion for item in parse_label_list(text, "list")) == names


@settings(deadline=None)
@given(
    labels=st.lists(st.integers(1, 7), min_size=1, max_size=12),
    before=BLANK, parting=PARTING, after=BLANK, end=LINE_END,
    aligned=st.booleans(), ends=st.booleans(),
)
def test_any_white_space_gives_the_same_list(labels, before, parting, after, end, aligned, ends):
    suffix = "_aligned" if aligned else ""
    lines = [
        f"{before}train_{i:05d}{suffix}.jpg{parting}{label}{after}"
        for i, label in enumerate(labels)
    ]
    found = parse_label_list(end.join(lines) + (end if ends else ""), "list")
    assert [item.sample_id for item in found] == [f"train_{i:05d}" for i in range(len(labels))]
    order = emotion_order("rafdb")
    assert [item.emotion for item in found] == [order[label - 1] for label in labels]
    assert {item.note for item in found} == {None}
    assert {item.name for item in found} == {f"train_{i:05d}.jpg" for i in range(len(labels))}


@settings(deadline=None)
@given(st.text(alphabet=st.characters(exclude_characters="\r\n"), max_size=30))
@example("train_00099.jpg 5 6")
@example("train_00003.jpg")
@example("\0")
def test_a_strange_line_is_kept_and_the_others_stay(line):
    found = parse(line)
    assert len(found) >= len(GOOD)
    if line.strip() and len(found) == len(GOOD) + 1:
        added = found.popitem()[1]
        assert (added.emotion is None) == (added.note is not None)
    assert sum(item.emotion is not None for item in found.values()) >= len(GOOD) - 1


@pytest.mark.parametrize("label", ["", "0", "8", "happy", "5.0", "5 6", "5 # sure", "５", "-1"])
def test_a_label_outside_1_to_7_is_a_note(label):
    # A list that counts from 0 has no 7; this one has.
    item = parse(f"train_00099.jpg {label}")["train_00099"]
    assert item.emotion is None
    assert item.note == f"list line 15: expected one label from 1 to 7, got {label!r}"


def test_a_line_without_a_name_keeps_its_number():
    item = parse("../../etc/passwd 5")["line_00015"]
    assert (item.name, item.emotion) == (None, None)
    assert "line 15" in item.note and "passwd" in item.note


def test_repeated_lines_agree_or_the_emotion_is_unknown():
    found = parse("train_00001.jpg 2", "train_00002.jpg 5", "train_00003.jpg x")
    assert found["train_00001"].emotion == "fear"
    assert found["train_00001"].note == "list lines 1, 15: the same label repeated"
    assert found["train_00002"].emotion is None
    assert found["train_00002"].note == (
        "list lines 2, 16: expected one label from 1 to 7, got '3' and '5'"
    )
    assert found["train_00003"].emotion is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it is empty"),
        (" \n\t\r\n", "it is empty"),
        ("<html>\n<body>\nNot found\n</html>", "got 4 others in 4, such as line 1: '<html>'"),
        ("a.jpg\nb.jpg\nc.jpg", "others in 3"),
        ("train_00001.jpg 5\nx\ny", "got 2 others in 3, such as line 2: 'x'"),
        ("\x89PNG\x00\x01" * 50, "others in"),
        ("\n".join(f"train_{i:05d}.jpg {i % 7}" for i in range(20)), "count from 0"),
        ("\n".join(f"train_{i:04d}.jpg {i}" for i in range(1, 12)), "compound set"),
    ],
)
def test_files_that_are_no_label_list_are_refused(text, reason):
    with pytest.raises(ValueError, match="list") as error:
        parse_label_list(text, "list")
    assert reason in str(error.value)
    assert "\n" not in str(error.value)


@settings(deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_read_or_refused_in_one_sentence(text):
    try:
        found = parse_label_list(text, "list")
    except ValueError as error:
        assert "expected" in str(error)
    else:
        assert found
