from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from fer_lib import config
from fer_lib.config import HseTrainConfig
from fer_lib.datasets.store import Store
from fer_lib.evaluation.embedders import load_own_embedder
from fer_lib.evaluation.hsemotion import load_own_emotion_judge
from fer_lib.evaluation.judge_spec import check_independence
from fer_lib.faces.align import LOOSE_FRAME, frame_points
from fer_lib.networks import emotion_net
from fer_lib.networks.checkpoints import Lineage, load_recogniser, save_recogniser
from fer_lib.tables import sample_table
from fer_lib.training import hse_recipe
from fer_lib.training.emotion_faces import dealing_fault, halve_people, load_emotion_faces
from fer_lib.training.emotion_net import MARGIN_LOSSES
from fer_lib.training.fusion_recipe import trainable_emotions
from fer_lib.weights import state_hash

EMOTIONS = ("neutral", "happiness")
OPTIONS = dict(
    store="people", backbone="tiny", image_size=32, margin="cosface", identity_epochs=1,
    head_epochs=1, all_epochs=1, batch_size=16, identity_learning_rate=1e-3,
    head_learning_rate=1e-3, all_learning_rate=1e-4, augment=True, precision="fp32", seed=0,
    device="cpu",
)  # fmt: skip
CONFIG = HseTrainConfig(**OPTIONS)


