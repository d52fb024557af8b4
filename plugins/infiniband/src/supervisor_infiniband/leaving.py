"""The files that outlive the supervisor, and the held devices whose containers need them when they start again."""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from supervisor import Leftover
from supervisor_infiniband.publishing import cdi, device_info
from supervisor_infiniband.publishing.noted import CDI, DEVICE_INFO, directories, left
from supervisor_infiniband.units import base

Held = Mapping[str, Collection[str]]
"""For each resource the ids that containers have."""


def leftovers(recalled: Mapping[str, object], held: Held) -> Iterator[Leftover]:
    """All our files in all directories that are noted.

    Raises ``OSError`` where one of them cannot be seen: from a pod without that mount it looks as if there were nothing.
    """
    for key in (CDI, DEVICE_INFO):
        for directory in directories(recalled, key):
            if not Path(directory).is_dir():
                raise FileNotFoundError(
                    f"{directory}, where files were written, is not there; mount it, or make it anew if it has gone"
                )
            for path, names in left(key, directory).items():
                needing = _of_spec(names, held) if key == CDI else _of_file(Path(path).name, held)
                yield Leftover(path, tuple(sorted(needing)))


def _of_spec(names: Collection[str], held: Held) -> set[str]:
    """A spec is needed by the devices of its resource that it defines, by itself or in a whole pool."""
    defined = {(kind.rpartition("/")[2], name) for kind, _, name in (each.partition("=") for each in names)}
    return {
        device
        for resource, ids in held.items()
        for device in ids
        if not defined.isdisjoint((cdi.class_of(resource), name) for name in (device, base(device), cdi.ALL))
    }


def _of_file(name: str, held: Held) -> set[str]:
    """A device-info file is needed by the one device that it is of."""
    return {device for resource, ids in held.items() for device in ids if device_info.file_name(resource, device) == name}
