"""Compile the fake library."""

import subprocess
from pathlib import Path

from tests.machine import c_compiler

SOURCES = Path(__file__).parent
SONAME = "libnvidia-ml.so.1"


def build(folder: Path) -> Path:
    """The library, compiled into `folder`. Raises CalledProcessError with what the compiler says."""
    library = folder / "libnvidia-ml.so.fake"
    options = (
        "-shared",
        "-fPIC",
        "-O1",
        "-std=gnu11",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-fvisibility=hidden",
        f"-Wl,-soname,{SONAME}",
    )
    subprocess.run([*c_compiler(), *options, "-o", library, *sorted(SOURCES.glob("*.c"))], check=True)
    return library
