"""The landmark mesh on real faces, and what happens to pictures without one."""

import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fer_lib.faces import mesh as mesh_module
from fer_lib.faces.mesh import FaceMesh
from fer_lib.faces.mesh_points import ARKIT_NAMES, IBUG68, MESH_POINTS, SCORE_INPUT, mesh_to_ibug68
from fer_lib.media.images import read_image


@pytest.fixture(scope="module")
def mesh(shared):
    return FaceMesh(shared / "assets" / "models" / "mediapipe" / "face_landmarker.task")


@pytest.fixture(scope="module")
def london(shared):
    folder = shared / "data" / "london512"
    if not folder.is_dir():
        pytest.skip("the London set is absent")
    return folder


@pytest.fixture(scope="module")
def smiling(london):
    return read_image(sorted((london / "smiling").glob("*.jpg"))[0])


@pytest.fixture(scope="module")
def face(mesh, smiling):
    return mesh.find(smiling)


def pupils(path):
    lines = path.read_text().split("\n")[1:3]
    # The templates are in the 1350-px frame of the archive, the pictures have 512 px.
    return (np.array([line.split() for line in lines], float) + 0.5) * 512 / 1350 - 0.5


def test_tables_name_every_point_once():
    assert len(IBUG68) == len(set(IBUG68)) == 68
    assert len(SCORE_INPUT) == len(set(SCORE_INPUT)) == 146
    assert len(ARKIT_NAMES) == len(set(ARKIT_NAMES)) == 52
    assert max(IBUG68.max(), SCORE_INPUT.max()) < MESH_POINTS
    with pytest.raises(ValueError, match="478"):
        mesh_to_ibug68(np.zeros((468, 2)))


def test_the_68_points_lie_where_ibug_counts_them(face):
    points = mesh_to_ibug68(face.points)
    x, y = points[:, 0], points[:, 1]
    jaw, brows, bridge, nostrils = x[:17], x[17:27], y[27:31], x[31:36]
    assert (np.diff(jaw) > 0).sum() >= 15
    assert y[8] == y.max()
    assert (np.diff(brows) > 0).all()
    assert (np.diff(bridge) > 0).all()
    assert (np.diff(nostrils) > 0).all()
    # Corners and lids of both eyes, image-left first; then the lips, outer and inner.
    assert x[36] < x[37] < x[38] < x[39] < x[42] < x[43] < x[44] < x[45]
    assert (y[[37, 38, 43, 44]] < y[[41, 40, 47, 46]]).all()
    assert x[48] == x[48:68].min() and x[54] == x[48:68].max()
    assert y[51] < y[62] < y[66] < y[57]
    assert x[60] < x[64] and y[24] < y[44]


def test_irises_lie_on_the_hand_set_pupils(mesh, london):
    for path in sorted((london / "neutral").glob("*.jpg"))[::12]:
        found = mesh.find(read_image(path))
        known = pupils(london / "tem" / f"{path.stem}.tem")
        away = np.linalg.norm(found.points[[468, 473], :2] - known, axis=1)
        assert away.max() < 0.04 * np.linalg.norm(known[1] - known[0])


def test_a_smile_scores_higher_than_the_same_persons_neutral_face(mesh, london):
    smile = [ARKIT_NAMES.index("mouthSmileLeft"), ARKIT_NAMES.index("mouthSmileRight")]
    for path in sorted((london / "smiling").glob("*.jpg"))[::12]:
        happy = mesh.find(read_image(path)).scores[smile].mean()
        calm = mesh.find(read_image(london / "neutral" / path.name)).scores[smile].mean()
        assert happy > calm


def test_types_ranges_and_box(face):
    assert face.points.shape == (478, 3) and face.points.dtype == np.float32
    assert face.scores.shape == (52,) and face.scores.dtype == np.float32
    assert 0 <= face.scores.min() and face.scores.max() <= 1
    assert face.presence > 0.99
    left, top, right, bottom = face.box
    inside = (face.points[:, :2] >= (left, top)) & (face.points[:, :2] <= (right, bottom))
    assert inside.all()
    # The nose is nearer to the camera than the ears.
    assert face.points[4, 2] < face.points[[234, 454], 2].min()


@pytest.mark.parametrize("image", [
    np.zeros((1, 1, 3), np.uint8),
    np.full((300, 200, 3), 128, np.uint8),
    np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8),
    np.zeros((2, 40_000, 3), np.uint8),
], ids=["one pixel", "grey", "noise", "ribbon"])
def test_a_picture_without_a_face_has_no_mesh(mesh, image):
    assert mesh.find(image) is None
    assert mesh.find(image, np.array([[10, 10], [20, 10], [15, 15], [11, 20], [19, 20]])) is None


def test_points_of_no_face_find_nothing(mesh, smiling):
    assert mesh.find(smiling, np.zeros((5, 2), np.float32)) is None
    assert mesh.find(smiling, np.full((5, 2), np.nan, np.float32)) is None


