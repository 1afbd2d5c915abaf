"""The real ICT head: what its files promise, and what the renderer makes of it."""

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from fer_lib import paths
from fer_lib.faces.ict import bundle
from fer_lib.faces.ict.archive import read_archive
from fer_lib.faces.ict.gaze import eyeball
from fer_lib.faces.ict.head import DETAILS, bones, ict_head, sample_shape
from fer_lib.faces.light import ambient_directional
from fer_lib.faces.params import FaceParams
from fer_lib.faces.render import render

ARCHIVE = "ICT-FaceKit-master.tar.xz"
HALF_CM = 0.0011  # half precision of the largest displacement, 4.2 cm


@pytest.fixture(scope="module", autouse=True)
def files(tmp_path_factory):
    """The archive, read once; the head is made from it in a folder of these tests."""
    shared = paths.shared_dir()
    if shared is None or not (shared / "assets" / ARCHIVE).is_file():
        pytest.skip(f"no assets/{ARCHIVE} under FER_SHARED")
    read = read_archive(shared / "assets" / ARCHIVE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FER_DATA", str(tmp_path_factory.mktemp("ict")))
        patch.setattr(bundle, "read_archive", lambda path: read)
        ict_head()
    return read


def faces(model, count=1, kind="perspective", **changes):
    camera = torch.tensor([[0.28, 0.0, 0.03, 16.0][: 4 if kind == "perspective" else 3]])
    fields = {
        "shape": torch.zeros(count, len(model.shape_names)),
        "expression": torch.zeros(count, len(model.expression_names)),
        "pose": torch.zeros(count, 3),
        "camera": camera.repeat(count, 1),
        "albedo": torch.zeros(count, len(model.albedo_names)),
        "light": ambient_directional(torch.full((count, 3), 0.5), torch.full((count, 3), 0.6),
                                     torch.tensor([[0.2, 0.4, 0.9]]).expand(count, 3)),
    }
    return FaceParams(**(fields | changes), camera_kind=kind)


def expression(model, **coefficients):
    psi = torch.zeros(1, len(model.expression_names))
    for name, value in coefficients.items():
        psi[0, model.expression_names.index(name)] = value
    return psi


def test_a_basis_is_file_minus_neutral(files):
    model, fixed = ict_head(), bones()
    unit_cm, source = model.unit_mm / 10, fixed.source
    ball = (source >= 21_451) & (source < 24_591)
    rest = fixed.mannequin.bare.rest * unit_cm
    steps = np.ptp(rest - files.neutral[source], axis=0)
    assert steps.max() < 1e-5
    for name in ("shape", "expression"):
        ours = getattr(model, f"{name}_basis").numpy() * unit_cm
        theirs = getattr(files, f"{name}_basis")[:, source]
        assert np.abs(ours - theirs)[:, ~ball].max() < HALF_CM
        assert getattr(model, f"{name}_names") == getattr(files, f"{name}_names")
    assert len(model.shape_names) == 100 and len(model.expression_names) == 53


def test_units_put_the_eyeballs_at_plus_and_minus_one_half():
    model, fixed = ict_head(), bones()
    for side, x in (("L", 0.5), ("R", -0.5)):
        centre, _ = eyeball(fixed.mannequin.bare.rest, fixed.source, side)
        np.testing.assert_allclose(centre, [x, 0.0, 1.085], atol=1e-3)
    assert 60 < model.unit_mm < 64


def test_the_bare_head_is_its_own_mirror_image_and_so_are_paired_modes():
    model, fixed = ict_head(), bones()
    skin = fixed.source < 11_248
    points, mirror = fixed.mannequin.bare.rest[skin], np.array([-1, 1, 1])
    apart, twin = cKDTree(points).query(points * mirror)
    assert apart.max() < 0.002
    for name in ("mouthSmile", "browDown", "eyeLookIn"):
        left, right = (
            model.expression_basis[model.expression_names.index(f"{name}_{side}")].numpy()[skin]
            for side in "LR"
        )
        assert np.abs(right - left[twin] * mirror).max() < 0.1 * np.abs(left).max()


def test_landmarks_are_in_ibug_order():
    model = ict_head()
    x, y, _ = model.landmarks(model.template[None])[0].T
    assert (x[:8] < 0).all() and (x[9:17] > 0).all()
    torch.testing.assert_close(x[[36, 39, 48]], -x[[45, 42, 54]], atol=2e-3, rtol=0)
    assert y[19] > y[37] > y[41] > y[30] > y[51] > y[57] > y[8]


def test_the_lid_landmarks_lie_on_the_margin_of_the_lids():
    """Where the eyeball stops being seen above and below each landmark, within 1 % of the IOD."""
    model, size = ict_head(detail="head"), 512
    drawn = render(model, faces(model), size, supersample=1)
    fragments = drawn.surface.fragments
    eye = torch.zeros(size * size, dtype=torch.bool)
    bare = model.gloss[fragments.corners[0], 1] > 100
    eye[fragments.pixel[bare]] = True
    eye = eye.view(size, size)
    for k in (37, 38, 40, 41, 43, 44, 46, 47):
        x, y = drawn.landmarks_px[0, k]
        rows = torch.nonzero(eye[:, round(float(x))]).flatten()
        edge = rows.min() if k in (37, 38, 43, 44) else rows.max()
        assert abs(float(edge - y)) < 0.01 * 0.28 * size + 0.5


@pytest.mark.parametrize(("side", "direction"), [("L", "In"), ("R", "Out"), ("L", "Up")])
def test_gaze_turns_the_eyeball(side, direction):
    model, fixed = ict_head(), bones()
    rest = model.template.numpy()
    centre, rows = eyeball(rest, fixed.source, side)
    front = rows[rest[rows, 2].argmax()]
    for psi, turn in ((0.5, 13.4), (1.0, 26.5)):
        name = {f"eyeLook{direction}_{side}": psi}
        moved = model.vertices(torch.zeros(1, 100), expression(model, **name))[0].numpy()
        before, after = rest[front] - centre, moved[front] - centre
        lengths = np.linalg.norm(before), np.linalg.norm(after)
        assert lengths[1] / lengths[0] == pytest.approx(1, abs=0.019)
        cosine = before @ after / (lengths[0] * lengths[1])
        assert np.rad2deg(np.arccos(cosine)) == pytest.approx(turn, abs=0.3)
        shift = after - before
        assert shift[1] > 0.05 if direction == "Up" else shift[0] < -0.05


def test_seams_of_the_texture_do_not_show_in_the_normals():
    model = ict_head()
    twins = model.weld != torch.arange(len(model.weld))
    assert 1000 < int(twins.sum()) < 4000
    assert torch.equal(model.weld[model.weld], model.weld)
    bare = torch.as_tensor(bones().mannequin.bare.rest)
    assert torch.equal(bare[twins], bare[model.weld[twins]])
    normals = bones().mannequin.bare.normals
    np.testing.assert_array_equal(normals[twins], normals[model.weld[twins]])


def test_details_are_subsets_with_the_same_places():
    generator = torch.Generator().manual_seed(2)
    beta = sample_shape(generator, 1)
    psi = torch.rand(1, 53, generator=generator)
    models = [ict_head(detail=detail) for detail in DETAILS]
    shaped = [model.vertices(beta, psi)[0] for model in models]
    for coarse, fine in zip(shaped[1:], shaped, strict=False):
        assert len(coarse) < len(fine)
        apart, _ = cKDTree(fine.numpy()).query(coarse.numpy())
        assert apart.max() < 1e-5
    for model, points in zip(models[1:], shaped[1:], strict=True):
        torch.testing.assert_close(
            model.landmarks(points[None]), models[0].landmarks(shaped[0][None]), atol=1e-5, rtol=0
        )


def test_what_a_camera_in_front_never_sees_is_left_out_and_nothing_else():
    generator = torch.Generator().manual_seed(5)
    whole, front = ict_head(), ict_head(detail="head")
    assert len(front.triangles) < 0.8 * len(whole.triangles)
    psi = torch.rand(4, 53, generator=generator) * (torch.rand(4, 53, generator=generator) < 0.2)
    pose = torch.tensor([[0.0, 0.0, 0.0], [0.3, 0.8, 0.0], [-0.3, -0.6, 0.1], [0.0, 1.0, 0.0]])
    drawn = faces(whole, 4, shape=sample_shape(generator, 4), expression=psi, pose=pose)
    one, other = (render(model, drawn, 96).image for model in (whole, front))
    assert ((one - other).abs().amax(1) > 0.02).float().mean() < 2e-3


@pytest.mark.parametrize("kind", ["perspective", "weak_perspective"])
@pytest.mark.parametrize("size", [64, 112, 224])
def test_renders_at_every_size_and_with_both_cameras(kind, size):
    model = ict_head(detail="head")
    drawn = render(model, faces(model, kind=kind), size)
    assert 0.4 < float(drawn.mask.mean()) < 0.95
    middle = drawn.landmarks_px[0, 30] / size
    torch.testing.assert_close(middle, torch.tensor([0.5, 0.55]), atol=0.08, rtol=0)
    assert torch.isfinite(drawn.image).all()


def test_a_face_does_not_depend_on_its_batch():
    model, generator = ict_head(detail="head"), torch.Generator().manual_seed(4)
    drawn = faces(model, 3, shape=sample_shape(generator, 3))
    together = render(model, drawn, 64).image
    torch.testing.assert_close(render(model, drawn[1], 64).image, together[1:2], atol=0, rtol=0)


def test_gradients_reach_landmarks_light_and_albedo():
    model = ict_head(detail="face")
    start = faces(model)
    leaves = {n: getattr(start, n).clone().requires_grad_() for n in
              ("shape", "expression", "pose", "albedo", "light")}
    drawn = render(model, start.replace(**leaves), 48)
    drawn.landmarks_px.square().mean().backward(retain_graph=True)
    assert all(float(leaves[n].grad.abs().max()) > 0 for n in ("shape", "expression", "pose"))
    drawn.image.mean().backward()
    assert all(torch.isfinite(leaf.grad).all() for leaf in leaves.values())
    assert float(leaves["albedo"].grad.abs().max()) > 0
    assert float(leaves["light"].grad.abs().max()) > 0


def test_subjects_are_standard_normal_within_two_and_a_half():
    beta = sample_shape(torch.Generator().manual_seed(0), 2000)
    assert beta.shape == (2000, 100) and float(beta.abs().max()) <= 2.5
    assert float(beta.std()) == pytest.approx(0.98, abs=0.02)
    assert torch.equal(beta[:2], sample_shape(torch.Generator().manual_seed(0), 2000)[:2])


def test_an_unknown_detail_is_refused():
    with pytest.raises(ValueError, match="'head'"):
        ict_head(detail="hair")
