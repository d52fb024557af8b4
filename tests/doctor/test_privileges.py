"""User, capabilities, device cgroup and security modules: what each reading of them means."""

import errno
import os
from pathlib import Path

import pytest
from msgspec.structs import replace

from supervisor.doctor.privileges import capabilities, confinement, device_cgroup, helper_container, opening, selinux, user
from supervisor.doctor.site import Site
from tests.doctor.ground import STATUS, Ground, listen


def status(ground: Ground, *, uid: int = 0, caps: str = "0000000000000000", seccomp: object = 2) -> None:
    """What the kernel says of this process."""
    ground.write("/proc/self/status", STATUS.format(uid=uid, caps=caps, seccomp=seccomp))


@pytest.mark.parametrize(("uid", "level"), [(0, "ok"), (65534, "warning")])
def test_the_user_should_be_root(ground: Ground, uid: int, level: str) -> None:
    """The kubelet's directories belong to it."""
    status(ground, uid=uid)
    assert ground.one(user).level == level


def test_capabilities_are_named(ground: Ground) -> None:
    """None is best; a privileged process learns that it need not be."""
    assert ground.one(capabilities).level == "ok"
    status(ground, caps="000001fffeffffff")
    finding = ground.one(capabilities)
    assert finding.level == "note"
    assert "CAP_SYS_ADMIN" in finding.text
    status(ground, caps="0000000000000400")
    assert "1 of them, no powerful one" in ground.one(capabilities).text


def test_an_unreadable_status_says_so(ground: Ground) -> None:
    """Not known is not bad."""
    ground.fake.path("/proc/self/status").unlink()
    assert ground.one(user).level == ground.one(capabilities).level == "note"
    assert "Its mode is not known." in [finding.text for finding in ground.check(confinement)]


@pytest.mark.requires("fuse")
def test_a_real_device_is_tried() -> None:
    """One that does nothing when it is opened."""
    (finding,) = device_cgroup(Site())
    assert finding.subject == "device access"
    assert "/dev/fuse can be" in finding.text


def test_files_are_no_devices(ground: Ground) -> None:
    """Nothing is opened that is none."""
    ground.write("/dev/fuse", "")
    assert "It is not known" in ground.one(device_cgroup).text


@pytest.mark.parametrize(
    ("number", "level"),
    [(0, "ok"), (errno.ENXIO, "ok"), (errno.EPERM, "note"), (errno.EACCES, "note")],
)
def test_the_device_cgroup_is_told_by_the_attempt(number: int, level: str) -> None:
    """In a pod a device can be seen and not opened, which is as it should be; no driver behind it is no refusal."""
    error = OSError(number, os.strerror(number)) if number else None
    assert opening("/dev/fuse", error).level == level


def test_the_helper_container_is_sought(ground: Ground, short_dir: Path) -> None:
    """Where there is none, that is fine; one that does not answer is not."""
    path = short_dir / "helper.sock"
    site = replace(ground.site, host=replace(ground.fake.host, helper_socket=str(path)))
    (finding,) = helper_container(site)
    assert finding.level == "ok"
    with listen(path):
        (finding,) = helper_container(site)
        assert finding.text == f"It listens at {path}."
    (finding,) = helper_container(site)
    assert (finding.level, bool(finding.cure)) == ("warning", True)


CONTEXT = "system_u:system_r:{}:s0"


@pytest.mark.parametrize(
    ("enforce", "context", "level"),
    [
        (None, None, "ok"),
        ("1", None, "ok"),
        (None, "kernel", "ok"),
        ("1", CONTEXT.format("container_device_plugin_t"), "ok"),
        ("1", CONTEXT.format("spc_t") + "\0", "ok"),
        ("1", CONTEXT.format("container_t") + ":c1,c2\0", "failure"),
        (None, CONTEXT.format("container_t"), "failure"),
        ("0", CONTEXT.format("container_t"), "note"),
        ("1", CONTEXT.format("acme_t"), "note"),
    ],
)
def test_selinux_is_judged_by_the_type(ground: Ground, enforce: str | None, context: str | None, level: str) -> None:
    """An ordinary container may not connect to the kubelet while SELinux enforces; its file system is seldom mounted in one."""
    if enforce is not None:
        ground.write("/sys/fs/selinux/enforce", enforce)
    if context is not None:
        ground.write("/proc/self/attr/current", context)
    finding = ground.one(selinux)
    assert finding.level == level
    assert level == "ok" or "container_device_plugin_t" in finding.text + finding.cure


@pytest.mark.parametrize(
    ("profile", "level"),
    [("", "ok"), ("unconfined\n", "ok"), ("cri-containerd.apparmor.d (enforce)\n", "ok"), ("acme (enforce)\n", "note")],
)
def test_apparmor_is_judged_by_the_profile(ground: Ground, profile: str, level: str) -> None:
    """The runtimes' defaults are known to be enough, others must be."""
    ground.write("/proc/self/attr/apparmor/current", profile)
    assert ground.levels(confinement) == {"AppArmor": level, "seccomp": "ok"}


def test_without_a_word_of_apparmor_nothing_is_claimed(ground: Ground) -> None:
    """It is off, or this kernel does not say."""
    assert ground.check(confinement)[0].text == "It is off, or not seen."
