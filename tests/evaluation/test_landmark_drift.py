import numpy as np
import pytest

from fer_lib import paths
from fer_lib.datasets.pairs import expression_pairs
from fer_lib.datasets.store import Store
from fer_lib.evaluation.landmark_drift import landmark_drift_pct_iod, landmark_error_pct_iod

COLUMNS = ["eyes_drift_pct_iod", "bridge_drift_pct_iod", "pose_drift_deg", "scale_drift_pct"]


def face(width=100.0):
    """68 scattered points with the eyes' corners on one line, the outer ones `width` apart."""
    points = np.random.default_rng(0).uniform(0, 200, (1, 68, 2))
    points[0, [36, 39, 42, 45]] = [[50, 80], [80, 80], [120, 80], [50 + width, 80]]
    points[0, 27:31] = [[100, 85], [100, 95], [100, 105], [100, 115]]
    return points


def drift(edit, source):
    table = landmark_drift_pct_iod(edit, source)
    assert list(table) == COLUMNS
    return table.iloc[0].to_list()


def test_the_same_face_does_not_drift():
    assert drift(face(), face()) == [0, 0, 0, 0]
    assert landmark_error_pct_iod(face(), face()) == [0]


def test_a_translation_is_its_length_over_the_outer_eye_corners():
    moved = face() + np.array([3.0, -4.0])
    assert drift(moved, face()) == pytest.approx([5, 5, 0, 0], abs=1e-9)
    assert landmark_error_pct_iod(moved, face()) == pytest.approx([5])
    wide = face(200.0)
    assert landmark_error_pct_iod(wide + np.array([3.0, -4.0]), wide) == pytest.approx([2.5])


@pytest.mark.parametrize("degrees", [-170.0, -12.0, 30.0, 180.0])
def test_a_rotation_about_the_middle_of_the_eyes(degrees):
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    turned = (face() - [100, 80]) @ turn + [100, 80]
    eyes, bridge, pose, scale = drift(turned, face())
    chord = 2 * np.sin(abs(angle) / 2)
    # The eyes' centres are 35 px from the middle, the bridge 5 to 35 px below.
    assert [eyes, bridge] == pytest.approx([35 * chord, 20 * chord])
    assert pose == pytest.approx(abs(degrees)) and scale == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("factor", [0.9, 1.25])
def test_an_enlargement_about_the_middle_of_the_eyes(factor):
    grown = (face() - [100, 80]) * factor + [100, 80]
    step = abs(factor - 1)
    assert drift(grown, face()) == pytest.approx([35 * step, 20 * step, 0, 100 * step], abs=1e-9)


def test_lids_mouth_brows_and_jaw_do_not_count_as_drift():
    shown = face()
    still = [36, 39, 42, 45, *range(27, 31)]
    moving = np.setdiff1d(np.arange(68), still)
    shown[:, moving] += 20
    assert drift(shown, face()) == [0, 0, 0, 0]
    expected = 60 / 68 * 20 * np.sqrt(2)
    assert landmark_error_pct_iod(shown, face()) == pytest.approx([expected])


@pytest.mark.parametrize("part", [slice(None), 36, 45])
def test_an_unknown_face_is_unknown_and_leaves_the_others_alone(part):
    both = np.concatenate([face(), face() + 2]).astype(np.float32)
    lost = both.copy()
    lost[0, part] = np.nan
    for first, second in ((lost, both), (both, lost)):
        table = landmark_drift_pct_iod(first, second)
        assert table.iloc[0, [0, 2, 3]].isna().all() and (table.iloc[1] == 0).all()
        assert np.isnan(landmark_error_pct_iod(first, second)).tolist() == [True, False]


def test_a_face_on_one_place_is_no_measure():
    flat = np.zeros((1, 68, 2))
    assert np.isnan(drift(face(), flat)).all()
    assert np.isnan(drift(flat, face())[2:]).all()
    assert np.isnan(landmark_error_pct_iod(face(), flat)).all()
    assert len(landmark_drift_pct_iod(face()[:0], face()[:0])) == 0


@pytest.mark.parametrize("other", [
    face()[0], face()[:, :5], face()[..., :1], np.concatenate([face(), face()]),
    face().astype(int), face().astype(str), np.zeros((1, 478, 3)),
])  # fmt: skip
def test_other_landmarks_are_refused_in_one_sentence(other):
    for measure in (landmark_drift_pct_iod, landmark_error_pct_iod):
        with pytest.raises(ValueError, match=r"^expected floating-point landmarks [^\n]+$"):
            measure(other, face())


@pytest.fixture(scope="module")
def london():
    """Landmarks of smiling and neutral London people, person by person."""
    folder = paths.store_dir("london_224")
    if not folder.is_dir():
        pytest.skip("there is no store london_224; write it with notebook 01_preprocess")
    store = Store.open(folder)
    neutral, smiling = expression_pairs(store)
    return np.array(store.landmarks[smiling]), np.array(store.landmarks[neutral])


def test_a_smile_moves_the_face_less_than_another_person_does(london):
    smiling, neutral = london
    own = landmark_drift_pct_iod(smiling, neutral).median()
    stranger = landmark_drift_pct_iod(np.roll(smiling, 1, axis=0), neutral).median()
    assert own["bridge_drift_pct_iod"] < 0.8 * stranger["bridge_drift_pct_iod"]
    assert own["pose_drift_deg"] < 0.8 * stranger["pose_drift_deg"]
    others = np.median(landmark_error_pct_iod(np.roll(smiling, 1, axis=0), smiling))
    assert np.median(landmark_error_pct_iod(neutral, smiling)) < others