def test_five_points_lead_to_the_same_mesh_as_the_detector(mesh, smiling, face):
    points = mesh_to_ibug68(face.points)
    eyes = points[36:48].reshape(2, 6, 2).mean(axis=1)
    again = mesh.find(smiling, np.concatenate((eyes, points[[30, 48, 54]])))
    away = np.linalg.norm((again.points - face.points)[:, :2], axis=1)
    assert away.mean() < 0.01 * np.linalg.norm(eyes[1] - eyes[0])


@pytest.mark.parametrize("angle", [-60, -20, 35, 90])
def test_the_mesh_turns_with_the_picture(mesh, smiling, face, angle):
    turned = np.asarray(Image.fromarray(smiling).rotate(angle, Image.Resampling.BICUBIC))
    known = face.points[:, :2] - 255.5
    cosine, sine = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    known = known @ np.array([[cosine, sine], [-sine, cosine]]).T + 255.5
    near = known[mesh_module.LEFT_EYE_CORNER] - known[mesh_module.RIGHT_EYE_CORNER]
    five = known[[468, 473, 4, 61, 291]].astype(np.float32)
    found = mesh.find(turned, five)
    away = np.linalg.norm(found.points[:, :2] - known, axis=1)
    assert np.median(away) < 0.03 * np.linalg.norm(near)


def test_size_and_place_do_not_matter(mesh, smiling, face):
    small = np.asarray(Image.fromarray(smiling).resize((256, 256), Image.Resampling.BOX))
    large = np.pad(smiling.repeat(3, axis=0).repeat(3, axis=1), ((0, 600), (300, 0), (0, 0)))
    eyes = np.linalg.norm(face.points[33, :2] - face.points[263, :2])
    halved = (mesh.find(small).points[:, :2] + 0.5) * 2 - 0.5
    tripled = (mesh.find(large).points[:, :2] - (300, 0) + 0.5) / 3 - 0.5
    for points in (halved, tripled):
        assert np.linalg.norm(points - face.points[:, :2], axis=1).mean() < 0.02 * eyes


def test_the_larger_of_two_faces_is_taken(mesh, smiling):
    small = np.asarray(Image.fromarray(smiling).resize((256, 256), Image.Resampling.BOX))
    both = np.zeros((512, 768, 3), np.uint8)
    both[:, :512] = smiling
    both[:256, 512:] = small
    assert mesh.find(both).box[2] < 512
    assert mesh.find(both[:, ::-1].copy()).box[0] > 256


def test_presence_read_from_the_points_is_that_of_the_network(mesh):
    points = mesh_module._weights(mesh._mesh, "Identity")
    presence = mesh_module._weights(mesh._mesh, "Identity_1")
    features = np.random.default_rng(0).normal(size=points[0].shape[1])
    flat = points[0] @ features + points[1]
    logit = flat @ mesh._presence_row + mesh._presence_bias
    assert np.isclose(logit, presence[0][0] @ features + presence[1][0], atol=1e-6)


@settings(max_examples=50, deadline=None)
@given(
    st.floats(-50, 700), st.floats(-50, 700), st.floats(1, 3000), st.floats(-3.2, 3.2),
    st.sampled_from([128, 256]),
)
def test_any_square_can_be_cut(x, y, side, angle, size):
    image = np.full((40, 600, 3), 9, np.uint8)
    assert mesh_module._cut(image, mesh_module._Square(x, y, side, angle), size).shape == (
        size, size, 3,
    )


def test_a_cut_shows_the_pixels_of_its_square():
    ramp = np.zeros((64, 64, 3), np.uint8)
    ramp[..., 0], ramp[..., 1] = np.meshgrid(np.arange(64), np.arange(64))
    square = mesh_module._Square(31.5, 31.5, 32.0, np.pi / 2)
    cut = mesh_module._cut(ramp, square, 32)
    # A quarter turn: the crop's x runs down the image, its y to the left.
    assert cut[0, 0].tolist()[:2] == [47, 16]
    assert cut[0, 31].tolist()[:2] == [47, 47]


def test_wrong_images_and_wrong_bundles_are_refused(mesh, tmp_path):
    with pytest.raises(ValueError, match="uint8"):
        mesh.find(np.zeros((8, 8), np.uint8))
    with pytest.raises(ValueError, match="uint8"):
        mesh.find(np.zeros((8, 8, 3), np.float32))
    for name, content in (("absent", None), ("text", b"no bundle")):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match="fetch it again"):
            FaceMesh(tmp_path / name)
    with zipfile.ZipFile(tmp_path / "other.task", "w") as other:
        other.writestr("readme.txt", "nothing")
    with pytest.raises(ValueError, match="fetch it again"):
        FaceMesh(tmp_path / "other.task")
