"""Both formats of torch.save: as torch itself reads them, and closed to damage and traps."""

import io
import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_lib.torch_files import read_torch_file
from fer_lib.unpickler import Record

FORMATS = {"zip": True, "stream": False}
SHARED = Path(os.environ.get("FER_SHARED", "absent")) / "assets" / "models"
REAL = (
    "taef2/taef2_decoder.pth", "mobilefacenet/mobilefacenet.pt", "lpips_lin/squeeze.pth",
    "mtcnn/onet.pt",
)  # fmt: skip
TYPES = (
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32,
    torch.int16, torch.int8, torch.uint8, torch.bool, torch.complex64, torch.complex128,
    torch.uint16, torch.uint32, torch.uint64, torch.float8_e4m3fn,
)  # fmt: skip


def saved(value, path, form):
    torch.save(value, path, _use_new_zipfile_serialization=FORMATS[form])
    return path


def same(found, expected):
    if isinstance(expected, torch.Tensor):
        assert found.dtype == expected.dtype
        assert not found.requires_grad
        assert type(found) is torch.Tensor
        assert torch.equal(found, expected.detach())
    elif isinstance(expected, dict):
        assert list(found) == list(expected)
        for name, part in expected.items():
            same(found[name], part)
    elif isinstance(expected, list | tuple):
        assert type(found) is type(expected)
        for part, wanted in zip(found, expected, strict=True):
            same(part, wanted)
    else:
        assert found == expected


@st.composite
def tensors(draw):
    shape = draw(st.lists(st.integers(0, 4), max_size=4))
    kind = draw(st.sampled_from([torch.float32, torch.int64, torch.bool, torch.bfloat16]))
    value = (torch.randn([n + 1 for n in shape]) * 9).to(kind)
    value = value[tuple(slice(draw(st.integers(0, 1)), n) for n in shape)]
    return value.T if value.ndim == 2 and draw(st.booleans()) else value


