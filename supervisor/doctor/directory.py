"""The kubelet's device-plugins directory, its sockets, and ours in it."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from supervisor.doctor.site import Site, reason, refusal
from supervisor.host import HostView
from supervisor.kubelet.questions import ask_pod_resources
from supervisor.kubelet.sockets import KUBELET_SOCKET, MAX_SOCKET_PATH, look_at
from supervisor.model import Finding
from supervisor.ownership import HIDDEN_NAME

_LONGEST_OF_OURS = (f"{HIDDEN_NAME}/01234567/x-000000.sock", "dps--000000-00000000.sock")
"""What a path of ours has at least, below the directory: private sockets, and public names."""
_NO_SOCKETS = ("vfat", "msdos", "exfat", "ntfs", "ntfs3")
_REMOTE = ("nfs", "nfs4", "cifs", "9p", "virtiofs", "fuse")
_MAX_MOUNTS_BYTES = 1 << 20

_ELSEWHERE = (
    "For a kubelet with another root directory (k0s, MicroK8s, a --root-dir of its own) set kubelet.devicePluginsDir, "
    "and mount that one."
)


def directory(site: Site) -> Iterator[Finding]:
    """Is it there, alive and writable?"""
    path = site.directory
    try:
        status = path.stat()
    except OSError as error:
        cure = f"Run this on a Kubernetes node; in a pod, mount the directory as a hostPath. {_ELSEWHERE}"
        yield Finding("failure", str(path), f"It cannot be seen: {reason(error)}.", cure)
        return
    if not stat.S_ISDIR(status.st_mode):
        yield Finding(
            "failure", str(path), "It is no directory.", f"Remove what is there and restart the kubelet. {_ELSEWHERE}"
        )
    elif status.st_nlink == 0:
        cure = "Delete this pod: only a new container mounts the directory that is there now."
        yield Finding("failure", str(path), "It was removed under this mount: nothing can be made in it any more.", cure)
    elif not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        cure = "Mount it without readOnly, and run as the user who owns it, uid 0."
        yield Finding("failure", str(path), f"This process (uid {os.geteuid()}) may not write there.", cure)
    else:
        yield Finding("ok", str(path), "It is there and can be written.")


def path_length(site: Site) -> Iterator[Finding]:
    """Do the paths of our sockets fit into a socket address?"""
    longest = max(len(os.fsencode(site.directory / name)) for name in _LONGEST_OF_OURS)
    text = f"The shortest paths of our sockets there have {longest} of at most {MAX_SOCKET_PATH} bytes."
    if longest > MAX_SOCKET_PATH:
        cure = "Give the kubelet a shorter root directory, or mount its directory at a shorter path in the pod."
        yield Finding("failure", "socket paths", text, cure)
    else:
        yield Finding("ok", "socket paths", text)


def file_system(site: Site) -> Iterator[Finding]:
    """Does what is made there reach the kubelet, and can sockets have a second name?"""
    if not site.directory.is_dir():
        return  # told already
    found = _mount(site.view, os.path.realpath(site.directory))
    if found is None:
        yield Finding("note", "file system", "It is not known: /proc/self/mountinfo cannot be read.")
        return
    point, kind = found
    base = kind.partition(".")[0]
    if kind == "overlay" and point == "/":
        yield Finding(
            "warning",
            "file system",
            "The directory lies in this container's own file system, where no kubelet looks.",
            "Mount the host's directory as a hostPath volume.",
        )
    elif base in _NO_SOCKETS:
        cure = "Put the kubelet's root directory onto a file system of Linux's own, such as ext4 or XFS."
        yield Finding("failure", "file system", f"{kind} holds no sockets.", cure)
    elif base in _REMOTE:
        text = (
            f"{kind} may refuse hard links; then each socket is bound again for each registration, which takes a little longer."
        )
        yield Finding("note", "file system", text)
    else:
        yield Finding("ok", "file system", f"{kind}, mounted at {point}, gives sockets a second name.")


def _mount(view: HostView, path: str) -> tuple[str, str] | None:
    """The mount that holds a path: its place and its kind. Of several at one place the last one is seen."""
    best: tuple[str, str] | None = None
    for line in (view.read("/proc/self/mountinfo", _MAX_MOUNTS_BYTES) or "").splitlines():
        before, dash, behind = line.partition(" - ")
        words, kind = before.split(), behind.split()[:1]
        if not dash or len(words) < 5 or not kind:
            continue
        point = words[4].replace("\\040", " ")
        if (path == point or path.startswith(f"{point.rstrip('/')}/")) and (best is None or len(point) >= len(best[0])):
            best = point, kind[0]
    return best


def kubelet_socket(site: Site) -> Iterator[Finding]:
    """Is there a kubelet that can be told of plugins?"""
    path = site.directory / KUBELET_SOCKET
    start = "Start the kubelet, or see why it does not run (systemctl status kubelet); the supervisor waits for it."
    if not site.directory.is_dir():
        return  # told already
    seen = look_at(site.directory)
    if seen.kubelet is None:
        yield Finding("failure", KUBELET_SOCKET, f"{seen.obstacle}.", start)
    elif why := refusal(path):
        yield Finding("failure", KUBELET_SOCKET, f"It does not accept connections: {why}.", start)
    else:
        yield Finding("ok", KUBELET_SOCKET, "The kubelet accepts connections.")


def pod_resources(site: Site) -> Iterator[Finding]:
    """Does the kubelet tell who holds which device?"""
    path, subject = site.kubelet.pod_resources_socket, "pod-resources socket"
    reading = ask_pod_resources(path)
    if reading.complete:
        pods = len({(each.namespace, each.pod) for each in reading.holdings})
        yield Finding("ok", subject, f"It answers: {len(reading.holdings)} devices are held, by {pods} pods.")
        return
    absent = not Path(path).exists()
    yield Finding(
        "note" if absent and not look_at(site.directory).kubelet else "warning",
        subject,
        f"{reading.reason.removeprefix('podresources: ')}. Who holds which device is then read from the kubelet's checkpoint, "
        "without the names of pods.",
        "Mount the kubelet's directory pod-resources (read-only does), or set kubelet.podResourcesSocket."
        if absent
        else "See the kubelet's log; it needs Kubernetes 1.20 or newer, and uid 0 to connect.",
    )
