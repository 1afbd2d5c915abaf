import dataclasses
import sys
import urllib.error
import warnings
import zipfile

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from fer_lib import assets
from fer_lib.evaluation.absent import Absent
from fer_lib.evaluation.image_quality import measure_quality, summarise_quality
from fer_lib.evaluation.perceptual_distance import (
    NETWORKS,
    Lpips,
    find_lpips,
    find_lpips_networks,
    load_lpips,
)
from fer_lib.media.images import read_image

lpips = pytest.importorskip("lpips", reason="the lpips package is not installed")


@pytest.fixture(scope="session")
def trunk(shared):
    """A SqueezeNet trunk, not torchvision's own."""
    if not assets.verify("squeezenet1_1_mit"):
        pytest.skip("FER_SHARED has no SqueezeNet trunk")
    return assets.get("squeezenet1_1_mit")


@pytest.fixture(scope="session")
def squeeze(trunk):
    return load_lpips("squeeze", trunk)


@pytest.fixture(scope="session")
def faces(shared):
    """Three London faces, bytes."""
    paths = sorted((shared / "data" / "london512" / "neutral").glob("*.jpg"))[:3]
    if not paths:
        pytest.skip("FER_SHARED holds no London pictures")
    return np.stack([read_image(path)[100:356:2, 128:384:2] for path in paths])


@pytest.fixture(scope="module")
def picture():
    """A picture with structure at all scales, in bytes."""
    random = np.random.default_rng(1)
    scales = [gaussian_filter(random.standard_normal((1, 64, 64, 3)), (0, s, s, 0)) for s in
              (1, 2, 4, 8)]  # fmt: skip
    field = sum(part / part.std() for part in scales)
    return (255 * np.clip(0.5 + field / 8, 0, 1)).round().astype(np.uint8)


def test_it_is_the_packages_own_network(squeeze, trunk, picture):
    """Built by the package itself, filled by torch itself, asked by the package's own call."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reference = lpips.LPIPS(net="squeeze", pnet_rand=True, verbose=False)
        spatial = lpips.LPIPS(net="squeeze", pnet_rand=True, spatial=True, verbose=False)
    state = torch.load(trunk, weights_only=True)
    for network in (reference, spatial):
        for name, parameter in network.net.named_parameters():
            parameter.data.copy_(state["features." + name.split(".", 1)[1]])
    first = torch.from_numpy(picture).permute(0, 3, 1, 2) / 255
    second = first.flip(3)
    total, where = squeeze.distances(first, second)
    with torch.no_grad():
        expected = reference(2 * first - 1, 2 * second - 1).flatten()
        expected_map = spatial(2 * first - 1, 2 * second - 1)[:, 0]
    assert total == pytest.approx(expected, abs=1e-6) and total > 0.01
    assert torch.allclose(where, expected_map, atol=1e-6)


def test_identical_images_are_at_zero(squeeze, picture):
    assert squeeze.distances(picture, picture)[0].abs().max() == 0


@pytest.mark.parametrize("shown", ["picture", "faces"])
def test_distance_grows_with_blur_and_with_noise(squeeze, shown, request):
    for one in request.getfixturevalue(shown):
        noise = np.random.default_rng(0).normal(0, 255, one.shape)
        blurred = [gaussian_filter(one, (s, s, 0)) for s in (0, 0.7, 1, 2, 4)]
        noisy = [np.clip(one + s * noise, 0, 255).astype(np.uint8) for s in (0, 0.02, 0.05, 0.1)]
        for series in (np.stack(blurred), np.stack(noisy)):
            found = squeeze.distances(series, np.stack([one] * len(series)))[0]
            assert found[0] == 0 and (found.diff() > 0.001).all()


def test_bytes_and_floats_of_one_picture_agree(squeeze, picture):
    floats = torch.from_numpy(picture).permute(0, 3, 1, 2) / 255
    expected, where = squeeze.distances(floats, floats.flip(3))
    found = squeeze.distances(picture, picture[:, :, ::-1])
    assert torch.allclose(found[0], expected, atol=1e-7)
    assert torch.allclose(found[1], where, atol=1e-6)


def test_a_region_that_is_left_alone_is_nearer(squeeze, picture):
    edited = picture.copy()
    edited[:, :, 32:] = np.random.default_rng(0).integers(0, 256, (1, 64, 32, 3))
    left = torch.zeros(1, 64, 64, dtype=torch.bool)
    left[:, :, :20] = True
    right = left.flip(2)
    masks = {"left": left, "right": right, "none": torch.zeros(1, 64, 64)}
    quality = measure_quality(edited, picture, masks, perceptual=(squeeze,))
    values = quality.values.set_index("region")["lpips_squeeze"]
    assert values["left"] < 0.5 * values["full"] < values["right"]
    assert np.isnan(values["none"])
    assert values["full"] == pytest.approx(squeeze.distances(edited, picture)[0].item(), abs=1e-6)
    assert (
        "not comparable"
        in summarise_quality(quality).set_index("metric")["note"]["lpips_squeeze"].iloc[0]
    )


def test_a_trunk_is_called_published_by_its_digest_alone(squeeze, trunk, monkeypatch):
    assert not squeeze.published
    assert "trunk 50adc2b46560; not torchvision's trunk" in squeeze.note
    own = assets.registry()["lpips_squeeze"]
    own = dataclasses.replace(own, sha256=assets.file_sha256(trunk))
    monkeypatch.setitem(assets._REGISTRY, "lpips_squeeze", own)
    assert load_lpips("squeeze", trunk).note == "version 0.1, trunk 50adc2b46560"


@pytest.mark.parametrize(("spoil", "told"), [
    (lambda x: x.astype(np.float32).transpose(0, 3, 1, 2), r"in \[0, 1\], got .*rescale them"),
    (lambda x: x.astype(np.float32).transpose(0, 3, 1, 2) / 127.5 - 1, r"in \[0, 1\], got -"),
    (lambda x: x[:, :31], "32 px or more"),
    (lambda x: x.transpose(0, 3, 1, 2), "RGB images uint8"),
    (lambda x: x.astype(np.float32).transpose(0, 3, 1, 2) * np.nan, "number 0 holds NaN"),
])  # fmt: skip
def test_a_wrong_range_size_or_layout_is_refused(squeeze, picture, spoil, told):
    with pytest.raises(ValueError, match=rf"^expected [^\n]*{told}[^\n]*$"):
        squeeze.distances(spoil(picture), spoil(picture))


def test_loading_draws_no_random_number_and_warns_of_nothing(trunk):
    before = torch.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert isinstance(find_lpips("squeeze", trunk), Lpips)
    assert torch.equal(before, torch.get_rng_state())


def test_without_weights_it_is_absent_and_nothing_is_fetched(workplace, monkeypatch):
    def refuse(*_args, **_more):
        raise urllib.error.URLError("no network in this test")

    monkeypatch.delenv("FER_SHARED", raising=False)
    monkeypatch.setattr(assets.urllib.request, "urlopen", refuse)
    found = find_lpips_networks()
    assert [part.name for part in found] == ["lpips_alex", "lpips_vgg", "lpips_squeeze"]
    for part in found:
        assert isinstance(part, Absent) and "\n" not in part.reason
        assert f"expected {part.name}, it is not here; fetch it by `fer assets" in part.reason


def test_torchvisions_trunk_goes_before_the_other_one(trunk, workplace, monkeypatch):
    state = torch.load(trunk, weights_only=True)
    state["features.0.bias"] += 1
    path = workplace / "data" / "raw" / assets.registry()["lpips_squeeze"].filename
    path.parent.mkdir(parents=True)
    torch.save(state, path)
    own = dataclasses.replace(assets.registry()["lpips_squeeze"], sha256=assets.file_sha256(path))
    monkeypatch.setitem(assets._REGISTRY, "lpips_squeeze", own)
    (found,) = find_lpips_networks(["squeeze"])
    assert found.published and found.trunk_sha256 == own.sha256
    path.write_bytes(b"other bytes")
    assert "expected squeezenet1_1-b8a52dc0.pth with sha256" in find_lpips("squeeze").reason
    path.unlink()
    (other,) = find_lpips_networks(["squeeze"])
    assert not other.published and other.trunk_sha256 == assets.file_sha256(trunk)


class Payload:
    """What pickle would call on the way: it opens a file for writing."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def saved(path, value, **more):
    torch.save(value, path, **more)
    return path


