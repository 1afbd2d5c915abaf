"""Edit sets judged by all who are here, on a store whose faces show their emotion as a colour."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from fer_lib.datasets.edit_sets import BLURRED, EditSet, blur_sources, write_edit_set
from fer_lib.datasets.edits import COPY_SOURCE, STRANGER, TRUE_EDIT, trivial_edits
from fer_lib.datasets.store import Store
from fer_lib.datasets.store_writer import StoreCard, StoreWriter
from fer_lib.evaluation.absent import Absent
from fer_lib.evaluation.album import Album
from fer_lib.evaluation.edit_study import EditStudy
from fer_lib.evaluation.identity import Embedder, EmbedderSpec
from fer_lib.evaluation.judge_spec import JudgeSpec
from fer_lib.evaluation.judges import Judge
from fer_lib.faces.align import SEED_FRAME
from fer_lib.faces.locate import Location
from fer_lib.networks.checkpoints import Lineage
from fer_lib.tables import sample_table
from fer_lib.weights import state_hash

SIZE, CLASSES = 48, ("neutral", "happiness", "anger")
PEOPLE = [f"person{k}" for k in range(12)]
# The seed's frame of 100, so that the judge's tight crop is the picture itself.
EYES_AND_MOUTH = np.array(SEED_FRAME, np.float32) * (SIZE / 100)
LEFT, RIGHT, MOUTH = EYES_AND_MOUTH
SHIFT = np.float32((6, 0))
FIVE = np.stack([LEFT, RIGHT, (LEFT + RIGHT + MOUTH) / 3, MOUTH - SHIFT, MOUTH + SHIFT])
FIVE = FIVE.astype(np.float32)


class Locator:
    has_mesh = False

    def locate(self, images):
        return [Location(FIVE, "mtcnn", (0, 0, SIZE, SIZE), None) for _ in images]


class Colours(nn.Module):
    """The channel that is brightest is the emotion; blotches of brightness are the person."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(9.0))

    def forward(self, images):
        return (self.scale * images.mean(dim=(2, 3))).softmax(dim=1)

    def person(self, crops):
        patches = nn.functional.adaptive_avg_pool2d(crops, 8).mean(1)
        return (patches - patches.mean((1, 2), keepdim=True)).flatten(1) * self.scale


def judge(name="colours", lineage=None, answer=None):
    network = Colours()
    digest = state_hash(network.state_dict())
    spec = JudgeSpec(name, SIZE, "tight", CLASSES, digest, "none", lineage or Lineage())
    return Judge(spec, network, answer or network)


def embedder(lineage=None):
    network = Colours()
    digest = state_hash(network.state_dict())
    spec = EmbedderSpec("blotches", "whole", digest, "none", lineage or Lineage())

    def align(images, five):
        return images.permute(0, 3, 1, 2).float() / 255, torch.ones(len(images), dtype=torch.bool)

    return Embedder(spec, network, network.person, align)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    generator = np.random.default_rng(0)
    blotches = {who: generator.uniform(40, 160, (8, 8, 1)) for who in PEOPLE}
    names = [(who, emotion) for who in PEOPLE for emotion in CLASSES]
    faces = []
    for who, emotion in names:
        coarse = blotches[who] + 60 * np.eye(3)[CLASSES.index(emotion)] + (15, 0, -15)
        faces.append(np.kron(coarse, np.ones((6, 6, 1))).clip(0, 255).astype(np.uint8))
    samples = sample_table([
        {"sample_id": f"{who}-{emotion}", "subject": who, "pair": who, "emotion": emotion,
         "split": "test"}
        for who, emotion in names
    ])  # fmt: skip
    path = tmp_path_factory.mktemp("study") / "store"
    card = StoreCard("colours", "none", "none", landmark_scheme="five")
    with StoreWriter(path, n=len(names), size=SIZE, n_landmarks=5, card=card) as writer:
        writer.write(samples, np.stack(faces), np.repeat(FIVE[None], len(names), axis=0))
    return Store.open(path)


@pytest.fixture(scope="module")
def study(store, tmp_path_factory):
    trivial = trivial_edits(store.index)
    folder = tmp_path_factory.mktemp("blurred")
    blurred = write_edit_set(folder, *blur_sources(trivial, store), store, Locator())
    return EditStudy.of(store, [EditSet(trivial), blurred])


def mean(scores, editor, metric):
    rows = scores[(scores["editor"] == editor) & (scores["metric"] == metric)]
    return rows["value"].mean()


