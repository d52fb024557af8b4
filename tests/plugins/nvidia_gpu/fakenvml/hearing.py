"""What nvidia-ml-py says of all GPUs, put together as a layout."""

from typing import Any

from tests.plugins.nvidia_gpu.fakenvml.asker import Asker
from tests.plugins.nvidia_gpu.fakenvml.layouts import RECOVERY_ACTION, SWITCH, Gpu, Layout, Mig, Profile

PROFILES = 18
"""``NVML_GPU_INSTANCE_PROFILE_COUNT``."""
NOT_FOUND, INVALID_ARGUMENT = 6, 2


def heard(ask: Asker) -> Layout:
    """All that the library says, asked for by one who knows nothing beforehand."""
    handles = [ask("nvmlDeviceGetHandleByIndex", index) for index in range(ask("nvmlDeviceGetCount"))]
    gpus = tuple(_gpu(ask, index, handles) for index in range(len(handles)))
    return Layout(gpus, ask("nvmlSystemGetDriverVersion"), ask("nvmlSystemGetCudaDriverVersion_v2"))


def _gpu(ask: Asker, index: int, handles: list[Any]) -> Gpu:
    gpu = handles[index]
    pci = ask("nvmlDeviceGetPciInfo", gpu)
    mode = ask.try_for("nvmlDeviceGetMigMode", gpu)
    memory = ask.try_for("nvmlDeviceGetMemoryInfo", gpu)
    detailed = ask.try_for("nvmlDeviceGetMemoryInfo", gpu, 0x2000028)
    usage = ask.try_for("nvmlDeviceGetUtilizationRates", gpu)
    affinity = ask.try_for("nvmlDeviceGetMemoryAffinity", gpu, 1, 0)
    recovery = ask("nvmlDeviceGetFieldValues", gpu, [RECOVERY_ACTION])[0]
    retirement = ask.try_for("nvmlDeviceGetRetiredPagesPendingStatus", gpu)
    remapped = ask.try_for("nvmlDeviceGetRemappedRows", gpu)
    profiles = _profiles(ask, gpu)
    assert not memory or memory["total"] == detailed["total"] == memory["used"] + memory["free"]
    return Gpu(
        index=ask("nvmlDeviceGetIndex", gpu),
        uuid=ask("nvmlDeviceGetUUID", gpu),
        minor=ask("nvmlDeviceGetMinorNumber", gpu),
        pci=pci["busId"],
        name=ask("nvmlDeviceGetName", gpu),
        capability=tuple(ask("nvmlDeviceGetCudaComputeCapability", gpu)),
        memory_mib=memory["total"] >> 20 if memory else None,
        pci_ids=(pci["pciDeviceId"], pci["pciSubSystemId"]),
        numa=affinity[0].bit_length() - 1 if affinity else None,
        mig_enabled=bool(mode[0]) if mode else None,
        mig_pending=bool(mode[1]) if mode else None,
        mig=_mig_devices(ask, gpu, profiles),
        profiles=profiles,
        links=_links(ask, gpu),
        remote=_remote(ask, gpu),
        ancestors=tuple(None if other is gpu else ask("nvmlDeviceGetTopologyCommonAncestor", gpu, other) for other in handles),
        events=ask.try_for("nvmlDeviceGetSupportedEventTypes", gpu),
        uncorrected_ecc=ask.try_for("nvmlDeviceGetTotalEccErrors", gpu, 1, 0),
        remapped=tuple(remapped) if remapped else None,
        retirement_pending=None if retirement is None else bool(retirement),
        recovery_action=None if recovery["nvmlReturn"] else recovery["value"]["uiVal"],
        temperature_celsius=ask.try_for("nvmlDeviceGetTemperature", gpu, 0),
        power_milliwatts=ask.try_for("nvmlDeviceGetPowerUsage", gpu),
        utilization_percent=usage["gpu"] if usage else None,
        memory_used_mib=detailed["used"] >> 20 if detailed else 0,
    )


