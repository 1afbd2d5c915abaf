"""The machine that reads pickles: agrees with Python's on data, and does nothing else."""

import io
import os
import pickle
import tracemalloc
from collections import OrderedDict, defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_lib.unpickler import Global, Record, unpickle

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(),
)
KEYS = st.one_of(st.text(), st.integers(), st.tuples(st.integers(), st.text()))
DATA = st.recursive(
    st.one_of(SCALARS, st.sets(KEYS)),
    lambda inner: st.one_of(
        st.lists(inner),
        st.dictionaries(KEYS, inner),
        st.tuples(inner),
        st.tuples(inner, inner),
        st.tuples(inner, inner, inner),
        st.lists(inner).map(tuple),
        st.dictionaries(KEYS, inner).map(OrderedDict),
    ),
    max_leaves=20,
)


def read(content, **how):
    return unpickle(io.BytesIO(content), **how)


@given(DATA, st.integers(2, pickle.HIGHEST_PROTOCOL))
@settings(deadline=None, max_examples=60)
def test_data_comes_out_as_python_reads_it(value, protocol):
    assert read(pickle.dumps(value, protocol)) == value


@pytest.mark.parametrize("protocol", range(3, pickle.HIGHEST_PROTOCOL + 1))
def test_bytes_frozen_sets_and_what_is_stored_twice(protocol):
    shared = [1]
    value = {"a": shared, "b": shared, "raw": b"\x00\xff" * 300, "many": list(range(3000))}
    found = read(pickle.dumps(value, protocol))
    assert found == value
    assert found["a"] is found["b"]
    assert read(pickle.dumps(frozenset({1, "a"}), 4)) == {1, "a"}


def test_a_list_that_holds_itself_comes_back():
    value = [1]
    value.append(value)
    found = read(pickle.dumps(value, 2))
    assert found[0] == 1
    assert found[1] is found


def test_containers_of_python_become_plain_ones():
    value = {"o": OrderedDict(b=1, a=2), "d": defaultdict(list, x=[3]), "s": {4}}
    found = read(pickle.dumps(value, 2))
    assert found == {"o": {"b": 1, "a": 2}, "d": {"x": [3]}, "s": {4}}
    assert [type(part) for part in found.values()] == [dict, dict, set]
    # As Python 2 wrote them: the pairs as an argument.
    assert read(b"\x80\x02ccollections\nOrderedDict\n](](U\x01aK\x01ee\x85R.") == {"a": 1}


class Sensor:
    """Something with attributes, items and a value made by a call."""

    def __init__(self):
        self.gain, self.when = 2.5, complex(1, 2)


class Queue(list):
    pass


class Table(dict):
    pass


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_objects_become_records_of_what_the_pickle_says(protocol):
    queue, table = Queue([1, 2]), Table(a=3)
    found = read(pickle.dumps([Sensor(), queue, table], protocol))
    assert all(type(part) is Record for part in found)
    assert found[0].maker == Global(__name__, "Sensor")
    assert found[0].state["gain"] == 2.5
    assert found[0].state["when"].maker == Global(
        "builtins" if protocol > 2 else "__builtin__", "complex"
    )
    assert found[0].state["when"].arguments == (1.0, 2.0)
    assert found[1].elements == [1, 2]
    assert found[2].entries == {"a": 3}
    assert repr(found[0]) == f"Record('{__name__}.Sensor')"


class Hostile:
    def __init__(self, maker, *arguments, state=None):
        self.call = (maker, arguments) if state is None else (maker, arguments, state)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("kind", ["system", "eval", "exec", "nested", "state"])
def test_nothing_of_a_hostile_pickle_runs(tmp_path, kind, protocol):
    marker = tmp_path / "marker"
    code = f"open({str(marker)!r}, 'w').close()"
    hostile = {
        "system": Hostile(os.system, f"touch '{marker}'"),
        "eval": Hostile(eval, code),
        "exec": Hostile(exec, code),
        "nested": Hostile(getattr, Hostile(__import__, "os"), Hostile(eval, code)),
        "state": Hostile(Sensor, state={"gain": Hostile(eval, code)}),
    }[kind]
    content = pickle.dumps({"weights": [hostile]}, protocol)
    # The threat is real: Python itself would run it.
    try:
        pickle.loads(content)
    except TypeError:
        assert kind == "nested"
    assert marker.exists()
    marker.unlink()
    found = read(content)["weights"][0]
    assert not marker.exists()
    assert type(found) is Record
    assert isinstance(found.maker, Global)


