"""NVML → ``Report``: one look at all GPUs, each on its own, so that one that fails hides no other."""

from typing import Any

from supervisor_nvidia_gpu.nvml.asking import Asking
from supervisor_nvidia_gpu.nvml.binding import pynvml
from supervisor_nvidia_gpu.nvml.errors import Unusable, check, meaning
from supervisor_nvidia_gpu.nvml.fabric import Fabric
from supervisor_nvidia_gpu.nvml.mig import mig_devices
from supervisor_nvidia_gpu.pci import normal
from supervisor_nvidia_gpu.report import Evidence, Gpu, RemappedRows, Report, Usage

_NODE_WORDS = 16
"""Of 64 NUMA nodes each; the kernel's limit is 1024 nodes."""


class Reader:
    """Reads the GPUs through a library that is loaded and initialised; remembers only what cannot change."""

    def __init__(self) -> None:
        self._fabric = Fabric()

    def read(self, *, usage: bool) -> Report:
        """One look. ``usage``: with readings for metrics. Raises ``Unusable``."""
        handles: list[Any] = []
        gpus: list[Gpu] = []
        for index in range(_count()):
            asking = Asking()
            handle = asking.must(pynvml.nvmlDeviceGetHandleByIndex, index)
            gpus.append(_gpu(index, handle, asking, usage=usage))
            handles.append(None if gpus[-1].problem else handle)
        links, ancestors = self._fabric.read([gpu.uuid for gpu in gpus], [gpu.pci for gpu in gpus], handles)
        return Report(tuple(gpus), driver_version(), links=links, ancestors=ancestors, waiting_for=_why_none(gpus))


def driver_version() -> str:
    """Of the loaded kernel module; empty where it does not tell. Raises ``Unusable``."""
    return str(Asking()(pynvml.nvmlSystemGetDriverVersion) or "")


def pci_of(asking: Asking, handle: Any) -> str:
    """The GPU's address as sysfs names it."""
    facts = asking(pynvml.nvmlDeviceGetPciInfo, handle)
    return normal(facts.busId or facts.busIdLegacy) if facts is not None else ""


def _count() -> int:
    try:
        return int(pynvml.nvmlDeviceGetCount())
    except pynvml.NVMLError as error:
        check(error.value)
        raise Unusable(f"the GPUs cannot be counted: {meaning(error.value)}") from None


def _why_none(gpus: list[Gpu]) -> str:
    return "" if gpus else "the NVIDIA driver holds no GPU"


def _gpu(index: int, handle: Any, ask: Asking, *, usage: bool) -> Gpu:
    """What the GPU tells; with a problem where it does not answer. What it told before that is in it, too."""
    facts: dict[str, Any] = {}
    if handle is not None:
        facts["pci"] = pci_of(ask, handle)
        facts["uuid"] = str(ask.must(pynvml.nvmlDeviceGetUUID, handle) or "")
        facts |= _nature(handle, ask)
        facts |= _condition(handle, ask)
        facts["usage"] = _usage(handle, ask) if usage else None
    return Gpu(index=index, **facts, problem=ask.problem)


def _nature(handle: Any, ask: Asking) -> dict[str, Any]:
    mode = ask(pynvml.nvmlDeviceGetMigMode, handle)
    memory = _memory_mib(handle, ask)
    return {
        "minor": ask(pynvml.nvmlDeviceGetMinorNumber, handle),
        "model": str(ask(pynvml.nvmlDeviceGetName, handle) or ""),
        "compute_capability": ask(pynvml.nvmlDeviceGetCudaComputeCapability, handle),
        "memory_mib": memory[0],
        "mig_enabled": bool(mode[0]) if mode is not None else None,
        "mig_pending": bool(mode[1]) if mode is not None else None,
        "mig": mig_devices(handle, ask, memory[0]) if mode is not None and mode[0] else (),
        "numa_node": _numa_node(handle, ask),
    }


def _condition(handle: Any, ask: Asking) -> dict[str, Any]:
    kinds = ask(pynvml.nvmlDeviceGetSupportedEventTypes, handle)
    return {"events": bool((kinds or 0) & pynvml.nvmlEventTypeXidCriticalError), "evidence": _evidence(handle, ask)}


def _memory_mib(handle: Any, ask: Asking) -> tuple[int | None, int | None]:
    """All of it, and what is used, without what the driver reserves for itself where the library can tell them apart."""
    memory = ask(pynvml.nvmlDeviceGetMemoryInfo, handle, pynvml.nvmlMemory_v2) or ask(pynvml.nvmlDeviceGetMemoryInfo, handle)
    return (int(memory.total) >> 20, int(memory.used) >> 20) if memory is not None else (None, None)


def _numa_node(handle: Any, ask: Asking) -> int | None:
    words = ask(pynvml.nvmlDeviceGetMemoryAffinity, handle, _NODE_WORDS, pynvml.NVML_AFFINITY_SCOPE_NODE)
    nodes = [64 * at + bit for at, word in enumerate(words or ()) for bit in range(64) if word >> bit & 1]
    return nodes[0] if len(nodes) == 1 else None  # more than one is no affinity


def _evidence(handle: Any, ask: Asking) -> Evidence:
    rows = ask(pynvml.nvmlDeviceGetRemappedRows, handle)
    pending = ask(pynvml.nvmlDeviceGetRetiredPagesPendingStatus, handle)
    return Evidence(
        uncorrected_ecc=ask(
            pynvml.nvmlDeviceGetTotalEccErrors, handle, pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, pynvml.NVML_VOLATILE_ECC
        ),
        remapped=RemappedRows(rows[0], rows[1], bool(rows[2]), bool(rows[3])) if rows is not None else None,
        retirement_pending=bool(pending) if pending is not None else None,
        recovery_action=_field(handle, ask, pynvml.NVML_FI_DEV_GET_GPU_RECOVERY_ACTION),
    )


def _field(handle: Any, ask: Asking, field: int) -> int | None:
    values = ask(pynvml.nvmlDeviceGetFieldValues, handle, [field])
    if values is None or values[0].nvmlReturn != pynvml.NVML_SUCCESS:
        return None
    member = {
        pynvml.NVML_VALUE_TYPE_UNSIGNED_INT: "uiVal",
        pynvml.NVML_VALUE_TYPE_UNSIGNED_LONG: "ulVal",
        pynvml.NVML_VALUE_TYPE_UNSIGNED_LONG_LONG: "ullVal",
        pynvml.NVML_VALUE_TYPE_SIGNED_LONG_LONG: "sllVal",
        pynvml.NVML_VALUE_TYPE_SIGNED_INT: "siVal",
        pynvml.NVML_VALUE_TYPE_UNSIGNED_SHORT: "usVal",
    }.get(values[0].valueType)
    return int(getattr(values[0].value, member)) if member else None


def _usage(handle: Any, ask: Asking) -> Usage:
    power = ask(pynvml.nvmlDeviceGetPowerUsage, handle)
    rates = ask(pynvml.nvmlDeviceGetUtilizationRates, handle)
    return Usage(
        temperature_celsius=ask(pynvml.nvmlDeviceGetTemperature, handle, pynvml.NVML_TEMPERATURE_GPU),
        power_watts=power / 1000 if power is not None else None,
        utilization_percent=int(rates.gpu) if rates is not None else None,
        memory_used_mib=_memory_mib(handle, ask)[1],
    )
