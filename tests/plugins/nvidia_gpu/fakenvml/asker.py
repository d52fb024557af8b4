"""The real nvidia-ml-py in a process of its own, which calls what a test asks it to.

Run as a program, it takes one call a line on its standard input: a list of the function's name and its arguments, as JSON.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self


class Refused(Exception):
    """NVML answered with an error."""

    def __init__(self, code: int) -> None:
        """`code` is ``NVML_ERROR_…``."""
        super().__init__(f"NVML error {code}")
        self.code = code


class Asker:
    """A process that has loaded nvidia-ml-py: ``ask("nvmlDeviceGetCount")`` calls it there and returns what it returns.

    Handles come and go as opaque values, structures as mappings of their fields. Errors raise `Refused`; EOFError is raised
    if the process dies.
    """

    def __init__(self, env: Mapping[str, str], preload: Path | None = None) -> None:
        """`preload` is a library to load by its full path before nvidia-ml-py looks for one."""
        preloaded = {"PRELOAD": str(preload)} if preload else {}
        root = str(Path(__file__).parents[4])
        self.process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            env={**os.environ, "PYTHONPATH": root, **env, **preloaded},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.process.kill()
        self.process.communicate()

    def __call__(self, call: str, *arguments: Any) -> Any:
        """Call a function of nvidia-ml-py and wait for its answer."""
        self.start(call, *arguments)
        return self.finish()

    def start(self, call: str, *arguments: Any) -> None:
        """Let a call begin."""
        assert self.process.stdin
        self.process.stdin.write(json.dumps([call, *arguments]).encode() + b"\n")
        self.process.stdin.flush()

    def finish(self) -> Any:
        """The answer of the call that was begun."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise EOFError("the process that called NVML is gone")
        answer = json.loads(line)
        if "error" in answer:
            raise Refused(answer["error"])
        return answer["answer"]

    def try_for(self, call: str, *arguments: Any, but: int = 3) -> Any:
        """The answer, or ``None`` where it is this error; unless told otherwise, that the call is not supported."""
        try:
            return self(call, *arguments)
        except Refused as refusal:
            if refusal.code != but:
                raise
            return None

    def died_of(self) -> signal.Signals:
        """The signal that ended the process, which is waited for."""
        return signal.Signals(-self.process.wait(20))


_kept: list[Any] = []


def _plain(value: Any) -> Any:
    if isinstance(value, ctypes._Pointer):
        _kept.append(value)
        return {"kept": len(_kept) - 1} if ctypes.cast(value, ctypes.c_void_p).value else None
    if isinstance(value, ctypes.Structure | ctypes.Union):
        return {name: _plain(getattr(value, name)) for name, *_ in value._fields_}
    if isinstance(value, ctypes.Array):
        return [_plain(item) for item in value]
    if isinstance(value, ctypes._SimpleCData):
        return value.value
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.decode() if isinstance(value, bytes) else value


def _meant(argument: Any) -> Any:
    return _kept[argument["kept"]] if isinstance(argument, dict) else argument


def serve() -> None:
    """Answer the calls on the standard input until it ends."""
    if path := os.environ.get("PRELOAD"):
        ctypes.CDLL(path)
    import pynvml

    for line in sys.stdin:
        call, *arguments = json.loads(line)
        try:
            answer = {"answer": _plain(getattr(pynvml, call)(*map(_meant, arguments)))}
        except pynvml.NVMLError as error:
            answer = {"error": error.value}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve()
