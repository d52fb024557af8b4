"""Border: whatever the program behind it does, its user gets an answer or a reason in time, and the next question a new process."""

import gc
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from supervisor import AllocationRefused, Border, BorderFailed, BorderLimits, Host
from supervisor.border.succession import MOST_UNREAPED
from tests.border.conftest import PATIENT, HelperProcess, dead, until
from tests.border.sample_program import Count, Flood, Greet, Held, Misbehave, Options, Scribble, Unheard

NewBorder = Callable[..., Border]
StartHelper = Callable[..., HelperProcess]

SHORT = 0.5
"""Seconds given to a program that is late in any case."""


def soon(seconds: float = 60.0) -> float:
    """A deadline."""
    return time.monotonic() + seconds


def greet(border: Border) -> str:
    """Ask something simple; the program is there when this returns."""
    return border.ask(Greet("you"), str, soon())


async def numbers(border: Border, request: Count) -> list[int]:
    """All that the stream has."""
    with border.connect(request, int) as stream:
        return [number async for number in stream]


def test_a_question_starts_the_program_and_is_answered(border: NewBorder) -> None:
    """With its options, in another process, which stays."""
    here = border(greeting="welcome")
    assert here.pid is None
    assert greet(here) == "welcome you"
    pid = here.pid
    assert pid not in {None, os.getpid()}
    assert greet(here) == "welcome you"
    assert (here.pid, here.restarts) == (pid, 0)


def test_it_says_where_the_program_runs(new_border: NewBorder, start_helper: StartHelper) -> None:
    """Before and after it was started."""
    here = new_border()
    assert here.where == "child of this process"
    helper = start_helper()
    assert here.where == f"helper at {helper.path}"
    greet(here)
    assert here.where == f"helper at {helper.path}"


def test_a_program_that_needs_no_help_is_never_in_the_helper(installed: Path, folder: Path, start_helper: StartHelper) -> None:
    """It opens no device, and gets no privilege for it."""
    helper = start_helper()
    here = Border("sample", Host(helper_socket=helper.path), Options(), PATIENT, helped=False)
    assert greet(here) == "hello you"
    pid = here.pid
    assert here.where == "child of this process"
    assert pid is not None
    assert f"PPid:\t{os.getpid()}\n" in Path(f"/proc/{pid}/status").read_text()
    here.close()
    until(lambda: dead(pid))


def test_a_helper_that_comes_late_takes_over(new_border: NewBorder, start_helper: StartHelper) -> None:
    """The containers of a pod start in any order; a child that may not open devices is no place to stay."""
    here = new_border()
    greet(here)
    child = here.pid
    assert child is not None
    helper = start_helper()
    greet(here)
    assert here.where == f"helper at {helper.path}"
    until(lambda: dead(child))


@pytest.mark.parametrize(
    ("how", "said"), [("raise", "LookupError: no such luck (/"), ("exit", "SystemExit: 3 (/"), ("huge", "the limit is")]
)
def test_an_error_becomes_a_reason_and_costs_no_process(border: NewBorder, how: str, said: str) -> None:
    """With the type, the text and the line of the program's error."""
    here = border()
    greet(here)
    pid = here.pid
    with pytest.raises(BorderFailed) as failed:
        here.ask(Misbehave(how), type(None), soon())
    assert str(failed.value).startswith(f"program sample ({here.where}): ")
    assert said in str(failed.value)
    assert greet(here) == "hello you"
    assert here.pid == pid


def test_a_refusal_stays_a_refusal(border: NewBorder) -> None:
    """What the program refuses on purpose ends up in the pod's status word for word."""
    with pytest.raises(AllocationRefused, match=r"^the board is locked$"):
        border().ask(Misbehave("refuse"), type(None), soon())


def test_a_request_that_it_does_not_know_is_told(border: NewBorder) -> None:
    """A plugin of one version may meet a program of another."""
    here = border()
    with pytest.raises(BorderFailed, match="Unheard is no request that it knows"):
        here.ask(Unheard(), int, soon())
    assert greet(here)


