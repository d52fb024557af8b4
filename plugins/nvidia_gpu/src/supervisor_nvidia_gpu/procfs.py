"""The inventory that the kernel tells without NVML: which GPUs the driver holds, never how they are.

The driver writes ``/proc/driver/nvidia/gpus/<PCI address>/information`` for each GPU it holds. Where the driver is not loaded, sysfs
still shows the cards on the bus.
"""

import os
from collections.abc import Sequence

from msgspec import structs

from supervisor_nvidia_gpu.pci import normal
from supervisor_nvidia_gpu.report import Gpu, Report

_MAX_BYTES = 16_384
_MAX_GPUS = 1024
_NVIDIA = "0x10de"
_DISPLAY_CLASSES = ("0x0300", "0x0302")
"""VGA and 3D controllers. A card's audio and USB functions, and NVSwitches, have other classes."""


def look(proc: str, sysfs: str) -> Report:
    """What is known of the GPUs under these roots. Never raises: what cannot be read is not there."""
    gpus = tuple(_gpu(index, name, proc) for index, name in enumerate(_held(proc)))
    return Report(
        gpus=gpus,
        driver=driver_version(proc),
        driver_load=driver_load(sysfs),
        source="procfs",
        waiting_for="" if gpus else _why_none(proc, sysfs),
    )


def driver_version(proc: str) -> str:
    """Of the loaded kernel module, ``580.65.06``; empty when none is loaded."""
    for line in _read(f"{proc}/driver/nvidia/version").splitlines():
        if line.startswith("NVRM version:"):
            return next((word for word in line.split() if _is_version(word)), "")
    return ""


def driver_load(sysfs: str) -> int | None:
    """Which load of the kernel module this is, as ``Report.driver_load``. This asks the driver nothing."""
    try:
        return os.stat(f"{sysfs}/module/nvidia").st_ino
    except OSError:
        return None


def addresses(proc: str) -> list[str]:
    """Of the GPUs that the driver holds. This asks the driver nothing."""
    return [normal(name) for name in _held(proc)]


def complete(report: Report, known: Sequence[Gpu]) -> Report:
    """The report with what is ``known`` from elsewhere filled in for GPUs that have a problem.

    NVML counts GPUs in the order of their PCI addresses, so those without an address are, in that order, those that nothing else in
    the report accounts for; unless their numbers differ, and then nothing is guessed.
    """
    by_pci = {gpu.pci: gpu for gpu in known if gpu.pci}
    addresses, uuids = {gpu.pci for gpu in report.gpus}, {gpu.uuid for gpu in report.gpus if gpu.uuid}
    missing = sorted((gpu for pci, gpu in by_pci.items() if pci not in addresses and gpu.uuid not in uuids), key=_address)
    if len(missing) != sum(1 for gpu in report.gpus if not gpu.pci):
        missing = []
    nameless = iter(missing)
    gpus = tuple(_filled(gpu, by_pci.get(gpu.pci) if gpu.pci else next(nameless, None)) for gpu in report.gpus)
    return structs.replace(report, gpus=gpus)


def _filled(gpu: Gpu, known: Gpu | None) -> Gpu:
    if known is None or not gpu.problem:
        return gpu
    facts = {
        name: getattr(gpu, name) for name in ("uuid", "pci", "minor", "model", "compute_capability", "memory_mib", "numa_node")
    }
    told = {name: value for name, value in facts.items() if value not in {None, ""}}
    if known.uuid in {gpu.uuid, ""} or not gpu.uuid:  # not another card in the same slot
        return structs.replace(known, **told, index=gpu.index, evidence=gpu.evidence, usage=gpu.usage, problem=gpu.problem)
    return gpu


def _address(gpu: Gpu) -> tuple[int, str]:
    return len(gpu.pci), gpu.pci


def _held(proc: str) -> list[str]:
    """The addresses, as procfs spells them, of the GPUs that the driver holds, in the order in which NVML counts them."""
    names = [name for name in _entries(f"{proc}/driver/nvidia/gpus") if normal(name)]
    return sorted(names, key=lambda name: (len(normal(name)), normal(name)))


def _gpu(index: int, name: str, proc: str) -> Gpu:
    text = _read(f"{proc}/driver/nvidia/gpus/{name}/information")
    facts = {key.strip(): value.strip() for key, colon, value in (line.partition(":") for line in text.splitlines()) if colon}
    uuid, minor = facts.get("GPU UUID", ""), facts.get("Device Minor", "")
    known = uuid.startswith("GPU-") and "?" not in uuid
    split = any(each.startswith("gi") for each in _entries(f"{proc}/driver/nvidia/capabilities/gpu{minor}/mig"))
    problem = "it is split into MIG devices, which NVML alone can name" if split else ""
    return Gpu(
        index=index,
        uuid=uuid if known else "",
        pci=normal(name),
        minor=int(minor) if minor.isascii() and minor.isdecimal() else None,
        model=facts.get("Model", ""),
        mig_enabled=True if split else None,
        events=False,
        problem=problem if known else "the driver does not know its UUID before it was used for the first time",
    )


def _why_none(proc: str, sysfs: str) -> str:
    cards = ", ".join(_cards(sysfs))
    if not _entries(f"{proc}/driver/nvidia"):
        return "the NVIDIA driver is not loaded" + (f", though there is a card at {cards}" if cards else "")
    return "the NVIDIA driver holds no GPU" + (f", not even the card at {cards}" if cards else "")


def _cards(sysfs: str) -> list[str]:
    """The addresses of NVIDIA's cards on the bus."""
    devices = f"{sysfs}/bus/pci/devices"
    return [
        name
        for name in _entries(devices)
        if _read(f"{devices}/{name}/vendor").strip() == _NVIDIA
        and _read(f"{devices}/{name}/class").strip().startswith(_DISPLAY_CLASSES)
    ]


def _is_version(word: str) -> bool:
    return word[:1].isdecimal() and "." in word and word.replace(".", "").isdecimal()


def _entries(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))[:_MAX_GPUS]
    except OSError:
        return []


def _read(path: str) -> str:
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return os.read(file, _MAX_BYTES).decode(errors="replace")
    except OSError:
        return ""
    finally:
        os.close(file)