CONTENT = st.recursive(
    st.one_of(tensors(), st.none(), st.booleans(), st.integers(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(st.text(max_size=5), inner, max_size=4).map(OrderedDict),
    ),
    max_leaves=8,
)  # fmt: skip


@pytest.mark.parametrize("form", FORMATS)
@given(value=CONTENT)
@settings(deadline=None, max_examples=40)
def test_content_comes_out_as_torch_reads_it(tmp_path_factory, form, value):
    path = saved(value, tmp_path_factory.getbasetemp() / f"any_{form}.pth", form)
    same(read_torch_file(path), torch.load(path, weights_only=True))


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("kind", TYPES, ids=str)
def test_every_type_of_number(tmp_path, form, kind):
    value = torch.arange(6).reshape(2, 3).to(kind)
    found = read_torch_file(saved({"t": value}, tmp_path / "t.pt", form))["t"]
    assert found.dtype == kind
    assert found.view(torch.uint8).equal(value.view(torch.uint8))


@pytest.mark.parametrize("form", FORMATS)
def test_views_share_storage_and_parameters_are_detached(tmp_path, form):
    base = torch.arange(12.0)
    content = {
        "base": base,
        "part": base[3:9].view(2, 3),
        "p": torch.nn.Parameter(torch.ones(2)),
        "size": torch.Size([4, 5]),
    }
    found = read_torch_file(saved(content, tmp_path / "v.pt", form))
    same(found["part"], content["part"])
    found["base"].zero_()
    assert found["part"].eq(0).all()
    assert not found["p"].requires_grad
    assert found["size"] == (4, 5)


@pytest.mark.parametrize("name", REAL)
def test_real_files_are_read_as_torch_reads_them(name):
    if not (SHARED / name).is_file():
        pytest.skip("needs the shared test models (FER_SHARED)")
    expected = torch.load(SHARED / name, map_location="cpu", weights_only=True)
    found = read_torch_file(SHARED / name)
    assert len(found) == len(expected) > 0
    same(found, dict(expected))


@pytest.mark.parametrize("form", FORMATS)
def test_an_object_that_python_would_run_is_a_record(tmp_path, form):
    marker = tmp_path / "marker"

    class Hostile:
        def __reduce__(self):
            return os.system, (f"touch '{marker}'",)

    path = saved({"model": torch.ones(2), "extra": Hostile()}, tmp_path / "bad.pth", form)
    torch.load(path, weights_only=False)
    assert marker.exists(), "the threat is real"
    marker.unlink()
    found = read_torch_file(path)
    assert not marker.exists()
    assert type(found["extra"]) is Record
    same(found["model"], torch.ones(2))


def zip_of(path, records, **how):
    with zipfile.ZipFile(path, "w", **how) as archive:
        for name, content in records.items():
            archive.writestr(name, content)
    return path


def pickled_tensor(
    count=4, size=(4,), stride=(1,), offset=0, kind="FloatStorage", key="0", view=()
):
    """A data.pkl of one tensor whose form says whatever it likes."""

    class Named:
        def __init__(self, module, name):
            self.__module__, self.__qualname__ = module, name

    def put(value):
        if isinstance(value, tuple):
            return b"(" + b"".join(map(put, value)) + b"t"
        if isinstance(value, Named):
            return f"c{value.__module__}\n{value.__qualname__}\n".encode()
        return pickle.dumps(value, 2)[2:-1]

    storage = put(("storage", Named("torch", kind), key, "cpu", count, *view)) + b"Q"
    shape = put(offset) + put(size) + put(stride) + put(False) + put(None)
    return b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(" + storage + shape + b"tR."


def test_a_tensor_written_by_hand_is_read(tmp_path):
    records = {"a/data.pkl": pickled_tensor(), "a/data/0": struct.pack("<4f", 1, 2, 3, 4)}
    same(read_torch_file(zip_of(tmp_path / "a", records)), torch.tensor([1.0, 2, 3, 4]))


@pytest.mark.parametrize(
    ("form", "sentence"),
    [
        ({"size": (5,)}, "larger than its storage"),
        ({"offset": 1}, "larger than its storage"),
        ({"stride": (2,)}, "larger than its storage"),
        ({"size": (2**40,), "stride": (0,)}, "larger than its storage"),
        ({"size": (2**61, 2**61), "stride": (0, 0)}, "larger than its storage"),
        ({"size": (2, 2)}, "form"), ({"size": (-1,)}, "form"), ({"offset": -1}, "form"),
        ({"size": (True,)}, "form"), ({"size": "4"}, "form"), ({"size": (2**70,)}, "form"),
        ({"size": (1,) * 100, "stride": (1,) * 100}, "form"),
        ({"count": 5}, "shorter"), ({"count": 2**60}, "shorter"), ({"count": -4}, "unknown kind"),
        ({"kind": "QInt8Storage"}, "unknown kind"), ({"key": "1"}, "lacks 'data/1'"),
        ({"key": 0}, "unknown kind"), ({"key": "../../a"}, "lacks"),
    ],
)  # fmt: skip
def test_a_tensor_cannot_claim_more_than_its_storage(tmp_path, form, sentence):
    records = {"a/data.pkl": pickled_tensor(**form), "a/data/0": struct.pack("<4f", 1, 2, 3, 4)}
    with pytest.raises(ValueError, match=sentence):
        read_torch_file(zip_of(tmp_path / "a", records))


def test_a_zip_cannot_unpack_to_more_than_itself(tmp_path):
    records = {"a/data.pkl": pickled_tensor(), "a/data/0": bytes(10_000_000)}
    path = zip_of(tmp_path / "a", records, compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 50_000
    with pytest.raises(ValueError, match="is packed, or unpacks to more"):
        read_torch_file(path)


def test_a_packed_zip_is_refused_even_when_it_is_small(tmp_path):
    records = {"a/data.pkl": pickled_tensor(), "a/data/0": os.urandom(16)}
    path = zip_of(tmp_path / "a", records, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match="is packed, or unpacks to more"):
        read_torch_file(path)


def stream_of(path, tensor, keys=("0",), numbers=(1.0, 2, 3, 4)):
    head = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
    raw = struct.pack(f"<q{len(numbers)}f", len(numbers), *numbers)
    pickles = [pickle.dumps(part, 2) for part in head]
    path.write_bytes(b"".join(pickles) + tensor + pickle.dumps(list(keys), 2) + raw)
    return path


def test_old_streams_may_name_a_part_of_a_storage(tmp_path):
    whole = stream_of(tmp_path / "w", pickled_tensor(view=(None,)))
    same(read_torch_file(whole), torch.tensor([1.0, 2, 3, 4]))
    part = stream_of(tmp_path / "p", pickled_tensor(size=(2,), view=(("v", 1, 2),)))
    same(read_torch_file(part), torch.tensor([2.0, 3]))


@pytest.mark.parametrize(
    ("form", "rest", "sentence"),
    [
        ({"view": (("v", 1, 2),)}, {}, "larger than its storage"),
        ({"view": (("v", 3, 2),)}, {}, "unknown part"), ({"view": (7,)}, {}, "unknown part"),
        ({"count": 3, "size": (3,)}, {}, "length"), ({}, {"keys": ()}, "not those"),
        ({}, {"keys": ("0", "0")}, "not those"), ({}, {"keys": ([],)}, "not those"),
        ({"count": 10**6}, {}, "larger than the file"),
    ],
)  # fmt: skip
def test_a_stream_that_contradicts_itself_is_refused(tmp_path, form, rest, sentence):
    path = stream_of(tmp_path / "s", pickled_tensor(**form), **rest)
    with pytest.raises(ValueError, match=sentence):
        read_torch_file(path)


def test_two_entries_cannot_share_their_bytes(tmp_path):
    path = zip_of(tmp_path / "a", {"a/data.pkl": pickled_tensor(), "a/data/0": bytes(100_000)})
    with zipfile.ZipFile(path, "a") as archive:
        entry = archive.getinfo("a/data/0")
        for number in range(50):
            twin = zipfile.ZipInfo(f"a/data/{number + 1}")
            twin.file_size = twin.compress_size = entry.file_size
            twin.CRC, twin.header_offset = entry.CRC, entry.header_offset
            archive.filelist.append(twin)
        archive._didModify = True
    with zipfile.ZipFile(path) as archive:
        assert sum(entry.file_size for entry in archive.infolist()) > 10 * path.stat().st_size
    with pytest.raises(ValueError, match="is packed, or unpacks to more"):
        read_torch_file(path)


def test_a_zip_whose_directory_points_nowhere_is_refused(tmp_path):
    path = zip_of(tmp_path / "a", {"a/data.pkl": pickled_tensor(), "a/data/0": bytes(16)})
    content = bytearray(path.read_bytes())
    directory = content.rindex(b"PK\x05\x06") + 16
    for place in (0, 7, 2**31, 2**32 - 2):
        content[directory : directory + 4] = struct.pack("<I", place)
        path.write_bytes(content)
        with pytest.raises(ValueError, match="zip is damaged"):
            read_torch_file(path)


def test_a_stream_cannot_reserve_more_than_itself(tmp_path):
    path = saved({"t": torch.ones(1000)}, tmp_path / "s.pt", "stream")
    content = path.read_bytes()
    assert content.count(struct.pack("<BH", ord("M"), 1000)) >= 1
    path.write_bytes(content.replace(b"M\xe8\x03", b"J\xff\xff\xff\x7f"))
    with pytest.raises(ValueError, match="larger than the file"):
        read_torch_file(path)


def test_what_is_no_file_of_torch_is_refused(tmp_path):
    contents = {
        "text": (b"hello", "neither"), "empty": (b"", "neither"), "nothing": (b"P", "neither"),
        "other": (pickle.dumps({"a": 1}, 2), "none of torch"),
        "big": (pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2)
                + pickle.dumps({"little_endian": False}, 2), "little-endian"),
    }  # fmt: skip
    for name, (content, sentence) in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=sentence):
            read_torch_file(tmp_path / name)
    for records, sentence in (
        ({}, "without a data.pkl"), ({"a/code.py": b""}, "without a data.pkl"),
        ({"data.pkl": b""}, "without a data.pkl"), ({"a/b/data.pkl": b""}, "lacks"),
        ({"a/data.pkl": b"", "b/data.pkl": b""}, "without a"), ({"a/data.pkl": b""}, "exhausted"),
        ({"a/data.pkl": b"N.", "a/byteorder": b"big"}, "big-endian"),
        ({"../data.pkl": b"N."}, "leads out"), ({"/a/data.pkl": b"N."}, "leads out"),
        ({"a/data.pkl": b"N.", "a/../../b": b""}, "leads out of it: 'a/../../b'"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=sentence):
            read_torch_file(zip_of(tmp_path / "zip", records))


@pytest.mark.parametrize("form", FORMATS)
def test_a_file_cut_anywhere_is_refused(tmp_path, form):
    path = saved({"a": torch.ones(300), "b": [1, "x"]}, tmp_path / "whole.pt", form)
    content = path.read_bytes()
    for length in range(0, len(content), 37):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"\w"):
            read_torch_file(path)


@pytest.mark.parametrize("form", FORMATS)
@given(data=st.data())
@settings(deadline=None, max_examples=120)
def test_any_damage_is_a_value_error_or_does_not_matter(tmp_path_factory, form, data):
    whole = io.BytesIO()
    torch.save(
        {"a": torch.ones(3), "m": torch.nn.Linear(2, 1)},
        whole,
        _use_new_zipfile_serialization=FORMATS[form],
    )
    content = bytearray(whole.getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / f"damaged_{form}.pth"
    path.write_bytes(content)
    try:
        read_torch_file(path)
    except ValueError as error:
        assert str(error)
