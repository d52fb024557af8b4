"""The log: one line on standard error for each change, repetitions folded, never in anybody's way.

A line that cannot be written at once is dropped and counted: whoever reads the log slowly must not stop the devices. What comes
again and again about one subject is held back, and the last of it is shown when its time is up, with the number of the others.
"""

import enum
import logging
import math
import os
import select
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec
import trio

from supervisor.events import Event
from supervisor.observe.sentences import Grade, sentence
from supervisor.status import printable

MOST_SUBJECTS = 256
BURST = 10
"""Different lines about one subject that are shown within its window, and as many that warn: what goes well must not hide these."""
FIRST_WINDOW = 60.0
LONGEST_WINDOW = 600.0
"""Seconds. A window that had to hold lines back is followed by one twice as long; after a quiet one all is forgotten."""

LONGEST_LINE = 4096
"""Bytes; ``PIPE_BUF``: a pipe that polls as writable takes this much at once, whole."""
LONGEST_TEXT = 900
"""Characters; at most four bytes each."""

Fields = dict[str, Any]


class Style(enum.StrEnum):
    TEXT = "text"
    JSON = "json"


def style_for(descriptor: int) -> Style:
    """Text for a person at a terminal, JSON for everything that collects logs."""
    return Style.TEXT if os.isatty(descriptor) else Style.JSON


class _Line(msgspec.Struct, frozen=True):
    grade: Grade
    text: str
    fields: Fields
    subject: tuple[str, ...]
    """What it is about: lines about one thing share a window."""
    key: tuple[object, ...]
    """What makes it the same line again: everything but durations and counts."""


class _Window:
    """What happened about one subject since ``opened``."""

    def __init__(self, opened: float) -> None:
        self.opened = opened
        self.length = FIRST_WINDOW
        self.shown = {True: 0, False: 0}
        """Lines that warn, and others."""
        self.key: tuple[object, ...] = ()
        self.held = 0
        self.last: _Line | None = None


