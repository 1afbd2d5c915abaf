"""Detection: one face per image, whatever the package returns, whoever the neighbours are."""

import numpy as np
import pytest
import torch

from fer_lib.faces.detect import FaceDetector, pad_box
from fer_lib.media.images import read_image

# A quarter of the longer side of the 60 x 80 image that the tests below use.
MARGIN = 20
POINTS = np.arange(10, dtype=np.float32).reshape(5, 2)


@pytest.fixture(scope="module")
def detector():
    return FaceDetector()


@pytest.fixture(scope="module")
def photographs(shared):
    folder = shared / "data" / "facial_expressions" / "images"
    if not folder.is_dir():
        pytest.skip("the photographs of facial_expressions are absent")
    return [read_image(path) for path in sorted(folder.iterdir())[:240:40]]


def answering(detector, monkeypatch, boxes, probabilities=None, points=None):
    """The detector with its cascade's answer put in its mouth, as arrays of objects."""
    boxes, margin = np.asarray(boxes, float) + MARGIN, MARGIN
    probabilities = [0.9] * len(boxes) if probabilities is None else probabilities
    points = [POINTS] * len(boxes) if points is None else points
    points = [np.asarray(values) + margin for values in points]
    answer = np.empty(1, dtype=object), np.empty(1, dtype=object), np.empty(1, dtype=object)
    for array, values in zip(answer, (boxes, probabilities, points), strict=True):
        array[0] = values
    monkeypatch.setattr(detector._cascade, "detect", lambda *_, **__: answer)
    return detector.detect([np.zeros((60, 80, 3), np.uint8)])[0]


def test_largest_visible_face_is_kept(detector, monkeypatch):
    # The first box is larger, but nearly all of it lies outside the image.
    boxes = [[-500, -500, 5, 5], [10, 10, 20, 20], [30, 10, 70, 50]]
    found = answering(detector, monkeypatch, boxes, [0.99, 0.98, 0.8], [POINTS, POINTS, POINTS + 7])
    assert found.box == (30, 10, 70, 50)
    assert found.probability == pytest.approx(0.8)
    assert np.array_equal(found.points, POINTS + 7)


def test_box_is_clipped_to_the_image(detector, monkeypatch):
    assert answering(detector, monkeypatch, [[-9.5, -3, 95, 61]]).box == (0, 0, 80, 60)


@pytest.mark.parametrize(
    "box",
    [(290, 10, 320, 30), (10, 10, 10, 40), (40, 10, 20, 30), (np.nan, 0, 9, 9), (3, 3, 3.5, 40)],
    ids=["outside", "no width", "negative width", "nan", "half a pixel"],
)
def test_a_box_without_content_is_no_face(detector, monkeypatch, box):
    assert answering(detector, monkeypatch, [list(box)]) is None


def test_points_that_are_not_finite_are_no_face(detector, monkeypatch):
    points = [np.full((5, 2), np.nan, np.float32)]
    assert answering(detector, monkeypatch, [[5, 5, 40, 40]], points=points) is None


def test_a_fault_on_one_image_does_not_cost_its_neighbours(monkeypatch):
    detector = FaceDetector(batch_size=4)

    def faulty(batch, landmarks):
        if (batch == 7).any():
            raise IndexError("The shape of the mask does not match")
        boxes = np.full((len(batch), 1, 4), (5.0, 5.0, 40.0, 40.0))
        return boxes, np.full((len(batch), 1), 0.9), np.stack([POINTS[None]] * len(batch))

    monkeypatch.setattr(detector._cascade, "detect", faulty)
    images = [np.full((60, 80, 3), value, np.uint8) for value in (1, 7, 3)]
    assert [face is not None for face in detector.detect(images)] == [True, False, True]


def test_an_unexpected_error_is_not_swallowed(detector, monkeypatch):
    def failing(*_, **__):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(detector._cascade, "detect", failing)
    with pytest.raises(RuntimeError, match="out of memory"):
        detector.detect([np.zeros((60, 80, 3), np.uint8)])


