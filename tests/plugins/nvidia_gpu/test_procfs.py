from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from supervisor_nvidia_gpu import procfs
from supervisor_nvidia_gpu.report import Gpu, MigDevice, Report
from tests.plugins.nvidia_gpu.fakenvml import layouts
from tests.plugins.nvidia_gpu.nvml.rig import kernel

LOST = "the GPU is lost"


def look(root: Path) -> Report:
    """What is known below this root."""
    return procfs.look(str(root), str(root / "sys"))


def card(root: Path, address: str, vendor: str = "0x10de", kind: str = "0x030200") -> None:
    """A device on the bus, as sysfs shows it."""
    folder = root / "sys/bus/pci/devices" / address
    folder.mkdir(parents=True)
    (folder / "vendor").write_text(f"{vendor}\n")
    (folder / "class").write_text(f"{kind}\n")


def test_the_driver_s_own_list(tmp_path: Path) -> None:
    """UUID, address, minor number and model are those of the file, the indices those that NVML would count."""
    layout = layouts.dgx_a100()
    kernel(tmp_path, reversed(layout.gpus), layout.driver)
    report = look(tmp_path)
    assert (report.source, report.driver, report.waiting_for) == ("procfs", "535.216.03", "")
    assert [(gpu.index, gpu.uuid, gpu.pci, gpu.minor, gpu.model, gpu.problem, gpu.events) for gpu in report.gpus] == [
        (gpu.index, gpu.uuid, gpu.sysfs, gpu.minor, gpu.name, "", False) for gpu in layout.gpus
    ]


def test_a_uuid_that_is_not_known_yet(tmp_path: Path) -> None:
    """Before a GPU's first use the driver shows question marks, which are no id."""
    (gpu,) = layouts.workstation().gpus
    kernel(tmp_path, [replace(gpu, uuid="GPU-????????-????-????-????-????????????")])
    (seen,) = look(tmp_path).gpus
    assert not seen.uuid
    assert "used for the first time" in seen.problem


def test_a_file_that_says_nothing(tmp_path: Path) -> None:
    """What cannot be read leaves a GPU of which the address alone is known."""
    kernel(tmp_path, layouts.workstation().gpus)
    (file,) = (tmp_path / "driver/nvidia/gpus").glob("*/information")
    file.unlink()
    file.mkdir()
    (seen,) = look(tmp_path).gpus
    assert (seen.uuid, seen.pci, seen.minor, seen.model) == ("", "0000:01:00.0", None, "")
    assert seen.problem


def test_mig_devices_cannot_be_named(tmp_path: Path) -> None:
    """A GPU that is cut into instances must not be offered whole, and the kernel has no names for its parts."""
    layout = layouts.two_a100_uniform_mig()
    kernel(tmp_path, layout.gpus)
    (tmp_path / f"driver/nvidia/capabilities/gpu{layout.gpus[0].minor}/mig/gi1/ci0").mkdir(parents=True)
    (tmp_path / f"driver/nvidia/capabilities/gpu{layout.gpus[1].minor}/mig").mkdir(parents=True)
    split, plain = look(tmp_path).gpus
    assert (split.mig_enabled, plain.mig_enabled) == (True, None)
    assert "NVML alone" in split.problem
    assert not plain.problem


@pytest.mark.parametrize(
    ("line", "version"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  470.256.02  Thu May  2 14:37:44 UTC 2024", "470.256.02"),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  580.65.06  Release Build  (a@b)  Sun Jul 27", "580.65.06"),
        ("NVRM version: something new", ""),
        ("GCC version:  gcc version 12.3.0", ""),
    ],
)
def test_the_driver_s_version(tmp_path: Path, line: str, version: str) -> None:
    """Both kinds of kernel module tell it in the same file, with other words around it."""
    kernel(tmp_path, [])
    (tmp_path / "driver/nvidia/version").write_text(f"{line}\n")
    assert procfs.driver_version(str(tmp_path)) == version


def test_no_driver(tmp_path: Path) -> None:
    """Nothing at all is a state with a reason."""
    assert look(tmp_path) == Report(source="procfs", waiting_for="the NVIDIA driver is not loaded")


def test_cards_without_a_driver(tmp_path: Path) -> None:
    """Where the bus shows cards, the reason names them; their audio functions and other vendors' cards are none."""
    card(tmp_path, "0000:01:00.0")
    card(tmp_path, "0000:01:00.1", kind="0x040300")
    card(tmp_path, "0000:02:00.0", kind="0x030000")
    card(tmp_path, "0000:03:00.0", vendor="0x1002", kind="0x030000")
    why = "the NVIDIA driver is not loaded, though there is a card at 0000:01:00.0, 0000:02:00.0"
    assert look(tmp_path).waiting_for == why
    kernel(tmp_path, [])
    assert look(tmp_path).waiting_for == "the NVIDIA driver holds no GPU, not even the card at 0000:01:00.0, 0000:02:00.0"


def test_a_driver_loaded_anew_is_another_load(tmp_path: Path) -> None:
    """Each load of the module has a number of its own; without the module there is none."""
    module = tmp_path / "sys/module/nvidia"
    assert look(tmp_path).driver_load is None
    module.mkdir(parents=True)
    assert look(tmp_path).driver_load == module.stat().st_ino


def gpu(number: int, **facts: object) -> Gpu:
    return structs.replace(
        Gpu(index=number, uuid=f"GPU-{number}", pci=f"0000:{number:02x}:00.0", minor=number, model="H100"), **facts
    )


def nameless(index: int) -> Gpu:
    return Gpu(index=index, problem=LOST)


def test_a_lost_gpu_gets_its_name_back() -> None:
    """A GPU that does not answer is the one that nothing else accounts for, with all that was known of it."""
    parts = (MigDevice("MIG-1", 1, 0, 0, "1g.10gb"),)
    known = [gpu(0), gpu(1, mig_enabled=True, mig=parts), gpu(2)]
    done = procfs.complete(Report((gpu(0), nameless(1), gpu(2))), known)
    assert done.gpus == (gpu(0), gpu(1, mig_enabled=True, mig=parts, problem=LOST), gpu(2))


def test_a_gpu_that_told_its_address_alone() -> None:
    """The rest is what is known for that address, and what it did tell counts more."""
    done = procfs.complete(Report((Gpu(index=0, pci="0000:01:00.0", model="new", problem=LOST),)), [gpu(1)])
    assert done.gpus == (gpu(1, index=0, model="new", problem=LOST),)


def test_another_card_in_the_same_slot() -> None:
    """A card that tells its own UUID gets nothing of the one that was there before."""
    new = gpu(1, uuid="GPU-new", problem=LOST)
    assert procfs.complete(Report((new,)), [gpu(1)]).gpus == (new,)


def test_nothing_is_guessed() -> None:
    """Where two do not answer and one is known to be missing, neither is named."""
    report = Report((nameless(0), nameless(1), gpu(2)))
    assert procfs.complete(report, [gpu(0), gpu(2)]) == report


@given(st.lists(st.booleans(), max_size=8))
def test_all_names_come_back_whichever_gpus_fail(lost: list[bool]) -> None:
    """NVML counts in the order of addresses, so any set of lost GPUs is named rightly, and the others stay as they are."""
    known = [gpu(number) for number in range(len(lost))]
    report = Report(tuple(nameless(each.index) if gone else each for each, gone in zip(known, lost, strict=True)))
    done = procfs.complete(report, list(reversed(known)))
    assert done.gpus == tuple(
        structs.replace(each, problem=LOST if gone else "") for each, gone in zip(known, lost, strict=True)
    )