class Log:
    """An observer that writes. May be called from any thread; never blocks on its reader and never raises."""

    def __init__(
        self,
        descriptor: int = 2,
        style: Style | None = None,
        least: Grade = Grade.INFO,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._descriptor = descriptor
        self._style = style or style_for(descriptor)
        self._least = least
        self._clock = clock
        # Reentrant, with a flag: the collector of garbage may run a destructor that logs while this very thread is writing.
        self._lock = threading.RLock()
        self._busy = False
        self._windows: OrderedDict[tuple[str, ...], _Window] = OrderedDict()
        self._due = math.inf
        """When the first of the windows is over."""
        self._dropped = 0

    def __call__(self, event: Event) -> None:
        grade, text = sentence(event)
        if grade >= self._least:
            self._take(_line_of(event, grade, text))

    def write(self, grade: Grade, text: str, **fields: str) -> None:
        """A line that is no event: what a library warned of."""
        if grade >= self._least:
            self._take(_Line(grade, text, fields, tuple(fields.values()), (text,)))

    def set_level(self, level: str) -> None:
        """From now on, lines of this level (``debug``, ``info``, ``warning``, ``error``) and graver ones."""
        self._least = Grade[level.upper()]

    def flush(self) -> None:
        """Show what was held back in windows that are over."""
        with self._alone():
            self._flush(self._clock())

    def close(self) -> None:
        """Show all that is held back: the last chance before the process ends."""
        with self._alone():
            for window in self._windows.values():
                self._show_held(window)
            self._windows.clear()

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        """Keep other threads out; false when this thread is already inside."""
        with self._lock:
            alone, self._busy = not self._busy, True
            try:
                yield alone
            finally:
                self._busy = not alone

    def _take(self, line: _Line) -> None:
        with self._alone() as alone:
            if not alone:
                self._dropped += 1
                return
            now = self._clock()
            self._flush(now)
            window = self._windows.get(line.subject)
            if window is None:
                window = self._windows[line.subject] = _Window(now)
                self._due = min(self._due, now + window.length)
                if len(self._windows) > MOST_SUBJECTS:
                    self._show_held(self._windows.popitem(last=False)[1])
            warns = line.grade >= Grade.WARNING
            if line.key == window.key or window.shown[warns] >= BURST:
                window.held += 1
                window.last = line
                return
            self._show_held(window)
            window.key = line.key
            window.shown[warns] += 1
            self._emit(line)

    def _flush(self, now: float) -> None:
        if now < self._due:
            return
        over = [subject for subject, window in self._windows.items() if now - window.opened >= window.length]
        for subject in over:
            window = self._windows[subject]
            if window.held == 0:
                del self._windows[subject]
                continue
            self._show_held(window)
            window.opened, window.shown, window.length = now, {True: 0, False: 0}, min(2 * window.length, LONGEST_WINDOW)
        self._due = min((window.opened + window.length for window in self._windows.values()), default=math.inf)

    def _show_held(self, window: _Window) -> None:
        line, held = window.last, window.held
        if line is None:
            return
        window.last, window.held, window.key = None, 0, line.key
        seconds = round(self._clock() - window.opened)
        text = line.text if held == 1 else f"{line.text} (the last of {held} such lines in {seconds} s)"
        self._emit(_Line(line.grade, text, line.fields | {"repeated": held}, line.subject, line.key))

    def _emit(self, line: _Line) -> None:
        if self._dropped:
            text = f"{self._dropped} lines were dropped: nobody read them fast enough"
            dropped = _Line(Grade.WARNING, text, {"dropped": self._dropped}, (), ())
            if not self._put(dropped):
                self._dropped += 1
                return
            self._dropped = 0
        if not self._put(line):
            self._dropped += 1

    def _put(self, line: _Line) -> bool:
        written = _as_json(line) if self._style is Style.JSON else _as_text(line)
        try:
            if not self._writable():
                return False
            os.write(self._descriptor, written)
        except OSError:
            return False  # nobody reads any more (EPIPE) or the terminal is gone (EIO): no reason to stop serving devices
        return True

    def _writable(self) -> bool:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        return bool(poll.poll(0))


async def keep_flushing(log: Log) -> None:
    """Show in time what was held back, until cancelled; then the rest."""
    try:
        while True:
            await trio.sleep(FIRST_WINDOW)
            log.flush()
    finally:
        log.close()


def _line_of(event: Event, grade: Grade, text: str) -> _Line:
    fields = {"event": type(event).__name__} | msgspec.structs.asdict(event)
    subject = tuple(str(fields[name]) for name in ("plugin", "resource", "subsystem") if name in fields)
    key = tuple(value for value in fields.values() if not isinstance(value, float | int) or isinstance(value, bool))
    return _Line(grade, text, fields, subject or (str(fields["event"]),), key)


def _as_text(line: _Line) -> bytes:
    written = f"{_now()} {line.grade.name.lower():<7} {printable(line.text, LONGEST_TEXT)}\n"
    return written.encode()


def _as_json(line: _Line) -> bytes:
    heading = {"time": _now(), "level": line.grade.name.lower(), "message": printable(line.text, LONGEST_TEXT)}
    whole = heading | {name: _plain(value) for name, value in line.fields.items()}
    written = msgspec.json.encode(whole) + b"\n"
    if len(written) > LONGEST_LINE:  # a line that is cut is no JSON: the message alone says it
        written = msgspec.json.encode(heading | {"truncated": True}) + b"\n"
    return written


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class _Bridge(logging.Handler):
    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Take a record as it is; what cannot be formatted is shown unformatted."""
        try:
            text = record.getMessage()
        except (TypeError, ValueError, KeyError):
            text = f"{record.msg!r} with {record.args!r}"
        error = record.exc_info[1] if record.exc_info else None
        cause = f": {type(error).__name__}: {error}" if error else ""
        self._log.write(Grade.ERROR if record.levelno >= logging.ERROR else Grade.WARNING, text + cause, logger=record.name)


@contextmanager
def libraries_logged(log: Log) -> Iterator[None]:
    """Send the warnings of libraries, which use the standard library's logging, to this log."""
    bridge = _Bridge(log)
    logging.getLogger().addHandler(bridge)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(bridge)
