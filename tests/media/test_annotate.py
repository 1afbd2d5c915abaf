import numpy as np
import pytest

from fer_lib.media.annotate import Answer, annotate

EMOTIONS = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt")
SHARES = dict.fromkeys(EMOTIONS, 0.05) | {"happiness": 0.65}
BLUE = np.array((42, 111, 151))


def blue(image):
    return (image == BLUE).all(axis=2)


@pytest.mark.parametrize("size", [(48, 48), (320, 320), (350, 1400), (1400, 350), (1201, 901)])
def test_every_size_has_a_picture_that_is_left_alone_and_a_strip(size):
    height, width = size
    picture = np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8)
    drawn = annotate(picture, Answer("a judge", SHARES, affect={"valence": 0.4, "arousal": -0.1}))
    factor = drawn.shape[0] // height
    assert drawn.shape[0] == factor * height >= 320
    assert drawn.shape[1] > factor * width
    if factor == 1:
        assert np.array_equal(drawn[:, :width], picture)
    strip = drawn[:, factor * width :]
    # Rows with ink: a title, eight classes and two values, all of them inside the picture.
    dark = (strip < 90).all(axis=2).any(axis=1)
    lines = np.flatnonzero(np.diff(dark.astype(int)) == 1)
    assert len(lines) >= 11
    assert not dark[-1]


def test_bars_are_as_long_as_the_probabilities():
    picture = np.zeros((400, 400, 3), np.uint8)
    lengths = []
    for share in (0.4, 0.8):
        rest = dict.fromkeys(EMOTIONS, 0.0) | {"anger": share}
        lengths.append(blue(annotate(picture, Answer("x", rest))).sum(axis=1).max())
    assert lengths[1] == pytest.approx(2 * lengths[0], abs=2)


def test_the_label_stands_above_the_box_or_inside_where_there_is_no_room():
    picture = np.zeros((400, 400, 3), np.uint8)
    roomy = blue(annotate(picture, Answer("x", SHARES, (100, 150, 250, 350))))[:, :400]
    assert roomy[:150].any()
    assert roomy[350, 100:250].all()
    tight = blue(annotate(picture, Answer("x", SHARES, (-50, -50, 450, 450))))[:, :400]
    assert tight[0, :400].all()
    assert tight[:, 0].all()
    assert tight[:20, :40].mean() > 0.5
    # At the right border the label moves left until it fits.
    right = blue(annotate(picture, Answer("x", SHARES, (390, 200, 399, 300))))[:, :400]
    assert right[180:200, :390].any()


def test_boxes_are_enlarged_with_small_pictures():
    picture = np.zeros((40, 40, 3), np.uint8)
    drawn = blue(annotate(picture, Answer("x", {}, (10, 20, 30, 35))))
    rows, columns = np.flatnonzero(drawn.any(axis=1)), np.flatnonzero(drawn.any(axis=0))
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (160, 280, 80, 240)


@pytest.mark.parametrize("box", [None, (np.nan,) * 4, (500, 500, 600, 600), (-9, -9, -2, -2)])
def test_boxes_that_are_nowhere_do_no_harm(box):
    drawn = annotate(np.zeros((330, 350, 3), np.uint8), Answer("x", SHARES, box, note="why " * 40))
    assert drawn.shape[0] == 330


def test_a_sliver_is_not_enlarged_beyond_reason():
    assert annotate(np.zeros((3, 5000, 3), np.uint8), Answer("x", SHARES)).size < 60_000_000
