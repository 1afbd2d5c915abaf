import csv
import gc
import io
import weakref
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from fer_lib import cli, predict, runs
from fer_lib.datasets.sources import locator_at_hand
from fer_lib.evaluation.absent import Absent
from fer_lib.evaluation.face_readers import FusionReader, JudgeReader
from fer_lib.faces.locate import Location
from fer_lib.media.images import read_image
from fer_lib.media.video import VideoFrame, read_frames
from fer_lib.media.video_writer import VideoWriter
from fer_lib.networks.branches import LandmarkArm, RgbArm
from fer_lib.networks.checkpoints import Lineage, save_recogniser
from fer_lib.networks.landmark_fusion import LandmarkFusion

EMOTIONS = ("neutral", "happiness", "anger")
FIVE = np.array([(0.3, 0.4), (0.7, 0.4), (0.5, 0.55), (0.4, 0.75), (0.6, 0.75)], np.float32)


class Middle:
    """Finds a face in the middle of every picture that is not black."""

    def locate(self, images):
        return [self.find(image) if image.any() else None for image in images]

    def find(self, image):
        height, width = image.shape[:2]
        box = (width / 4, height / 4, 3 * width / 4, 3 * height / 4)
        return Location(FIVE * (width, height), "mtcnn", box, None)


class Redness:
    """Happier the redder the picture, with an affect of its own."""

    name, emotions = "redness", EMOTIONS

    def read(self, pictures, places):
        rows = [
            (np.nan,) * 5 if place is None else self.answer(picture)
            for picture, place in zip(pictures, places, strict=True)
        ]
        table = pd.DataFrame(rows, columns=["p_neutral", "p_happiness", "p_anger", "valence",
                                            "arousal"])  # fmt: skip
        shares = table.filter(regex="^p_").fillna(-1)
        label = shares.idxmax(axis=1).str[2:].where(table["p_anger"].notna())
        return table.assign(label=label)

    def answer(self, picture):
        red = float(picture[..., 0].mean() / 255)
        return 0.9 * (1 - red), 0.9 * red, 0.1, red, -red


def photograph(path, red=200, size=(90, 120)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (red, 40, 60)).save(path)
    return path


def clip(path, frames=12):
    with VideoWriter(path) as writer:
        for number in range(frames):
            writer.write(np.full((60, 80, 3), 20 + 10 * number, np.uint8), number / 20)
    return path


def run(sources, out, **options):
    forecast = predict.predict(sources, Redness(), Middle(), out, **options)
    text = (out / predict.TABLE).read_text(encoding="utf-8")
    return forecast, list(csv.DictReader(io.StringIO(text, newline="")))