def test_the_judge_sees_the_true_edit_and_not_the_copy(study):
    answers, fitness = study.answers([judge(), Absent("other", "fetch it")])
    assert dict(zip(fitness["judge"], fitness["status"], strict=True)) == {
        "colours": "valid", "other": "unavailable"}  # fmt: skip
    scores, refused = study.emotions([judge()], answers)
    assert refused.empty
    reached = {editor: mean(scores, editor, "reached_frac") for editor in
               (TRUE_EDIT, STRANGER, COPY_SOURCE, BLURRED)}  # fmt: skip
    assert reached == {TRUE_EDIT: 1, STRANGER: 1, COPY_SOURCE: 0, BLURRED: 0}


def test_a_judge_that_learned_from_these_people_is_refused(study):
    learned = judge(lineage=Lineage.of("store", PEOPLE[:1]))
    answers, fitness = study.answers([learned])
    assert not answers
    assert fitness["status"].tolist() == ["refused"]
    assert "learned from 1 of the subjects" in fitness["reason"][0]


def test_a_judge_that_guided_one_editor_still_judges_the_others(study):
    own = judge()
    lineage = {"networks": [own.spec.weights_sha256]}
    sets = (study.sets[0], EditSet(study.sets[1].edits, study.sets[1].pictures, lineage))
    changed = EditStudy(sets, study.album)
    answers, _ = changed.answers([own])
    scores, refused = changed.emotions([own], answers)
    assert refused["editors"].tolist() == [BLURRED]
    assert "in the lineage" in refused["reason"][0]
    assert set(scores["editor"]) == {TRUE_EDIT, COPY_SOURCE, STRANGER}


def test_an_unfit_judge_gives_no_scores(study):
    same = judge("same", answer=lambda images: torch.full((len(images), 3), 1 / 3))
    answers, fitness = study.answers([same])
    assert fitness["status"].tolist() == ["not valid"]
    scores, _ = study.emotions([same], answers)
    assert scores.empty


def test_identity_is_kept_by_copies_and_lost_by_strangers(study, store):
    people = store.index["sample_id"].tolist()
    metrics, fitness = study.identities([embedder()], people)
    assert fitness["status"].tolist() == ["valid"], fitness["reason"][0]
    scores, refused = study.likeness(metrics)
    assert refused.empty
    assert mean(scores, COPY_SOURCE, "csim") == pytest.approx(1, abs=1e-6)
    assert mean(scores, COPY_SOURCE, "unchanged_frac") == 1
    assert mean(scores, TRUE_EDIT, "same_person_frac") == 1
    assert mean(scores, STRANGER, "same_person_frac") < 0.2
    assert abs(mean(scores, STRANGER, "csim_normalised")) < 0.2


def test_pictures_are_compared_where_there_are_no_landmarks(study):
    scores, notes = study.looks([Absent("lpips_alex", "no trunk")])
    assert notes == {"lpips_alex": "no trunk"}
    assert np.isinf(mean(scores, TRUE_EDIT, "true_psnr_db"))
    assert np.isnan(mean(scores, TRUE_EDIT, "background_psnr_db"))
    assert mean(scores, TRUE_EDIT, "true_ssim") == pytest.approx(1)
    assert mean(scores, BLURRED, "true_ssim") < mean(scores, COPY_SOURCE, "true_ssim")


def test_judges_that_say_the_same_agree(study):
    answers, _ = study.answers([judge("one"), judge("two")])
    (row,) = study.agreement(answers).to_dict("records")
    assert (row["first"], row["second"], row["value"]) == ("one", "two", 1)
    assert row["n"] == study.edits["image"].nunique()


def test_the_sheet_shows_different_targets_and_every_editor(study):
    sheet = study.sheet(3, seed=1)
    assert list(sheet) == ["source", TRUE_EDIT, COPY_SOURCE, STRANGER, BLURRED]
    assert len({name.split(" → ")[1] for name in sheet.index}) == 3
    assert (sheet["source"] == sheet[COPY_SOURCE]).all()


def test_an_album_finds_pictures_by_name_in_any_order(study, store):
    names = ["person3-anger", study.sets[1].edits["image"][0], "person0-neutral"]
    faces = study.album.faces(names)
    ids = pd.Index(store.index["sample_id"])
    assert np.array_equal(faces[0], store.faces[ids.get_loc("person3-anger")])
    assert np.array_equal(faces[1], study.sets[1].pictures.faces[0])
    assert study.album.subjects(names)[2] == "person0"
    with pytest.raises(ValueError, match="1 are unknown, such as 'nobody'"):
        study.album.faces(["person0-neutral", "nobody"])


def test_two_pictures_of_one_name_are_refused(store):
    with pytest.raises(ValueError, match="share no picture's name"):
        Album([store, store])
