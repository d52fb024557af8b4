"""The parts of the demo that one can hold in the hand."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from supervisor.demo import fpgas, gpus, place, rdma
from supervisor.demo.gadget import Gadget, LoopDevice, PseudoTerminal
from supervisor.demo.hardware import FAMILIES, MOST_FAMILIES, Family, configuration, present
from supervisor.demo.interruptions import Interrupted, Interruptions
from supervisor.demo.programs import Failed, run_pod
from supervisor.demo.simulated import off
from supervisor.errors import SupervisorError
from supervisor.kubelet.simulator import GrantedDevice
from supervisor_fpga.operating.simulated import bitstream
from supervisor_fpga.simulate.intel import A10_INTERFACE

STAGE = """
from supervisor.demo.stage import Stage
stage = Stage()
stage.title("Title", "sentence")
stage.act(1, "Act", "sentence " * 40)
stage.quote(["quoted"])
stage.table(("NAME", "HEALTH"), [("one", "Healthy"), ("two", "Unhealthy: broken\\x1b[2J")])
stage.done("done")
stage.failed("failed")
"""


def _told(**env: str) -> str:
    """What a terminal gets to see of a stage on which everything happens."""
    ours, theirs = os.openpty()
    program = subprocess.Popen(
        [sys.executable, "-c", STAGE], env={"TERM": "xterm-256color", **env}, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    seen = b""
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        while True:
            try:
                seen += terminal.read(65536)
            except OSError:  # EIO: nobody has the other end any more
                break
    assert program.wait(20) == 0
    return seen.decode()


def test_a_terminal_gets_colours_and_no_tricks() -> None:
    """On a terminal there are colours, and no escape sequence but those of colours and styles."""
    seen = _told()
    assert "\x1b[1;32m✓" in seen
    assert not re.search(r"\x1b(?!\[[0-9;]*m)", seen)


def test_no_color_is_respected() -> None:
    """With NO_COLOR a terminal gets no colour, whatever else may be bold."""
    assert not re.search(r"\x1b\[[0-9;]*[349][0-7]m", _told(NO_COLOR="1"))


def test_a_poor_encoding_is_no_failure() -> None:
    """Where the output can hold only ASCII, the marks are words."""
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", STAGE], env=env, capture_output=True, check=True)
    assert b"ok: done" in done.stdout
    assert b"FAILED: failed" in done.stdout


def test_every_family_is_a_good_configuration(tmp_path: Path) -> None:
    """What the demo would write for any machine is accepted by check-config."""
    gadgets = [
        Family("gadget", "path: /dev/loop100"),
        Family("pty", "path: /dev/shm/dps-demo-x/pty, containerPath: /dev/gadget"),
    ]
    machine = configuration([*FAMILIES, *gadgets], 5, tmp_path / "kubelet.sock")
    before = [off(plugin) for plugin in (gpus.GPUS.plugin, rdma.CARDS.plugin, fpgas.PLUGIN)]
    joined = [gpus.section(tmp_path), rdma.section(), fpgas.section()]
    scripted = [gpus.section(tmp_path, gpus.SCRIPT), rdma.section(rdma.script("mlx5_4"))]
    for sections in (before, joined, scripted):
        _check(tmp_path / "config.yaml", "".join([machine, *sections]))


def test_bitstreams_are_what_the_plugin_reads() -> None:
    """The files of the demo are, byte for byte, those that the plugin makes for its simulated cards."""
    for each in (fpgas.WANTED, fpgas.OTHER):
        assert each.bitstream() == bitstream(A10_INTERFACE, each.afu_id)


def _check(file: Path, text: str) -> None:
    file.write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "supervisor", "check-config", str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_only_present_families_take_part(tmp_path: Path) -> None:
    """A family takes part if one of its signs is there, and not too many do."""
    (tmp_path / "here1").touch()
    families = [Family(f"gone{n}", "", f"{tmp_path}/gone*") for n in range(3)]
    families += [Family(f"here{n}", "", f"{tmp_path}/here*") for n in range(9)]
    assert [family.name for family in present(families)] == [f"here{n}" for n in range(MOST_FAMILIES)]


def test_a_long_tmpdir_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The directory is made where sockets fit below it, belongs to nobody else, and goes away."""
    long = tmp_path / ("long" * place.LONGEST)
    long.mkdir()
    monkeypatch.setenv("TMPDIR", str(long))
    with place.workplace() as made:
        assert len(str(made)) < 107 - 50
        assert made.stat().st_mode & 0o777 == 0o700
        (made / "file").touch()
    assert not made.exists()


