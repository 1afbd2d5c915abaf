import numpy as np
import pytest
import torch

from fer_lib.config import FusionConfig, PreprocessConfig, TrainConfig
from fer_lib.datasets.sources import write_source
from fer_lib.datasets.store import Store
from fer_lib.training import fusion_recipe
from fer_lib.training.inference import predict
from fer_lib.weights import state_hash

NETS = FusionConfig(image_size=48, trunk_width=8, trunk_stride=16, heatmap_size=144,
                    landmark_width=2, weighting="both", disagreement_weight=0.6,
                    sharing_affinity="running")
TRAINING = TrainConfig(rgb_epochs=1, fusion_epochs=1, batch_size=8, rgb_learning_rate=1e-3,
                       fusion_learning_rate=1e-3, balance="none", precision="fp32", seed=0,
                       device="cpu")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    config = PreprocessConfig(
        source="synthetic", root="", store="s", size=48, subjects=4, groups=1, check_faces=0,
        val_fraction=0.25, test_fraction=0.25, workers=1, seed=0, device="cpu",
    )
    store = write_source(config, tmp_path_factory.mktemp("stores") / "synthetic")
    index = store.index.copy()
    test = index.index[index["split"] == "test"]
    index.loc[test[0], ["status", "status_reason"]] = ["no_face", "none was found"]
    index.loc[test[1], "emotion"] = None
    return Store(store.path, index, store.faces, store.landmarks, store.card)


def test_classes_are_the_emotions_of_the_training_split_in_canonical_order(store):
    emotions = fusion_recipe.trainable_emotions(store)
    assert emotions == tuple(e for e in ("neutral", "happiness", "sadness", "surprise", "fear",
                                         "disgust", "anger", "contempt"))
    one = Store(store.path, store.index.assign(emotion="fear"), store.faces, store.landmarks,
                store.card)
    with pytest.raises(ValueError, match="two emotions"):
        fusion_recipe.trainable_emotions(one)


def test_faces_carry_the_label_of_their_own_row(store):
    emotions = ("contempt", "fear")
    faces = fusion_recipe.load_faces(store, "train", emotions, 48)
    rows = store.index.iloc[store.select(split="train", emotions=emotions)]
    assert [emotions[label] for label in faces.labels] == rows["emotion"].tolist()
    with pytest.raises(ValueError, match="got none"):
        fusion_recipe.load_faces(store, "train", (), 48)


def test_weights_depend_on_the_seed_alone_and_leave_the_global_generator(store):
    before = torch.get_rng_state()
    first, again, other = (fusion_recipe.make_rgb(NETS, 8, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert state_hash(first.state_dict()) == state_hash(again.state_dict())
    assert state_hash(first.state_dict()) != state_hash(other.state_dict())


def test_class_weights_are_made_only_when_asked_for():
    labels = torch.tensor([0, 0, 0, 1])
    plain = fusion_recipe.training_settings(TRAINING, 2, 1e-3, labels, 3)
    assert plain.class_weights is None
    weighted = TrainConfig(**{**TRAINING.as_dict(), "balance": "weights"})
    settings = fusion_recipe.training_settings(weighted, 2, 1e-3, labels, 3)
    assert settings.class_weights == pytest.approx((4 / 6, 2, 0))


def test_an_untrained_fusion_says_what_its_rgb_network_says(store):
    rgb = fusion_recipe.make_rgb(NETS, 8, 0)
    network = fusion_recipe.make_fusion(rgb, NETS, 8, 0).eval()
    faces = fusion_recipe.load_faces(store, "val", fusion_recipe.trainable_emotions(store), 48)
    said = predict(network, faces)
    assert np.allclose(said["fusion"], said["rgb"], atol=1e-6)


def test_predictions_hold_every_labelled_row_of_the_split_and_both_protocols(store):
    emotions = fusion_recipe.trainable_emotions(store)
    rgb = fusion_recipe.make_rgb(NETS, len(emotions), 0)
    network = fusion_recipe.make_fusion(rgb, NETS, len(emotions), 0).eval()
    table = fusion_recipe.predict_split(network, store, "test", emotions, "run1")
    assert set(table["run"]) == {"run1:rgb", "run1:landmarks", "run1:fusion"}
    assert set(table["protocol"]) == {"per-sample", "paper"}
    labelled = (store.index["split"] == "test") & store.index["emotion"].notna()
    for _, part in table.groupby(["run", "protocol"]):
        assert len(part) == labelled.sum()
        assert part["p_fear"].isna().sum() == 1
    wide = table[table["run"] == "run1:rgb"].pivot(
        index="sample_id", columns="protocol", values="p_fear").dropna()
    assert not np.allclose(wide["paper"], wide["per-sample"], atol=1e-6)
