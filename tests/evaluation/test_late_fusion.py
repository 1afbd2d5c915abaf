import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fer_lib.evaluation.late_fusion import choose_lambda, late_fusion, weight_table
from fer_lib.evaluation.recognition import Answers

EMOTIONS = ("neutral", "happiness", "anger", "fear")
LOGITS = arrays.arrays(float, (5, 4), elements=st.floats(-20, 20))


def answers_of(logits, labels=None, emotions=EMOTIONS):
    logits = np.asarray(logits, float)
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    labels = np.zeros(len(logits), int) if labels is None else np.asarray(labels)
    ids = np.array([f"s{i}" for i in range(len(logits))])
    return Answers(ids, labels, shifted / shifted.sum(axis=1, keepdims=True), emotions)


@settings(max_examples=50, deadline=None)
@given(LOGITS, LOGITS)
def test_fusion_is_the_softmax_of_summed_logits_and_commutes(a, b):
    fused = late_fusion(answers_of(a), answers_of(b)).probabilities
    np.testing.assert_allclose(fused, answers_of(a + b).probabilities, atol=1e-12)
    np.testing.assert_allclose(
        fused, late_fusion(answers_of(b), answers_of(a)).probabilities, atol=1e-12)


@settings(max_examples=50, deadline=None)
@given(LOGITS, st.floats(0, 5))
def test_a_rival_that_knows_nothing_changes_nothing(a, weight):
    rgb, rival = answers_of(a), answers_of(np.zeros_like(a))
    fused = late_fusion(rgb, rival, weight).probabilities
    np.testing.assert_allclose(fused, rgb.probabilities, atol=1e-12)


@settings(max_examples=50, deadline=None)
@given(LOGITS, LOGITS, st.permutations(range(4)), st.floats(0, 3))
def test_the_order_of_the_classes_does_not_matter(a, b, order, weight):
    names = tuple(EMOTIONS[i] for i in order)
    fused = late_fusion(answers_of(a), answers_of(b), weight).probabilities[:, order]
    moved = late_fusion(
        answers_of(a[:, order], emotions=names), answers_of(b[:, order], emotions=names), weight)
    np.testing.assert_allclose(moved.probabilities, fused, atol=1e-12)
    assert moved.emotions == names


def test_hand_numbers_and_weights():
    rgb = answers_of(np.log([[0.5, 0.3, 0.1, 0.1]]))
    landmark = answers_of(np.log([[0.2, 0.6, 0.1, 0.1]]))
    fused = late_fusion(rgb, landmark).probabilities[0]
    assert fused == pytest.approx(np.array([0.10, 0.18, 0.01, 0.01]) / 0.30)
    assert late_fusion(rgb, landmark, 0).probabilities == pytest.approx(rgb.probabilities)
    assert late_fusion(rgb, landmark, 0.2).predicted.tolist() == [0]
    assert late_fusion(rgb, landmark, 60).probabilities[0, 1] == pytest.approx(1)


def test_who_answers_alone_is_believed_and_silence_stays_silence():
    rgb, landmark = answers_of(np.eye(4)), answers_of(np.eye(4)[::-1])
    rgb.probabilities[[0, 1]] = np.nan
    landmark.probabilities[[1, 2]] = np.nan
    fused = late_fusion(rgb, landmark, 0.3)
    np.testing.assert_allclose(fused.probabilities[0], landmark.probabilities[0])
    np.testing.assert_allclose(fused.probabilities[2], rgb.probabilities[2])
    assert np.isnan(fused.probabilities[1]).all()
    assert fused.predicted[1] == -1
    assert late_fusion(rgb, landmark, 0).predicted.tolist() == rgb.predicted.tolist()


def test_certainties_that_contradict_each_other_give_a_distribution():
    sure = answers_of(np.zeros((1, 4)))
    sure.probabilities[:] = [1, 0, 0, 0]
    other = answers_of(np.zeros((1, 4)))
    other.probabilities[:] = [0, 1, 0, 0]
    fused = late_fusion(sure, other).probabilities[0]
    assert fused == pytest.approx([0.5, 0.5, 0, 0])


def test_lambda_is_chosen_by_accuracy_then_by_log_loss():
    labels = np.array([0, 1, 2, 3] * 5)
    hopeless = answers_of(np.eye(4)[(labels + 1) % 4], labels)
    perfect = answers_of(3 * np.eye(4)[labels], labels)
    weights = (0.0, 0.1, 0.5, 1.0, 2.0)
    table = weight_table(hopeless, perfect, weights).set_index("w")
    assert table["accuracy"].to_dict() == {0.0: 0, 0.1: 0, 0.5: 1, 1.0: 1, 2.0: 1}
    assert table["log_loss"].is_monotonic_decreasing
    assert choose_lambda(hopeless, perfect, weights) == 2.0
    assert choose_lambda(perfect, hopeless, weights) == 0.0


def test_what_cannot_be_fused_is_refused():
    a = answers_of(np.eye(4))
    with pytest.raises(ValueError, match="weight of 0 or more"):
        late_fusion(a, a, -0.1)
    with pytest.raises(ValueError, match="weight of 0 or more"):
        late_fusion(a, a, float("nan"))
    with pytest.raises(ValueError, match="same samples"):
        late_fusion(a, answers_of(np.eye(4)[:3]))
    with pytest.raises(ValueError, match="same emotions"):
        late_fusion(a, answers_of(np.eye(4), emotions=EMOTIONS[::-1]))
    with pytest.raises(ValueError, match="to choose by"):
        choose_lambda(a, a, ())
