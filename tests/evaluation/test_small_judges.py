import pandas as pd
import pytest
import torch
from scipy.stats import mannwhitneyu

from fer_lib.datasets.facial_expressions import read_facial_expressions
from fer_lib.datasets.london import read_london
from fer_lib.evaluation.crop_rules import FacePlace, cut_faces
from fer_lib.evaluation.judge_spec import UnavailableError
from fer_lib.evaluation.kappa import kappa_between
from fer_lib.evaluation.small_judges import (
    SMALL_NETS,
    centre_rgb,
    grey_from_rgb,
    load_small_judge,
)  # fmt: skip
from fer_lib.faces.detect import FaceDetector
from fer_lib.media.images import read_image
from fer_lib.networks.checkpoints import Lineage

NAMES = ("mini_xception", "faceapi")


def found_places(pictures):
    found = FaceDetector().detect(pictures)
    return [None if face is None else FacePlace(face.points, face.box) for face in found]


@pytest.fixture(scope="module")
def judges(shared):
    try:
        return {name: load_small_judge(name) for name in NAMES}
    except UnavailableError as error:
        pytest.skip(f"FER_SHARED has no small judges: {error}")


@pytest.fixture(scope="module")
def london(shared, judges):
    """What both judges say of 40 people: tables with the true emotion and the person."""
    root = shared / "data" / "london512"
    if not root.is_dir():
        pytest.skip("FER_SHARED holds no London pictures")
    samples = read_london(root).head(80)
    # At half their size faces are still larger than either network's input.
    pictures = [read_image(root / path)[::2, ::2] for path in samples["source_path"]]
    places = found_places(pictures)
    names = samples["sample_id"].tolist()
    tables = {}
    for name, judge in judges.items():
        crops = cut_faces(pictures, places, judge.spec)
        table = judge.judge(crops, names, subjects=samples["subject"], lineage=Lineage())
        tables[name] = table.assign(emotion=samples["emotion"], subject=samples["subject"])
    return tables


def smiles(table):
    """Probability of happiness per person: neutral, smiling."""
    wide = table.pivot(index="subject", columns="emotion", values="p_happiness")
    return wide["neutral"].to_numpy(), wide["happiness"].to_numpy()


def test_colours_become_what_each_network_was_trained_on():
    white, black = torch.ones(1, 3, 2, 2), torch.zeros(1, 3, 2, 2)
    torch.testing.assert_close(grey_from_rgb(white), torch.ones(1, 1, 2, 2))
    torch.testing.assert_close(grey_from_rgb(black), -torch.ones(1, 1, 2, 2))
    red = torch.tensor([1.0, 0, 0])[None, :, None, None]
    assert grey_from_rgb(red).item() == pytest.approx(2 * 0.299 - 1)
    mean = torch.tensor([122.782, 117.001, 104.298])[None, :, None, None] / 255
    torch.testing.assert_close(centre_rgb(mean), torch.zeros(1, 3, 1, 1))


@pytest.mark.parametrize("name", NAMES)
def test_they_are_valid_judges(judges, name):
    assert judges[name].faults == ()
    assert len(judges[name].spec.emotions) == 7 and "MIT" in judges[name].spec.licence


@pytest.mark.parametrize(("name", "auc"), [("mini_xception", 0.88), ("faceapi", 0.92)])
def test_they_see_who_smiles(london, name, auc):
    neutral, smiling = smiles(london[name])
    assert len(neutral) == 40 and (smiling > neutral).sum() >= 37
    assert mannwhitneyu(smiling, neutral).statistic / 40**2 > auc
    assert neutral.mean() < 0.02 and smiling.mean() > 0.4


def test_they_agree_with_each_other(london):
    one, other = (london[name] for name in NAMES)
    found = kappa_between(one, other, one["subject"])
    assert 0.4 < found.low < found.high < 0.85 and found.n == 80


@pytest.fixture(scope="module")
def photographs(shared):
    """Ten photographs per emotion that the squares were not chosen on: emotions, pictures, places.

    The squares were chosen on the training split.
    """
    root = shared / "data" / "facial_expressions"
    if not root.is_dir():
        pytest.skip("FER_SHARED holds no facial_expressions")
    samples = read_facial_expressions(root)
    samples = samples[(samples["split"] != "train") & (samples["status"] == "ok")]
    emotions = ["neutral", "happiness", "surprise", "anger"]
    chosen = [samples[samples["emotion"] == name].head(10) for name in emotions]
    rows = pd.concat(chosen)
    pictures = [read_image(root / path) for path in rows["source_path"]]
    return rows["emotion"].to_numpy(), pictures, found_places(pictures)


@pytest.mark.parametrize(("name", "least"), [("mini_xception", 0.35), ("faceapi", 0.55)])
def test_they_recognise_labelled_photographs(judges, photographs, name, least):
    """By MTCNN's points; a constant answer would be right in a quarter."""
    emotions, pictures, places = photographs
    crops = cut_faces(pictures, places, judges[name].spec)
    table = judges[name].judge(crops, emotions, subjects=(), lineage=Lineage())
    right = (table["label"] == emotions).to_numpy()
    assert len(right) == 40 and right.mean() > least
    assert right[emotions == "happiness"].mean() >= 0.7


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "net.npz").write_bytes(b"no archive")
    with pytest.raises(ValueError, match="expected mini-Xception's arrays"):
        load_small_judge("mini_xception", tmp_path / "net.npz")
    with pytest.raises(ValueError, match=r"out of .*faceapi"):
        load_small_judge("vgg")


@pytest.mark.parametrize("name", sorted(SMALL_NETS))
def test_without_its_files_a_judge_is_unavailable_in_one_sentence(workplace, monkeypatch, name):
    monkeypatch.delenv("FER_SHARED", raising=False)
    with pytest.raises(UnavailableError, match=f"is unavailable: expected {name}.*not here"):
        load_small_judge(name)
    with pytest.raises(UnavailableError, match="there is no"):
        load_small_judge(name, workplace / "none.npz")
