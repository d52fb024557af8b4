"""The memory in a plugin's hands, and the gate that holds it back."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.memory import EMPTY, FORGETFUL, Gate, PackageMemory, decoded, encoded
from supervisor.testing import FakeMemory

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=10,
)


class Bytes:
    """A keeper that shows what it was given."""

    def __init__(self) -> None:
        self.kept: list[bytes] = []

    def recall(self) -> bytes:
        return self.kept[-1] if self.kept else EMPTY

    def keep(self, memory: bytes) -> None:
        self.kept.append(memory)


@given(st.dictionaries(st.text(), JSON))
def test_what_is_kept_is_recalled(value: dict[str, Any]) -> None:
    """Plain values come back as they were."""
    keeper = Bytes()
    PackageMemory(keeper).keep(value)
    assert PackageMemory(keeper).recall() == value


@given(st.dictionaries(st.text(), JSON))
def test_the_order_of_keys_makes_no_difference(value: dict[str, Any]) -> None:
    """Equal values are one value, so that it is not written again."""
    assert encoded(value) == encoded(dict(reversed(value.items())))


def test_a_memory_is_taken_as_it_is_now() -> None:
    """What the plugin does with its value afterwards, or with a recalled one, changes nothing."""
    keeper, value = Bytes(), {"faults": {"A": 1}}
    memory = PackageMemory(keeper)
    memory.keep(value)
    value["faults"]["A"] = 2
    memory.recall()["faults"]["A"] = 3
    assert memory.recall() == {"faults": {"A": 1}}


def endless() -> dict[str, Any]:
    """A value that holds itself."""
    value: dict[str, Any] = {}
    value["self"] = value
    return value


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ([1], TypeError),
        (None, TypeError),
        ({"a": object()}, TypeError),
        ({"a": "\udc80"}, ValueError),
        (endless(), ValueError),
    ],
)
def test_what_is_no_json_is_refused_where_it_is_kept(value: Any, error: type[Exception]) -> None:
    """The author's mistake shows in the author's line, and the memory stays as it was."""
    keeper = Bytes()
    with pytest.raises(error):
        PackageMemory(keeper).keep(value)
    assert keeper.kept == []


def test_the_forgetful_memory_forgets() -> None:
    """A command that only looks leaves nothing behind."""
    FORGETFUL.keep({"a": 1})
    assert FORGETFUL.recall() == {}


def test_the_fake_memory_outlives_a_plugin() -> None:
    """An author tests a restart with it."""
    memory = FakeMemory({"a": 1})
    assert memory.recall() == {"a": 1}
    memory.keep({"a": 2})
    assert (memory.recall(), memory.kept) == ({"a": 2}, [{"a": 2}])
    with pytest.raises(TypeError):
        memory.keep({"a": object()})


def test_a_gate_waits_for_the_node_and_for_every_plugin() -> None:
    """Before that the newest value is held, not lost."""
    keeper = Bytes()
    gate = Gate(keeper)
    gate.keep(b"1")
    gate.taken_over("x")
    gate.open(["x", "y"])
    gate.keep(b"2")
    gate.taken_over("x")
    assert keeper.kept == []
    gate.taken_over("y")
    assert keeper.kept == [b"2"]
    gate.keep(b"3")
    assert keeper.kept == [b"2", b"3"]


def test_a_gate_without_successors_opens_with_the_node() -> None:
    """A plugin that does not care about owners is not asked."""
    keeper = Bytes()
    gate = Gate(keeper)
    gate.keep(b"1")
    gate.open(())
    assert keeper.kept == [b"1"]


def test_a_node_that_is_lost_shuts_the_gate() -> None:
    """Until this process owns it again, and its plugins have taken over again."""
    keeper = Bytes()
    gate = Gate(keeper)
    gate.open(())
    gate.shut()
    gate.keep(b"1")
    assert keeper.kept == []
    gate.open(["x"])
    assert keeper.kept == []
    gate.taken_over("x")
    assert keeper.kept == [b"1"]


def test_a_closed_gate_lets_nothing_through() -> None:
    """A retired plugin that lives on in a thread cannot overwrite what its successor keeps."""
    keeper = Bytes()
    gate = Gate(keeper)
    gate.open(["x"])
    gate.keep(b"1")
    gate.close()
    gate.taken_over("x")
    gate.keep(b"2")
    assert keeper.kept == []
    assert decoded(gate.recall()) == {}
