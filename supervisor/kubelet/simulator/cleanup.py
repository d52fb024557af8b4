"""What a starting kubelet does to the device-plugins directory before it listens."""

from __future__ import annotations

import asyncio
import os
import random
import stat
from pathlib import Path

from supervisor.kubelet.simulator.checkpoint import CHECKPOINT_NAME
from supervisor.kubelet.simulator.eras import Cleanup, Era


async def clean(directory: Path, era: Era, order: random.Random, pause: float) -> list[OSError]:
    """Delete what this era deletes, one snapshot in arbitrary order, ``pause`` s after each; return the failures.

    An entry that appears after the snapshot survives, one that is recreated under a listed name may not.
    """
    try:
        entries = os.listdir(directory)
    except OSError as error:
        return [error]
    order.shuffle(entries)
    failures: list[OSError] = []
    for name in entries:
        try:
            if _doomed(directory / name, era.cleanup):
                os.unlink(directory / name)
                await asyncio.sleep(pause)
        except FileNotFoundError:
            continue
        except OSError as error:
            failures.append(error)
    return failures


def _doomed(entry: Path, cleanup: Cleanup) -> bool:
    match cleanup:
        case Cleanup.SOCKETS:
            return stat.S_ISSOCK(os.stat(entry).st_mode)
        case Cleanup.FILES:
            return entry.name != CHECKPOINT_NAME and not stat.S_ISDIR(os.lstat(entry).st_mode)
        case Cleanup.FILES_BEHIND_LINKS:
            return entry.name != CHECKPOINT_NAME and not stat.S_ISDIR(os.stat(entry).st_mode)
