"""The released checkpoint: its names and shapes, its own arithmetic, its order of classes."""

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional

from fer_lib.networks.arm import SharingAffinity, affinity_policy
from fer_lib.networks.arm_checkpoint import ARM_EMOTIONS, calibrate_affinity, load_arm_checkpoint
from fer_lib.networks.branches import LandmarkArm, RgbArm

RAFDB = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")


class ReleasedArm(nn.Module):
    """The published module, written again from its description: one map at a time, batch mean."""

    def __init__(self):
        super().__init__()
        self.de_albino = nn.Conv2d(1, 1, 32, stride=8, bias=False)
        self.bn = nn.BatchNorm2d(2)
        self.alpha = nn.Parameter(torch.tensor([0.8]))

    def forward(self, cells):
        maps = functional.pixel_shuffle(cells, 16)
        swept = [functional.conv2d(maps[:, i : i + 1], self.de_albino.weight, stride=8)
                 for i in range(2)]
        normalised = self.bn(torch.cat(swept, dim=1))
        own = normalised.mean(dim=1, keepdim=True)
        shared = normalised.mean(dim=(0, 1))
        return (own + self.alpha * shared).flatten(1)


class ReleasedNetwork(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(*list(torchvision.models.resnet18().children())[:-2])
        self.arm = ReleasedArm()
        self.fc = nn.Linear(121, 7)

    def forward(self, images):
        mean = torch.tensor([0.485, 0.456, 0.406]).reshape(3, 1, 1)
        std = torch.tensor([0.229, 0.224, 0.225]).reshape(3, 1, 1)
        return self.fc(self.arm(self.features((images - mean) / std)))


def released_shapes():
    """Section by section as the file lists them."""

    def norm(name, width):
        parts = dict.fromkeys(("weight", "bias", "running_mean", "running_var"), (width,))
        return {f"{name}.{part}": shape for part, shape in
                (parts | {"num_batches_tracked": ()}).items()}

    shapes = {"features.0.weight": (64, 3, 7, 7), **norm("features.1", 64)}
    for stage, (inputs, width) in {4: (64, 64), 5: (64, 128), 6: (128, 256), 7: (256, 512)}.items():
        for block in range(2):
            name = f"features.{stage}.{block}"
            first = inputs if block == 0 else width
            shapes |= {f"{name}.conv1.weight": (width, first, 3, 3), **norm(f"{name}.bn1", width)}
            shapes |= {f"{name}.conv2.weight": (width, width, 3, 3), **norm(f"{name}.bn2", width)}
        if stage > 4:
            name = f"features.{stage}.0.downsample"
            shapes |= {f"{name}.0.weight": (width, inputs, 1, 1), **norm(f"{name}.1", width)}
    shapes |= {"arm.de_albino.weight": (1, 1, 32, 32), "arm.alpha": (1,), **norm("arm.bn", 2)}
    return shapes | {"fc.weight": (7, 121), "fc.bias": (7,)}


@pytest.fixture(scope="module")
def released():
    """A network of the released kind whose batch norms have seen something."""
    torch.manual_seed(0)
    network = ReleasedNetwork().train()
    with torch.no_grad():
        network(torch.rand(3, 3, 224, 224))
        network.arm.bn.weight.copy_(torch.tensor([1.3, 0.6]))
    return network.eval()


@pytest.fixture(scope="module")
def checkpoint(released, tmp_path_factory):
    """A file as the training script writes it, the optimiser's state included."""
    path = tmp_path_factory.mktemp("arm") / "epoch59_acc0.9205.pth"
    optimiser = torch.optim.Adam(released.fc.parameters())
    released.fc(torch.ones(1, 121)).sum().backward()
    optimiser.step()
    content = {"iter": 59, "model_state_dict": released.state_dict(),
               "optimizer_state_dict": optimiser.state_dict()}
    assert content["optimizer_state_dict"]["state"]
    torch.save(content, path, _use_new_zipfile_serialization=False)
    return path


@pytest.fixture(scope="module")
def images():
    torch.manual_seed(1)
    return torch.rand(3, 3, 224, 224)


def rewritten(path, released, **changes):
    state = {name: tensor for name, tensor in released.state_dict().items()}
    for name, tensor in changes.items():
        name = name.replace("__", ".")
        if tensor is None:
            del state[name]
        else:
            state[name] = tensor
    torch.save({"model_state_dict": state}, path)
    return path


def test_the_synthetic_checkpoint_has_exactly_the_released_names_and_shapes(released):
    found = {name: tuple(tensor.shape) for name, tensor in released.state_dict().items()}
    assert found == released_shapes()


def test_every_tensor_arrives_once_and_the_optimiser_does_not(checkpoint, released):
    state = load_arm_checkpoint(checkpoint).state_dict()
    own = {"arm.affinity_mean", "arm.affinity_batches"}
    assert own < state.keys()
    assert len(state) == len(released_shapes()) + len(own)
    torch.testing.assert_close(state["trunk.layer3.1.conv2.weight"],
                               released.features[6][1].conv2.weight.detach(), rtol=0, atol=0)
    sums = sorted(float(tensor.double().sum()) for name, tensor in state.items() if name not in own)
    expected = sorted(float(t.double().sum()) for t in released.state_dict().values())
    assert sums == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_outputs_are_those_of_the_published_arithmetic(checkpoint, released, images):
    network = load_arm_checkpoint(checkpoint, SharingAffinity.BATCH)
    assert not network.training
    with torch.no_grad():
        (found, feature), expected = network(images), released(images)
    columns = [RAFDB.index(name) for name in ARM_EMOTIONS]
    torch.testing.assert_close(found, expected[:, columns], atol=1e-5, rtol=1e-5)
    weight = released.fc.weight.detach()[columns]
    torch.testing.assert_close(found, feature @ weight.T + released.fc.bias.detach()[columns],
                               atol=1e-5, rtol=1e-5)
    assert found.std(dim=0).min() > 1e-4


def test_classes_are_permuted_by_name(checkpoint, released, tmp_path):
    assert ARM_EMOTIONS == (
        "neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger"
    )
    # Row k of the file says k in its bias and its weights: RAF-DB's label less one.
    marked = rewritten(tmp_path / "marked.pth", released, fc__bias=torch.arange(7.0),
                       fc__weight=torch.arange(7.0)[:, None].expand(7, 121).clone())
    head = load_arm_checkpoint(marked).fc
    named = dict(zip(ARM_EMOTIONS, head.bias.tolist(), strict=True))
    assert named == {"surprise": 0, "fear": 1, "disgust": 2, "happiness": 3, "sadness": 4,
                     "anger": 5, "neutral": 6}
    assert torch.equal(head.weight[:, 60], head.bias)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"arm__alpha": None}, r"missing: arm\.alpha;"),
        ({"arm__mask": torch.ones(2)}, r"not expected: arm\.mask;"),
        ({"arm__affinity_mean": torch.ones(11, 11)}, r"not expected: arm\.affinity_mean;"),
        ({"fc__weight": torch.ones(8, 121)},
         r"of another shape: fc\.weight \(8, 121\) instead of \(7, 121\);"),
        ({"fc__bias": torch.full((7,), torch.nan)}, r"not finite: fc\.bias;"),
        ({"arm__alpha": None, "arm__a": torch.ones(1), "fc__bias": torch.ones(8)},
         r"missing: arm\.alpha; not expected: arm\.a; of another shape: fc\.bias"),
    ],
)  # fmt: skip
def test_anything_that_does_not_fit_is_listed(released, tmp_path, changes, sentence):
    path = rewritten(tmp_path / "other.pth", released, **changes)
    with pytest.raises(ValueError, match=r"released ARM in other\.pth, got " + sentence):
        load_arm_checkpoint(path)


