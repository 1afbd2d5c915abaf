import numpy as np
import pytest
import torch

from fer_lib.config import FusionConfig, PreprocessConfig, TrainConfig
from fer_lib.datasets.sources import write_source
from fer_lib.datasets.store import Store
from fer_lib.training import fusion_recipe
from fer_lib.training.fusion import train_fusion
from fer_lib.training.inference import predict
from fer_lib.weights import state_hash

NETS = FusionConfig(image_size=48, trunk_width=8, trunk_stride=16, heatmap_size=144,
                    landmark_width=2, weighting="both", disagreement_weight=0.6,
                    sharing_affinity="running", head="features", rgb_training="frozen",
                    rgb_features="in_sample", folds=2)
TRAINING = TrainConfig(rgb_epochs=1, fusion_epochs=1, batch_size=8, rgb_learning_rate=1e-3,
                       fusion_learning_rate=1e-3, balance="none", landmark_noise_pct_iod=0.0,
                       precision="fp32", seed=0, device="cpu")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    config = PreprocessConfig(
        source="synthetic", root="", store="s", model="embedded", size=48, subjects=4, groups=1,
        landmarks="auto", check_faces=0, val_fraction=0.25, test_fraction=0.25, workers=1, seed=0,
        device="cpu",
    )
    store = write_source(config, tmp_path_factory.mktemp("stores") / "synthetic")
    index = store.index.copy()
    test = index.index[index["split"] == "test"]
    index.loc[test[0], ["status", "status_reason"]] = ["no_face", "none was found"]
    index.loc[test[1], "emotion"] = None
    return Store(store.path, index, store.faces, store.landmarks, store.card, store.extras)


def with_options(**options):
    return FusionConfig(**{**NETS.as_dict(), **options})


def test_classes_are_the_emotions_of_the_training_split_in_canonical_order(store):
    emotions = fusion_recipe.trainable_emotions(store)
    assert emotions == tuple(e for e in ("neutral", "happiness", "sadness", "surprise", "fear",
                                         "disgust", "anger", "contempt"))
    one = Store(store.path, store.index.assign(emotion="fear"), store.faces, store.landmarks,
                store.card, store.extras)
    with pytest.raises(ValueError, match="two emotions"):
        fusion_recipe.trainable_emotions(one)


def test_faces_carry_the_label_of_their_own_row(store):
    emotions = ("contempt", "fear")
    faces = fusion_recipe.load_faces(store, "train", emotions, 48)
    rows = store.index.iloc[store.select(split="train", emotions=emotions)]
    assert [emotions[label] for label in faces.labels] == rows["emotion"].tolist()
    with pytest.raises(ValueError, match="got none"):
        fusion_recipe.load_faces(store, "train", (), 48)


def test_faces_know_who_they_are_of_and_keep_their_number_wherever_they_stand(store):
    emotions = fusion_recipe.trainable_emotions(store)
    faces = fusion_recipe.load_faces(store, "train", emotions, 48, "oversample")
    positions = store.select(split="train", emotions=emotions)
    subjects = store.index["subject"].iloc[positions]
    assert len(faces.samples.unique()) == len(positions)
    assert len(faces.subjects.unique()) == subjects.nunique()
    few = fusion_recipe.load_faces(store, "train", emotions[:2], 48)
    assert set(few.samples.tolist()) < set(faces.samples.tolist())
    nameless = Store(store.path, store.index.assign(subject=None), store.faces, store.landmarks,
                     store.card, store.extras)
    assert (fusion_recipe.load_faces(nameless, "train", emotions, 48).subjects == -1).all()


def test_a_repeated_face_errs_alike_each_time(store):
    index = store.index.copy()
    train = index.index[(index["split"] == "train") & (index["emotion"] == "fear")]
    index.loc[train[1:], "emotion"] = "anger"
    uneven = Store(store.path, index, store.faces, store.landmarks, store.card, store.extras)
    faces = fusion_recipe.load_faces(uneven, "train", ("fear", "anger"), 48, "oversample", 3, 4.0)
    plain = fusion_recipe.load_faces(uneven, "train", ("fear", "anger"), 48)
    assert len(faces) > len(plain)
    for number in faces.samples.unique():
        same = faces.landmarks_px[faces.samples == number]
        assert (same == same[0]).all()
        assert not torch.equal(same[0], plain.landmarks_px[plain.samples == number][0])


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


