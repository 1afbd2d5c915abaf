"""The face encoder: sizes, missing inputs, independence of the batch, files."""

import pytest
import torch
from torch import nn

from fer_lib.faces.embedded import embedded_head
from fer_lib.networks.checkpoints import Lineage
from fer_lib.networks.face_encoder import FaceEncoder, FaceEncoderSpec, encode
from fer_lib.networks.face_encoder_file import load_face_encoder, save_face_encoder
from fer_lib.weights import save_network

SMALL = {"image_size": 32, "width": 8, "hidden": 24, "mesh_modes": 6}


def small_spec(**changes):
    options = {**SMALL, **changes}
    return FaceEncoderSpec("some", 7, 5, (0.0,) * 9, (1.0,) * 8 + (1.25,), **options)


@pytest.fixture
def network(generator):
    """A small encoder that has looked at some meshes."""
    torch.manual_seed(0)
    network = FaceEncoder(small_spec())
    base = torch.rand(478, 3, generator=generator) - 0.5
    mesh = base + 0.02 * torch.randn(20, 478, 3, generator=generator)
    network.reader.learn(mesh, torch.rand(20, 52, generator=generator))
    nn.init.normal_(network.no_mesh)
    nn.init.normal_(network.no_image)
    nn.init.normal_(network.shortcut.weight, std=0.1)
    return network.eval()


@pytest.fixture
def faces(generator):
    """Six crops with meshes in their pixels and scores."""
    crops = torch.randint(0, 256, (6, 48, 48, 3), generator=generator, dtype=torch.uint8)
    mesh = 12 + 24 * torch.rand(6, 478, 3, generator=generator)
    return crops, mesh, torch.rand(6, 52, generator=generator)


@pytest.mark.parametrize(
    ("depth", "kind"), [(18, "perspective"), (18, "weak_perspective"), (50, "perspective")]
)
def test_sizes_ranges_and_gaussian_prior(depth, kind):
    network = FaceEncoder(small_spec(depth=depth, camera_kind=kind))
    answer = network(torch.rand(3, 3, 32, 32))
    params = answer.params
    assert (params.shape.shape, params.expression.shape) == ((3, 7), (3, 9))
    assert (params.albedo.shape, params.light.shape) == ((3, 5), (3, 9, 3))
    assert params.camera.shape == (3, 4 if kind == "perspective" else 3)
    assert (params.expression > 0).all()
    assert (params.expression < torch.tensor(network.spec.psi_high)).all()
    mean, variance = answer.prior
    assert mean.shape == variance.shape == (3, 16)
    assert (variance > 0).all()
    torch.testing.assert_close(mean[:, :7], params.shape)


def test_the_published_trunk_has_the_published_number_of_convolution_weights():
    network = FaceEncoder(small_spec(width=64, image_size=128))
    convolutions = sum(
        m.weight.numel() for m in network.trunk.modules() if isinstance(m, nn.Conv2d)
    )
    # ResNet-18 without its last layer (512 x 1000 + 1000) and its norms (2 x 4800): 11,689,512.
    assert convolutions == 11_689_512 - 513_000 - 9_600


def test_nothing_in_the_network_looks_at_the_batch(network, faces):
    assert not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in network.modules())
    together = encode(network, *faces)
    alone = encode(network, *(part[2:3] for part in faces))
    torch.testing.assert_close(alone.params.shape, together.params.shape[2:3], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(alone.params.camera, together.params.camera[2:3])


def test_a_missing_mesh_takes_its_own_way_and_leaves_the_others_alone(network, faces):
    crops, mesh, scores = faces
    holed = mesh.clone()
    holed[1] = torch.nan
    partly, whole, never = (encode(network, crops, m, scores) for m in (holed, mesh, None))
    beta = partly.params.shape
    torch.testing.assert_close(beta[[0, 2, 3]], whole.params.shape[[0, 2, 3]])
    torch.testing.assert_close(beta[1], never.params.shape[1], rtol=1e-5, atol=1e-5)
    assert (beta[1] - whole.params.shape[1]).abs().max() > 1e-3


def test_the_mesh_alone_is_enough(network, faces):
    _, mesh, scores = faces
    blind = encode(network, None, mesh, scores, crop_px=48)
    hidden = network(torch.rand(6, 3, 32, 32), None, None, torch.zeros(6, dtype=torch.bool))
    assert blind.params.shape.std(0).min() > 0
    assert hidden.params.shape.std(0).max() < 1e-6
    with pytest.raises(ValueError, match="crop_px"):
        encode(network, None, mesh, scores)
    with pytest.raises(ValueError, match="images or a mesh"):
        network(None)


def test_a_calibrated_encoder_starts_from_the_average_face(faces):
    torch.manual_seed(0)
    network = FaceEncoder(small_spec())
    params = network(torch.rand(50, 3, 32, 32)).params
    shifted = params.replace(
        shape=torch.randn(50, 7) * 0.5 + 1,
        camera=params.camera * 0 + torch.tensor([0.3, 0.1, 0.0, 16]),
    )
    network.calibrate(shifted)
    nn.init.zeros_(network.head[-1].weight)
    nn.init.zeros_(network.head[-1].bias)
    answer = network(torch.rand(2, 3, 32, 32))
    assert network.calibrated
    torch.testing.assert_close(answer.params.shape[0], shifted.shape.mean(0))
    torch.testing.assert_close(answer.params.camera[0], shifted.camera[0])
    assert answer.shape_log_var[0].exp().mean().item() == pytest.approx(0.25, rel=0.3)


def test_a_file_gives_the_same_network_back(network, faces, tmp_path):
    lineage = Lineage(frozenset(["store"]), frozenset(["anna"]))
    digest = save_face_encoder(tmp_path / "encoder.safetensors", network, lineage)
    again, origin = load_face_encoder(tmp_path / "encoder.safetensors")
    assert origin == lineage
    assert again.spec == network.spec
    assert len(digest) == 64
    before, after = encode(network, *faces), encode(again, *faces)
    assert torch.equal(before.params.expression, after.params.expression)


def test_another_network_is_not_read_as_a_face_encoder(tmp_path):
    save_network(tmp_path / "other.safetensors", {"a": torch.zeros(1)}, {"emotions": []})
    with pytest.raises(ValueError, match="expected a face encoder"):
        load_face_encoder(tmp_path / "other.safetensors")


@pytest.mark.parametrize("wrong", [{"depth": 34}, {"width": 30}, {"central": 1.5}])
def test_networks_that_do_not_exist_are_refused(wrong):
    with pytest.raises(ValueError, match="expected"):
        small_spec(**wrong)


def test_a_spec_takes_its_sizes_from_the_model():
    model = embedded_head()
    spec = FaceEncoderSpec.of(model, image_size=64)
    assert (spec.n_shape, spec.n_albedo) == (len(model.shape_names), len(model.albedo_names))
    gaze = model.expression_names.index("gaze_x")
    assert spec.psi_low[gaze] == pytest.approx(-spec.psi_high[gaze])
    assert spec.psi_low[0] == 0
