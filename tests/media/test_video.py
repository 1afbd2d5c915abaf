"""Video in: true times, upright frames, one frame in memory, and one sentence for the rest."""

import os
import struct
import subprocess
import sys
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fer_lib.media.images import MediaError
from fer_lib.media.video import read_frames, video_info

NTSC = Fraction(30000, 1001)
REAL = Path(os.environ.get("FER_SHARED", "")) / "data" / "video"
KINDS = {
    "mp4": ("libx264", "mp4", "yuv420p", {"movflags": "faststart"}),
    "mpeg4.mp4": ("mpeg4", "mp4", "yuv420p", {"movflags": "faststart"}),
    "fragments.mp4": ("libx264", "mp4", "yuv420p", {"movflags": "frag_keyframe+empty_moov"}),
    "mkv": ("ffv1", "matroska", "bgr0", {}),
    "webm": ("libvpx-vp9", "webm", "yuv420p", {}),
    "avi": ("mpeg4", "avi", "yuv420p", {}),
    "h264.avi": ("libx264", "avi", "yuv420p", {}),
    "gif": ("gif", "gif", "rgb8", {}),
}


def corners(height=48, width=64):
    """Four colours that no turn and no mirror confuses: red, green / blue, white."""
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2, : width // 2] = 255, 0, 0
    image[: height // 2, width // 2 :] = 0, 255, 0
    image[height // 2 :, : width // 2] = 0, 0, 255
    image[height // 2 :, width // 2 :] = 255, 255, 255
    return image


def noise(n, height=48, width=64):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, (height, width, 3), np.uint8) for _ in range(n)]


def write(path, images, kind="mkv", *, pts=None, time_base=None, rate=NTSC, setup=None):
    """Write a video; `pts` in `time_base` (default: one tick of `rate` per frame)."""
    codec, container, pixels, options = KINDS[kind]
    with av.open(path, "w", format=container, options=options) as file:
        stream = file.add_stream(codec, rate=rate)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = pixels
        stream.gop_size = 5
        stream.codec_context.time_base = time_base or 1 / Fraction(rate)
        if setup:
            setup(stream)
        for number, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = number if pts is None else pts[number]
            frame.time_base = time_base or 1 / Fraction(rate)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return path


def frames_and_error(path, **settings_):
    frames = []
    try:
        for frame in read_frames(path, **settings_):
            frames.append(frame)
    except MediaError as error:
        return frames, str(error)
    return frames, None


# Times


@pytest.mark.parametrize("kind", KINDS)
def test_odd_rate_stays_exact_in_every_container(tmp_path, kind):
    path = write(tmp_path / "a.bin", noise(30), kind)
    tick = {"mkv": Fraction(1, 1000), "webm": Fraction(1, 1000), "gif": Fraction(1, 100)}.get(kind)
    times = [frame.time_s for frame in read_frames(path)]
    exact = [number / NTSC for number in range(30)]
    if tick is None:
        assert times == [float(time) for time in exact]
    else:
        assert len(times) == 30
        # Rounded by the writer to the clock of the container, not by the reader.
        slack = float(tick / 2) + 1e-12
        assert all(abs(time - at) <= slack for time, at in zip(times, exact, strict=True))
        assert all(
            (Fraction(time) / tick).limit_denominator(1000).denominator == 1 for time in times
        )


def test_frames_come_in_the_order_of_showing_and_unchanged(tmp_path):
    images = noise(12)
    frames = list(read_frames(write(tmp_path / "a.mkv", images)))
    assert [frame.index for frame in frames] == list(range(12))
    for frame, image in zip(frames, images, strict=True):
        assert frame.image.dtype == np.uint8
        assert np.array_equal(frame.image, image)


def test_reordered_frames_of_avi_keep_their_pictures_and_times(tmp_path):
    images = [np.full((48, 64, 3), 20 + 8 * number, np.uint8) for number in range(25)]
    frames = list(read_frames(write(tmp_path / "a.avi", images, "h264.avi")))
    assert [frame.time_s for frame in frames] == [float(n / NTSC) for n in range(25)]
    for frame, image in zip(frames, images, strict=True):
        assert abs(frame.image.mean() - image.mean()) < 3


def test_a_skipped_frame_of_avi_is_a_gap_in_time(tmp_path):
    path = write(tmp_path / "a.avi", noise(4), "avi", pts=[0, 1, 4, 5])
    assert [frame.time_s for frame in read_frames(path)] == [float(n / NTSC) for n in (0, 1, 4, 5)]


def in_order(stream):
    """No reordered frames, as cameras write them: FFmpeg may drop the last one (see the module)."""
    stream.codec_context.max_b_frames = 0


@pytest.mark.parametrize("kind", ["mp4", "mpeg4.mp4", "mkv"])
@settings(max_examples=25, deadline=None)
@given(
    gaps=st.lists(st.integers(1, 4000), min_size=1, max_size=12),
    start=st.sampled_from([0, 1, 777, 60_000]),
)
def test_written_times_come_back_for_any_gaps_and_start(kind, gaps, start, tmp_path_factory):
    pts = [start, *(start + np.cumsum(gaps)).tolist()]
    path = tmp_path_factory.mktemp("vfr") / "a.bin"
    write(path, noise(len(pts)), kind, pts=pts, time_base=Fraction(1, 1000), setup=in_order)
    times = [frame.time_s for frame in read_frames(path)]
    assert times == [float(Fraction(p - start, 1000)) for p in pts]
    assert all(earlier < later for earlier, later in pairwise(times))


def test_start_is_given_on_the_clock_of_the_file(tmp_path):
    pts = [5000, 5040, 5100]
    path = write(tmp_path / "a.mkv", noise(3), pts=pts, time_base=Fraction(1, 1000))
    assert video_info(path).start_s == 5.0
    assert [frame.time_s for frame in read_frames(path)] == [0.0, 0.04, 0.1]


def test_gif_delays_are_per_frame_and_none_is_a_tenth(tmp_path):
    frames = [Image.new("RGB", (8, 8), (number * 30, 0, 0)) for number in range(5)]
    frames[0].save(
        tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=[20, 500, 0, 70, 30]
    )
    times = [frame.time_s for frame in read_frames(tmp_path / "a.gif")]
    assert times == [0.0, 0.02, 0.52, 0.62, 0.69]


def test_equal_time_stamps_are_an_error_and_not_two_frames(tmp_path):
    path = write(tmp_path / "a.gif", noise(4), "gif", rate=Fraction(10))
    good = [frame.time_s for frame in read_frames(path)]
    assert good == [0.0, 0.1, 0.2, 0.3]
    path = write(
        tmp_path / "b.mkv", noise(4), pts=[0, 10, 11, 30], time_base=Fraction(1, 20_000)
    )  # 0.5 and 0.55 ms are one millisecond in Matroska
    frames, error = frames_and_error(path)
    assert len(frames) == 2
    assert "goes back to 0.001 s" in error


# Every so often


def test_every_s_keeps_the_first_frame_at_or_after_each_multiple(tmp_path):
    pts = [0, 90, 100, 250, 260, 1000, 1049, 1050, 1100]
    path = write(tmp_path / "a.mkv", noise(9), pts=pts, time_base=Fraction(1, 1000))
    kept = list(read_frames(path, every_s=0.1))
    assert [frame.time_s for frame in kept] == [0.0, 0.1, 0.25, 1.0, 1.1]
    assert [frame.index for frame in kept] == [0, 2, 3, 5, 8]
    whole = {frame.index: frame.image for frame in read_frames(path)}
    assert all(np.array_equal(frame.image, whole[frame.index]) for frame in kept)


@pytest.mark.parametrize("kind", ["mp4", "mkv", "avi"])
@pytest.mark.parametrize("every", [1 / 15, Fraction(1, 15), 0.1, 0.2])
def test_every_s_is_not_thrown_off_by_rounding(tmp_path, kind, every):
    path = write(tmp_path / "a.bin", noise(60), kind, rate=Fraction(30))
    step = round(every * 30)
    assert [f.index for f in read_frames(path, every_s=every)] == list(range(0, 60, step))


def test_every_s_shorter_than_a_frame_keeps_each_once(tmp_path):
    path = write(tmp_path / "a.mkv", noise(10))
    assert [f.index for f in read_frames(path, every_s=1e-9)] == list(range(10))


@pytest.mark.parametrize("every", [0, -1.0, float("nan"), float("inf")])
def test_every_s_must_be_positive_and_says_so_at_once(every):
    with pytest.raises(ValueError, match="every_s: expected a positive"):
        read_frames("a.mp4", every_s=every)


# Upright, square, RGB


@pytest.mark.parametrize("kind", ["mp4", "mpeg4.mp4", "mkv"])
@pytest.mark.parametrize("turn", [0, 90, 180, 270])
@pytest.mark.parametrize("mirrored", [False, True])
def test_turned_and_mirrored_frames_come_upright(tmp_path, kind, turn, mirrored):
    upright = corners()
    # The reader turns clockwise, then mirrors; stored is what these undo.
    stored = np.rot90(upright[:, ::-1] if mirrored else upright, turn // 90)

    def setup(stream):
        # FFmpeg states turns counter-clockwise.
        stream.set_display_rotation(-turn, hflip=mirrored)

    path = write(tmp_path / "a.bin", [np.ascontiguousarray(stored)] * 3, kind, setup=setup)
    frame = next(read_frames(path))
    assert frame.image.shape == upright.shape
    assert np.abs(frame.image.astype(int) - upright).mean() < 8
    assert (video_info(path).width, video_info(path).height) == (64, 48)
    assert video_info(path).rotation_deg == turn


def patch_track_matrix(path, terms):
    """Write a, b, c, d into the track header of an MP4 file (ISO/IEC 14496-12, 8.3.2)."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 4 + 20 + 16
    a, b, c, d = (int(term * 65536) for term in terms)
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)


def test_matrix_of_an_upright_telephone_turns_clockwise(tmp_path):
    # x' = -y, y' = x: what was stored at the left edge is shown at the top.
    stored = np.zeros((48, 64, 3), np.uint8)
    stored[:, :16] = 255
    path = write(tmp_path / "a.mp4", [stored] * 2, "mp4")
    patch_track_matrix(path, (0, 1, -1, 0))
    image = next(read_frames(path)).image
    assert image.shape == (64, 48, 3)
    assert image[:14].min() > 230
    assert image[18:].max() < 25
    assert video_info(path).rotation_deg == 90


def test_an_angle_that_is_no_quarter_turn_is_refused(tmp_path):
    path = write(tmp_path / "a.mp4", noise(2), "mp4")
    patch_track_matrix(path, (0.7071, 0.7071, -0.7071, 0.7071))
    with pytest.raises(MediaError, match="no quarter turn"):
        next(read_frames(path))


@pytest.mark.parametrize(
    ("aspect", "size"), [(Fraction(4, 3), (48, 85)), (Fraction(1, 2), (96, 64)), (None, (48, 64))]
)
def test_pixels_become_square_by_stretching(tmp_path, aspect, size):
    def setup(stream):
        if aspect:
            stream.sample_aspect_ratio = aspect
            stream.codec_context.sample_aspect_ratio = aspect

    path = write(tmp_path / "a.mp4", [corners()] * 2, "mp4", setup=setup)
    image = next(read_frames(path)).image
    assert image.shape == (*size, 3)
    assert (video_info(path).height, video_info(path).width) == size
    assert np.abs(image[4, 4].astype(int) - (255, 0, 0)).max() < 12
    assert np.abs(image[-5, 4].astype(int) - (0, 0, 255)).max() < 12


def test_transparency_of_a_gif_is_laid_on_white(tmp_path):
    frames = [Image.new("P", (8, 8), number) for number in (0, 1)]
    for frame in frames:
        frame.putpalette([200, 0, 0, 0, 0, 200] + [0] * 762)
    frames[0].save(
        tmp_path / "a.gif", save_all=True, append_images=frames[1:], transparency=0, disposal=2
    )
    images = [frame.image for frame in read_frames(tmp_path / "a.gif")]
    assert (images[0] == 255).all()
    assert (images[1] == (0, 0, 200)).all()


# What a file says


def test_info_is_what_was_written(tmp_path):
    info = video_info(write(tmp_path / "a.mp4", noise(30), "mp4"))
    assert (info.width, info.height, info.rotation_deg) == (64, 48, 0)
    assert info.frame_rate == NTSC
    assert info.frames == 30
    assert info.duration_s == float(30 / NTSC)
    assert info.start_s == 0


def test_info_that_is_not_stated_is_none(tmp_path):
    path = write(tmp_path / "a.mkv", noise(5))
    assert video_info(path).frames is None


@pytest.mark.parametrize(
    ("name", "n", "last_s", "size"),
    [
        ("head-pose-face-detection-female.gif", 23, 1.83, (270, 480)),
        ("head-pose-face-detection-male.gif", 62, 5.08, (270, 480)),
        ("pyfeat_single_face.mp4", 72, 71 / 30, (360, 640)),
    ],
)
def test_real_videos_are_read_whole(name, n, last_s, size):
    path = REAL / name
    if not path.is_file():
        pytest.skip("no real videos: FER_SHARED is not set or has no data/video")
    frames, error = frames_and_error(path)
    info = video_info(path)
    assert error is None
    assert len(frames) == info.frames == n
    assert frames[-1].time_s == last_s
    assert frames[-1].time_s < info.duration_s
    assert {frame.image.shape[:2] for frame in frames} == {size} == {(info.height, info.width)}
    assert all(20 < frame.image.mean() < 235 for frame in frames)


# Damage


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("left", [0.5, 0.8, 0.97])
def test_a_cut_file_gives_its_good_frames_and_then_one_sentence(tmp_path, kind, left):
    path = write(tmp_path / "whole.bin", noise(30), kind)
    whole = list(read_frames(path))
    data = path.read_bytes()
    (tmp_path / "cut.bin").write_bytes(data[: int(len(data) * left)])
    frames, error = frames_and_error(tmp_path / "cut.bin")
    with av.open(path) as opened:
        ends = [packet.pos + packet.size for packet in opened.demux(video=0) if packet.size]
    undamaged = sum(end <= len(data) * left for end in ends)
    assert undamaged - 1 <= len(frames) <= undamaged
    for frame, good in zip(frames, whole, strict=False):
        assert frame.time_s == good.time_s
        assert np.array_equal(frame.image, good.image)
    last = frames[-1].time_s
    assert error.startswith(
        f"cut.bin breaks after {len(frames)} frames, the last at {last:.3f} s: "
    )
    assert "cut short" in error or "missing" in error


@pytest.mark.parametrize("kind", ["mpeg4.mp4", "avi"])
def test_damage_that_the_decoder_sees_never_gives_a_guessed_frame(tmp_path, kind):
    path = write(tmp_path / "whole.bin", noise(30), kind)
    whole = list(read_frames(path))
    data = bytearray(path.read_bytes())
    for at in range(len(data) // 2, len(data) // 2 + 400, 7):
        data[at] ^= 0xFF
    (tmp_path / "b.bin").write_bytes(data)
    frames, error = frames_and_error(tmp_path / "b.bin")
    assert 3 < len(frames) < 30
    assert f"breaks after {len(frames)} frames" in error
    assert all(np.array_equal(f.image, g.image) for f, g in zip(frames, whole, strict=False))


def test_a_file_without_its_index_is_one_sentence(tmp_path):
    path = write(tmp_path / "a.mp4", noise(9), "mp4")
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"moov") + 200])
    with pytest.raises(MediaError, match=r"a\.mp4 has no video stream: the file was cut short"):
        next(read_frames(path))


def test_what_a_camera_appends_is_no_damage(tmp_path):
    for kind in ("mp4", "gif", "avi", "mkv"):
        path = write(tmp_path / f"a.{kind}", noise(9), kind)
        path.write_bytes(path.read_bytes() + b"\0" * 40)
        assert len(list(read_frames(path))) == 9


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_damaged_bytes_give_frames_or_a_media_error(kind, data, tmp_path_factory, whole_files):
    content = bytearray(whole_files[kind])
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damaged") / "a.bin"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    frames, error = frames_and_error(path, max_pixels=20_000)
    assert frames or error
    assert error is None or "\n" not in error
    assert all(a.time_s < b.time_s for a, b in pairwise(frames))
    assert all(f.image.dtype == np.uint8 and f.image.ndim == 3 for f in frames)


@pytest.fixture(scope="module")
def whole_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return {kind: write(folder / kind, noise(4), kind).read_bytes() for kind in KINDS}


# What is no video


def write_sound(path):
    with av.open(path, "w", format="mp4") as file:
        stream = file.add_stream("aac", rate=16_000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), "fltp", "mono")
        frame.sample_rate = 16_000
        file.mux(stream.encode(frame))
        file.mux(stream.encode())


def no_videos(folder):
    (folder / "folder.mp4").mkdir()
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("<html>404 Not Found</html>\n" * 50)
    (folder / "loop.mp4").symlink_to(folder / "loop.mp4")
    os.mkfifo(folder / "pipe.mp4")
    Image.new("RGB", (16, 16)).save(folder / "still.mp4", format="PNG")
    write_sound(folder / "sound.mp4")
    return {
        "absent.mp4": "does not exist",
        "folder.mp4": "is a folder",
        "empty.mp4": "is empty",
        "text.mp4": "is no whole MP4",
        "loop.mp4": "does not exist|cannot be opened",
        "pipe.mp4": "is not a regular file",
        "still.mp4": "is no whole MP4",
        "sound.mp4": "has no video stream",
        "a\0b.mp4": "cannot be opened|does not exist",
        "x" * 4000: "cannot be opened|does not exist",
        "http://127.0.0.1:9/a.mp4": "does not exist",
    }


def test_what_is_no_video_is_one_sentence_from_both_doors(tmp_path):
    for name, reason in no_videos(tmp_path).items():
        path = name if name.startswith("http") else tmp_path / name
        for door in (video_info, lambda path: next(read_frames(path))):
            with pytest.raises(MediaError, match=reason) as caught:
                door(path)
            assert "\n" not in str(caught.value)


def hostile_texts(victim):
    return {
        "concat": f"ffconcat version 1.0\nfile '{victim}'\n",
        "hls": f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{victim}\n#EXT-X-ENDLIST\n",
        "url": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:9/a.ts\n",
        "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=a\nc=IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\n",
        "dash": f'<?xml version="1.0"?><MPD type="static"><BaseURL>{victim}</BaseURL></MPD>',
    }


@pytest.mark.parametrize("trick", hostile_texts(""))
def test_a_playlist_in_disguise_opens_no_other_file(tmp_path, trick):
    victim = write(tmp_path / "victim.mp4", noise(3), "mp4")
    path = tmp_path / "a.mp4"
    path.write_text(hostile_texts(victim.name)[trick])
    if trick == "concat":
        with av.open(path) as opened:
            assert opened.format.name == "concat", "the trick works where nobody refuses it"
    for door in (video_info, lambda path: list(read_frames(path))):
        with pytest.raises(MediaError, match="is no whole MP4"):
            door(path)


def test_too_large_is_refused_before_decoding(tmp_path):
    path = write(tmp_path / "a.mp4", noise(2, 96, 128), "mp4")
    with pytest.raises(MediaError, match=r"a\.mp4 is too large: 128 x 96"):
        next(read_frames(path, max_pixels=128 * 96 - 1))
    assert next(read_frames(path, max_pixels=128 * 96)).image.shape == (96, 128, 3)


def test_one_pixel_is_a_video(tmp_path):
    path = write(tmp_path / "a.mkv", noise(3, 1, 1))
    assert [frame.image.shape for frame in read_frames(path, max_pixels=1)] == [(1, 1, 3)] * 3


def test_a_header_that_claims_a_huge_picture_is_refused(tmp_path):
    path = write(tmp_path / "a.mkv", noise(2, 300, 400))
    data = path.read_bytes()
    # PixelWidth 400 and PixelHeight 300 of Matroska become 9000.
    for stored in (b"\xb0\x82\x01\x90", b"\xba\x82\x01\x2c"):
        assert data.count(stored) == 1
        data = data.replace(stored, stored[:2] + b"\x23\x28")
    path.write_bytes(data)
    with pytest.raises(MediaError, match=r"a\.mkv states no size, or one far above"):
        next(read_frames(path))


def test_a_shape_that_stretches_past_the_limit_is_refused(tmp_path):
    def setup(stream):
        stream.sample_aspect_ratio = stream.codec_context.sample_aspect_ratio = Fraction(20)

    path = write(tmp_path / "a.mp4", noise(2), "mp4", setup=setup)
    with pytest.raises(MediaError, match="too large: 1280 x 48"):
        next(read_frames(path, max_pixels=64 * 48 * 10))


# Resources


def open_files():
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are counted in /proc")
def test_the_file_is_closed_when_the_caller_stops_early(tmp_path):
    path = write(tmp_path / "a.mkv", noise(20))
    before = open_files()
    frames = read_frames(path)
    assert len(list(islice(frames, 3))) == 3
    assert open_files() == before + 1
    frames.close()
    assert open_files() == before
    (tmp_path / "cut.mkv").write_bytes(path.read_bytes()[:-2000])
    assert frames_and_error(tmp_path / "cut.mkv")[1]
    (tmp_path / "text.mkv").write_text("no video")
    assert frames_and_error(tmp_path / "text.mkv")[1]
    assert open_files() == before


PEAK = """
import sys
from pathlib import Path
from fer_lib.media.video import read_frames
n = sum(1 for frame in read_frames(sys.argv[1]))
print(n, next(line.split()[1] for line in Path("/proc/self/status").open() if "VmHWM" in line))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_memory_does_not_grow_with_the_length(tmp_path):
    image = noise(1, 480, 640)[0]
    peaks = []
    for n in (30, 300):
        images = [np.roll(image, 8 * number, axis=1) for number in range(10)] * (n // 10)
        path = write(tmp_path / f"{n}.mp4", images, "mpeg4.mp4")
        done = subprocess.run(
            [sys.executable, "-c", PEAK, path], capture_output=True, text=True, check=True
        )
        count, peak_kib = map(int, done.stdout.split())
        assert count == n
        peaks.append(peak_kib / 1024)
    # 270 frames of 640 x 480 would be 237 MiB.
    assert peaks[1] - peaks[0] < 15
