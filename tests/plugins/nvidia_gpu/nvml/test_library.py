import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor_nvidia_gpu.driver_root import DIRECTORIES, inside
from supervisor_nvidia_gpu.nvml.library import SONAME, Library, NoLibrary, find, load

FITTING = Path("/proc/self/exe").read_bytes()[:64]
"""The beginning of a file for this machine."""


def install(root: Path, directory: str, content: bytes = FITTING, version: str = "580.65.06") -> Path:
    """A library as drivers install it: a link to a file with its version."""
    folder = root / directory.lstrip("/")
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"libnvidia-ml.so.{version}"
    file.write_bytes(content)
    (folder / SONAME).symlink_to(file.name)
    return file


@contextlib.contextmanager
def nobody() -> Iterator[None]:
    """Without root's right to read anything."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


@pytest.mark.parametrize("directory", DIRECTORIES)
def test_every_distribution_s_directory_is_searched(tmp_path: Path, directory: str) -> None:
    """The library is found wherever a distribution puts it, as the file itself."""
    file = install(tmp_path, directory.replace("*/*", f"580.65.06/{os.uname().release}"))
    assert find(str(tmp_path), None) == Library(str(file), "/")


def test_another_kernel_s_build_is_not_used(tmp_path: Path) -> None:
    """Of several builds side by side, only the running kernel's counts."""
    install(tmp_path, "opt/nvidia/580.65.06/5.15.0-other/usr/lib64")
    with pytest.raises(NoLibrary):
        find(str(tmp_path), None)


def test_a_driver_container_s_root_comes_after_the_host_s_own(tmp_path: Path) -> None:
    """Without a configured root the host and the driver container's root are searched, and the answer says which it was."""
    contained = install(tmp_path, "run/nvidia/driver/usr/lib64")
    assert find(str(tmp_path), None) == Library(str(contained), "/run/nvidia/driver")
    own = install(tmp_path, "usr/lib64")
    assert find(str(tmp_path), None) == Library(str(own), "/")
    assert find(str(tmp_path), "/run/nvidia/driver") == Library(str(contained), "/run/nvidia/driver")


def test_the_loaded_driver_s_version_is_preferred(tmp_path: Path) -> None:
    """A left-over library of another version is used only where none fits the driver."""
    left_over = install(tmp_path, "usr/lib64", version="535.1")
    fitting = install(tmp_path, "run/nvidia/driver/usr/lib64", version="580.65.06")
    assert find(str(tmp_path), None, "580.65.06").path == str(fitting)
    assert find(str(tmp_path), None, "570.1").path == str(left_over)


def test_a_directory_of_that_name_is_passed_over(tmp_path: Path) -> None:
    """Container runtimes make a directory where a file to mount is missing."""
    (tmp_path / DIRECTORIES[0] / SONAME).mkdir(parents=True)
    file = install(tmp_path, "usr/lib64")
    assert find(str(tmp_path), None).path == str(file)


def test_a_broken_link_is_passed_over(tmp_path: Path) -> None:
    """A removed driver leaves links that lead nowhere, or in a circle."""
    for directory, target in ((DIRECTORIES[0], "libnvidia-ml.so.1.2.3"), ("usr/lib64", SONAME)):
        (tmp_path / directory).mkdir(parents=True)
        (tmp_path / directory / SONAME).symlink_to(target)
    with pytest.raises(NoLibrary, match="is the driver installed"):
        find(str(tmp_path), None)
    file = install(tmp_path, "lib64")
    assert find(str(tmp_path), None).path == str(file)


def test_absolute_links_mean_the_root_s_own_files(tmp_path: Path) -> None:
    """Debian's alternatives link from /usr to /etc and back by absolute names, which mean the driver's root and not ours."""
    file = install(tmp_path, "usr/lib/nvidia-current")
    (tmp_path / "etc/alternatives").mkdir(parents=True)
    (tmp_path / "etc/alternatives/nvml").symlink_to(f"/usr/lib/nvidia-current/{SONAME}")
    (tmp_path / "usr/lib64").mkdir()
    (tmp_path / "usr/lib64" / SONAME).symlink_to("/etc/alternatives/nvml")
    assert find(str(tmp_path), None).path == str(file)


def test_a_library_for_another_processor_is_named_and_passed_over(tmp_path: Path) -> None:
    """A 32-bit library, or one for another machine, is no reason to look no further, and the reason where there is no other."""
    small, strange = bytearray(FITTING), bytearray(FITTING)
    small[4], strange[18] = 1, 0xF0
    first = install(tmp_path, "usr/lib", bytes(small))
    second = install(tmp_path, "lib64", bytes(strange))
    with pytest.raises(NoLibrary) as error:
        find(str(tmp_path), None)
    assert str(error.value).count("is made for another processor") == 2
    assert str(first) in str(error.value)
    assert str(second) in str(error.value)
    file = install(tmp_path, "opt/lib64")
    assert find(str(tmp_path), None).path == str(file)


def test_what_is_no_library_is_said(tmp_path: Path) -> None:
    """An empty file, as a mount point of a runtime may be, or a text."""
    for content in (b"", b"#!/bin/sh\n", b"\x7fELF"):
        with tempfile.TemporaryDirectory(dir=tmp_path) as root:
            install(Path(root), "usr/lib64", content)
            with pytest.raises(NoLibrary, match="is no library"):
                find(root, None)


def test_a_library_that_may_not_be_read_is_said() -> None:
    """The sentence has the kernel's reason."""
    with tempfile.TemporaryDirectory() as root:
        Path(root).chmod(0o755)
        install(Path(root), "usr/lib64").chmod(0)
        with nobody(), pytest.raises(NoLibrary, match=r"libnvidia-ml\.so\.580\.65\.06 cannot be read: Permission denied"):
            find(root, None)


def test_where_was_looked_is_said(tmp_path: Path) -> None:
    """Without any library, the roots and the directories are named."""
    with pytest.raises(NoLibrary, match=rf"no {SONAME} under {tmp_path}: .*opt/nvidia/lib64"):
        find(str(tmp_path), None)


def test_a_root_that_is_not_there_is_said(tmp_path: Path) -> None:
    """A driver container that has not come yet has no directory at all."""
    with pytest.raises(NoLibrary, match=f"there is no directory {tmp_path}/run/nvidia/driver to look for the driver in"):
        find(str(tmp_path), "/run/nvidia/driver")


def test_a_library_that_does_not_load_is_said(tmp_path: Path) -> None:
    """A truncated file looks like a library until it is loaded."""
    file = install(tmp_path, "usr/lib64")
    with pytest.raises(NoLibrary, match=f"{file} cannot be loaded: "):
        load(find(str(tmp_path), None))


names = st.sampled_from(("a", "b", "c"))
targets = st.lists(st.sampled_from(("a", "b", "c", "..", ".")), min_size=1, max_size=4).map("/".join)
links = st.dictionaries(st.tuples(names, names), st.tuples(targets, st.booleans()), max_size=6)


@given(links, targets)
def test_no_link_leads_out_of_the_root(links: dict[tuple[str, str], tuple[str, bool]], name: str) -> None:
    """Whatever links lie in the root and whatever is asked for: what is found is in the root, exists, and has no link in its path."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        for each in "abc":
            (root / each).mkdir(parents=True)
        for (directory, link), (target, absolute) in links.items():
            (root / directory / link).symlink_to(f"/{target}" if absolute else target)
        found = inside(str(root), name)
        assert found is None or (Path(found) == Path(found).resolve(strict=True) and Path(found).is_relative_to(root))
