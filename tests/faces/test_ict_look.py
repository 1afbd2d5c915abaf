"""How the ICT head is painted: colours in their places, closed lips, no holes, hair that grooms."""

import dataclasses

import numpy as np
import pytest
import torch

from fer_lib.faces.embedded.colours import ALBEDO_NAMES
from fer_lib.faces.embedded.fields import Chart
from fer_lib.faces.embedded.skin import brow_mask, lip_mask
from fer_lib.faces.ict import atlas
from fer_lib.faces.ict.chart import chart_positions, texel_places
from fer_lib.faces.ict.groom import IctGroom, sample_albedo, sample_groom
from fer_lib.faces.ict.head import bones, ict_head
from fer_lib.faces.light import ambient_directional
from fer_lib.faces.params import FaceParams
from fer_lib.faces.render import render

_SIZE = 160
_BALD = IctGroom(bald=True)


@pytest.fixture(scope="module")
def mannequin(shared, tmp_path_factory):
    """The head before any groom, imported into a folder of its own."""
    if not list((shared / "assets").glob("ICT-FaceKit*")):
        pytest.skip("FER_SHARED holds no archive of ICT-FaceKit")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FER_DATA", str(tmp_path_factory.mktemp("ict")))
        return bones().mannequin


@pytest.fixture(scope="module")
def head(mannequin):
    """The mean head without hair on the skull."""
    return ict_head(_BALD)


def _expression(model, **strength):
    psi = torch.zeros(len(model.expression_names))
    for k, name in enumerate(model.expression_names):
        psi[k] = strength.get(name, strength.get(name[:-2], 0.0))
    return psi


def _params(model, psi, beta=None, yaw=0.0):
    count = len(psi)
    even = torch.full((count, 3), 0.5)
    towards = torch.tensor([[0.0, 0.0, 1.0]]).expand(count, 3)
    return FaceParams(
        shape=torch.zeros(count, 100) if beta is None else beta,
        expression=psi,
        pose=torch.tensor([[0.0, yaw, 0.0]]).repeat(count, 1),
        camera=torch.tensor([[0.3, 0.0, 0.0, 16.0]]).repeat(count, 1),
        albedo=torch.zeros(count, len(ALBEDO_NAMES)),
        light=ambient_directional(even, even, towards),
    )


def _texel(model, vertices):
    """Mean albedo at vertices, (n,3)."""
    width, height = atlas.WIDTH - 1, atlas.HEIGHT - 1
    column, row = (model.uv[vertices] * torch.tensor([width, height])).round().long().T
    return model.albedo_mean[row, column]


def _seen_sources(model, params):
    """Numbers in the file of the vertices seen at the pixels of a render without averaging."""
    fragments = render(model, params, _SIZE, supersample=1).surface.fragments
    return bones().source[fragments.corners[0].numpy()]


def _inside(sources):
    """Which vertices belong to the inside of the mouth."""
    return ((sources >= 11_248) & (sources < 13_294)) | ((sources >= 14_062) & (sources < 21_451))


def test_pupil_and_iris_lie_where_the_eye_is_seen(head, mannequin):
    bare = mannequin.bare
    for side in (-1, 1):
        ball = np.flatnonzero(atlas.part(bare, "eye") & (side * bare.rest[:, 0] > 0))
        aside = np.hypot(bare.rest[ball, 0] - side * 0.5, bare.rest[ball, 1])
        front = bare.rest[ball, 2] > 1.2
        pupil, iris, white = (
            _texel(head, ball[front & (aside > low) & (aside < high)]).mean()
            for low, high in ((-1, 0.030), (0.050, 0.085), (0.115, 0.15))
        )
        assert pupil < 0.02 < iris < 0.25 < 0.4 < white


def test_no_iris_behind_the_cornea_is_drawn():
    numbers = np.arange(26_719)
    drawn = atlas.is_drawn(numbers)
    assert drawn[:22_221].all() and drawn[23_021:23_791].all()
    assert not drawn[22_221:23_021].any() and not drawn[23_791:].any()


