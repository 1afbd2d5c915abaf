"""Explaining faces, which of them to look at, and the explorer without a front end."""

import io
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from fer_lib import explore, plots
from fer_lib.datasets.crops import cut_tight_crops
from fer_lib.datasets.preprocess import LOOSE_ALIGNMENT, build_store
from fer_lib.datasets.store import Store
from fer_lib.datasets.store_writer import StoreCard
from fer_lib.explore import samples
from fer_lib.faces.detect import Detection, FaceDetector
from fer_lib.faces.locate import FaceLocator
from fer_lib.faces.mesh import FaceMesh, MeshFace
from fer_lib.faces.mesh_points import IBUG68
from fer_lib.networks.branches import LandmarkArm, RgbArm
from fer_lib.networks.landmark_fusion import LandmarkFusion, Weighting
from fer_lib.tables import prediction_table, probability_columns, sample_table
from fer_lib.training.inference import Faces, predict
from fer_lib.weights import state_hash

EMOTIONS = ("neutral", "happiness", "fear")
SIDE, COUNT = 48, 18
FIVE = np.array([[22, 26], [42, 26], [32, 36], [25, 44], [39, 44]], np.float32)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return LandmarkFusion(RgbArm(3, SIDE, 4), LandmarkArm(3, 160, 2)).eval()


def made_store(five=False):
    """Faces of random blocks with random landmarks; the last one is not labelled."""
    generator = np.random.default_rng(0)
    blocks = generator.integers(0, 256, (COUNT, 8, 8, 3), dtype=np.uint8)
    points = generator.uniform(10, 54, (COUNT, 68, 2)).astype(np.float32)
    points[:, 36:42], points[:, 42:48], points[:, [30, 48, 54]] = FIVE[0], FIVE[1], FIVE[2:]
    labels = [EMOTIONS[row % 3] for row in range(COUNT - 1)]
    table = sample_table(
        pd.DataFrame({
            "sample_id": [f"face {row}" for row in range(COUNT)],
            "split": "test",
            "emotion": [*labels, None],
        })
    )
    scheme = "five" if five else "ibug68"
    landmarks = np.tile(FIVE, (COUNT, 1, 1)) if five else points
    return Store(
        Path("made"), table, blocks.repeat(8, axis=1).repeat(8, axis=2), landmarks,
        {"landmark_scheme": scheme}, {},
    )  # fmt: skip


@pytest.fixture(scope="module")
def store():
    return made_store()


@pytest.fixture(scope="module")
def crops(store):
    return cut_tight_crops(store, range(COUNT), SIDE)


@pytest.fixture(scope="module")
def predicted(network, crops):
    faces = Faces.of(crops.faces, crops.landmarks, np.zeros(COUNT), crops.valid)
    found = predict(network, faces)
    return {"rgb": found["rgb"], "landmarks": found["landmark"], "fusion": found["fusion"]}


@pytest.fixture(scope="module")
def disagreeing(predicted):
    """The first face about which the branches disagree."""
    rgb, landmarks = (predicted[name].argmax(axis=1) for name in ("rgb", "landmarks"))
    return int(np.flatnonzero(rgb != landmarks)[0])


def written(predicted, store, run="run"):
    rows = store.index[["sample_id", "split", "emotion"]]
    return prediction_table(
        pd.concat([
            rows.assign(run=f"{run}:{name}", protocol="per-sample").join(
                pd.DataFrame(values, columns=probability_columns(EMOTIONS))
            )
            for name, values in predicted.items()
        ]),
        EMOTIONS,
    )


def test_an_explanation_is_what_predict_says(network, crops, predicted):
    for row in range(3):
        told = explore.explain_face(network, crops.faces[row], crops.landmarks[row], EMOTIONS)
        assert list(told.probabilities.index) == list(EMOTIONS)
        for name, values in predicted.items():
            assert told.probabilities[name].to_numpy() == pytest.approx(values[row], abs=1e-6)
        assert told.disagreement_weight == network.disagreement_weight
        assert np.array_equal(told.face, crops.faces[row].numpy())
        assert told.heatmap.shape == (160, 160)
        assert set(np.unique(told.heatmap)) == {0, 1}
        for saliency, size in ((told.rgb_map, SIDE), (told.landmark_map, 160)):
            assert saliency is None or saliency.shape == (size, size)
    assert told.rgb_map is not None


