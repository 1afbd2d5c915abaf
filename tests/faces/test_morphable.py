from __future__ import annotations

import dataclasses

import pytest
import torch

from fer_lib.faces.morphable import MorphableModel


def tetrahedron(**changes) -> MorphableModel:
    """A four-vertex head small enough to check by hand."""
    parts = {
        "name": "tetrahedron",
        "licence": "none",
        "template": torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]),
        "shape_basis": torch.ones(1, 4, 3),
        "shape_names": ("away",),
        "expression_basis": torch.eye(4, 3).repeat(2, 1, 1),
        "expression_names": ("au01", "au12"),
        "triangles": torch.tensor([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]]),
        "uv": torch.zeros(4, 2),
        "albedo_mean": torch.full((4, 5, 3), 0.5),
        "albedo_maps": torch.zeros(1, 4, 5, 3).index_fill(1, torch.tensor([1, 2]), 1.0),
        "albedo_mix": torch.tensor([[[0.1, 0.0, 0.0]], [[0.0, -2.0, 0.0]]]),
        "albedo_names": ("red", "less_green"),
        "wrinkles": torch.zeros(1, 4, 5).index_fill(1, torch.tensor([2]), 0.5),
        "wrinkle_modes": torch.tensor([1]),
        "landmark_vertices": torch.arange(68) % 4,
        "depth_bias": torch.zeros(4),
        "gloss": torch.zeros(4, 2),
        "weld": torch.arange(4),
        "unit_mm": 60.0,
    }
    return MorphableModel(**{**parts, **changes})


def test_zero_coefficients_give_the_template_and_the_mean_albedo():
    model = tetrahedron()
    torch.testing.assert_close(
        model.vertices(torch.zeros(2, 1), torch.zeros(2, 2)), model.template.expand(2, 4, 3)
    )
    torch.testing.assert_close(
        model.albedo(torch.zeros(2, 2), torch.zeros(2, 2)), model.albedo_mean.expand(2, 4, 5, 3)
    )


def test_vertices_add_shape_and_expression():
    model = tetrahedron()
    moved = model.vertices(torch.tensor([[2.0]]), torch.tensor([[0.5, 0.25]]))
    expected = model.template + 2.0 + 0.75 * torch.eye(4, 3)
    torch.testing.assert_close(moved[0], expected)


def test_albedo_is_the_mean_plus_the_expanded_basis():
    model = tetrahedron()
    alpha = torch.tensor([[1.0, 0.1]])
    expected = model.albedo_mean + torch.einsum("a,ahwc->hwc", alpha[0], model.albedo_basis)
    torch.testing.assert_close(model.albedo(alpha, torch.zeros(1, 2))[0], expected)


def test_albedo_is_never_negative():
    assert float(tetrahedron().albedo(torch.tensor([[0.0, 9.0]]), torch.zeros(1, 2)).min()) == 0.0


def test_wrinkles_darken_only_their_texels_and_not_below_the_floor():
    model = tetrahedron()
    mild = model.albedo(torch.zeros(1, 2), torch.tensor([[3.0, 0.4]]))[0, :, 0, 0]
    torch.testing.assert_close(mild, torch.tensor([0.5, 0.5, 0.5 * 0.8, 0.5]))
    deep = model.albedo(torch.zeros(1, 2), torch.tensor([[0.0, 99.0]]))[0, :, 0, 0]
    torch.testing.assert_close(deep, torch.tensor([0.5, 0.5, 0.5 * 0.15, 0.5]))


def test_albedo_of_a_face_does_not_depend_on_its_batch():
    model, generator = tetrahedron(), torch.Generator().manual_seed(1)
    alpha, psi = torch.rand(3, 2, generator=generator), torch.rand(3, 2, generator=generator)
    assert torch.equal(model.albedo(alpha, psi)[1:2], model.albedo(alpha[1:2], psi[1:2]))


def test_coefficients_receive_gradients():
    model = tetrahedron()
    beta, psi = torch.zeros(1, 1, requires_grad=True), torch.zeros(1, 2, requires_grad=True)
    alpha = torch.zeros(1, 2, requires_grad=True)
    (model.vertices(beta, psi).sum() + model.albedo(alpha, psi).sum()).backward()
    assert beta.grad.item() == 12.0
    assert alpha.grad[0, 0].item() == pytest.approx(10 * 0.1)
    assert psi.grad[0, 1].item() == pytest.approx(3.0 - 5 * 3 * 0.5 * 0.5)


def test_moving_to_a_device_keeps_names_and_values():
    model = tetrahedron()
    moved = model.to("cpu")
    assert moved.name == model.name
    assert torch.equal(moved.template, model.template)


@pytest.mark.parametrize(
    "changes",
    [
        {"shape_names": ("a", "b")},
        {"expression_basis": torch.zeros(2, 5, 3)},
        {"albedo_mix": torch.zeros(2, 3, 3)},
        {"landmark_vertices": torch.zeros(5, dtype=torch.int64)},
        {"triangles": torch.tensor([[0, 1, 4]])},
    ],
)
def test_tables_that_disagree_are_refused(changes):
    with pytest.raises(ValueError, match="expected"):
        tetrahedron(**changes)


def test_model_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        tetrahedron().name = "other"


def test_boxes_of_maps_leave_nothing_out():
    generator = torch.Generator().manual_seed(0)
    maps = torch.zeros(2, 6, 7, 3)
    maps[0, 2:4, 3:5, 1] = torch.rand(2, 2, generator=generator)
    maps[1, 0, 6] = 0.2
    wrinkles = torch.zeros(1, 6, 7)
    wrinkles[0, 5, :3] = 0.4
    model = tetrahedron(albedo_mean=torch.rand(6, 7, 3, generator=generator), albedo_maps=maps,
                        albedo_mix=torch.rand(2, 2, 3, generator=generator), wrinkles=wrinkles)
    alpha, psi = torch.rand(1, 2, generator=generator), torch.tensor([[0.3, 0.7]])
    plain = model.albedo_mean + torch.einsum("a,amc,mhwc->hwc", alpha[0], model.albedo_mix, maps)
    shade = 1 - psi[0, 1] * wrinkles[0]
    expected = (plain * shade[..., None]).clamp(min=0)
    torch.testing.assert_close(model.albedo(alpha, psi)[0], expected)
    assert model._wrinkle_boxes == [(slice(5, 6), slice(0, 3))]


def test_a_map_without_content_adds_nothing():
    model = tetrahedron(albedo_maps=torch.zeros(1, 4, 5, 3), wrinkles=torch.zeros(1, 4, 5))
    colour = model.albedo(torch.ones(1, 2), torch.ones(1, 2))
    torch.testing.assert_close(colour[0], model.albedo_mean)
