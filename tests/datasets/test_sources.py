import dataclasses
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
from PIL import Image

from fer_lib.config import PreprocessConfig
from fer_lib.datasets.edits import counterfactual_pairs
from fer_lib.datasets.sheet import choose_faces
from fer_lib.datasets.sources import check_detector, write_source
from fer_lib.datasets.splits import check_subjects
from fer_lib.labels import EMOTIONS

CONFIG = PreprocessConfig(
    source="synthetic", root="", store="s", size=48, subjects=6, groups=2, check_faces=0,
    val_fraction=0.2, test_fraction=0.2, workers=1, seed=3, device="cpu",
)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return write_source(CONFIG, tmp_path_factory.mktemp("stores") / "synthetic")


def test_a_synthetic_store_holds_every_emotion_of_every_person_once_per_group(store):
    assert len(store) == 6 * 2 * 8
    assert set(store.index["split"]) == {"train", "val", "test"}
    check_subjects(store.index)
    assert (store.index.groupby("pair")["emotion"].nunique() == 8).all()
    assert len(counterfactual_pairs(store.index)) == 6 * 2 * 8 * 7
    assert {"shape", "expression", "pose", "camera", "albedo", "light"} <= set(store.params)
    store.verify()


def test_the_same_seed_gives_the_same_hash_for_any_number_of_workers(store, tmp_path):
    again = write_source(dataclasses.replace(CONFIG, workers=2), tmp_path / "again")
    assert again.card["hash"] == store.card["hash"]
    other = write_source(dataclasses.replace(CONFIG, seed=4), tmp_path / "other")
    assert other.card["hash"] != store.card["hash"]


def test_a_sheet_shows_whole_groups_of_different_people(store):
    faces, subjects = choose_faces(store, EMOTIONS, rows=4, seed=0)
    assert len(faces) == 4 * 8
    assert len(set(subjects)) == 4
    same_person = store.index[store.index["subject"] == subjects[0]].index
    for column, emotion in enumerate(EMOTIONS):
        places = [i for i in same_person if store.index.loc[i, "emotion"] == emotion]
        assert any(np.array_equal(faces[column], store.faces[i]) for i in places)


def test_a_sheet_without_groups_leaves_places_of_rare_emotions_empty(store):
    single = dataclasses.replace(CONFIG)
    assert single == CONFIG
    ungrouped = type(store)(
        store.path, store.index.assign(pair=None), store.faces, store.landmarks, store.card)
    ungrouped.index.loc[ungrouped.index["emotion"] == "fear", "status"] = "no_face"
    faces, subjects = choose_faces(ungrouped, ("neutral", "fear"), rows=2)
    assert subjects == []
    assert [face is None for face in faces] == [False, True, False, True]


def test_the_detector_is_checked_against_true_landmarks():
    found = check_detector(dataclasses.replace(CONFIG, check_faces=3), 3)
    assert len(found) == 3
    assert found["found"].mean() > 0.5
    assert found["error_pct_iod"].dropna().between(0, 25).all()


def test_photographs_become_a_store_with_failures_kept(tmp_path):
    (tmp_path / "raw" / "images").mkdir(parents=True)
    (tmp_path / "raw" / "data").mkdir()
    Image.new("RGB", (80, 80), "grey").save(tmp_path / "raw" / "images" / "Ann_A_0001.jpg")
    (tmp_path / "raw" / "images" / "Ben_B_0001.jpg").write_bytes(b"no picture")
    (tmp_path / "raw" / "data" / "legend.csv").write_text(
        "user.id,image,emotion\n1,Ann_A_0001.jpg,Happiness\n1,Ben_B_0001.jpg,ANGER\n"
        "1,Cat_C_0001.jpg,fear\n"
    )
    config = dataclasses.replace(
        CONFIG, source="facial_expressions", root=str(tmp_path / "raw"), size=64)
    store = write_source(config, tmp_path / "store")
    assert store.index.set_index("subject")["status"].to_dict() == {
        "Ann_A": "no_face", "Ben_B": "unreadable", "Cat_C": "missing"}
    assert store.index["status_reason"].notna().all()
    assert set(store.index["emotion"]) == {"happiness", "anger", "fear"}


def test_a_killed_writer_leaves_no_lock_and_no_worker_behind(tmp_path):
    path = tmp_path / "stores" / "synthetic"
    program = (
        "import dataclasses, pathlib, sys\n"
        "from fer_lib.config import PreprocessConfig\n"
        "from fer_lib.datasets.sources import write_source\n"
        f"config = PreprocessConfig(**{dataclasses.asdict(CONFIG)!r})\n"
        "many = dataclasses.replace(config, subjects=500, workers=2)\n"
        "write_source(many, pathlib.Path(sys.argv[1]))\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", program, str(path)])
    try:
        deadline = time.monotonic() + 60
        while not any(path.parent.glob("*/faces*")) and not any(path.parent.glob(".*/faces*")):
            assert writer.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        workers = psutil.Process(writer.pid).children(recursive=True)
    finally:
        writer.kill()
        writer.wait()
    assert len(workers) >= 2
    assert not psutil.wait_procs(workers, timeout=20)[1]
    assert not path.exists()
    store = write_source(dataclasses.replace(CONFIG, subjects=3, groups=1), path)
    assert len(store) == 3 * 8
