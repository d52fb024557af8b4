"""All checks together: each on its own, and what becomes of one that raises or hangs."""

import threading
from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from supervisor.cli.survey import concurrently
from supervisor.config import KubeletConfig
from supervisor.doctor.rounds import GROUPS, isolated, late, registration, tasks
from supervisor.doctor.site import Check, Site
from supervisor.host import Host
from supervisor.model import Finding
from tests.doctor.ground import Ground, assert_shown, tree

EVERY = [check for checks in GROUPS.values() for check in checks]
BARE = Site(KubeletConfig("/nowhere/dp", "/nowhere/pr.sock"), Host(*["/nowhere"] * 5), ("/nowhere/cdi",))


@pytest.mark.parametrize("check", EVERY, ids=lambda check: str(check.__name__))
def test_a_check_bears_a_machine_without_anything(check: Check) -> None:
    """Not even /proc is there; what is found can be shown, and no check raises."""
    assert_shown(check(BARE))


@pytest.mark.parametrize("check", EVERY, ids=lambda check: str(check.__name__))
def test_a_check_bears_garbage(check: Check, ground: Ground) -> None:
    """Every file that any of them reads holds bytes that mean nothing, and what should be a directory is a file."""
    names = (
        "status",
        "limits",
        "cgroup",
        "mountinfo",
        "uid_map",
        "attr/current",
        "attr/apparmor/current",
        "timens_offsets",
        "comm",
    )
    for name in (*(f"/proc/self/{name}" for name in names), "/proc/cmdline", "/proc/7/comm", "/sys/fs/selinux/enforce"):
        ground.fake.write(name)
        ground.fake.path(name).write_bytes(b"\xff\x00:\n: - \n \n::::\n1 2 3 4 5 - \n\xf0 - x\n-1 ?")
    for name in ("/sys/kernel/iommu_groups", "/sys/class/infiniband", "/run/udev/data"):
        ground.write(name, "no directory")
    (ground.directory / ".device-plugin-supervisor").write_text("")
    ground.check(check)


def test_every_check_has_a_task_of_its_own() -> None:
    """And a name of its own in its group."""
    assert len(tasks(BARE)) == len(EVERY)


def test_a_check_that_raises_is_a_finding() -> None:
    """With what it raised and where; what it had found before is not believed."""

    def bad() -> Iterator[Finding]:
        yield Finding("ok", "a", "It is fine.")
        raise LookupError("no such luck")

    (finding,) = isolated("bad_check", bad)()
    assert_shown([finding])
    assert (finding.level, finding.subject) == ("failure", "check bad check")
    assert "LookupError: no such luck" in finding.text


def test_a_check_that_hangs_holds_up_nobody() -> None:
    """The others have come back, and it is told."""
    forever = threading.Event()

    def hang() -> Iterator[Finding]:
        forever.wait()
        yield Finding("ok", "a", "It came back.")

    fine = isolated("fine", lambda: [Finding("ok", "b", "It is fine.")])
    done = concurrently({"hang": isolated("hang", hang), "fine": fine}, lambda name: 0.2 if name == "hang" else 60)
    forever.set()
    assert done["fine"] == (Finding("ok", "b", "It is fine."),)
    assert not isinstance(done["hang"], tuple)
    assert_shown([late("hang", 0.2)])


def test_nothing_is_changed(ground: Ground) -> None:
    """Every file of the node is as it was: content, times, inodes."""
    ground.process("self", "python3")
    (ground.directory / "kubelet_internal_checkpoint").write_text('{"Data": {"RegisteredDevices": {"a.example/b": ["c"]}}}')
    (ground.cdi[0] / "a.json").write_text("{}")
    left = ground.directory / ".device-plugin-supervisor" / "0123abcd"
    left.mkdir(parents=True)
    (left / "lock").touch()
    folders = (ground.fake.folder, ground.directory.parent, *ground.cdi)
    before = tree(*folders)
    site = replace(ground.site)
    found = [finding for task in tasks(site).values() for finding in task()]
    found += registration(site, {"a.example/b": frozenset({"c"})})()
    assert_shown(found)
    assert tree(*folders) == before
