import math

import pytest
import torch

from fer_lib.faces.camera import PIVOT, project, to_camera
from fer_lib.faces.light import ambient_directional, sample_light, shade
from fer_lib.faces.morphable import MorphableModel
from fer_lib.faces.normals import fan_normals
from fer_lib.faces.params import FaceParams
from fer_lib.faces.raster import barycentric, rasterise
from fer_lib.faces.render import render

RADIUS = 1.5


def make_model(points, triangles, uv=None, **changes):
    count = len(points)
    g = torch.Generator().manual_seed(0)
    fields = {
        "name": "toy", "licence": "none", "template": points, "triangles": triangles,
        "shape_basis": 0.05 * torch.randn(2, count, 3, generator=g), "shape_names": ("a", "b"),
        "expression_basis": 0.05 * torch.randn(3, count, 3, generator=g),
        "expression_names": ("au01", "au02", "au04"),
        "uv": torch.full((count, 2), 0.5) if uv is None else uv,
        "albedo_mean": torch.full((4, 6, 3), 0.5), "albedo_maps": torch.ones(1, 4, 6, 3),
        "albedo_mix": torch.tensor([[[0.1, 0.0, 0.0]]]), "albedo_names": ("red",),
        "wrinkles": torch.zeros(1, 4, 6), "wrinkle_modes": torch.tensor([1]),
        "landmark_vertices": torch.arange(68) % count, "depth_bias": torch.zeros(count),
        "gloss": torch.tensor([[0.0, 10.0]]).repeat(count, 1),
        "weld": torch.arange(count), "unit_mm": 60.0,
    }
    return MorphableModel(**(fields | changes))


def sphere(rows=40, columns=80, **changes):
    theta = torch.linspace(1e-3, math.pi - 1e-3, rows)[:, None]
    phi = torch.linspace(-math.pi, math.pi, columns + 1)[None]
    unit = [theta.sin() * phi.sin(), theta.cos() + 0 * phi, theta.sin() * phi.cos()]
    points = RADIUS * torch.stack(unit, dim=-1).flatten(0, 1) + torch.tensor(PIVOT)
    number = torch.arange(rows * (columns + 1)).view(rows, columns + 1)
    a, b = number[:-1, :-1].flatten(), number[:-1, 1:].flatten()
    c, d = number[1:, :-1].flatten(), number[1:, 1:].flatten()
    triangles = torch.cat([torch.stack([a, c, d], 1), torch.stack([a, d, b], 1)])
    uv = torch.stack(torch.broadcast_tensors(phi / (2 * math.pi) + 0.5, theta / math.pi), dim=-1)
    return make_model(points, triangles, uv.flatten(0, 1), **changes)


def face_params(count=1, kind="perspective", distance=15.0, seed=0, vary=True):
    g = torch.Generator().manual_seed(seed)
    camera = [0.2, 0.02, -0.03, distance][: 4 if kind == "perspective" else 3]
    return FaceParams(
        shape=torch.randn(count, 2, generator=g) * vary,
        expression=torch.randn(count, 3, generator=g) * vary,
        pose=torch.randn(count, 3, generator=g) * 0.3 * vary,
        camera=torch.tensor([camera]).repeat(count, 1),
        albedo=torch.randn(count, 1, generator=g) * vary,
        light=sample_light(g, count),
        camera_kind=kind,
    )


def brute_force(x, y, nearness, triangles, size):
    """The nearest front-facing triangle at every pixel in float64; -1 none, -2 in doubt."""
    x, y, nearness = x.double(), y.double(), nearness.double()
    row, column = torch.meshgrid(*[torch.arange(size, dtype=torch.float64)] * 2, indexing="ij")
    best = torch.full((size, size), -math.inf, dtype=torch.float64)
    winner = torch.full((size, size), -1)
    doubtful = torch.zeros(size, size, dtype=torch.bool)
    for number, (i, j, k) in enumerate(triangles.tolist()):
        area = (x[j] - x[i]) * (y[k] - y[i]) - (x[k] - x[i]) * (y[j] - y[i])
        if area >= 0:
            continue
        b = [
            ((x[q] - column) * (y[r] - row) - (x[r] - column) * (y[q] - row)) / area
            for q, r in ((j, k), (k, i), (i, j))
        ]
        lowest = torch.stack(b).amin(0)
        z = b[0] * nearness[i] + b[1] * nearness[j] + b[2] * nearness[k]
        inside = lowest >= 0
        doubtful |= (lowest.abs() < 1e-3) | (inside & ((z - best).abs() < 1e-6))
        closer = inside & (z > best)
        best, winner = torch.where(closer, z, best), torch.where(closer, number, winner)
    return torch.where(doubtful, -2, winner)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("spread", [4.0, 60.0], ids=["small triangles", "large triangles"])
