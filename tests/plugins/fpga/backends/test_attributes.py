"""What files of the kernel may say: numbers, ids, sensors and links, and whatever hardware that is broken makes of them."""

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor import Host
from supervisor_fpga.backends import hwmon, pcie
from supervisor_fpga.backends.attributes import Attributes, identity, number
from supervisor_fpga.report import PciLink, Sensor


def sysfs(root: Path, files: dict[str, str], links: dict[str, str] | None = None) -> Attributes:
    """Files below ``/sys``, and links whose targets are as the kernel writes them."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for name, target in (links or {}).items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)
    return Attributes(Host(sysfs=str(root)))


@given(st.integers(0, 2**64 - 1))
def test_registers_of_64_bits_are_numbers(value: int) -> None:
    """In hexadecimal, as drivers write them."""
    assert number(f"0x{value:x}") == number(f"0x{value:016x}") == number(f"0X{value:X}") == value


@given(st.text())
def test_no_text_is_too_odd_for_a_number(text: str) -> None:
    """What is none is ``None``, and never larger than a message can hold."""
    found = number(text)
    assert found is None or -(2**63) <= found < 2**64


@given(st.uuids())
def test_ids_are_the_same_however_they_are_written(value: object) -> None:
    """With dashes, in capitals."""
    plain = str(value).replace("-", "")
    assert identity(str(value)) == identity(plain.upper()) == plain


@pytest.mark.parametrize("text", ["", "0x" + "a" * 30, "a" * 31, "a" * 33, "g" * 32, "a" * 31 + "\n"])
def test_what_is_no_id_is_empty(text: str) -> None:
    """Too short, too long, other digits."""
    assert identity(text) == ""


def test_what_cannot_be_read_is_none(tmp_path: Path) -> None:
    """Absent, failing, a directory, outside of the host's directories."""
    attributes = sysfs(tmp_path, {"class/a/b": "1\n"}, {"class/a/fails": "/proc/self/mem"})
    with pytest.raises(OSError, check=lambda error: error.errno == errno.EIO):
        (tmp_path / "class/a/fails").read_bytes()
    for name in ("/sys/class/a/c", "/sys/class/a/fails", "/sys/class/a", "/etc/hostname", "/sys/../etc/hostname"):
        assert attributes.text(name) is None
        assert attributes.number(name) is None
        assert attributes.lines(name) == ()
    assert attributes.names("/sys/class/a/b") == ()
    assert attributes.link("/sys/class/a/b") == ""


def test_text_is_printable(tmp_path: Path) -> None:
    """It stands in sentences; several lines are told one by one."""
    attributes = sysfs(tmp_path, {"class/status": "one error\n\ntwo \x07errors\n", "class/odd": "a\x1b[31m\n"})
    assert attributes.lines("/sys/class/status") == ("one error", "'two \\x07errors'")
    assert attributes.text("/sys/class/odd") == "'a\\x1b[31m'"


def test_sensors_lie_anywhere_below_a_card(tmp_path: Path) -> None:
    """Those of others are not its own, even where their paths begin with the same letters."""
    chips = {"devices/card/spi0/hwmon/hwmon0": 40_000, "devices/card2/hwmon/hwmon1": 50_000}
    attributes = sysfs(
        tmp_path,
        {f"{path}/temp1_input": f"{value}\n" for path, value in chips.items()} | {f"{path}/name": "chip\n" for path in chips},
        {f"class/hwmon/{path.rpartition('/')[2]}": f"../../{path}" for path in chips},
    )
    assert hwmon.sensors(attributes, "/sys/devices/card") == (Sensor("chip temp1", "temperature", 40.0),)
    assert hwmon.sensors(attributes, "") == ()


def test_a_sensor_has_a_label_a_limit_and_alarms(tmp_path: Path) -> None:
    """In degrees, watts and volts; a warning is no alarm, and one that cannot be read has no value."""
    files = {
        "name": "bmc",
        "temp1_input": "95500",
        "temp1_label": "FPGA Core",
        "temp1_crit": "100000",
        "temp1_max_alarm": "1",
        "temp2_input": "rubbish",
        "temp2_emergency": "110000",
        "temp2_emergency_alarm": "1",
        "power1_input": "61500000",
        "in0_input": "12000",
        "curr1_input": "5000",
        "fan1_input": "1000",
    }
    path = "devices/card/hwmon/hwmon0"
    attributes = sysfs(
        tmp_path, {f"{path}/{name}": f"{text}\n" for name, text in files.items()}, {"class/hwmon/hwmon0": f"../../{path}"}
    )
    assert hwmon.sensors(attributes, "/sys/devices/card") == (
        Sensor("bmc in0", "voltage", 12.0),
        Sensor("bmc power1", "power", 61.5),
        Sensor("FPGA Core", "temperature", 95.5, 100.0),
        Sensor("bmc temp2", "temperature", None, 110.0, alarm=True),
    )


@pytest.mark.parametrize(
    ("files", "link"),
    [
        (("8.0 GT/s PCIe", "16.0 GT/s PCIe", "8", "16"), PciLink(8.0, 16.0, 8, 16)),
        (("2.5 GT/s", "Unknown", "255", "16"), PciLink(2.5, None, None, 16)),
        (("Unknown", "Unknown", "0", "0"), None),
        (("", "fast", "-1", "wide"), None),
    ],
)
def test_the_link_of_a_function(tmp_path: Path, files: tuple[str, str, str, str], link: PciLink | None) -> None:
    """Zero lanes and 255 of them stand for none and for unknown."""
    names = ("current_link_speed", "max_link_speed", "current_link_width", "max_link_width")
    attributes = sysfs(tmp_path, {f"devices/card/{name}": f"{text}\n" for name, text in zip(names, files, strict=True)})
    assert pcie.link(attributes, "/sys/devices/card") == link


def test_no_descriptor_stays_open(tmp_path: Path) -> None:
    """Whatever a read comes to."""
    attributes = sysfs(tmp_path, {"class/a": "1\n"}, {"class/fails": "/proc/self/mem"})
    before = len(os.listdir("/proc/self/fd"))
    for name in ("a", "fails", "absent"):
        attributes.text(f"/sys/class/{name}")
    assert len(os.listdir("/proc/self/fd")) == before
