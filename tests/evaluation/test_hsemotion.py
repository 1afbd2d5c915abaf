import functools
import zipfile

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from hsemotion import facial_emotions
from PIL import Image
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import nn
from torchvision.transforms.functional import normalize

from fer_lib import assets
from fer_lib.evaluation import hsemotion
from fer_lib.evaluation.judge_crops import as_images, resize_crops
from fer_lib.evaluation.judge_spec import UnavailableError
from fer_lib.labels import EMOTIONS
from fer_lib.networks.branches import RgbArm
from fer_lib.networks.checkpoints import Lineage, save_recogniser
from fer_lib.networks.emotion_net import BACKBONES, FEATURES, EmotionNet
from fer_lib.weights import load_network, save_network

WORDS = {name: name.capitalize() for name in EMOTIONS}
NAME = "small"
SMALL = hsemotion.HsemotionModel(backbone="tiny", image_size=48, affect=True)


def pictures(count=5, seed=0):
    """Smooth colour fields of several sizes and shapes, as boxes of faces have them."""
    generator = np.random.default_rng(seed)
    found = []
    for number in range(count):
        coarse = generator.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        size = (90 + 61 * number, 120 + 40 * number)
        found.append(np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)))
    return found


def with_statistics(trunk, side):
    """Take the normalisations' means and variances from pictures, as training would."""
    norms = [part for part in trunk.modules() if isinstance(part, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None
    images = as_images(resize_crops(pictures(6, seed=1), side))
    with torch.no_grad():
        trunk.train()(normalize(images, IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD))
    for norm in norms:
        # Else channels that six pictures hardly move would drown all others in new ones.
        norm.running_var.clamp_(min=0.3 * norm.running_var.mean())
    return trunk.eval()


def published(model, path, spread=0.2):
    """A random network of the published layout, as the package's own files are."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = timm.create_model(BACKBONES[model.backbone], pretrained=False)
        with_statistics(network, model.image_size)
        head = nn.Linear(network.classifier.in_features, 8 + 2 * model.affect)
        nn.init.normal_(head.weight, std=spread)
    network.classifier = head if model.affect else nn.Sequential(head)
    torch.save(network, path)
    return path


@pytest.fixture(autouse=True)
def small_model(monkeypatch):
    monkeypatch.setitem(hsemotion.MODELS, NAME, SMALL)


@pytest.fixture(scope="module")
def small_file(tmp_path_factory):
    return published(SMALL, tmp_path_factory.mktemp("published") / f"{NAME}.pt", spread=0.02)


@pytest.fixture
def judge(small_file, workplace):
    return hsemotion.load_hsemotion(NAME, path=small_file)


def ask(judge, crops, **options):
    names = [f"f{number}" for number in range(len(crops))]
    return judge.judge(crops, names, **{"subjects": (), "lineage": Lineage()} | options)


@pytest.mark.parametrize("name", ["enet_b0_8_best_vgaf", "enet_b0_8_va_mtl", "enet_b2_8"])
def test_answers_are_those_of_the_package(workplace, monkeypatch, name):
    path = published(hsemotion.MODELS[name], workplace / f"{name}.pt")
    monkeypatch.setattr(facial_emotions, "get_model_path", lambda wanted: str(path))
    monkeypatch.setattr(torch, "load", functools.partial(torch.load, weights_only=False))
    package, judge = (
        facial_emotions.HSEmotionRecognizer(name),
        hsemotion.load_hsemotion(name, path=path),
    )
    faces = pictures(3)
    table, own = ask(judge, faces), judge.features(faces)
    classes = list(judge.spec.emotions)
    assert [WORDS[emotion] for emotion in classes] == list(package.idx_to_class.values())
    theirs = package.extract_multi_features(faces)
    np.testing.assert_allclose(own, theirs, rtol=1e-4, atol=1e-4)
    assert own.shape == (3, 1408 if "b2" in name else 1280)
    assert own.std(axis=0).mean() > 0.01, "different faces have different features"
    together, scores = package.predict_multi_emotions(faces, logits=False)
    singly = [package.predict_emotions(face, logits=False) for face in faces]
    for labels, answers in (
        (together, scores),
        ([label for label, _ in singly], np.stack([answer for _, answer in singly])),
    ):
        assert [WORDS[label] for label in table["label"]] == labels
        np.testing.assert_allclose(table.filter(regex="^p_"), answers[:, :8], atol=1e-4)
        assert np.ptp(answers[:, :8], axis=0).max() > 0.02
        if judge.spec.affect:
            expected = np.clip(answers[:, 8:], -1, 1)
            np.testing.assert_allclose(table[["valence", "arousal"]], expected, atol=1e-4)


def test_the_registry_says_what_the_files_hold():
    published_models = {name: model for name, model in hsemotion.MODELS.items() if name != NAME}
    assert list(published_models) == [
        "enet_b0_8_best_vgaf", "enet_b0_8_best_afew", "enet_b0_8_va_mtl", "enet_b2_8",
    ]  # fmt: skip
    for name, model in published_models.items():
        assert model.emotions == tuple(sorted(EMOTIONS))
        assert model.affect == ("mtl" in name)
        assert (model.image_size, FEATURES[model.backbone]) == (
            (260, 1408) if "b2" in name else (224, 1280)
        )
        assert assets.registry()[f"hsemotion_{name}"].filename == f"{name}.pt"


def test_without_weights_the_judge_is_unavailable_and_says_what_to_do(workplace):
    with pytest.raises(UnavailableError) as caught:
        hsemotion.load_hsemotion("enet_b2_8")
    said = str(caught.value)
    assert said.startswith("HSEmotion enet_b2_8 is unavailable, its weights are not under")
    assert "run `fer assets get hsemotion_enet_b2_8`" in said
    assert said.endswith(f"put it at {workplace / 'data/raw/enet_b2_8.pt'}")
    with pytest.raises(UnavailableError, match=r"unavailable, .*no file .*none\.pt; name the"):
        hsemotion.load_hsemotion(path=workplace / "none.pt")
    with pytest.raises(ValueError, match="expected a model out of"):
        hsemotion.load_hsemotion("enet_b0_7")


def test_a_file_is_converted_once(small_file, workplace, monkeypatch):
    first = hsemotion.load_hsemotion(NAME, path=small_file)
    (kept,) = (workplace / "data/models/hsemotion").iterdir()
    assert kept.suffix == ".safetensors"
    monkeypatch.setattr(hsemotion, "read_published", None)
    again = hsemotion.load_hsemotion(NAME, path=small_file)
    assert again.spec == first.spec
    assert again.faults == ()
    state, config = load_network(kept)
    state["classifier.bias"] += 1
    save_network(kept, state, config)
    changed = hsemotion.load_hsemotion(NAME, path=small_file)
    assert changed.faults == ("its weights are not the recorded ones",)


def test_a_registered_file_must_have_the_registered_bytes(small_file, workplace, monkeypatch):
    place = workplace / "data" / "raw" / "enet_b2_8.pt"
    place.parent.mkdir(parents=True)
    place.write_bytes(small_file.read_bytes())
    monkeypatch.setitem(hsemotion.MODELS, "enet_b2_8", SMALL)
    assert hsemotion.load_hsemotion("enet_b2_8").spec.name == "HSEmotion enet_b2_8"
    place.write_bytes(b"other bytes")
    with pytest.raises(assets.AssetError, match="sha256"):
        hsemotion.load_hsemotion("enet_b2_8")


def test_a_file_of_another_model_is_refused(small_file, workplace):
    with pytest.raises(ValueError, match="another model"):
        hsemotion.load_hsemotion(hsemotion.DEFAULT, path=small_file)
    assert not (workplace / "data").exists()


def test_the_fast_engine_is_close_and_says_how_close(small_file, judge):
    fast = hsemotion.load_hsemotion(NAME, path=small_file, engine="fast")
    assert fast.faults == ()
    assert fast.spec.name == "HSEmotion small (fast)"
    said = [ask(each, pictures(9)).filter(regex="^p_").to_numpy() for each in (fast, judge)]
    assert np.abs(said[0] - said[1]).max() < 0.1


def test_the_order_of_channels_matters(judge):
    faces = pictures()
    change = ask(judge, [face[..., ::-1] for face in faces]).filter(regex="^p_") - ask(
        judge, faces
    ).filter(regex="^p_")
    assert change.abs().to_numpy().max() > 1e-3


def test_an_answer_does_not_depend_on_batch_or_neighbours(judge):
    faces = pictures(4)
    table = ask(judge, faces)
    pd.testing.assert_frame_equal(ask(judge, faces, batch_size=1), table, atol=1e-5)
    pd.testing.assert_frame_equal(
        ask(judge, faces[::-1]).iloc[::-1, 1:].reset_index(drop=True), table.iloc[:, 1:], atol=1e-5
    )


def test_a_judge_that_guided_an_edit_is_refused(judge, small_file):
    for ancestor in (judge.spec.weights_sha256, assets.file_sha256(small_file)):
        with pytest.raises(ValueError, match="in the lineage of what it is to judge"):
            ask(judge, pictures(1), lineage=Lineage(networks=frozenset([ancestor])))


def test_changed_weights_and_a_dead_head_fail_the_self_tests(judge, workplace):
    nn.init.zeros_(judge.network.classifier.weight)
    assert judge.faults == ("its weights are not the recorded ones",)
    dead = EmotionNet("tiny", 8, image_size=48)
    nn.init.zeros_(dead.classifier.weight)
    save_recogniser(workplace / "dead.safetensors", dead, EMOTIONS, Lineage())
    faults = hsemotion.load_own_emotion_judge(workplace / "dead.safetensors").faults
    assert faults == ("it says the same of every image", "it says the same of RGB and BGR")


def test_a_network_trained_here_takes_tight_crops_and_has_its_own_classes(workplace):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = EmotionNet("tiny", 2, affect=True, image_size=48)
        with_statistics(network.trunk, 48)
        nn.init.normal_(network.classifier.weight, std=0.02)
    lineage = Lineage.of("store", ["anna"])
    save_recogniser(workplace / "net.safetensors", network, ("neutral", "happiness"), lineage)
    judge = hsemotion.load_own_emotion_judge(workplace / "net.safetensors")
    assert (judge.spec.crop, judge.spec.image_size) == ("tight", 48)
    crops = list(resize_crops(pictures(3), 48))
    table = ask(judge, crops)
    assert list(table) == [
        "sample_id", "p_neutral", "p_happiness", "label", "valence", "arousal",
    ]  # fmt: skip
    with torch.no_grad():
        expected = network(torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2) / 255)
    np.testing.assert_allclose(table.filter(regex="^p_"), expected.logits.softmax(1), atol=1e-5)
    with pytest.raises(ValueError, match=r"expected crops of \(48, 48, 3\)"):
        ask(judge, pictures(1))
    with pytest.raises(ValueError, match="anna"):
        ask(judge, crops, subjects=["anna"])


def test_other_checkpoints_are_no_emotion_judge(workplace):
    path = workplace / "net.safetensors"
    for network, emotions in ((RgbArm(8, 48, 4), EMOTIONS), (EmotionNet("tiny", 8), ())):
        save_recogniser(path, network, emotions, Lineage())
        with pytest.raises(ValueError, match=r"expected an emotion_net with emotions in net\.saf"):
            hsemotion.load_own_emotion_judge(path)


def test_a_zip_that_leads_out_of_its_folder_writes_nothing(workplace):
    path = workplace / "outside.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x02cos\nsystem\n.")
        archive.writestr("../marker", b"x")
    with pytest.raises(ValueError, match=r"a name that leads out of it: '\.\./marker'"):
        hsemotion.load_hsemotion(path=path)
    assert not (workplace.parent / "marker").exists()
    assert [found.name for found in workplace.iterdir()] == ["outside.pt"]


def test_cut_and_foreign_files_are_refused(small_file, workplace):
    whole = small_file.read_bytes()
    for name, content in {"cut": whole[:-9999], "text": b"<html>", "empty": b""}.items():
        (workplace / name).write_bytes(content)
        with pytest.raises(ValueError, match=rf"expected a file of torch\.save, got {name}"):
            hsemotion.load_hsemotion(NAME, path=workplace / name)
