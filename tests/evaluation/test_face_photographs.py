"""Metrics of face parameters on photographs: closed forms and chance levels."""

import numpy as np
import pytest
import torch

from fer_lib.evaluation.face_photographs import (
    LONDON_POINTS,
    identification_rank1,
    london_errors_pct_iod,
    pair_metrics,
    pair_table,
    paired_auc,
    pairs_rising,
    within_between_ratio,
)
from fer_lib.faces.params import FaceParams


@pytest.fixture
def random():
    return np.random.default_rng(0)


def test_london_points_of_both_lists_are_compared(random):
    hand = random.random((5, 189, 2)) * 100
    marks = np.full((5, 68, 2), np.nan)
    for theirs, own in LONDON_POINTS.values():
        marks[:, list(own)] = hand[:, list(theirs)].mean(1, keepdims=True)
    assert london_errors_pct_iod(marks, hand).shape == (5, 12)
    assert london_errors_pct_iod(marks, hand).max() < 1e-9
    eyes = hand[:, [23, 27, 25, 32]].mean(1) - hand[:, [18, 22, 20, 29]].mean(1)
    apart = np.linalg.norm(eyes, axis=1, keepdims=True)[:, None]
    moved = marks + 0.05 * apart * [0.6, 0.8]
    np.testing.assert_allclose(london_errors_pct_iod(moved, hand), 5)
    assert london_errors_pct_iod(moved, hand, without_offset=True).max() < 1e-9


@pytest.mark.parametrize("cosine", [False, True])
def test_rank_one_is_sure_of_identical_codes_and_guesses_at_noise(cosine, random):
    codes = random.normal(size=(50, 8))
    assert identification_rank1(codes, codes, cosine=cosine).value == 1
    guess = identification_rank1(random.normal(size=(50, 8)), codes, cosine=cosine)
    assert guess.value < 0.15
    assert guess.n == 50
    # A code that is the same for everybody names nobody.
    assert identification_rank1(np.ones((5, 3)), np.ones((5, 3)), cosine=cosine).value == 0


def test_cosine_forgives_a_face_that_is_exaggerated(random):
    codes = random.normal(size=(40, 5))
    louder = codes.mean(0) + 3 * (codes - codes.mean(0))
    assert identification_rank1(louder, codes, cosine=True).value == 1
    assert identification_rank1(louder, codes).value < 1


def test_the_ratio_of_steady_codes_is_zero_and_of_noise_one(random):
    codes = random.normal(size=(60, 30))
    assert within_between_ratio(codes, codes).value == 0
    noise = within_between_ratio(codes, random.normal(size=(60, 30)))
    assert noise.low < 1 < noise.high
    half = within_between_ratio(codes, codes + 0.5 * random.normal(size=(60, 30)))
    # Within: .5 sqrt(2k)/sqrt(2); between: sqrt(2 + .25) sqrt(k).
    assert half.value == pytest.approx(0.5 / 1.5, rel=0.05)
    with pytest.raises(ValueError, match="two or more people"):
        within_between_ratio(codes, codes[:5])


def test_rising_pairs_and_area_under_the_curve(random):
    neutral = np.arange(4)
    assert pairs_rising(neutral, neutral + 1).value == 1
    assert pairs_rising(neutral, neutral).value == 0
    assert paired_auc(neutral, neutral + 9).value == 1
    assert paired_auc(neutral, neutral).value == 0.5
    # Of 16 comparisons (0 1 2 3 against 1 2 3 4): 10 larger, 3 ties.
    assert paired_auc(neutral, neutral + 1).value == pytest.approx((10 + 1.5) / 16)
    chance = paired_auc(random.normal(size=80), random.normal(size=80))
    assert chance.low < 0.5 < chance.high


def test_steady_people_who_smile_score_perfectly(random):
    count, names = 6, ("jawOpen", "mouthSmile_L", "mouthSmile_R")
    hand = random.random((count, 189, 2)) * 100
    marks = np.zeros((count, 68, 2))
    for theirs, own in LONDON_POINTS.values():
        marks[:, list(own)] = hand[:, list(theirs)].mean(1, keepdims=True)
    hand[0] = np.nan
    neutral = some_params(torch.from_numpy(random.normal(size=(count, 4))).float())
    smiling = neutral.replace(expression=neutral.expression + torch.tensor([0.0, 0.5, 0.5]))
    scores = pair_metrics(neutral, smiling, names, marks, hand)
    assert scores["landmark_error_london_pct_iod"].n == count - 1
    assert scores["landmark_error_london_pct_iod"].value < 1e-5
    assert scores["beta_rank1_london_frac"].value == scores["smile_rises_frac"].value == 1
    assert scores["beta_within_between_ratio"].value == 0
    table = pair_table({"one": scores, "other": scores})
    assert len(table) == 2 * len(scores)
    swapped = pair_metrics(smiling, neutral, names, marks, hand)
    assert swapped["smile_rises_frac"].value == 0


def some_params(shape):
    count = len(shape)
    zeros = torch.zeros(count, 3)
    return FaceParams(
        shape, zeros, zeros, torch.ones(count, 3), zeros, torch.zeros(count, 9, 3),
        "weak_perspective",
    )  # fmt: skip
