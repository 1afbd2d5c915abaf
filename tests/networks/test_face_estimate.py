"""From pictures to parameters: what each stage may change, and what happens without a mesh."""

from dataclasses import replace

import pytest
import torch

from fer_lib.evaluation.face_speed import exact_mesh, face_ways
from fer_lib.evaluation.render_speed import random_faces
from fer_lib.faces.embedded import embedded_head
from fer_lib.faces.fitting.albedo_basis import painted_albedo
from fer_lib.faces.fitting.correspondence import N_POINTS, Correspondence
from fer_lib.faces.fitting.problem import FitConfig
from fer_lib.faces.params import rotation_matrix
from fer_lib.faces.render import render
from fer_lib.faces.warp import to_uint8
from fer_lib.networks.face_encoder import Encoding, FaceEncoderSpec
from fer_lib.networks.face_estimate import (
    EstimateConfig,
    FaceEstimator,
    coloured,
    with_pixel_steps,
    without_photo,
)

SIZE = 96
PARTS = ("shape", "expression", "pose", "camera", "albedo", "light")


@pytest.fixture(scope="module")
def head():
    return embedded_head()


@pytest.fixture(scope="module")
def places(head):
    """A correspondence of single vertices of the front of the face."""
    front = (head.template[:, 2] > 0.9).nonzero()[:, 0]
    chosen = front[torch.linspace(0, len(front) - 1, N_POINTS).long()]
    modes = 1 + len(head.shape_names) + len(head.expression_names)
    return Correspondence(
        chosen[:, None], torch.ones(N_POINTS, 1), torch.full((N_POINTS,), 0.02),
        torch.zeros(modes, N_POINTS, 2),
    )  # fmt: skip


@pytest.fixture(scope="module")
def seen(head, places):
    """Four drawn faces: parameters, crops, exact meshes (the last unknown) and scores."""
    params = random_faces(head, 4, torch.Generator().manual_seed(1))
    crops = to_uint8(render(head, params, SIZE).image)
    mesh = exact_mesh(head, places, params, SIZE)
    mesh[3] = torch.nan
    return params, crops, mesh, torch.rand(4, 52)


def propose(params, log_var=-4.0):
    """A proposer that answers given faces, a little off."""

    def answer(faces, mesh, scores):
        off = params.replace(shape=params.shape + 0.3)
        return Encoding(off, torch.full_like(off.shape, log_var),
                        torch.full_like(off.expression, log_var))  # fmt: skip

    return answer


@pytest.fixture
def estimator(head, places, seen):
    config = EstimateConfig(fit=FitConfig(lip_sigma=None), seal=False)
    return FaceEstimator(head, places, painted_albedo(head), propose(seen[0]), config)


def same(first, second, parts=PARTS):
    return all(torch.equal(getattr(first, n), getattr(second, n)) for n in parts)


def test_a_face_without_mesh_keeps_the_proposal_and_says_why(estimator, seen):
    answer = estimator.estimate(*seen[1:])
    assert [status == "ok" for status in answer.status] == [True, True, True, False]
    assert len(answer.status[3]) > 10
    for stage in (answer.fitted, answer.params):
        assert same(stage[3], answer.proposed[3])
        assert not torch.equal(stage.shape[0], answer.proposed.shape[0])
        assert stage.shape.isfinite().all()


def test_the_mesh_brings_the_proposal_onto_the_picture(estimator, seen, head, places):
    params, *inputs = seen
    freer = without_photo(replace(estimator, proposer=propose(params, log_var=-1.0)))
    answer = freer.estimate(*inputs)
    assert same(answer.fitted, answer.params)
    far = [
        (exact_mesh(head, places, one[:3], SIZE) - inputs[1][:3])[:, :N_POINTS, :2].norm(dim=2)
        for one in (answer.proposed, answer.fitted)
    ]
    assert far[1].mean() < far[0].mean() / 3
    turn = rotation_matrix(answer.fitted.pose[:3]) @ rotation_matrix(params.pose[:3]).mT
    torch.testing.assert_close(turn, torch.eye(3).expand(3, 3, 3), atol=0.1, rtol=0)


def test_a_sure_proposal_is_hardly_moved_and_doubt_lets_it_go(estimator, seen):
    sure = replace(estimator, proposer=propose(seen[0], log_var=-14.0))
    moved = []
    for doubt in (1.0, 1e6):
        one = without_photo(replace(sure, config=replace(sure.config, doubt=doubt)))
        answer = one.estimate(*seen[1:])
        moved.append((answer.fitted.shape - answer.proposed.shape)[:3].abs().mean())
    assert moved[0] < 0.005
    assert moved[1] > 10 * moved[0]


def test_people_share_a_shape_and_others_do_not_matter(estimator, seen):
    groups = torch.tensor([5, 5, 2, 2])
    answer = without_photo(estimator).estimate(*seen[1:], groups)
    assert torch.equal(answer.params.shape[0], answer.params.shape[1])
    alone = without_photo(estimator).estimate(*seen[1:])
    torch.testing.assert_close(alone.params.shape[2], answer.params.shape[2], atol=2e-3, rtol=0)
    joint = replace(estimator, config=with_pixel_steps(estimator.config, 2))
    refined = joint.estimate(*seen[1:], groups).params.shape
    torch.testing.assert_close(refined[0], refined[1])


def test_refitting_keeps_the_given_shape(estimator, seen):
    params, _, mesh, _ = seen
    beta = params.shape + 0.2
    fitted = estimator.refit(params, beta, mesh, SIZE)
    assert torch.equal(fitted.shape, beta)
    assert same(fitted[3], params.replace(shape=beta)[3])
    assert not torch.equal(fitted.expression[0], params.expression[0])


def test_colouring_leaves_the_geometry(estimator, seen):
    params, crops, mesh, _ = (part[:3] for part in seen)
    blank = params.replace(albedo=torch.zeros_like(params.albedo))
    found = coloured(estimator, blank, crops, mesh)
    assert same(found, params, ("shape", "expression", "pose", "camera"))
    assert found.albedo.abs().max() > 0.1


def test_every_way_of_reading_faces_runs(head, places):
    spec = FaceEncoderSpec.of(head, image_size=32, width=4, hidden=16, mesh_modes=4)
    ways = face_ways(head, places, spec, 64, 2)
    assert list(ways) == ["encoder", "fit on the mesh", "25 steps on the pixels"]
    assert len(ways["encoder"]().params) == len(ways["fit on the mesh"]().params) == 2
    assert ways["25 steps on the pixels"]().residual.isfinite().all()
