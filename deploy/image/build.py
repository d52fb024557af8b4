"""Fill /opt/device-plugin-supervisor: ``python3 -m deploy.image.build PLUGIN ...``, run by deploy/Containerfile.

The same sources and the same ``SOURCE_DATE_EPOCH`` give the same bytes.
"""

import compileall
import os
import py_compile
import re
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterable, Iterator
from pathlib import Path

from deploy.image import sbom

PREFIX = Path("/opt/device-plugin-supervisor")
WHEELHOUSE = Path("build/wheelhouse").absolute()
LOCKED = ("--require-hashes", "--only-binary", ":all:")
PROGRAMS = re.compile(r"(device-plugin-supervisor|python[\d.]*|pip[\d.]*)$")
"""Those of ``bin`` that somebody needs; libraries bring more."""
TESTS = ("_tests", "tests")
"""Names of folders that nothing imports."""


def run(*command: str | Path) -> None:
    """Run a program. Raises ``CalledProcessError``."""
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


class Pip:
    """pip, working on one environment."""

    def __init__(self, environment: Path, *program: str | Path) -> None:
        self._command = (*program, "--disable-pip-version-check", "--quiet", "--python", environment / "bin/python")

    def __call__(self, *arguments: str | Path) -> None:
        source = ("--no-index", "--find-links", WHEELHOUSE) if WHEELHOUSE.exists() else ()
        run(*self._command, *arguments[:1], "--no-cache-dir", *source, *arguments[1:])

    def check(self) -> None:
        """Fail unless everything installed has what it needs."""
        run(*self._command, "check")


def environment(folder: Path) -> Path:
    """A new and empty one."""
    venv.EnvBuilder(symlinks=True).create(folder)
    return folder


def any_pip() -> tuple[str | Path, ...]:
    """The command of a pip that can install the right one: the wheelhouse's, else the base's."""
    wheels = sorted(WHEELHOUSE.glob("pip-*.whl"))
    return (sys.executable, wheels[0] / "pip") if wheels else (sys.executable, "-m", "pip")


def wheels_of_ours(folders: Iterable[str], out: Path) -> Path:
    """Build the distributions of these folders, with nothing but what the lock names."""
    tools = environment(out / "tools")
    pip = Pip(tools, PREFIX / "bin/python", "-m", "pip")
    pip("install", *LOCKED, "--requirement", "requirements/build.txt")
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", out / "wheels", *folders)
    return out / "wheels"


def install(folders: list[str], out: Path) -> list[Path]:
    """Install it all into the prefix; returns pip's reports of what it was."""
    environment(PREFIX)
    reports = [out / f"{name}.json" for name in ("pip", "locked", "ours")]
    options = [("--no-compile", "--no-warn-script-location", "--report", report) for report in reports]
    Pip(PREFIX, *any_pip())("install", *options[0], *LOCKED, "--requirement", "deploy/image/pip.txt")
    pip = Pip(PREFIX, PREFIX / "bin/python", "-m", "pip")
    pip("install", *options[1], *LOCKED, "--requirement", "requirements/run.txt")
    wheels = wheels_of_ours(folders, out)
    names = [wheel.name.split("-")[0] for wheel in sorted(wheels.glob("*.whl"))]
    pip("install", *options[2], "--no-deps", "--no-index", "--find-links", wheels, *names)
    pip.check()
    return reports


def unneeded() -> Iterator[Path]:
    """What nobody will ever use."""
    yield from (path for path in (PREFIX / "bin").iterdir() if not PROGRAMS.match(path.name))
    yield from (folder for name in TESTS for folder in PREFIX.rglob(name) if folder.is_dir())
    yield from PREFIX.rglob("__pycache__")


def remove(paths: list[Path]) -> None:
    """Remove files and folders; one may lie within another."""
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=not path.exists())
        else:
            path.unlink(missing_ok=True)


def compile_all() -> None:
    """Compile what is there, for good: files that bear another time, as layers make them, stay compiled. Not pip, which rarely runs."""
    done = compileall.compile_dir(
        PREFIX / "lib",
        quiet=1,
        rx=re.compile(r"/site-packages/pip/"),
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )
    if not done:
        raise SystemExit("not everything can be compiled")


def date_all(epoch: int) -> None:
    """Give all files one time, in seconds since 1970."""
    for path in (PREFIX, *PREFIX.rglob("*")):
        os.utime(path, (epoch, epoch), follow_symlinks=False)


def main() -> None:
    """Build it, and see that it runs on this base."""
    if sys.version_info < (3, 11):  # noqa: UP036 - a base may have any
        raise SystemExit(f"The base's python3 is {sys.version.split()[0]}; 3.11 or newer is needed.")
    with tempfile.TemporaryDirectory() as temporary:
        reports = install([".", *(f"./plugins/{name}" for name in sys.argv[1:])], Path(temporary))
        entries = sbom.installed(reports)
        lines = (f"{entry['metadata']['name']}=={entry['metadata']['version']}\n" for entry in entries)
        (PREFIX / "constraints.txt").write_text("".join(lines))
        (PREFIX / "sbom.cdx.json").write_text(sbom.text(reports))
    run(PREFIX / "bin/python", "-c", "import pyudev; pyudev.Context()")  # the base has libudev
    run(PREFIX / "bin/device-plugin-supervisor", "plugins")
    remove([*unneeded()])
    compile_all()
    date_all(int(os.environ.get("SOURCE_DATE_EPOCH") or 0))


if __name__ == "__main__":
    main()