def test_a_fine_tuned_network_is_a_copy_and_one_from_scratch_is_fresh(store):
    rgb = fusion_recipe.make_rgb(NETS, 8, 0)
    tuned = fusion_recipe.make_fusion(rgb, with_options(rgb_training="fine_tuned"), 8, 0)
    assert tuned.rgb is not rgb
    assert state_hash(tuned.rgb.state_dict()) == state_hash(rgb.state_dict())
    fresh = fusion_recipe.make_fusion(rgb, with_options(rgb_training="scratch"), 8, 0)
    assert state_hash(fresh.rgb.state_dict()) != state_hash(rgb.state_dict())
    assert not tuned.rgb_frozen and not fresh.rgb_frozen
    assert fusion_recipe.make_fusion(rgb, NETS, 8, 0).rgb is rgb


def test_out_of_fold_views_are_made_only_when_asked_for(store):
    emotions = fusion_recipe.trainable_emotions(store)
    train, val = (fusion_recipe.load_faces(store, split, emotions, 48) for split in
                  ("train", "val"))
    outside = with_options(rgb_features="out_of_fold", head="log_probabilities")
    rgb = fusion_recipe.make_rgb(NETS, len(emotions), 0)
    settings = fusion_recipe.training_settings(TRAINING, 1, 1e-3, train.labels, len(emotions))
    fused = fusion_recipe.make_fusion(rgb, outside, len(emotions), 0)
    assert fusion_recipe.training_views(fused, train, val, NETS, settings) is None
    views = fusion_recipe.training_views(fused, train, val, outside, settings)
    assert views.logits.shape == (2, len(train), len(emotions))
    history = train_fusion(fused, train, val, settings, views=views)
    assert np.isfinite(history["loss"]).all()


def test_noise_moves_what_landmarks_say_and_leaves_the_rgb_answers(store):
    emotions = fusion_recipe.trainable_emotions(store)
    rgb = fusion_recipe.make_rgb(NETS, len(emotions), 0)
    network = fusion_recipe.make_fusion(rgb, NETS, len(emotions), 0).eval()
    clean, noisy = (fusion_recipe.predict_split(network, store, "val", emotions, "r", pct)
                    for pct in (0.0, 6.0))
    for name, moves in (("rgb", False), ("landmarks", True)):
        first, second = (table[table["run"] == f"r:{name}"]["p_fear"] for table in (clean, noisy))
        assert np.allclose(first, second) is not moves


def test_weightings_are_predicted_from_one_pass_of_the_branches(store):
    emotions = fusion_recipe.trainable_emotions(store)
    rgb = fusion_recipe.make_rgb(NETS, len(emotions), 0)
    network = fusion_recipe.make_fusion(rgb, NETS, len(emotions), 0).eval()
    table = fusion_recipe.predict_weightings({"both": network}, store, "test", emotions, "r")
    whole = fusion_recipe.predict_split(network, store, "test", emotions, "r")
    expected = whole[(whole["run"] == "r:fusion") & (whole["protocol"] == "per-sample")]
    assert set(table["run"]) == {"r:both"}
    both = table.merge(expected, on="sample_id", suffixes=("", "_expected"))
    assert len(both) == len(expected)
    assert np.allclose(both["p_fear"], both["p_fear_expected"], atol=1e-6, equal_nan=True)


@pytest.mark.parametrize(("options", "name"), [
    ({"head": "all"}, "HEAD"), ({"folds": 1}, "FOLDS"), ({"rgb_training": "thawed"}, "RGB_TRAIN"),
    ({"rgb_features": "out_of_fold"}, "log_probabilities"),
    ({"rgb_features": "out_of_fold", "head": "log_probabilities", "rgb_training": "scratch"},
     "RGB_FEATURES"),
])
def test_options_that_do_not_go_together_are_refused(options, name):
    with pytest.raises(ValueError, match=name):
        with_options(**options)


@pytest.mark.parametrize("noise", [-1.0, float("nan"), 100.0])
def test_impossible_landmark_noise_is_refused(noise):
    with pytest.raises(ValueError, match="LANDMARK_NOISE_PCT_IOD"):
        TrainConfig(**{**TRAINING.as_dict(), "landmark_noise_pct_iod": noise})


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


@pytest.mark.parametrize(("faces", "batch"), [(5, 8), (88, 8), (200, 20), (4000, 32)])
def test_a_small_set_is_cut_into_smaller_batches(faces, batch):
    training = TrainConfig(**{**TRAINING.as_dict(), "batch_size": 32})
    labels = torch.zeros(faces, dtype=torch.int64)
    settings = fusion_recipe.training_settings(training, 3, 1e-3, labels, 2)
    assert settings.batch_size == batch
