"""What this process goes by, from its own environment: whoever asks it cannot change that."""

import os
from collections.abc import Mapping

from msgspec import Struct

from supervisor_fpga.operating.messages import BITSTREAMS


class Settings(Struct, frozen=True):
    bitstreams: str = BITSTREAMS
    """``FPGA_BITSTREAMS``: the directory of bitstreams. Drivers that read files by themselves see it under this name, too."""
    locks: str = "/run/device-plugin-supervisor/fpga"
    """``FPGA_LOCKS``: a directory for a lock of each region; all who operate one region have to share it."""
    command: str = ""
    """``FPGA_COMMAND``: the program for the way ``command``."""
    simulated: str = ""
    """``FPGA_SIMULATED``: a directory with machines that are not there, whose files may be written as a driver would."""


def settings(environ: Mapping[str, str] = os.environ) -> Settings:
    """Where a variable is not set, the default."""
    given = {name: environ.get(f"FPGA_{name.upper()}", "") for name in Settings.__struct_fields__}
    return Settings(**{name: value for name, value in given.items() if value})