def _profiles(ask: Asker, gpu: Any) -> tuple[Profile, ...]:
    found = [(index, ask.try_for("nvmlDeviceGetGpuInstanceProfileInfo", gpu, index)) for index in range(PROFILES)]
    return tuple(
        Profile(
            name=info["name"].removeprefix("MIG "),
            index=index,
            id=info["id"],
            slices=info["sliceCount"],
            memory_mib=info["memorySizeMB"],
            multiprocessors=info["multiprocessorCount"],
            instances=info["instanceCount"],
            engines=tuple(info[f"{kind}Count"] for kind in ("copyEngine", "decoder", "encoder", "jpeg", "ofa")),
        )
        for index, info in found
        if info
    )


def _mig_devices(ask: Asker, gpu: Any, profiles: tuple[Profile, ...]) -> tuple[Mig, ...]:
    most = ask("nvmlDeviceGetMaxMigDeviceCount", gpu)
    found = [ask.try_for("nvmlDeviceGetMigDeviceHandleByIndex", gpu, index, but=NOT_FOUND) for index in range(most)]
    return tuple(_mig_device(ask, gpu, device, profiles) for device in found if device)


def _mig_device(ask: Asker, gpu: Any, device: Any, profiles: tuple[Profile, ...]) -> Mig:
    assert ask("nvmlDeviceIsMigDeviceHandle", device)
    assert not ask("nvmlDeviceIsMigDeviceHandle", gpu)
    parent = ask("nvmlDeviceGetDeviceHandleFromMigDeviceHandle", device)
    assert ask("nvmlDeviceGetUUID", parent) == ask("nvmlDeviceGetUUID", gpu)
    gi, ci = ask("nvmlDeviceGetGpuInstanceId", device), ask("nvmlDeviceGetComputeInstanceId", device)
    instance = ask("nvmlDeviceGetGpuInstanceById", gpu, gi)
    place = ask("nvmlGpuInstanceGetInfo", instance)
    (profile,) = [profile for profile in profiles if profile.id == place["profileId"]]
    assert ask("nvmlDeviceGetGpuInstanceProfileInfoById", gpu, profile.id)["sliceCount"] == profile.slices
    compute = ask("nvmlComputeInstanceGetInfo", ask("nvmlGpuInstanceGetComputeInstanceById", instance, ci))
    kind = ask("nvmlGpuInstanceGetComputeInstanceProfileInfo", instance, compute["profileId"], 0)
    attributes = ask("nvmlDeviceGetAttributes", device)
    mig = Mig(
        index=ask("nvmlDeviceGetIndex", device),
        uuid=ask("nvmlDeviceGetUUID", device),
        gi=place["id"],
        ci=compute["id"],
        profile=profile,
        slices=attributes["computeInstanceSliceCount"],
        start=place["placement"]["start"],
    )
    assert mig.size == place["placement"]["size"]
    assert mig.slices == kind["sliceCount"] == compute["placement"]["size"]
    assert attributes["memorySizeMB"] == profile.memory_mib == ask("nvmlDeviceGetMemoryInfo", device)["total"] >> 20
    assert kind["name"] == f"MIG {mig.name}"
    assert ask("nvmlDeviceGetName", device) == f"{ask('nvmlDeviceGetName', gpu)} MIG {mig.name}"
    return mig


def _links(ask: Asker, gpu: Any) -> int | None:
    if ask.try_for("nvmlDeviceGetNvLinkState", gpu, 0) is None:
        return None
    return next(
        link for link in range(1, 37) if ask.try_for("nvmlDeviceGetNvLinkState", gpu, link, but=INVALID_ARGUMENT) is None
    )


def _remote(ask: Asker, gpu: Any) -> tuple[tuple[int, str], ...]:
    ends = []
    for link in range(_links(ask, gpu) or 0):
        if ask("nvmlDeviceGetNvLinkState", gpu, link):
            kind = ask("nvmlDeviceGetNvLinkRemoteDeviceType", gpu, link)
            assert kind in {0, SWITCH}
            ends.append((kind, ask("nvmlDeviceGetNvLinkRemotePciInfo", gpu, link)["busId"]))
    return tuple(ends)
