from __future__ import annotations

import numpy as np
import pytest
import torch

from fer_lib.faces.embedded import (
    Groom,
    embedded_head,
    sample_albedo,
    sample_groom,
    sample_shape,
)
from fer_lib.faces.embedded.colours import REGIONS
from fer_lib.faces.embedded.grid import graded_lines
from fer_lib.faces.embedded.head import anatomy, vertex_normals
from fer_lib.faces.expression import prototype_coefficients
from fer_lib.labels import AU_COLUMNS, EMOTIONS

BALD = Groom(bald=True)


@pytest.fixture(scope="module")
def model():
    return embedded_head(BALD)


def grid_size() -> int:
    return len(anatomy().face)


def shaped(model, **units) -> np.ndarray:
    psi = torch.tensor([[units.get(name, 0.0) for name in model.expression_names]])
    return model.vertices(torch.zeros(1, len(model.shape_names)), psi)[0].double().numpy()


def part(name: str) -> slice:
    start = grid_size()
    for piece in anatomy().parts:
        if piece.name == name:
            return slice(start, start + len(piece.vertices))
        start += len(piece.vertices)
    raise KeyError(name)


def mirror_index(points: np.ndarray) -> np.ndarray:
    """Vertex nearest to the mirror image of each, found on the chart where seams differ."""
    chart = anatomy().grid.chart
    keys = np.stack([chart.x, chart.y, chart.upper_eye * 1e-3, chart.upper_mouth * 1e-3], -1)
    order = {tuple(np.round(key, 9) + 0.0): k for k, key in enumerate(keys)}
    flipped = keys * np.array([-1.0, 1, 1, 1])
    return np.array([order[tuple(np.round(key, 9) + 0.0)] for key in flipped])


def test_zero_coefficients_give_the_template(model):
    still = model.vertices(
        torch.zeros(1, len(model.shape_names)), torch.zeros(1, len(model.expression_names))
    )
    torch.testing.assert_close(still[0], model.template)


def test_pupils_are_one_unit_apart_at_height_zero(model):
    for name, x in (("eye_right", -0.5), ("eye_left", 0.5)):
        eye = model.template[part(name)]
        pupil = eye[eye[:, 2].argmax()]
        torch.testing.assert_close(pupil[:2], torch.tensor([x, 0.0]), atol=1e-6, rtol=0)


def test_face_and_symmetric_modes_are_mirror_symmetric(model):
    n, mirror = grid_size(), mirror_index(anatomy().face)
    flip = np.array([-1.0, 1, 1])
    fields = {"template": model.template.numpy()[:n]}
    fields |= dict(zip(model.shape_names, model.shape_basis.numpy()[:, :n], strict=True))
    for name, field in zip(model.expression_names, model.expression_basis.numpy(), strict=True):
        if not name.endswith(("_left", "_right")):
            fields[name] = field[:n]
    for name, field in fields.items():
        np.testing.assert_allclose(field[mirror] * flip, field, atol=2e-6, err_msg=name)


def test_one_sided_modes_add_up_to_the_unit_and_mirror_each_other(model):
    names, basis = model.expression_names, model.expression_basis
    mirror = torch.from_numpy(mirror_index(anatomy().face))
    for unit in ("au02", "au10", "au12", "au14"):
        left, right = (basis[names.index(f"{unit}_{side}")] for side in ("left", "right"))
        torch.testing.assert_close(left + right, basis[names.index(unit)], atol=1e-6, rtol=0)
        on_grid = left[: grid_size()][mirror] * torch.tensor([-1.0, 1, 1])
        torch.testing.assert_close(on_grid, right[: grid_size()], atol=2e-6, rtol=0)


def test_the_head_is_linear(model):
    generator = torch.Generator().manual_seed(0)
    beta = torch.randn(2, len(model.shape_names), generator=generator)
    psi = torch.rand(2, len(model.expression_names), generator=generator)
    both = model.vertices(beta, psi) - model.template
    total = model.vertices(beta.sum(0, keepdim=True), psi.sum(0, keepdim=True)) - model.template
    torch.testing.assert_close(both.sum(0), total[0], atol=1e-5, rtol=0)


