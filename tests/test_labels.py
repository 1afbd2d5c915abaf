import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_lib import labels

SOURCES = ("canonical", "affectnet", "rafdb", "fer2013", "affwild2", "hsemotion8", "hsemotion7",
           "emonet8", "emonet5", "faceapi")


@pytest.mark.parametrize("source", SOURCES)
def test_every_order_holds_distinct_canonical_names(source):
    order = labels.emotion_order(source)
    assert len(set(order)) == len(order)
    assert set(order) <= set(labels.EMOTIONS)


@given(st.permutations(labels.EMOTIONS), st.permutations(labels.EMOTIONS))
def test_permutation_reorders_by_name(source, target):
    positions = labels.permutation(source, target)
    assert [source[p] for p in positions] == list(target)


def test_permutation_from_eight_to_seven_drops_by_name_not_by_position():
    eight, seven = labels.emotion_order("hsemotion8"), labels.emotion_order("hsemotion7")
    assert labels.permutation(eight, seven) == [0, 2, 3, 4, 5, 6, 7]
    assert labels.permutation(eight, labels.emotion_order("rafdb")) == [7, 3, 2, 4, 6, 0, 5]


def test_permutation_refuses_an_absent_or_repeated_name():
    with pytest.raises(ValueError, match="distinct names"):
        labels.permutation(labels.emotion_order("hsemotion7"), ["contempt"])
    with pytest.raises(ValueError, match="distinct names"):
        labels.permutation(["fear", "fear"], ["fear"])


@pytest.mark.parametrize(("text", "name"), [
    ("HAPPINESS", "happiness"), (" happy ", "happiness"), ("Angry", "anger"), ("NE", "neutral"),
    ("Fearful", "fear"), ("contempt", "contempt"), ("Surprised", "surprise"),
])
def test_emotion_words_of_any_spelling_become_canonical(text, name):
    assert labels.canonical_emotion(text) == name


@pytest.mark.parametrize("text", ["", "bored", "3", None, 4])
def test_an_unknown_emotion_word_is_refused(text):
    with pytest.raises(ValueError, match="expected an emotion word"):
        labels.canonical_emotion(text)


def test_class_numbers_are_read_in_the_sources_own_count():
    assert labels.emotion_of_id("rafdb", 1) == "surprise"
    assert labels.emotion_of_id("rafdb", 7) == "neutral"
    assert labels.emotion_of_id("fer2013", 0) == "anger"
    assert labels.emotion_of_id("emonet5", 4) == "anger"
    with pytest.raises(ValueError, match="from 1 to 7"):
        labels.emotion_of_id("rafdb", 0)
