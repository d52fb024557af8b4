"""Where files of ours lie, as the owners of the node have noted in the plugin's memory."""

from collections.abc import Mapping

from supervisor_infiniband.publishing import cdi, device_info
from supervisor_infiniband.report import Report

CDI, DEVICE_INFO = "cdi", "deviceInfo"
"""What the memory holds of this: lists of directories."""


def directories(recalled: Mapping[str, object], key: str) -> tuple[str, ...]:
    """Those with files of one sort."""
    noted = recalled.get(key)
    return tuple(each for each in noted if isinstance(each, str) and each) if isinstance(noted, list) else ()


def left(key: str, directory: str) -> Mapping[str, frozenset[str]]:
    """The path of each file of ours, with the CDI devices that it defines, by full name.

    Raises ``OSError`` where the directory is not there or cannot be read.
    """
    if key == CDI:
        return cdi.files((), Report()).left(directory)
    return dict.fromkeys(device_info.left(directory), frozenset())
