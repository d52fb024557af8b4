"""The CDI specs that outlive the supervisor, and the held devices whose containers need them when they start again."""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from supervisor import Leftover
from supervisor_fpga import cdi
from supervisor_fpga.publishing import directories

Held = Mapping[str, Collection[str]]
"""For each resource the ids that containers have."""


def leftovers(recalled: Mapping[str, object], held: Held) -> Iterator[Leftover]:
    """All our files in all directories that are noted.

    Raises ``OSError`` where one of them cannot be seen: from a pod without that mount it looks as if there were nothing.
    """
    for directory in directories(recalled):
        if not Path(directory).is_dir():
            raise FileNotFoundError(
                f"{directory}, where CDI specs were written, is not there; mount it, or make it anew if it has gone"
            )
        for path, names in cdi.files(()).left(directory).items():
            yield Leftover(path, tuple(sorted(_needing(names, held))))


def _needing(names: Collection[str], held: Held) -> set[str]:
    """Devices of its resource that a spec defines."""
    defined = {(kind.rpartition("/")[2], name) for kind, _, name in (each.partition("=") for each in names)}
    return {
        device for resource, ids in held.items() for device in ids if (cdi.class_of(resource), cdi.name_of(device)) in defined
    }