def test_w_changes_the_fused_answer_alone_and_never_the_network(network, store, disagreeing):
    before, own = state_hash(network.state_dict()), network.disagreement_weight
    reading = explore.read_sample(network, store, disagreeing, EMOTIONS)
    low, high = reading.explain(0), reading.explain(1)
    for name in ("rgb", "landmarks"):
        assert low.probabilities[name].equals(high.probabilities[name])
    assert not np.allclose(low.probabilities["fusion"], high.probabilities["fusion"])
    assert low.landmark_weight == 0
    assert high.landmark_weight == pytest.approx(high.answer("landmarks")[1], abs=1e-6)
    assert network.disagreement_weight == own
    assert state_hash(network.state_dict()) == before
    assert reading.explain().probabilities.equals(reading.explain(own).probabilities)


def test_every_w_is_that_of_a_network_made_with_it(network, crops, disagreeing):
    other = LandmarkFusion(RgbArm(3, SIDE, 4), LandmarkArm(3, 160, 2), disagreement_weight=0.25)
    other.load_state_dict(network.state_dict())
    face = crops.faces[disagreeing], crops.landmarks[disagreeing], EMOTIONS
    expected = explore.explain_face(other.eval(), *face).probabilities
    told = explore.explain_face(network, *face, 0.25).probabilities
    np.testing.assert_allclose(told, expected, atol=1e-6)


@pytest.mark.parametrize("weighting", list(Weighting))
def test_a_network_without_w_does_not_claim_one(network, crops, disagreeing, weighting):
    other = LandmarkFusion(RgbArm(3, SIDE, 4), LandmarkArm(3, 160, 2), weighting).eval()
    other.load_state_dict(network.state_dict())
    face = crops.faces[disagreeing], crops.landmarks[disagreeing], EMOTIONS
    low, high = (explore.explain_face(other, *face, w) for w in (0, 1))
    uses = weighting in (Weighting.AGREEMENT, Weighting.BOTH)
    assert (low.disagreement_weight == 0) is uses
    assert low.probabilities.equals(high.probabilities) is not uses


def test_unknown_landmarks_count_nothing_and_have_no_map(network, crops):
    unknown = np.full((68, 2), np.nan)
    told = explore.explain_face(network, crops.faces[0], unknown, EMOTIONS)
    assert not told.landmarks_known
    assert told.landmark_map is None
    assert told.landmark_weight == 0
    assert not told.heatmap.any()


def test_a_network_of_batch_affinity_is_read_per_sample(network, crops, predicted):
    other = LandmarkFusion(RgbArm(3, SIDE, 4, affinity="batch"), LandmarkArm(3, 160, 2))
    other.load_state_dict(network.state_dict())
    told = explore.explain_face(other.eval(), crops.faces[0], crops.landmarks[0], EMOTIONS)
    np.testing.assert_allclose(told.probabilities["fusion"], predicted["fusion"][0], atol=1e-6)
    assert str(other.rgb.arm.affinity) == "batch"


def test_what_does_not_fit_is_refused(network, crops):
    with pytest.raises(ValueError, match="3 emotions"):
        explore.explain_face(network, crops.faces[0], crops.landmarks[0], EMOTIONS[:2])
    with pytest.raises(ValueError, match="crop of"):
        explore.explain_face(network, crops.faces[0, :9], crops.landmarks[0], EMOTIONS)
    for w in (-0.1, 1.1, np.nan):
        with pytest.raises(ValueError, match="0 to 1"):
            explore.explain_face(network, crops.faces[0], crops.landmarks[0], EMOTIONS, w)