def make_store(**columns):
    """Six people to learn from and four each to choose by and to test on, noise for faces."""
    splits = ["train"] * 6 + ["val"] * 4 + ["test"] * 4
    rows = [
        {
            "sample_id": f"p{person}-{shot}", "split": split, "subject": f"p{person}",
            "emotion": EMOTIONS[shot % 2], "valence": shot % 2 - 0.5, "arousal": person / 20,
        }
        for person, split in enumerate(splits)
        for shot in range(4)
    ]  # fmt: skip
    index = sample_table(rows).assign(**columns)
    eyes_and_mouth = frame_points(LOOSE_FRAME, 40).numpy().astype(np.float32)
    five = eyes_and_mouth[[0, 1, 2, 2, 2]] + np.float32([[0, 0], [0, 0], [0, -5], [-4, 0], [4, 0]])
    faces = np.random.default_rng(0).integers(0, 256, (len(index), 40, 40, 3), dtype=np.uint8)
    landmarks = np.broadcast_to(five, (len(index), 5, 2)).copy()
    return Store(Path("people"), index, faces, landmarks, {"hash": "1" * 64}, {})


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A judge of one half of the people and an embedder of the other, as written to files."""
    store, folder = make_store(), tmp_path_factory.mktemp("checkpoints")
    for_judge, for_embedder = halve_people(store)
    embedder = hse_recipe.make_emotion_net(CONFIG, 2, seed=1)
    hse_recipe.pretrain_identity(embedder, store, CONFIG, for_embedder, seed=1)
    lineage = hse_recipe.lineage_of(store, for_embedder)
    save_recogniser(folder / "embedder.safetensors", embedder, (), lineage)
    judge = hse_recipe.make_emotion_net(CONFIG, 2, affect=True)
    hse_recipe.pretrain_identity(judge, store, CONFIG, for_judge)
    ancestor = state_hash(judge.state_dict())
    history = hse_recipe.train_emotions(judge, store, CONFIG, EMOTIONS, for_judge)
    assert history["stage"].tolist() == ["head", "all"] and history["epoch"].tolist() == [0, 1]
    lineage = hse_recipe.lineage_of(store, for_judge, [ancestor])
    save_recogniser(folder / "judge.safetensors", judge, EMOTIONS, lineage)
    return store, folder, ancestor


def test_judge_and_embedder_share_nobody_and_say_whom_they_have_seen(trained):
    store, folder, ancestor = trained
    judge, embedder = (
        load_recogniser(folder / f"{name}.safetensors") for name in ("judge", "embedder")
    )
    assert not judge.lineage.subjects & embedder.lineage.subjects
    learned = store.index.loc[store.index["split"] != "test", "subject"]
    assert judge.lineage.subjects | embedder.lineage.subjects == set(learned)
    assert judge.lineage.stores == embedder.lineage.stores == {"1" * 64}
    assert judge.lineage.networks == {ancestor} and not embedder.lineage.networks
    assert state_hash(judge.network.state_dict()) == judge.recorded_sha256 != ancestor


def test_the_judge_refuses_people_it_learned_from_and_edits_its_ancestor_guided(trained):
    _, folder, ancestor = trained
    judge = load_own_emotion_judge(folder / "judge.safetensors").spec
    embedder = load_own_embedder(folder / "embedder.safetensors").spec
    assert judge.crop == embedder.crop == "tight" and judge.emotions == EMOTIONS
    seen = sorted(judge.lineage.subjects)[:1]
    with pytest.raises(ValueError, match="learned from 1 of the subjects"):
        check_independence(judge, seen, embedder.lineage)
    with pytest.raises(ValueError, match="in the lineage"):
        check_independence(judge, ["p13"], Lineage(networks=frozenset([ancestor])))
    check_independence(judge, ["p13"], embedder.lineage)


def test_predictions_keep_every_labelled_row_of_the_split(trained):
    store, folder, _ = trained
    network = load_recogniser(folder / "judge.safetensors").network
    index = store.index.copy()
    test = index.index[index["split"] == "test"]
    index.loc[test[0], "status"] = "no_face"
    index.loc[test[1], "emotion"] = None
    broken = Store(store.path, index, store.faces, store.landmarks, store.card, {})
    table, affect = hse_recipe.predict_emotions(network, broken, "test", EMOTIONS, "run")
    assert len(table) == len(affect) == len(test) - 1
    assert set(table["run"]) == {"run:hsemotion"}
    assert table.filter(like="p_").isna().all(axis=1).tolist() == [True] + [False] * 14
    said = affect[["predicted_valence", "predicted_arousal"]]
    assert said.isna().all(axis=1).tolist() == [True] + [False] * 14
    assert said.max(axis=None) <= 1 and said.min(axis=None) >= -1


def test_halves_are_disjoint_whole_and_drawn_by_the_seed():
    store = make_store()
    first, second = halve_people(store, seed=3)
    assert not first & second and len(first) == len(second) == 5
    assert {len([name for name in first if int(name[1:]) < 6])} == {3}
    assert (first, second) == halve_people(store, seed=3)
    assert len({halve_people(store, seed)[0] for seed in range(8)}) > 1
    assert not dealing_fault(store)


def test_people_without_names_or_pairs_are_not_dealt_out():
    nameless = make_store(subject=pd.NA)
    assert "got 0 and 0" in dealing_fault(nameless)
    with pytest.raises(ValueError, match="knows its subjects"):
        halve_people(nameless)
    index = make_store().index
    alone = np.where(index["split"] == "val", index["sample_id"], index["subject"])
    assert "val split" in dealing_fault(make_store(subject=alone))
    # Two people of the validation split have two faces each: one of them in either half.
    rows = np.flatnonzero(index["split"] == "val")
    alone[rows[:2]], alone[rows[2:4]] = "twin a", "twin b"
    for seed in range(6):
        assert len({"twin a", "twin b"} & halve_people(make_store(subject=alone), seed)[0]) == 1


def test_only_emotions_that_the_judges_own_people_show_are_its_classes():
    shown = np.where(make_store().index["subject"] == "p2", "fear", "neutral")
    store = make_store(emotion=shown)
    assert trainable_emotions(store) == ("neutral", "fear")
    assert trainable_emotions(store, {"p1", "p2"}) == ("neutral", "fear")
    with pytest.raises(ValueError, match="at least two emotions"):
        trainable_emotions(store, {"p1", "p3"})


def test_faces_carry_what_is_known_of_their_own_row():
    store = make_store()
    faces = load_emotion_faces(store, "train", 32, people={"p2", "p4"}, emotions=EMOTIONS[::-1])
    assert faces.crops.shape == (8, 32, 32, 3) and faces.people.tolist() == [0] * 4 + [1] * 4
    assert faces.emotions.tolist() == [1, 0, 1, 0] * 2
    assert torch.allclose(faces.affect[:, 1], torch.tensor([0.1] * 4 + [0.2] * 4))
    assert faces.scenes.tolist() == list(range(8))
    pairs = make_store().index["sample_id"].str.replace("-[01]$", "-a", regex=True)
    paired = load_emotion_faces(make_store(pair=pairs), "train", 32, people={"p2"})
    assert paired.scenes.tolist() == [0, 0, 1, 2]
    unlabelled = make_store(emotion=pd.NA, subject=pd.NA)
    assert load_emotion_faces(unlabelled, "val", 32).people.tolist() == [-1] * 16
    with pytest.raises(ValueError, match="got none"):
        load_emotion_faces(unlabelled, "val", 32, emotions=EMOTIONS)


def test_affect_is_known_or_not():
    assert hse_recipe.knows_affect(make_store())
    assert not hse_recipe.knows_affect(make_store(arousal=np.float32(np.nan)))


def test_class_weights_are_inverse_frequencies_up_to_the_published_ratio():
    weights = hse_recipe.class_weights(torch.tensor([0] * 6 + [1] * 2), 3)
    assert weights == pytest.approx((8 / 12, 2, 0))
    rare = hse_recipe.class_weights(torch.tensor([0] * 999 + [1]), 2)
    assert rare[1] / rare[0] == pytest.approx(36)
    assert (999 * rare[0] + rare[1]) / 1000 == pytest.approx(1)


def test_the_settings_know_the_networks_and_losses_that_there_are():
    assert set(config.BACKBONES) == set(emotion_net.BACKBONES)
    assert set(config.MARGINS) == set(MARGIN_LOSSES)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("backbone", "resnet18"),
        ("margin", "sphereface"),
        ("precision", "fp16"),
        ("image_size", 16),
        ("head_epochs", 0),
        ("identity_epochs", 0),
        ("all_epochs", -1),
        ("batch_size", 1),
        ("all_learning_rate", 0.0),
    ],
)
def test_impossible_settings_are_refused_by_name(name, value):
    with pytest.raises(ValueError, match=name.upper()):
        HseTrainConfig(**{**OPTIONS, name: value})
