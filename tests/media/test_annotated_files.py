from pathlib import Path

import numpy as np
import pytest

from fer_lib.media.annotate import Answer
from fer_lib.media.annotated_files import AnnotatedFiles
from fer_lib.media.images import read_image
from fer_lib.media.video import read_frames

NAN = float("nan")
ANSWER = Answer("a judge", {"neutral": 0.7, "anger": 0.3}, (10, 10, 40, 40))
PICTURE = np.full((64, 64, 3), 120, np.uint8)


def test_one_name_in_two_folders_makes_two_files(tmp_path):
    with AnnotatedFiles(tmp_path) as files:
        names = [
            files.add(Path(source), NAN, PICTURE, ANSWER)
            for source in ("a/x.jpg", "b/x.jpg", "b/X.JPG", "b/x.png", "b/x.tiff", "c/x_judged.jpg")
        ]
    assert len({name.casefold() for name in names}) == 6
    assert names[:2] == ["x_judged.jpg", "x_judged_2.jpg"]
    assert names[3:5] == ["x_judged.png", "x_judged_2.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    assert read_image(tmp_path / names[0]).shape[0] == 320


@pytest.mark.parametrize("stem", ["a\nb", "x" * 250, "caf\udce9", "ü写", "a\x00b", ".."])
def test_odd_names_become_names_that_every_disk_holds(tmp_path, stem):
    with AnnotatedFiles(tmp_path) as files:
        name = files.add(Path(f"{stem}.png"), NAN, PICTURE, ANSWER)
    assert (tmp_path / name).is_file()
    assert name.isprintable()
    assert len(name.encode()) < 250


def test_frames_of_a_clip_make_one_file_and_the_next_clip_another(tmp_path):
    with AnnotatedFiles(tmp_path) as files:
        for source in ("a/c.mp4", "b/c.mp4", "b/c.mp4"):
            for time in (0.0, 0.1, 0.2):
                files.add(Path(source), time, PICTURE, ANSWER)
        files.add(Path("p.png"), NAN, PICTURE, ANSWER)
    assert files.clips == ["c_judged.mp4", "c_judged_2.mp4", "c_judged_3.mp4"]
    for name in files.clips:
        assert [round(each.time_s, 3) for each in read_frames(tmp_path / name)] == [0, 0.1, 0.2]
    assert not files.faults


def test_a_clip_whose_frames_change_size_keeps_its_first_part_and_says_so(tmp_path):
    with AnnotatedFiles(tmp_path) as files:
        first = files.add(Path("c.mp4"), 0.0, PICTURE, ANSWER)
        wide = np.zeros((64, 100, 3), np.uint8)
        assert files.add(Path("c.mp4"), 0.1, wide, ANSWER) is None
        assert files.add(Path("c.mp4"), 0.2, wide, ANSWER) is None
    assert len(list(read_frames(tmp_path / first))) == 1
    assert len(files.faults) == 1
    assert "the rest of c_judged.mp4 is left out" in files.faults[0]
