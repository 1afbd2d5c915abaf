"""The chain of landmark providers, link by link."""

import numpy as np
import pytest

from fer_lib.faces.detect import Detection
from fer_lib.faces.locate import FaceLocator
from fer_lib.faces.mesh import MeshFace

FIVE = np.array([[10, 10], [20, 10], [15, 15], [11, 20], [19, 20]], np.float32)
IMAGE = np.zeros((40, 40, 3), np.uint8)


class Detector:
    """Finds a face in images whose first pixel is not black, and counts how often it is asked."""

    def __init__(self):
        self.asked = 0

    def detect(self, images):
        self.asked += len(images)
        return [Detection((1, 2, 3, 4), 0.9, FIVE + 1) if i[0, 0, 0] else None for i in images]


class Mesh:
    """Finds a mesh as it is told: alone, only near known points, or never."""

    def __init__(self, alone, near):
        self.alone, self.near, self.seen = alone, near, []

    def find(self, image, near=None):
        self.seen.append(near)
        found = self.alone if near is None else self.near
        points = np.tile(np.array([[5.0, 6, 7]], np.float32), (478, 1))
        return MeshFace(points, np.zeros(52, np.float32), 1.0) if found else None


LIT = np.full_like(IMAGE, 9)


@pytest.mark.parametrize(("mesh", "image", "given", "source", "has_mesh"), [
    (Mesh(True, True), IMAGE, FIVE, "dataset", True),
    (Mesh(True, False), IMAGE, FIVE, "dataset", False),
    (None, IMAGE, FIVE, "dataset", False),
    (Mesh(True, True), IMAGE, None, "mesh", True),
    (Mesh(False, True), LIT, None, "mesh", True),
    (Mesh(False, False), LIT, None, "mtcnn", False),
    (None, LIT, None, "mtcnn", False),
])  # fmt: skip
def test_the_first_link_with_an_answer_aligns_the_face(mesh, image, given, source, has_mesh):
    location = FaceLocator(Detector(), mesh).locate(
        [image], None if given is None else [given]
    )[0]
    assert location.source == source
    assert (location.mesh is not None) == has_mesh
    expected = {"dataset": FIVE, "mesh": np.tile([[5.0, 6]], (5, 1)), "mtcnn": FIVE + 1}[source]
    assert np.array_equal(location.five, expected)
    assert location.five.dtype == np.float32


def test_nobody_finds_a_face():
    assert FaceLocator(Detector(), Mesh(False, False)).locate([IMAGE]) == [None]
    assert FaceLocator(Detector()).locate([IMAGE]) == [None]
    assert FaceLocator(Detector()).locate([]) == []


def test_mtcnn_is_asked_only_where_the_mesh_fails_and_then_leads_it():
    detector, mesh = Detector(), Mesh(True, True)
    FaceLocator(detector, mesh).locate([LIT, LIT])
    assert detector.asked == 0
    mesh = Mesh(False, True)
    FaceLocator(detector, mesh).locate([LIT])
    assert detector.asked == 1
    assert np.array_equal(mesh.seen[-1], FIVE + 1)


def test_unknown_points_of_the_data_set_count_as_none():
    partly = FIVE.copy()
    partly[2] = np.nan
    assert FaceLocator(Detector(), Mesh(True, True)).locate([IMAGE], [partly])[0].source == "mesh"


def test_boxes_are_those_of_whoever_saw_the_face():
    assert FaceLocator(Detector(), Mesh(True, True)).locate([LIT])[0].box == (5, 6, 5, 6)
    assert FaceLocator(Detector()).locate([LIT])[0].box == (1, 2, 3, 4)
    assert FaceLocator(Detector()).locate([IMAGE], [FIVE])[0].box is None
