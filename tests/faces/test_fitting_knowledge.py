"""What a fit knows beside its points: correspondences, scores, tiers, the share of a person."""

import numpy as np
import pytest
import torch

from fer_lib import assets
from fer_lib.faces.embedded.head import embedded_head
from fer_lib.faces.fitting.calibration import Calibration, learn_calibration
from fer_lib.faces.fitting.correspondence import N_POINTS, correspondence, learn_correspondence
from fer_lib.faces.fitting.response import learn_response, mirror_of
from fer_lib.faces.fitting.scores import (
    DEAD,
    modes_of_score,
    psi_of_scores,
    score_prior,
    stem_of,
)
from fer_lib.faces.fitting.tiers import ONLY_IF_SCORED, TIERS, restrain, tie_sides, tier_of
from fer_lib.faces.mesh import FaceMesh
from fer_lib.faces.mesh_points import ARKIT_NAMES

BOTH = ("browInnerUp", "cheekPuff")
ICT = tuple(
    sorted(
        mode
        for score in ARKIT_NAMES[1:]
        for mode in (
            (score + "_L", score + "_R")
            if score in BOTH
            else (score.removesuffix("Left") + "_L",)
            if score.endswith("Left") and score not in ("jawLeft", "mouthLeft")
            else (score.removesuffix("Right") + "_R",)
            if score.endswith("Right") and score not in ("jawRight", "mouthRight")
            else (score,)
        )
    )
)


class _Named:
    """As much of a model as a prior reads."""

    template = torch.zeros(3, 3)
    shape_names = ("identity000", "identity001")
    expression_names = ICT


def test_scores_cover_every_one_of_the_53_modes_once():
    assert len(ICT) == 53
    hit = [mode for score in ARKIT_NAMES for mode in modes_of_score(score, ICT)]
    assert sorted(hit) == list(range(53))
    assert modes_of_score("_neutral", ICT) == ()
    for score in BOTH:
        assert [ICT[k] for k in modes_of_score(score, ICT)] == [score + "_L", score + "_R"]
    assert [ICT[k] for k in modes_of_score("mouthSmileLeft", ICT)] == ["mouthSmile_L"]
    assert [ICT[k] for k in modes_of_score("mouthLeft", ICT)] == ["mouthLeft"]
    with pytest.raises(ValueError, match="expected one of the 52 scores"):
        modes_of_score("smile", ICT)


def test_a_score_becomes_psi_above_its_rest():
    scores, rest = torch.zeros(2, 52), torch.zeros(52)
    smile = ARKIT_NAMES.index("mouthSmileLeft")
    scores[:, smile], rest[smile] = torch.tensor([0.1, 0.7]), 0.2
    psi = psi_of_scores(scores, ICT, rest)
    torch.testing.assert_close(psi[:, ICT.index("mouthSmile_L")], torch.tensor([0.0, 0.5]))
    assert (psi != 0).sum() == 1
    with pytest.raises(ValueError, match="expected 52 scores, got 51"):
        psi_of_scores(scores[:, 1:], ICT)


def test_dead_scores_and_faces_without_scores_say_nothing():
    scores = torch.full((2, 52), 0.6)
    scores[1, 3] = torch.nan
    prior = score_prior(_Named, scores, sigma=0.2, rate=5.0)
    dead = torch.tensor([stem_of(name) in DEAD for name in ICT])
    assert int(dead.sum()) == 8
    assert (prior.psi_var[0] == torch.where(dead, torch.inf, 0.04)).all()
    assert (prior.psi_rate[0] == torch.where(dead, 5.0, 0.0)).all()
    assert prior.psi_var[1].isinf().all()
    assert (prior.psi_mean[0, ~dead] == 0.6).all()
    assert (prior.psi_mean[1] == 0).all()


def test_every_tiered_stem_is_a_mode():
    stems = {stem_of(name) for name in ICT}
    assert stems.issuperset((*TIERS["A"], *TIERS["B"], *ONLY_IF_SCORED, *DEAD))
    assert tier_of("mouthSmile_L") == tier_of("mouthSmileRight") == "A"
    assert tier_of("mouthLeft") == "A"
    assert tier_of("browDown_R") == "B"
    assert tier_of("mouthPress_L") == tier_of("jawLeft") == "C"


def test_sides_are_tied_in_the_lowest_tier_alone():
    psi = torch.rand(3, 53, generator=torch.Generator().manual_seed(0))
    tied = tie_sides(psi, ICT)
    for k, name in enumerate(ICT):
        other = name.replace("_L", "_R") if name.endswith("_L") else name.replace("_R", "_L")
        if tier_of(name) == "C" and other != name:
            torch.testing.assert_close(tied[:, k], (psi[:, k] + psi[:, ICT.index(other)]) / 2)
        else:
            assert torch.equal(tied[:, k], psi[:, k])


def test_what_soaks_up_errors_needs_a_score_and_lips_close_no_further_than_the_jaw_opens():
    psi = torch.full((2, 53), 0.5)
    close, jaw, roll = (ICT.index(n) for n in ("mouthClose", "jawOpen", "mouthRollUpper"))
    psi[:, jaw] = 0.2
    without = restrain(psi, ICT)
    assert (without[:, [close, roll]] == 0).all()
    scored = torch.zeros(2, 53)
    scored[1, [close, roll]] = 0.4
    kept = restrain(psi, ICT, scored)
    assert (kept[0, [close, roll]] == 0).all()
    torch.testing.assert_close(kept[1, [close, roll]], torch.tensor([0.2, 0.5]))
    unchanged = [k for k in range(53) if k not in (close, roll)]
    assert torch.equal(kept[:, unchanged], psi[:, unchanged])


