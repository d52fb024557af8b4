"""Frozen values in the words of the Device Plugin API: what a plugin says is there.

The constraints in the annotations are the contract. They are checked at the border (``supervisor.inventory``), one device at a
time, never in a constructor: a plugin that returns nonsense loses that device, not its whole look.
Sources: ``k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1``, the Container Device Interface specification for "container edits".
"""

import enum
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

AbsolutePath = Annotated[str, Meta(pattern=r"\A/[^\0]*\Z", max_length=4095, description="an absolute path")]
"""A path that starts with ``/``; at most PATH_MAX - 1 bytes."""

Permissions = Annotated[
    str, Meta(pattern=r"\A(?!.*(.).*\1)[rwm]{1,3}\Z", description="one or more of the letters rwm, each once")
]
"""Device cgroup access, a non-empty subset of ``rwm`` (read, write, mknod)."""

DeviceId = Annotated[str, Meta(pattern=r"\A[!-~]{1,63}\Z", description="1 to 63 printable ASCII characters without spaces")]
"""1 to 63 printable ASCII characters without spaces, stable over reboots, unique across all resources of the node."""

EnvName = Annotated[
    str, Meta(pattern=r"\A[-._A-Za-z][-._A-Za-z0-9]{0,254}\Z", description="the name of an environment variable")
]
EnvValue = Annotated[str, Meta(pattern=r"\A[^\0]*\Z", max_length=32768, description="a text without NUL")]
AnnotationName = Annotated[
    str, Meta(pattern=r"\A[-./_A-Za-z0-9]{1,317}\Z", description="the name of an annotation, like vendor.example/name")
]

CdiName = Annotated[
    str,
    Meta(
        pattern=r"\A[A-Za-z][-._A-Za-z0-9]*[A-Za-z0-9]/[A-Za-z][-_A-Za-z0-9]*[A-Za-z0-9]=[A-Za-z0-9][-._:A-Za-z0-9]*\Z",
        description="a CDI device name, like vendor.example/class=name",
    ),
]
"""``vendor/class=name``. Vendor and class have at least two characters: containerd panics on shorter ones."""

Claim = Annotated[str, Meta(pattern=r"\A[!-~]{0,128}\Z", description="at most 128 printable ASCII characters without spaces")]

NumaNode = Annotated[int, Meta(ge=0, le=63)]
"""The kubelet's topology masks hold 64 nodes; sysfs' -1 ("no node") is left out, never passed on."""


class Health(enum.StrEnum):
    """Whether the kubelet may give a device to a new pod. The kubelet reads anything but ``Healthy`` as unhealthy."""

    HEALTHY = "Healthy"
    UNHEALTHY = "Unhealthy"
    OCCUPIED = "Occupied"
    """Nothing is wrong with it, but another id has the hardware that they share (``Device.claim``). Said by the supervisor, never by
    a plugin; the kubelet is told ``Unhealthy``, for it knows no third word."""


class DeviceNode(Struct, frozen=True, gc=False):
    """A device node of the host, made accessible in the container (v1beta1 ``DeviceSpec``)."""

    host_path: AbsolutePath
    container_path: AbsolutePath | None = None
    """Where the container sees it; ``None``: at ``host_path``."""
    permissions: Permissions = "rw"


class Mount(Struct, frozen=True, gc=False):
    """A path of the host, bind-mounted into the container (v1beta1 ``Mount``)."""

    host_path: AbsolutePath
    container_path: AbsolutePath | None = None
    """Where the container sees it; ``None``: at ``host_path``."""
    read_only: bool = True


class ContainerEdits(Struct, frozen=True, gc=False):
    """What a container gets together with a device (v1beta1 ``ContainerAllocateResponse``)."""

    device_nodes: Annotated[tuple[DeviceNode, ...], Meta(max_length=1024)] = ()
    mounts: Annotated[tuple[Mount, ...], Meta(max_length=1024)] = ()
    envs: Annotated[Mapping[EnvName, EnvValue], Meta(max_length=1024)] = {}
    """Several devices of one container that set one name to different values: the values are joined with commas."""
    annotations: Annotated[Mapping[AnnotationName, EnvValue], Meta(max_length=1024)] = {}
    cdi_devices: Annotated[tuple[CdiName, ...], Meta(max_length=1024)] = ()


