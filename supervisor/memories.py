"""What packages remember over restarts of this process: one small file for each, for this boot of the node only.

The files lie beside the owner's lock, so that whoever owns the node next finds them. Only the owner writes; a new file takes the
place of the old one whole. Nothing is synced to the disk: after a crash of the node it has another boot id, and nothing counts.
"""

import os
import stat
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

import msgspec
import trio

from supervisor.events import MemoryUnwritten, MemoryWritten, Observer
from supervisor.memory import EMPTY, Gate, encoded
from supervisor.ownership import HIDDEN_NAME
from supervisor.wakeup import WakeUp

FOLDER = "memory"
MOST_BYTES = 1 << 20
"""Of one file."""
PAUSE = 0.1
"""Seconds between two rounds of writing, however often something is kept."""
RETRY = (1.0, 60.0)
"""Seconds before another try after one that failed, doubled each time up to the second figure."""
LAST_CHANCE = 0.2
"""Seconds for what is yet unwritten when the process is told to end."""

BOOT_ID = "/sys/kernel/random/boot_id"


class _File(msgspec.Struct, frozen=True, rename="camel"):
    boot_id: str
    memory: dict[str, object]


@dataclass
class _Page:
    """What is known of one package's memory. Changes under the lock of ``Memories``."""

    newest: bytes | None = None
    """What this process accepted last."""
    inherited: bool = False
    """``newest`` is from before this process lost the node and got it back: what another owner has written since is newer."""
    unwritten: bool = False
    problem: str = ""
    """As last told."""


class Memories:
    """All packages' memories. Make it inside the trio loop; one task runs ``run``.

    ``owns`` says whether this process owns the directory at its path now; it is called in worker threads, too.
    """

    def __init__(self, directory: Path, proc: str, owns: Callable[[], bool], observe: Observer) -> None:
        self._folder = directory / HIDDEN_NAME / FOLDER
        self._owns = owns
        self._observe = observe
        self._boot_id, self._obstacle = boot_id(proc)
        self._asked = False
        self._pages: dict[str, _Page] = {}
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._wake = WakeUp()
        self._failures = 0

    def gate(self, package: str) -> Gate:
        """A way to the memory of this package for one generation of its plugins; shut at first."""
        return Gate(_Keeper(self, package))

    def owned(self) -> None:
        """This process owns the node now, perhaps again: the directory may be another one."""
        with self._lock:
            for page in self._pages.values():
                page.inherited = page.unwritten = page.newest is not None
        self._failures = 0
        self._wake.set()

    # --- for any thread -----------------------------------------------------------------------------------------------

    def recall(self, package: str) -> bytes:
        with self._lock:
            page = self._pages.get(package)
            newest, inherited = (page.newest, page.inherited) if page is not None else (None, False)
        if newest is not None and not inherited and self._owns():
            return newest
        self._ask()
        return self._read(package) or newest or EMPTY

    def keep(self, package: str, memory: bytes) -> None:
        self._ask()
        if self._boot_id is None:
            return
        with self._lock:
            page = self._pages.setdefault(package, _Page())
            if page.newest == memory and not page.inherited:
                return
            page.newest, page.inherited, page.unwritten = memory, False, True
        self._wake.set_from_thread()

    def _ask(self) -> None:
        if self._boot_id is None and not self._asked:
            self._asked = True
            self._wake.set_from_thread()

    # --- writing ------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Write what is kept, soon, for as long as this process owns the node; what is left when it is cancelled, at once."""
        told = False
        try:
            while True:
                await self._wake.wait()
                if self._asked and not told:
                    told = True
                    self._observe(MemoryUnwritten("", self._obstacle))
                while not await self._write_all():
                    self._failures += 1
                    with trio.move_on_after(min(RETRY[1], RETRY[0] * 2.0 ** min(self._failures - 1, 10))):
                        await self._wake.wait()
                        await trio.sleep(RETRY[0])  # a plugin that keeps a lot must not make it many tries
                self._failures = 0
                await trio.sleep(PAUSE)
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + LAST_CHANCE):
                await self._write_all()

    async def _write_all(self) -> bool:
        """Whether nothing is left that could be written."""
        with self._lock:
            unwritten = [(package, page) for package, page in self._pages.items() if page.unwritten]
        if not unwritten:
            return True

        def work() -> list[tuple[str, _Page, str]]:
            with self._writing:  # one that was abandoned may be under way
                return [(package, page, self._write_one(package, page)) for package, page in unwritten if self._owns()]

        for package, page, problem in await trio.to_thread.run_sync(work, abandon_on_cancel=True):
            if problem != page.problem:
                self._observe(MemoryUnwritten(package, problem) if problem else MemoryWritten(package))
            page.problem = problem
        with self._lock:
            return not any(page.problem for page in self._pages.values())

    def _write_one(self, package: str, page: _Page) -> str:
        """Why it could not be written, or nothing."""
        with self._lock:
            taken, inherited = page.newest, page.inherited
        assert taken is not None
        newest = taken
        try:
            found = self._read(package)
            if found is not None and inherited:
                newest = found
            elif found != newest:
                self._write(package, newest)
        except OSError as error:
            return f"{error.filename or self._path(package)}: {error.strerror}"
        except ValueError as error:
            return str(error)
        with self._lock:
            if (page.newest, page.inherited) == (taken, inherited):  # else something newer came meanwhile
                page.newest, page.inherited, page.unwritten = newest, False, False
        return ""

    # --- files --------------------------------------------------------------------------------------------------------

    def _path(self, package: str) -> Path:
        return self._folder / f"{quote(package, safe='')}.json"

    def _read(self, package: str) -> bytes | None:
        """What the file holds, if it is of this boot; ``None`` for one that cannot be read, is broken or too long."""
        if self._boot_id is None:
            return None
        try:
            read = msgspec.json.decode(_read_regular(self._path(package), MOST_BYTES), type=_File)
            return encoded(read.memory) if read.boot_id == self._boot_id else None
        except (OSError, msgspec.MsgspecError, ValueError, RecursionError):
            return None

    def _write(self, package: str, memory: bytes) -> None:
        """Raises ``OSError``, and ``ValueError`` where it is too long."""
        text = msgspec.json.encode({"bootId": self._boot_id, "memory": msgspec.Raw(memory)})
        if len(text) > MOST_BYTES:
            raise ValueError(f"it has {len(text)} bytes; the limit is {MOST_BYTES}")
        path = self._path(package)
        self._folder.mkdir(mode=0o700, exist_ok=True)
        new = path.with_suffix(".new")
        new.unlink(missing_ok=True)
        try:
            with new.open("xb") as file:
                file.write(text)
            new.rename(path)
        except OSError:
            new.unlink(missing_ok=True)
            raise


