"""The names of libraries, read from real files and from any bytes."""

import ctypes.util
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor_nvidia_gpu.cdi import elf
from supervisor_nvidia_gpu.cdi.elf import Soname, soname
from tests.plugins.nvidia_gpu import driver


@pytest.mark.parametrize(("machine", "triplet"), [(62, "x86_64-linux-gnu"), (183, "aarch64-linux-gnu")])
def test_a_library_says_its_name(tmp_path: Path, machine: int, triplet: str) -> None:
    """The name comes from the file's dynamic section, the directory of its kind from the machine."""
    file = tmp_path / "a"
    file.write_bytes(driver.elf("libcuda.so.1", machine))
    assert soname(str(file)) == Soname("libcuda.so.1", triplet)


def test_a_real_library_says_its_name() -> None:
    """The C library of this machine goes by the name under which it is loaded."""
    name = ctypes.util.find_library("c")
    assert name is not None
    lines = Path("/proc/self/maps").read_text().splitlines()
    path = next(line.split()[-1] for line in lines if line.endswith(f"/{name}"))
    found = soname(path)
    assert found is not None
    assert found.name == name
    assert found.triplet.startswith(os.uname().machine)


def test_what_is_no_library_has_no_name(tmp_path: Path) -> None:
    """A script, a directory, a nameless or 32-bit library, one of another machine, one with a path for a name, nothing at all."""
    whole = driver.elf("liba.so.1")
    for number, data in enumerate(
        (b"", b"#!/bin/sh\n", driver.elf(None), driver.elf("a/b"), driver.elf("x", machine=3), whole[:4] + b"\x01" + whole[5:])
    ):
        file = tmp_path / str(number)
        file.write_bytes(data)
        assert soname(str(file)) is None
    assert soname(str(tmp_path)) is None
    assert soname(str(tmp_path / "absent")) is None


@given(st.data())
def test_broken_files_are_no_libraries(data: st.DataObject) -> None:
    """Whatever bytes are changed or missing, the answer is a name or none, and never more than a few reads."""
    whole = bytearray(driver.elf("libcuda.so.1"))
    for _ in range(data.draw(st.integers(0, 8))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    broken = bytes(whole[: data.draw(st.integers(0, len(whole)))])
    reads = []

    def read(offset: int, size: int) -> bytes:
        reads.append(size)
        if offset >= 1 << 63:
            raise OverflowError
        return broken[offset : offset + size]

    try:
        found = elf._soname(read)
    except elf.BROKEN:
        found = None
    assert found is None or (found.name and "/" not in found.name)
    assert len(reads) <= 4
    assert max(reads) <= 65_536
