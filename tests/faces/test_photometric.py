"""Pixel refinement, albedo bases and lips, on a small face whose truth is known."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from fer_lib import paths
from fer_lib.faces.camera import project, to_camera
from fer_lib.faces.fitting.albedo_basis import (
    AlbedoBasis,
    learn_albedo,
    painted_albedo,
    solve_light,
)
from fer_lib.faces.fitting.correspondence import Correspondence
from fer_lib.faces.fitting.lips import LOWER_POINTS, lip_opening, mesh_gap, seal_lips
from fer_lib.faces.fitting.photometric import MOVABLE, PhotoConfig, refine
from fer_lib.faces.fitting.problem import FitPrior
from fer_lib.faces.fitting.surface import linear_light, sample_pixels, sample_surface
from fer_lib.faces.ict import ict_head
from fer_lib.faces.light import sample_light, sh_basis
from fer_lib.faces.morphable import MorphableModel
from fer_lib.faces.normals import fan_normals
from fer_lib.faces.params import FaceParams
from fer_lib.faces.render import render

SIZE, SIDE = 160, 41


def _grid() -> tuple[Tensor, Tensor]:
    """A front half of an ellipsoid with a nose, and its triangles."""
    steps = torch.linspace(-1, 1, SIDE)
    y, x = torch.meshgrid(-steps, steps, indexing="ij")
    depth = (1.6 - x**2 - 0.7 * y**2).clamp_min(0.02).sqrt() + 0.25 * _bump(x, y, 0, 0, 0.2)
    index = torch.arange(SIDE * SIDE).view(SIDE, SIDE)
    a, b, c, d = (
        t.flatten() for t in (index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:])
    )
    triangles = torch.cat([torch.stack([a, c, b], 1), torch.stack([b, c, d], 1)])
    points = torch.stack([1.1 * x, 1.35 * y - 0.6, depth], -1).view(-1, 3)
    return points, triangles


def _bump(x: Tensor, y: Tensor, at_x: float, at_y: float, width: float) -> Tensor:
    return torch.exp(-((x - at_x) ** 2 + (y - at_y) ** 2) / (2 * width**2))


def _modes(points: Tensor, centres: list[tuple[float, float]], size: float) -> Tensor:
    """Swellings along the view and sideways, one per centre."""
    x, y, _ = points.T
    fields = torch.stack([_bump(x, y, *c, 0.35) for c in centres])
    return size * fields[..., None] * torch.tensor([0.3, 0.2, 1.0])


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    points, triangles = _grid()
    shape = _modes(points, [(0.0, 0.2), (0.5, -0.6), (-0.5, -0.6), (0.0, -1.2)], 0.08)
    expression = _modes(points, [(0.3, -0.2), (-0.3, -0.2), (0.4, -1.1), (-0.4, -1.1)], 0.2)
    x, y, _ = points.T
    v, u = torch.meshgrid(torch.linspace(0, 1, 64), torch.linspace(0, 1, 64), indexing="ij")
    paint = 0.4 + 0.08 * torch.sin(30 * u) * torch.cos(25 * v)
    return MorphableModel(
        name="mask",
        licence="test",
        template=points,
        shape_basis=shape,
        shape_names=tuple("abcd"),
        expression_basis=expression,
        expression_names=("p", "q", "r", "s"),
        triangles=triangles,
        uv=torch.stack([(x + 1.1) / 2.2, (0.75 - y) / 2.7], 1),
        albedo_mean=paint[..., None] * torch.tensor([1.0, 0.8, 0.7]),
        albedo_maps=0.05
        * torch.stack([torch.cos(9 * u), torch.sin(8 * v)])[..., None].repeat(1, 1, 1, 3),
        albedo_mix=torch.eye(2)[..., None].repeat(1, 1, 3),
        albedo_names=("m", "n"),
        wrinkles=torch.zeros(0, 64, 64),
        wrinkle_modes=torch.zeros(0, dtype=torch.int64),
        landmark_vertices=torch.arange(68),
        depth_bias=torch.zeros(len(points)),
        gloss=torch.tensor([[0.0, 10.0]]).repeat(len(points), 1),
        weld=torch.arange(len(points)),
        unit_mm=63.0,
    )


@pytest.fixture(scope="module")
def scene(model: MorphableModel) -> SimpleNamespace:
    """Three pictures of known faces, their mesh points, and fits that are a little off."""
    generator = torch.Generator().manual_seed(3)

    def noise(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator)

    truth = FaceParams(
        shape=noise(3, 4),
        expression=0.2 + 0.5 * torch.rand(3, 4, generator=generator),
        pose=0.08 * noise(3, 3),
        camera=torch.tensor([0.3, 0.01, -0.12, 14.0]).repeat(3, 1),
        albedo=noise(3, 2),
        light=sample_light(generator, 3),
    )
    image = render(model, truth, SIZE, background=torch.full((1, 3, SIZE, SIZE), 0.3)).image
    near = truth.replace(
        shape=truth.shape + 0.5 * noise(3, 4),
        expression=(truth.expression + 0.15 * noise(3, 4)).clamp(0, 1),
        pose=truth.pose + 0.02 * noise(3, 3),
        light=torch.zeros(3, 9, 3),
    )
    vertices = torch.linspace(0, len(model.template) - 1, 468).long()[:, None]
    response = torch.zeros(9, 468, 2)
    points = Correspondence(vertices, torch.ones(468, 1), torch.full((468,), 0.02), response)
    mesh = places(model, truth)[:, vertices[:, 0]]
    return SimpleNamespace(
        truth=truth, image=image, near=near, points=points, mesh=mesh, albedo=painted_albedo(model)
    )


def places(model: MorphableModel, params: FaceParams) -> Tensor:
    vertices = model.vertices(params.shape, params.expression)
    seen = project(to_camera(vertices, params.pose), params, SIZE)
    return torch.stack([seen.x_px, seen.y_px], dim=-1)


def run(model: MorphableModel, scene: SimpleNamespace, rows: slice = slice(None), **settings):
    groups = settings.pop("groups", None)
    return refine(
        model, scene.near[rows], scene.image[rows], scene.mesh[rows], scene.points, scene.albedo,
        config=PhotoConfig(**settings), groups=groups,
    )  # fmt: skip


def test_surface_agrees_with_the_model(model: MorphableModel, scene: SimpleNamespace) -> None:
    surface = sample_surface(model, scene.points, 1)
    seen = surface.see(surface.neutral(scene.truth.shape), scene.truth, SIZE)
    expected = places(model, scene.truth)
    torch.testing.assert_close(seen.skin_px, expected[:, surface.index], atol=1e-3, rtol=0)
    torch.testing.assert_close(seen.mesh_px, scene.mesh, atol=1e-3, rtol=0)
    vertices = model.vertices(scene.truth.shape, scene.truth.expression)
    exact = fan_normals(to_camera(vertices, scene.truth.pose), model.fans)
    cosine = (exact[:, :, surface.index] * seen.normals).sum(0)
    assert torch.rad2deg(cosine.clamp(max=1).acos()).mean() < 2
    assert surface.area.sum().item() == pytest.approx(1, abs=1e-4)


def test_points_behind_others_are_no_skin(model: MorphableModel) -> None:
    wall = replace(model, template=model.template * torch.tensor([1.0, 1.0, 0.1]))
    both = replace(
        model,
        weld=torch.arange(2 * len(model.template)),
        template=torch.cat([model.template, wall.template]),
        triangles=torch.cat([model.triangles, model.triangles + len(model.template)]),
        shape_basis=model.shape_basis.repeat(1, 2, 1),
        expression_basis=model.expression_basis.repeat(1, 2, 1),
    )
    hidden = sample_surface(both, None, 1).index >= len(model.template)
    assert hidden.float().mean() < 0.1


def test_pixels_are_read_where_they_are() -> None:
    ramp = torch.arange(8.0).expand(1, 1, 8, 8)
    read = sample_pixels(ramp, torch.tensor([[[2.5, 3.0], [7.0, 0.0], [20.0, 1.0]]]))
    torch.testing.assert_close(read[0, :, 0], torch.tensor([2.5, 7.0, 7.0]))


def test_blur_keeps_flat_pictures_and_undoes_gamma() -> None:
    flat = torch.full((2, 3, 16, 16), 0.5)
    torch.testing.assert_close(
        linear_light(flat, torch.tensor([0.5, 2.0])), torch.full_like(flat, 0.5**2.2)
    )


def test_light_is_found_where_the_albedo_is_known() -> None:
    generator = torch.Generator().manual_seed(0)
    normals = torch.nn.functional.normalize(torch.randn(3, 2, 800, generator=generator), dim=0)
    harmonics = sh_basis(normals).permute(1, 2, 0)
    albedo, light = torch.rand(2, 800, 3, generator=generator), sample_light(generator, 2)
    weight = torch.full((2, 800), 1 / 800)
    solved = solve_light(harmonics, albedo * (harmonics @ light), albedo, weight)
    assert (harmonics @ (solved - light)).abs().max() < 0.02


def test_refinement_comes_nearer_to_the_truth(
    model: MorphableModel, scene: SimpleNamespace
) -> None:
    before, after = run(model, scene, steps=0), run(model, scene, steps=60)
    for name in ("shape", "expression", "pose"):
        truth = getattr(scene.truth, name)
        start = (getattr(before.params, name) - truth).square().mean()
        assert (getattr(after.params, name) - truth).square().mean() < 0.3 * start, name
    assert (after.residual < 0.7 * before.residual).all()
    assert (after.params.expression >= 0).all() and (after.params.expression <= 1).all()


def test_no_step_leaves_the_geometry(model: MorphableModel, scene: SimpleNamespace) -> None:
    fit = run(model, scene, steps=0)
    for name in ("shape", "expression", "pose", "camera"):
        assert torch.equal(getattr(fit.params, name), getattr(scene.near, name))


@pytest.mark.parametrize("frozen", MOVABLE[:5])
def test_what_is_frozen_stays_to_the_bit(
    model: MorphableModel, scene: SimpleNamespace, frozen: str
) -> None:
    moving = tuple(name for name in MOVABLE if name != frozen)
    fit = run(model, scene, steps=3, moving=moving, groups=torch.zeros(3, dtype=torch.int64))
    assert torch.equal(getattr(fit.params, frozen), getattr(scene.near, frozen))
    assert not torch.equal(fit.params.pose if frozen != "pose" else fit.params.shape,
                           scene.near.pose if frozen != "pose" else scene.near.shape)  # fmt: skip


def test_a_person_has_one_shape(model: MorphableModel, scene: SimpleNamespace) -> None:
    fit = run(model, scene, steps=4, groups=torch.tensor([0, 1, 0]))
    assert torch.equal(fit.params.shape[0], fit.params.shape[2])
    assert not torch.equal(fit.params.shape[0], fit.params.shape[1])
    alone = run(model, scene, slice(1, 2), steps=4)
    torch.testing.assert_close(alone.params.shape[0], fit.params.shape[1], atol=1e-3, rtol=0)


def test_a_face_does_not_depend_on_its_batch(model: MorphableModel, scene: SimpleNamespace) -> None:
    together = run(model, scene, steps=8).params
    for k in range(3):
        alone = run(model, scene, slice(k, k + 1), steps=8).params
        torch.testing.assert_close(alone.shape[0], together.shape[k], atol=3e-3, rtol=0)
        torch.testing.assert_close(alone.expression[0], together.expression[k], atol=3e-3, rtol=0)


def test_a_certain_prior_holds_the_coefficients(
    model: MorphableModel, scene: SimpleNamespace
) -> None:
    near = scene.near
    sure = FitPrior(near.shape, near.shape * 0 + 1e-6, near.expression,
                    near.expression * 0 + 1e-6, near.expression * 0)  # fmt: skip
    free = refine(model, near, scene.image, None, None, scene.albedo, config=PhotoConfig(steps=20))
    held = refine(
        model, near, scene.image, None, None, scene.albedo, prior=sure, config=PhotoConfig(steps=20)
    )
    moved = [(f.params.shape - near.shape).abs().mean() for f in (held, free)]
    assert moved[0] < 0.2 * moved[1]


def test_refinement_says_what_it_cannot_use(model: MorphableModel, scene: SimpleNamespace) -> None:
    with pytest.raises(ValueError, match="moving out of"):
        PhotoConfig(moving=("beta",))
    with pytest.raises(ValueError, match="together, or neither"):
        refine(model, scene.near, scene.image, scene.mesh, None, scene.albedo)
    with pytest.raises(ValueError, match="as many images"):
        refine(model, scene.near, scene.image[:2], None, None, scene.albedo)
    lost = scene.near.replace(shape=scene.near.shape * torch.tensor([[1.0], [torch.nan], [1.0]]))
    with pytest.raises(ValueError, match=r"faces \[1\]"):
        refine(model, lost, scene.image, None, None, scene.albedo)


def test_painted_albedo_explains_the_renderer(
    model: MorphableModel, scene: SimpleNamespace
) -> None:
    fit = refine(
        model, scene.truth, scene.image, None, None, scene.albedo, config=PhotoConfig(steps=0)
    )
    assert (fit.residual < 0.02).all()


def test_albedo_is_learned_from_pictures(model: MorphableModel) -> None:
    generator = torch.Generator().manual_seed(1)
    faces = FaceParams(
        shape=torch.randn(24, 4, generator=generator),
        expression=0.3 * torch.rand(24, 4, generator=generator),
        pose=0.1 * torch.randn(24, 3, generator=generator),
        camera=torch.tensor([0.3, 0.0, -0.12, 14.0]).repeat(24, 1),
        albedo=torch.randn(24, 2, generator=generator),
        light=sample_light(generator, 24),
    )
    images = render(model, faces, SIZE).image
    basis = learn_albedo(model, faces, images, "drawn", "test", modes=2, luminance=True)
    # The sheet's rim is mixed with the background.
    inside = (model.template[:, :2] - torch.tensor([0.0, -0.6])).abs() < torch.tensor([1.0, 1.2])
    index = sample_surface(model, None, 1).index
    index = index[inside[index].all(1)]
    true = painted_albedo(model).mean[index].mean(1).log()
    found = basis.mean[index, 0].log()
    assert np.corrcoef(true, found)[0, 1] > 0.9
    dull = replace(basis, mean=basis.mean * 0 + basis.mean.nanmean(), modes=basis.modes * 0)
    grey = images.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    residuals = [
        refine(model, faces, grey, None, None, b, config=PhotoConfig(steps=0)).residual.mean()
        for b in (basis, dull)
    ]
    assert residuals[0] < 0.6 * residuals[1]
    with pytest.raises(ValueError, match="more than 24"):
        learn_albedo(model, faces, images, "drawn", "test", modes=24)


def test_albedo_basis_round_trip(tmp_path) -> None:
    basis = AlbedoBasis(
        torch.rand(5, 1), torch.rand(2, 5, 1), torch.rand(2), "photographs", 40, "CC0"
    )
    basis.save(tmp_path / "basis.npz")
    read = AlbedoBasis.load(tmp_path / "basis.npz")
    assert (read.source, read.count, read.licence) == ("photographs", 40, "CC0")
    for name in ("mean", "modes", "sd"):
        assert torch.equal(getattr(read, name), getattr(basis, name))
    np.savez(tmp_path / "other.npz", mean=np.zeros(3))
    with pytest.raises(ValueError, match=r"AlbedoBasis\.save"):
        AlbedoBasis.load(tmp_path / "other.npz")
    with pytest.raises(ValueError, match="modes of shape"):
        AlbedoBasis(torch.rand(5, 1), torch.rand(2, 4, 1), torch.rand(2), "", 0, "")


@pytest.fixture(scope="module")
def face() -> MorphableModel:
    shared = paths.shared_dir()
    if shared is None or not (shared / "assets" / "ICT-FaceKit-master.tar.xz").is_file():
        pytest.skip("no assets/ICT-FaceKit-master.tar.xz under FER_SHARED")
    return ict_head(detail="face")


def mouths(face: MorphableModel, gap: float, **psi: float) -> tuple[FaceParams, Tensor]:
    """Four people with one expression, and meshes whose inner lips are `gap` apart."""
    names = [name.removesuffix("_L").removesuffix("_R") for name in face.expression_names]
    expression = torch.tensor([[psi.get(name, 0.0) for name in names]]).repeat(4, 1)
    shape = torch.randn(4, len(face.shape_names), generator=torch.Generator().manual_seed(0))
    camera = torch.tensor([[0.25, 0.0, 0.0, 16.0]]).repeat(4, 1)
    empty = torch.zeros(4, 0)
    fits = FaceParams(shape, expression, torch.zeros(4, 3), camera, empty, torch.zeros(4, 9, 3))
    mesh = torch.zeros(4, 478, 3)
    mesh[:, list(LOWER_POINTS), 1] = gap * 0.25 * 200
    return fits, mesh


def test_open_lips_of_a_closed_mouth_are_closed(face: MorphableModel) -> None:
    fits, mesh = mouths(face, 0.004, mouthSmile=0.8, mouthUpperUp=0.4, mouthLowerDown=0.2)
    torch.testing.assert_close(mesh_gap(mesh, torch.full((4,), 50.0)), torch.full((4, 3), 0.004))
    before = lip_opening(face, fits.shape, fits.expression)
    assert (before.amax(1) > 0.03).all()
    sealed = seal_lips(face, fits, mesh, 200)
    assert lip_opening(face, sealed.shape, sealed.expression).max() < 0
    moved = face.vertices(sealed.shape, sealed.expression - fits.expression) - face.vertices(
        sealed.shape, torch.zeros_like(sealed.expression)
    )
    assert moved[:, face.landmark_vertices[:48]].norm(dim=-1).mean() < 0.02
    names = list(face.expression_names)
    jaw, close, smile = (names.index(n) for n in ("jawOpen", "mouthClose", "mouthSmile_L"))
    psi = sealed.expression
    assert (psi[:, close] <= psi[:, jaw] + 1e-6).all()
    assert torch.equal(psi[:, smile], fits.expression[:, smile])
    alone = seal_lips(face, fits[2], mesh[2:3], 200).expression[0]
    torch.testing.assert_close(alone, psi[2], atol=1e-4, rtol=0)


def test_open_mouths_follow_the_mesh(face: MorphableModel) -> None:
    fits, mesh = mouths(face, 0.15, mouthSmile=0.4, jawOpen=0.15)
    sealed = seal_lips(face, fits, mesh, 200)
    middle = lip_opening(face, sealed.shape, sealed.expression)[:, 4]
    torch.testing.assert_close(middle, torch.full((4,), 0.117), atol=0.025, rtol=0)


def test_closed_lips_stay_as_they_are(face: MorphableModel) -> None:
    fits, mesh = mouths(face, 0.002)
    assert torch.equal(seal_lips(face, fits, mesh, 200).expression, fits.expression)


def test_lips_need_their_modes(model: MorphableModel, scene: SimpleNamespace) -> None:
    with pytest.raises(ValueError, match="mask lacks them"):
        seal_lips(model, scene.near, torch.ones(3, 478, 3), SIZE)
    with pytest.raises(ValueError, match="one mesh per face"):
        seal_lips(model, scene.near, torch.ones(2, 478, 3), SIZE)
