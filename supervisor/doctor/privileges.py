"""What this process may do: its user, capabilities, device cgroup, and the security modules that watch it."""

import errno
import os
from collections.abc import Iterator

from supervisor.doctor.site import Site, fields, reason, refusal
from supervisor.model import Finding

_CAPABILITIES = {
    1: "CAP_DAC_OVERRIDE",
    7: "CAP_SETUID",
    12: "CAP_NET_ADMIN",
    14: "CAP_IPC_LOCK",
    17: "CAP_SYS_RAWIO",
    19: "CAP_SYS_PTRACE",
    21: "CAP_SYS_ADMIN",
    27: "CAP_MKNOD",
}
"""Those of ``linux/capability.h`` that people ask about."""

_HARMLESS = ("/dev/fuse", "/dev/net/tun", "/dev/kvm", "/dev/null")
"""Devices that do nothing when they are opened and closed, the rarer ones first. Container runtimes allow the last one to all."""

_GOOD_TYPES = ("container_device_plugin_t", "container_runtime_t", "spc_t", "unconfined_t", "unconfined_service_t")
_BAD_TYPES = ("container_t", "container_init_t", "container_kvm_t", "svirt_lxc_net_t")
_CONFINED_CURE = (
    "Give the container securityContext.seLinuxOptions {type: container_device_plugin_t, level: s0} "
    "(package container-selinux of the node)."
)


def user(site: Site) -> Iterator[Finding]:
    """The kubelet's directories belong to root."""
    status = fields(site.view.read("/proc/self/status"))
    uids = status.get("Uid", "").split()
    if len(uids) < 2:
        yield Finding("note", "user", "It is not known: /proc/self/status cannot be read.")
    elif uids[1] == "0":
        yield Finding("ok", "user", "uid 0, to whom the kubelet's directories belong.")
    else:
        cure = "Run as uid 0 (securityContext.runAsUser: 0); no capability is needed."
        yield Finding("warning", "user", f"uid {uids[1]}: the kubelet's directories belong to uid 0.", cure)


def capabilities(site: Site) -> Iterator[Finding]:
    """None is needed; of those that are there the important ones are named."""
    status = fields(site.view.read("/proc/self/status"))
    try:
        mask = int(status.get("CapEff", ""), 16)
    except ValueError:
        yield Finding("note", "capabilities", "They are not known: /proc/self/status cannot be read.")
        return
    if not mask:
        yield Finding("ok", "capabilities", "None, and none is needed.")
        return
    known = [name for bit, name in _CAPABILITIES.items() if mask >> bit & 1]
    text = f"{mask.bit_count()} of them, {', '.join(known) or 'no powerful one'}; a pod of the supervisor needs none."
    yield Finding("note", "capabilities", text)


def device_cgroup(site: Site) -> Iterator[Finding]:
    """May this process open devices, or only look at them?"""
    view = site.view
    for name in _HARMLESS:
        node = view.node(name)
        path = None if node is None else site.host.local(node.path)
        if node is not None and node.is_device and path is not None:
            yield opening(name, _open(path))
            return
    yield Finding("note", "device access", f"It is not known: none of {', '.join(_HARMLESS)} is there.")


def _open(path: str) -> OSError | None:
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY))
    except OSError as error:
        return error
    return None


def opening(name: str, error: OSError | None) -> Finding:
    """What the end of an attempt to open a device tells."""
    if error is None or error.errno in {errno.ENXIO, errno.ENODEV, errno.EBUSY}:
        return Finding("ok", "device access", f"{name} can be opened: no device cgroup forbids that one.")
    text = f"{name} can be seen, but not opened ({reason(error)}): normal in a pod, and enough for all that is only passed on."
    return Finding("note", "device access", f"{text} What must open devices runs in the helper container.")


def helper_container(site: Site) -> Iterator[Finding]:
    """Who opens devices for plugins whose hardware needs that."""
    path = site.host.helper_socket
    if not os.path.lexists(path):
        yield Finding("ok", "helper container", "There is none: programs that open devices run as children of this process.")
    elif why := refusal(path):
        cure = "See the log of the helper container (the command helper); remove the socket where there is to be none."
        yield Finding("warning", "helper container", f"Nobody answers at {path}: {why}.", cure)
    else:
        yield Finding("ok", "helper container", f"It listens at {path}.")


def selinux(site: Site) -> Iterator[Finding]:
    """Does SELinux let a container connect to the kubelet, and make sockets in its directory?"""
    view = site.view
    enforce = view.read("/sys/fs/selinux/enforce")
    context = (view.read("/proc/self/attr/current") or "").rstrip("\0\n ")
    parts = context.split(":")
    if len(parts) < 4:
        state = "It is on the node, but this process has no context of it" if enforce is not None else "It is off, or not seen"
        yield Finding("ok", "SELinux", f"{state}.")
        return
    mode = {"1": "enforcing", "0": "permissive"}.get(enforce or "", "in a mode that cannot be seen")
    text = f"It is {mode}; this process is {context}."
    if parts[2] in _BAD_TYPES and enforce != "0":
        yield Finding("failure", "SELinux", f"{text} That type may not connect to the kubelet.", _CONFINED_CURE)
    elif parts[2] in _GOOD_TYPES:
        yield Finding("ok", "SELinux", text)
    else:
        yield Finding("note", "SELinux", f"{text} If the kubelet's socket refuses permission: {_CONFINED_CURE}")


def confinement(site: Site) -> Iterator[Finding]:
    """AppArmor and seccomp: their defaults for containers are enough."""
    view = site.view
    profile = (view.read("/proc/self/attr/apparmor/current") or "").strip("\0\n ")
    if not profile:
        yield Finding("ok", "AppArmor", "It is off, or not seen.")
    elif profile == "unconfined":
        yield Finding("ok", "AppArmor", "It does not confine this process.")
    else:
        known = profile.startswith(("cri-containerd.apparmor.d", "crio-default", "docker-default", "containers-default"))
        text = f"The profile is {profile}" + (", a runtime's default, which is enough." if known else ".")
        more = "" if known else " It must allow unix sockets, and network netlink raw for the kernel's events."
        yield Finding("ok" if known else "note", "AppArmor", text + more)
    mode = fields(view.read("/proc/self/status")).get("Seccomp", "")
    words = {"0": "It filters nothing.", "2": "A filter is on; RuntimeDefault is enough."}
    yield Finding("ok", "seccomp", words.get(mode, "Its mode is not known."))
