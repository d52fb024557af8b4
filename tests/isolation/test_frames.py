"""Answers: whatever a process says is kept for the check, and what is no message is an expected error."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor import ContainerEdits, Device
from supervisor.isolation import answers, frames

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
DEVICES = st.lists(
    st.fixed_dictionaries({"id": st.sampled_from(["a", "b", "no good"])}, optional={"health": VALUES, "edits": VALUES}) | VALUES
)


@given(st.dictionaries(st.sampled_from(["example.com/a", "b"]), DEVICES | VALUES))
def test_whatever_a_look_says_is_kept_for_the_check(resources: dict[str, Any]) -> None:
    """Nothing is dropped or invented; what is a Device holds no value that only looks like one."""
    raw = msgspec.Raw(msgspec.msgpack.encode(frames.Seen(resources, ("misc",), {}, ())))
    seen = answers.seen(raw, {})
    assert list(seen.resources) == list(resources)
    for name, said in resources.items():
        got = seen.resources[name]
        if not isinstance(said, list):
            assert got == said
            continue
        assert len(got) == len(said)
        for device, words in zip(got, said, strict=True):
            if type(device) is Device:
                assert device.id == words["id"]
                assert isinstance(device.edits, ContainerEdits) or not valid(device)
            else:
                assert device == words


@given(
    st.lists(st.sampled_from("abcdef"), unique=True),
    st.lists(st.sampled_from("abcdef"), unique=True),
    st.sampled_from("abcdef"),
)
def test_a_device_that_is_as_before_is_the_same_object(before: list[str], after: list[str], changed: str) -> None:
    """Whichever others come, go or change."""
    first = answers.seen(look_at([Device(name) for name in before]), {})
    devices = [Device(name, reason="now" if name == changed else "") for name in after]
    got = answers.seen(look_at(devices), first.resources).resources["example.com/a"]
    assert got == devices
    old = {device.id: device for device in first.resources["example.com/a"]}
    assert all(device is old[device.id] for device in got if device.id in old and device.id != changed)


def look_at(devices: list[Device]) -> msgspec.Raw:
    """The answer of a process that sees these."""
    return msgspec.Raw(msgspec.msgpack.encode(frames.Seen({"example.com/a": devices}, (), {}, ())))


def valid(device: Device) -> bool:
    """Whether the check of a look would let a device pass."""
    try:
        msgspec.msgpack.decode(msgspec.msgpack.encode(device), type=Device)
    except msgspec.ValidationError:
        return False
    return True


@given(st.binary(max_size=200))
def test_bytes_that_are_no_message_are_an_expected_error(junk: bytes) -> None:
    """A process that has gone mad is killed for it; it must not raise anything else."""
    try:
        answers.seen(msgspec.Raw(junk), {})
    except msgspec.MsgspecError:
        return
    pytest.fail("junk was taken for a look")
