"""A layout as the text that the fake library reads; `state.h` says what it looks like."""

from collections.abc import Iterator, Mapping

from tests.plugins.nvidia_gpu.fakenvml.layouts import RECOVERY_ACTION, SLICES, Gpu, Layout, Mig, Profile

Faults = Mapping[tuple[str, str], str]
"""What goes wrong: by the GPU's UUID (empty: whatever the GPU) and the function (``*``: any of that GPU)."""


def state(layout: Layout, library: str, faults: Faults) -> str:
    """The whole file. `library` is the version of the library file, which need not fit the driver."""
    lines = [
        "[system]",
        f"driver={layout.driver}",
        f"library={library}",
        f"cuda={layout.cuda}",
        *_faults("", faults),
    ]
    for gpu in layout.gpus:
        lines += [*_gpu(gpu), *_faults(gpu.uuid, faults), *_mig(gpu)]
    return "".join(f"{line}\n" for line in lines)


def _faults(uuid: str, faults: Faults) -> Iterator[str]:
    return (f"fault.{function}={what}" for (whose, function), what in faults.items() if whose == uuid)


def _known(**facts: int | str | None) -> Iterator[str]:
    return (f"{key}={value}" for key, value in facts.items() if value is not None)


def _gpu(gpu: Gpu) -> Iterator[str]:
    yield f"[gpu {gpu.index}]"
    yield from _known(uuid=gpu.uuid, name=gpu.name, minor=gpu.minor, pci=gpu.pci, numa=gpu.numa, links=gpu.links)
    yield f"pci.ids={gpu.pci_ids[0]:x} {gpu.pci_ids[1]:x}"
    yield f"capability={gpu.capability[0]} {gpu.capability[1]}"
    if gpu.memory_mib is not None:
        yield f"memory={gpu.memory_mib} 512 {gpu.memory_used_mib}"
    yield from _known(temperature=gpu.temperature_celsius, power=gpu.power_milliwatts)
    if gpu.utilization_percent is not None:
        yield f"utilization={gpu.utilization_percent} 0"
    yield from _evidence(gpu)
    for link, (kind, remote) in enumerate(gpu.remote):
        yield f"link.{link}={kind} {remote}"
    for other, level in enumerate(gpu.ancestors):
        if level is not None:
            yield f"ancestor.{other}={level}"


def _evidence(gpu: Gpu) -> Iterator[str]:
    if gpu.events is not None:
        yield f"events={gpu.events:x}"
    if gpu.remapped is not None:
        yield f"remapped={' '.join(map(str, gpu.remapped))}"
    if gpu.retirement_pending is not None:
        yield f"retirement={int(gpu.retirement_pending)}"
    if gpu.uncorrected_ecc is not None:
        # Uncorrected and volatile; of all memories, and of the device memory alone.
        yield f"ecc.1.0={gpu.uncorrected_ecc}"
        yield f"ecc.1.0.2={gpu.uncorrected_ecc}"
    if gpu.recovery_action is not None:
        yield f"field.{RECOVERY_ACTION}={gpu.recovery_action}"


def _mig(gpu: Gpu) -> Iterator[str]:
    """Lines that end the section of the GPU, then the sections of its parts."""
    if gpu.mig_enabled is not None:
        pending = gpu.mig_enabled if gpu.mig_pending is None else gpu.mig_pending
        yield f"mig={int(gpu.mig_enabled)} {int(pending)}"
        yield f"mig.max={7 if gpu.mig_enabled else 0}"
    for profile in gpu.profiles:
        yield f"profile.{profile.index}={_numbers(profile)} MIG {profile.name}"
    for mig in gpu.mig:
        if mig.ci == 0:
            yield from _gpu_instance(gpu, mig)
        yield f"[ci {gpu.index} {mig.gi} {mig.ci}]"
        yield f"profile={SLICES[mig.slices]} {mig.ci * mig.slices} {mig.slices}"
        yield from _mig_device(gpu, mig)


def _numbers(profile: Profile) -> str:
    copy, *others = profile.engines
    values = (profile.id, 0, profile.slices, profile.instances, profile.multiprocessors, copy, *others, profile.memory_mib)
    return " ".join(map(str, values))


def _gpu_instance(gpu: Gpu, mig: Mig) -> Iterator[str]:
    profile = mig.profile
    yield f"[gi {gpu.index} {mig.gi}]"
    yield f"profile={profile.id} {mig.start} {mig.size}"
    for slices, index in SLICES.items():
        if slices <= profile.slices:
            name = profile.name if slices == profile.slices else f"{slices}c.{profile.name}"
            processors = profile.multiprocessors * slices // profile.slices
            shared = " ".join(map(str, profile.engines))
            yield f"compute.{index}={index} {slices} {profile.slices // slices} {processors} {shared} MIG {name}"


def _mig_device(gpu: Gpu, mig: Mig) -> Iterator[str]:
    profile = mig.profile
    processors = profile.multiprocessors * mig.slices // profile.slices
    shared = " ".join(map(str, profile.engines))
    yield f"[mig {gpu.index} {mig.index}]"
    yield f"uuid={mig.uuid}"
    yield f"name={gpu.name} MIG {mig.name}"
    yield f"instance={mig.gi} {mig.ci}"
    yield f"memory={profile.memory_mib} 0 12"
    yield f"attributes={processors} {shared} {profile.slices} {mig.slices} {profile.memory_mib}"
