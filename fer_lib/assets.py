"""Everything that is downloaded, by one registry: where from, which bytes, under which licence.

Nothing else in the project opens a connection. A file is written beside its place, checked, and
renamed; what cannot be had is a sentence that says what to do by hand.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
import urllib.error
import urllib.request
from pathlib import Path

from fer_lib import paths
from fer_lib.asset_entries import ENTRIES, Asset

_TIMEOUT_S = 30
_CHUNK = 1 << 20
_RECORD = "sha256.json"


class AssetError(RuntimeError):
    """An asset cannot be had, or its bytes are not the expected ones."""


_REGISTRY = {asset.name: asset for asset in ENTRIES}


def registry() -> dict[str, Asset]:
    """Give every known asset by name."""
    return dict(_REGISTRY)


def get(name: str) -> Path:
    """Give an asset's local file, downloading and checking it where it is not there yet.

    Args:
        name: key in the registry.

    Returns:
        The file under ``data/raw``, or that of the shared assets (``FER_SHARED``) if only they
        have it.

    Raises:
        AssetError: the name is unknown, the file is none to download, the download fails, or the
            bytes are not the expected ones.
    """
    asset = _find(name)
    path = _local(asset)
    if not path.is_file():
        _download(asset, path)
    _check(asset, path)
    return path


def require(name: str) -> Path:
    """Give an asset's local file as ``get``, but never download it.

    Raises:
        AssetError: the name is unknown, the file is not here, or its bytes are not the expected
            ones.
    """
    if not verify(name):
        raise AssetError(_missing(_find(name)))
    return _local(_find(name))


def verify(name: str) -> bool:
    """Say whether an asset is present with the expected bytes.

    Args:
        name: key in the registry.

    Returns:
        True when the local file has the recorded digest, False when there is no local file.

    Raises:
        AssetError: the name is unknown, or the file's bytes are not the expected ones.
    """
    asset = _find(name)
    path = _local(asset)
    if path.is_file():
        _check(asset, path)
    return path.is_file()


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack a tar archive with the filter that refuses links and paths that lead out of it.

    Args:
        archive: a ``.tar``, ``.tar.gz`` or ``.tar.xz`` file.
        folder: where to; made if need be.

    Returns:
        The one top folder of the archive, or ``folder`` where it has several entries.

    Raises:
        AssetError: the file is no tar archive, or holds an entry that would leave ``folder``.
    """
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
    except (tarfile.TarError, OSError) as error:
        raise AssetError(f"expected a sound tar archive, got {archive.name}: {error}") from error
    entries = list(folder.iterdir())
    return entries[0] if len(entries) == 1 and entries[0].is_dir() else folder


def _find(name: str) -> Asset:
    if name not in _REGISTRY:
        raise AssetError(f"expected an asset out of {sorted(_REGISTRY)}, got {name!r}")
    return _REGISTRY[name]


def _local(asset: Asset) -> Path:
    """Where the asset or a copy of it is, else where it would be downloaded to."""
    raw, shared = paths.data_dir() / "raw", paths.shared_dir()
    path = raw / asset.filename
    known = (*asset.copies, (asset.filename, asset.sha256))
    pinned = [name for name, digest in known if digest]
    found = [raw / name for name in (asset.filename, *pinned)]
    for name in pinned if shared else ():
        found += sorted((shared / "assets").rglob(name))
    return next((place for place in found if place.is_file()), path)


def _missing(asset: Asset) -> str:
    place = paths.data_dir() / "raw" / asset.filename
    if asset.converted:
        return (
            f"expected {asset.name} at {place}, it is not here; it is no download but converted "
            f"from {asset.url} ({asset.note})"
        )
    return (
        f"expected {asset.name}, it is not here; fetch it by `fer assets get {asset.name}`, or "
        f"fetch {asset.url} elsewhere and put it at {place}"
    )


def _download(asset: Asset, path: Path) -> None:
    if asset.converted:
        raise AssetError(_missing(asset))
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".part")
    try:
        with (
            urllib.request.urlopen(asset.url, timeout=_TIMEOUT_S) as response,
            beside.open("wb") as file,
        ):
            while chunk := response.read(_CHUNK):
                file.write(chunk)
    except (urllib.error.URLError, OSError) as error:
        beside.unlink(missing_ok=True)
        raise AssetError(
            f"could not download {asset.name} ({error}); fetch {asset.url} by hand and put it at "
            f"{path}"
        ) from error
    beside.replace(path)


def _check(asset: Asset, path: Path) -> None:
    digest = file_sha256(path)
    known = dict(asset.copies).get(path.name) or asset.sha256
    expected = known or _recorded(path.parent, asset.name, digest)
    if digest != expected:
        raise AssetError(
            f"expected {path.name} with sha256 {expected[:16]}…, got {digest[:16]}…; delete the "
            "file and fetch it again"
        )


def _recorded(folder: Path, name: str, digest: str) -> str:
    """Give the digest recorded for an asset, recording this one where there is none yet."""
    record = folder / _RECORD
    known = json.loads(record.read_text()) if record.is_file() else {}
    if name not in known:
        known[name] = digest
        record.write_text(json.dumps(known, indent=1, sort_keys=True))
    return known[name]


def file_sha256(path: Path) -> str:
    """Give the SHA-256 of a file as hex, read in chunks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
