"""Beside a real GPU: the plugin's own process reads of the real NVML what ``nvidia-smi`` reads of it."""

import re
import subprocess
import time
from collections.abc import Iterator

import pytest
import trio

from supervisor import Host
from supervisor_nvidia_gpu.pci import normal
from supervisor_nvidia_gpu.probe import Probe
from supervisor_nvidia_gpu.report import Report

pytestmark = pytest.mark.requires("nvidia")

MIG_DEVICE = re.compile(r"MIG (\S+)\s+Device\s+(\d+): \(UUID: (MIG-[^)]+)\)")
MODES = {"Enabled": True, "Disabled": False}


@pytest.fixture
def probe() -> Iterator[Probe]:
    """The plugin's side of the border to NVML, on the machine as it is."""
    probe = Probe(Host(), usage=True, deadline=30)
    yield probe
    probe.close()


def read(probe: Probe) -> Report:
    """The first look that NVML answers; without persistence mode, the GPUs have to wake up first."""
    deadline = time.monotonic() + 90
    while (report := probe.look()).source != "nvml" and time.monotonic() < deadline:
        assert "starting" in " ".join(report.notices), report
    return report


def nvidia_smi(*arguments: str) -> list[str]:
    """The lines that it prints."""
    done = subprocess.run(["nvidia-smi", *arguments], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.splitlines()


def test_the_report_says_what_nvidia_smi_says(probe: Probe) -> None:
    """GPU by GPU, in the same order, and without a problem."""
    report = read(probe)
    query = "uuid,pci.bus_id,name,driver_version,memory.total,mig.mode.current"
    lines = [line.split(", ") for line in nvidia_smi(f"--query-gpu={query}", "--format=csv,noheader,nounits")]
    assert len(report.gpus) == len(lines)
    for gpu, (uuid, pci, name, driver, memory, mig) in zip(report.gpus, lines, strict=True):
        assert (gpu.uuid, gpu.pci, gpu.model, gpu.problem) == (uuid, normal(pci), name, "")
        assert report.driver == driver
        assert gpu.memory_mib == (int(memory) if memory.isdecimal() else None)
        assert gpu.mig_enabled is MODES.get(mig)


def test_mig_devices_have_the_names_that_nvidia_smi_gives_them(probe: Probe) -> None:
    """On a machine without MIG devices, both know of none."""
    told = set(MIG_DEVICE.findall("\n".join(nvidia_smi("-L"))))
    assert {(mig.profile, str(mig.index), mig.uuid) for gpu in read(probe).gpus for mig in gpu.mig} == told


async def test_the_event_set_is_armed_and_waits_in_peace(probe: Probe) -> None:
    """A healthy GPU has nothing to tell, and the real library accepts how it is asked."""
    await trio.to_thread.run_sync(read, probe)
    kinds = set()
    with trio.move_on_after(3):
        async for event in probe.events():
            kinds.add(event.kind)
    assert not {"lost", "ended"} & kinds
