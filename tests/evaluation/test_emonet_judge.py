import numpy as np
import pytest
import torch
from torch import nn

from fer_lib.assets import file_sha256
from fer_lib.evaluation.emonet import (
    check_sight,
    emonet_file,
    emonet_judge,
    flip_consistency,
    landmark_errors_pct_iod,
    load_emonet_judge,
)
from fer_lib.evaluation.emonet_crop import cut_emonet_crops, emonet_affine
from fer_lib.evaluation.judge_spec import UnavailableError
from fer_lib.networks.checkpoints import Lineage
from fer_lib.networks.emonet import EmoNet, EmoNetOutput

NUMBERS = ["p_neutral", "p_anger", "valence", "arousal"]
FREE = {"subjects": ["cyn"], "lineage": Lineage()}


def shape_of(left, top, width, height):
    """68 landmarks whose box is the given one."""
    draw = np.random.default_rng(0)
    unit = draw.uniform(0, 1, (68, 2))
    unit[:4] = [[0, 0.5], [1, 0.5], [0.5, 0], [0.5, 1]]
    unit[[36, 45]] = [[0.2, 0.4], [0.8, 0.4]]
    return (unit * [width, height] + [left, top]).astype(np.float32)


def faces_of(count=6, side=120):
    draw = np.random.default_rng(1)
    coarse = torch.from_numpy(draw.uniform(0, 255, (count, 3, 4, 4)))
    images = nn.functional.interpolate(coarse, (side, side), mode="bilinear")
    shapes = [shape_of(20 + i % 6, 25, 60 + i % 6, 60 + i % 6) for i in range(count)]
    return images.permute(0, 2, 3, 1).round().to(torch.uint8).numpy(), np.stack(shapes)


class Colours(nn.Module):
    """Answers from mean colours; its landmarks are where every crop of `faces_of` has them."""

    def __init__(self, classes=8, affect_scale=1.0, blind=False):
        super().__init__()
        self.classes, self.affect_scale = classes, affect_scale
        self.weight = nn.Parameter(torch.randn(12, classes, generator=torch.manual_seed(0)))
        images, shapes = faces_of(1)
        known = cut_emonet_crops(torch.from_numpy(images), torch.from_numpy(shapes)).landmarks_px
        self.cells = torch.zeros(68, 2).long() if blind else (known[0] / 4).long().clamp(0, 63)

    def forward(self, images):
        heatmaps = torch.zeros(len(images), 68, 64, 64)
        heatmaps[:, torch.arange(68), self.cells[:, 1], self.cells[:, 0]] = 1
        colours = nn.functional.adaptive_avg_pool2d(images, 2).flatten(1) - 0.5
        logits = 4 * colours @ self.weight
        valence, arousal = (self.affect_scale * colours[:, place] for place in (0, 5))
        return EmoNetOutput(heatmaps, logits, valence, arousal)


def test_the_crop_by_hand():
    shapes = np.stack([shape_of(10, 20, 110, 110), shape_of(10, 20, 60, 160)])
    matrices, valid = emonet_affine(torch.from_numpy(shapes))
    assert valid.all()
    # w + h = 220: a square of 200 px, enlarged to 256; centres (65, 75) and (40, 100) go to 128.
    wanted = [[1.28, 0, 128 - 1.28 * 65], [0, 1.28, 128 - 1.28 * 75]]
    np.testing.assert_allclose(matrices[0], wanted, atol=1e-4)
    np.testing.assert_allclose(matrices[1, :, 2], [128 - 1.28 * 40, 128 - 1.28 * 100], atol=1e-4)


def test_the_crop_shows_what_lies_there_and_black_outside():
    images = np.zeros((1, 130, 130, 3), np.uint8)
    images[..., 0] = np.arange(130)[None, None, :]
    images[..., 1] = 100
    shapes = torch.from_numpy(shape_of(10, 20, 110, 110)[None])
    crops = cut_emonet_crops(torch.from_numpy(images), shapes)
    assert crops.faces.shape == (1, 256, 256, 3) and crops.faces.dtype == torch.uint8
    columns = np.array([60, 128, 190])
    np.testing.assert_allclose(crops.faces[0, 128, columns, 0], (columns - 44.8) / 1.28, atol=0.51)
    assert crops.faces[0, 128, 40].max() == 0 and crops.faces[0, 250, 128].max() == 0
    # The picture's 130 px are 0.65 of the square's 200.
    np.testing.assert_allclose(crops.outside, 1 - 0.65**2, atol=1e-5)
    moved = shapes * 1.28 + torch.tensor([44.8, 32.0])
    torch.testing.assert_close(crops.landmarks_px, moved, atol=1e-3, rtol=0)


def test_a_crop_is_its_own_and_one_without_landmarks_is_black():
    images, shapes = faces_of(3)
    shapes[1, 7] = np.nan
    crops = cut_emonet_crops(torch.from_numpy(images), torch.from_numpy(shapes))
    assert crops.valid.tolist() == [True, False, True] and crops.outside[1] == 1
    assert crops.faces[1].max() == 0 and crops.landmarks_px[1].isnan().all()
    alone = cut_emonet_crops(torch.from_numpy(images[2:]), torch.from_numpy(shapes[2:]))
    assert torch.equal(alone.faces[0], crops.faces[2])
    assert not emonet_affine(torch.full((1, 68, 2), 5.0))[1]
    with pytest.raises(ValueError, match="68 landmarks"):
        emonet_affine(torch.zeros(1, 5, 2))


