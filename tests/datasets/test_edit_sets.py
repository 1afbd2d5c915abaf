import numpy as np
import pytest

from fer_lib.datasets.edit_sets import BLURRED, blur_sources, open_edit_set, write_edit_set
from fer_lib.datasets.edits import COPY_SOURCE, trivial_edits
from fer_lib.datasets.store import Store
from fer_lib.datasets.store_writer import StoreCard, StoreWriter
from fer_lib.faces.locate import Location
from fer_lib.tables import sample_table

SIZE = 32
FIVE = np.array([[10, 12], [21, 12], [16, 17], [12, 22], [20, 22]], np.float32)


class Locator:
    """Finds the same face everywhere but in black pictures."""

    has_mesh = False

    def locate(self, images):
        return [Location(FIVE, "mtcnn", (4, 4, 28, 28), None) if i.any() else None for i in images]


def write_store(path, people=("ann", "ben"), emotions=("neutral", "happiness"), seed=0):
    names = [(who, emotion) for who in people for emotion in emotions]
    samples = sample_table([
        {"sample_id": f"{who}-{emotion}", "subject": who, "pair": who, "emotion": emotion,
         "split": "test"}
        for who, emotion in names
    ])  # fmt: skip
    faces = np.random.default_rng(seed).integers(0, 256, (len(names), SIZE, SIZE, 3), np.uint8)
    card = StoreCard("noise", "none", "none", landmark_scheme="five")
    with StoreWriter(path, n=len(names), size=SIZE, n_landmarks=5, card=card) as writer:
        writer.write(samples, faces, np.repeat(FIVE[None], len(names), axis=0))
    return Store.open(path)


@pytest.fixture
def store(tmp_path):
    return write_store(tmp_path / "store")


def made(store):
    edits = trivial_edits(store.index)
    return blur_sources(edits, store)


def test_a_blurred_source_keeps_its_mean_and_loses_its_detail(store):
    edits, images = made(store)
    assert set(edits["editor"]) == {BLURRED}
    assert not set(edits["image"]) & set(store.index["sample_id"])
    rows = store.index.set_index("sample_id").index.get_indexer(edits["source_id"])
    originals = store.faces[rows].astype(float)
    assert images.mean() == pytest.approx(originals.mean(), abs=1)
    assert images.astype(float).std() < 0.9 * originals.std()


def test_an_edit_set_comes_back_as_it_was_written(store, tmp_path):
    edits, images = made(store)
    lineage = {"subjects": ["cat"], "networks": ["ff", "ee"], "stores": []}
    write_edit_set(tmp_path / "set", edits, images, store, Locator(), lineage)
    found = open_edit_set(tmp_path / "set", store)
    assert found.edits.to_dict() == edits[list(found.edits)].to_dict()
    assert np.array_equal(found.pictures.faces, images)
    assert found.lineage["networks"] == ["ee", "ff"]
    assert list(found.pictures.index["sample_id"]) == list(edits["image"])


def test_a_picture_without_a_face_keeps_its_row(store, tmp_path):
    edits, images = made(store)
    images[0] = 0
    found = write_edit_set(tmp_path / "set", edits, images, store, Locator())
    assert list(found.pictures.index["status"])[:2] == ["no_face", "ok"]
    assert len(found.edits) == len(edits)


def test_edits_of_another_store_are_refused(store, tmp_path):
    write_edit_set(tmp_path / "set", *made(store), store, Locator())
    other = write_store(tmp_path / "other", seed=1)
    with pytest.raises(ValueError, match="another store"):
        open_edit_set(tmp_path / "set", other)


def test_changed_edits_are_refused(store, tmp_path):
    edits, images = made(store)
    write_edit_set(tmp_path / "set", edits, images, store, Locator())
    edits.assign(target_emotion="fear").to_parquet(tmp_path / "set" / "edits.parquet")
    with pytest.raises(ValueError, match="changed after it was written"):
        open_edit_set(tmp_path / "set", store)


def test_a_folder_whose_writer_was_stopped_is_no_edit_set(store, tmp_path):
    write_edit_set(tmp_path / "set", *made(store), store, Locator())
    (tmp_path / "set" / "edit_set.json").unlink()
    with pytest.raises(ValueError, match="expected an edit set"):
        open_edit_set(tmp_path / "set", store)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda edits, images: (edits, images[:-1]), "pictures"),
        (lambda edits, images: (edits, images[:, ::2, ::2]), "keep the crop"),
        (lambda edits, images: (edits, images.astype(float) / 255), "uint8"),
        (lambda edits, images: (edits.assign(image="one"), images), "one image per edit"),
        (lambda edits, images: (edits.drop(columns="true_edit"), images), "true_edit"),
    ],
)
def test_what_does_not_fit_is_refused(store, tmp_path, change, sentence):
    with pytest.raises(ValueError, match=sentence):
        write_edit_set(tmp_path / "set", *change(*made(store)), store, Locator())
    assert not (tmp_path / "set" / "edit_set.json").exists()


def test_copies_are_what_is_blurred(store):
    edits = trivial_edits(store.index)
    assert len(made(store)[0]) == (edits["editor"] == COPY_SOURCE).sum()