def test_every_input_has_a_row_and_every_picture_a_drawing(tmp_path):
    folder = tmp_path / "in"
    photograph(folder / "a" / "x.jpg")
    photograph(folder / "b" / "x.jpg", red=10)
    photograph(folder / "black.png", red=0).write_bytes(b"")
    Image.new("RGB", (50, 50)).save(folder / "dark.png")
    (folder / "text.jpg").write_text("no picture")
    clip(folder / "c.mp4")
    forecast, rows = run([folder, tmp_path / "gone.png"], tmp_path / "out")
    status = {Path(row["source_path"]).name: row["status"] for row in rows}
    assert status == {
        "x.jpg": "ok", "black.png": "unreadable", "dark.png": "no_face", "text.jpg": "unreadable",
        "c.mp4": "ok", "gone.png": "missing",
    }  # fmt: skip
    assert len(rows) == 2 + 3 + 12 + 1
    assert all(row["reason"] for row in rows if row["status"] != "ok")
    drawn = {row["annotated"] for row in rows if row["annotated"]}
    assert drawn == {"x_judged.jpg", "x_judged_2.jpg", "dark_judged.png", "c_judged.mp4"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == drawn | {predict.TABLE}
    assert forecast.judged == 14
    assert len(forecast.lines) == 7
    assert "clips are written without sound" in str(forecast)
    happy = {row["annotated"]: row["label"] for row in rows}
    assert (happy["x_judged.jpg"], happy["x_judged_2.jpg"]) == ("happiness", "neutral")
    assert all(row["judge"] == "redness" for row in rows)


def test_a_clip_keeps_its_times_and_its_most_frequent_answer(tmp_path):
    clip(tmp_path / "c.mp4")
    forecast, rows = run([tmp_path / "c.mp4"], tmp_path / "out", every_s=0.1)
    times = [float(row["time_s"]) for row in rows]
    np.testing.assert_allclose(times, np.arange(6) / 10, atol=1e-6)
    back = list(read_frames(tmp_path / "out" / "c_judged.mp4"))
    np.testing.assert_allclose([frame.time_s for frame in back], times, atol=1e-4)
    (line,) = forecast.lines.to_dict("records")
    assert line["answer"] == "neutral"
    assert line["detail"] == "100% of 6 frames with a face, out of 6"


def test_a_truncated_clip_gives_its_good_frames_and_the_reason(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (12, 60, 80, 3), np.uint8)
    pictures = [Image.fromarray(each) for each in noise]
    pictures[0].save(tmp_path / "c.gif", save_all=True, append_images=pictures[1:], duration=100)
    whole = (tmp_path / "c.gif").read_bytes()
    (tmp_path / "c.gif").write_bytes(whole[: len(whole) // 2])
    forecast, rows = run([tmp_path / "c.gif"], tmp_path / "out")
    assert [row["status"] for row in rows[:-1]] == ["ok"] * (len(rows) - 1)
    assert rows[-1]["status"] == "unreadable"
    good = len(list(read_frames(tmp_path / "out" / "c_judged.mp4")))
    assert good == len(rows) - 1 > 2
    assert "breaks after" in forecast.lines["detail"][0]


def test_a_long_clip_takes_no_more_memory_than_a_short_one(tmp_path, monkeypatch):
    alive, most = 0, 0

    def gone():
        nonlocal alive
        alive -= 1

    def frames(path, every_s):
        nonlocal alive, most
        for number in range(300):
            image = np.full((60, 80, 3), 20 + number % 200, np.uint8)
            weakref.finalize(image, gone)
            alive += 1
            most = max(most, alive)
            yield VideoFrame(number, number / 25, image)
            del image

    monkeypatch.setattr("fer_lib.evaluation.judged_faces.read_frames", frames)
    monkeypatch.setattr("fer_lib.media.annotate._MIN_SIDE_PX", 60)
    forecast, rows = run([tmp_path / "long.mp4"], tmp_path / "out")
    gc.collect()
    assert forecast.judged == len(rows) == 300
    # One batch is answered while the next one is read.
    assert most <= 2 * 16 + 2
    assert alive <= 1
    assert len(list(read_frames(tmp_path / "out" / "long_judged.mp4"))) == 300


def test_names_in_any_script_and_in_none(tmp_path):
    names = ["ü 写.jpg", "a\nb.jpg", "caf\udce9.jpg", '"quoted", name.jpg', "x" * 240 + ".jpg"]
    for name in names:
        photograph(tmp_path / "in" / "p.jpg").rename(tmp_path / "in" / name)
    forecast, rows = run([tmp_path / "in"], tmp_path / "out")
    assert len(rows) == len(names) == forecast.judged
    assert {len(row["source_path"].rsplit("/", 1)[-1]) for row in rows} >= {7, 11, 244}
    assert all((tmp_path / "out" / row["annotated"]).is_file() for row in rows)
    assert len(str(forecast).encode("utf-8").splitlines()) == 1 + len(names)


def test_a_picture_of_60_megapixels_is_read_and_drawn(tmp_path):
    Image.new("RGB", (10_000, 6_000), (200, 40, 60)).save(tmp_path / "large.jpg", quality=50)
    _, rows = run([tmp_path / "large.jpg"], tmp_path / "out")
    assert rows[0]["label"] == "happiness"
    with Image.open(tmp_path / "out" / "large_judged.jpg") as drawn:
        assert drawn.height == 6000
        assert drawn.width > 10_000


def test_folders_that_hold_something_or_cannot_be_are_sentences(tmp_path):
    source = photograph(tmp_path / "a.jpg")
    with pytest.raises(ValueError, match=r"new or empty folder, .* holds a\.jpg"):
        run([source], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a.jpg"]
    with pytest.raises(OSError, match="expected a folder to write into"):
        run([source], source)
    with pytest.raises(OSError, match="expected a folder to write into"):
        run([source], source / "below")
    (tmp_path / "empty").mkdir()
    assert run([source], tmp_path / "empty")[0].judged == 1


def test_a_result_inside_the_folder_that_is_read_is_not_read(tmp_path):
    photograph(tmp_path / "a.jpg")
    _, rows = run([tmp_path], tmp_path / "out")
    assert len(rows) == 1


@pytest.fixture
def trained(workplace):
    """A finished run of notebook 02 with both of its checkpoints."""
    torch.manual_seed(0)
    run = runs.start("02_train_landmark_fusion", {"seed": 0})
    folder = run.path / "checkpoint"
    folder.mkdir(exist_ok=True)
    rgb = RgbArm(3, image_size=48, width=16, stride=8)
    save_recogniser(folder / "rgb.safetensors", rgb, EMOTIONS, Lineage())
    fused = LandmarkFusion(rgb, LandmarkArm(3, image_size=144, width=8))
    save_recogniser(folder / "fusion.safetensors", fused, EMOTIONS, Lineage())
    run.write_metrics({"accuracy_frac": 0.5})
    run.finish()
    return folder


def test_recognisers_are_found_by_name_and_by_path(trained):
    assert isinstance(predict.find_reader("fusion"), FusionReader)
    assert isinstance(predict.find_reader(str(trained / "fusion.safetensors")), FusionReader)
    for name in ("stand-in", None, str(trained / "rgb.safetensors")):
        found = predict.find_reader(name)
        assert isinstance(found, JudgeReader)
        assert "stand-in" in found.name
    assert isinstance(predict.find_reader("own"), Absent)
    told = predict.describe_readers().splitlines()
    assert len(told) == len(predict.reader_names())
    (trained / "rgb.safetensors").write_bytes(b"no tensors")
    told = predict.describe_readers()
    assert "rgb.safetensors" in told
    assert "fusion: landmark fusion of 02" in told


def test_who_knows_drawn_faces_alone_answers_last_and_says_so(trained, monkeypatch, tmp_path):
    monkeypatch.setattr(predict, "_learned_from_drawings", lambda run: True)
    monkeypatch.setattr(predict, "_is_absent", lambda name: name != "faceapi")
    assert predict._default(predict.trained_checkpoints()) == "faceapi"
    monkeypatch.setattr(predict, "_is_absent", lambda name: True)
    assert predict._default(predict.trained_checkpoints()) == "stand-in"
    monkeypatch.setattr(predict, "locator_at_hand", lambda device: Middle())
    photograph(tmp_path / "a.jpg")
    forecast = predict.predict_files([tmp_path / "a.jpg"], tmp_path / "o", device="cpu")
    assert "has learned from drawn faces alone" in forecast.notes[-1]


def test_without_any_run_the_default_says_what_to_do(workplace, monkeypatch):
    monkeypatch.delenv("FER_SHARED", raising=False)
    found = predict.find_reader(None)
    assert isinstance(found, Absent)
    assert "fer run 04" in found.reason
    assert "fer run 02" in predict.find_reader("fusion").reason


def test_the_command_prints_a_table_and_its_exit_code_says_whether_anybody_was_judged(
    trained, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(predict, "locator_at_hand", lambda device: Middle())
    photograph(tmp_path / "a.jpg")
    code = cli.main(["predict", str(tmp_path / "a.jpg"), "--out", str(tmp_path / "o"),
                     "--judge", "fusion", "--device", "cpu"])  # fmt: skip
    shown = capsys.readouterr().out
    assert code == 0
    assert shown.startswith("landmark fusion of 02\n")
    assert shown.endswith(f"{tmp_path / 'o' / predict.TABLE}\n")
    (tmp_path / "t.jpg").write_text("text")
    assert cli.main(["predict", str(tmp_path / "t.jpg")]) == 1
    assert "no face could be judged" in capsys.readouterr().out
    for words, sentence in (
        (["predict"], "expected photographs, folders or clips"),
        (["predict", "x.jpg", "--judge", "own"], "fer run 04"),
        (["predict", "x.jpg", "--judge", "nobody"], "expected a judge out of own"),
        (["predict", "x.jpg", "--every", "0"], "positive number of seconds"),
    ):
        assert cli.main(words) == 1
        assert sentence in capsys.readouterr().err
    assert cli.main(["predict", "--list"]) == 0
    assert "landmark fusion of 02" in capsys.readouterr().out


def test_a_real_smile_is_seen_in_photographs_and_in_a_clip(shared, tmp_path):
    try:
        reader = predict.find_reader("faceapi")
    except ValueError as error:
        pytest.skip(str(error))
    if isinstance(reader, Absent):
        pytest.skip(reader.reason)
    london = shared / "data" / "london512"
    sources = [london / "smiling" / "001.jpg", london / "neutral" / "001.jpg",
               shared / "data" / "video" / "pyfeat_single_face.mp4"]  # fmt: skip
    if not all(path.is_file() for path in sources):
        pytest.skip("the photographs and the clip are not here")
    forecast = predict.predict(
        sources, reader, locator_at_hand("cpu"), tmp_path / "out", every_s=0.75
    )
    table = pd.read_csv(tmp_path / "out" / predict.TABLE)
    smiling, neutral, *moments = table["p_happiness"]
    assert smiling > 0.9 > 0.1 > neutral
    assert moments[-1] > 0.9 > 0.1 > moments[0]
    assert forecast.judged == len(table)
    assert read_image(tmp_path / "out" / "001_judged_2.jpg").shape == (512, 782, 3)