def test_labels_are_the_same_recognised_anew_or_looked_up(network, store, predicted):
    rows = np.arange(COUNT)[::-2]
    anew = samples.predicted_labels(network, store, rows, EMOTIONS)
    table = written(predicted, store).sample(frac=1, random_state=0)
    assert samples.written_labels(table, store, rows).astype(str).equals(anew.astype(str))
    expected = [EMOTIONS[k] for k in predicted["fusion"].argmax(axis=1)[rows]]
    assert anew["fusion"].tolist() == expected


def test_predictions_of_other_faces_are_refused(network, store, predicted):
    table, rows = written(predicted, store), np.arange(COUNT)
    with pytest.raises(ValueError, match="of fusion per face, 1 of 17"):
        absent = (table["sample_id"] == "face 3") & table["run"].str.endswith("fusion")
        samples.written_labels(table[~absent], store, rows)
    with pytest.raises(ValueError, match="repeated"):
        twice = pd.concat([table, written(predicted, store, "again")])
        explore.fusion_explorer(network, store, EMOTIONS, predictions=twice)
    unlabelled = samples.written_labels(table[table["emotion"].notna()], store, rows)
    assert unlabelled.iloc[-1].isna().all()
    assert unlabelled.iloc[:-1].notna().all(axis=None)


def test_choices_split_the_labelled_faces():
    labels = pd.DataFrame({"rgb": ["fear", "anger", "fear", "fear"],
                           "landmarks": ["fear", "fear", "fear", "anger"],
                           "fusion": ["fear", "anger", "anger", "fear"]})
    true = pd.Series(["fear", "fear", None, "fear"], dtype="str")
    chosen = {choice: samples.fitting(labels, true, choice).tolist() for choice in samples.CHOICES}
    assert chosen == {
        "all faces": [True, True, True, True],
        "fusion right": [True, False, False, True],
        "fusion wrong": [False, True, False, False],
        "branches disagree": [False, True, False, True],
    }
    with pytest.raises(ValueError, match="choice"):
        samples.fitting(labels, true, "some")


def test_right_and_wrong_faces_are_right_and_wrong(network, store, predicted):
    groups = explore.right_and_wrong(network, store, EMOTIONS, each=2, seed=1)
    (_, right), (_, wrong) = groups.items()
    assert all(face.answer("fusion")[0] == face.emotion for face in right)
    assert all(face.answer("fusion")[0] != face.emotion for face in wrong)
    assert len({face.emotion for face in wrong}) == 2
    hits = (predicted["fusion"].argmax(axis=1)[:-1] == np.arange(COUNT - 1) % 3).sum()
    assert [title.partition(" faces")[0] for title in groups] == [
        f"fusion right: {min(2, hits)} of {hits}", f"fusion wrong: 2 of {COUNT - 1 - hits}"
    ]  # fmt: skip
    again = explore.right_and_wrong(
        network, store, EMOTIONS, written(predicted, store), each=2, seed=1
    )
    names = [[face.name for face in faces] for faces in again.values()]
    assert names == [[face.name for face in faces] for faces in groups.values()]
    assert plots.saliency_panel(groups).axes


def test_the_explorer_shows_a_face_at_once(network, store):
    explorer = explore.fusion_explorer(network, store, EMOTIONS)
    assert explorer.explanation.name == "face 0"
    assert Image.open(io.BytesIO(explorer.picture.value)).format == "PNG"
    assert explorer.note.value == f"1 of {COUNT} faces that fit."
    assert explorer.w.value == network.disagreement_weight
    explorer.number.value = 5
    assert explorer.explanation.name == "face 4"


def test_filters_and_the_slider_react(network, store, predicted):
    explorer = explore.fusion_explorer(network, store, EMOTIONS)
    explorer.number.value = COUNT
    explorer.emotion.value = "fear"
    assert explorer.explanation.name == "face 2"
    assert explorer.number.max == 5
    explorer.number.value = 5
    assert explorer.explanation.name == "face 14"
    explorer.emotion.value = "all emotions"
    explorer.choice.value = "branches disagree"
    told = explorer.explanation
    assert not told.agree
    picture = explorer.picture.value
    explorer.w.value = 0.0
    assert explorer.explanation.probabilities["rgb"].equals(told.probabilities["rgb"])
    assert not explorer.explanation.probabilities["fusion"].equals(told.probabilities["fusion"])
    assert explorer.picture.value != picture
    assert network.disagreement_weight == 0.6


