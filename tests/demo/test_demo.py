"""The demo as people start it: its acts come true, and nothing of it stays, however it ends."""

import json
import os
import re
import signal
import sys
import sysconfig
import urllib.request
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor_nvidia_gpu.cdi.keeping import FILES
from supervisor_nvidia_gpu.config import Cdi
from tests.demo.showing import ACTS, Showing

UNPRIVILEGED = (
    "setpriv",
    "--reuid=65534",
    "--regid=65534",
    "--clear-groups",
    "--no-new-privs",
    # The Python under test may lie in a home directory that is closed to others. Writing needs more than this.
    "--inh-caps=+dac_read_search",
    "--ambient-caps=+dac_read_search",
)

BARE_MACHINE = """
set -e
mount --make-rprivate /
new=$(mktemp -d)
trap 'rmdir "$new"' EXIT
mount -t tmpfs -o mode=755 tmpfs "$new"
for node in null zero random urandom; do touch "$new/$node"; mount --bind "/dev/$node" "$new/$node"; done
mkdir "$new/pts" "$new/shm"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$new/pts"
ln -s pts/ptmx "$new/ptmx"
mount -t tmpfs -o mode=1777 tmpfs "$new/shm"
mount --move "$new" /dev
"$@"
"""
"""A program for ``sh`` that runs a command where there is no device but what every container has."""

SERVED_MACHINE = """
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /var/run
mkdir /var/run/cdi
cp "$1" /var/run/cdi
spec=/var/run/cdi/${1##*/}
shift
"$@"
test -e "$spec"
"""
"""A program for ``sh`` that runs a command where another supervisor has written a CDI spec, and fails unless that stays."""


@pytest.fixture(scope="module")
def shown() -> Iterator[Showing]:
    """A demo without a terminal, which has ended by itself with 0."""
    with Showing() as demo:
        assert demo.end() == (0, ""), demo.output
        yield demo


def test_all_acts_come_true(shown: Showing) -> None:
    """Without a terminal it writes plain lines, and leaves nothing behind."""
    assert shown.done == ACTS
    assert "\x1b" not in shown.output
    assert not [line for line in shown.output.splitlines() if line != line.rstrip()]
    assert re.search(r"^ +gadget-user +\S+ +/dev/\S+ +rw +\d+:\d+ +opened$", shown.output, re.MULTILINE)
    assert "demo --keep" in shown.output
    assert shown.left_behind() == []


def test_simulated_gpus_fail_and_recover(shown: Showing) -> None:
    """They join the running supervisor; a pod gets two that are near to each other; one fails with its reason, and comes back."""
    numa = dict(re.findall(r"^ +(GPU-\S+) +([01]) +Healthy +\S+$", shown.output, re.MULTILINE))
    assert sorted(numa.values()) == ["0"] * 4 + ["1"] * 4
    near = re.findall(r"^ +(GPU-\S+) .* inference$", shown.output, re.MULTILINE)
    assert [numa[device] for device in near] == ["1", "1"]
    failed, end, *_ = shown.output.split(" is Unhealthy at the kubelet")
    assert failed.split()[-1] in numa
    assert re.search(r"^ +XID 95: .*reset[^✗]*Healthy at the kubelet", end, re.MULTILINE)


def test_a_port_of_a_simulated_card_goes_down_and_comes_back(shown: Showing) -> None:
    """A pod gets two cards that are near to each other; a port of one goes down, with its reason, and comes back by itself."""
    numa = dict(re.findall(r"^ +(0000:\S+) +([01]) +Healthy +\S+$", shown.output, re.MULTILINE))
    assert sorted(numa.values()) == ["0"] * 4 + ["1"] * 4
    near = re.findall(r"^ +(0000:\S+) .* storage$", shown.output, re.MULTILINE)
    assert [numa[device] for device in near] == ["1", "1"]
    *_, failed, end = shown.output.split(" is Unhealthy at the kubelet")
    assert failed.split()[-1] in near
    assert re.search(
        r"^ +PortDown: port 1 is DOWN.*allocatable 7 of 8.*Healthy at the kubelet.*✓", end, re.MULTILINE | re.DOTALL
    )


@pytest.mark.parametrize("package", ["nvidia-gpu", "infiniband"])
def test_without_their_plugin_there_are_no_simulated_devices(package: str, tmp_path: Path) -> None:
    """It says which package is missing, and that is no failure; the others simulate theirs."""
    with Showing(python=_environment_without(package.replace("-", "_"), tmp_path)) as demo:
        code, errors = demo.end()
        assert (code, errors) == (0, ""), demo.output
        assert demo.done == ACTS - 1
        assert f"{package}: " not in demo.output
        assert f"Left out, since the plugin is missing: pip install device-plugin-supervisor-{package}" in demo.output
        assert demo.left_behind() == []


def _environment_without(name: str, folder: Path) -> Path:
    """The Python of a virtual environment with all that is installed in ours, but what has ``name`` in its own name."""
    venv.create(folder, symlinks=True)
    for kind in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        site = folder / Path(kind).relative_to(sys.prefix)
        for entry in Path(kind).iterdir():
            if name not in entry.name:
                (site / entry.name).symlink_to(entry)
    return folder / "bin" / "python"