class Topology(Struct, frozen=True, gc=False):
    """Where a device sits. An empty one is left out on the wire: "no preference"."""

    numa_nodes: Annotated[tuple[NumaNode, ...], Meta(max_length=64)] = ()


class Device(Struct, frozen=True, gc=False):
    """One unit that the kubelet can give to one container."""

    id: DeviceId
    health: Health = Health.HEALTHY
    reason: Annotated[str, Meta(max_length=1024)] = ""
    """Why it is not healthy, in one short sentence; for people."""
    topology: Topology = Topology()
    edits: ContainerEdits = ContainerEdits()
    claim: Claim = ""
    """Names the hardware that this device shares with others, like an FPGA region that several resources can use; empty: with none.
    Of all devices of the node with one claim, one at a time is given to pods; the others are Occupied meanwhile."""

    @property
    def healthy(self) -> bool:
        return self.health is Health.HEALTHY

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong with it, although another may have its hardware now."""
        return self.health is not Health.UNHEALTHY


class NodeFacts(Struct, frozen=True):
    """What the cluster says of this node (``v1.Node``): its labels, and the versions in ``status.nodeInfo``."""

    name: str
    labels: Mapping[str, str] = {}
    container_runtime_version: str = ""
    """Like ``containerd://2.1.4``."""
    kubelet_version: str = ""
    """Like ``v1.34.1``."""
    kernel_version: str = ""
    os_image: str = ""
    architecture: str = ""
    """Like ``amd64``."""


MetricName = Annotated[
    str, Meta(pattern=r"\A[a-z][a-z0-9_]{0,99}\Z", description="a name of at most 100 of [a-z0-9_] that begins with a letter")
]
LabelValue = Annotated[str, Meta(max_length=256)]


class Sample(Struct, frozen=True, gc=False):
    """One value of a metric."""

    labels: Annotated[Mapping[MetricName, LabelValue], Meta(max_length=32)]
    value: float
    """Finite; of a counter never negative, of an info always 1."""


class MetricFamily(Struct, frozen=True, gc=False):
    """A metric of a plugin, by all its labels. It is exposed as ``device_plugin_<plugin>_<name>``, dashes made underscores."""

    name: MetricName
    """With its unit, as in ``memory_bytes``; without the suffixes ``_total`` of a counter and ``_info`` of an info."""
    help: Annotated[str, Meta(max_length=512)]
    """What it means, in one sentence."""
    kind: Literal["gauge", "counter", "info"] = "gauge"
    """An info tells something by its labels."""
    samples: tuple[Sample, ...] = ()
    """All have the same label names, each another set of values."""


class Leftover(Struct, frozen=True, gc=False):
    """A file that a plugin has made on the node, for containers that get its devices."""

    path: Annotated[str, Meta(max_length=4096)]
    """Absolute, as this process sees it."""
    needed_by: tuple[str, ...] = ()
    """The held devices, by id, whose containers need it when they start again; empty: none does."""


class Finding(Struct, frozen=True, gc=False):
    """One fact about the node, as ``doctor`` tells it."""

    level: Literal["ok", "note", "warning", "failure"]
    """``note``: worth knowing; ``warning``: something will not work, or not for long; ``failure``: this does not work now."""
    subject: Annotated[str, Meta(min_length=1, max_length=200)]
    """What was looked at, in a few words: a path, a module, a setting."""
    text: Annotated[str, Meta(min_length=1, max_length=1000)]
    cure: Annotated[str, Meta(max_length=1000)] = ""
    """What to do. A warning and a failure have one."""


class Remark(Struct, frozen=True, gc=False):
    """What an importer has to say of one place in the file that it translates."""

    text: Annotated[str, Meta(min_length=1, max_length=1000)]
    """In sentences, with what to do."""
    at: tuple[str | int, ...] = ()
    """Keys, and numbers from 0, that lead to the place."""


class Translation(Struct, frozen=True):
    """What another tool's configuration file means to one plugin."""

    plugin: str
    """Whose section it is."""
    section: Mapping[str, Any] | None
    """That section, in plain values; ``None`` where nothing of the file has an equivalent."""
    lost: tuple[Remark, ...] = ()
    """What has no equivalent, and is not in the section."""
    notes: tuple[Remark, ...] = ()
    """What is in the section and works another way than there."""
