"""The metrics of one look. Names and units are Prometheus'; the supervisor puts ``device_plugin_nvidia_gpu_`` before them."""

from collections.abc import Callable, Iterable, Iterator

from supervisor import MetricFamily, Sample
from supervisor_nvidia_gpu.health.monitor import Counts, Verdict
from supervisor_nvidia_gpu.picture import Picture
from supervisor_nvidia_gpu.report import Gpu, Usage
from supervisor_nvidia_gpu.units import Unit

MIB = 1 << 20
PHASES = ("healthy", "suspect", "unhealthy", "probation", "unmonitored")

_READINGS: tuple[tuple[str, str, Callable[[Usage], float | None]], ...] = (
    ("temperature_celsius", "Temperature of the GPU.", lambda usage: usage.temperature_celsius),
    ("power_watts", "Power that the GPU draws.", lambda usage: usage.power_watts),
    (
        "utilization_ratio",
        "Share of the time in which the GPU was busy, 0 to 1.",
        lambda usage: _share(usage.utilization_percent),
    ),
    ("memory_used_bytes", "Memory of the GPU in use.", lambda usage: _bytes(usage.memory_used_mib)),
)


def families(
    picture: Picture, judge: Callable[[str], Verdict], counts: Counts, *, restarts: int, usage: bool
) -> Iterator[MetricFamily]:
    """All families; those that come in known kinds are there from the start, at zero."""
    gpus = [gpu for gpu in picture.report.gpus if gpu.uuid]
    yield MetricFamily(
        "gpu", "What is known of a GPU.", "info", tuple(Sample(_facts(gpu, picture.report.driver), 1) for gpu in gpus)
    )
    yield from _health(picture, judge)
    yield MetricFamily(
        "xids",
        "Errors that the driver reported, by their code; an empty gpu where it named none.",
        "counter",
        tuple(Sample({"gpu": gpu, "xid": str(xid)}, count) for (gpu, xid), count in sorted(counts.xids.items())),
    )
    yield MetricFamily(
        "health_changes",
        "How often a device came to a state.",
        "counter",
        tuple(Sample({"state": phase}, counts.changes.get(phase, 0)) for phase in PHASES[:4]),  # type: ignore[call-overload]  # a str
    )
    yield MetricFamily(
        "replicas",
        "Units that the kubelet is told of for a GPU or MIG device; what it divides whole-GPU readings by.",
        samples=tuple(Sample({"gpu": unit.id, "resource": unit.resource}, unit.replicas) for unit in picture.offer.units),
    )
    yield MetricFamily(
        "nvml_restarts", "Processes for NVML that took the place of another.", "counter", (Sample({}, restarts),)
    )
    if picture.strategies.cdi:
        yield MetricFamily(
            "cdi_verified", "Whether all our CDI specs are as they should be.", samples=(Sample({}, float(picture.cdi.usable)),)
        )
    if usage:
        yield from _readings(gpus)


def _facts(gpu: Gpu, driver: str) -> dict[str, str]:
    return {"gpu": gpu.uuid, "index": str(gpu.index), "pci": gpu.pci, "model": gpu.model, "driver": driver}


def _health(picture: Picture, judge: Callable[[str], Verdict]) -> Iterator[MetricFamily]:
    said = [(unit, judge(unit.id)) for unit in picture.offer.units]
    yield MetricFamily(
        "health",
        "The state of a GPU or MIG device: 1 for the one that it is in.",
        samples=tuple(
            Sample({"gpu": unit.id, "state": phase}, float(verdict.state == phase))
            for unit, verdict in said
            for phase in PHASES
        ),
    )
    yield MetricFamily(
        "health_reason",
        "Why a GPU or MIG device is in its state; only where there is something to say.",
        "info",
        tuple(
            Sample({"gpu": unit.id, "reason": reason[:256]}, 1) for unit, verdict in said if (reason := _reason(unit, verdict))
        ),
    )


def _reason(unit: Unit, verdict: Verdict) -> str:
    return "; ".join(filter(None, (unit.problem, verdict.reason)))


def _readings(gpus: Iterable[Gpu]) -> Iterator[MetricFamily]:
    known = [(gpu, gpu.usage) for gpu in gpus if gpu.usage is not None]
    for name, meaning, read in _READINGS:
        values = ((gpu, read(usage)) for gpu, usage in known)
        samples = tuple(Sample({"gpu": gpu.uuid}, value) for gpu, value in values if value is not None)
        yield MetricFamily(name, meaning, samples=samples)
    yield MetricFamily(
        "memory_bytes",
        "Memory of the GPU.",
        samples=tuple(Sample({"gpu": gpu.uuid}, gpu.memory_mib * MIB) for gpu, _ in known if gpu.memory_mib is not None),
    )


def _share(percent: int | None) -> float | None:
    return None if percent is None else percent / 100


def _bytes(mib: int | None) -> float | None:
    return None if mib is None else float(mib * MIB)
