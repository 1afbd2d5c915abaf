import gc
import weakref

import av
import numpy as np
import pytest

from fer_lib.media.images import MediaError
from fer_lib.media.video import read_frames, video_info
from fer_lib.media.video_writer import CODECS, VideoWriter


def frame(number, size=(48, 64)):
    return np.full((*size, 3), (number * 11 % 256, 90, 200), np.uint8)


def write(path, times, size=(48, 64)):
    with VideoWriter(path) as writer:
        for number, time in enumerate(times):
            writer.write(frame(number, size), time)
    return path


@pytest.mark.parametrize(
    "times",
    [
        np.arange(60) / 30,
        np.arange(40) * 1001 / 30000,
        np.cumsum([0, 0.08, 0.1, 0.03, 0.5, 0.01]),
        [0.0],
    ],
    ids=["30 Hz", "NTSC", "uneven", "one"],
)
def test_frames_come_back_at_their_times(tmp_path, times):
    back = list(read_frames(write(tmp_path / "clip.mp4", times)))
    assert len(back) == len(times)
    np.testing.assert_allclose([each.time_s for each in back], times, atol=1e-4)
    for number, each in enumerate(back):
        assert np.abs(each.image.astype(int) - frame(number)).max() < 12


def test_the_last_frame_lasts_as_long_as_the_one_before(tmp_path):
    assert video_info(write(tmp_path / "a.mp4", [0, 0.5])).duration_s == pytest.approx(1.0)


def test_odd_sides_are_made_even_by_their_last_line(tmp_path):
    (back,) = read_frames(write(tmp_path / "odd.mp4", [0.0], size=(47, 65)))
    assert back.image.shape == (48, 66, 3)
    assert np.abs(back.image[-1, -1].astype(int) - (0, 90, 200)).max() < 12


@pytest.mark.parametrize("codec", CODECS)
def test_every_encoder_that_is_here_will_do(tmp_path, monkeypatch, codec):
    if codec not in av.codecs_available:
        pytest.skip(f"this build has no {codec}")
    monkeypatch.setattr("fer_lib.media.video_writer.CODECS", (codec,))
    back = list(read_frames(write(tmp_path / "clip.mp4", np.arange(9) / 25)))
    assert len(back) == 9


def test_frames_are_not_kept(tmp_path):
    alive, most = 0, 0

    def gone():
        nonlocal alive
        alive -= 1

    with VideoWriter(tmp_path / "long.mp4") as writer:
        for number in range(300):
            image = frame(number)
            alive += 1
            weakref.finalize(image, gone)
            writer.write(image, number / 30)
            most = max(most, alive)
    del image
    gc.collect()
    assert (most, alive) == (1, 0)


def test_what_cannot_be_written_is_a_sentence(tmp_path):
    with VideoWriter(tmp_path / "a.mp4") as writer:
        writer.write(frame(0), 0.5)
        with pytest.raises(MediaError, match=r"expected a frame of .* after 0\.5 s, got"):
            writer.write(frame(1), 0.5)
        with pytest.raises(MediaError, match="expected a frame of"):
            writer.write(frame(1, (20, 20)), 0.7)
    assert len(list(read_frames(tmp_path / "a.mp4"))) == 1
    with pytest.raises(MediaError, match="cannot be written"):
        write(tmp_path / "none" / "a.mp4", [0.0])
    with pytest.raises(MediaError, match="cannot be encoded"):
        write(tmp_path / "wide.mp4", [0.0], (4, 40000))
    with VideoWriter(tmp_path / "empty.mp4"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
