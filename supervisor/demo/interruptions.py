"""Ctrl-C and its relatives as one exception, raised where nothing gets lost."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """Somebody wants the program to end now."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Interruptions:
    """Inside, the first of the signals raises ``Interrupted`` and the others are ignored. For the main thread."""

    def __init__(self) -> None:
        self._held = False
        self._pending = 0

    def __enter__(self) -> Self:
        """Begin."""
        self._before = {number: signal.signal(number, self._interrupt) for number in _SIGNALS}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End: the signals do what they did before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def held(self) -> Iterator[None]:
        """What is made in this block is sure to be noted down in it, for a signal is raised at its end."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
        if self._pending:
            raise Interrupted(self._pending)

    def ignore(self) -> None:
        """From now on, let no signal disturb."""
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self.ignore()
        self._pending = number
        if not self._held:
            raise Interrupted(number)
