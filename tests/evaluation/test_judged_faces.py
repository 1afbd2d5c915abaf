import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fer_lib.evaluation.face_readers import JudgeReader
from fer_lib.evaluation.judge_spec import JudgeSpec
from fer_lib.evaluation.judged_faces import judge_pictures, pictures_of
from fer_lib.evaluation.judges import Judge
from fer_lib.faces.align import SEED_FRAME
from fer_lib.faces.locate import Location
from fer_lib.networks.checkpoints import Lineage
from fer_lib.weights import state_hash

FRAME = np.array(SEED_FRAME, np.float32)
FIVE = np.stack([FRAME[0], FRAME[1], (50, 55), FRAME[2] - (10, 0), FRAME[2] + (10, 0)])


class Colours(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(4.0))

    def forward(self, images):
        return (self.scale * images.mean(dim=(2, 3))).softmax(dim=1)


class Middle:
    """Finds a face in the middle of every picture that is not black."""

    def __init__(self):
        self.asked = []

    def locate(self, images):
        self.asked.append(len(images))
        return [self.find(image) if image.any() else None for image in images]

    def find(self, image):
        height, width = image.shape[:2]
        box = (width / 4, height / 4, 3 * width / 4, 3 * height / 4)
        return Location((FIVE * (width / 100)).astype(np.float32), "mtcnn", box, None)


def reader_of(crop="box"):
    network = Colours()
    classes = ("neutral", "happiness", "anger")
    digest = state_hash(network.state_dict())
    spec = JudgeSpec("colours", 24, crop, classes, digest, "none", Lineage())

    def prepare(crops):
        # A mean of each crop is all that this judge looks at.
        means = np.stack([crop.reshape(-1, 3).mean(axis=0) for crop in crops]) / 255
        return torch.from_numpy(means).float()[:, :, None, None].expand(-1, 3, 24, 24)

    return JudgeReader(Judge(spec, network, network, prepare=prepare))


@pytest.fixture
def folder(tmp_path):
    red = np.zeros((100, 100, 3), np.uint8)
    red[25:75, 25:75, 0] = 255
    Image.fromarray(red).save(tmp_path / "a.png")
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(tmp_path / "b.png")
    (tmp_path / "c.txt").write_text("no picture")
    (tmp_path / ".hidden").write_text("x")
    return tmp_path


def clip(path, frames=7):
    colours = [Image.new("RGB", (80, 80), (30 * number + 20, 90, 40)) for number in range(frames)]
    colours[0].save(path, save_all=True, append_images=colours[1:], duration=100)
    return path


def test_every_file_of_a_folder_has_its_row(folder):
    (batch,) = judge_pictures(reader_of(), Middle(), pictures_of([folder, folder / "gone.png"]))
    table = batch.table
    assert [row.rsplit("/", 1)[-1] for row in table["source_path"]] == [
        "a.png", "b.png", "c.txt", "gone.png",
    ]  # fmt: skip
    assert table["status"].tolist() == ["ok", "no_face", "unreadable", "missing"]
    assert table["label"].dropna().to_dict() == {0: "neutral"}
    assert table[["left", "top", "right", "bottom"]].iloc[0].tolist() == [25, 25, 75, 75]
    assert table.loc[1:, "p_anger"].isna().all()
    assert all(isinstance(reason, str) for reason in table["reason"][1:])
    assert [picture.image is None for picture in batch.pictures] == [False, False, True, True]
    # Only the box was judged: red alone.
    expected = np.exp([4, 0, 0]) / np.exp([4, 0, 0]).sum()
    np.testing.assert_allclose(table.filter(regex="^p_").iloc[0].astype(float), expected, atol=1e-5)


def test_a_clip_is_taken_batch_by_batch(tmp_path):
    locator = Middle()
    batches = judge_pictures(
        reader_of(), locator, pictures_of([clip(tmp_path / "clip.gif")]), batch_size=3
    )
    first = next(batches)
    assert locator.asked == [3]
    assert first.table["frame"].tolist() == [0, 1, 2]
    np.testing.assert_allclose(first.table["time_s"], [0, 0.1, 0.2], atol=1e-6)
    assert [len(batch.table) for batch in batches] == [3, 1]