def test_closed_lips_meet_and_opened_lips_part(model):
    mouth = anatomy().grid.slits["mouth"]
    upper, lower = model.template[mouth.upper], model.template[mouth.lower]
    torch.testing.assert_close(upper, lower)
    for unit in ("au12", "au15", "au17", "au18", "au20", "au14"):
        points = shaped(model, **{unit: 1.0})
        np.testing.assert_allclose(points[mouth.upper], points[mouth.lower], atol=0.01)
    opened = shaped(model, au26=1.0)
    gap = opened[mouth.upper, 1] - opened[mouth.lower, 1]
    assert gap[0] == gap[-1] == 0.0 and gap.max() > 0.3


def test_corners_of_the_slits_are_shared():
    for slit in anatomy().grid.slits.values():
        assert slit.upper[0] == slit.lower[0] and slit.upper[-1] == slit.lower[-1]
        assert not set(slit.upper[1:-1]) & set(slit.lower[1:-1])


def test_landmarks_are_distinct_and_in_order(model):
    assert len(set(model.landmark_vertices.tolist())) == 68
    points = model.landmarks(model.template[None])[0].numpy()
    x, y = points[:, 0], points[:, 1]
    for line in (range(17), range(17, 22), range(22, 27), range(31, 36), range(48, 55)):
        assert (np.diff(x[list(line)]) > 0).all()
    assert (np.diff(y[27:31]) < 0).all() and (np.diff(y[:9]) < 0).all()
    assert x[36] < x[39] < 0 < x[42] < x[45]
    assert y[37] > y[41] and y[38] > y[40] and y[43] > y[47] and y[44] > y[46]
    assert y[19] > y[37] > y[30] > y[33] > y[51] > y[62] >= y[66] > y[57] > y[8]


def test_landmarks_are_mirror_symmetric(model):
    points = model.landmarks(model.template[None])[0].numpy()
    pairs = [(k, 16 - k) for k in range(8)] + [(17 + k, 26 - k) for k in range(5)]
    pairs += [(31, 35), (32, 34), (36, 45), (37, 44), (38, 43), (39, 42), (41, 46), (40, 47)]
    pairs += [(48, 54), (49, 53), (50, 52), (60, 64), (61, 63), (59, 55), (58, 56), (67, 65)]
    for a, b in pairs:
        np.testing.assert_allclose(points[a] * [-1, 1, 1], points[b], atol=1e-5)


def test_no_triangle_is_degenerate_and_each_vertex_is_used():
    model = embedded_head(Groom(long_hair=True))
    corners = model.template[model.triangles].double()
    across = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert float(across.norm(dim=1).min()) > 1e-9
    assert len(model.triangles.unique()) == len(model.template)


def test_triangles_of_the_head_face_outward():
    fixed = anatomy()
    normals = vertex_normals(fixed.face, fixed.grid.triangles)
    chart = fixed.grid.chart
    skull = (chart.y > 0.5) | (chart.lateral > 1.0) & (chart.y > -1.0)
    outward = fixed.face[skull] - np.array([0.0, 0.2, 0.0])
    assert ((normals[skull] * outward).sum(-1) > 0).all()
    front = (np.abs(chart.x) < 0.8) & (np.abs(chart.y + 0.5) < 0.9)
    assert (normals[front][:, 2] > 0).mean() > 0.97


@pytest.mark.parametrize("name", ["eye_left", "eye_right", "upper_teeth", "torso"])
def test_parts_face_the_camera(model, name):
    where = part(name)
    inside = ((model.triangles >= where.start) & (model.triangles < where.stop)).all(1)
    corners = model.template[model.triangles[inside]]
    across = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    frontal = corners[:, :, 2].mean(1) > (0.2 if name == "torso" else 0.0)
    assert float((across[frontal, 2] > 0).float().mean()) > 0.9