def test_a_filter_that_nothing_fits_says_so(network, store, predicted):
    forced = {**predicted, "fusion": np.tile([1.0, 0, 0], (COUNT, 1))}
    explorer = explore.fusion_explorer(
        network, store, EMOTIONS, predictions=written(forced, store)
    )
    explorer.emotion.value = "fear"
    explorer.choice.value = "fusion right"
    assert explorer.note.value.startswith("No face fits")
    assert explorer.number.disabled
    explorer.choice.value = "fusion wrong"
    assert not explorer.number.disabled
    assert explorer.explanation.emotion == "fear"


def test_a_network_without_w_has_a_dead_slider(network, store):
    other = LandmarkFusion(network.rgb, network.landmark, Weighting.CONFIDENCE).eval()
    assert explore.fusion_explorer(other, store, EMOTIONS).w.disabled


def test_a_split_without_faces_is_refused(network, store):
    with pytest.raises(ValueError, match="faces in the val split"):
        explore.fusion_explorer(network, store, EMOTIONS, split="val")


class Nobody:
    """A detector that finds nothing."""

    def detect(self, images):
        return [None] * len(images)


class Somebody:
    """A detector that finds the same five points everywhere."""

    def detect(self, images):
        return [Detection((0, 0, 64, 64), 0.9, FIVE)] * len(images)


class Mesh:
    """A mesh that finds 478 points around the same five, or nothing."""

    def __init__(self, found=True):
        spread = np.random.default_rng(0).normal((32, 35, 0), 6, (478, 3))
        points = spread.astype(np.float32)
        points[IBUG68[36:42], :2], points[IBUG68[42:48], :2] = FIVE[0], FIVE[1]
        points[IBUG68[[30, 48, 54]], :2] = FIVE[2:]
        self._face = MeshFace(points, np.zeros(52, np.float32), 1.0) if found else None

    def find(self, image, near=None):
        return self._face


class Broken:
    """A detector that fails."""

    def detect(self, images):
        raise RuntimeError("out of\nmemory")


def bring(explorer, content, name="me.png"):
    file = {"name": name, "type": "image/png", "size": len(content), "content": content,
            "last_modified": datetime.now(UTC)}  # fmt: skip
    explorer.upload.value = (file,)


def png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    return buffer.getvalue()


def store_of(photograph, folder, locator, scheme):
    """What notebook 01 would make of a photograph."""
    (folder / "one.png").write_bytes(photograph)
    table = sample_table([{"sample_id": "one", "source_path": "one.png", "split": "test"}])
    card = StoreCard("test", "none", LOOSE_ALIGNMENT, landmark_scheme=scheme)
    return build_store(table, folder, folder / "store", size=64, locator=locator, card=card)


@pytest.mark.parametrize("scheme", ["five", "ibug68"])
def test_an_upload_is_seen_as_the_same_photograph_in_a_store(network, tmp_path, scheme):
    photograph = png(np.random.default_rng(1).integers(0, 256, (90, 70, 3), dtype=np.uint8))
    locator = FaceLocator(Somebody(), Mesh() if scheme == "ibug68" else None)
    explorer = explore.fusion_explorer(
        network, store_of(photograph, tmp_path, locator, scheme), EMOTIONS, locator=locator
    )
    stored = explorer.explanation
    bring(explorer, photograph, "a<b>.png")
    assert explorer.note.value == "a&lt;b&gt;.png: a face was found."
    told = explorer.explanation
    assert (told.name, stored.name) == ("a<b>.png", "one")
    assert told.probabilities.equals(stored.probabilities)
    assert np.array_equal(told.face, stored.face)
    assert np.array_equal(told.heatmap, stored.heatmap)
    assert told.landmarks_known
    assert told.emotion is None
    assert explorer.upload.value == ()


