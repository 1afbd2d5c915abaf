"""CSIM on photographs of real people: right with sound embedders, and every mistake is caught."""

import numpy as np
import pandas as pd
import pytest

from fer_lib.evaluation.absent import Absent
from fer_lib.evaluation.embedders import find_embedder
from fer_lib.evaluation.identity import Faces
from fer_lib.evaluation.identity_failures import failure_table
from fer_lib.evaluation.identity_scores import copy_fault, measure_identity
from fer_lib.faces.detect import FaceDetector
from fer_lib.media.images import read_image
from fer_lib.networks.checkpoints import Lineage

PEOPLE = 8


@pytest.fixture(scope="module")
def london(shared):
    """Neutral and smiling photographs of eight people, located by the detector."""
    folders = [shared / "data/london512" / name for name in ("neutral", "smiling")]
    if not all(folder.is_dir() for folder in folders):
        pytest.skip("the shared material has no London photographs")
    names = sorted(path.name for path in folders[0].glob("*.jpg"))[:PEOPLE]
    images = np.stack([read_image(folder / name) for name in names for folder in folders])
    five = [found.points for found in FaceDetector(min_face_frac=0.3).detect(images)]
    return Faces(images, np.stack(five), np.repeat(names, 2))


def sound(name):
    embedder = find_embedder(name)
    if isinstance(embedder, Absent):
        pytest.skip(embedder.reason)
    return embedder


@pytest.fixture(scope="module")
def table(london):
    return failure_table(london, sound("mobilefacenet")).set_index("what")


@pytest.mark.parametrize("name", ["mobilefacenet", "mobileface_v2"])
def test_sound_embedders_tell_real_people_apart(london, name):
    embedder = sound(name)
    metric = measure_identity(embedder, london, draws=20)
    assert metric.faults == ()
    statistics = metric.calibration.statistics
    assert statistics["auc"].value >= 0.99
    assert 0.85 < statistics["mu_genuine"].value < 0.95
    assert abs(statistics["mu_impostor"].value) < 0.1
    embeddings, names = embedder.embed(london), london.subjects[::2]
    smiles = metric.compare(
        embeddings[::2], embeddings[1::2], names, subjects=names, lineage=Lineage()
    )
    assert smiles["same_person"].all()
    assert copy_fault(smiles) is None


def test_only_the_row_without_a_mistake_is_valid(table):
    assert table.index[0] == "mobilefacenet"
    assert table["verdict"].iloc[0] == "valid"
    assert len(table) == 7
    assert table["verdict"].iloc[1:].str.startswith("not valid: ").all()


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("facenet_vggface2 with random weights", "mean cosine of strangers is 1.000"),
        ("cosface_sphere20 with random weights", "length of the mean embedding"),
        ("mobilefacenet, whole pictures not aligned", "length of the mean embedding"),
        ("mobilefacenet, BGR for RGB", "else BGR) is 0.000"),
        ("mobilefacenet, source copied for an edit", "8 of 8 edits have a CSIM of at least 0.999"),
        ("mobilefacenet, averaged over people before the cosine", "average the cosines"),
    ],
)
def test_each_mistake_is_caught_for_what_it_is(table, what, reason):
    assert reason in table.loc[what, "verdict"]


def test_mistakes_give_the_numbers_that_look_like_success(table):
    strangers = table["mu_impostor"]
    assert strangers["facenet_vggface2 with random weights"] > 0.999
    assert strangers["cosface_sphere20 with random weights"] > 0.7
    unaligned = strangers["mobilefacenet, whole pictures not aligned"]
    assert unaligned > strangers["mobilefacenet"] + 0.2
    copied = table.loc["mobilefacenet, source copied for an edit", "mu_genuine"]
    assert copied == pytest.approx(1)


def test_people_with_one_picture_give_no_table(london):
    alone = Faces(london.images[:2], london.five[:2], pd.array(["a", "b"]))
    with pytest.raises(ValueError, match="expected two persons with two pictures each, got 0"):
        failure_table(alone, sound("mobileface_v2"))
