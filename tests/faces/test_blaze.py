"""The detector's outputs become faces: anchors, decoding, blending."""

import numpy as np

from fer_lib.faces.blaze import INPUT_PX, anchor_centres, decode_faces


def outputs(**faces):
    """Network outputs with chosen anchors set: index to (centre, size, logit) in input pixels."""
    regressors, logits = np.zeros((896, 16), np.float32), np.full(896, -50, np.float32)
    for name, (centre, side, logit) in faces.items():
        anchor = int(name[1:])
        offset = np.array(centre) - anchor_centres()[anchor] * INPUT_PX
        regressors[anchor] = np.concatenate((offset, (side, side), np.tile(offset, 6)))
        logits[anchor] = logit
    return regressors, logits


def test_anchors_are_two_per_fine_and_six_per_coarse_cell():
    anchors = anchor_centres()
    assert anchors.shape == (896, 2)
    assert np.allclose(anchors[:4], [[1 / 32, 1 / 32]] * 2 + [[3 / 32, 1 / 32]] * 2)
    assert np.allclose(anchors[512:518], [[1 / 16, 1 / 16]] * 6)
    assert np.allclose(anchors[-1], [15 / 16, 15 / 16])
    assert np.allclose(anchors.mean(axis=0), 0.5)


def test_no_likely_anchor_is_no_face():
    boxes, points = decode_faces(*outputs())
    assert boxes.shape == (0, 4)
    assert points.shape == (0, 6, 2)


def test_a_face_is_decoded_from_its_anchor():
    boxes, points = decode_faces(*outputs(a600=((40, 60), 32, 3)))
    assert np.allclose(boxes * INPUT_PX, [[24, 44, 56, 76]], atol=1e-4)
    assert np.allclose(points * INPUT_PX, [[[40, 60]] * 6], atol=1e-4)


def test_overlapping_anchors_blend_by_score_and_distant_faces_stay_apart():
    likely, less = 4.0, 1.0
    boxes, _ = decode_faces(
        *outputs(a600=((40, 60), 32, likely), a601=((44, 60), 32, less), a2=((100, 100), 20, 2))
    )
    weights = 1 / (1 + np.exp(-np.array([likely, less])))
    left = np.average([24, 28], weights=weights)
    assert np.allclose(boxes[:, 0] * INPUT_PX, [left, 90], atol=1e-4)


def test_a_score_of_half_is_a_face_and_anything_less_is_none():
    assert len(decode_faces(*outputs(a5=((20, 20), 9, 0.0)))[0]) == 1
    assert len(decode_faces(*outputs(a5=((20, 20), 9, -1e-3)))[0]) == 0


def test_an_empty_box_and_an_extreme_logit_do_no_harm():
    boxes, _ = decode_faces(*outputs(a7=((20, 20), 0, 1e9), a9=((20, 20), 0, 5)))
    assert np.isfinite(boxes).all()
    assert len(boxes) == 2
