"""Interrupted writes: kill −9, a full disk, a disk that refuses, a second writer.

At every moment the older store or the new one can be opened; the next run ends with the same hash
and leaves nothing beside the store.
"""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from fer_lib.datasets.store import Store
from fer_lib.datasets.store_writer import StoreCard, StoreWriter
from fer_lib.tables import sample_table

CARD = StoreCard("drawn by a test", "none needed", "none", landmark_scheme="five")
ROWS, SIZE = 8, 24


def write(path, seed, between=lambda: None):
    """Write a store in small batches; the seed decides the contents."""
    rng = np.random.default_rng(seed)
    with StoreWriter(path, n=ROWS, size=SIZE, n_landmarks=5, card=CARD) as writer:
        for start in range(0, ROWS, 4):
            between()
            samples = sample_table([{"sample_id": str(start + i)} for i in range(4)])
            faces = rng.integers(0, 256, (4, SIZE, SIZE, 3), dtype=np.uint8)
            params = {"shape": rng.random((4, 3), dtype=np.float32)}
            writer.write(samples, faces, rng.random((4, 5, 2), dtype=np.float32), params)


def written(path, seed):
    """Write a store and give its hash."""
    write(path, seed)
    return Store.open(path).card["hash"]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def run_apart(function, *arguments, before=()):
    """Call a function of this module in a process of its own, where no thread was started yet."""
    module = Path(__file__)
    program = f"import sys; from {module.stem} import *; {function}(*map(Path, sys.argv[1:]))"
    answer = subprocess.run(
        [*before, sys.executable, "-c", program, *map(str, arguments)],
        cwd=module.parent, capture_output=True, text=True,
    )
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)


def interrupt(folder):
    """Everything that needs forks, in one process."""
    answers = {
        "replaced": kill_once_and_twice(folder / "older", folder / "replaced"),
        "first": kill_once_and_twice(folder / "nothing", folder / "first"),
        "second writer": kill_after_a_while(folder / "moments"),
        "limited": write_files_up_to_a_size(folder / "limited"),
    }
    sys.stdout.write(json.dumps(answers))


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """The folder in which writers were interrupted, and what they said."""
    folder = tmp_path_factory.mktemp("interrupted")
    (folder / "nothing").mkdir()
    write(folder / "older" / "s", 0)
    write(folder / "limited" / "s", 0)
    return folder, run_apart("interrupt", folder)


@pytest.fixture(scope="module")
def hashes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    return [written(folder / str(seed), seed) for seed in (0, 1)]


def in_child(work, *arguments):
    """Do the work in a forked process; give the signal or exit code that ended it."""
    child = os.fork()
    if child == 0:
        try:
            work(*arguments)
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir")


def die_at(change, folder):
    """Kill this process, as kill −9 would, before it changes the file system for the given time."""
    seen = 0

    def count(event, arguments):
        nonlocal seen
        opened = event == "open" and str(folder) in str(arguments[0]) and "w" in str(arguments[1])
        if opened or event in CHANGES:
            seen += 1
            if seen == change:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)


def write_until(change, case):
    die_at(change, case)
    write(case / "s", 1)


def die_everywhere(template, folder):
    """Write over a copy of the template, killed at the first, second, … change, until one lives."""
    cases = []
    ending = None
    while ending != 0:
        cases.append(folder / f"{len(cases):03d}")
        shutil.copytree(template, cases[-1])

        ending = in_child(write_until, len(cases), cases[-1])
        assert ending in (0, -signal.SIGKILL)
    return cases


def kill_once_and_twice(template, folder):
    """Kill everywhere, and once more everywhere what comes after a kill between the two renames."""
    once = die_everywhere(template, folder / "once")
    between = [case for case in once if (case / ".s.old").exists() and not (case / "s").exists()]
    for case in between:
        die_everywhere(case, folder / "twice")
    return len(once), len(between)


def test_killed_anywhere_the_older_store_or_the_new_one_stands(interrupted, hashes):
    folder, answers = interrupted
    once, between = answers["replaced"]
    cases = sorted((folder / "replaced").glob("*/*"))
    assert (once > 12, between) == (True, 1)
    assert len(cases) >= 2 * once
    found = []
    for case in cases:
        store = Store.open(case / "s")
        store.verify()
        found.append(store.card["hash"])
        assert written(case / "s", 1) == hashes[1]
        assert names(case) == ["s"]
    # Of all kills, only those after the second rename find the new store.
    assert set(found) == set(hashes)
    assert found[0] == hashes[0]


def test_killed_anywhere_a_first_store_is_whole_or_absent(interrupted, hashes):
    folder, answers = interrupted
    once, between = answers["first"]
    cases = sorted((folder / "first" / "once").iterdir())
    assert (len(cases), between) == (once, 0)
    assert once > 6
    for case in cases:
        if (case / "s").exists():
            assert Store.open(case / "s").card["hash"] == hashes[1]
        assert written(case / "s", 1) == hashes[1]
        assert names(case) == ["s"]


def write_slowly(path):
    write(path, 1, between=lambda: time.sleep(0.05))


MOMENTS_MS = (0, 20, 40, 60, 80, 120)