@pytest.mark.parametrize("how", ["hang", "hold"])
def test_a_hung_program_is_killed_and_replaced_at_once(border: NewBorder, how: str) -> None:
    """Also when the interpreter lock is never given up."""
    here = border()
    greet(here)
    pid = here.pid
    assert pid is not None
    with pytest.raises(BorderFailed, match=r"Misbehave took longer than 0\.\d+ s; its process was killed"):
        here.ask(Misbehave(how), type(None), soon(SHORT))
    until(lambda: dead(pid))
    assert greet(here) == "hello you"
    assert (here.pid != pid, here.restarts) == (True, 1)


def test_a_stopped_program_is_killed_and_replaced(border: NewBorder) -> None:
    """An operator's SIGSTOP, or a debugger, looks like any other hang."""
    here = border()
    greet(here)
    pid = here.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    until(lambda: all("State:\tT" in (task / "status").read_text() for task in Path(f"/proc/{pid}/task").iterdir()))
    with pytest.raises(BorderFailed, match="its process was killed"):
        here.ask(Greet("you"), str, soon(SHORT))
    until(lambda: dead(pid))
    assert greet(here)


@pytest.mark.parametrize(
    ("how", "fate"),
    [
        ("abort", "its process was killed by SIGABRT: about to abort"),
        ("quit", "its process exited with status 7"),
        ("hog", "its process exited with status 70: out of memory: more than the limit of this plugin's process"),
    ],
)
def test_the_end_of_a_program_is_told(border: NewBorder, how: str, fate: str) -> None:
    """How it ended and what it said last, through the helper too."""
    here = border()
    greet(here)
    with pytest.raises(BorderFailed) as failed:
        here.ask(Misbehave(how), type(None), soon())
    assert str(failed.value).endswith(f": {fate}")
    assert greet(here)


def test_a_program_that_closes_its_connections_is_killed(border: NewBorder) -> None:
    """It can never be asked again, so it must not live on unseen."""
    here = border()
    greet(here)
    pid = here.pid
    assert pid is not None
    with pytest.raises(BorderFailed, match=r"its process .*killed"):
        here.ask(Misbehave("lose"), type(None), soon())
    until(lambda: dead(pid))
    assert greet(here)


@pytest.mark.parametrize("junk", [b"\xff" * 64, b"\0\0\0\1\xc1", b"\0\0\0\0"])
def test_nonsense_costs_the_process(border: NewBorder, junk: bytes) -> None:
    """Lengths beyond all bounds and bytes that are no message included."""
    here = border()
    greet(here)
    with pytest.raises(BorderFailed, match="answered with nonsense"):
        here.ask(Scribble(junk), type(None), soon())
    assert greet(here)


def test_an_answer_of_another_type_costs_the_process(border: NewBorder) -> None:
    """It is nonsense as well."""
    here = border()
    with pytest.raises(BorderFailed, match=r"Misbehave was answered with nonsense \(Expected `int`, got `object`"):
        here.ask(Misbehave("other"), int, soon())


def test_what_it_started_dies_with_it(border: NewBorder, request: pytest.FixtureRequest, capfd: Any) -> None:
    """A hung tool of a vendor must not pile up."""
    here = border()
    greet(here)
    with pytest.raises(BorderFailed, match="took longer"):
        here.ask(Misbehave("children"), type(None), soon(SHORT))
    if "helper" in request.node.name:
        return  # its output is the helper's; the helper's own test looks there
    (child,) = [int(line.split()[1]) for line in capfd.readouterr().err.splitlines() if line.startswith("child ")]
    until(lambda: dead(child))


def test_a_flood_of_output_stops_nobody(border: NewBorder) -> None:
    """It is read, also where nobody reads what is passed on: the helper's error output here."""
    here = border()
    assert here.ask(Flood(4 << 20), int, soon()) > 4_000_000
    assert greet(here)