def test_the_fifth_class_of_five_is_anger():
    judge = emonet_judge(Colours(5))
    with torch.no_grad():
        judge.network.weight.mul_(0)
        judge.network.weight[:, 4] = torch.linspace(1, 5, 12)
    bright = emonet_judge(judge.network)
    assert bright.spec.emotions == ("neutral", "happiness", "sadness", "surprise", "anger")
    crops = np.full((1, 256, 256, 3), 255, np.uint8)
    table = bright.judge(crops, ["a"], **FREE)
    assert table.columns.tolist()[-4:] == ["p_anger", "label", "valence", "arousal"]
    assert table["p_anger"].item() > 0.99
    assert emonet_judge(Colours(8)).spec.emotions[4:7] == ("fear", "disgust", "anger")


def test_answers_are_clipped_and_do_not_depend_on_the_batch():
    judge = emonet_judge(Colours(affect_scale=30))
    assert judge.faults == ()
    images, shapes = faces_of()
    crops = cut_emonet_crops(torch.from_numpy(images), torch.from_numpy(shapes)).faces.numpy()
    table = judge.judge(crops, list("abcdef"), **FREE)
    affect = table[["valence", "arousal"]].to_numpy()
    assert np.abs(affect).max() == 1 and len(np.unique(np.sign(affect))) > 1
    assert table["sample_id"].tolist() == list("abcdef")
    single = judge.judge(crops, list("abcdef"), **FREE, batch_size=1)
    np.testing.assert_allclose(single[NUMBERS], table[NUMBERS], atol=1e-6)


def test_a_judge_that_is_broken_or_involved_says_so():
    crops = np.zeros((1, 256, 256, 3), np.uint8)
    with pytest.raises(ValueError, match="answers are not finite"):
        emonet_judge(Colours(affect_scale=np.nan)).judge(crops, ["a"], **FREE)
    judge = emonet_judge(Colours())
    guided = Lineage(networks=frozenset([judge.spec.weights_sha256]))
    with pytest.raises(ValueError, match="lineage"):
        judge.judge(crops, ["a"], subjects=["cyn"], lineage=guided)
    for wrong in (crops.astype(np.float32), crops[:, :200], crops[..., :1]):
        with pytest.raises(ValueError, match=r"expected .*crops"):
            judge.judge(wrong, ["a"], **FREE)


def test_a_judge_that_does_not_see_the_face_is_not_valid():
    images, shapes = faces_of(2)
    seeing = emonet_judge(Colours())
    crops = cut_emonet_crops(torch.from_numpy(images), torch.from_numpy(shapes))
    assert landmark_errors_pct_iod(seeing, crops).max() < 5
    untrained = emonet_judge(EmoNet(8))
    for judge in (emonet_judge(Colours(blind=True)), untrained):
        with pytest.raises(ValueError, match=r"not valid: its landmarks .* those of 2 faces"):
            check_sight(judge, images, shapes)
    check_sight(seeing, images, shapes)
    # Faces without landmarks cannot be compared.
    check_sight(untrained, images, np.full_like(shapes, np.nan))
    shapes[0, 3] = np.nan
    check_sight(seeing, images, shapes)


def test_the_flip_floor_is_perfect_for_symmetric_faces_only():
    judge = emonet_judge(Colours())
    images, shapes = faces_of(12)
    crops = cut_emonet_crops(torch.from_numpy(images), torch.from_numpy(shapes)).faces.numpy()
    symmetric = np.concatenate([crops[:, :, :128], crops[:, :, 127::-1]], axis=2)
    people = [f"p{i // 2}" for i in range(12)]
    options = {"subjects": people, "lineage": Lineage()}
    table = flip_consistency(judge, symmetric, **options)
    assert table.loc[("valence", "ccc"), "value"] == pytest.approx(1)
    assert table.loc[("arousal", "rmse"), "value"] == pytest.approx(0, abs=1e-6)
    assert table.loc[("expression", "agreement"), ["value", "n"]].tolist() == [1, 12]
    crooked = flip_consistency(judge, crops, **options)
    assert crooked.loc[("valence", "ccc"), "value"] < 0.9
    low, value, high = crooked.loc[("valence", "ccc"), ["low", "value", "high"]]
    assert low < value < high


def test_without_the_file_the_judge_is_unavailable_in_one_sentence(workplace):
    with pytest.raises(UnavailableError, match=r"unavailable.*BY-NC-ND.*put it at") as caught:
        emonet_file(5)
    assert "\n" not in str(caught.value)
    path = workplace / "data" / "raw" / "emonet_5.pth"
    path.parent.mkdir(parents=True)
    torch.save({f"module.{n}": t for n, t in EmoNet(5).state_dict().items()}, path)
    judge = load_emonet_judge(emonet_file(5))
    assert judge.spec.lineage.networks == {file_sha256(path)}
    assert judge.spec.name == "EmoNet, 5 classes" and judge.spec.emotions[4] == "anger"
    assert judge.spec.crop == "emonet" and judge.spec.affect
