"""The store: whole or not at all, the same contents the same hash."""

import json
import threading

import numpy as np
import pytest

from fer_lib.datasets.store import Store
from fer_lib.datasets.store_writer import StoreCard, StoreWriter
from fer_lib.tables import sample_table

CARD = StoreCard("drawn by a test", "none needed", "none", {"seed": 0})
EMOTIONS = ("neutral", "fear", "neutral", "anger", "fear")
SPLITS = ("train", "train", "test", "val", "test")


def contents(n=5, size=8, k=5, seed=0):
    rng = np.random.default_rng(seed)
    rows = [
        {"sample_id": str(i), "emotion": EMOTIONS[i % 5], "split": SPLITS[i % 5], "valence": i / 7}
        for i in range(n)
    ]
    faces = rng.integers(0, 256, (n, size, size, 3), dtype=np.uint8)
    landmarks = rng.random((n, k, 2), dtype=np.float32)
    params = {"beta": rng.random((n, 3), dtype=np.float32), "camera": rng.random(n)}
    return sample_table(rows), faces, landmarks, params


def write(path, blocks=(2, 2, 1), with_params=True, card=CARD, **kwargs):
    samples, faces, landmarks, params = contents(sum(blocks), **kwargs)
    start = 0
    with StoreWriter(path, n=sum(blocks), size=8, n_landmarks=5, card=card) as writer:
        for block in blocks:
            rows = slice(start, start + block)
            some = {name: values[rows] for name, values in params.items()}
            writer.write(
                samples.iloc[rows], faces[rows], landmarks[rows], some if with_params else None
            )
            start += block
    return Store.open(path)