def test_ears_face_away_from_the_head(model):
    for name, side in (("ear_left", 1.0), ("ear_right", -1.0)):
        where = part(name)
        inside = ((model.triangles >= where.start) & (model.triangles < where.stop)).all(1)
        corners = model.template[model.triangles[inside]]
        across = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        assert float(side * across[:, 0].sum()) > 0


@pytest.mark.parametrize("unit, intensity", [("au05", 1.25), ("au43", 1.0), ("au07", 1.0)])
def test_lids_do_not_fold(model, unit, intensity):
    grid, points = anatomy().grid, shaped(model, **{unit: intensity})
    for column in np.flatnonzero(np.abs(np.abs(grid.columns) - 0.5) < 0.2):
        line = np.flatnonzero(grid.column == column)
        line = line[(np.abs(grid.chart.y[line]) < 0.5)]
        for side in (1.0, -1.0):
            half = line[grid.chart.upper_eye[line] == side]
            heights = points[half[np.argsort(grid.chart.y[half])], 1]
            assert (np.diff(heights) > 0).all()


def test_lids_close_and_widen(model):
    lids = [model.landmark_vertices[k] for k in (37, 41)]

    def opening(**units):
        points = shaped(model, **units)
        return points[lids[0], 1] - points[lids[1], 1]

    assert opening(au43=1.0) < 0.03 < opening() < opening(au05=1.0)
    assert opening(au07=1.0) < 0.6 * opening()


def test_lids_lie_over_the_eyeball_when_closed(model):
    points, eye = shaped(model, au43=1.0), model.template[part("eye_left")].numpy()
    centre, chart = np.array([0.5, 0.0]), anatomy().grid.chart
    near = np.flatnonzero(np.hypot(*(points[: grid_size(), :2] - centre).T) < 0.12)
    near = near[points[near, 2] > 0]
    radius = eye[:, 2].max() - 1.085
    assert len(near) > 50 and (chart.x[near] > 0).all()
    depth = 1.085 + np.sqrt(radius**2 - ((points[near, :2] - centre) ** 2).sum(1))
    assert (points[near, 2] > depth - 0.03).all()


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_only_contempt_is_asymmetric(model, emotion):
    psi = prototype_coefficients(emotion, model.expression_names)[None]
    points = model.vertices(torch.zeros(1, len(model.shape_names)), psi)
    corners = model.landmarks(points)[0, [48, 54]]
    uneven = float((corners[0, 1] - corners[1, 1]).abs())
    assert (uneven > 0.03) if emotion == "contempt" else (uneven < 1e-5)


def test_action_units_move_the_face_the_way_they_are_named(model):
    rest, names = shaped(model), dict(enumerate(model.landmark_vertices.tolist()))

    def shift(landmark, axis, **units):
        return shaped(model, **units)[names[landmark], axis] - rest[names[landmark], axis]

    assert shift(21, 1, au01=1.0) > 0.08 > 0.02 > shift(17, 1, au01=1.0)
    assert shift(17, 1, au02=1.0) > 0.04
    assert shift(21, 1, au04=1.0) < -0.05 and shift(21, 0, au04=1.0) > 0.02
    assert shift(54, 1, au12=1.0) > 0.1 and shift(54, 0, au12=1.0) > 0.1
    assert shift(54, 1, au15=1.0) < -0.08
    assert shift(54, 0, au18=1.0) < -0.05 < 0.1 < shift(54, 0, au20=1.0)
    assert shift(8, 1, au26=1.0) < -0.3 and shift(27, 1, au26=1.0) == 0.0
    assert shift(51, 1, au10=1.0) > 0.04


def test_gaze_turns_the_eyes_and_nothing_else(model):
    moved = shaped(model, gaze_x=0.5, gaze_y=0.5) - shaped(model)
    assert np.abs(moved[: grid_size()]).max() == 0.0
    eye = moved[part("eye_left")]
    assert eye[0, 0] > 0.03 and eye[0, 1] > 0.03


def test_expression_names_begin_with_the_labelled_units(model):
    assert model.expression_names[: len(AU_COLUMNS)] == AU_COLUMNS


