import pandas as pd
import torch

from fer_lib.editing.rig_edits import CodeNoise, borrowed_edits, group_edits, lead_astray
from fer_lib.faces.params import FaceParams

NAMES = ("au01", "au12", "gaze_x")


def faces(count, generator):
    def some(*shape):
        return torch.randn(count, *shape, generator=generator)

    psi = torch.rand(count, 3, generator=generator) * torch.tensor([1.0, 1.0, 0.5])
    camera = torch.tensor([0.24, 0.0, 0.0, 14.0]).repeat(count, 1)
    return FaceParams(some(4), psi, 0.1 * some(3), camera, some(2), 1 + 0.1 * some(9, 3))


def samples(*pairs):
    return pd.DataFrame({"pair": pd.array(pairs, dtype="string")})


def test_every_face_of_a_group_is_the_edit_of_another_one_of_it(generator):
    table = samples("b", "a", None, "b", "a", "c", "b", None)
    params = faces(8, generator)
    partners = {}
    for _ in range(60):
        edits = group_edits(table, params, NAMES, generator)
        assert edits.target.tolist() == [0, 1, 3, 4, 6]
        assert edits.known.all()
        assert torch.allclose(edits.psi, params.expression[edits.target])
        for target, source in zip(edits.target.tolist(), edits.source.tolist(), strict=True):
            partners.setdefault(target, []).append(source)
    assert {k: set(v) for k, v in partners.items()} == {
        0: {3, 6}, 1: {4}, 3: {0, 6}, 4: {1}, 6: {0, 3}
    }  # fmt: skip
    assert 15 < partners[0].count(3) < 45


def test_an_edit_of_estimated_faces_moves_them_by_the_true_difference(generator):
    truth = faces(6, generator)
    truth = truth.replace(expression=0.3 + 0.1 * truth.expression)
    wrong = truth.replace(expression=truth.expression + 0.2)
    edits = group_edits(samples(*"ababab"), wrong, NAMES, generator, truth)
    psi = truth.expression
    expected = wrong.expression[edits.source] + psi[edits.target] - psi[edits.source]
    assert torch.allclose(edits.psi, expected.clamp(0, 0.6))


def test_nobody_without_a_group_is_edited(generator):
    edits = group_edits(samples("a", "b", None), faces(3, generator), NAMES, generator)
    assert [len(part) for part in edits] == [0] * 4


def test_borrowed_expressions_are_somebody_elses_and_their_results_unknown(generator):
    params = faces(5, generator)
    edits = borrowed_edits(params, generator)
    assert torch.equal(edits.source, torch.arange(5))
    assert torch.equal(edits.target, edits.source)
    assert not edits.known.any()
    same = (edits.psi[:, None] == params.expression[None]).all(2)
    assert same.sum(1).tolist() == [1] * 5
    assert not same.diagonal().any()


def test_parameters_are_led_astray_as_far_as_asked(generator):
    params = faces(4000, generator)
    noise = CodeNoise(shape=0.4, pose=0.05, scale=0.02, shift=0.01, light=0.2, albedo=0.5)
    astray = lead_astray(params, NAMES, generator, noise)

    def spread(name, part=slice(None)):
        return (getattr(astray, name) - getattr(params, name))[:, part].std().item()

    ambient = params.light[:, 0].mean().item()
    for got, wanted in (
        (spread("shape"), 0.4), (spread("pose"), 0.05), (spread("camera", slice(1, 3)), 0.01),
        (spread("camera", 0) / 0.24, 0.02), (spread("albedo"), 0.5),
        (spread("light") / ambient, 0.2),
    ):  # fmt: skip
        assert abs(got / wanted - 1) < 0.05
    moved = (astray.expression != params.expression).float().mean()
    assert 0.3 < moved < 0.36
    assert astray.expression[:, :2].min() >= 0
    assert torch.equal(astray.camera[:, 3], params.camera[:, 3])


def test_without_noise_nothing_is_led_astray(generator):
    params = faces(3, generator)
    none = CodeNoise(*[0.0] * 7)
    astray = lead_astray(params, NAMES, generator, none)
    assert all(
        torch.allclose(getattr(astray, name), getattr(params, name))
        for name in ("shape", "expression", "pose", "camera", "albedo", "light")
    )
