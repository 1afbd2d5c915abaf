import numpy as np
import pytest

from fer_lib.evaluation.circumplex import agrees_with_emotion, circumplex_errors, intensity


def test_angle_and_intensity_by_hand():
    truth = [[0.5, 0.0], [0.5, 0.0], [-0.5, 0.05], [0.3, 0.4], [0.1, 0.1]]
    answers = [[0.0, 0.8], [-0.5, 0.0], [-0.5, -0.05], [0.6, 0.8], [0.5, 0.5]]
    errors = circumplex_errors(truth, answers)
    small = 2 * np.degrees(np.arctan2(0.05, 0.5))
    np.testing.assert_allclose(errors["angle_deg"], [90, 180, small, 0, np.nan], atol=1e-6)
    np.testing.assert_allclose(errors["intensity"][:4], [0.3, 0, 0, 0.5], atol=1e-9)
    np.testing.assert_allclose(intensity([[0.3, -0.4], [1, 1]]), [0.5, np.sqrt(2)])


def test_an_unknown_point_has_no_error():
    errors = circumplex_errors([[np.nan, 0.5], [0.5, 0.5]], [[0.5, 0.5], [0.5, np.nan]])
    assert errors.isna().all(axis=None)


@pytest.mark.parametrize("answers", [np.zeros((3, 2)), np.zeros(4), np.zeros((2, 3))])
def test_other_shapes_are_refused(answers):
    with pytest.raises(ValueError, match="expected"):
        circumplex_errors(np.zeros((2, 2)), answers)


@pytest.mark.parametrize(
    ("emotion", "kept", "dropped"),
    [
        ("neutral", [0.1, 0.1], [0.2, 0.0]),
        ("happiness", [0.21, 0.0], [0.0, 0.5]),
        ("sadness", [-0.3, 0.0], [-0.1, 0.1]),
        ("surprise", [0.3, 0.1], [0.5, 0.0]),
        ("fear", [0.0, 0.3], [0.01, 0.3]),
        ("fear", [-0.3, 0.0], [-0.3, -0.01]),
        ("disgust", [-0.31, 0.0], [-0.25, 0.0]),
        ("anger", [0.1, 0.3], [-0.5, -0.1]),
        ("contempt", [-0.25, 0.0], [0.1, 0.5]),
        ("Happy", [0.5, 0.0], [-0.5, 0.0]),
    ],
)
def test_the_cleaning_rule_draws_its_line(emotion, kept, dropped):
    assert agrees_with_emotion([emotion] * 2, [kept, dropped]).tolist() == [True, False]


def test_the_cleaning_rule_and_what_is_unknown():
    points = [[0.5, 0.5], [np.nan, 0.5], [0.5, 0.5]]
    assert agrees_with_emotion(["happy", "happy", None], points).tolist() == [True, False, False]
    with pytest.raises(ValueError, match="emotion"):
        agrees_with_emotion(["bored"], [[0.5, 0.5]])
    with pytest.raises(ValueError, match="one emotion per point"):
        agrees_with_emotion(["happy"], points)


def test_the_seed_deck_shows_a_neutral_face_that_the_rule_would_drop():
    assert not agrees_with_emotion(["neutral"], [[-0.276, 0.214]])[0]
