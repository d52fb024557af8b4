"""Bytes for the kubelet: judged by bytes written by hand, by the generated classes, and by an encoder without a cache."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.kubelet import encoding
from supervisor.kubelet.encoding import ListEncoder, container_response, encode_devices, register_request
from supervisor.kubelet.protos import deviceplugin_pb2 as pb
from supervisor.model import ContainerEdits, Device, DeviceNode, Health, Mount, Topology
from tests.kubelet.golden import example

GOLDEN_DEVICES = [Device("d0", topology=Topology((1,))), Device("d1", Health.UNHEALTHY, "hot")]
GOLDEN_EDITS = ContainerEdits((DeviceNode("/h", "/c"),), (Mount("/h", "/c"),), {"A": "1"}, {"k": "v"}, ("v/c=n",))

IDS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=63)
DEVICES = st.builds(
    Device,
    IDS,
    st.sampled_from(Health),
    st.text(max_size=3),
    st.builds(Topology, st.lists(st.integers(0, 63), max_size=3).map(tuple)),
)
PATHS = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=9).map(lambda name: f"/{name}")
EDITS = st.builds(
    ContainerEdits,
    st.lists(st.builds(DeviceNode, PATHS, st.none() | PATHS, st.sampled_from(["r", "rwm"])), max_size=3).map(tuple),
    st.lists(st.builds(Mount, PATHS, st.none() | PATHS, st.booleans()), max_size=3).map(tuple),
    st.dictionaries(st.text("AB_", min_size=1, max_size=3), PATHS, max_size=3),
    st.dictionaries(st.text("ab/", min_size=1, max_size=3), PATHS, max_size=3),
    st.lists(st.sampled_from(["ve/cl=1", "ve/cl=2"]), max_size=3).map(tuple),
)


# --- bytes written by hand --------------------------------------------------------------------------------------------


def test_a_list_has_the_bytes_of_the_api() -> None:
    """Ids, health, and a topology only where there is one; never the reason."""
    assert encode_devices(GOLDEN_DEVICES) == example("ListAndWatchResponse")


def test_a_containers_edits_have_the_bytes_of_the_api() -> None:
    """Every field once."""
    answer = pb.AllocateResponse(container_responses=[container_response(GOLDEN_EDITS)])
    assert answer.SerializeToString(deterministic=True) == example("AllocateResponse")


def test_a_registration_has_the_bytes_of_the_api() -> None:
    """Version, endpoint, name, options."""
    expected = pb.RegisterRequest.FromString(example("RegisterRequest"))
    assert register_request(expected.resource_name, expected.endpoint, expected.options) == example("RegisterRequest")


# --- there and back ---------------------------------------------------------------------------------------------------


@given(st.lists(DEVICES, max_size=5))
def test_a_list_comes_back_as_it_was(devices: list[Device]) -> None:
    """In its order, with the kubelet's two words for health and an absent topology where there is no node."""
    back = pb.ListAndWatchResponse.FromString(encode_devices(devices)).devices
    assert [(each.ID, each.health, tuple(node.ID for node in each.topology.nodes)) for each in back] == [
        (device.id, "Healthy" if device.healthy else "Unhealthy", device.topology.numa_nodes) for device in devices
    ]
    assert [each.HasField("topology") for each in back] == [bool(device.topology.numa_nodes) for device in devices]


@given(EDITS)
def test_edits_come_back_as_they_were(edits: ContainerEdits) -> None:
    """A node or mount without a place of its own is seen where the host has it."""
    back = pb.ContainerAllocateResponse.FromString(container_response(edits).SerializeToString())
    assert [(each.host_path, each.container_path, each.permissions) for each in back.devices] == [
        (node.host_path, node.container_path or node.host_path, node.permissions) for node in edits.device_nodes
    ]
    assert [(each.host_path, each.container_path, each.read_only) for each in back.mounts] == [
        (mount.host_path, mount.container_path or mount.host_path, mount.read_only) for mount in edits.mounts
    ]
    assert dict(back.envs) == edits.envs
    assert dict(back.annotations) == edits.annotations
    assert tuple(each.name for each in back.cdi_devices) == edits.cdi_devices


# --- the cache --------------------------------------------------------------------------------------------------------

CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("insert"), st.integers(0, 3000), DEVICES),
        st.tuples(st.just("replace"), st.integers(0, 3000), DEVICES),
        st.tuples(st.just("delete"), st.integers(0, 3000), st.integers(1, 1500)),
        st.tuples(st.just("append"), st.integers(1, 1500), st.none()),
    ),
    max_size=8,
)


def changed(devices: list[Device], change: tuple[str, int, Any]) -> list[Device]:
    """Another list, edited in one place."""
    kind, at, what = change
    at = min(at, len(devices))
    match kind:
        case "insert":
            return [*devices[:at], what, *devices[at:]]
        case "replace":
            return [*devices[:at], what, *devices[at + 1 :]]
        case "delete":
            return [*devices[:at], *devices[at + what :]]
        case _:
            return [*devices, *(Device(f"{len(devices)}-{n}") for n in range(at))]


@given(st.integers(0, 2000), CHANGES)
def test_any_sequence_of_edits_gives_the_same_bytes_as_no_cache(count: int, changes: list[tuple[str, int, Any]]) -> None:
    """One encoder for all lists in turn, against a plain encoding of each."""

    async def main() -> None:
        encoder = ListEncoder()
        devices = [Device(str(n)) for n in range(count)]
        assert await encoder.encode(devices) == encode_devices(devices)
        for change in changes:
            devices = changed(devices, change)
            assert await encoder.encode(devices) == encode_devices(devices)

    asyncio.run(main())


def test_what_has_not_changed_is_not_encoded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the chunk around the change, although all other devices are new objects."""
    encoded: list[int] = []
    plain = encode_devices

    def counted(devices: Any) -> bytes:
        encoded.append(len(devices))
        return plain(devices)

    monkeypatch.setattr(encoding, "encode_devices", counted)

    async def main() -> None:
        encoder = ListEncoder()
        await encoder.encode([Device(str(n)) for n in range(5000)])
        encoded.clear()
        await encoder.encode([Device(str(n), Health.UNHEALTHY if n == 2500 else Health.HEALTHY) for n in range(5000)])

    asyncio.run(main())
    assert len(encoded) == 1
    assert encoded[0] < 1000


def test_a_long_list_lets_others_run() -> None:
    """Allocate must not wait for it."""

    async def main() -> int:
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(other())
        await ListEncoder().encode([Device(str(n)) for n in range(10_000)])
        task.cancel()
        return turns

    assert asyncio.run(main()) >= 10