def test_it_holds_nothing_of_ours(border: NewBorder) -> None:
    """No lock, no file and no socket but its own connections, not even an inheritable one."""
    listening, outside = socket.socketpair()
    listening.set_inheritable(True)
    with listening, outside:
        ours = {os.readlink(f"/proc/self/fd/{listening.fileno()}")}
        held = border().ask(Held(), list[str], soon())
    kinds = sorted(target.partition(":")[0] for target in held if "/proc/" not in target)
    # its connection and the one for this question; standard output and errors, and the pipe that ends it with us
    assert kinds == ["/dev/null", "pipe", "pipe", "pipe", "socket", "socket"]
    assert not ours & set(held)


@pytest.mark.parametrize(
    ("does", "why"),
    [
        ("raise", "LookupError: no such luck"),
        ("abort", "was killed by SIGABRT: about to abort"),
        ("refuse", "the board is locked"),
    ],
)
def test_a_program_that_cannot_begin_says_why(border: NewBorder, does: str, why: str) -> None:
    """And what hangs is killed."""
    here = border(does=does)
    with pytest.raises(BorderFailed, match=why):
        here.open(soon())
    assert here.pid is None


def test_a_program_that_hangs_at_its_start_is_killed(border: NewBorder) -> None:
    """Its deadline is that of starting, or of the question if that comes first."""
    here = border(BorderLimits(start=2), does="hang")
    with pytest.raises(BorderFailed, match="loading it took too long; its process was killed"):
        here.open(soon())


def test_a_program_that_keeps_ending_is_started_ever_more_rarely(border: NewBorder) -> None:
    """Once at once; then there is a pause, in which the reason is told and nothing is started."""
    here = border()
    for _ in range(2):
        with pytest.raises(BorderFailed, match="exited with status 7"):
            here.ask(Misbehave("quit"), type(None), soon())
    for _ in range(3):
        with pytest.raises(BorderFailed, match=r"exited with status 7; it is started again in [01]\.\d s at the earliest"):
            greet(here)
    assert here.restarts == 1


def test_an_unknown_program_is_refused_with_the_list(border: NewBorder) -> None:
    """The list is what is installed, and closed."""
    with pytest.raises(BorderFailed, match=r"program 'no-such'; there are: .*sample"):
        border(program="no-such").open(soon())


def test_questions_run_side_by_side(border: NewBorder) -> None:
    """One that hangs delays no other, until its own deadline."""
    here = border()
    greet(here)
    failed: list[str] = []

    def hang() -> None:
        try:
            here.ask(Misbehave("hang"), type(None), soon(3600))
        except BorderFailed as error:
            failed.append(str(error))

    hanging = [threading.Thread(target=hang) for _ in range(3)]
    for thread in hanging:
        thread.start()
    for _ in range(5):
        assert greet(here)
    here.close()
    for thread in hanging:
        thread.join(20)
    assert [text.rpartition(": ")[2] for text in failed] == ["it is not needed any more"] * 3


def test_a_closed_border_starts_nothing(border: NewBorder) -> None:
    """A look that was under way must not bring the program back."""
    here = border()
    greet(here)
    pid = here.pid
    assert pid is not None
    here.close()
    until(lambda: dead(pid))
    with pytest.raises(BorderFailed, match="is not needed any more"):
        greet(here)


def test_a_forgotten_border_ends_its_program(installed: Path) -> None:
    """A plugin object that a new configuration replaced just goes away, and nobody collects garbage for its sake."""
    here = Border("sample", Host(helper_socket=""), Options(), PATIENT)
    greet(here)
    pid = here.pid
    assert pid is not None
    gc.disable()
    try:
        del here
        until(lambda: dead(pid))
    finally:
        gc.enable()


async def test_a_stream_brings_everything_in_order(border: NewBorder) -> None:
    """More than any buffer holds, too."""
    here = border()
    await trio.to_thread.run_sync(greet, here)
    assert await numbers(here, Count(20_000)) == list(range(20_000))


async def test_a_stream_starts_no_program(border: NewBorder) -> None:
    """Only a question does."""
    with pytest.raises(BorderFailed, match="does not run; the next look starts it"):
        border().connect(Count(1), int)