def leftovers(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_was_written_is_read(tmp_path):
    samples, faces, landmarks, params = contents()
    store = write(tmp_path / "s")
    assert store.index.equals(samples)
    assert np.array_equal(store.faces, faces)
    assert np.array_equal(store.landmarks, landmarks)
    assert set(store.params) == {"beta", "camera"}
    assert np.array_equal(store.params["beta"], params["beta"])
    assert (len(store), store.size) == (5, 8)
    assert leftovers(tmp_path) == ["s"]


def test_faces_are_mapped_and_cannot_be_written(tmp_path):
    store = write(tmp_path / "s")
    assert isinstance(store.faces, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        store.faces[0] = 0


def test_store_without_parameters_has_none(tmp_path):
    assert write(tmp_path / "s", with_params=False).params == {}


def test_card_counts_by_status_split_and_class(tmp_path):
    samples, faces, landmarks, _ = contents()
    samples.loc[0, ["status", "status_reason"]] = ["no_face", "nothing there"]
    samples.loc[1, "emotion"] = None
    with StoreWriter(tmp_path / "s", n=5, size=8, n_landmarks=5, card=CARD) as writer:
        writer.write(samples, faces, landmarks)
    card = Store.open(tmp_path / "s").card
    assert card["counts"]["status"] == {"no_face": 1, "ok": 4}
    assert card["counts"]["classes"] == {
        "test": {"fear": 1, "neutral": 1}, "train": {"unknown": 1}, "val": {"anger": 1},
    }
    assert card["counts"]["samples"] == 5
    assert (card["source"], card["lineage"]) == ("drawn by a test", {"seed": 0})
    assert {"licence", "alignment", "created", "versions"} <= set(card)


def test_hash_depends_on_contents_only(tmp_path):
    first = write(tmp_path / "a").card["hash"]
    assert write(tmp_path / "b", blocks=(1, 4)).card["hash"] == first
    other = StoreCard("elsewhere", "x", "y")
    assert write(tmp_path / "c", card=other).card["hash"] == first
    assert write(tmp_path / "d", seed=1).card["hash"] != first
    assert write(tmp_path / "e", with_params=False).card["hash"] != first


@pytest.mark.parametrize("part", ["faces", "landmarks", "params", "index"])
def test_hash_notices_one_changed_value(tmp_path, part):
    samples, faces, landmarks, params = contents()
    if part == "faces":
        faces[3, 1, 1, 1] ^= 1
    elif part == "landmarks":
        landmarks[2, 0, 0] = np.nan
    elif part == "params":
        params["beta"][4, 2] += 1
    else:
        samples.loc[3, "emotion"] = "sadness"
    with StoreWriter(tmp_path / "b", n=5, size=8, n_landmarks=5, card=CARD) as writer:
        writer.write(samples, faces, landmarks, params)
    assert Store.open(tmp_path / "b").card["hash"] != write(tmp_path / "a").card["hash"]


def test_verify_accepts_the_store_and_notices_a_flipped_bit(tmp_path):
    store = write(tmp_path / "s")
    store.verify()
    content = bytearray((tmp_path / "s" / "faces.npy").read_bytes())
    content[-1] ^= 1
    (tmp_path / "s" / "faces.npy").write_bytes(content)
    with pytest.raises(ValueError, match="was changed"):
        Store.open(tmp_path / "s").verify()


def test_selection_by_split_status_and_emotion(tmp_path):
    samples, faces, landmarks, _ = contents()
    samples.loc[4, "status"] = "no_face"
    samples.loc[0, ["emotion", "split"]] = None
    with StoreWriter(tmp_path / "s", n=5, size=8, n_landmarks=5, card=CARD) as writer:
        writer.write(samples, faces, landmarks)
    store = Store.open(tmp_path / "s")
    assert store.select().tolist() == [0, 1, 2, 3]
    assert store.select(status=None).tolist() == [0, 1, 2, 3, 4]
    assert store.select(split="test").tolist() == [2]
    assert store.select(status="no_face", split="test").tolist() == [4]
    assert store.select(emotions=["fear", "neutral"]).tolist() == [1, 2]
    assert store.select(emotions=[]).tolist() == []


def test_an_exception_leaves_nothing(tmp_path):
    samples, faces, landmarks, _ = contents()
    with (
        pytest.raises(KeyboardInterrupt),
        StoreWriter(tmp_path / "s", n=9, size=8, n_landmarks=5, card=CARD) as writer,
    ):
        writer.write(samples, faces, landmarks)
        raise KeyboardInterrupt
    assert leftovers(tmp_path) == []


def test_too_few_rows_write_no_store_and_keep_the_old_one(tmp_path):
    old = write(tmp_path / "s").card["hash"]
    samples, faces, landmarks, _ = contents()
    with (
        pytest.raises(ValueError, match="expected 9 rows, got 5"),
        StoreWriter(tmp_path / "s", n=9, size=8, n_landmarks=5, card=CARD) as writer,
    ):
        writer.write(samples, faces, landmarks)
    assert Store.open(tmp_path / "s").card["hash"] == old
    assert leftovers(tmp_path) == ["s"]


def test_an_older_store_is_replaced_while_it_is_being_read(tmp_path):
    old = write(tmp_path / "s")
    before = old.faces[:].copy()
    new = write(tmp_path / "s", seed=1)
    assert np.array_equal(old.faces, before)
    assert not np.array_equal(new.faces, before)
    assert leftovers(tmp_path) == ["s"]


def test_a_folder_that_is_no_store_is_never_replaced(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("years of work")
    with pytest.raises(ValueError, match="something else"):
        write(tmp_path / "thesis")
    assert leftovers(tmp_path / "thesis") == ["chapter.tex"]


def test_two_writers_of_one_store_get_a_sentence(tmp_path):
    first = StoreWriter(tmp_path / "s", n=5, size=8, n_landmarks=5, card=CARD)
    samples, faces, landmarks, _ = contents()
    with first:
        first.write(samples, faces, landmarks)
        with pytest.raises(ValueError, match="being written by another"):
            write(tmp_path / "s")
    assert len(Store.open(tmp_path / "s")) == 5


def test_many_writers_in_threads_leave_one_whole_store(tmp_path):
    refused = []

    def attempt(seed):
        try:
            write(tmp_path / "s", seed=seed)
        except ValueError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=attempt, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    Store.open(tmp_path / "s").verify()
    assert all("being written by another" in text for text in refused)
    assert leftovers(tmp_path) == ["s"]


def test_what_a_killed_writer_left_is_cleared(tmp_path):
    (tmp_path / ".s.writing").mkdir()
    (tmp_path / ".s.writing" / "params.gamma.npy").write_bytes(b"half")
    assert set(write(tmp_path / "s").params) == {"beta", "camera"}
    assert leftovers(tmp_path) == ["s"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda s, f, m, p: (s, f[:, :4], m, p), "faces of shape"),
        (lambda s, f, m, p: (s, f.astype(float), m, p), "faces of shape"),
        (lambda s, f, m, p: (s, f, m.astype(float), p), "landmarks of shape"),
        (lambda s, f, m, p: (s, f, m[:, :4], p), "landmarks of shape"),
        (lambda s, f, m, p: (s.head(4), f, m, p), "faces of shape"),
        (lambda s, f, m, p: (s, f, m, {"beta": p["beta"][:2]}), "params.beta of shape"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, change, reason):
    with (
        pytest.raises(ValueError, match=reason),
        StoreWriter(tmp_path / "s", n=5, size=8, n_landmarks=5, card=CARD) as writer,
    ):
        writer.write(*change(*contents()))
    assert leftovers(tmp_path) == []


def test_other_parameters_in_a_later_block_and_too_many_rows_are_refused(tmp_path):
    samples, faces, landmarks, params = contents()
    with (
        pytest.raises(ValueError, match="in every call"),
        StoreWriter(tmp_path / "s", n=10, size=8, n_landmarks=5, card=CARD) as writer,
    ):
        writer.write(samples, faces, landmarks, params)
        writer.write(samples, faces, landmarks)
    with (
        pytest.raises(ValueError, match="expected 4 rows in all"),
        StoreWriter(tmp_path / "s", n=4, size=8, n_landmarks=5, card=CARD) as writer,
    ):
        writer.write(samples, faces, landmarks)


def test_repeated_ids_write_no_store(tmp_path):
    samples, faces, landmarks, _ = contents()
    with (
        pytest.raises(ValueError, match="sample_id"),
        StoreWriter(tmp_path / "s", n=10, size=8, n_landmarks=5, card=CARD) as writer,
    ):
        writer.write(samples, faces, landmarks)
        writer.write(samples, faces, landmarks)
    assert leftovers(tmp_path) == []


def test_a_subject_in_two_splits_writes_no_store(tmp_path):
    samples, faces, landmarks, _ = contents()
    samples["subject"] = "anna"
    with (
        pytest.raises(ValueError, match="every subject in one split"),
        StoreWriter(tmp_path / "s", n=5, size=8, n_landmarks=5, card=CARD) as writer,
    ):
        writer.write(samples, faces, landmarks)
    assert leftovers(tmp_path) == []


def test_a_store_may_be_empty(tmp_path):
    store = write(tmp_path / "s", blocks=())
    assert len(store) == 0
    assert store.faces.shape == (0, 8, 8, 3)
    assert store.select().tolist() == []
    store.verify()


def test_what_is_no_store_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"index\.parquet"):
        Store.open(tmp_path / "nothing")
    write(tmp_path / "s")
    (tmp_path / "s" / "card.json").write_text("{")
    with pytest.raises(ValueError, match="damaged"):
        Store.open(tmp_path / "s")


def test_parts_of_unequal_length_are_noticed(tmp_path):
    write(tmp_path / "s")
    np.save(tmp_path / "s" / "landmarks.npy", np.zeros((4, 5, 2), np.float32))
    with pytest.raises(ValueError, match="landmarks 4"):
        Store.open(tmp_path / "s")


def test_card_is_plain_json(tmp_path):
    write(tmp_path / "s")
    assert json.loads((tmp_path / "s" / "card.json").read_text())["size_px"] == 8


def test_optional_arrays_are_kept_hashed_and_verified(tmp_path):
    samples, faces, landmarks, params = contents()
    extras = {
        "five": np.random.default_rng(0).random((5, 5, 2), np.float32),
        "mesh": np.zeros((5, 478, 3), np.float32),
        "arkit": np.ones((5, 52), np.float32),
    }
    with StoreWriter(tmp_path / "s", n=5, size=8, n_landmarks=5, card=CARD) as writer:
        writer.write(samples, faces, landmarks, params, extras)
    store = Store.open(tmp_path / "s")
    assert set(store.extras) == set(extras)
    assert np.array_equal(store.five, extras["five"])
    store.verify()
    changed = np.load(tmp_path / "s" / "arkit.npy")
    changed[3, 7] = 0.5
    np.save(tmp_path / "s" / "arkit.npy", changed)
    with pytest.raises(ValueError, match="changed after"):
        Store.open(tmp_path / "s").verify()


def test_five_points_come_from_the_landmarks_where_no_array_holds_them(tmp_path):
    store = write(tmp_path / "s")
    assert np.array_equal(store.five, store.landmarks, equal_nan=True)


def test_an_optional_array_of_the_wrong_shape_is_refused(tmp_path):
    samples, faces, landmarks, params = contents()
    short = {"mesh": np.zeros((5, 468, 3), np.float32)}
    with (
        pytest.raises(ValueError, match="mesh"),
        StoreWriter(tmp_path / "s", n=5, size=8, n_landmarks=5, card=CARD) as writer,
    ):
        writer.write(samples, faces, landmarks, params, short)
