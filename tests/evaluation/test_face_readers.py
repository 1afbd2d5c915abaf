import numpy as np
import pytest
import torch

from fer_lib.evaluation.crop_rules import FacePlace
from fer_lib.evaluation.face_readers import FusionReader, JudgeReader
from fer_lib.evaluation.judge_spec import JudgeSpec
from fer_lib.evaluation.judges import Judge
from fer_lib.faces.align import five_points
from fer_lib.networks.branches import LandmarkArm, RgbArm
from fer_lib.networks.checkpoints import Lineage, save_recogniser
from fer_lib.networks.landmark_fusion import LandmarkFusion
from fer_lib.training.inference import Faces, predict
from fer_lib.weights import load_network, save_network, state_hash

EMOTIONS = ("neutral", "happiness", "anger")


def landmarks():
    rng = np.random.default_rng(0)
    points = rng.uniform(30, 70, (68, 2)).astype(np.float32)
    points[36:42] += (-10, -10) - points[36:42] + (40, 45)
    points[42:48] += (10, -10) - points[42:48] + (60, 45)
    points[48], points[54] = (42, 75), (58, 75)
    return points


def place(shift=0.0, landmarks_known=True):
    points = landmarks() + np.float32(shift)
    five = five_points(torch.from_numpy(points)[None])[0].numpy()
    return FacePlace(five, (20, 20, 80, 90), points if landmarks_known else None)


@pytest.fixture
def pictures():
    return list(np.random.default_rng(1).integers(0, 255, (3, 100, 110, 3), np.uint8))


@pytest.fixture
def fusion(tmp_path):
    torch.manual_seed(0)
    rgb = RgbArm(3, image_size=48, width=16, stride=8)
    network = LandmarkFusion(rgb, LandmarkArm(3, image_size=144, width=8))
    save_recogniser(tmp_path / "fusion.safetensors", network, EMOTIONS, Lineage())
    return tmp_path / "fusion.safetensors", network.eval()


def test_the_fusion_reads_a_photograph_as_it_reads_a_store(fusion, pictures):
    path, network = fusion
    places = [place(), None, place(2.0)]
    table = FusionReader(path).read(pictures, places)
    assert table["label"].isna().tolist() == [False, True, False]
    assert list(table.columns) == ["p_neutral", "p_happiness", "p_anger", "label"]
    shares = table.filter(regex="^p_").to_numpy()
    assert np.isnan(shares[1]).all()
    np.testing.assert_allclose(shares[[0, 2]].sum(axis=1), 1, atol=1e-5)
    # By hand: a crop of the picture about its landmarks, and these in it.
    from fer_lib.faces.align import seed_affine
    from fer_lib.faces.warp import to_uint8, transform_points, warp

    five, points = (torch.from_numpy(each)[None] for each in (places[2].five, places[2].landmarks))
    matrix, _ = seed_affine(five, 48)
    crop = to_uint8(warp(torch.from_numpy(pictures[2])[None], matrix, 48))
    faces = Faces.of(crop, transform_points(points, matrix), [0])
    np.testing.assert_allclose(shares[2], predict(network, faces)["fusion"][0], atol=2e-3)


def test_landmarks_matter_to_the_fusion_and_can_be_unknown(fusion, pictures):
    reader = FusionReader(fusion[0])
    known, moved, unknown = (
        reader.read(pictures[:1], [each]).filter(regex="^p_").to_numpy()
        for each in (place(), place()._replace(landmarks=landmarks() + 4),
                     place(landmarks_known=False))
    )  # fmt: skip
    assert np.abs(known - moved).max() > 1e-6
    assert np.isfinite(unknown).all()
    assert np.abs(known - unknown).max() > 1e-6


def test_an_answer_does_not_depend_on_the_others(fusion, pictures):
    reader = FusionReader(fusion[0])
    places = [place(), place(1.0), place(2.0)]
    together = reader.read(pictures, places).filter(regex="^p_").to_numpy()
    for row in range(3):
        alone = reader.read(pictures[row : row + 1], places[row : row + 1])
        np.testing.assert_allclose(
            alone.filter(regex="^p_").to_numpy()[0], together[row], atol=1e-5
        )


def test_nobody_and_nothing_are_tables_too(fusion, pictures):
    reader = FusionReader(fusion[0])
    assert reader.read(pictures[:1], [None])["label"].isna().all()
    assert reader.read([None], [None]).filter(regex="^p_").isna().all(axis=None)


def test_a_fusion_that_cannot_be_fed_or_trusted_is_refused(fusion, tmp_path):
    path, network = fusion
    with pytest.raises(ValueError, match="learned from 'rafdb37', which are not found"):
        FusionReader(path, scheme="rafdb37")
    save_recogniser(tmp_path / "rgb.safetensors", network.rgb, EMOTIONS, Lineage())
    with pytest.raises(ValueError, match="expected a landmark fusion"):
        FusionReader(tmp_path / "rgb.safetensors")
    state, config = load_network(path)
    save_network(tmp_path / "x.safetensors", state | {"fc.bias": state["fc.bias"] + 1}, config)
    with pytest.raises(ValueError, match="not the recorded ones"):
        FusionReader(tmp_path / "x.safetensors")


def judge(crop="box", digest=None):
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 3))
    spec = JudgeSpec("flat", 8, crop, EMOTIONS, digest or state_hash(network.state_dict()), "none",
                     Lineage())  # fmt: skip
    return Judge(spec, network, lambda images: network(images).softmax(dim=1))


def test_judges_that_are_unfit_are_refused_before_any_picture_is_read():
    with pytest.raises(ValueError, match="unknown rule 'oval'"):
        JudgeReader(judge("oval"))
    with pytest.raises(ValueError, match="not the recorded ones"):
        JudgeReader(judge(digest="0"))


def test_a_judge_reads_what_its_rule_cuts(pictures):
    reader = JudgeReader(judge("tight"))
    table = reader.read(
        pictures, [place(), place()._replace(five=np.zeros((5, 2), np.float32)), None]
    )
    assert table["label"].isna().tolist() == [False, True, True]
    assert reader.emotions == EMOTIONS
