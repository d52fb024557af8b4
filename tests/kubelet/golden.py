"""What the messages look like on the wire, written by hand from their field numbers.

Neither the generated classes nor any encoder made these bytes, so they judge both. A tag is ``field << 3 | type``:
``08 10 18`` are the numbers of fields 1 to 3, ``0a 12 1a 22 2a`` the texts, messages and maps of fields 1 to 5, each
followed by its length.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

VERSION = "76 31 62 65 74 61 31"  # v1beta1
HEALTHY = "48 65 61 6c 74 68 79"
UNHEALTHY = "55 6e 68 65 61 6c 74 68 79"
DEFAULT = "64 65 66 61 75 6c 74"

DEVICE_0 = f"0a 02 64 30  12 07 {HEALTHY}  1a 04 0a 02 08 01"  # 4 + 9 + 6 = 0x13 bytes
DEVICE_1 = f"0a 02 64 31  12 09 {UNHEALTHY}"  # 4 + 11 = 0x0f bytes
MOUNT = "0a 02 2f 63  12 02 2f 68  18 01"  # 0x0a bytes
DEVICE_SPEC = "0a 02 2f 63  12 02 2f 68  1a 02 72 77"  # 0x0c bytes
CDI_DEVICE = "0a 05 76 2f 63 3d 6e"  # 0x07 bytes
CONTAINER_ANSWER = (  # 8 + 12 + 14 + 8 + 9 = 0x33 bytes
    f"0a 06 0a 01 41 12 01 31  12 0a {MOUNT}  1a 0c {DEVICE_SPEC}  22 06 0a 01 6b 12 01 76  2a 07 {CDI_DEVICE}"
)
CONTAINER_DEVICES = "0a 05 61 2e 62 2f 63  12 02 64 30  1a 04 0a 02 08 01"  # 7 + 4 + 6 = 0x11 bytes
CONTAINER = f"0a 04 6d 61 69 6e  12 11 {CONTAINER_DEVICES}"  # 6 + 19 = 0x19 bytes
POD = f"0a 01 70  12 07 {DEFAULT}  1a 19 {CONTAINER}"  # 3 + 9 + 27 = 0x27 bytes


@dataclass(frozen=True)
class Golden:
    """One message: its name in the API, its fields, its bytes."""

    message: str
    fields: Mapping[str, Any]
    data: bytes


def _golden(message: str, text: str, **fields: Any) -> Golden:
    return Golden(message, fields, bytes.fromhex(text))


_TOPOLOGY = {"nodes": [{"ID": 1}]}
_DEVICES: list[dict[str, Any]] = [
    {"ID": "d0", "health": "Healthy", "topology": _TOPOLOGY},
    {"ID": "d1", "health": "Unhealthy"},
]
_MOUNT = {"container_path": "/c", "host_path": "/h", "read_only": True}
_SPEC = {"container_path": "/c", "host_path": "/h", "permissions": "rw"}
_ANSWER = {
    "envs": {"A": "1"},
    "mounts": [_MOUNT],
    "devices": [_SPEC],
    "annotations": {"k": "v"},
    "cdi_devices": [{"name": "v/c=n"}],
}
_WISH = {"available_deviceIDs": ["d0", "d1"], "must_include_deviceIDs": ["d1"], "allocation_size": 2}

DEVICE_PLUGIN = (
    _golden("Empty", ""),
    _golden("DevicePluginOptions", ""),
    _golden("DevicePluginOptions", "08 01", pre_start_required=True),
    _golden("DevicePluginOptions", "10 01", get_preferred_allocation_available=True),
    _golden(
        "RegisterRequest",
        f"0a 07 {VERSION}  12 06 61 2e 73 6f 63 6b  1a 05 61 2e 62 2f 63  22 02 08 01",
        version="v1beta1",
        endpoint="a.sock",
        resource_name="a.b/c",
        options={"pre_start_required": True},
    ),
    _golden("NUMANode", "", ID=0),
    _golden("NUMANode", "08 01", ID=1),
    _golden("NUMANode", "08 ff ff ff ff ff ff ff ff ff 01", ID=-1),
    _golden("TopologyInfo", "0a 00", nodes=[{"ID": 0}]),
    _golden("TopologyInfo", "0a 02 08 01  0a 02 08 02", nodes=[{"ID": 1}, {"ID": 2}]),
    _golden("Device", DEVICE_0, **_DEVICES[0]),
    _golden("Device", DEVICE_1, **_DEVICES[1]),
    _golden("ListAndWatchResponse", "", devices=[]),
    _golden("ListAndWatchResponse", f"0a 13 {DEVICE_0}  0a 0f {DEVICE_1}", devices=_DEVICES),
    _golden("PreStartContainerRequest", "0a 02 64 30  0a 02 64 31", devices_ids=["d0", "d1"]),
    _golden("PreStartContainerResponse", ""),
    _golden("ContainerPreferredAllocationRequest", "0a 02 64 30  0a 02 64 31  12 02 64 31  18 02", **_WISH),
    _golden(
        "PreferredAllocationRequest",
        "0a 0e  0a 02 64 30  0a 02 64 31  12 02 64 31  18 02",
        container_requests=[_WISH],
    ),
    _golden("ContainerPreferredAllocationResponse", "0a 02 64 31", deviceIDs=["d1"]),
    _golden("PreferredAllocationResponse", "0a 04 0a 02 64 31", container_responses=[{"deviceIDs": ["d1"]}]),
    _golden("ContainerAllocateRequest", "0a 02 64 30", devices_ids=["d0"]),
    _golden("AllocateRequest", "0a 04 0a 02 64 30", container_requests=[{"devices_ids": ["d0"]}]),
    _golden("Mount", MOUNT, **_MOUNT),
    _golden("DeviceSpec", DEVICE_SPEC, **_SPEC),
    _golden("CDIDevice", CDI_DEVICE, name="v/c=n"),
    _golden("ContainerAllocateResponse", CONTAINER_ANSWER, **_ANSWER),
    _golden("AllocateResponse", f"0a 33 {CONTAINER_ANSWER}", container_responses=[_ANSWER]),
)
"""The Device Plugin API, v1beta1: at least one example of each message."""

_HELD = {"resource_name": "a.b/c", "device_ids": ["d0"], "topology": _TOPOLOGY}
_CONTAINER = {"name": "main", "devices": [_HELD]}
_POD = {"name": "p", "namespace": "default", "containers": [_CONTAINER]}

POD_RESOURCES = (
    _golden("ListPodResourcesRequest", ""),
    _golden("AllocatableResourcesRequest", ""),
    _golden("NUMANode", "08 01", ID=1),
    _golden("TopologyInfo", "0a 02 08 01", **_TOPOLOGY),
    _golden("ContainerDevices", CONTAINER_DEVICES, **_HELD),
    _golden("ContainerResources", CONTAINER, **_CONTAINER),
    _golden("PodResources", POD, **_POD),
    _golden("ListPodResourcesResponse", f"0a 27 {POD}", pod_resources=[_POD]),
    _golden(
        "AllocatableResourcesResponse",
        f"0a 11 {CONTAINER_DEVICES}  12 02 00 03",
        devices=[_HELD],
        cpu_ids=[0, 3],
    ),
    _golden("GetPodResourcesRequest", f"0a 01 70  12 07 {DEFAULT}", pod_name="p", pod_namespace="default"),
    _golden("GetPodResourcesResponse", f"0a 27 {POD}", pod_resources=_POD),
)
"""The PodResources API, v1: at least one example of each message."""


def example(message: str, examples: tuple[Golden, ...] = DEVICE_PLUGIN) -> bytes:
    """Return the bytes of the last, fullest example of a message."""
    return [golden.data for golden in examples if golden.message == message][-1]
