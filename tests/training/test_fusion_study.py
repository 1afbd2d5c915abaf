"""Rivals of the fusion on a store of four people: what differs and what must not."""

import dataclasses

import pytest
import torch
from test_fusion_recipe import NETS, TRAINING

from fer_lib.config import RIVALS as CONFIG_RIVALS
from fer_lib.config import PreprocessConfig
from fer_lib.datasets.sources import write_source
from fer_lib.training import fusion_recipe, fusion_study, inference
from fer_lib.weights import load_network, state_hash


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    config = PreprocessConfig(
        source="synthetic", root="", store="s", model="embedded", size=48, subjects=5, groups=1,
        landmarks="auto", check_faces=0, val_fraction=0.2, test_fraction=0.2, workers=1, seed=0,
        device="cpu",
    )
    return write_source(config, tmp_path_factory.mktemp("stores") / "synthetic")


@pytest.fixture(scope="module")
def emotions(store):
    return fusion_recipe.trainable_emotions(store)


@pytest.fixture(scope="module")
def rgb(emotions):
    return fusion_recipe.make_rgb(NETS, len(emotions), 0)


def test_the_settings_know_the_same_rivals():
    assert tuple(fusion_study.RIVALS) == CONFIG_RIVALS


@pytest.mark.parametrize("rival", ["", *fusion_study.RIVALS])
def test_every_rival_trains_and_leaves_the_rgb_branch_as_it_was(rival, store, emotions, rgb):
    before = state_hash(rgb.state_dict())
    fused = fusion_study.train_rival(rival, rgb, store, emotions, NETS, TRAINING)
    assert state_hash(rgb.state_dict()) == before
    frozen = rival not in ("fine-tuned", "from scratch")
    assert (state_hash(fused.rgb.state_dict()) == before) == frozen
    assert str(fused.head) == fusion_study.RIVALS.get(rival, {}).get("head", "features")


def test_a_variant_predicts_val_and_test_under_names_of_its_own(store, emotions, rgb):
    tables = fusion_study.run_variant("odd", "", rgb, store, emotions, NETS, TRAINING, "r")
    for split, table in tables.items():
        assert set(table["split"]) == {split}
        assert set(table["protocol"]) == {"per-sample"}
        assert list(dict.fromkeys(table["run"])) == ["r:rgb", "r:landmarks, odd", "r:fusion, odd"]


def test_splits_carry_the_noise_of_the_settings(store, emotions):
    plain = fusion_study.load_splits(store, emotions, NETS, TRAINING)
    noisy = fusion_study.load_splits(
        store, emotions, NETS, dataclasses.replace(TRAINING, landmark_noise_pct_iod=5.0)
    )
    assert list(plain) == ["train", "val", "test"]
    for split in plain:
        assert torch.equal(plain[split].crops, noisy[split].crops)
        assert not torch.equal(plain[split].landmarks_px, noisy[split].landmarks_px)


def test_saved_networks_name_the_people_they_saw(store, emotions, rgb, tmp_path):
    fused = fusion_recipe.make_fusion(rgb, NETS, len(emotions), 0)
    paths = tmp_path / "rgb.safetensors", tmp_path / "fusion.safetensors"
    fusion_study.save_networks(*paths, rgb, fused, emotions, store)
    seen = set(store.index.loc[store.index["split"] != "test", "subject"])
    for path in paths:
        lineage = load_network(path)[1]["lineage"]
        assert set(lineage["subjects"]) == seen
        assert store.card["hash"] in str(lineage)


def test_w_is_chosen_on_validation_faces(store, emotions, rgb):
    fused = fusion_recipe.make_fusion(rgb, NETS, len(emotions), 0)
    faces = fusion_study.load_splits(store, emotions, NETS, TRAINING)
    outputs = {split: inference.run_fusion(fused, faces[split]) for split in ("val", "test")}
    sweep, chosen = fusion_study.sweep_weight(fused, faces, outputs)
    assert set(sweep["split"]) == {"val", "test"}
    assert len(sweep) == 22
    val = sweep[sweep["split"] == "val"].set_index("w")["accuracy"]
    assert val[chosen] == val.max()