def written(path, content):
    path.write_bytes(content)
    return path


def climbing(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../data.pkl", b"\x80\x02}.")
    return path


def changed(state, **tensors):
    return state | {name.replace("_", "."): value for name, value in tensors.items()}


HOSTILE = {
    "no file": lambda path, state: path,
    "a folder": lambda path, state: path.mkdir() or path,
    "an empty file": lambda path, state: written(path, b""),
    "a text": lambda path, state: written(path, b"weights"),
    "cut short": lambda path, state: written(path, saved(path, state).read_bytes()[:9000]),
    "a list": lambda path, state: saved(path, list(state.values())),
    "no tensors": lambda path, state: saved(path, dict.fromkeys(state, 1.0)),
    "code in a zip": lambda path, state: saved(path, changed(
        state, features_0_bias=Payload(path.with_name("touched")))),
    "code in a stream": lambda path, state: saved(path, changed(
        state, features_0_bias=Payload(path.with_name("touched"))),
        _use_new_zipfile_serialization=False),
    "a zip that climbs": lambda path, state: climbing(path),
    "a layer missing": lambda path, state: saved(path, dict(list(state.items())[1:])),
    "a layer too many": lambda path, state: saved(path, changed(
        state, features_99_bias=torch.zeros(3))),
    "another shape": lambda path, state: saved(path, changed(
        state, features_0_bias=torch.zeros(3))),
    "NaN": lambda path, state: saved(path, changed(
        state, features_0_bias=torch.full((64,), torch.nan))),
}  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE)
def test_what_is_no_trunk_is_refused_and_runs_nothing(trunk, tmp_path, what):
    path = HOSTILE[what](tmp_path / "trunk.pth", torch.load(trunk, weights_only=True))
    found = find_lpips("squeeze", path)
    assert isinstance(found, Absent) and found.name == "lpips_squeeze"
    assert found.reason.startswith("expected ") and "\n" not in found.reason
    assert not (tmp_path / "touched").exists()


def test_the_trunk_of_another_network_is_refused(trunk):
    assert "out of" in find_lpips("resnet").reason
    for net in NETWORKS[:2]:
        assert f"torchvision's {net} features" in find_lpips(net, trunk).reason


def test_without_the_package_it_is_absent(trunk, monkeypatch):
    monkeypatch.setitem(sys.modules, "lpips", None)
    assert find_lpips("squeeze", trunk).reason == "expected the lpips package; install lpips"
