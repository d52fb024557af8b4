"""``status`` on a terminal and in a pipe: colours, widths, and pictures that are painted again."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from msgspec.structs import replace

from tests.cli.canned import READY, WIDGET, Canned, Handler, canned, edited

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07")
_COLOUR = re.compile(r"\x1b\[(?:[0-9]+;)*(?:3[0-7]|9[0-7])m")
_ALTERNATE, _BACK = "\x1b[?1049h", "\x1b[?1049l"


class Shown:
    """A process, and everything that it writes to the terminal, or the pipe, that it was given."""

    def __init__(self, arguments: list[str], reader: int, writer: int, environment: dict[str, str]) -> None:
        command = [sys.executable, "-m", "supervisor", "status", *arguments]
        inherited = {
            name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES"}
        }
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=writer, stderr=subprocess.DEVNULL, env=inherited | environment
        )
        os.close(writer)
        self._reader = reader
        self.text = ""

    def until(self, wanted: str, timeout: float = 20.0) -> None:
        """Read on until this is there, after what an earlier call has found."""
        begin, deadline = len(self.text), time.monotonic() + timeout
        while wanted not in self.text[begin:]:
            assert self._read(deadline), f"{wanted!r} did not come, but {self.text[begin:]!r}"

    def end(self, timeout: float = 20.0) -> int:
        """Read to the end; the exit code."""
        deadline = time.monotonic() + timeout
        while self._read(deadline):
            pass
        return self.process.wait(timeout)

    def interrupt(self) -> int:
        """As Ctrl-C does; the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.end()

    def _read(self, deadline: float) -> bool:
        ready, _, _ = select.select([self._reader], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, f"it went on for too long, so far: {self.text!r}"
        try:
            data = os.read(self._reader, 65536)
        except OSError:  # how a terminal ends
            return False
        self.text += data.decode()
        return bool(data)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._reader)


Open = Callable[..., Shown]


@pytest.fixture
def server() -> Iterator[Canned]:
    """One that is ready, and another when a test says so."""
    with canned(edited()) as found:
        yield found


@pytest.fixture
def terminal(server: Canned) -> Iterator[Open]:
    """Run the command on a terminal of so many columns and 50 rows."""
    with ExitStack() as opened:

        def run(*arguments: str, columns: int = 100, **environment: str) -> Shown:
            reader, writer = pty.openpty()
            termios.tcsetwinsize(writer, (50, columns))
            shown = Shown(["--address", server.url, *arguments], reader, writer, {"TERM": "xterm-256color"} | environment)
            opened.callback(shown.close)
            return shown

        yield run


@pytest.fixture
def pipe(server: Canned) -> Iterator[Open]:
    """Run the command with its output going to another program."""
    with ExitStack() as opened:

        def run(*arguments: str, **environment: str) -> Shown:
            shown = Shown(["--address", server.url, *arguments], *os.pipe(), environment)
            opened.callback(shown.close)
            return shown

        yield run


def _answers(document: bytes) -> Callable[[Handler], None]:
    return lambda handler: handler.send(document)


def test_a_terminal_has_colours_and_its_width_is_kept(server: Canned, terminal: Open) -> None:
    """Long sentences are wrapped under their beginning; nothing is cut."""
    reason = " ".join(["the kubelet has gone away"] * 8)
    server.answer = _answers(edited(replace(READY, reasons=(reason,), resources=(replace(WIDGET, reason=reason),))))
    shown = terminal(columns=80)
    assert shown.end() == 0
    assert "\x1b[32mHealthy" in shown.text
    assert "\x1b[31mUnhealthy" in shown.text
    lines = _CONTROL.sub("", shown.text).splitlines()
    assert max(map(len, lines)) <= 80
    assert "".join(lines).count("gone") == 16 + 1  # the device that vanished has it in its id


def test_a_narrow_terminal_gets_every_word(server: Canned, terminal: Open) -> None:
    """Long names are folded, and below 80 columns the terminal breaks the lines: nothing is left out."""
    name = f"acme.example/{'widget-' * 7}0"
    server.answer = _answers(edited(replace(READY, resources=(replace(WIDGET, name=name),))))
    shown = terminal(columns=40)
    assert shown.end() == 0
    lines = _CONTROL.sub("", shown.text).splitlines()
    assert max(map(len, lines)) <= 80
    [header] = [number for number, line in enumerate(lines) if line.startswith("RESOURCE")]
    assert lines[header].split()[-1] == "SINCE"
    width = lines[header].index("PLUGIN")
    assert "".join(line[:width].strip() for line in lines[header + 1 :]).startswith(name)


def test_no_color_is_respected(terminal: Open) -> None:
    """Words say what colours would."""
    shown = terminal(NO_COLOR="1")
    assert shown.end() == 0
    assert "Unhealthy" in shown.text
    assert not _COLOUR.search(shown.text)


def test_a_pipe_gets_plain_lines_that_are_never_broken(server: Canned, pipe: Open) -> None:
    """One device a line, for grep; also where a width is in the environment."""
    reason = "x" * 1000
    server.answer = _answers(edited(reasons=[reason]))
    shown = pipe(COLUMNS="40")
    assert shown.end() == 0
    assert "\x1b" not in shown.text
    assert f"  - {reason}\n" in shown.text


def test_an_encoding_without_the_letters_is_no_error(server: Canned, pipe: Open) -> None:
    """They are replaced."""
    server.answer = _answers(edited(reasons=["größer"]))
    shown = pipe(PYTHONIOENCODING="ascii")
    assert shown.end() == 0
    assert "gr??er" in shown.text


def test_watching_repaints_a_terminal(server: Canned, terminal: Open) -> None:
    """On the alternate screen, which is left as it was; the exit code is that of the last picture."""
    shown = terminal("--watch", "0.1")
    shown.until("ready, active")
    assert shown.text.startswith(_ALTERNATE)
    server.answer = _answers(edited(ready=False))
    shown.until("not ready, active")
    assert shown.interrupt() == 1
    assert shown.text.count(_ALTERNATE) == shown.text.count(_BACK) == 1


def test_watching_survives_a_supervisor_that_does_not_answer(server: Canned, pipe: Open) -> None:
    """It is told, and asked again."""
    shown = pipe("--watch", "0.1")
    shown.until("node-1: ready, active")
    server.answer = lambda handler: handler.send(b"", 503)
    shown.until("503 Service Unavailable")
    server.answer = _answers(edited(node="node-2"))
    shown.until("node-2: ready, active\n")
    assert shown.interrupt() == 0
    assert "Traceback" not in shown.text


def test_watching_with_a_bad_file_ends_at_once(pipe: Open) -> None:
    """What no patience cures is 2."""
    shown = pipe("--watch", "--token-file", "/nowhere")
    assert shown.end() == 2
    assert not shown.text