class Recorded:
    """A keeper with what was once kept, for who only looks."""

    def __init__(self, memory: bytes) -> None:
        self._memory = memory

    def recall(self) -> bytes:
        return self._memory

    def keep(self, memory: bytes) -> None:
        pass


def recorded(directory: Path) -> Mapping[str, Recorded | str]:
    """What each package has kept in this device-plugins directory, in whatever boot of the node; or why it cannot be read."""
    found: dict[str, Recorded | str] = {}
    for path in sorted((directory / HIDDEN_NAME / FOLDER).glob("*.json")):
        try:
            read = msgspec.json.decode(_read_regular(path, MOST_BYTES), type=_File)
            found[unquote(path.stem)] = Recorded(encoded(read.memory))
        except (OSError, ValueError, RecursionError) as error:
            found[unquote(path.stem)] = f"{path} cannot be read: {error}"
    return found


class _Keeper:
    """The memory of one package."""

    def __init__(self, memories: Memories, package: str) -> None:
        self._memories = memories
        self._package = package

    def recall(self) -> bytes:
        return self._memories.recall(self._package)

    def keep(self, memory: bytes) -> None:
        self._memories.keep(self._package, memory)


def _read_regular(path: Path, most: int) -> bytes:
    """A file, but no link and nothing that could block. Raises ``OSError``, and ``ValueError`` for one that is longer."""
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:  # noqa: PTH123  # a descriptor
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError("it is no regular file")
        text = file.read(most + 1)
    if len(text) > most:
        raise ValueError(f"it is longer than {most} bytes")
    return text


def boot_id(proc: str) -> tuple[str | None, str]:
    """The id of this boot, or why it is not known."""
    path = Path(proc.rstrip("/") + BOOT_ID)
    cure = "nothing is recalled or kept over a restart; mount the host's /proc and set host.proc"
    try:
        text = _read_regular(path, 128).decode("ascii").strip()
    except OSError as error:
        return None, f"{path} cannot be read ({error.strerror}): {cure}"
    except ValueError:
        text = ""
    return (text, "") if text.isprintable() and text else (None, f"{path} holds no boot id: {cure}")
