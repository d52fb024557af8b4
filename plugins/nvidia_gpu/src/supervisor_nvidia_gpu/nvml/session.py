"""NVML in this process, from finding its library to the end of the process."""

import contextlib
import ctypes
import threading
import time

from supervisor_nvidia_gpu.nvml import library
from supervisor_nvidia_gpu.nvml.binding import pynvml
from supervisor_nvidia_gpu.nvml.errors import Unusable, meaning
from supervisor_nvidia_gpu.nvml.messages import Options
from supervisor_nvidia_gpu.nvml.reader import Reader
from supervisor_nvidia_gpu.procfs import driver_version
from supervisor_nvidia_gpu.report import Report

_INIT_WITHOUT_GPUS = 1
"""``NVML_INIT_FLAG_NO_GPUS``: a driver without GPUs is no error."""


class Session:
    """Opened once, in a thread of its own: without persistence mode the driver takes seconds to wake up each GPU.

    A session that could not be opened stays so; another process can try again.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._reader = Reader()
        self._done = threading.Event()
        self._since = time.monotonic()
        self._why = "NVML could not be started; the reason is in the log"
        self.missed = False
        """Whether somebody was told that it is not open yet, and should be told when it is."""
        self.gone = False
        """Whether it could not be opened because there is no driver, or no library of one."""
        threading.Thread(target=self._open, name="open NVML", daemon=True).start()

    @property
    def starting_for(self) -> float:
        """Seconds since it was begun."""
        return time.monotonic() - self._since

    def wait(self, seconds: float) -> bool:
        """Wait until it is open, or cannot be opened; whether that is decided."""
        return self._done.wait(seconds)

    @property
    def is_open(self) -> bool:
        return not self._why

    def read(self, *, usage: bool) -> Report:
        """One look. Raises ``Unusable``."""
        if self._why:
            raise Unusable(self._why)
        return self._reader.read(usage=usage)

    def _open(self) -> None:
        try:
            self._begin()
            self._reader.read(usage=False)  # wakes up the GPUs
            self._why = ""
        except library.NoLibrary as error:
            self.gone, self._why = True, str(error)
        except Unusable as error:
            self._why = str(error)
        finally:
            _release_memory()
            self._done.set()

    def _begin(self) -> None:
        driver = driver_version(self._options.proc)
        found = library.find(self._options.mount, self._options.root, driver)
        library.load(found)
        try:
            pynvml.nvmlInitWithFlags(_INIT_WITHOUT_GPUS)
        except pynvml.NVMLError as error:
            self.gone = error.value == pynvml.NVML_ERROR_DRIVER_NOT_LOADED and not driver
            raise Unusable(_explain(error.value, found.path, driver)) from None


def _release_memory() -> None:
    """Give back what importing and opening needed for a moment, where the C library can."""
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _explain(code: int, path: str, driver: str) -> str:
    """Why NVML cannot be started, with what is known of the driver."""
    if code == pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH:
        return f"{meaning(code)}: {path}, driver {driver or 'unknown'}"
    if code == pynvml.NVML_ERROR_DRIVER_NOT_LOADED and driver:
        return f"the NVIDIA driver {driver} is loaded, but /dev/nvidiactl cannot be opened here"
    return meaning(code)