def test_a_pickle_cannot_change_what_it_names():
    # BUILD on a class or a function sets its attributes, in Python.
    for name in (b"collections\nOrderedDict", b"torch._utils\n_rebuild_tensor_v2"):
        with pytest.raises(ValueError, match="where it may not"):
            read(b"\x80\x02c" + name + b"\n}U\x01xK\x01sb.")


def test_own_functions_get_the_arguments_and_refuse_wrong_ones():
    own = {Global("shop", "add"): lambda a, b: a + b}
    call = b"\x80\x02cshop\nadd\n"
    assert read(call + b"K\x02K\x03\x86R.", rebuilds=own) == 5
    assert read(call + b"K\x02K\x03\x86\x81.", rebuilds=own) == 5
    with pytest.raises(ValueError, match="do not fit"):
        read(call + b"K\x02\x85R.", rebuilds=own)
    assert type(read(call + b"K\x02\x85R.")) is Record


def test_persistent_ids_are_resolved_or_refused():
    assert read(b"\x80\x02K\x07Q.", persistent=lambda name: [name]) == [7]
    with pytest.raises(ValueError, match="outside"):
        read(b"\x80\x02K\x07Q.")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "exhausted"), (b"\xfe\n", "opcode"), (b"\x80\x02]", "exhausted"),
        (b"\x80\x02.", "empty stack"), (b"\x80\x02h\x05.", "not stored"),
        (b"\x80\x02K\x01e.", "mark"), (b"\x80\x02}(K\x01u.", "without a value"),
        (b"\x80\x02(0.", "empty stack"), (b"\x80\x02K\x01K\x02a.", "where it may not"),
        (b"\x80\x02}]K\x01s.", "where it may not"), (b"\x80\x02K\x01K\x02R.", "where it may not"),
        (b"\x80\x02cos\nsystem\nK\x02R.", "where it may not"), (b"\x80\x02\x82\x01.", "EXT1"),
        (b"(S'ls'\nios\nsystem\n.", "not read here"), (b"\x80\x02K\x01K\x02\x93.", "may not"),
        (b"\x80\x05\x8e\xff\xff\xff\xff\xff\xff\xff\x3f.", "remain"),
    ],
)  # fmt: skip
def test_broken_and_foreign_pickles_are_refused(content, sentence):
    with pytest.raises(ValueError, match=sentence):
        read(content)


def big_key():
    # Thirty tuples of twice the one before: hashing the last takes 2^30 steps.
    doubled = b"".join(b"2\x86" for _ in range(30))
    return b"\x80\x02}K\x01" + doubled + b"K\x01s."


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (big_key(), "where it may not"),
        (b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x3f.", "remain"),
        (b"\x80\x02\x8b\xff\xff\xff\x7f.", "not enough data"),
    ],
)  # fmt: skip
def test_small_pickles_cannot_ask_for_much(content, sentence):
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=sentence):
            read(content)
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()


def test_a_stored_list_cannot_be_copied_without_end():
    stored = b"\x80\x02](" + b"K\x01" * 100_000 + b"eq\x00"
    with pytest.raises(ValueError, match="copies too much"):
        read(stored + b"c__builtin__\nset\nh\x00\x85R" * 11 + b".")


def test_a_far_memo_position_reserves_nothing():
    tracemalloc.start()
    try:
        assert read(b"\x80\x02K\x07r\xff\xff\xff\xff0j\xff\xff\xff\xff.") == 7
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_calls_within_calls_have_no_depth_limit():
    depth = 50_000
    content = b"\x80\x02" + b"cos\nsystem\n" + b"K\x01\x85R" * depth + b"."
    found, count = read(content), 0
    while isinstance(found, Record):
        found, count = found.maker, count + 1
    assert count == depth


@pytest.mark.filterwarnings("ignore:invalid escape sequence")
@given(DATA, st.data())
@settings(deadline=None)
def test_any_damage_is_a_value_error(value, data):
    content = bytearray(pickle.dumps(value, data.draw(st.sampled_from([2, 4]))))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        read(bytes(content[: data.draw(st.integers(0, len(content)))]))
    except ValueError as error:
        assert str(error)