def test_large_pictures_come_in_smaller_batches(tmp_path):
    for name in "abc":
        Image.new("RGB", (5000, 4000)).save(tmp_path / f"{name}.bmp")
    batches = judge_pictures(reader_of(), Middle(), pictures_of([tmp_path]))
    assert [len(batch.table) for batch in batches] == [2, 1]


def test_an_answer_does_not_depend_on_the_batch(tmp_path):
    path = clip(tmp_path / "clip.gif")
    tables = [
        [batch.table for batch in judge_pictures(
            reader_of(), Middle(), pictures_of([path]), batch_size=size)]
        for size in (1, 7)
    ]  # fmt: skip
    alone = np.concatenate([table.filter(regex="^p_").to_numpy() for table in tables[0]])
    np.testing.assert_allclose(alone, tables[1][0].filter(regex="^p_").to_numpy(), atol=1e-6)


def test_a_clip_that_was_cut_gives_its_good_frames_and_the_reason(tmp_path):
    whole = clip(tmp_path / "clip.gif").read_bytes()
    (tmp_path / "cut.gif").write_bytes(whole[: len(whole) * 2 // 3])
    found = list(pictures_of([tmp_path / "cut.gif"]))
    assert found[0].status == "ok"
    assert (found[-1].status, found[-1].frame) == ("unreadable", len(found) - 1)
    assert "cut" in found[-1].reason


def test_a_face_that_cannot_be_aligned_keeps_its_box_and_says_so(folder):
    (batch,) = judge_pictures(reader_of("tight"), Middle(), pictures_of([folder / "a.png"]))
    assert batch.table["label"].tolist() == ["neutral"]
    locator = Middle()
    locator.find = lambda image: Location(np.zeros((5, 2), np.float32), "mtcnn", (1, 1, 9, 9), None)
    (batch,) = judge_pictures(reader_of("tight"), locator, pictures_of([folder / "a.png"]))
    assert batch.table["status"].tolist() == ["bad_landmarks"]
    assert "does not suffice" in batch.table["reason"][0]
    assert batch.table["left"].tolist() == [1]


def test_an_empty_folder_is_said_to_be_empty(tmp_path):
    (found,) = pictures_of([tmp_path])
    assert (found.status, found.reason) == ("missing", "the folder holds no file")


def test_links_are_neither_followed_nor_forgotten(folder):
    (folder / "deep").mkdir()
    (folder / "deep" / "up").symlink_to(folder)
    (folder / "itself.png").symlink_to(folder / "itself.png")
    (folder / "nowhere.png").symlink_to(folder / "gone")
    (folder / "deep" / "one.png").symlink_to(folder / "a.png")
    found = {Path(each.source_path).name: each for each in pictures_of([folder])}
    assert sorted(found) == [
        "a.png", "b.png", "c.txt", "itself.png", "nowhere.png", "one.png", "up",
    ]  # fmt: skip
    assert found["one.png"].status == "ok"
    assert "leads to no file" in found["itself.png"].reason
    assert "leads to no file" in found["nowhere.png"].reason
    assert "is not followed" in found["up"].reason


def test_a_folder_is_listed_before_anything_is_written_into_it(folder):
    pictures = pictures_of([folder])
    (folder / "new.png").write_bytes((folder / "a.png").read_bytes())
    assert len(list(pictures)) == 3


@pytest.mark.parametrize("name", ["a\nb.jpg", os.fsdecode(b"caf\xe9.jpg"), "-rf.jpg", "ü 写.jpg"])
def test_odd_names_are_names(tmp_path, name):
    Image.new("RGB", (30, 30), "red").save(tmp_path / "x.jpg")
    (tmp_path / "x.jpg").rename(tmp_path / name)
    (found,) = pictures_of([tmp_path])
    assert (found.status, Path(found.source_path).name) == ("ok", name)


def test_text_called_a_photograph_is_unreadable(tmp_path):
    (tmp_path / "text.jpg").write_text("hello")
    (found,) = pictures_of([tmp_path / "text.jpg"])
    assert found.status == "unreadable"
    assert "not an image" in found.reason


@pytest.mark.parametrize("every_s", [0, -1, float("nan"), float("inf")])
def test_times_between_frames_are_positive(every_s):
    with pytest.raises(ValueError, match="positive number of seconds"):
        pictures_of([], every_s=every_s)
