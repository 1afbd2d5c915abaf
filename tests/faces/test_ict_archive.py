"""The loader on a hand-made tiny archive, and on archives that mean ill."""

import dataclasses
import io
import json
import tarfile
import zipfile

import numpy as np
import pytest

from fer_lib.faces.ict import archive, bundle
from fer_lib.faces.ict.archive import IctError, read_archive
from fer_lib.faces.ict.bundle import keep_vertices, read_bundle, write_bundle

NEUTRAL = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0.5, 0.5, 2]])
POLYGONS = "f 1/1 2/2 3/3 4/4\nf 1/5 2/2 5/1\n"
TEXTURE = "vt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\nvt 0.5 1.25\n"
UP, ASIDE = np.array([0, 0.25, 0]), np.array([1, 0, 0])
EXPRESSIONS = ["smile_L", "blink_R"]


def obj(points, topology=TEXTURE + POLYGONS):
    rows = "".join(f"v {x:g} {y:g} {z:g}\n" for x, y, z in points)
    return f"# a comment\nmtllib face.mtl\n{rows}{topology}".encode()


def tiny(**changes):
    """Files of a pyramid with two identities and two expressions, name to bytes."""
    files = {
        "vertex_indices.json": json.dumps(
            {"expressions": EXPRESSIONS, "idx_to_landmark_verts": [k % 5 for k in range(68)]}
        ).encode(),
        "smile_L.obj": obj(NEUTRAL + UP),
        "generic_neutral_mesh.obj": obj(NEUTRAL),
        "blink_R.obj": obj(NEUTRAL * [1, 0.5, 1]),
        "identity001.obj": obj(NEUTRAL * 2),
        "identity000.obj": obj(NEUTRAL + ASIDE),
        "unlisted.obj": obj(NEUTRAL - 1),
    }
    merged = files | {name.replace("__", "."): data for name, data in changes.items()}
    return {name: data for name, data in merged.items() if data is not None}


def pack(path, files, prefix="ICT-FaceKit-master/FaceXModel/"):
    entries = {prefix + name: data for name, data in files.items()} | {"readme/a.obj": b"v none"}
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
            for name, data in entries.items():
                packed.writestr(name, data)
    elif path.suffix:
        with tarfile.open(path, "w:xz") as packed:
            for name, data in entries.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                packed.addfile(info, io.BytesIO(data))
    else:
        for name, data in entries.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(data)
    return path


@pytest.mark.parametrize("name", ["ict.tar.xz", "ict.zip", "ict"])
def test_modes_are_files_minus_neutral_whatever_they_are_packed_in(tmp_path, name):
    files = read_archive(pack(tmp_path / name, tiny()))
    np.testing.assert_array_equal(files.neutral, NEUTRAL.astype(np.float32))
    assert files.shape_names == ("identity000", "identity001")
    assert files.expression_names == tuple(EXPRESSIONS)
    np.testing.assert_allclose(files.shape_basis[0], np.broadcast_to(ASIDE, (5, 3)))
    np.testing.assert_allclose(files.shape_basis[1], NEUTRAL)
    np.testing.assert_allclose(files.expression_basis[0], np.broadcast_to(UP, (5, 3)))
    np.testing.assert_allclose(files.expression_basis[1], NEUTRAL * [0, -0.5, 0])


def test_polygons_become_triangles_with_their_texture(tmp_path):
    files = read_archive(pack(tmp_path / "ict.zip", tiny()))
    assert files.triangles.tolist() == [[0, 1, 2], [0, 2, 3], [0, 1, 4]]
    assert files.texture_triangles.tolist() == [[0, 1, 2], [0, 2, 3], [4, 1, 0]]
    assert files.texture.tolist()[4] == [0.5, 1.25]
    assert files.landmarks.tolist() == [k % 5 for k in range(68)]


def test_a_bundle_gives_back_what_was_kept_to_half_precision(tmp_path):
    files = read_archive(pack(tmp_path / "ict.zip", tiny()))
    indexed = dataclasses.replace(files, landmarks=np.full(68, 2))
    part = keep_vertices(indexed, np.array([False, True, True, True, True]))
    assert part.source.tolist() == [1, 2, 3, 4]
    assert len(part.triangles) == 0 and set(part.landmarks) == {1}
    write_bundle(files, tmp_path / "deep" / "bundle.npz")
    read = read_bundle(tmp_path / "deep" / "bundle.npz")
    for field in dataclasses.fields(files):
        before, after = getattr(files, field.name), getattr(read, field.name)
        if field.name.endswith("_names"):
            assert before == after
        else:
            assert before.dtype == after.dtype
            np.testing.assert_allclose(after, before, rtol=2**-11, atol=2**-14)
    assert [file.name for file in (tmp_path / "deep").iterdir()] == ["bundle.npz"]