def test_grooms_share_everything_but_hair_and_paint():
    a, b = embedded_head(BALD), embedded_head(Groom(long_hair=True, beard="full", seed=9))
    assert a.triangles is b.triangles and a.shape_basis is b.shape_basis
    skin = a.landmark_vertices[17:]
    torch.testing.assert_close(a.template[skin], b.template[skin], atol=0.02, rtol=0)
    assert float((a.template - b.template).abs().max()) > 0.5
    assert not torch.equal(a.albedo_maps, b.albedo_maps)


def test_unknown_beard_is_refused():
    with pytest.raises(ValueError, match="beard"):
        Groom(beard="viking")


@pytest.mark.parametrize("male", [False, True])
def test_samples_are_reproducible_and_in_range(male):
    def draw():
        generator = torch.Generator().manual_seed(11)
        groom = sample_groom(generator, male)
        return groom, sample_shape(generator, 4, male), sample_albedo(generator, 4, groom)

    first, second = draw(), draw()
    assert first[0] == second[0]
    assert torch.equal(first[1], second[1]) and torch.equal(first[2], second[2])
    head = embedded_head(first[0])
    assert first[1].shape == (4, len(head.shape_names)) and float(first[1].abs().max()) <= 2.0
    assert first[2].shape == (4, len(head.albedo_names))


def test_sampled_albedo_is_a_possible_colour():
    generator = torch.Generator().manual_seed(3)
    for male in (False, True):
        groom = sample_groom(generator, male)
        head, alpha = embedded_head(groom), sample_albedo(generator, 3, groom)
        colour = head.albedo(alpha, torch.zeros(3, len(head.expression_names)))
        assert bool(torch.isfinite(colour).all())
        assert float((colour > 1.0).float().mean()) < 0.01
        assert 0.05 < float(colour.mean()) < 0.8


def test_region_colours_have_exact_coefficients():
    wanted = np.array([0.2, 0.4, 0.1])
    for region in REGIONS:
        found = region.mean + region.coefficients(wanted) @ region.directions
        np.testing.assert_allclose(found, wanted, atol=1e-12)


def test_populations_differ_where_they_should():
    generator = torch.Generator().manual_seed(0)
    names = embedded_head(BALD).shape_names
    means = [sample_shape(generator, 500, male).mean(0) for male in (False, True)]
    assert means[1][names.index("jaw_width")] > means[0][names.index("jaw_width")] + 0.5
    assert abs(float(means[1][names.index("eye_spacing")])) < 0.2


def test_graded_lines_pass_through_the_forced_values():
    lines = graded_lines(lambda x: 5.0 + 20.0 * (x > 1), (0.0, 0.33, 1.0, 2.0))
    assert (np.diff(lines) > 0).all()
    for value in (0.0, 0.33, 1.0, 2.0):
        assert np.abs(lines - value).min() < 1e-9
    assert ((lines > 1) & (lines < 2)).sum() > 3 * ((lines > 0) & (lines < 1)).sum()


def test_bald_crown_is_closed(model):
    grid = anatomy().grid
    edges = np.sort(grid.triangles[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), 1)
    unique, count = np.unique(edges, axis=0, return_counts=True)
    border = unique[count == 1]
    high = grid.chart.y[border].max(1) > 0.2
    behind = grid.chart.lateral[border].max(1) > 2.5
    assert not (high & ~behind).any()


def test_a_fringe_hides_the_lines_of_the_forehead():
    bare, fringed = embedded_head(BALD), embedded_head(Groom(fringe=0.4, hairline=0.9))
    line = int(bare.wrinkle_modes.tolist().index(bare.expression_names.index("au01")))
    assert float(fringed.wrinkles[line].abs().sum()) < 0.6 * float(bare.wrinkles[line].abs().sum())
    smile = int(bare.wrinkle_modes.tolist().index(bare.expression_names.index("au12")))
    torch.testing.assert_close(fringed.wrinkles[smile], bare.wrinkles[smile])
