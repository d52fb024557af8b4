"""Reports to draw: a usual node, one in trouble, one with thousands of devices, one that has just started."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from msgspec.structs import replace

from supervisor.model import Health
from supervisor.report import (
    API_VERSION,
    AttributionReport,
    ConfigReport,
    DeviceReport,
    EventReport,
    Heartbeats,
    HolderReport,
    KubeletReport,
    NoticeReport,
    PluginReport,
    Report,
    ResourceReport,
)
from supervisor.status import NoticeOrigin, Phase, PluginState

NOW = datetime(2026, 3, 14, 15, 9, 26, 535000, UTC)
GPU = "nvidia.com/gpu"
NIC = "rdma.example.com/hca"
FUSE = "devices.example.com/fuse"
MANY = "devices.example.com/lane"


def before(seconds: float) -> str:
    """A moment so long ago."""
    return (NOW - timedelta(seconds=seconds)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def device(name: str, numa: Sequence[int] = (), reason: str = "", holder: str = "", age: float = 7300) -> DeviceReport:
    """One device; ``holder`` is ``namespace/pod/container``, ``?`` before it where that is not sure."""
    holders: tuple[HolderReport, ...] = ()
    if holder:
        namespace, pod, container = holder.lstrip("?").split("/")
        holders = (HolderReport(namespace, pod, container, certain=not holder.startswith("?")),)
    health = Health.UNHEALTHY if reason else Health.HEALTHY
    return DeviceReport(name, health, before(age), reason, tuple(numa), holders)


def resource(
    name: str, plugin: str, devices: Sequence[DeviceReport], phase: Phase = Phase.CONNECTED, *, gone: int = 0, reason: str = ""
) -> ResourceReport:
    """One resource with the figures that follow from its devices."""
    healthy = sum(each.health is Health.HEALTHY for each in devices)
    return ResourceReport(
        name=name,
        plugin=plugin,
        phase=phase,
        since=before(7200),
        reason=reason,
        healthy=healthy,
        unhealthy=len(devices) - healthy,
        tombstones=gone,
        held=sum(any(holder.certain for holder in each.holders) for each in devices),
        devices=tuple(devices),
    )


def uuid(number: int) -> str:
    return f"GPU-{0x1F6E03B1 * (number + 1) & 0xFFFFFFFF:08x}-{number:04x}-41d2-8f0e-0c57a3e9{number:04x}"


def report(resources: Sequence[ResourceReport], reasons: Sequence[str] = (), **more: object) -> Report:
    """A ready and active supervisor that offers these."""
    plain = Report(
        api_version=API_VERSION,
        kind="Status",
        version="0.1.0",
        time=before(0),
        node="worker-eu-7",
        started_at=before(7215),
        ready=True,
        live=True,
        active=True,
        active_reason="no other process had the lock",
        active_since=before(7214),
        started=True,
        reasons=tuple(reasons),
        heartbeats=Heartbeats(0.1, 0.1),
        kubelet=KubeletReport(connected=True, since=before(7210)),
        config=ConfigReport(1),
        attribution=AttributionReport(known=True, source="podresources", read_at=before(4)),
        resources=tuple(resources),
        plugins=(
            PluginReport("nvidia-gpu", "device-plugin-supervisor-nvidia-gpu", "0.1.0", PluginState.UP, last_look=before(31)),
            PluginReport("generic", "device-plugin-supervisor-generic", "0.1.0", PluginState.UP, last_look=before(12)),
        ),
        events=(
            EventReport(before(130), before(130), "info", "ConfigApplied", "configuration 1 applied"),
            EventReport(before(7210), before(7210), "info", "Registered", f"{GPU} is connected to the kubelet after 0.004 s"),
        ),
    )
    return replace(plain, **more)


def usual() -> Report:
    """Eight GPUs on two sockets, two adapters, a shared device."""
    pods = {0: "training/llama-0/worker", 1: "training/llama-0/worker", 5: "notebooks/jupyter-anna/notebook"}
    gpus = [device(uuid(number), [number // 4], holder=pods.get(number, "")) for number in range(8)]
    nics = [
        device("0000:3b:00.0", [0], holder="training/llama-0/worker"),
        device("0000:af:00.0", [1]),
    ]
    fuse = [device(f"fuse-{number}", holder="ci/builder-7fd9c/buildah" if number == 0 else "") for number in range(4)]
    return report([resource(GPU, "nvidia-gpu", gpus), resource(NIC, "generic", nics), resource(FUSE, "generic", fuse)])


def trouble() -> Report:
    """A broken GPU, one that has gone, a lost resource, a plugin that fails, a bad edit, and holders that are not known."""
    gpus = [
        device(uuid(number), [number // 4], holder="?training/llama-0/worker" if number == 2 else "") for number in range(8)
    ]
    gpus[3] = device(uuid(3), [0], "Xid 79: the GPU has fallen off the bus", age=95)
    gpus[6] = device(uuid(6), [1], "gone, and perhaps still allocated", age=3700)
    nics = [device("0000:3b:00.0", [0]), device("0000:af:00.0", [1], "port 1 is down", age=12)]
    lost = resource(NIC, "generic", nics, Phase.CONTESTED, reason="another plugin registers this name")
    problem = 'line 12, column 7: plugins.generic.resources[0].replicas: Expected `int`, got "four"'
    resources = [resource(GPU, "nvidia-gpu", gpus, gone=1), lost, resource(FUSE, "generic", [])]
    return report(
        [replace(each, held=None) for each in resources],
        [
            f"resource {NIC} is contested, not connected: another plugin registers this name",
            "plugin fpga is failing: TimeoutError: the look took longer than 10 s",
            f"configuration not applied: {problem}",
        ],
        ready=False,
        config=ConfigReport(4, (problem,), ("http",)),
        attribution=AttributionReport(known=False, reason="the socket of podresources is not there"),
        plugins=(
            *usual().plugins,
            PluginReport(
                "fpga",
                "acme-fpga",
                "2.4.1",
                PluginState.FAILING,
                "TimeoutError: the look took longer than 10 s",
                before(340),
                (NoticeReport(NoticeOrigin.LOOK, "0000:65:00.0", "firmware 1.9 is older than 2.0", before(900)),),
            ),
        ),
        notices=(NoticeReport(NoticeOrigin.UDEV, "", "events were lost, timed looks go on", before(61)),),
        events=(
            EventReport(before(95), before(95), "warning", "DeviceChanged", f"{GPU}: {uuid(3)} is unhealthy: Xid 79"),
            EventReport(before(4000), before(40), "error", "ResourceContested", f"{NIC} is contested", 37),
            *usual().events,
        ),
    )


def many(count: int = 5000) -> Report:
    """Thousands of devices of one kind on four NUMA nodes, some of them broken, beside a usual node's."""
    lanes = [
        device(
            f"lane-{number:05d}",
            [number % 4],
            "lost its light" if number % 1250 == 7 else "",
            f"batch/job-{number:05d}/main" if number % 3 == 0 else "",
            age=60 + number,
        )
        for number in range(count)
    ]
    return report([resource(MANY, "generic", lanes), *usual().resources])


def starting() -> Report:
    """Nothing is known yet."""
    nothing: Mapping[str, object] = {
        "ready": False,
        "active": False,
        "active_reason": "",
        "active_since": None,
        "node": "",
        "kubelet": KubeletReport(connected=False),
        "config": ConfigReport(0),
        "attribution": AttributionReport(known=False, reason="the kubelet has not been asked yet"),
        "plugins": (),
        "events": (),
    }
    return report([], ["the plugins are not loaded yet"], **nothing)
