from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_lib.faces.action_units import MAX_INTENSITY, action_units
from fer_lib.faces.expression import (
    MAX_GAZE,
    VALENCE_AROUSAL,
    clip_expression,
    prototype,
    prototype_coefficients,
    sample_expression,
    valence_arousal,
)
from fer_lib.labels import AU_COLUMNS, EMOTIONS

ICT_NAMES = tuple(
    f"{name}{end}"
    for name, ends in {
        **dict.fromkeys(
            "browDown browInnerUp browOuterUp cheekPuff cheekSquint eyeBlink eyeLookDown eyeLookIn "
            "eyeLookOut eyeLookUp eyeSquint eyeWide mouthDimple mouthFrown mouthLowerDown "
            "mouthPress mouthSmile mouthStretch mouthUpperUp noseSneer".split(), ("_L", "_R")),
        **dict.fromkeys(
            "jawForward jawLeft jawOpen jawRight mouthClose mouthFunnel mouthLeft mouthPucker "
            "mouthRight mouthRollLower mouthRollUpper mouthShrugLower mouthShrugUpper".split(),
            ("",)),
    }.items()
    for end in ends
)
NAMES = (*AU_COLUMNS, "gaze_x", "gaze_y", "au12_left", "au12_right", "au14_left", "au14_right")


def test_every_emotion_has_a_pattern_of_known_units():
    for emotion in EMOTIONS:
        pattern = prototype(emotion)
        assert {name.split("_")[0] for name in pattern} <= set(AU_COLUMNS)
        assert bool(pattern) == (emotion != "neutral")


def test_patterns_differ_between_emotions():
    patterns = [tuple(sorted(prototype(emotion).items())) for emotion in EMOTIONS]
    assert len(set(patterns)) == len(EMOTIONS)


def test_contempt_is_on_one_side_and_the_others_on_both():
    assert all(name.endswith("_right") for name in prototype("contempt", "right"))
    for emotion in EMOTIONS[:-1]:
        assert prototype(emotion, "left") == prototype(emotion, "right")


def test_synonyms_are_understood_and_unknown_words_refused():
    assert prototype("Happy") == prototype("happiness")
    with pytest.raises(ValueError):
        prototype("hungry")
    with pytest.raises(ValueError, match="side"):
        prototype("contempt", "front")


def test_coefficients_follow_the_names_whatever_their_order():
    forward = prototype_coefficients("fear", NAMES)
    backward = prototype_coefficients("fear", NAMES[::-1])
    assert torch.equal(forward, backward.flip(0))
    assert float(forward[NAMES.index("au05")]) == pytest.approx(prototype("fear")["au05"])


def test_same_seed_same_expression():
    draws = [
        sample_expression("anger", torch.Generator().manual_seed(5), NAMES)[0] for _ in range(2)
    ]
    assert torch.equal(*draws)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), emotion=st.sampled_from(EMOTIONS), noise=st.floats(0, 2))
def test_draws_stay_in_range(seed, emotion, noise):
    psi, intensity = sample_expression(emotion, torch.Generator().manual_seed(seed), NAMES, noise)
    gaze = torch.tensor([name.startswith("gaze") for name in NAMES])
    assert 0.5 <= intensity <= 1.15
    assert float(psi[~gaze].min()) >= 0.0 and float(psi[~gaze].max()) <= MAX_INTENSITY
    assert float(psi[gaze].abs().max()) <= MAX_GAZE + 1e-6


def ict_draws(emotion, count=300, **settings):
    generator = torch.Generator().manual_seed(0)
    drawn = [sample_expression(emotion, generator, ICT_NAMES, **settings) for _ in range(count)]
    return torch.stack([psi for psi, _ in drawn])


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_draws_of_blendshapes_stay_in_range_and_show_the_emotion(emotion):
    psi = ict_draws(emotion, count=60)
    assert float(psi.min()) >= 0.0 and float(psi.max()) <= 1.0
    shown = action_units(psi, ICT_NAMES).mean(0)
    for name, value in prototype(emotion).items():
        assert 0.6 * value < float(shown[AU_COLUMNS.index(name.split("_")[0])]) < 1.3 * value + 0.1


