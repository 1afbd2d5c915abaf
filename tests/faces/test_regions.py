import math

import pytest
import torch

from fer_lib.faces.mesh_points import IBUG68
from fer_lib.faces.regions import FOREHEAD, MARGINS, REGIONS, join_regions, region_masks


def square_mesh(low=50.0, high=149.0):
    """A mesh whose outline is a square: all points in its middle but for the four corners."""
    points = torch.full((478, 2), (low + high) / 2)
    points[:4] = torch.tensor([[low, low], [high, low], [high, high], [low, high]])
    return points


def box_face():
    """68 points on boxes: a jaw 80 wide, brows at y = 60, eyes 20 x 10, a mouth 40 x 20."""
    points = torch.full((68, 2), 80.0)
    points[:17] = torch.tensor([40.0, 60.0])
    points[5:9], points[9:17] = torch.tensor([40.0, 140.0]), torch.tensor([120.0, 140.0])
    points[16] = torch.tensor([120.0, 60.0])
    points[17:27, 0], points[17:27, 1] = torch.linspace(44, 116, 10), 60.0
    points[33] = torch.tensor([80.0, 100.0])
    for start, count, (x, y, w, h) in ((36, 6, (50, 70, 20, 10)), (42, 6, (90, 70, 20, 10)),
                                       (48, 12, (60, 110, 40, 20))):  # fmt: skip
        corners = torch.tensor([[x, y], [x + w, y], [x + w, y + h], [x, y + h]], dtype=torch.float)
        points[start : start + count] = corners[torch.arange(count) % 4]
    return points


def grown(width, height, margin):
    """Area of a rectangle with a margin and round corners."""
    return width * height + 2 * (width + height) * margin + math.pi * margin**2


def test_a_square_face_has_its_area_and_outside_begins_at_the_margin():
    masks = region_masks(square_mesh()[None], 200)
    assert masks["face"].sum() == 100 * 100
    margin = MARGINS["outside"] * 99
    assert 200**2 - masks["outside"].sum() == pytest.approx(grown(99, 99, margin), rel=0.03)
    assert masks["outside"][0, 100, 39] == 1 and masks["outside"][0, 100, 42] == 0
    assert (masks["face"] * masks["outside"]).sum() == 0


def test_mouth_and_eyes_have_the_area_of_their_boxes_with_margins():
    masks = region_masks(box_face()[None], 200)
    scale = masks["face"].sum().sqrt().item()
    mouth = grown(40, 20, MARGINS["mouth"] * scale)
    eyes = 2 * grown(20, 10, MARGINS["eyes"] * scale)
    assert masks["mouth"].sum().item() == pytest.approx(mouth, rel=0.06)
    assert masks["eyes"].sum().item() == pytest.approx(eyes, rel=0.06)
    assert masks["mouth"][0, 120, 80] == 1 and masks["eyes"][0, 75, 80] == 0


def test_a_forehead_is_arched_above_the_brows():
    face = region_masks(box_face()[None], 200)["face"][0]
    top = int(face.any(dim=1).nonzero()[0])
    assert top == pytest.approx(60 - FOREHEAD * 40, abs=1)
    assert face[top + 3].sum() < face[58].sum()


def test_mesh_points_give_the_mouth_and_eyes_of_their_ibug_points():
    mesh = square_mesh(10, 189)
    mesh[torch.from_numpy(IBUG68)] = box_face()
    mesh[4:7] = torch.tensor([[10.0, 10.0], [189.0, 10.0], [189.0, 189.0]])
    masks = region_masks(torch.cat((mesh, torch.zeros(478, 1)), dim=1)[None], 200)
    assert masks["mouth"][0, 120, 80] == 1 and masks["mouth"][0, 75, 60] == 0
    assert masks["eyes"][0, 75, 60] == 1 and masks["face"][0, 120, 170] == 1


def test_size_and_shape_follow_the_request():
    masks = region_masks(box_face()[None].double(), (150, 180))
    assert set(masks) == set(REGIONS)
    assert all(m.shape == (1, 150, 180) and m.dtype == torch.float32 for m in masks.values())
    doubled = region_masks(box_face()[None] * 2, 400)["face"].sum()
    assert doubled / region_masks(box_face()[None], 200)["face"].sum() == pytest.approx(4, rel=0.05)


def test_a_feather_falls_outwards_from_the_border():
    soft = region_masks(square_mesh()[None], 200, feather=10 / 99)
    assert soft["face"][0, 100, 149:161].tolist() == pytest.approx(
        [1 - step / 10 for step in range(11)] + [0], abs=1e-5
    )
    assert 0 < soft["outside"][0, 100, 35] < 1 and soft["outside"][0, 100, 0] == 1


def test_a_face_does_not_depend_on_its_batch():
    batch = torch.stack([box_face(), box_face() + 7.3, torch.full((68, 2), torch.nan)])
    together = region_masks(batch, 160)
    for number, face in enumerate(batch):
        alone = region_masks(face[None], 160)
        assert all(torch.equal(alone[name][0], together[name][number]) for name in REGIONS)


@pytest.mark.parametrize("face", [
    torch.full((68, 2), torch.nan),
    torch.full((68, 2), 30.0),
    torch.linspace(0, 99, 68)[:, None].expand(-1, 2).clone(),
    torch.where(torch.arange(68)[:, None] == 5, torch.inf, box_face()),
])  # fmt: skip
def test_unknown_or_flat_faces_have_no_region_at_all(face):
    assert all(mask.sum() == 0 for mask in region_masks(face[None], 100).values())


def test_shut_eyes_and_a_mouth_of_one_point_have_their_margins():
    face = box_face()
    face[36:48, 1] = 75.0
    face[48:60] = torch.tensor([80.0, 120.0])
    masks = region_masks(face[None], 200)
    scale = masks["face"].sum().sqrt().item()
    assert masks["eyes"].sum().item() == pytest.approx(
        2 * grown(20, 0, MARGINS["eyes"] * scale), rel=0.1
    )
    assert masks["mouth"].sum().item() == pytest.approx(
        grown(0, 0, MARGINS["mouth"] * scale), rel=0.1
    )


def test_joined_regions_hold_either_face_and_are_outside_of_both():
    first, second = (region_masks(box_face()[None] + move, 200) for move in (0.0, 20.0))
    joined = join_regions(first, second)
    assert joined["mouth"].sum() > first["mouth"].sum()
    assert joined["outside"].sum() < first["outside"].sum()
    unknown = region_masks(torch.full((1, 68, 2), torch.nan), 200)
    assert all(torch.equal(join_regions(first, unknown)[n], first[n]) for n in REGIONS)


@pytest.mark.parametrize(("landmarks", "feather", "message"), [
    (torch.zeros(1, 5, 2), 0.0, "expected landmarks"),
    (torch.zeros(0, 68, 2), 0.0, "expected landmarks"),
    (torch.zeros(68, 2), 0.0, "expected landmarks"),
    (torch.zeros(1, 68, 2, dtype=torch.long), 0.0, "floating-point landmarks"),
    (torch.zeros(1, 68, 2), -0.1, "feather of 0 or more"),
    (torch.zeros(1, 68, 2), math.nan, "feather of 0 or more"),
])  # fmt: skip
def test_other_landmarks_are_refused(landmarks, feather, message):
    with pytest.raises(ValueError, match=message):
        region_masks(landmarks, 64, feather=feather)