def test_other_files_are_refused_in_a_sentence(tmp_path):
    resnet = {f"{i}.weight": torch.ones(1) for i in range(9)}
    torch.save({"model_state_dict": resnet}, tmp_path / "resnet.pth")
    with pytest.raises(ValueError, match=r"features\.1\.weight, .* and 1\d\d more; not expected"):
        load_arm_checkpoint(tmp_path / "resnet.pth")
    torch.save(resnet, tmp_path / "bare.pth")
    torch.save([1], tmp_path / "list.pth")
    for name in ("bare.pth", "list.pth"):
        with pytest.raises(ValueError, match=f"model_state_dict, got {name}"):
            load_arm_checkpoint(tmp_path / name)
    torch.save({"model_state_dict": {"a": 1}}, tmp_path / "number.pth")
    with pytest.raises(ValueError, match=r"model_state_dict of number\.pth"):
        load_arm_checkpoint(tmp_path / "number.pth")
    with pytest.raises(FileNotFoundError):
        load_arm_checkpoint(tmp_path / "absent.pth")


def test_calibrated_on_one_batch_the_running_answer_is_the_batch_answer(checkpoint, images):
    network = load_arm_checkpoint(checkpoint)
    with torch.no_grad():
        before = network(images).logits
        assert calibrate_affinity(network, [images[:2], images[2:]]) == 3
        running = network(images).logits
        assert (running - before).abs().max() > 1e-3
        with affinity_policy(network, SharingAffinity.BATCH):
            torch.testing.assert_close(network(images).logits, running, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(network(images[2:3]).logits, running[2:3], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "make", [lambda: RgbArm(7, 48, 4), lambda: LandmarkArm(3, 160, 2)], ids=["rgb", "landmark"]
)
def test_calibration_changes_the_affinity_only_and_weighs_images_alike(make):
    torch.manual_seed(2)
    network = make()
    side, channels = network.config["image_size"], 3 if isinstance(network, RgbArm) else 1
    faces = torch.rand(7, channels, side, side)
    network.train()
    network.trunk.eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert calibrate_affinity(network, iter([faces[:1], faces[1:]])) == 7
    assert network.training
    assert network.arm.bn.training
    assert not network.trunk.training
    after = network.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"arm.affinity_mean", "arm.affinity_batches"}
    assert network.arm.affinity is SharingAffinity.RUNNING
    mean = after["arm.affinity_mean"].clone()
    calibrate_affinity(network, faces.split(3))
    torch.testing.assert_close(network.arm.affinity_mean, mean, atol=1e-6, rtol=1e-5)


def test_calibration_without_images_or_with_broken_ones_changes_nothing():
    network = RgbArm(7, 48, 4)
    broken = [torch.full((1, 3, 48, 48), torch.nan)]
    for batches, sentence in (([], "got none"), (broken, "finite")):
        with pytest.raises(ValueError, match=sentence):
            calibrate_affinity(network, batches)
        assert network.arm.affinity_batches == 0
        assert network.arm.affinity_mean.eq(0).all()
    assert network.training
