import numpy as np
import pytest
import torch

from fer_lib.faces.action_units import (
    BLENDSHAPES,
    MAX_INTENSITY,
    SIDES,
    action_units,
    au_coefficients,
    speaks_units,
)
from fer_lib.faces.embedded import embedded_head
from fer_lib.faces.expression import prototype, prototype_coefficients
from fer_lib.faces.mesh_points import ARKIT_NAMES
from fer_lib.labels import AU_COLUMNS, EMOTIONS

_WHOLE = {"jawOpen", "mouthPucker", "mouthRollLower", "mouthRollUpper"}
_WHOLE |= {"mouthShrugLower", "mouthShrugUpper"}
_SIDED = {shape for shapes in BLENDSHAPES.values() for shape in shapes} - _WHOLE
_LOOKS = [f"eyeLook{way}" for way in ("Down", "In", "Out", "Up")]
NAMES = (*sorted(f"{s}_{side}" for s in {*_SIDED, *_LOOKS} for side in "LR"), *sorted(_WHOLE))


def units_of(psi, names=NAMES):
    found = action_units(psi[None], names)[0]
    return {c: float(v) for c, v in zip(AU_COLUMNS, found, strict=True) if v > 1e-6}


def test_every_labelled_unit_has_blendshapes_of_arkit_and_one_to_recognise_it_by():
    assert tuple(BLENDSHAPES) == AU_COLUMNS
    arkit = {name.removesuffix("Left").removesuffix("Right") for name in ARKIT_NAMES}
    assert {shape for shapes in BLENDSHAPES.values() for shape in shapes} <= arkit
    assert len({next(iter(shapes)) for shapes in BLENDSHAPES.values()}) == len(AU_COLUMNS)


@pytest.mark.parametrize("unit", AU_COLUMNS)
@pytest.mark.parametrize("names", [NAMES, embedded_head().expression_names])
def test_a_unit_is_read_back_alone_at_any_intensity(unit, names):
    for amount in (0.2, 1.0):
        psi = au_coefficients({unit: amount}, names)
        assert 0 <= float(psi.min()) and float(psi.max()) <= 1
        assert units_of(psi, names) == pytest.approx({unit: amount}, abs=1e-6)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("emotion", EMOTIONS)
def test_units_of_every_emotion_are_read_back(emotion, side):
    psi = prototype_coefficients(emotion, NAMES, side)
    assert float(psi.max()) <= 1
    pattern = {name.split("_")[0]: value for name, value in prototype(emotion, side).items()}
    assert units_of(psi) == pytest.approx(pattern, abs=1e-5)


def test_sides_are_the_subjects_own_and_the_stronger_one_counts():
    psi = au_coefficients({"au12_left": 0.8, "au12_right": 0.3}, NAMES)
    gain = BLENDSHAPES["au12"]["mouthSmile"]
    assert float(psi[NAMES.index("mouthSmile_L")]) == pytest.approx(0.8 * gain)
    assert float(psi[NAMES.index("mouthSmile_R")]) == pytest.approx(0.3 * gain)
    assert units_of(psi) == pytest.approx({"au12": 0.8})


def test_the_eyes_look_together_and_back():
    left = au_coefficients({"gaze_x": 0.5}, NAMES)
    shown = {name for name, value in zip(NAMES, left, strict=True) if value > 0}
    assert shown == {"eyeLookOut_L", "eyeLookIn_R"}
    right = au_coefficients({"gaze_x": -0.5}, NAMES)
    shown = {name for name, value in zip(NAMES, right, strict=True) if value > 0}
    assert shown == {"eyeLookIn_L", "eyeLookOut_R"} and float(right.min()) == 0
    down = au_coefficients({"gaze_y": -0.5}, NAMES)
    assert float(down[NAMES.index("eyeLookDown_L")]) > 0 == float(down[NAMES.index("eyeLookUp_L")])


@pytest.mark.parametrize("unit", ["au99", "au26_left", "au12_front", "smile"])
def test_a_unit_that_cannot_be_shown_is_refused(unit):
    with pytest.raises(ValueError, match=unit):
        au_coefficients({unit: 0.5}, NAMES)
    with pytest.raises(ValueError, match="au06_left"):
        au_coefficients({"au06_left": 0.5}, embedded_head().expression_names)


def test_readings_are_clipped_and_never_negative():
    units = action_units(torch.stack([torch.ones(len(NAMES)), 3 * torch.eye(len(NAMES))[0]]), NAMES)
    assert float(units.min()) == 0.0 and float(units.max()) == MAX_INTENSITY
    squint = torch.zeros(1, len(NAMES))
    squint[0, [NAMES.index(f"eyeSquint_{side}") for side in "LR"]] = 0.5
    assert float(action_units(squint, NAMES)[0, AU_COLUMNS.index("au43")]) == 0.0


def test_models_of_units_and_of_blendshapes_are_told_apart():
    assert speaks_units(embedded_head().expression_names) and speaks_units(("au01",))
    assert not speaks_units(NAMES)


def movement(model, unit):
    """Landmark displacement of a unit at 1, in inter-ocular distances."""
    psi = au_coefficients({unit: 1.0}, model.expression_names)
    return np.tensordot(psi.numpy(), model.expression_basis[:, model.landmark_vertices].numpy(), 1)


# The cheek has no landmark, so AU6 is judged by the eye alone; AU23 is a change of the lips' red.
@pytest.mark.parametrize("unit", [u for u in AU_COLUMNS if u not in ("au06", "au23")])
def test_a_unit_moves_ict_about_as_far_and_the_same_way_as_the_embedded_head(unit, shared):
    from fer_lib.faces.ict import ict_head

    ours, other = movement(embedded_head(), unit), movement(ict_head(), unit)
    ratio = np.linalg.norm(other[17:]) / np.linalg.norm(ours[17:])
    assert 0.5 < ratio < 1.6, ratio
    cosine = (ours[17:] * other[17:]).sum() / np.linalg.norm(ours[17:]) / np.linalg.norm(other[17:])
    assert cosine > 0.5, cosine