def test_a_face_without_a_mesh_is_shown_with_a_remark(network, store):
    explorer = explore.fusion_explorer(
        network, store, EMOTIONS, locator=FaceLocator(Somebody(), Mesh(found=False))
    )
    bring(explorer, png(store.faces[0]))
    assert explorer.note.value == "me.png: no mesh found: its landmarks are unknown"
    assert explorer.explanation.name == "me.png"
    assert not explorer.explanation.landmarks_known
    explorer.number.value = 2
    assert explorer.explanation.name == "face 1"
    assert explorer.note.value.startswith("2 of")


def huge():
    buffer = io.BytesIO()
    Image.new("1", (9_000, 9_000)).save(buffer, "png")
    return buffer.getvalue()


@pytest.mark.parametrize(("content", "sentence"), [
    (lambda: b"To be, or not to be", "is not an image of a known format"),
    (lambda: b"", "is empty"),
    (lambda: png(np.zeros((64, 64, 3), np.uint8)), "neither mesh nor MTCNN found a face"),
    (lambda: png(np.zeros((1, 1, 3), np.uint8)), "neither mesh nor MTCNN found a face"),
    (lambda: png(np.zeros((64, 64, 3), np.uint8))[:60], "cannot be decoded"),
    (huge, "too large"),
])  # fmt: skip
def test_what_is_no_photograph_of_a_face_gets_one_sentence(network, store, content, sentence):
    explorer = explore.fusion_explorer(
        network, store, EMOTIONS, locator=FaceLocator(Nobody(), Mesh(found=False))
    )
    before = explorer.picture.value
    bring(explorer, content(), "<script>.png")
    assert sentence in explorer.note.value
    assert explorer.note.value.startswith("&lt;script&gt;.png: ")
    assert "\n" not in explorer.note.value
    assert explorer.picture.value == before
    assert explorer.upload.value == ()


def test_a_detector_that_fails_and_landmarks_that_nobody_finds_get_one_sentence(network, store):
    explorer = explore.fusion_explorer(
        network, made_store(five=True), EMOTIONS, locator=FaceLocator(Broken())
    )
    bring(explorer, png(store.faces[0]))
    assert explorer.note.value == "me.png: out of memory"
    foreign = made_store()
    foreign.card["landmark_scheme"] = "rafdb37"
    explorer = explore.fusion_explorer(network, foreign, EMOTIONS, locator=FaceLocator(Nobody()))
    bring(explorer, png(store.faces[0]))
    assert "not found in photographs" in explorer.note.value


@pytest.fixture(scope="module")
def locator(shared):
    bundle = shared / "assets" / "models" / "mediapipe" / "face_landmarker.task"
    if not bundle.is_file():
        pytest.skip("the bundle of the face mesh is absent")
    return FaceLocator(FaceDetector("cpu"), FaceMesh(bundle))


def test_a_real_photograph_gives_probabilities(network, store, shared, locator):
    photographs = sorted((shared / "data" / "london512" / "smiling").glob("*.jpg"))
    if not photographs:
        pytest.skip("the London set is absent")
    explorer = explore.fusion_explorer(network, store, EMOTIONS, locator=locator)
    bring(explorer, photographs[0].read_bytes(), photographs[0].name)
    told = explorer.explanation
    assert told.name == photographs[0].name
    np.testing.assert_allclose(told.probabilities.sum(), 1, atol=1e-5)
    assert told.landmarks_known
    # 68 dots of nine pixels, some of them one over the other.
    assert 200 < told.heatmap.sum() <= 612
    bring(explorer, png(np.full((300, 400, 3), 255, np.uint8)), "blank.png")
    assert explorer.note.value == "blank.png: neither mesh nor MTCNN found a face"
    bring(explorer, png(np.zeros((2, 30_000, 3), np.uint8)), "strip.png")
    assert explorer.note.value == "strip.png: neither mesh nor MTCNN found a face"
    assert explorer.explanation.name == photographs[0].name