async def test_a_stream_tells_the_programs_error(border: NewBorder) -> None:
    """After what came before it; the process goes on."""
    here = border()
    await trio.to_thread.run_sync(greet, here)
    with here.connect(Count(3, "raise"), int) as stream:
        assert [await anext(stream) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(BorderFailed, match="LookupError: no such luck"):
            await anext(stream)
    assert await trio.to_thread.run_sync(greet, here)


@pytest.mark.parametrize(("how", "why"), [("abort", "SIGABRT: about to abort"), ("nonsense", "answered with nonsense")])
async def test_a_stream_ends_with_its_program(border: NewBorder, how: str, why: str) -> None:
    """And says how."""
    here = border()
    await trio.to_thread.run_sync(greet, here)
    with pytest.raises(BorderFailed, match=why):
        await numbers(here, Count(3, how))


async def test_a_beating_stream_lives(border: NewBorder) -> None:
    """As long as the thread that does the work turns, silence is no fault."""
    here = border(BorderLimits(start=60, beat=3))
    await trio.to_thread.run_sync(greet, here)
    with trio.move_on_after(4.5) as scope:
        await numbers(here, Count(3, "beat"))
    assert scope.cancelled_caught
    assert here.pid is not None


@pytest.mark.parametrize("how", ["hang", "hold"])
async def test_a_stream_without_a_beat_is_one_that_hangs(border: NewBorder, how: str) -> None:
    """Its process is killed, and the next question has a new one."""
    here = border(BorderLimits(start=60, beat=SHORT))
    await trio.to_thread.run_sync(greet, here)
    pid = here.pid
    assert pid is not None
    with pytest.raises(BorderFailed, match=r"its stream had no beat for 0\.5 s; its process was killed"):
        await numbers(here, Count(3, how))
    await trio.to_thread.run_sync(until, lambda: dead(pid))
    assert await trio.to_thread.run_sync(greet, here)


async def test_a_closed_stream_ends_over_there(border: NewBorder) -> None:
    """Its connection is given back, so that watching again and again costs nothing."""
    here = border()
    await trio.to_thread.run_sync(greet, here)
    before = await trio.to_thread.run_sync(lambda: len(here.ask(Held(), list[str], soon())))
    for _ in range(3):
        with here.connect(Count(3, "beat"), int) as stream:
            async for number in stream:
                if number == 2:
                    break
    await trio.to_thread.run_sync(until, lambda: len(here.ask(Held(), list[str], soon())) == before)


class Stuck:
    """A killed process that a driver of the kernel does not let go."""

    ended = False

    def wait(self, timeout: float) -> bool:
        """It never ends."""
        return self.ended


def test_processes_stuck_in_the_kernel_do_not_pile_up(border: NewBorder) -> None:
    """They are counted, and at some number none is started until one has ended."""
    here = border()
    stuck: list[Any] = [Stuck() for _ in range(MOST_UNREAPED)]
    here._lives._killed.extend(stuck)
    assert here.unreaped == MOST_UNREAPED
    with pytest.raises(BorderFailed, match=f"{MOST_UNREAPED} killed processes of it hang in the kernel"):
        greet(here)
    stuck[0].ended = True
    assert greet(here)


def test_twenty_lives_leave_nothing_behind(border: NewBorder, monkeypatch: pytest.MonkeyPatch) -> None:
    """No descriptor, no thread and no process."""
    monkeypatch.setattr("supervisor.border.backoff.FIRST", 0.0)
    strangers = {*threading.enumerate()}
    here = border()
    counts = []
    for _ in range(20):
        greet(here)
        pid = here.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        until(lambda: not any(thread.name.endswith("keeper") for thread in {*threading.enumerate()} - strangers))
        counts.append((len(os.listdir("/proc/self/fd")), threading.active_count()))
    assert here.restarts == 19
    # What the test before left to be tidied up may go while this one runs; what leaks comes with every life.
    descriptors, threads = zip(*counts, strict=True)
    assert descriptors[-1] <= descriptors[4]
    assert threads[-1] <= threads[4]


def test_a_host_without_a_helper_socket_has_no_helper(installed: Path) -> None:
    """An empty path is no path."""
    here = Border("sample", Host(helper_socket=""), None, PATIENT)
    assert here.where == "child of this process"
    here.close()