def test_no_place_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no directory can be made, the error names what was tried."""
    monkeypatch.setenv("TMPDIR", "/nowhere")
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    with pytest.raises(SupervisorError, match="tried /nowhere, /nonexistent"), place.workplace(["/nonexistent"]):
        pass


def _granted(path: Path | str, permissions: str = "rw") -> GrantedDevice:
    return GrantedDevice(str(path), str(path), permissions)


def test_a_pod_says_what_it_opens_and_what_not(tmp_path: Path) -> None:
    """Each node gets an answer: its numbers, or why it did not open with these permissions."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    opened, nobody_reads, missing = run_pod([_granted("/dev/null"), _granted(pipe, "w"), _granted(tmp_path / "none")], {})
    assert (opened.number, opened.refused) == ("1:3", "")
    assert nobody_reads.refused == "ENXIO"
    assert (missing.number, missing.refused, missing.why) == ("", "ENOENT", "No such file or directory")


def test_a_pod_asks_for_no_more_than_granted(tmp_path: Path) -> None:
    """Reading and writing are asked for as granted: a pipe that nobody reads opens for reading, and not for writing."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reads, writes, both, makes = run_pod([_granted(pipe, each) for each in ("r", "wm", "rw", "m")], {})
    assert [each.refused for each in (reads, writes, both, makes)] == ["", "ENXIO", "", ""]


def test_a_pod_that_crashes_is_a_failure() -> None:
    """A pod that cannot even start is told with what it said."""
    with pytest.raises(Failed, match="crashed"):
        run_pod([_granted("/dev/\0")], {})


@contextmanager
def _plugged(gadget: Gadget) -> Iterator[Gadget]:
    try:
        gadget.plug()
        yield gadget
    finally:
        gadget.close()


def test_a_pseudo_terminal_comes_and_goes() -> None:
    """Its name is there only while it is plugged in, and leads to a terminal; in the end there is nothing."""
    with _plugged(PseudoTerminal()) as gadget:
        name = Path(gadget.family().match.removeprefix("path: ").partition(",")[0])
        assert name.samefile(gadget.node)
        gadget.unplug()
        assert not os.path.lexists(name)
        gadget.plug()
        with name.open("r+b", buffering=0) as node:
            assert os.isatty(node.fileno())
    assert not name.parent.exists()


@pytest.mark.requires("loop")
def test_two_loop_devices_do_not_meet() -> None:
    """Each takes a number that is free, keeps it, and leaves nothing; one that was there before is not touched.

    The numbers are this test's own: a demo that runs beside it takes and frees those that demos take.
    """
    first = 10_000 + os.getpid() % 10_000 * 10
    numbers = range(first, first + 3)
    with _plugged(LoopDevice(numbers)) as before:
        born = Path(before.node).stat().st_ctime_ns
        with _plugged(LoopDevice(numbers)) as one, _plugged(LoopDevice(numbers)) as other:
            assert len({before.node, one.node, other.node}) == 3
            node = Path(one.node)
            one.unplug()
            assert not node.exists()
            one.plug()
            assert one.node == str(node)
        assert not node.exists()
        assert not Path(other.node).exists()
        assert Path(before.node).stat().st_ctime_ns == born
    assert not Path(before.node).exists()


def test_a_held_interruption_comes_at_the_end_of_the_block() -> None:
    """What is being made is noted down before the signal is raised; further signals do nothing."""
    made = []

    def make(interruptions: Interruptions) -> None:
        with interruptions.held():
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGHUP)
            made.append("noted")

    with Interruptions() as interruptions, pytest.raises(Interrupted) as caught:
        make(interruptions)
    assert made == ["noted"]
    assert caught.value.number == signal.SIGTERM


def test_interruptions_end_with_their_block() -> None:
    """Afterwards the signals do what they did before."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    with Interruptions() as interruptions:
        interruptions.ignore()
        os.kill(os.getpid(), signal.SIGTERM)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before
