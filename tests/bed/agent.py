"""The program inside the bed: mounts the tree over the real directories, then sends the events it is told to send.

It is started by `unshare` and holds the namespaces until its input ends. Each line of input is one event as JSON; each is
answered by a line, `ok` or what went wrong.
"""

import fcntl
import json
import os
import socket
import stat
import struct
import subprocess
import sys
from pathlib import Path

from tests.bed import inject
from tests.bed.fakesys import Node, Tree

SIOCSIFFLAGS = 0x8914
IFF_UP = 0x1

PLAIN_NODES = (
    Node("null", 1, 3),
    Node("zero", 1, 5),
    Node("full", 1, 7),
    Node("random", 1, 8),
    Node("urandom", 1, 9),
    Node("tty", 5, 0),
)
"""What ordinary programs expect below /dev."""


def mount(*arguments: str | Path) -> None:
    """Make one mount. Raises CalledProcessError where it refuses."""
    subprocess.run(["mount", *map(str, arguments)], check=True, stdin=subprocess.DEVNULL)


def loopback_up() -> None:
    """Switch on 127.0.0.1, which a new network namespace has switched off."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))


def enter(tree: Tree, binds: dict[str, str]) -> None:
    """Put the tree, and further directories, over the ones of the machine; only this mount namespace sees it."""
    mount("--make-rprivate", "/")
    for node in PLAIN_NODES:
        if not (tree.dev / node.name).exists():
            tree.add_node(node)
    (tree.dev / "shm").mkdir(exist_ok=True)
    if not tree.real_nodes:
        stand_ins(tree)
    for source, target in binds.items():
        mount("--rbind", source, target)
    for name in ("sys", "dev", "run"):
        mount("--rbind", tree.root / name, f"/{name}")


def stand_ins(tree: Tree) -> None:
    """Put the machine's own node over each plain one, and /dev/null over the others, which then are devices at least."""
    plain = {tree.dev / node.name: f"/dev/{node.name}" for node in PLAIN_NODES}
    for path in sorted(tree.dev.rglob("*")):
        if stat.S_ISREG(path.lstat().st_mode):
            mount("--bind", plain.get(path, "/dev/null"), path)


def main() -> None:
    """Set up the bed that the first line of input describes, then serve events until the input ends."""
    setup = json.loads(sys.stdin.readline())
    enter(Tree(Path(setup["root"]), setup["real_nodes"]), setup["binds"])
    loopback_up()
    print("ok", flush=True)
    for line in sys.stdin:
        event = json.loads(line)
        try:
            send = {"kernel": inject.kernel, "udev": inject.udev}[event["source"]]
            send(event["action"], event["devpath"], event["subsystem"], event["properties"])
        except OSError as error:
            print(os.strerror(error.errno or 0), flush=True)
        else:
            print("ok", flush=True)


if __name__ == "__main__":
    main()
