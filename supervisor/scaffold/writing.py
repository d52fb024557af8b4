"""Files come to the disk only where nothing is yet."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from supervisor.errors import SupervisorError


class WouldOverwrite(SupervisorError):
    """Some of the files are there already, and are somebody's work."""

    def __init__(self, directory: Path, taken: Sequence[str]) -> None:
        lines = "".join(f"\n  {path}" for path in taken)
        super().__init__(
            f"{directory} holds files that would be overwritten; choose another --directory, or move them away:{lines}"
        )


def write(directory: Path, files: Mapping[str, str]) -> None:
    """Make the directory, if need be, and all files in it.

    Other files may lie there, such as those of a fresh repository. Raises ``WouldOverwrite`` before anything is written where
    one of ours does, and ``SupervisorError`` where the disk refuses.
    """
    if taken := [path for path in files if os.path.lexists(directory / path)]:
        raise WouldOverwrite(directory, taken)
    try:
        for path, text in files.items():
            (directory / path).parent.mkdir(parents=True, exist_ok=True)
            with (directory / path).open("x", encoding="utf-8") as file:
                file.write(text)
    except OSError as error:
        raise SupervisorError(f"{error.filename or directory} cannot be written: {error.strerror}") from error