@pytest.mark.root
def test_needs_no_root_no_home_and_no_short_tmpdir() -> None:
    """An unprivileged user with next to no environment sees all of it, with what it may not open said so."""
    env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "TMPDIR": f"/tmp/{'long' * 30}"}
    with Showing(wrapper=UNPRIVILEGED, env=env) as demo:
        code, errors = demo.end()
        assert (code, errors) == (0, ""), demo.output
        assert demo.done == ACTS
        assert "a pseudo-terminal" in demo.output
        said = re.findall(r"^ +\S+-user .* (opened|not opened: E[A-Z]+)$", demo.output, re.MULTILINE)
        assert len(said) == demo.output.count("-user ")
        assert demo.left_behind() == []


@pytest.mark.namespaces
def test_a_machine_without_devices_will_do() -> None:
    """Where nothing is found it says so, and goes on with a device of its own."""
    with Showing(wrapper=("unshare", "-m", "sh", "-c", BARE_MACHINE, "sh")) as demo:
        code, errors = demo.end()
        assert (code, errors) == (0, ""), demo.output
        assert demo.done == ACTS
        assert "None of the devices that this demo knows is on this machine" in demo.output
        assert demo.left_behind() == []


@pytest.mark.namespaces
def test_the_cdi_specs_of_the_machine_stay(tmp_path: Path) -> None:
    """A supervisor that really serves the machine has written them; that of the demo must not take them for orphans."""
    kind = f"{Cdi().vendor}/gpu"
    spec = tmp_path / FILES.file_name(kind)
    spec.write_text(json.dumps({"cdiVersion": "0.5.0", "kind": kind, "devices": []}))
    with Showing(wrapper=("unshare", "-m", "sh", "-c", SERVED_MACHINE, "sh", str(spec))) as demo:
        code, errors = demo.end()
        assert (code, errors) == (0, ""), demo.output
        assert demo.done == ACTS


@pytest.mark.parametrize(
    ("moment", "number"),
    [
        ("written is this", signal.SIGINT),
        ("A kubelet", signal.SIGINT),
        ("opens what Allocate named", signal.SIGTERM),
        ("stands by", signal.SIGHUP),
    ],
)
def test_an_interruption_leaves_nothing_behind(moment: str, number: signal.Signals) -> None:
    """A signal ends it in the midst of an act, without a traceback, and with the usual exit code."""
    with Showing() as demo:
        demo.until("dps-demo-")
        demo.until(moment)
        demo.signal(number)
        code, errors = demo.end()
        assert (code, errors) == (128 + number, ""), demo.output
        assert "Interrupted. Nothing is left behind." in demo.output
        assert demo.left_behind() == []


def test_an_act_that_does_not_come_true_fails() -> None:
    """On a full disk (no file may grow) it says why, exits with 1, and does not go on."""
    with Showing(wrapper=("sh", "-c", 'ulimit -f 0; exec "$@"', "sh")) as demo:
        code, errors = demo.end()
        assert (code, errors) == (1, ""), demo.output
        assert "✗ [Errno 27] File too large" in demo.output
        assert demo.done == 0
        assert demo.processes() == {}


def test_a_reader_who_goes_away_ends_it() -> None:
    """In a pipe to something like head it cleans up and does not complain."""
    with Showing() as demo:
        demo.until("dps-demo-")
        demo.stop_reading()
        code, errors = demo.end()
        assert (code, errors) == (1, "")
        assert demo.left_behind() == []


def test_keep_goes_on_until_interrupted() -> None:
    """With --keep the supervisor answers at the address that is shown, and Ctrl-C is a good end."""
    with Showing("--keep") as demo:
        demo.until("Ctrl-C ends it")
        demo.until("/status")
        url = re.search(r"(http://\S+)/status", demo.output)
        assert url is not None
        with urllib.request.urlopen(f"{url[1]}/status", timeout=20) as answer:
            status = json.load(answer)
        assert status["active"]
        assert all(resource["phase"] == "connected" for resource in status["resources"])
        demo.signal(signal.SIGINT)
        assert demo.end() == (0, ""), demo.output
        assert demo.done == ACTS
        assert demo.left_behind() == []


def test_keep_may_be_interrupted_as_soon_as_it_says_so() -> None:
    """Ctrl-C in the midst of what it says about going on is the good end, too."""
    with Showing("--keep") as demo:
        demo.until("Ctrl-C ends it")
        demo.signal(signal.SIGINT)
        assert demo.end() == (0, ""), demo.output
        assert demo.left_behind() == []


def test_keep_fails_when_the_supervisor_ends() -> None:
    """A supervisor that is gone is not kept running: exit code 1."""
    with Showing("--keep") as demo:
        demo.until("Ctrl-C ends it")
        (supervisor,) = [pid for pid, command in demo.processes().items() if " supervisor run " in command]
        os.kill(supervisor, signal.SIGKILL)
        assert demo.end() == (1, ""), demo.output
        assert "✗ the supervisor has ended" in demo.output
        assert demo.left_behind() == []
