"""The program that runs as a pod: it opens each device that its container was given, and prints what it found.

It is started by its path and knows nothing of the supervisor. It reads one JSON list of devices (``host_path``, ``permissions``) and
writes one of ``number`` (``major:minor``, or empty), ``refused`` (the name of the error, empty if the node opened) and ``why``.
"""

import errno
import json
import os
import sys

_FLAGS = {"r": os.O_RDONLY, "w": os.O_WRONLY, "rw": os.O_RDWR}


def look_into(path: str, permissions: str) -> dict[str, str]:
    """Open one node with no more than the permissions; reading and writing nothing."""
    wanted = "".join(letter for letter in "rw" if letter in permissions)
    try:
        descriptor = os.open(path, _FLAGS.get(wanted, os.O_PATH) | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        name = errno.errorcode.get(error.errno or 0, str(error.errno))
        return {"number": _number(path), "refused": name, "why": error.strerror or ""}
    try:
        return {"number": _number(descriptor), "refused": "", "why": ""}
    finally:
        os.close(descriptor)


def _number(node: str | int) -> str:
    try:
        number = os.stat(node).st_rdev
    except OSError:
        return ""
    return f"{os.major(number)}:{os.minor(number)}"


if __name__ == "__main__":
    json.dump([look_into(device["host_path"], device["permissions"]) for device in json.load(sys.stdin)], sys.stdout)
