"""GPUs, events and looks that the tests of this folder are made of."""

from supervisor_nvidia_gpu.report import Evidence, Gpu, GpuEvent, MigDevice, RemappedRows, Report

H100 = "NVIDIA H100 80GB HBM3"
A, B = "GPU-a", "GPU-b"


def gpu(uuid: str = A, *mig: MigDevice, **fields: object) -> Gpu:
    """An H100 with its own place on the bus."""
    facts = {"index": 0, "pci": f"0000:0{uuid[-1:]}:00.0", "model": H100, "mig_enabled": bool(mig), "mig": mig, **fields}
    return Gpu(uuid=uuid, **facts)  # type: ignore[arg-type]  # the tests name the fields rightly


def mig(name: str, gpu_instance: int, compute_instance: int = 0) -> MigDevice:
    """The MIG device of this instance."""
    return MigDevice(name, gpu_instance, compute_instance, gpu_instance, "1g.10gb")


def look(*gpus: Gpu, driver: str = "580.65.06", load: int | None = 7) -> Report:
    """What NVML tells."""
    return Report(gpus, driver, driver_load=load)


def rows(*, pending: bool = False, failed: bool = False) -> Evidence:
    """Evidence that knows nothing but the remapped rows."""
    return Evidence(remapped=RemappedRows(0, 0, pending, failed))


def xid(code: int, uuid: str = A, at: float = 0.0, instance: int | None = None, compute: int | None = None) -> GpuEvent:
    """An XID."""
    return GpuEvent("xid", uuid, at, code, instance, compute)


def lost(uuid: str = "", at: float = 0.0) -> GpuEvent:
    """The wait for events failed."""
    return GpuEvent("lost", uuid, at)