def kill_after_a_while(folder):
    """Kill a slow writer at these moments; give what a second writer is told at one of them."""
    told = []
    for moment in MOMENTS_MS:
        path = folder / str(moment) / "s"
        write(path, 0)
        child = os.fork()
        if child == 0:
            write_slowly(path)
            os._exit(0)
        time.sleep(moment / 1000)
        if moment == 40:
            try:
                write(path, 1)
            except ValueError as error:
                told.append(str(error))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return told


def test_killed_at_any_moment_the_next_run_ends_with_the_same_hash(interrupted, hashes):
    folder, answers = interrupted
    (told,) = answers["second writer"]
    assert "is being written by another process; wait for it" in told
    assert len(names(folder / "moments")) == len(MOMENTS_MS)
    for case in (folder / "moments").iterdir():
        assert Store.open(case / "s").card["hash"] in hashes
        assert written(case / "s", 1) == hashes[1]
        assert names(case) == ["s"]


def write_within(limit, path, answer):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    os.write(answer, attempt(path).encode())


def write_files_up_to_a_size(folder):
    """Write with a limit on the size of every file: the disk is full at ever later moments."""
    told = []
    sizes = [path.stat().st_size for path in (folder / "s").iterdir()]
    for limit in (0, 100, *(size - 1 for size in sizes)):
        read, answer = os.pipe()
        in_child(write_within, limit, folder / "s", answer)
        os.close(answer)
        with os.fdopen(read) as pipe:
            told.append(pipe.read())
    return told


def attempt(path):
    """Write another store; give the error as text, its kind first."""
    try:
        write(path, 1)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "written"


def test_a_file_that_cannot_grow_is_one_sentence_and_no_half_store(interrupted, hashes):
    folder, answers = interrupted
    path = folder / "limited" / "s"
    assert len(answers["limited"]) >= 7
    for text in answers["limited"]:
        assert text.startswith(
            f"ValueError: the store {path} cannot be written: File too large; make room or choose"
        )
        assert text.isprintable()
    assert names(path.parent) == ["s"]
    Store.open(path).verify()
    assert Store.open(path).card["hash"] == hashes[0]


def fill_and_freeze(disk):
    """On a small disk of its own: an older store, then no room, then read-only."""
    write(disk / "s", 0)
    room = shutil.disk_usage(disk).free
    told = []
    for left in (0, 4096, 12_288, 24_576):
        (disk / "ballast").write_bytes(bytes(max(0, room - left)))
        told.append(attempt(disk / "s"))
        (disk / "ballast").unlink()
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    told.append(attempt(disk / "s"))
    store = Store.open(disk / "s")
    store.verify()
    sys.stdout.write(json.dumps([told, store.card["hash"], names(disk)]))


def test_a_full_and_a_read_only_disk(tmp_path, hashes):
    apart = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    mount = f"mount -t tmpfs -o size=400k none {tmp_path}"
    if not shutil.which("unshare") or subprocess.run([*apart, mount], check=False).returncode:
        pytest.skip("this system does not let a test mount a disk of its own")
    told, found, left = run_apart(
        "fill_and_freeze", tmp_path, before=[*apart, mount + ' && exec "$@"', "sh"]
    )
    assert ["No space left" in text for text in told] == [True] * 4 + [False]
    assert "Read-only file system" in told[4]
    for text in told:
        assert text.startswith("ValueError: the store ")
    assert found == hashes[0]
    assert left == ["s"]


def test_a_folder_that_may_not_be_written_is_one_sentence(tmp_path):
    (tmp_path / "closed").mkdir(mode=0o555)
    was = os.geteuid()
    try:
        if was == 0:
            os.seteuid(65534)
        told = attempt(tmp_path / "closed" / "s")
    finally:
        os.seteuid(was)
    assert "cannot be written: Permission denied; make room or choose" in told
    assert names(tmp_path / "closed") == []


def test_a_file_in_the_way_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    assert "cannot be written: Not a directory" in attempt(tmp_path / "file" / "s")
    (tmp_path / "loop").symlink_to("loop")
    assert "cannot be written" in attempt(tmp_path / "loop" / "s")
    assert "cannot be written: File name too long" in attempt(tmp_path / ("s" * 250))
    assert names(tmp_path) == ["file", "loop"]


def test_a_link_to_a_store_stays_a_link(tmp_path, hashes):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "s").symlink_to("../elsewhere/s")
    for seed in (0, 1, 0):
        assert written(tmp_path / "here" / "s", seed) == hashes[seed]
    assert (tmp_path / "here" / "s").is_symlink()
    assert names(tmp_path / "elsewhere") == ["s"]
    assert names(tmp_path / "here") == ["s"]


def test_what_a_kill_left_of_a_removed_store_does_not_come_back(tmp_path):
    write(tmp_path / "s", 0)
    (tmp_path / "s").rename(tmp_path / ".s.old")
    (tmp_path / ".s.old" / "card.json").unlink()
    with pytest.raises(ValueError, match="expected a store"):
        Store.open(tmp_path / "s")
    write(tmp_path / "s", 1)
    assert names(tmp_path) == ["s"]
