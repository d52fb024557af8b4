"""The CDI specs that outlive the supervisor, and the held GPUs whose containers need them when they start again."""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from supervisor import Leftover
from supervisor_nvidia_gpu.cdi.keeping import FILES
from supervisor_nvidia_gpu.cdi.names import UUIDS
from supervisor_nvidia_gpu.units import physical


def leftovers(directory: str, held: Mapping[str, Collection[str]]) -> Iterator[Leftover]:
    """Our specs in this directory.

    A spec that defines GPUs by UUID alone is needed by those GPUs; one by index, or of something else than GPUs, by any: which container
    has which of these is not in the ids. Raises ``OSError`` where the directory cannot be seen: from a pod without that mount it looks
    as if there were nothing.
    """
    if not Path(directory).is_dir():
        raise FileNotFoundError(
            f"{directory}, where CDI specs were written, is not there; mount it, or make it anew if it has gone"
        )
    gpus = {device: physical(device).replace("/", "-") for ids in held.values() for device in ids if device.startswith(UUIDS)}
    for path, defined in FILES.left(directory).items():
        names = {name.partition("=")[2] for name in defined}
        by_uuid = all(name.startswith(UUIDS) for name in names)
        needed = sorted(device for device, name in gpus.items() if names and (name in names or not by_uuid))
        yield Leftover(path, tuple(needed))
