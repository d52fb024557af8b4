"""All checks of the node, in groups, each on its own: one that raises is a finding, and the others go on."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from supervisor.contract import describe
from supervisor.doctor import cdi, clock, directory, events, iommu, limits, privileges, rivals, software
from supervisor.doctor.rivals import Offered
from supervisor.doctor.site import Check, Site
from supervisor.model import Finding

PATIENCE = 15.0
"""Seconds for a check; each takes a few milliseconds where nothing hangs."""

GROUPS: Mapping[str, Sequence[Check]] = {
    "kubelet": (
        directory.directory,
        directory.file_system,
        directory.path_length,
        directory.kubelet_socket,
        directory.pod_resources,
    ),
    "other plugins": (rivals.supervisors, rivals.foreign_plugins),
    "privileges": (
        privileges.user,
        privileges.capabilities,
        privileges.device_cgroup,
        privileges.helper_container,
        privileges.selinux,
        privileges.confinement,
    ),
    "events": (events.kernel_events, events.user_namespace, events.network_namespace, events.udev_database),
    "limits": (limits.locked_memory, limits.open_files, limits.memory, limits.inotify),
    "CDI": (cdi.directories, cdi.specs),
    "IOMMU": (iommu.groups, iommu.vfio),
    "clock": (clock.wall_clock, clock.synchronised, clock.boot_id, clock.time_namespace),
    "versions": (software.versions,),
}
"""In the order in which they are shown."""

Task = Callable[[], tuple[Finding, ...]]


def tasks(site: Site) -> Mapping[tuple[str, str], Task]:
    """What there is to do, by group and name; all of it may be done at the same time."""
    return {
        (group, check.__name__): isolated(check.__name__, lambda check=check: check(site))  # type: ignore[misc]  # a default binds the loop's
        for group, checks in GROUPS.items()
        for check in checks
    }


def registration(site: Site, offered: Offered) -> Task:
    """What can only be judged when it is known what the plugins would offer."""
    return isolated(rivals.registered.__name__, lambda: rivals.registered(site, offered))


def isolated(name: str, check: Callable[[], Iterable[Finding]]) -> Task:
    """The check, with whatever it raises made a finding."""

    def task() -> tuple[Finding, ...]:
        try:
            return tuple(check())
        except Exception as error:  # noqa: BLE001 - one check that fails must not hide what the others find
            return (broken(name, f"This check itself failed: {describe(error)}."),)

    return task


def broken(name: str, text: str) -> Finding:
    """A check that has no answer."""
    cure = "Please report this with the output of doctor --json. The other checks do not depend on it."
    return Finding("failure", f"check {name.replace('_', ' ')}", text[:1000], cure)


def late(name: str, seconds: float) -> Finding:
    """A check that has not come back."""
    text = f"It has not come back for {seconds:g} s: something in the kernel or on the other side of a socket hangs."
    cure = "See what hangs (dmesg; cat /proc/*/stack of processes in state D); often a dead network mount or a wedged driver."
    return Finding("failure", f"check {name.replace('_', ' ')}", text, cure)