def test_blendshapes_beside_the_units_appear_and_opposites_and_a_crossed_mouth_do_not():
    psi = ict_draws("surprise")
    column = {name: psi[:, k] for k, name in enumerate(ICT_NAMES)}
    for name in ("jawLeft", "mouthRight", "cheekPuff_L", "mouthFunnel", "jawForward"):
        assert 0.05 < float((column[name] > 0).float().mean()) < 0.3, name
    assert not bool((column["jawLeft"] * column["jawRight"]).any())
    assert not bool((column["mouthLeft"] * column["mouthRight"]).any())
    assert bool((column["mouthClose"] <= 0.7 * column["jawOpen"] + 1e-6).all())
    assert float(column["mouthClose"].max()) > 0.1
    apart = (column["browInnerUp_L"] - column["browInnerUp_R"]).abs()
    assert 0.01 < float(apart.mean()) < 0.2
    silent = ict_draws("neutral", noise=0.0)
    looking = torch.tensor([name.startswith(("eyeLook", "eyeBlink")) for name in ICT_NAMES])
    assert float(silent[:, ~looking].max()) < 1e-6


def test_mean_draw_is_the_scaled_pattern():
    generator = torch.Generator().manual_seed(0)
    draws = [
        sample_expression("disgust", generator, NAMES, noise=0.0, intensity_range=(0.5, 0.5))[0]
        for _ in range(600)
    ]
    mean = torch.stack(draws).mean(0)
    expected = 0.5 * (1 - 0.08) * prototype_coefficients("disgust", NAMES)
    units = [k for k, name in enumerate(NAMES) if not name.startswith("gaze") and name != "au43"]
    torch.testing.assert_close(mean[units], expected[units], atol=0.02, rtol=0)


def test_contempt_falls_on_both_sides_in_turn():
    generator = torch.Generator().manual_seed(0)
    left, right = NAMES.index("au14_left"), NAMES.index("au14_right")
    draws = torch.stack(
        [sample_expression("contempt", generator, NAMES, drop=0.0)[0] for _ in range(200)]
    )
    assert bool(((draws[:, left] > 0) != (draws[:, right] > 0)).all())
    assert 60 < int((draws[:, left] > 0).sum()) < 140


def test_dropping_everything_leaves_only_noise_and_gaze():
    psi, _ = sample_expression(
        "happiness", torch.Generator().manual_seed(2), NAMES, noise=0.0, drop=1.0
    )
    assert float(action_units(psi[None], NAMES)[0, : AU_COLUMNS.index("au43")].sum()) == 0.0


def test_a_one_sided_unit_counts_for_its_unit():
    psi = torch.zeros(1, len(NAMES))
    psi[0, NAMES.index("au12")] = 0.2
    psi[0, NAMES.index("au12_left")] = 0.5
    psi[0, NAMES.index("au12_right")] = 0.1
    units = action_units(psi, NAMES)
    assert units.shape == (1, len(AU_COLUMNS))
    assert float(units[0, AU_COLUMNS.index("au12")]) == pytest.approx(0.7)
    assert float(units.sum()) == pytest.approx(0.7)


def test_units_a_model_lacks_are_zero():
    assert float(action_units(torch.ones(3, 1), ("au01",)).sum()) == 3.0


def test_clipping_is_idempotent_and_keeps_gaze_signed():
    psi = torch.linspace(-3, 3, len(NAMES))
    once = clip_expression(psi, NAMES)
    assert torch.equal(once, clip_expression(once, NAMES))
    assert float(clip_expression(torch.tensor([-2.0]), ("gaze_x",))) == pytest.approx(-MAX_GAZE)


def test_valence_and_arousal_cover_the_emotions_and_scale_with_intensity():
    assert set(VALENCE_AROUSAL) == set(EMOTIONS)
    assert valence_arousal("neutral", 1.0) == (0.0, 0.0)
    assert valence_arousal("sadness", 0.5) == pytest.approx((-0.35, -0.20))
    assert valence_arousal("happiness", 9.0) == (1.0, 1.0)
    noisy = valence_arousal("neutral", 1.0, torch.Generator().manual_seed(0))
    assert noisy != (0.0, 0.0) and max(map(abs, noisy)) < 0.3