def test_lips_are_red_and_nothing_around_them_is(head, mannequin):
    points = bones().tensors["landmark_vertices"].numpy()
    colour = _texel(head, points)
    redness = colour[:, 0] / colour[:, 1]
    chart = mannequin.chart
    lips = lip_mask(Chart(chart.x[points], chart.y[points], *[np.ones(68)] * 2))
    assert lips[[49, 50, 51, 52, 53, 55, 56, 57, 58]].min() > 0.3
    assert lips[:48].max() < 1e-3
    red = (lip_mask(chart) > 0.99) & atlas.part(mannequin.bare, "skin")
    inside = _texel(head, np.flatnonzero(red))
    assert (inside[:, 0] / inside[:, 1]).mean() > 1.3 * redness[[27, 28, 31, 35]].mean()


def test_brows_cover_the_brow_landmarks(head, mannequin):
    chart = mannequin.chart
    rng = np.random.default_rng(0)
    mask = brow_mask(chart, _BALD, rng) * atlas.part(mannequin.bare, "skin")
    brow = mask > 0.5
    place = mannequin.bare.rest[brow]
    for side, points in ((-1, slice(17, 22)), (1, slice(22, 27))):
        ridge = mannequin.bare.rest[mannequin.bare.landmarks[points]]
        mine = place[side * place[:, 0] > 0]
        assert np.abs(mine[:, 1].mean() - ridge[:, 1].mean()) < 0.1
        assert mine[:, 2].min() > 0.7


def test_albedo_is_linear_in_alpha(head, generator):
    first, second = 0.05 * torch.randn(2, len(ALBEDO_NAMES), generator=generator)
    still = torch.zeros(1, len(head.expression_names))
    a, b, both, none = (
        head.albedo(alpha[None], still) for alpha in (first, second, first + second, 0 * first)
    )
    # Below 0 the albedo is cut off.
    kept = (torch.stack([a, b, both, none]) > 0).all(0)
    assert kept.float().mean() > 0.5
    torch.testing.assert_close((a + b)[kept], (both + none)[kept], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("mode", "low", "high"),
    [
        ("browInnerUp_L", 0.4, 1.2),
        ("browDown_R", 0.0, 0.7),
        ("cheekSquint_L", -0.6, 0.4),
        ("mouthSmile_R", -1.4, -0.3),
        ("mouthShrugLower", -2.0, -1.1),
    ],
)
def test_folds_lie_where_their_muscle_pulls(head, mannequin, mode, low, high):
    layer = head.wrinkles[
        head.wrinkle_modes.tolist().index(head.expression_names.index(mode))
    ].numpy()
    _, place = texel_places(mannequin.bare, chart_positions(mannequin.bare))
    strong = np.abs(layer) > 0.3 * np.abs(layer).max()
    at = place[strong]
    assert np.abs(layer).max() > 0.04
    assert low < at[:, 1].min() and at[:, 1].max() < high
    if mode[-2:] in ("_L", "_R"):
        assert ((at[:, 0] > -0.15) if mode.endswith("L") else (at[:, 0] < 0.15)).all()


def test_folds_are_on_skin_alone(head, mannequin):
    everywhere = head.wrinkles.abs().amax(0).numpy()
    face = np.zeros_like(everywhere, dtype=bool)
    face[atlas.FACE.where] = True
    assert everywhere[~face].max() == 0
    assert everywhere[mannequin.canvas.lips > 0.99].max() < 0.01


def test_closed_mouth_shows_no_teeth_and_open_mouth_does(head):
    psi = torch.stack([_expression(head), _expression(head, jawOpen=0.5, mouthUpperUp=0.7)])
    closed, opened = (_seen_sources(head, _params(head, p[None])) for p in psi)
    inside = [
        ((s >= 11_248) & (s < 13_294)) | ((s >= 14_062) & (s < 21_451)) for s in (closed, opened)
    ]
    assert inside[0].sum() == 0
    assert inside[1].sum() > 50