@pytest.mark.parametrize("shape", [(1, 1), (12, 300), (19, 19), (20, 20), (21, 400), (64, 64)])
def test_small_and_empty_images_have_no_face(detector, shape):
    noise = np.random.default_rng(0).integers(0, 255, (*shape, 3), dtype=np.uint8)
    assert detector.detect([np.zeros((*shape, 3), np.uint8), noise]) == [None, None]


def test_no_images_give_no_answers(detector):
    assert detector.detect([]) == []


@pytest.mark.parametrize(
    "image", [np.zeros((50, 50)), np.zeros((50, 50, 4), np.uint8), np.zeros((50, 50, 3))]
)
def test_other_arrays_are_refused(detector, image):
    with pytest.raises(ValueError, match=r"\(H, W, 3\) uint8"):
        detector.detect([image])


def test_settings_out_of_range_are_refused():
    with pytest.raises(ValueError, match="min_face_frac"):
        FaceDetector(min_face_frac=0)
    with pytest.raises(ValueError, match="batch_size"):
        FaceDetector(batch_size=0)


def test_detector_is_deterministic_and_changes_no_random_state(detector, photographs):
    state = torch.get_rng_state()
    first, second = detector.detect(photographs[:2]), detector.detect(photographs[:2])
    assert torch.equal(state, torch.get_rng_state())
    for one, other in zip(first, second, strict=True):
        assert one.box == other.box
        assert np.array_equal(one.points, other.points)


def test_result_does_not_depend_on_the_neighbours(detector, photographs):
    mixed = [photographs[0], photographs[1][:200, :180].copy(), *photographs[2:]]
    together = detector.detect(mixed)
    backwards = detector.detect(mixed[::-1])[::-1]
    for image, one, other in zip(mixed, together, backwards, strict=True):
        alone = detector.detect([image])[0]
        assert (one is None) == (other is None) == (alone is None)
        if alone is not None:
            assert one.box == other.box == alone.box
            assert np.array_equal(one.points, alone.points)


def test_photographs_have_faces_with_points_in_order(detector, photographs):
    found = detector.detect(photographs)
    assert sum(face is not None for face in found) >= len(photographs) - 1
    for face in filter(None, found):
        left_eye, right_eye, _, left_mouth, right_mouth = face.points
        left, top, right, bottom = face.box
        assert left_eye[0] < right_eye[0]
        assert left_mouth[0] < right_mouth[0]
        assert left_eye[1] < left_mouth[1]
        assert 0 <= left < right <= photographs[0].shape[1]
        assert 0 <= top < bottom <= photographs[0].shape[0]


def test_points_of_a_face_that_fills_the_image_stay_put(detector, photographs):
    full = photographs[0]
    around = np.pad(full, ((150, 150), (150, 150), (0, 0)))
    tight, loose = detector.detect([full, around])
    distance = np.linalg.norm(tight.points - (loose.points - 150), axis=1).max()
    assert distance < 0.15 * np.linalg.norm(tight.points[1] - tight.points[0])


def test_batches_find_the_same_number_of_faces(detector, photographs):
    batched = FaceDetector(batch_size=8).detect(photographs)
    single = detector.detect(photographs)
    assert [face is None for face in batched] == [face is None for face in single]


def test_padding_keeps_the_square_whole_outside_the_image():
    image = np.full((20, 30, 3), 9, np.uint8)
    square = pad_box(image, (-5, -5, 5, 5))
    assert square.shape == (10, 10, 3)
    assert (square[:5] == 0).all()
    assert (square[:, :5] == 0).all()
    assert (square[5:, 5:] == 9).all()


def test_padding_inside_the_image_is_a_plain_crop():
    image = np.arange(20 * 30 * 3, dtype=np.uint8).reshape(20, 30, 3)
    assert np.array_equal(pad_box(image, (4, 3, 14, 13)), image[3:13, 4:14])
    assert pad_box(image, (4, 3, 14, 13), margin_frac=0.5).shape == (20, 20, 3)


def test_padding_wholly_outside_is_black_and_empty_boxes_are_refused():
    image = np.full((20, 30, 3), 9, np.uint8)
    assert (pad_box(image, (100, 100, 110, 120)) == 0).all()
    with pytest.raises(ValueError, match="left < right"):
        pad_box(image, (5, 5, 5, 9))
