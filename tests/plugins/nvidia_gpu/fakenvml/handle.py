"""The fake NVML in a test's hands: it decides what the GPUs are, what happens to them, and what goes wrong."""

import itertools
import os
import shutil
import socket
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.plugins.nvidia_gpu.fakenvml.build import SONAME
from tests.plugins.nvidia_gpu.fakenvml.layouts import Layout
from tests.plugins.nvidia_gpu.fakenvml.state import state

FILE = SONAME.removesuffix(".1")
"""What all files of the library begin with."""
ANY_INSTANCE = 0xFFFFFFFF
EVENTS = {
    "xid": 0x8,
    "mig-changed": 0x100,
    "unavailable": 0x4000,
    "recovery-action": 0x8000,
}
"""``nvmlEventType…`` by the names that the plugin has for them."""

UNINITIALIZED, NOT_SUPPORTED, NO_PERMISSION, DRIVER_NOT_LOADED, FUNCTION_NOT_FOUND, GPU_IS_LOST = 1, 3, 4, 9, 13, 15
LIB_RM_VERSION_MISMATCH, UNKNOWN = 18, 999
INIT = "nvmlInitWithFlags"


class FakeNvml:
    """A folder with a driver root of its own, whose library answers for the layout that is shown.

    Sockets lie in it, so its path must be short. A GPU is named by its place in the layout. Until the first layout is shown
    the driver is not loaded.
    """

    def __init__(self, folder: Path, library: Path, directory: str = "usr/lib/x86_64-linux-gnu") -> None:
        """`library` is the compiled one, of which a copy appears in `directory` of the driver root."""
        self.root = folder / "root"
        self._control = folder / "nvml"
        self._library = library
        self._directory = self.root / directory
        self._layout: Layout | None = None
        self._fits = Layout().driver
        self._faults: dict[tuple[str, str], str] = {}
        self._versions = itertools.count()
        self._control.mkdir(parents=True)
        self.appear()

    @property
    def path(self) -> Path:
        """The library, as a process that names it in full has to."""
        return self._directory / SONAME

    @property
    def layout(self) -> Layout:
        """What is shown."""
        assert self._layout, "nothing is shown yet"
        return self._layout

    def env(self) -> dict[str, str]:
        """What a process needs in its environment to find the library by its bare name."""
        return {"LD_LIBRARY_PATH": str(self._directory), **self.control_env()}

    def control_env(self) -> dict[str, str]:
        """What a process needs that finds the library by itself."""
        return {"FAKE_NVML_DIR": str(self._control)}

    # ---- what there is -------------------------------------------------------------------------------------------------

    def show(self, layout: Layout) -> None:
        """From now on the GPUs are these, with a library that fits their driver; what goes wrong stays as it is."""
        self._layout = layout
        self._fit(layout.driver)
        self._write()

    def unload(self) -> None:
        """The driver is no longer loaded."""
        self._layout = None
        (self._control / "state").unlink(missing_ok=True)

    def driver(self, version: str, library: str | None = None) -> None:
        """Another driver is loaded; the library file fits it unless another version is given for that.

        Processes keep the library that they loaded before, and all their calls say that it does not fit the driver.
        """
        self._layout = Layout(self.layout.gpus, version, self.layout.cuda)
        self._fit(library or version)
        self._write()

    def appear(self) -> None:
        """The library file is there, as drivers install it: a link to a file with its version."""
        self._directory.mkdir(parents=True, exist_ok=True)
        file = self._directory / f"{FILE}.{self._fits}"
        new = self._directory / "new"
        shutil.copy(self._library, new)
        new.rename(file)
        new.symlink_to(file.name)
        new.rename(self.path)
        for old in set(self._directory.glob(f"{FILE}.*")) - {file, self.path}:
            old.unlink()

    def remove(self) -> None:
        """The library file is gone; processes that loaded it keep it."""
        for path in self._directory.glob(f"{FILE}.*"):
            path.unlink()

    def _fit(self, version: str) -> None:
        """Have the library file of that version, if there is one at all."""
        there, self._fits = self.path.exists() and self._fits != version, version
        if there:
            self.appear()

    # ---- what goes wrong -----------------------------------------------------------------------------------------------

    def fail(self, call: str, code: int, gpu: int | None = None) -> None:
        """A call (``nvmlDeviceGetUUID``; ``*`` with a GPU: all of that GPU) answers an error code.

        ``FUNCTION_NOT_FOUND`` is what a driver says that is too old for the call.
        """
        self._fault(call, str(code), gpu)

    def lose(self, gpu: int) -> None:
        """The GPU fell off the bus."""
        self.fail("*", GPU_IS_LOST, gpu)

    def init_error(self, code: int) -> None:
        """The library cannot be initialised."""
        self.fail(INIT, code)

    def hang(self, call: str, gpu: int | None = None) -> None:
        """A call does not return, until it is let go."""
        self._fault(call, "hang", gpu)

    def crash(self, call: str, gpu: int | None = None, *, once: bool = False) -> None:
        """A call kills the process that makes it; with `once` only the first such process."""
        if once:
            (self._control / f"once.{call}").touch()
        self._fault(call, "crash-once" if once else "crash", gpu)

    def recover(self, gpu: int) -> None:
        """Nothing is wrong with the GPU any more."""
        uuid = self.layout.gpus[gpu].uuid
        self._faults = {key: what for key, what in self._faults.items() if key[0] != uuid}
        self._write()

    def let_go(self) -> None:
        """Nothing is wrong any more; calls that hang return."""
        self._faults = {}
        self._write()

    # ---- what happens ----------------------------------------------------------------------------------------------------

    def xid(self, gpu: int | None, xid: int, gi: int = ANY_INSTANCE, ci: int = ANY_INSTANCE) -> None:
        """An XID arrives at all event sets that want it; without a GPU at all of them."""
        self.event("xid", gpu, xid, gi, ci)

    def event(self, kind: str, gpu: int | None = None, data: int = 0, gi: int = ANY_INSTANCE, ci: int = ANY_INSTANCE) -> None:
        """An event of one of the `EVENTS` arrives."""
        uuid = "-" if gpu is None else self.layout.gpus[gpu].uuid
        self._send(f"{uuid} {EVENTS[kind]} {data} {gi} {ci}")

    def fail_wait(self, code: int) -> None:
        """One wait of each event set fails, the one under way if there is one."""
        self._send(f"error {code}")

    # ---- what was done ---------------------------------------------------------------------------------------------------

    def calls(self, pid: int | None = None) -> Counter[str]:
        """How often each function was called, by any process or by one."""
        return Counter(call for caller, call in self._calls() if pid in {None, caller})

    def pids(self) -> list[int]:
        """The processes that ever made a call, in the order of their first ones."""
        return list(dict.fromkeys(caller for caller, _ in self._calls()))

    def event_sets(self) -> list[Path]:
        """The sockets of the event sets that exist; those of processes that died are cleared away."""
        alive = []
        for path in sorted(self._control.glob("ev.*")):
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
                try:
                    probe.connect(os.fspath(path))
                except (ConnectionRefusedError, FileNotFoundError):
                    path.unlink(missing_ok=True)
                else:
                    alive.append(path)
        return alive

    def wait_for(self, condition: Callable[["FakeNvml"], bool], seconds: float = 20) -> None:
        """Wait until the condition holds. Raises TimeoutError."""
        deadline = time.monotonic() + seconds
        while not condition(self):
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited {seconds} s; calls so far: {dict(self.calls())}")
            time.sleep(0.005)

    def _calls(self) -> list[tuple[int, str]]:
        log = self._control / "calls"
        lines = log.read_text().splitlines() if log.exists() else []
        return [(int(caller), call) for caller, call in map(str.split, lines)]

    def _fault(self, call: str, what: str, gpu: int | None) -> None:
        self._faults["" if gpu is None else self.layout.gpus[gpu].uuid, call] = what
        self._write()

    def _write(self) -> None:
        if not self._layout:
            return  # no driver, nothing that could go wrong with it
        new = self._control / f"state.{next(self._versions)}"
        new.write_text(state(self._layout, self._fits, self._faults))
        new.rename(self._control / "state")

    def _send(self, text: str) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            # An event set has room for few events: this is how long its process may take to make some.
            sender.settimeout(20)
            for path in self.event_sets():
                try:
                    sender.sendto(text.encode(), os.fspath(path))
                except (ConnectionRefusedError, FileNotFoundError):
                    continue  # freed, or its process ended, since it was listed