def test_rasteriser_agrees_with_brute_force(seed, spread):
    g = torch.Generator().manual_seed(seed)
    size, count = 24, 60
    centre = torch.rand(2, count, 1, generator=g) * size
    x, y = (centre + spread * torch.randn(2, count, 3, generator=g)).flatten(1)[:, None]
    nearness = torch.rand(1, 3 * count, generator=g) * 0.8 + 0.1
    triangles = torch.arange(3 * count).view(count, 3)
    found = rasterise(x, y, nearness, triangles, size)
    got = torch.full((size * size,), -1)
    got[found.pixel] = found.corners[0] // 3
    expected = brute_force(x[0], y[0], nearness[0], triangles, size).flatten()
    sure = expected != -2
    assert sure.float().mean() > 0.8
    assert torch.equal(got[sure], expected[sure])
    weights = torch.stack(barycentric(found, x, y))
    torch.testing.assert_close(weights.sum(0), torch.ones(len(found.pixel)), atol=1e-4, rtol=0)


def test_neighbouring_triangles_leave_no_gap_and_whole_pixels_are_covered_once():
    corner = torch.tensor([[-0.5, 15.5, 15.5, -0.5]]), torch.tensor([[15.5, 15.5, -0.5, -0.5]])
    triangles = torch.tensor([[0, 1, 2], [0, 2, 3]])
    found = rasterise(*corner, torch.full((1, 4), 0.5), triangles, 16)
    assert torch.equal(found.pixel, torch.arange(256))


def test_triangles_that_face_away_or_are_not_finite_are_not_drawn():
    x, y = torch.tensor([[0.0, 8.0, 0.0, math.nan]]), torch.tensor([[8.0, 8.0, 0.0, 1.0]])
    nearness = torch.full((1, 4), 0.5)
    assert len(rasterise(x, y, nearness, torch.tensor([[0, 1, 2]]), 8).pixel) > 0
    assert len(rasterise(x, y, nearness, torch.tensor([[0, 2, 1]]), 8).pixel) == 0
    assert len(rasterise(x, y, nearness, torch.tensor([[0, 1, 3]]), 8).pixel) == 0


def test_vertex_normals_of_a_sphere_point_outwards():
    model = sphere()
    normals = fan_normals(model.template[None], model.fans)[:, 0].T
    outwards = (model.template - torch.tensor(PIVOT)) / RADIUS
    inner = outwards[:, 1].abs() < 0.98
    seam = (outwards[:, 0].abs() < 1e-3) & (outwards[:, 2] < 0)
    assert (normals * outwards).sum(1)[inner & ~seam].min() > 0.9995


def test_rendered_sphere_has_the_normals_albedo_and_shading_of_a_sphere():
    model, params, size = sphere(), face_params(kind="weak_perspective", vary=False), 96
    drawn = render(model, params, size)
    row, column = torch.meshgrid(*[torch.arange(size).float()] * 2, indexing="ij")
    middle = (size - 1) / 2
    x = (column - middle - 0.02 * size) / (0.2 * size * RADIUS)
    y = -(row - middle + 0.03 * size) / (0.2 * size * RADIUS)
    inside = x**2 + y**2 < 0.8
    expected = torch.stack([x, y, (1 - x**2 - y**2).clamp_min(0).sqrt()])
    assert (drawn.normals[0] - expected)[:, inside].abs().max() < 0.03
    assert drawn.mask[0, 0][inside].min() == 1
    assert drawn.mask[0, 0][x**2 + y**2 > 1.1].max() == 0
    torch.testing.assert_close(drawn.albedo[0][:, inside], torch.full((3, inside.sum()), 0.5))
    shading = shade(expected[:, inside], params.light[0])
    assert (drawn.shading[0][:, inside] - shading).abs().max() < 0.03
    linear = (0.5 * shading).clamp(0, 1)
    assert (drawn.image[0][:, inside] - linear ** (1 / 2.2)).abs().max() < 0.03


