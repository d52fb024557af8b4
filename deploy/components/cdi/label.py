# ruff: noqa: INP001 - a script that a ConfigMap carries, in no package
"""Give directories the SELinux label that containers may write to. Where SELinux is off they have none, and nothing is done.

It never fails: a supervisor that cannot write there offers all that needs no such file, and says what it lacks.
"""

import errno
import os
import sys

ATTRIBUTE = "security.selinux"
LABEL = b"system_u:object_r:container_file_t:s0"


def label(path: str) -> str:
    """What was done, in words; empty where there was nothing to do."""
    try:
        if os.getxattr(path, ATTRIBUTE).rstrip(b"\0") == LABEL:
            return ""
        os.setxattr(path, ATTRIBUTE, LABEL + b"\0")
    except OSError as error:
        return "" if error.errno in {errno.ENODATA, errno.EOPNOTSUPP} else f"{path}: not labelled: {error.strerror}"
    return f"{path}: labelled {LABEL.decode()}"


for directory in sys.argv[1:]:
    if said := label(directory):
        print(said)  # noqa: T201 - the log of its container
