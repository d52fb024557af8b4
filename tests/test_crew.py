"""The crew: what hangs delays nobody else, and nothing is read twice at the same time."""

import threading
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from supervisor import Crew
from tests.border.conftest import until


class Gate:
    """Jobs that hang until it is opened."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self.entered = 0
        self.left = threading.Semaphore(0)

    def job(self) -> str:
        self.entered += 1
        assert self._open.wait(60)
        self.left.release()
        return "late"

    def open(self) -> None:
        self._open.set()


@pytest.fixture
def gate() -> Iterator[Gate]:
    """Opened at the end in any case."""
    made = Gate()
    yield made
    made.open()


def quick(count: int) -> dict[str, Callable[[], str]]:
    """So many jobs that answer at once."""
    return {f"quick{number}": partial(str, number) for number in range(count)}


def test_all_is_read_by_one_thread_while_that_goes_on() -> None:
    """In order, and the results are those of the jobs."""
    threads: list[str] = []

    def job(number: int) -> int:
        threads.append(f"{threading.get_ident()}")
        return number

    crew: Crew[int, int] = Crew(stall=60)
    assert crew.read({number: partial(job, number) for number in range(50)}) == {number: number for number in range(50)}
    assert len(set(threads)) == 1


def test_what_hangs_delays_no_other(gate: Gate) -> None:
    """The rest is read by others; how long it hangs is told."""
    crew: Crew[str, str] = Crew()
    answers = crew.read({"stuck": gate.job} | quick(20))
    assert answers.keys() == quick(20).keys()
    assert crew.waiting("stuck") > 0
    assert crew.waiting("quick1") == 0


def test_what_hangs_is_not_begun_again_until_it_is_back(gate: Gate) -> None:
    """Then it is read as all others, and its late result is nobody's."""
    crew: Crew[str, str] = Crew()
    jobs = {"stuck": gate.job} | quick(3)
    for _ in range(3):
        assert "stuck" not in crew.read(jobs)
    assert gate.entered == 1
    gate.open()
    until(lambda: crew.waiting("stuck") == 0)
    assert crew.read({"stuck": lambda: "well"}) == {"stuck": "well"}


def test_many_that_hang_at_once_are_passed_over_together(gate: Gate) -> None:
    """A whole card: all of it, and then the others."""
    crew: Crew[str, str] = Crew()
    stuck = {f"stuck{number}": gate.job for number in range(40)}
    assert crew.read(stuck | quick(5)).keys() == quick(5).keys()
    assert all(crew.waiting(name) > 0 for name in stuck)


def test_the_threads_are_bounded(gate: Gate) -> None:
    """What nobody is left for is not read, and begins to be when threads are back."""
    crew: Crew[str, str] = Crew(most=4)
    assert crew.read({f"stuck{number}": gate.job for number in range(9)} | quick(1)) == {}
    assert gate.entered == 4
    gate.open()
    for _ in range(4):
        assert gate.left.acquire(timeout=30)
    until(lambda: crew.read(quick(1)) == {"quick0": "0"})


def test_patience_is_given_to_those_who_need_it(gate: Gate) -> None:
    """Who answers within it has a result."""
    crew: Crew[str, str] = Crew()
    threading.Timer(0.1, gate.open).start()
    assert crew.read({"slow": gate.job}, lambda _: 60.0) == {"slow": "late"}


def test_one_that_fails_costs_only_its_own_result(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error goes where errors of threads go, and the next round reads it again."""
    told: list[object] = []
    monkeypatch.setattr(threading, "excepthook", lambda hook: told.append(hook.exc_value))

    def fail() -> str:
        raise LookupError("no such luck")

    crew: Crew[str, str] = Crew()
    assert crew.read({"failing": fail} | quick(3)) == crew.read(quick(3))
    until(lambda: len(told) == 1)
    assert crew.waiting("failing") == 0
    assert crew.read({"failing": lambda: "well"}) == {"failing": "well"}