def test_texture_is_read_where_uv_points():
    atlas = torch.zeros(4, 6, 3)
    atlas[..., 0], atlas[..., 1] = torch.linspace(0, 1, 6), torch.linspace(0, 1, 4)[:, None]
    points = torch.tensor([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]]) + torch.tensor(PIVOT)
    uv = torch.tensor([[0.0, 1], [1, 1], [1, 0], [0, 0]])
    model = make_model(points, torch.tensor([[0, 1, 2], [0, 2, 3]]), uv, albedo_mean=atlas)
    params = face_params(kind="weak_perspective", vary=False)
    params = params.replace(camera=torch.tensor([[0.5, 0.0, 0.0]]))
    drawn = render(model, params, 32).albedo[0]
    centres = (torch.arange(32) + 0.5) / 32
    torch.testing.assert_close(drawn[0], centres.expand(32, 32), atol=1e-4, rtol=0)
    torch.testing.assert_close(drawn[1], centres[:, None].expand(32, 32), atol=1e-4, rtol=0)


def test_nearer_surface_hides_farther_one_unless_its_depth_is_biased():
    square = torch.tensor([[-1.0, -1], [1, -1], [1, 1], [-1, 1]])
    near = torch.cat([square * 0.5, torch.full((4, 1), 0.10)], 1)
    far = torch.cat([square, torch.zeros(4, 1)], 1)
    points = torch.cat([near, far]) + torch.tensor(PIVOT)
    triangles = torch.tensor([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]])
    atlas = torch.zeros(2, 2, 3)
    atlas[:, 0], atlas[:, 1] = torch.tensor([1.0, 0, 0]), torch.tensor([0, 1.0, 0])
    uv = torch.tensor([[0.0, 0]] * 4 + [[1.0, 0]] * 4)
    flat = {"albedo_maps": torch.ones(1, 2, 2, 3), "wrinkles": torch.zeros(1, 2, 2)}
    colours = flat | {"albedo_mean": atlas}
    for kind in ("perspective", "weak_perspective"):
        params = face_params(kind=kind, vary=False)
        for bias, seen in ((0.05, 0), (0.15, 1)):
            pushed = torch.tensor([bias] * 4 + [0.0] * 4)
            model = make_model(points, triangles, uv, depth_bias=pushed, **colours)
            middle = render(model, params, 33).albedo[0, :, 15:18, 15:18]
            assert (middle[seen] == 1).all(), (kind, bias)


@pytest.mark.parametrize("supersample", [1, 2])
@pytest.mark.parametrize("kind", ["perspective", "weak_perspective"])
def test_landmarks_lie_where_their_vertex_is_drawn(kind, supersample):
    g = torch.Generator().manual_seed(5)
    spot = 0.012 * torch.tensor([[-1.0, -1, 0], [1, -1, 0], [0, 2, 0]])
    for _ in range(5):
        centre = torch.tensor(PIVOT) + torch.randn(3, generator=g) * torch.tensor([0.7, 0.7, 0.3])
        points = torch.cat([centre[None], centre + 20 * spot])
        first = torch.zeros(68, dtype=torch.int64)
        model = make_model(points, torch.tensor([[1, 2, 3]]), landmark_vertices=first)
        params = face_params(kind=kind, seed=7).replace(
            shape=torch.zeros(1, 2), expression=torch.zeros(1, 3)
        )
        drawn = render(model, params, 64, supersample)
        mask = drawn.mask[0, 0]
        line = torch.arange(64).float()
        centroid = torch.stack([(mask.sum(0) @ line), (mask.sum(1) @ line)]) / mask.sum()
        torch.testing.assert_close(drawn.landmarks_px[0, 0], centroid, atol=0.35, rtol=0)


def test_pivot_projects_to_the_shifted_image_centre_by_the_pixel_centre_convention():
    params = face_params(seed=3)
    seen = project(to_camera(torch.tensor([[PIVOT]]), params.pose), params, 100)
    assert seen.x_px.item() == pytest.approx(49.5 + 2)
    assert seen.y_px.item() == pytest.approx(49.5 - 3)


def test_perspective_tends_to_weak_perspective_with_distance():
    model = sphere(12, 24)
    near, far, weak = (
        render(model, face_params(kind=kind, distance=distance), 128).landmarks_px
        for kind, distance in (
            ("perspective", 12.0), ("perspective", 1e5), ("weak_perspective", 0.0)
        )
    )
    assert (far - weak).abs().max() < 0.01
    assert (near - weak).abs().max() > 1


