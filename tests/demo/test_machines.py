"""The demo on other machines: without some plugins, rights, devices, or beside a supervisor that really serves the machine."""

import json
import os
import re
from pathlib import Path

import pytest

from supervisor_nvidia_gpu.cdi.keeping import FILES
from supervisor_nvidia_gpu.config import Cdi
from tests.demo.showing import ACTS, SIMULATED, Showing, python_without

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


@pytest.mark.parametrize("packages", [("nvidia-gpu", "infiniband"), ("nvidia-gpu", "fpga")], ids=" ".join)
def test_without_their_plugin_there_are_no_simulated_devices(packages: tuple[str, ...], tmp_path: Path) -> None:
    """It says which packages are missing, and that is no failure; the others simulate theirs."""
    with Showing(python=python_without(packages, tmp_path)) as demo:
        code, errors = demo.end()
        assert (code, errors) == (0, ""), demo.output
        assert demo.done == ACTS - len(packages)
        for package in SIMULATED:
            missing = f"Left out, since the plugin is missing: pip install device-plugin-supervisor-{package}"
            assert (missing in demo.output) == (package in packages)
            assert (f"{package}:" in demo.output) == (package not in packages)
        assert demo.left_behind() == []


@pytest.mark.root
def test_needs_no_root_no_home_and_no_short_tmpdir() -> None:
    """An unprivileged user with next to no environment sees all of it, whatever the umask is, with what it may not open said so."""
    env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "TMPDIR": f"/tmp/{'long' * 30}"}
    with Showing(wrapper=(*UNPRIVILEGED, "sh", "-c", 'umask 0; exec "$@"', "sh"), env=env) as demo:
        code, errors = demo.end()
        assert (code, errors) == (0, ""), demo.output
        assert demo.done == ACTS
        assert "a pseudo-terminal" in demo.output
        said = re.findall(r"^ +\S+-user .* (opened|not opened: E[A-Z]+)$", demo.output, re.MULTILINE)
        assert len(said) == demo.output.count("-user ")
        assert demo.left_behind() == []


@pytest.mark.namespaces
def test_a_machine_without_devices_will_do(tmp_path: Path) -> None:
    """Where nothing is found it says so, and goes on with a device of its own."""
    wrapper = ("unshare", "-m", "sh", "-c", BARE_MACHINE, "sh")
    with Showing(wrapper=wrapper, python=python_without(SIMULATED, tmp_path)) as demo:
        code, errors = demo.end()
        assert (code, errors) == (0, ""), demo.output
        assert demo.done == ACTS - len(SIMULATED)
        assert "None of the devices that this demo knows is on this machine" in demo.output
        assert demo.left_behind() == []


@pytest.mark.namespaces
def test_the_cdi_specs_of_the_machine_stay(tmp_path: Path) -> None:
    """A supervisor that really serves the machine has written them; that of the demo must not take them for orphans."""
    kind = f"{Cdi().vendor}/gpu"
    spec = tmp_path / FILES.file_name(kind)
    spec.write_text(json.dumps({"cdiVersion": "0.5.0", "kind": kind, "devices": []}))
    wrapper = ("unshare", "-m", "sh", "-c", SERVED_MACHINE, "sh", str(spec))
    with Showing(wrapper=wrapper, python=python_without(SIMULATED - {"nvidia-gpu"}, tmp_path / "environment")) as demo:
        code, errors = demo.end()
        assert (code, errors) == (0, ""), demo.output
        assert demo.done == ACTS - len(SIMULATED) + 1