def test_a_linear_response_is_found_and_its_noise_is_left(generator):
    beta = torch.randn(400, 5, generator=generator)
    psi = (torch.rand(400, 3, generator=generator) < 0.3).float()
    true = torch.randn(9, 468, 2, generator=generator)
    noise = 0.1 * torch.randn(400, 468, 2, generator=generator)
    rows = torch.cat([torch.ones(400, 1), 3 * beta, 3 * psi], dim=1)
    error = torch.einsum("bn,nkc->bkc", rows, true) + noise
    found, sigma = learn_response(error - noise, 100 * beta, 100 * psi)
    torch.testing.assert_close(found[1:], true[1:] * 0.03, atol=1e-3, rtol=0)
    torch.testing.assert_close(found[0], true[0], atol=1e-2, rtol=0)
    _, sigma = learn_response(noise, torch.zeros(400, 5), torch.zeros(400, 3))
    torch.testing.assert_close(sigma, torch.full((468,), 0.1), atol=0.02, rtol=0)


def test_a_mirror_of_the_embedded_head_swaps_sides():
    head = embedded_head()
    mirror = mirror_of(head)
    names = head.expression_names
    assert torch.equal(mirror.modes[mirror.modes], torch.arange(len(names)))
    assert names[mirror.modes[names.index("au02_left")]] == "au02_right"
    assert (mirror.signs.abs() == 1).all()
    opposite = [name for name, sign in zip(names, mirror.mode_signs, strict=True) if sign < 0]
    assert opposite == ["gaze_x"]


@pytest.fixture(scope="module")
def photographs():
    """Fits of 300 people, five photographs each, made by the model that the calibration assumes."""
    generator = torch.Generator().manual_seed(0)
    person = torch.arange(300).repeat_interleave(5)
    truth = torch.randn(300, 4, generator=generator)[person] * torch.tensor([1.0, 1.0, 0.5, 0.0])
    psi = torch.rand(1500, 3, generator=generator) * torch.tensor([1.0, 1.0, 0.2])
    leak = torch.tensor([[1.5, 0.0, 0.0, 0.0], [0.0, 0.0, -2.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    noise = torch.randn(1500, 4, generator=generator) * torch.tensor([0.1, 1.0, 0.5, 0.3])
    return person, truth, psi, truth + psi @ leak + noise


def test_a_calibration_finds_the_share_of_the_person(photographs):
    person, truth, psi, beta = photographs
    found = learn_calibration(beta, psi, person)
    expected = torch.tensor([1 / 1.01, 0.5, 0.5, 0.0]).double()
    torch.testing.assert_close(found.gain.diagonal(), expected, atol=0.1, rtol=0)
    centred = truth - truth.mean(0)

    def error(estimate):
        return float(((estimate - estimate.mean(0) - centred) ** 2).mean())

    assert error(found.apply(beta, psi)) < 0.5 * error(beta)


def test_people_who_look_the_same_on_every_photograph_are_left_alone(photographs):
    person, truth, psi, _ = photographs
    exact = truth[:, :3]
    found = learn_calibration(exact, psi, person)
    torch.testing.assert_close(found.apply(exact, psi), exact, atol=1e-3, rtol=0)


def test_a_calibration_is_saved_and_read_back(photographs, tmp_path):
    person, _, psi, beta = photographs
    found = learn_calibration(beta, psi, person)
    found.save(tmp_path / "calibration.npz")
    again = Calibration.load(tmp_path / "calibration.npz")
    assert torch.equal(found.apply(beta, psi), again.apply(beta, psi))
    np.savez(tmp_path / "calibration.npz", mean=np.zeros(2))
    with pytest.raises(ValueError, match="expected a calibration in calibration"):
        Calibration.load(tmp_path / "calibration.npz")


def test_a_calibration_needs_finite_fits_of_people_seen_twice(photographs):
    person, _, psi, beta = photographs
    with pytest.raises(ValueError, match="leave out the faces that were refused"):
        learn_calibration(torch.full_like(beta, torch.nan), psi, person)
    with pytest.raises(ValueError, match="several photographs of at least two people"):
        learn_calibration(beta, psi, torch.arange(1500))


def test_the_mesh_finds_mirrored_places_on_a_drawn_head(shared, generator):
    head, mesh = embedded_head(), FaceMesh(assets.get("face_landmarker"))
    found = learn_correspondence(head, head, mesh, generator, faces=3)
    assert found.vertices.shape == found.weights.shape
    torch.testing.assert_close(found.weights.sum(1), torch.ones(N_POINTS))
    assert found.weights.min() >= 0
    assert 0 < float(found.sigma.min()) <= float(found.sigma.mean()) < 0.06
    places = found.points(head.template)
    # Nose tip and lips are in the middle, the eyes' outer corners are each other's mirror image.
    assert places[[1, 0, 13, 14, 17], 0].abs().max() < 1e-2
    torch.testing.assert_close(
        places[33] * torch.tensor([-1.0, 1, 1]), places[263], atol=1e-2, rtol=0
    )
    assert 0.5 < float(places[263, 0]) < 0.9
    assert places[1, 2] > places[33, 2]


def test_a_learned_correspondence_is_kept(shared, workplace, monkeypatch):
    head, learned = embedded_head(), []

    def few(face, drawn, mesh, generator):
        learned.append(face.name)
        return learn_correspondence(face, drawn, mesh, generator, faces=1)

    monkeypatch.setattr("fer_lib.faces.fitting.correspondence.learn_correspondence", few)
    first, second = (correspondence(head, head, assets.get("face_landmarker")) for _ in range(2))
    assert learned == ["embedded"]
    assert torch.equal(first.weights, second.weights)
    assert len(list((workplace / "data").rglob("correspondence_*.npz"))) == 1
