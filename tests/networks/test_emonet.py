import os

import pytest
import torch

from fer_lib.networks.emonet import EmoNet, heatmap_landmarks, load_emonet

GROUPS = {
    "conv1", "bn1", "conv2", "conv3", "conv4", "m0", "m1", "top_m_0", "top_m_1", "conv_last0",
    "conv_last1", "bn_end0", "bn_end1", "l0", "l1", "bl0", "al0", "conv1x1_input_emo_2",
    "emo_net_2", "emo_fc_2",
}  # fmt: skip
# What the published code answers for the weights and the image below: expression, then V and A.
GOLDEN = (
    -0.520664, 1.220329, 0.375507, 0.407297, -0.510198, 0.474682, 0.516108, -0.483638,
    -0.728538, 0.539432,
)  # fmt: skip
GOLDEN_HEAT = (-1.4007, 0.1063, 0.8318)


def fill(network):
    generator = torch.Generator().manual_seed(0)
    state = network.state_dict()
    for name in sorted(name for name in state if not name.endswith("num_batches_tracked")):
        tensor = state[name]
        noise = torch.randn(tensor.shape, generator=generator)
        if name.endswith("running_var"):
            tensor.copy_(0.5 + noise.abs())
        elif tensor.dim() > 1:
            tensor.copy_(noise / (4 * tensor[0].numel()) ** 0.5)
        else:
            tensor.copy_(0.3 * noise + name.endswith("weight"))
    return network.eval()


def images_of(count):
    generator = torch.Generator().manual_seed(1)
    coarse = torch.rand(count, 3, 4, 4, generator=generator)
    return torch.nn.functional.interpolate(coarse, (256, 256), mode="bilinear")


@pytest.fixture(scope="module")
def network():
    return fill(EmoNet(8))


@pytest.fixture(scope="module")
def answers(network):
    with torch.no_grad():
        return network(images_of(2))


@pytest.mark.parametrize(("classes", "parameters"), [(8, 13_963_410), (5, 13_963_023)])
def test_the_layout_is_the_published_one(classes, parameters):
    network = EmoNet(classes)
    state = network.state_dict()
    assert sum(part.numel() for part in network.parameters()) == parameters
    assert len(state) == 682
    assert {name.split(".")[0] for name in state} == GROUPS
    head = sum(state[name].numel() for name, _ in network.named_parameters() if "emo_" in name)
    assert head == 1_856_906 - (8 - classes) * 129
    assert state["m1.b2_plus_1.bn1.running_var"].shape == (256,)
    assert state["conv4.downsample.2.weight"].shape == (256, 128, 1, 1)
    assert state["emo_net_2.6.conv3.weight"].shape == (64, 64, 3, 3)
    assert state["emo_fc_2.3.weight"].shape == (classes + 2, 128)


def test_it_computes_what_the_published_code_computes(answers):
    first = [*answers.logits[0].tolist(), answers.valence[0].item(), answers.arousal[0].item()]
    torch.testing.assert_close(first, list(GOLDEN), rtol=1e-4, atol=1e-4)
    heat = answers.heatmaps[0, :3, 30, 30]
    torch.testing.assert_close(heat, torch.tensor(GOLDEN_HEAT), rtol=1e-3, atol=1e-3)


def test_an_answer_does_not_depend_on_the_batch(network, answers):
    with torch.no_grad():
        alone = network(images_of(2)[1:])
    for together, single in zip(answers, alone, strict=True):
        torch.testing.assert_close(together[1:], single, rtol=1e-4, atol=1e-4)
    assert answers.heatmaps.shape == (2, 68, 64, 64)
    assert (answers.logits[0] - answers.logits[1]).abs().max() > 1e-3


def test_an_image_of_another_size_is_refused(network):
    with pytest.raises(ValueError, match="256, 256"):
        network(torch.zeros(1, 3, 224, 224))


def test_a_landmark_is_the_centre_of_its_largest_cell():
    heatmaps = torch.zeros(1, 68, 64, 64)
    heatmaps[0, 5, 63, 0] = 1
    points = heatmap_landmarks(heatmaps)
    assert points[0, 5].tolist() == [1.5, 253.5]
    assert points[0, 0].tolist() == [1.5, 1.5]


@pytest.mark.parametrize("new_format", [True, False])
def test_a_published_file_fits_by_name(network, tmp_path, new_format):
    # As older torch wrote it: from DataParallel, without the counters of batches.
    state = {
        f"module.{name}": tensor
        for name, tensor in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    path = tmp_path / "emonet_8.pth"
    torch.save(state, path, _use_new_zipfile_serialization=new_format)
    loaded = load_emonet(path)
    assert loaded.classes == 8 and not loaded.training
    assert all(torch.equal(loaded.state_dict()[name[7:]], state[name]) for name in state)


def spoil(state, how):
    if how == "missing":
        del state["m0.b1_4.conv2.weight"]
    if how == "not expected":
        state["m2.bn1.weight"] = torch.zeros(3)
    if how == "another shape":
        state["l0.bias"] = torch.zeros(98)
    if how == "not finite":
        state["conv1.bias"] = torch.full((64,), torch.nan)
    if how == "shape \\(9,\\)":
        state["emo_fc_2.3.bias"] = torch.zeros(9)
    if how == "shape None":
        state = {name: tensor for name, tensor in state.items() if "emo_fc_2" not in name}
    if how == "got other things":
        state["conv1.weight"] = "tensor"
    return state


@pytest.mark.parametrize(
    "how",
    ["missing", "not expected", "another shape", "not finite", "shape \\(9,\\)", "shape None",
     "got other things"],
)  # fmt: skip
def test_a_file_that_does_not_fit_is_refused(network, tmp_path, how):
    path = tmp_path / "emonet_8.pth"
    torch.save(spoil(dict(network.state_dict()), how), path)
    with pytest.raises(ValueError, match=how):
        load_emonet(path)


class Intruder:
    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (self.trace,)


def test_a_file_that_carries_code_is_refused_and_not_run(tmp_path):
    path, trace = tmp_path / "emonet_8.pth", tmp_path / "trace"
    torch.save({"emo_fc_2.3.bias": torch.zeros(10), "conv1.weight": Intruder(str(trace))}, path)
    with pytest.raises(ValueError, match="wants to import"):
        load_emonet(path)
    assert not trace.exists()


def test_a_file_cut_short_or_absent_is_refused(network, tmp_path):
    path = tmp_path / "emonet_8.pth"
    torch.save(network.state_dict(), path)
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(ValueError, match=r"emonet_8\.pth"):
        load_emonet(path)
    with pytest.raises(FileNotFoundError, match="expected a checkpoint"):
        load_emonet(tmp_path / "nothing.pth")
