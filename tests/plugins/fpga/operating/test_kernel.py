"""The kernel of this machine: which files are opened as devices, and programs that end in time."""

import errno
import os
import sys
import tempfile
import time
from pathlib import Path

import pytest

from supervisor_fpga.operating.kernel import Linux, Node, is_sysfs, run
from supervisor_fpga.operating.outcome import Clock, Stopped
from tests.plugins.fpga.operating.yard import PATIENCE

NULL = Node("/dev/null", "", (1, 3))


def clock(seconds: float = PATIENCE) -> Clock:
    return Clock(time.monotonic() + seconds)


@pytest.mark.parametrize("exclusive", [True, False])
def test_a_device_is_opened(*, exclusive: bool) -> None:
    """By its path, when it is the one that sysfs means; it is closed at the end."""
    with Linux().opened(NULL, exclusive=exclusive) as descriptor:
        assert os.write(descriptor, b"x") == 1
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(descriptor)


def test_another_device_is_not_opened(tmp_path: Path) -> None:
    """Neither one with other numbers, nor a file, nor a link to the right one."""
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("/dev/null")
    for node in (
        Node("/dev/zero", "", (1, 3)),
        Node(str(tmp_path / "file"), "", (1, 3)),
        Node(str(tmp_path / "link"), "", (1, 3)),
    ):
        with pytest.raises(Stopped, match="is not the device"), Linux().opened(node, exclusive=True):
            pass


def test_what_is_not_there_is_an_error() -> None:
    """As the kernel says it."""
    with pytest.raises(FileNotFoundError), Linux().opened(Node("/dev/nothing", "", (1, 3)), exclusive=True):
        pass


@pytest.mark.parametrize("argument", [b"", b"\0" * 24])
def test_an_ioctl_that_a_driver_does_not_know(argument: bytes) -> None:
    """It reaches the driver, which says so."""
    with Linux().opened(NULL, exclusive=False) as descriptor, pytest.raises(OSError, match="ioctl") as error:
        Linux().ioctl(descriptor, 0xB680, argument)
    assert error.value.errno == errno.ENOTTY


def test_attributes_are_written_and_never_made(tmp_path: Path) -> None:
    """No file comes into being, and no link is followed."""
    (tmp_path / "attribute").write_text("0x00\n")
    (tmp_path / "link").symlink_to(tmp_path / "attribute")
    Linux().write(str(tmp_path / "attribute"), "0x21")
    assert (tmp_path / "attribute").read_text() == "0x21\n"
    for name in ("link", "missing"):
        with pytest.raises(OSError, match=r"[Nn]o such|[Ll]inks"):
            Linux().write(str(tmp_path / name), "1")


def test_only_the_kernel_s_own_is_sysfs(tmp_path: Path) -> None:
    """A directory with the same names is none."""
    (tmp_path / "class").mkdir()
    assert not is_sysfs(str(tmp_path))
    assert not is_sysfs(str(tmp_path / "missing"))
    assert is_sysfs("/sys") is (Path("/sys/kernel").is_dir())
    assert not is_sysfs("/sys/class")


def test_a_program_runs_to_its_end(tmp_path: Path) -> None:
    """Without a word where it succeeds."""
    run([sys.executable, "-c", f"open({str(tmp_path / 'ran')!r}, 'w')"], clock())
    assert (tmp_path / "ran").exists()


def test_a_program_that_fails_says_why() -> None:
    """By its last line."""
    with pytest.raises(Stopped) as stopped:
        run(["/bin/sh", "-c", "echo first; echo 'no card' >&2; exit 3"], clock())
    assert (stopped.value.outcome, stopped.value.text) == ("failed", "sh ended with 3: no card")


def test_a_program_runs_where_no_file_can_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the helper's container, whose root is read-only and which has no directory for temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(Stopped) as stopped:
        run(["/bin/sh", "-c", "echo 'no card' >&2; exit 3"], clock())
    assert stopped.value.text == "sh ended with 3: no card"


def test_a_program_that_is_missing_is_refused() -> None:
    """The image has no such tool."""
    with pytest.raises(Stopped) as stopped:
        run(["/nonexistent/xrt-smi"], clock())
    assert (stopped.value.outcome, stopped.value.text) == ("refused", "xrt-smi is not installed where FPGAs are operated")


def test_a_program_past_its_time_is_killed(tmp_path: Path) -> None:
    """With what it started."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with pytest.raises(Stopped) as stopped:
            run(["/bin/sh", "-c", f"exec 3>{pipe}; echo begun >&3; sleep 600 & wait"], clock(1.0))
        assert stopped.value.outcome == "late"
        os.set_blocking(reader, True)
        with os.fdopen(reader, closefd=False) as lines:
            assert lines.read() == "begun\n"
    finally:
        os.close(reader)
