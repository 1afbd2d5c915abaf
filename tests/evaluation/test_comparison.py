import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_lib.evaluation.comparison import holm


def test_holms_own_steps():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.2]) == pytest.approx([0.2])
    assert holm([0.6, 0.7]) == pytest.approx([1, 1])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_correction_never_helps_and_keeps_the_order(p_values):
    corrected = holm(p_values)
    assert (corrected >= np.array(p_values) - 1e-12).all()
    assert (corrected <= 1).all()
    assert (np.diff(corrected[np.argsort(p_values, kind="stable")]) >= 0).all()
