"""Requests, each in a thread of its own: what hangs in a driver is left behind, and an answer comes in time all the same."""

import threading
import time
from collections.abc import Callable

from msgspec import structs

from supervisor_fpga.operating.messages import Prepare, Prepared
from supervisor_fpga.operating.outcome import Clock, Stopped, stopped


class _Task:
    """One request at work."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.ended = threading.Event()
        self.prepared: Prepared | None = None


class Preparer:
    """Answers within the deadline of a request. A function with a thread that was left behind stays ``busy`` until that returns."""

    def __init__(self, prepare: Callable[[Prepare, Clock], Prepared]) -> None:
        """``prepare`` may hang, and raises ``Stopped`` or ``OSError``."""
        self._prepare = prepare
        self._lock = threading.Lock()
        self._late: dict[str, _Task] = {}

    def answer(self, request: Prepare) -> Prepared:
        """May be called from any thread."""
        begun = time.monotonic()
        prepared = self._answer(request, Clock(request.deadline))
        return structs.replace(prepared, seconds=time.monotonic() - begun)

    def _answer(self, request: Prepare, clock: Clock) -> Prepared:
        with self._lock:
            before = self._late.get(request.function)
            if before is not None and not before.ended.is_set():
                over = time.monotonic() - before.clock.deadline
                return Prepared("busy", f"the driver has not come back from {before.clock.step}, {over:.0f} s after its time")
            self._late.pop(request.function, None)
        task = _Task(clock)
        threading.Thread(target=self._work, args=(task, request), name=f"prepare {request.function}", daemon=True).start()
        if not task.ended.wait(clock.left):
            with self._lock:
                self._late[request.function] = task
            late = clock.late()
            return Prepared(late.outcome, late.text)
        if task.prepared is None:
            raise RuntimeError("preparing it raised; the process's error output says what")
        return task.prepared

    def _work(self, task: _Task, request: Prepare) -> None:
        try:
            task.prepared = self._prepare(request, task.clock)
        except Stopped as over:
            task.prepared = Prepared(over.outcome, over.text)
        except OSError as error:
            unforeseen = stopped(task.clock.step, error)
            task.prepared = Prepared(unforeseen.outcome, unforeseen.text)
        finally:
            task.ended.set()
