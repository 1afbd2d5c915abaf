import json

import numpy as np
import pytest
import torch
from torch.nn import functional

from fer_lib.networks.faceapi_net import FaceApiNet, load_faceapi_net

SHARD, MANIFEST = "face_expression_model-shard1", "face_expression_model-weights_manifest.json"


@pytest.fixture(scope="module")
def folder(shared):
    path = shared / "assets" / "models" / "faceapi"
    if not (path / SHARD).is_file():
        pytest.skip("FER_SHARED has no face-api")
    return path


def images_of(count):
    generator = torch.Generator().manual_seed(1)
    coarse = torch.rand(count, 3, 6, 6, generator=generator) - 0.5
    return functional.interpolate(coarse, (112, 112), mode="bilinear")


def stored(folder):
    """The tensors by their own names and layouts, read value by value."""
    content, values, at = (folder / SHARD).read_bytes(), {}, 0
    for tensor in json.loads((folder / MANIFEST).read_text())[0]["weights"]:
        count = int(np.prod(tensor["shape"]))
        if coding := tensor.get("quantization"):
            flat = [byte * coding["scale"] + coding["min"] for byte in content[at : at + count]]
            at += count
        else:
            flat, at = np.frombuffer(content, "<f4", count, at).tolist(), at + 4 * count
        values[tensor["name"]] = torch.tensor(flat).reshape(tensor["shape"])
    assert at == len(content)
    return values


def published_answer(values, images):
    """The published forward pass, written with its own names."""

    def separable(given, name, stride=1):
        given = functional.pad(given, (0, 1, 0, 1) if stride == 2 else (1, 1, 1, 1))
        depthwise = values[f"{name}/depthwise_filter"].permute(2, 3, 0, 1)
        given = functional.conv2d(given, depthwise, stride=stride, groups=len(depthwise))
        pointwise = values[f"{name}/pointwise_filter"].permute(3, 2, 0, 1)
        return functional.conv2d(given, pointwise, values[f"{name}/bias"])

    features = images
    for block in range(4):
        if block:
            out1 = separable(features, f"dense{block}/conv0", 2).relu()
        else:
            filters = values["dense0/conv0/filters"].permute(3, 2, 0, 1)
            given = functional.pad(features, (0, 1, 0, 1))
            out1 = functional.conv2d(given, filters, values["dense0/conv0/bias"], 2).relu()
        out2 = separable(out1, f"dense{block}/conv1")
        out3 = separable((out1 + out2).relu(), f"dense{block}/conv2")
        out4 = separable((out1 + out2 + out3).relu(), f"dense{block}/conv3")
        features = (out1 + out2 + out3 + out4).relu()
    pooled = functional.avg_pool2d(features, 7, 2).flatten(1)
    return pooled @ values["fc/weights"] + values["fc/bias"]


def test_it_computes_what_the_published_code_computes(folder):
    images = images_of(3)
    with torch.no_grad():
        said = load_faceapi_net(folder / SHARD, folder / MANIFEST)(images)
    torch.testing.assert_close(said, published_answer(stored(folder), images), rtol=1e-4, atol=1e-4)
    assert (said[0] - said[1]).abs().max() > 1e-2


def test_it_has_the_published_size():
    assert sum(tensor.numel() for tensor in FaceApiNet().state_dict().values()) == 323_687


def test_an_answer_does_not_depend_on_the_batch():
    network, images = FaceApiNet().eval(), images_of(3)
    with torch.no_grad():
        torch.testing.assert_close(network(images)[1:2], network(images[1:2]))
    with pytest.raises(ValueError, match=r"\(B, 3, 112, 112\)"):
        network(images[..., :100])


def test_files_that_do_not_belong_together_are_refused(folder, tmp_path):
    shard, manifest = tmp_path / SHARD, tmp_path / MANIFEST
    content, text = (folder / SHARD).read_bytes(), (folder / MANIFEST).read_text()
    others = text.replace('"fc/bias"', '"fc/other"'), text.replace("uint8", "uint16")
    for data, listed, sentence in (
        (content[:-1], text, "list .* of the bytes"),
        (content + b"\x00", text, "329468 bytes are listed, 329469 are there"),
        (content, "no list", "list .* of the bytes"),
        (content, "[]", "list .* of the bytes"),
        (content, "{}", "list .* of the bytes"),
        (content, "[" * 100_000, "list .* of the bytes"),
        (content, others[0], r"missing: fc\.bias"),
        (content, others[1], "list .* of the bytes"),
        (content[:-4] + b"\x00\x00\xc0\x7f", text, r"not finite: fc\.bias"),
    ):
        shard.write_bytes(data)
        manifest.write_text(listed)
        with pytest.raises(ValueError, match=sentence):
            load_faceapi_net(shard, manifest)
    manifest.unlink()
    with pytest.raises(FileNotFoundError, match=r"there is no .*manifest"):
        load_faceapi_net(shard, manifest)
