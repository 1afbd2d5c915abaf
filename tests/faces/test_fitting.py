"""The fit to mesh points: closed forms on points made from known faces."""

import dataclasses

import numpy as np
import pytest
import torch

from fer_lib.faces.camera import project, to_camera
from fer_lib.faces.embedded.head import embedded_head
from fer_lib.faces.fitting.correspondence import N_POINTS, Correspondence
from fer_lib.faces.fitting.gauss_newton import fit_mesh
from fer_lib.faces.fitting.problem import FitConfig, FitPrior
from fer_lib.faces.fitting.rows import pose_of
from fer_lib.faces.params import FaceParams, rotation_matrix

SIZE, SHAPES, MODES = 256, 6, 8
EXACT = FitConfig(n_shape=SHAPES, iterations=25, inflation=1e-4, lip_sigma=None, expression_rate=0)


def _mirror(points):
    return points * points.new_tensor([-1.0, 1.0, 1.0])


@pytest.fixture(scope="module")
def model():
    """A made-up symmetric face of 468 vertices in mirrored halves, so that a mirror is exact."""
    generator = torch.Generator().manual_seed(0)
    half = torch.rand(N_POINTS // 2, 3, generator=generator) * torch.tensor([0.8, 2.4, 0.9])
    half += torch.tensor([0.05, -1.6, 0.5])
    moves = 0.08 * torch.randn(SHAPES + MODES, N_POINTS, 3, generator=generator)
    mirrored = _mirror(moves.roll(N_POINTS // 2, 1))
    # Identity modes: first half symmetric, second antisymmetric. Expressions: pairs of sides.
    signs = torch.tensor([1.0] * (SHAPES // 2) + [-1.0] * (SHAPES // 2))[:, None, None]
    shape = (moves[:SHAPES] + signs * mirrored[:SHAPES]) / 2
    left = moves[SHAPES : SHAPES + MODES // 2]
    expression = torch.stack([left, _mirror(left.roll(N_POINTS // 2, 1))], 1).flatten(0, 1)
    base = embedded_head()
    return dataclasses.replace(
        base,
        template=torch.cat([half, _mirror(half)]),
        shape_basis=shape,
        shape_names=tuple(f"identity{k:03d}" for k in range(SHAPES)),
        expression_basis=expression,
        expression_names=tuple(f"e{k}_{s}" for k in range(MODES // 2) for s in "LR"),
        triangles=torch.tensor([[0, 1, 2]]),
        landmark_vertices=torch.arange(68),
        uv=torch.zeros(N_POINTS, 2),
        gloss=torch.zeros(N_POINTS, 2),
        depth_bias=torch.zeros(N_POINTS),
        weld=torch.arange(N_POINTS),
    )


@pytest.fixture(scope="module")
def places():
    every = torch.arange(N_POINTS)[:, None]
    none = torch.zeros(1 + SHAPES + MODES, N_POINTS, 2)
    return Correspondence(every, torch.ones(N_POINTS, 1), torch.full((N_POINTS,), 0.02), none)


def _faces(count, kind="perspective", seed=1):
    generator = torch.Generator().manual_seed(seed)
    psi = 0.2 + 0.6 * torch.rand(count, MODES, generator=generator)
    camera = torch.tensor([0.22, 0.03, -0.02, 16.0]).repeat(count, 1)
    return FaceParams(
        torch.randn(count, SHAPES, generator=generator),
        psi,
        0.2 * torch.randn(count, 3, generator=generator),
        camera if kind == "perspective" else camera[:, :3],
        torch.zeros(count, 1),
        torch.zeros(count, 9, 3),
        kind,
    )


def _mesh(model, params):
    """The mesh that a perfect network would give."""
    placed = to_camera(model.vertices(params.shape, params.expression), params.pose)
    seen = project(placed, params, SIZE)
    depth = -placed[..., 2] * params.camera[:, :1] * SIZE
    surface = torch.stack([seen.x_px, seen.y_px, depth], -1)
    return torch.nn.functional.pad(surface, (0, 0, 0, 10))


@pytest.mark.parametrize(("kind", "distance"), [("perspective", 16.0), ("weak_perspective", None)])
def test_points_without_noise_give_back_the_face(model, places, kind, distance):
    truth = _faces(4, kind)
    config = dataclasses.replace(EXACT, distance=distance)
    fit = fit_mesh(model, places, _mesh(model, truth).double(), SIZE, config=config)
    assert fit.status == ("ok",) * 4
    assert fit.params.camera_kind == kind
    assert fit.residual_pct_iod.max() < 1e-3
    for name in ("pose", "shape", "expression", "camera"):
        torch.testing.assert_close(
            getattr(fit.params, name).float(), getattr(truth, name), atol=2e-4, rtol=0
        )


def test_what_the_mesh_sees_beyond_the_surface_is_taken_out(model, places):
    truth = _faces(3, "weak_perspective").replace(pose=torch.zeros(3, 3))
    response = 0.05 * torch.randn(places.response.shape, generator=torch.Generator())
    answer = torch.cat([torch.ones(3, 1), truth.shape, truth.expression], dim=1)
    moved = torch.einsum("bn,nkc->bkc", answer, response) * torch.tensor([1.0, -1.0])
    mesh = _mesh(model, truth).double()
    mesh[:, :N_POINTS, :2] += moved * truth.camera[:, None, :1] * SIZE
    config = dataclasses.replace(EXACT, distance=None)
    answering = dataclasses.replace(places, response=response)
    fit = fit_mesh(model, answering, mesh, SIZE, config=config)
    assert fit.residual_pct_iod.max() < 1e-2
    torch.testing.assert_close(fit.params.shape.float(), truth.shape, atol=5e-3, rtol=0)
    plain = fit_mesh(model, places, mesh, SIZE, config=config)
    assert (plain.params.shape - truth.shape).abs().max() > 0.1


def test_a_fit_does_not_depend_on_its_batch(model, places):
    mesh = _mesh(model, _faces(40)) + torch.randn(40, 478, 3, generator=torch.Generator())
    together = fit_mesh(model, places, mesh, SIZE)
    alone = fit_mesh(model, places, mesh[35:36], SIZE)
    torch.testing.assert_close(together.params.shape[35:36], alone.params.shape, atol=1e-4, rtol=0)
    torch.testing.assert_close(together.params.pose[35:36], alone.params.pose, atol=1e-5, rtol=0)


def test_photographs_of_a_person_share_beta_and_others_are_as_if_alone(model, places):
    generator = torch.Generator().manual_seed(3)
    mesh = _mesh(model, _faces(5)) + torch.randn(5, 478, 3, generator=generator)
    groups = torch.tensor([7, 2, 7, 7, 9])
    joint = fit_mesh(model, places, mesh, SIZE, groups=groups)
    single = fit_mesh(model, places, mesh, SIZE)
    together = joint.params.shape[[0, 2, 3]]
    assert torch.equal(together, together[:1].expand(3, -1))
    assert not torch.equal(joint.params.expression[0], joint.params.expression[2])
    assert not torch.allclose(joint.params.shape[0], single.params.shape[0], atol=1e-2)
    for name in ("shape", "expression", "pose"):
        torch.testing.assert_close(
            getattr(joint.params, name)[[1, 4]], getattr(single.params, name)[[1, 4]],
            atol=1e-4, rtol=0,
        )  # fmt: skip


def test_a_person_seen_twice_in_the_same_picture_is_that_picture_with_half_the_prior(model, places):
    mesh = _mesh(model, _faces(1)) + torch.randn(1, 478, 3, generator=torch.Generator())
    config = dataclasses.replace(FitConfig(), iterations=30)
    prior = FitPrior.weak(model, 4.0).rows(1, mesh)
    loose = dataclasses.replace(prior, beta_var=2 * prior.beta_var)
    twice = fit_mesh(model, places, mesh.repeat(2, 1, 1), SIZE, prior=prior,
                     groups=torch.tensor([0, 0]), config=config)  # fmt: skip
    once = fit_mesh(model, places, mesh, SIZE, prior=loose, config=config)
    torch.testing.assert_close(twice.params.shape[:1], once.params.shape, atol=1e-3, rtol=0)


def test_a_mirrored_picture_gives_the_mirrored_face(model, places):
    mesh = _mesh(model, _faces(3)) + torch.randn(3, 478, 3, generator=torch.Generator())
    # Points k and k + 234 are partners in this face; the mesh of a mirrored picture swaps them.
    swapped = torch.cat([mesh[:, :N_POINTS].roll(N_POINTS // 2, 1), mesh[:, N_POINTS:]], 1)
    mirrored = swapped * torch.tensor([-1.0, 1.0, 1.0]) + torch.tensor([SIZE - 1.0, 0.0, 0.0])
    config = dataclasses.replace(FitConfig(), lip_sigma=None)
    there, here = (fit_mesh(model, places, m, SIZE, config=config).params for m in (mirrored, mesh))
    sign = torch.tensor([1.0] * (SHAPES // 2) + [-1.0] * (SHAPES // 2))
    swap = [k ^ 1 for k in range(MODES)]
    torch.testing.assert_close(there.shape, here.shape * sign, atol=1e-3, rtol=0)
    torch.testing.assert_close(there.expression, here.expression[:, swap], atol=1e-3, rtol=0)
    torch.testing.assert_close(
        there.pose, here.pose * torch.tensor([1.0, -1.0, -1.0]), atol=1e-4, rtol=0
    )


def test_a_tight_prior_wins_over_the_points_and_psi_stays_in_its_box(model, places):
    mesh = _mesh(model, _faces(2))
    tight = FitPrior(
        torch.full((1, SHAPES), 0.3),
        torch.full((1, SHAPES), 1e-10),
        torch.full((1, MODES), 0.4),
        torch.full((1, MODES), 1e-10),
        torch.zeros(1, MODES),
    )
    fit = fit_mesh(model, places, mesh, SIZE, prior=tight)
    torch.testing.assert_close(fit.params.shape, torch.full((2, SHAPES), 0.3), atol=1e-3, rtol=0)
    torch.testing.assert_close(
        fit.params.expression, torch.full((2, MODES), 0.4), atol=1e-3, rtol=0
    )


def test_psi_stays_in_its_box_and_a_strong_rate_takes_it_to_zero(model, places):
    truth = _faces(3)
    beyond = truth.replace(expression=truth.expression * 4 - 1.2)
    assert (beyond.expression < 0).any()
    assert (beyond.expression > 1).any()
    fit = fit_mesh(model, places, _mesh(model, beyond), SIZE)
    assert (fit.params.expression >= 0).all()
    assert (fit.params.expression <= 1).all()
    assert ((fit.params.expression == 1) == (beyond.expression > 1.3)).float().mean() > 0.7
    none = FitConfig(expression_rate=1e9)
    fit = fit_mesh(model, places, _mesh(model, truth), SIZE, config=none)
    assert (fit.params.expression == 0).all()


def test_a_mesh_without_points_is_refused_and_leaves_the_others_alone(model, places):
    mesh = _mesh(model, _faces(4))
    mesh[1, 5] = torch.nan
    mesh[2] = 10.0
    fit = fit_mesh(model, places, mesh, SIZE, groups=torch.tensor([0, 0, 1, 2]))
    assert fit.status[0] == fit.status[3] == "ok"
    assert "not finite" in fit.status[1]
    assert "one place" in fit.status[2]
    assert fit.params.shape[[1, 2]].isnan().all()
    assert fit.residual_pct_iod[[1, 2]].isnan().all()
    alone = fit_mesh(model, places, mesh[[0, 3]], SIZE)
    torch.testing.assert_close(fit.params.shape[[0, 3]], alone.params.shape, atol=1e-4, rtol=0)
    assert fit_mesh(model, places, mesh[:0], SIZE).status == ()


def test_arrays_that_do_not_fit_are_refused(model, places):
    mesh = _mesh(model, _faces(2))
    with pytest.raises(ValueError, match=r"expected a mesh of shape \(B, 478, 3\)"):
        fit_mesh(model, places, mesh[:, :68], SIZE)
    with pytest.raises(ValueError, match="expected 2 group numbers"):
        fit_mesh(model, places, mesh, SIZE, groups=torch.zeros(3, dtype=torch.int64))
    with pytest.raises(ValueError, match="expected 1 or 2 rows in beta_mean"):
        fit_mesh(model, places, mesh, SIZE, prior=FitPrior.weak(model, 1.0).rows(5, mesh))


def test_starting_from_an_answer_keeps_its_look_and_ends_at_the_same_face(model, places):
    truth = _faces(2)
    init = dataclasses.replace(truth, albedo=torch.ones(2, 3), light=torch.ones(2, 9, 3))
    fit = fit_mesh(model, places, _mesh(model, truth), SIZE, init=init, config=EXACT)
    assert torch.equal(fit.params.albedo, init.albedo)
    assert torch.equal(fit.params.light, init.light)
    torch.testing.assert_close(fit.params.shape, truth.shape, atol=2e-3, rtol=0)


def test_closed_lips_are_pulled_to_the_gap_of_the_template(model, places):
    truth = _faces(3)
    mesh = _mesh(model, truth)
    upper, lower = [13, 82, 312], [14, 87, 317]
    mesh[:, upper] = mesh[:, lower]

    def opening(lip_sigma):
        config = FitConfig(lip_sigma=lip_sigma)
        found = fit_mesh(model, places, mesh, SIZE, config=config).params
        moved = model.vertices(found.shape, found.expression) - model.template
        turned = (moved[:, upper] - moved[:, lower]) @ rotation_matrix(found.pose).transpose(1, 2)
        return float(turned[..., :2].norm(dim=-1).mean())

    assert opening(1e-4) < 0.5 * opening(None)


def test_pose_of_inverts_the_rotation_matrix():
    generator = torch.Generator().manual_seed(0)
    pose = torch.rand(50, 3, generator=generator, dtype=torch.float64) * 3 - 1.5
    torch.testing.assert_close(pose_of(rotation_matrix(pose)), pose)


def test_a_correspondence_is_saved_and_read_back(places, tmp_path):
    path = tmp_path / "a" / "correspondence.npz"
    places.save(path)
    again = Correspondence.load(path)
    assert all(torch.equal(v, getattr(again, n)) for n, v in vars(places).items())
    assert [p.name for p in path.parent.iterdir()] == ["correspondence.npz"]
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match="expected correspondences in correspondence"):
        Correspondence.load(path)
    np.savez(path, vertices=np.zeros(1))
    with pytest.raises(ValueError, match="delete the"):
        Correspondence.load(path)
