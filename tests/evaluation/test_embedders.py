"""Embedders by name: those that are here, those that are not and why, and our own."""

import numpy as np
import pytest
import torch

from fer_lib.evaluation.absent import Absent
from fer_lib.evaluation.embedders import OWN, find_embedder, load_embedder, load_own_embedder
from fer_lib.evaluation.identity import Faces
from fer_lib.networks.checkpoints import Lineage, save_recogniser
from fer_lib.networks.emotion_net import EmotionNet
from fer_lib.networks.identity import IDENTITY_NETS
from fer_lib.networks.mobile_identity import MobileFaceNet

LINEAGE = Lineage.of("a store", ["p1", "p2"])


@pytest.fixture
def nothing_here(monkeypatch, tmp_path):
    monkeypatch.setenv("FER_DATA", str(tmp_path))
    monkeypatch.delenv("FER_SHARED", raising=False)
    return tmp_path


@pytest.fixture
def faces():
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (4, 80, 80, 3)).astype(np.uint8)
    five = np.float32([[30, 30], [50, 30], [40, 42], [32, 52], [48, 52]])
    return Faces(images, np.tile(five, (4, 1, 1)), np.array(["a", "a", "b", "b"]))


def saved(path, emotions=()):
    torch.manual_seed(0)
    network = EmotionNet("tiny", 2, image_size=48)
    return network.eval(), save_recogniser(path, network, emotions, LINEAGE)


@pytest.mark.parametrize("name", sorted(set(IDENTITY_NETS) - {"cosface_sphere20"}))
def test_what_is_not_here_says_how_to_get_it(nothing_here, name):
    found = find_embedder(name)
    assert isinstance(found, Absent)
    assert found.name == name
    assert f"`fer assets get {name}`" in found.reason
    assert "https://github.com/" in found.reason


def test_weights_that_nobody_offers_for_download_are_asked_for(nothing_here):
    reason = find_embedder("cosface_sphere20").reason
    assert str(nothing_here / "raw" / "cosface_sphere20.pt") in reason
    assert "MuggleWang/CosFace_pytorch" in reason


def test_a_file_of_ones_own_is_found_and_a_wrong_one_is_absent(nothing_here):
    (nothing_here / "raw").mkdir()
    path = nothing_here / "raw" / "cosface_sphere20.pt"
    torch.save(MobileFaceNet().state_dict(), path)
    found = find_embedder("cosface_sphere20")
    assert "tensors of cosface_sphere20 in cosface_sphere20.pt" in found.reason
    assert load_embedder("mobilefacenet", path).spec.name == "mobilefacenet"
    torch.save(IDENTITY_NETS["cosface_sphere20"].build().state_dict(), path)
    assert find_embedder("cosface_sphere20").spec.name == "cosface_sphere20"


def test_an_unknown_network_is_refused():
    with pytest.raises(ValueError, match="expected an embedder out of cosface_sphere20,"):
        find_embedder("arcface")
    with pytest.raises(ValueError, match="expected an identity network of"):
        load_embedder("arcface", "a.pt")


def test_the_shared_networks_are_found(shared):
    for name in ("mobilefacenet", "mobileface_v2"):
        if not list((shared / "assets").rglob(f"*{name}")):
            pytest.skip(f"the shared assets have no {name}")
        assert find_embedder(name).spec.name == name


def test_our_own_embedder_is_found_among_what_was_trained(tmp_path):
    assert "run it first (fer run 04)" in find_embedder(OWN).reason
    path = tmp_path / "embedder.safetensors"
    _, digest = saved(path)
    assert find_embedder(OWN, trained={OWN: path, "own": "judge"}).spec.weights_sha256 == digest
    saved(path, ["neutral", "anger"])
    assert (
        "name the identity embedder's checkpoint" in find_embedder(OWN, trained={OWN: path}).reason
    )


def test_our_own_embedder_gives_the_features_of_the_tight_crop(faces, tmp_path):
    network, digest = saved(tmp_path / "identity.safetensors")
    embedder = load_own_embedder(tmp_path / "identity.safetensors")
    assert embedder.spec.weights_sha256 == digest
    assert embedder.spec.lineage == LINEAGE
    crops, usable = embedder.crops(faces)
    assert crops.shape == (4, 3, 48, 48)
    assert usable.all()
    with torch.no_grad():
        both = torch.cat([network.feature(crops), network.feature(crops.flip(3))], dim=1)
    expected = torch.nn.functional.normalize(both, dim=1).numpy()
    assert np.allclose(embedder.embed(faces), expected, atol=1e-5)


def test_a_judge_is_no_embedder(tmp_path):
    saved(tmp_path / "judge.safetensors", ["neutral", "anger"])
    with pytest.raises(ValueError, match=r"without emotions in judge\.safetensors"):
        load_own_embedder(tmp_path / "judge.safetensors")