def test_a_damaged_bundle_is_refused(tmp_path):
    target = tmp_path / "bundle.npz"
    target.write_bytes(b"PK no archive")
    with pytest.raises(IctError, match="delete it"):
        read_bundle(target)
    np.savez(target, neutral=np.array([{"a": 1}], dtype=object))
    with pytest.raises(IctError, match="delete it"):
        read_bundle(target)


BAD_INDEX = json.dumps({"expressions": EXPRESSIONS, "idx_to_landmark_verts": [9] * 68}).encode()
NO_NAMES = json.dumps({"expressions": [3], "idx_to_landmark_verts": [0] * 68}).encode()
FEW = json.dumps({"expressions": EXPRESSIONS, "idx_to_landmark_verts": [0] * 5}).encode()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"generic_neutral_mesh__obj": None}, "generic_neutral_mesh.obj"),
        ({"vertex_indices__json": None}, "vertex_indices.json"),
        ({"vertex_indices__json": b"{not json"}, "names and landmarks"),
        ({"vertex_indices__json": b"[]"}, "names and landmarks"),
        ({"vertex_indices__json": b"[" * 100_000}, "names and landmarks"),
        ({"vertex_indices__json": BAD_INDEX}, "landmarks below 5"),
        ({"vertex_indices__json": NO_NAMES}, "list of names"),
        ({"vertex_indices__json": FEW}, "68 landmark vertices"),
        ({"smile_L__obj": None}, "absent: .*smile_L"),
        ({"identity000__obj": None, "identity001__obj": None}, "identity000"),
        ({"smile_L__obj": obj(NEUTRAL[:4])}, "smile_L.obj to have the neutral"),
        ({"smile_L__obj": obj(NEUTRAL, TEXTURE + POLYGONS[::-1])}, "smile_L.obj to have"),
        ({"smile_L__obj": obj(NEUTRAL * np.nan)}, "finite numbers"),
        ({"smile_L__obj": obj(NEUTRAL).replace(b"1 0 0", b"1 0 zero")}, "numbers in smile_L"),
        ({"smile_L__obj": b"nothing here"}, "got none"),
        ({f"{n}__obj": obj(NEUTRAL, TEXTURE + "f 1/1 2/2 9/3\n") for n in
          ("generic_neutral_mesh", "smile_L", "blink_R", "identity000", "identity001",
           "unlisted")}, "polygons over 5"),
        ({f"{n}__obj": obj(NEUTRAL, TEXTURE + "f 1 2 3\n") for n in
          ("generic_neutral_mesh", "smile_L", "blink_R", "identity000", "identity001",
           "unlisted")}, "vertex/texture pairs"),
    ],
)
def test_files_that_do_not_fit_are_refused_in_a_sentence(tmp_path, changes, sentence):
    with pytest.raises(IctError, match=sentence):
        read_archive(pack(tmp_path / "ict.zip", tiny(**changes)))


def test_absurd_sizes_are_refused_before_they_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "_MAX_BYTES", 1000)
    for name in ("ict.tar.xz", "ict.zip", "ict"):
        huge = pack(tmp_path / name, tiny(smile_L__obj=b"v" * 5000))
        with pytest.raises(IctError, match="to hold at most"):
            read_archive(huge)
    monkeypatch.setattr(archive, "_MAX_MEMBERS", 3)
    for name in ("many.tar.xz", "many.zip", "many"):
        with pytest.raises(IctError, match="at most 3"):
            read_archive(pack(tmp_path / name, tiny()))


def test_links_are_refused(tmp_path):
    path = tmp_path / "ict.tar.xz"
    with tarfile.open(path, "w:xz") as packed:
        info = tarfile.TarInfo("FaceXModel/smile_L.obj")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/hostname"
        packed.addfile(info)
    with pytest.raises(IctError, match="plain file"):
        read_archive(path)
    folder = pack(tmp_path / "ict", tiny(), "FaceXModel/")
    (folder / "FaceXModel" / "identity002.obj").symlink_to(folder / "FaceXModel" / "smile_L.obj")
    with pytest.raises(IctError, match="plain file"):
        read_archive(folder)


def test_a_file_that_is_no_archive_is_refused(tmp_path):
    (tmp_path / "ict.tar.xz").write_bytes(b"no archive at all")
    with pytest.raises(IctError, match="an archive of ICT-FaceKit"):
        read_archive(tmp_path / "ict.tar.xz")
    whole = pack(tmp_path / "whole.tar.xz", tiny()).read_bytes()
    (tmp_path / "cut.tar.xz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(IctError, match="an archive of ICT-FaceKit"):
        read_archive(tmp_path / "cut.tar.xz")


def test_another_mesh_is_not_imported(tmp_path):
    with pytest.raises(IctError, match="26719 vertices"):
        bundle.import_ict(pack(tmp_path / "ict.zip", tiny()), tmp_path / "out.npz")
    assert not (tmp_path / "out.npz").exists()