def test_most_subjects_keep_their_lips_closed(head, generator):
    beta = torch.randn(6, 100, generator=generator).clamp(-2.5, 2.5)
    psi = _expression(head)[None].repeat(6, 1)
    sources = _seen_sources(head, _params(head, psi, beta))
    assert _inside(sources).sum() < 6 * 20


@pytest.mark.parametrize("yaw", [0.0, 0.44])
def test_no_background_shows_through_the_face(head, yaw):
    psi = torch.stack(
        [
            _expression(head),
            _expression(head, jawOpen=1.0),
            _expression(head, eyeBlink=1.0, mouthFunnel=1.0),
            _expression(head, eyeWide=1.0, eyeLookIn=0.8, mouthSmile=1.0, jawOpen=0.3),
        ]
    )
    mask = render(head, _params(head, psi, yaw=yaw), _SIZE, supersample=1).mask[:, 0] > 0.5
    for row in mask.numpy():
        across = np.maximum.accumulate(row, 1) & np.maximum.accumulate(row[:, ::-1], 1)[:, ::-1]
        down = np.maximum.accumulate(row, 0) & np.maximum.accumulate(row[::-1], 0)[::-1]
        assert not (across & down & ~row).any()


def test_sheets_join_without_a_crack_under_any_hair(mannequin):
    for groom in (_BALD, IctGroom(volume=1.0, wave=1.0, seed=3)):
        head = ict_head(groom)
        torch.testing.assert_close(head.template, head.template[head.weld], atol=1e-6, rtol=0)


def test_grooms_differ_in_hair_alone(mannequin):
    bald, hairy = ict_head(_BALD), ict_head(IctGroom(seed=5))
    chart = mannequin.chart
    below = (chart.y < 0.2) & (np.abs(chart.x) < 0.8)
    moved = (bald.template - hairy.template).norm(dim=1).numpy()
    assert moved.max() > 0.05
    assert moved[below].max() < 1e-3
    texels = mannequin.canvas.chart
    face = np.zeros_like(mannequin.ears, dtype=bool)
    face[atlas.FACE.where] = True
    face &= (texels.y < 0.15) & (texels.y > -2.0) & (texels.lateral < 0.8)
    change = (bald.albedo_mean - hairy.albedo_mean).abs().amax(-1).numpy()
    assert change.max() > 0.05
    assert change[face].max() < 0.02


def test_ears_grow_no_hair(mannequin):
    head = ict_head(IctGroom(volume=1.0, side_length=1.0, beard="full"))
    hair = head.albedo_maps[3].amax(-1).numpy()
    beard = head.albedo_maps[5].amax(-1).numpy()
    ear = mannequin.ears == 1
    assert ear.sum() > 1000
    assert max(hair[ear].max(), beard[ear].max()) == 0


def test_same_groom_gives_the_same_paint(mannequin):
    groom = IctGroom(beard="stubble", seed=9)
    first = ict_head(groom)
    ict_head.cache_clear()
    second = ict_head(groom)
    for field in dataclasses.fields(first):
        one, other = getattr(first, field.name), getattr(second, field.name)
        assert torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


def test_draws_are_reproducible_and_plausible():
    def draw(seed):
        generator = torch.Generator().manual_seed(seed)
        groom = sample_groom(generator)
        return groom, sample_albedo(generator, 3, groom)

    (groom, alpha), (again, same) = draw(4), draw(4)
    assert groom == again and torch.equal(alpha, same)
    assert alpha.shape == (3, len(ALBEDO_NAMES))
    generator = torch.Generator().manual_seed(0)
    grooms = [sample_groom(generator) for _ in range(200)]
    assert not any(g.long_hair for g in grooms)
    assert 1 <= sum(g.bald for g in grooms) < 40
    assert len({g.beard for g in grooms}) >= 4
