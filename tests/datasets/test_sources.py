import dataclasses
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
from PIL import Image
from rafdb_samples import draw_faces, write_rafdb, write_repack

from fer_lib import assets
from fer_lib.config import PreprocessConfig
from fer_lib.datasets.edits import counterfactual_pairs
from fer_lib.datasets.landmark_check import check_landmarks
from fer_lib.datasets.sheet import choose_faces
from fer_lib.datasets.sources import make_locator, read_images, write_source
from fer_lib.datasets.splits import check_subjects
from fer_lib.labels import EMOTIONS

CONFIG = PreprocessConfig(
    source="synthetic", root="", store="s", model="embedded", size=48, subjects=6,
    groups=2, landmarks="auto", check_faces=0,
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
    ungrouped = type(store)(
        store.path, store.index.assign(pair=None), store.faces, store.landmarks, store.card, {})
    ungrouped.index.loc[ungrouped.index["emotion"] == "fear", "status"] = "no_face"
    faces, subjects = choose_faces(ungrouped, ("neutral", "fear"), rows=2)
    assert subjects == []
    assert [face is None for face in faces] == [False, True, False, True]


def test_mtcnn_is_checked_against_true_landmarks():
    found = check_landmarks(dataclasses.replace(CONFIG, landmarks="five"), 3)
    assert found["finder"].tolist() == ["mtcnn"] * 3
    assert found["found"].mean() > 0.5
    assert found["error_pct_iod"].dropna().between(0, 25).all()


def test_the_mesh_is_nearer_to_true_landmarks_than_mtcnn(shared):
    found = check_landmarks(CONFIG, 10)
    assert len(found) == 20
    error = found.groupby("finder")["error_pct_iod"].median()
    assert error["mesh"] < error["mtcnn"] < 10


def test_rendered_faces_can_have_the_landmarks_that_the_mesh_sees(shared, store, tmp_path):
    config = dataclasses.replace(CONFIG, subjects=2, groups=1, size=96, landmarks="mesh")
    seen = write_source(config, tmp_path / "seen")
    true = write_source(dataclasses.replace(config, landmarks="auto"), tmp_path / "true")
    assert set(seen.extras) == {"five", "mesh", "arkit"}
    both = seen.select()
    assert len(both) >= 14
    apart = np.abs(seen.faces[both].astype(int) - true.faces[both])
    assert apart.mean() < 1e-3
    eyes = np.linalg.norm(true.five[both, 1] - true.five[both, 0], axis=1)
    error = np.linalg.norm(seen.five[both] - true.five[both], axis=2).mean(axis=1) / eyes
    assert 0 < np.median(error) < 0.08
    assert set(seen.index["landmark_source"].dropna()) <= {"mesh", "mtcnn"}


def test_a_store_of_ict_heads_says_so_and_holds_their_parameters(shared, tmp_path):
    config = dataclasses.replace(CONFIG, model="ict", subjects=3, groups=1, landmarks="mesh")
    store = write_source(config, tmp_path / "ict")
    assert "ICT-FaceKit" in store.card["source"]
    assert store.card["lineage"]["settings"]["model"] == "ict"
    assert store.params["shape"].shape == (24, 100)
    assert store.index["subject"].str.startswith("ict-").all()
    assert np.isfinite(store.extras["mesh"]).all(axis=(1, 2)).mean() > 0.9
    store.verify()


def test_a_bundle_that_cannot_be_had_says_what_to_do(workplace, monkeypatch):
    monkeypatch.delenv("FER_SHARED", raising=False)
    monkeypatch.setattr(assets.urllib.request, "urlopen", refuse)
    with pytest.raises(ValueError, match="LANDMARKS=five"):
        make_locator("auto", "cpu")


def refuse(*_, **__):
    raise OSError("no network")


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
        CONFIG, source="facial_expressions", root=str(tmp_path / "raw"), size=64, landmarks="five")
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


@pytest.fixture
def rafdb(tmp_path):
    faces = draw_faces(train=14, test=4)
    return faces, write_rafdb(tmp_path / "rafdb", faces)


def rafdb_config(root, **changes):
    return dataclasses.replace(CONFIG, source="rafdb", root=str(root), size=96, **changes)


def test_rafdb_is_aligned_by_its_own_points_and_keeps_its_landmarks(rafdb, shared, tmp_path):
    faces, root = rafdb
    broken = root / "Annotation" / "manual" / f"{faces[0].stem}_manu_attri.txt"
    broken.write_text("1 2\n")
    store = write_source(rafdb_config(root), tmp_path / "store")
    assert store.card["landmark_scheme"] == "rafdb37"
    assert store.landmarks.shape == (18, 37, 2)
    assert set(store.extras) == {"five", "mesh", "arkit"}
    row = store.index.set_index("sample_id").loc[faces[0].stem]
    assert row["landmark_source"] != "dataset"
    assert "expected 5 rows" in row["status_reason"]
    own = store.index["landmark_source"] == "dataset"
    assert own.sum() == 17
    assert set(store.index["split"]) == {"train", "val", "test"}
    store.verify()


def test_a_repack_of_rafdb_has_no_landmarks_of_its_own(rafdb, workplace):
    faces, _ = rafdb
    root = write_repack(workplace / "repack", faces)
    with pytest.raises(ValueError, match="landmarks"):
        write_source(rafdb_config(root, landmarks="dataset"), workplace / "store")
    store = write_source(rafdb_config(root, landmarks="five"), workplace / "store")
    assert len(store) == 18
    assert store.card["landmark_scheme"] == "five"


def test_landmarks_that_a_source_does_not_have_are_refused(london, tmp_path):
    with pytest.raises(ValueError, match="LANDMARKS"):
        write_source(london, tmp_path / "store")


@pytest.fixture
def london(tmp_path):
    for folder in ("neutral", "smiling"):
        (tmp_path / "london" / folder).mkdir(parents=True)
        for number in range(1, 8):
            Image.new("RGB", (64, 64)).save(tmp_path / "london" / folder / f"{number:03d}.jpg")
    return dataclasses.replace(
        CONFIG, source="london", root=str(tmp_path / "london"), landmarks="dataset")


def test_the_mesh_lies_within_five_per_cent_of_hand_set_points(shared):
    root = shared / "data" / "london512"
    if not root.is_dir():
        pytest.skip("the London set is absent")
    config = dataclasses.replace(CONFIG, source="london", root=str(root), size=112)
    found = check_landmarks(config, 10)
    assert found["found"].all()
    error = found.groupby("finder")["error_pct_iod"].median()
    assert error["mesh"] < 5


def test_a_source_without_known_points_is_not_checked(tmp_path, shared):
    (tmp_path / "images").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "legend.csv").write_text("user.id,image,emotion\n1,a_0001.jpg,fear\n")
    config = dataclasses.replace(CONFIG, source="facial_expressions", root=str(tmp_path))
    assert len(check_landmarks(config, 5)) == 0


def test_images_for_a_benchmark_are_spread_over_the_source(rafdb):
    faces, root = rafdb
    images = read_images("rafdb", root, 6, seed=0)
    assert len(images) == 6
    assert {image.shape for image in images} <= {np.asarray(face.image).shape for face in faces}