def test_a_face_is_the_same_alone_and_in_a_batch_bit_for_bit():
    model, params = sphere(), face_params(5)
    background = torch.rand(5, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    together = render(model, params, 48, background=background)
    for k in range(5):
        alone = render(model, params[k], 48, background=background[k : k + 1])
        for name in ("image", "mask", "landmarks_px", "normals", "albedo", "shading"):
            assert torch.equal(getattr(together, name)[k], getattr(alone, name)[0]), name


def test_background_shows_unchanged_where_the_head_is_not():
    background = torch.rand(1, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    drawn = render(sphere(), face_params(), 48, background=background)
    outside = drawn.mask[0, 0] == 0
    assert outside.any()
    assert (drawn.image - background)[0][:, outside].abs().max() < 1e-3


def test_empty_view_gives_the_background():
    params = face_params()
    params = params.replace(camera=torch.tensor([[0.2, 5.0, 0.0, 15.0]]))
    drawn = render(sphere(8, 8), params, 16, background=torch.full((1, 3, 1, 1), 0.5))
    assert drawn.mask.max() == 0
    torch.testing.assert_close(drawn.image, torch.full((1, 3, 16, 16), 0.5))


def test_highlight_stands_at_the_half_way_normal():
    aim = torch.tensor([[0.6, 0.0, 0.8]])
    light = ambient_directional(torch.full((1, 3), 0.1), torch.full((1, 3), 0.2), aim)
    params = face_params(kind="weak_perspective", vary=False).replace(light=light)
    dull, shiny = (
        render(sphere(gloss=torch.tensor([[s, 200.0]]).repeat(40 * 81, 1)), params, 96)
        for s in (0.0, 0.9)
    )
    peak = (shiny.image - dull.image)[0].sum(0).argmax()
    half_way = aim[0] + torch.tensor([0.0, 0.0, 1.0])
    normal = dull.normals[0].flatten(1)[:, peak]
    assert (normal @ (half_way / half_way.norm())).item() > 0.995


def test_gradients_reach_every_parameter_and_agree_with_finite_differences():
    model, params = sphere(20, 40), face_params(seed=2)
    tensors = ("shape", "expression", "pose", "camera", "albedo", "light")

    def loss(values):
        drawn = render(model, params.replace(**values), 32)
        return (drawn.image * drawn.mask.detach()).mean() + drawn.landmarks_px.mean() / 32

    values = {name: getattr(params, name).clone().requires_grad_() for name in tensors}
    loss(values).backward()
    for name in tensors:
        gradient = values[name].grad
        assert gradient.isfinite().all() and gradient.abs().max() > 0, name
    step = 0.01
    for name in ("light", "albedo"):
        ends = []
        for sign in (1, -1):
            moved = {n: v.detach().clone() for n, v in values.items()}
            moved[name].view(-1)[0] += sign * step
            ends.append(loss(moved).item())
        expected = (ends[0] - ends[1]) / (2 * step)
        assert values[name].grad.view(-1)[0].item() == pytest.approx(expected, rel=0.05), name


def test_geometry_gradient_inside_the_silhouette_agrees_with_finite_differences():
    atlas = torch.linspace(0.2, 0.9, 6)[None, :, None].expand(4, 6, 3).contiguous()
    points = 3 * torch.tensor([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]])
    uv = torch.tensor([[0.0, 1], [1, 1], [1, 0], [0, 0]])
    model = make_model(
        points + torch.tensor(PIVOT), torch.tensor([[0, 1, 2], [0, 2, 3]]), uv, albedo_mean=atlas
    )
    params = face_params(vary=False)
    camera = params.camera.clone().requires_grad_()
    render(model, params.replace(camera=camera), 16).image.mean().backward()
    step = torch.tensor([[0, 1e-3, 0, 0]])
    moved = [params.replace(camera=params.camera + sign * step) for sign in (1, -1)]
    ends = [render(model, each, 16) for each in moved]
    expected = (ends[0].image.mean() - ends[1].image.mean()) / 2e-3
    assert camera.grad[0, 1].item() == pytest.approx(expected.item(), rel=0.02)


def test_welded_twins_share_the_normal_of_an_unsplit_mesh():
    """Two triangles of a roof, the ridge split by a seam and not."""
    points = torch.tensor([[0.0, 0, 1], [0, 1, 1], [-1, 0, 0], [1, 0, 0]])
    whole = make_model(points, torch.tensor([[0, 1, 2], [0, 3, 1]]))
    split = make_model(
        torch.cat([points, points[:2]]), torch.tensor([[0, 1, 2], [4, 3, 5]]),
        weld=torch.tensor([0, 1, 2, 3, 0, 1]),
    )
    expected = fan_normals(whole.template[None], whole.fans)[:, 0].T
    normals = fan_normals(split.template[None], split.fans)[:, 0].T
    torch.testing.assert_close(normals, expected[split.weld], atol=0, rtol=0)
    torch.testing.assert_close(normals[4], torch.tensor([0.0, 0.0, 1.0]))
    assert whole.fans.weld is None
