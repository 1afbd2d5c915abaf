import dataclasses
import hashlib
import io
import json
import re
import tarfile
import urllib.error
from pathlib import Path

import pytest

from fer_lib import asset_entries, assets


@pytest.fixture
def served(monkeypatch, workplace):
    """Serve bytes instead of the network, counting the requests."""
    requests = []

    def serve(content):
        def urlopen(url, timeout):
            requests.append(url)
            if isinstance(content, Exception):
                raise content
            return io.BytesIO(content)
        monkeypatch.setattr(assets.urllib.request, "urlopen", urlopen)
        return requests
    return serve


def test_every_asset_is_pinned_and_licensed():
    for name, asset in assets.registry().items():
        assert asset.name == name
        assert asset.licence
        assert asset.note
        assert asset.url.startswith("https://")
        pinned = re.search(r"/[0-9a-f]{40}[./]|/releases/download/v", asset.url)
        assert re.fullmatch("[0-9a-f]{64}", asset.sha256) or (pinned and not asset.converted)
    assert len(assets.registry()) == len(asset_entries.ENTRIES)
    for net in ("alex", "vgg", "squeeze"):
        # torchvision's names carry the first digits of the digest.
        asset = assets.registry()[f"lpips_{net}"]
        assert f"-{asset.sha256[:8]}.pth" in asset.filename


def test_what_lies_among_the_shared_assets_is_found_with_its_digest(shared, served):
    requests = served(b"from the network")
    manifest = json.loads((shared / "assets" / "MANIFEST.json").read_text())
    lying = {Path(entry["file"]).name: shared / entry["file"] for entry in manifest}
    found = set()
    for name, asset in assets.registry().items():
        pinned = [*(copy for copy, _ in asset.copies), asset.filename]
        there = [lying[file] for file in pinned if file in lying and lying[file].is_file()]
        if there:
            assert assets.get(name) == assets.require(name) == there[0]
            found.add(name)
    assert {"mobilefacenet", "mini_xception", "faceapi", "squeezenet1_1_mit"} <= found
    assert requests == []


def test_what_is_required_is_never_downloaded(served, workplace):
    requests = served(b"archive")
    with pytest.raises(assets.AssetError, match=r"`fer assets get facial_expressions`.*put it at"):
        assets.require("facial_expressions")
    assert requests == []
    assert assets.get("facial_expressions") == assets.require("facial_expressions")


def test_a_converted_file_is_no_download(served, monkeypatch):
    requests = served(b"the file before it was converted")
    monkeypatch.delenv("FER_SHARED", raising=False)
    for ask in (assets.get, assets.require):
        with pytest.raises(assets.AssetError, match=r"converted from https://.*BGR and mean"):
            ask("squeezenet1_1_mit")
    assert requests == []


def test_a_download_is_kept_and_checked_against_its_first_digest(served):
    requests = served(b"archive")
    path = assets.get("facial_expressions")
    assert path.read_bytes() == b"archive"
    assert assets.get("facial_expressions") == path
    assert len(requests) == 1
    assert assets.verify("facial_expressions")
    path.write_bytes(b"tampered")
    with pytest.raises(assets.AssetError, match="sha256"):
        assets.verify("facial_expressions")


def test_a_failed_download_says_what_to_do_and_leaves_nothing(served, workplace):
    served(urllib.error.URLError("no route"))
    with pytest.raises(assets.AssetError, match="by hand"):
        assets.get("facial_expressions")
    assert not list((workplace / "data" / "raw").iterdir())
    assert not assets.verify("facial_expressions")


def test_an_unknown_asset_is_refused():
    with pytest.raises(assets.AssetError, match="facial_expressions"):
        assets.get("nothing")


def archive(path, name):
    with tarfile.open(path, "w:gz") as tar:
        info = tarfile.TarInfo(name)
        info.size = 2
        tar.addfile(info, io.BytesIO(b"hi"))
    return path


def test_an_archive_unpacks_into_its_folder_and_never_outside(tmp_path):
    top = assets.unpack(archive(tmp_path / "good.tar.gz", "top/file.txt"), tmp_path / "good")
    assert (top / "file.txt").read_text() == "hi"
    with pytest.raises(assets.AssetError):
        assets.unpack(archive(tmp_path / "bad.tar.gz", "../../outside.txt"), tmp_path / "bad")
    assert not (tmp_path.parent / "outside.txt").exists()
    (tmp_path / "text.tar").write_text("no archive")
    with pytest.raises(assets.AssetError, match="sound tar"):
        assets.unpack(tmp_path / "text.tar", tmp_path / "text")


def test_a_pinned_asset_among_the_shared_ones_is_not_fetched(served, monkeypatch, tmp_path):
    requests = served(b"other bytes")
    folder = tmp_path / "shared" / "assets" / "models"
    folder.mkdir(parents=True)
    monkeypatch.setenv("FER_SHARED", str(tmp_path / "shared"))
    content = b"bundle"
    asset = dataclasses.replace(
        assets.registry()["face_landmarker"], sha256=hashlib.sha256(content).hexdigest())
    monkeypatch.setitem(assets._REGISTRY, "face_landmarker", asset)
    assert not assets.verify("face_landmarker")
    (folder / asset.filename).write_bytes(content)
    assert assets.get("face_landmarker") == folder / asset.filename
    assert assets.verify("face_landmarker")
    assert requests == []
    (folder / asset.filename).write_bytes(b"tampered")
    with pytest.raises(assets.AssetError, match="sha256"):
        assets.get("face_landmarker")


def test_a_copy_under_another_name_spares_the_download(served, monkeypatch, tmp_path, workplace):
    requests = served(b"from the network")
    copy = tmp_path / "shared" / "assets" / "copy.tar.xz"
    copy.parent.mkdir(parents=True)
    copy.write_bytes(b"same content")
    monkeypatch.setenv("FER_SHARED", str(tmp_path / "shared"))
    digest = hashlib.sha256(b"same content").hexdigest()
    asset = dataclasses.replace(assets.registry()["ict"], copies=(("copy.tar.xz", digest),))
    monkeypatch.setitem(assets._REGISTRY, "ict", asset)
    assert assets.get("ict") == copy and assets.verify("ict")
    raw = workplace / "data" / "raw" / "copy.tar.xz"
    raw.parent.mkdir(parents=True)
    raw.write_bytes(b"tampered")
    with pytest.raises(assets.AssetError, match="sha256"):
        assets.get("ict")
    raw.unlink()
    copy.unlink()
    assert assets.get("ict").read_bytes() == b"from the network"
    assert len(requests) == 1
