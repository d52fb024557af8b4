"""The helper: it serves whoever may ask, for as long as they live, and nobody else."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from supervisor import Border, BorderFailed, BorderLimits
from supervisor.border import framing
from supervisor.border.helper import MOST_CONNECTIONS, MOST_HANGING, Helper
from supervisor.border.messages import Ended, Open, Opened, Refused
from supervisor.border.programs import installed as programs
from tests.border.conftest import HelperProcess, dead, until
from tests.border.sample_program import Greet, Misbehave

NewBorder = Callable[..., Border]
StartHelper = Callable[..., HelperProcess]

_SUPERVISOR = """
import sys, threading, time
sys.path.insert(0, sys.argv[3])
from sample_program_module import Greet, Misbehave, Options
from supervisor import Border, Host
border = Border("sample", Host(helper_socket=sys.argv[1]), Options())
border.ask(Greet("you"), str, time.monotonic() + 60)
if sys.argv[2]:
    question = Misbehave(sys.argv[2]), type(None), time.monotonic() + 3600
    threading.Thread(target=border.ask, args=question, daemon=True).start()
print(border.pid, border.where, flush=True)
threading.Event().wait()
"""


def soon(seconds: float = 60.0) -> float:
    """A deadline."""
    return time.monotonic() + seconds


def greet(border: Border) -> str:
    """Ask something simple; the program is there when this returns."""
    return border.ask(Greet("you"), str, soon())


@contextlib.contextmanager
def connected(path: str) -> Iterator[socket.socket]:
    """A connection to a helper, by hand."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect(path)
        yield connection


def answer(connection: socket.socket) -> Any:
    """What the helper says next."""
    return msgspec.msgpack.decode(framing.receive(connection, soon(20)), type=Opened | Refused | Ended)


@pytest.fixture
def other_supervisor(installed: Path, folder: Path) -> Iterator[Callable[..., tuple[subprocess.Popen[str], int]]]:
    """Start another process with a border, that perhaps does something; it, and the number of its program's process."""
    running: list[subprocess.Popen[str]] = []

    def start(does: str = "") -> tuple[subprocess.Popen[str], int]:
        arguments = [sys.executable, "-c", _SUPERVISOR, str(folder / "helper.sock"), does, str(installed)]
        running.append(subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True))
        output = running[-1].stdout
        assert output is not None
        return running[-1], int(output.readline().split()[0])

    yield start
    for process in running:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("does", ["", "hang", "hold"])
@pytest.mark.parametrize("helped", [False, True], ids=["child", "helper"])
def test_a_program_dies_with_its_supervisor(
    other_supervisor: Callable[..., tuple[subprocess.Popen[str], int]], start_helper: StartHelper, does: str, helped: bool
) -> None:
    """The supervisor is killed, while the program can do nothing at all, too."""
    if helped:
        start_helper()
    supervisor, pid = other_supervisor(does)
    assert not dead(pid)
    supervisor.kill()
    until(lambda: dead(pid))


def test_a_program_dies_with_the_helper(start_helper: StartHelper, new_border: NewBorder) -> None:
    """Also when the helper is killed; the next question finds the next helper, and is told of it until then."""
    helper, here = start_helper(), new_border()
    greet(here)
    pid = here.pid
    assert pid is not None
    helper.process.kill()
    until(lambda: dead(pid))
    with pytest.raises(BorderFailed, match=r"the helper at .* (has ended|is not there)"):
        greet(here)
    assert Path(helper.path).is_socket()
    with pytest.raises(BorderFailed, match=r"is not there: .*refused; look at the log of its container"):
        new_border().open(soon())
    start_helper()
    assert greet(here)
    assert here.where == f"helper at {helper.path}"


def failed(border: Border) -> bool:
    """Whether there is no answer; a border pauses between lives."""
    try:
        greet(border)
    except BorderFailed:
        return True
    return False


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_all_programs(start_helper: StartHelper, new_border: NewBorder, signum: int) -> None:
    """Hanging ones, too; the socket goes with it."""
    helper, borders = start_helper(), [new_border() for _ in range(3)]
    for each in borders:
        greet(each)
    with pytest.raises(BorderFailed):
        borders[0].ask(Misbehave("raise"), type(None), soon())
    os.kill(borders[0].pid or 0, signal.SIGSTOP)
    pids = [each.pid or 0 for each in borders]
    helper.process.send_signal(signum)
    assert helper.process.wait(20) == 0
    assert all(pid and dead(pid) for pid in pids)
    assert not Path(helper.path).exists()


def test_it_tells_what_it_does(start_helper: StartHelper, new_border: NewBorder) -> None:
    """Its log names its socket, its programs, each process and its end, and passes on what programs print."""
    helper, here = start_helper(), new_border()
    assert helper.path in helper.greeting
    assert "sample" in helper.greeting
    greet(here)
    pid = here.pid
    with pytest.raises(BorderFailed):
        here.ask(Misbehave("abort"), type(None), soon())
    until(lambda: "SIGABRT" in helper.log)
    assert f"started sample, process {pid}" in helper.log
    assert "\nabout to abort" in helper.log
    assert f"sample, process {pid}: its process was killed by SIGABRT: about to abort" in helper.log


def test_what_a_program_started_dies_with_it(start_helper: StartHelper, new_border: NewBorder) -> None:
    """Its whole process group is killed when its asker is done with it."""
    helper, here = start_helper(), new_border()
    here.open(soon())
    with pytest.raises(BorderFailed, match="took longer"):
        here.ask(Misbehave("children"), type(None), soon(0.5))
    until(lambda: "child " in helper.log)
    (child,) = [int(line.split()[1]) for line in helper.log.splitlines() if line.startswith("child ")]
    until(lambda: dead(child))


def test_a_second_helper_is_refused(start_helper: StartHelper, new_border: NewBorder) -> None:
    """It would cut off the first one's clients from each other; the first goes on."""
    helper = start_helper()
    second = start_helper()
    assert second.process.wait(20) == 1
    assert f"another helper listens at {helper.path}; end that one first" in second.greeting
    assert greet(new_border())


def test_a_stale_socket_is_taken_over(start_helper: StartHelper, new_border: NewBorder) -> None:
    """A container that was killed leaves its socket behind."""
    first = start_helper()
    first.process.kill()
    first.process.wait()
    assert Path(first.path).is_socket()
    start_helper()
    assert greet(new_border())


def test_somebody_elses_socket_is_left_alone(start_helper: StartHelper, folder: Path) -> None:
    """What listens there and is no helper goes on."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "helper.sock"))
        listening.listen()
        helper = start_helper()
        assert helper.process.wait(20) == 1
        assert "something that is no helper listens at" in helper.greeting
        with connected(str(folder / "helper.sock")):
            pass


def test_two_supervisors_share_it(
    start_helper: StartHelper,
    new_border: NewBorder,
    other_supervisor: Callable[..., tuple[subprocess.Popen[str], int]],
) -> None:
    """As in a hand-over: each has a process of its own, and the end of one is nothing to the other."""
    start_helper()
    here = new_border()
    greet(here)
    other, pid = other_supervisor()
    mine = here.pid
    assert mine != pid
    other.kill()
    until(lambda: dead(pid))
    assert greet(here)
    assert here.pid == mine


def test_others_cannot_reach_it(start_helper: StartHelper) -> None:
    """The file's mode is the first border."""
    assert Path(start_helper().path).stat().st_mode & 0o777 == 0o600


@pytest.mark.root
def test_other_users_are_refused(start_helper: StartHelper, folder: Path) -> None:
    """Even where the socket's file would let them: the kernel says who connects."""
    helper = start_helper()
    folder.chmod(0o755)
    Path(helper.path).chmod(0o666)
    os.seteuid(65534)
    try:
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(helper.path)
    finally:
        os.seteuid(0)
    with connection:
        assert answer(connection) == Refused("user 65534 may not ask here; only root and user 0 may")
        assert connection.recv(1) == b""
    until(lambda: "refused user 65534; this is told once" in helper.log)
    assert "started" not in helper.log


def test_an_unknown_program_is_refused(start_helper: StartHelper) -> None:
    """A path, a module or an option is no program: the list is closed."""
    helper = start_helper()
    for name in ("", "os", "/bin/sh", "sample_program_module", "--help", "sample\0"):
        with connected(helper.path) as connection:
            framing.send(connection, Open(name))
            refusal = answer(connection)
        assert isinstance(refusal, Refused)
        assert f"it has no program {name!r}; there are: " in refusal.reason
        assert "sample" in refusal.reason
    assert "started" not in helper.log


def test_only_what_it_was_told_to_offer_is_offered(start_helper: StartHelper, new_border: NewBorder) -> None:
    """An operator names the programs that may have its privilege; what else is installed does not get it."""
    helper = start_helper("--program", "other")
    assert "programs: other\n" in helper.greeting
    assert greet(new_border(program="other"))
    with pytest.raises(BorderFailed, match="it has no program 'sample'; there are: other"):
        greet(new_border())


@pytest.mark.parametrize("junk", [b"\xff" * 64, b"\0\0\0\1\xc1", b"\0\0\0\0", b"GET / HTTP/1.1\r\n\r\n"])
def test_nonsense_ends_the_connection(start_helper: StartHelper, new_border: NewBorder, junk: bytes) -> None:
    """And nothing else."""
    with connected(start_helper().path) as connection:
        connection.sendall(junk)
        connection.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(1) == b""
    assert greet(new_border())


def test_connections_are_bounded(start_helper: StartHelper, new_border: NewBorder) -> None:
    """A client that leaks them gets a reason, and the helper serves again when some are closed."""
    helper = start_helper()
    with contextlib.ExitStack() as stack:
        for _ in range(MOST_CONNECTIONS):
            connection = stack.enter_context(connected(helper.path))
            framing.send(connection, Open("sample"))
            assert isinstance(answer(connection), Opened)
        with connected(helper.path) as connection:
            refusal = answer(connection)
            assert isinstance(refusal, Refused)
            assert "connections are open" in refusal.reason
    until(lambda: not failed(new_border()))


def test_the_end_of_a_connection_is_the_end_of_its_program(start_helper: StartHelper) -> None:
    """Closed in one direction, its client still hears how it ended."""
    with connected(start_helper().path) as connection:
        framing.send(connection, Open("sample"))
        opened, control = answer(connection), framing.receive_socket(connection)
        assert control is not None
        with control:
            connection.shutdown(socket.SHUT_WR)
            assert answer(connection) == Ended("its process was killed by SIGKILL")
    assert isinstance(opened, Opened)
    assert dead(opened.pid)


class _Stuck:
    """A killed process that a driver of the kernel does not let go."""

    hangs = True


def test_processes_stuck_in_the_kernel_do_not_pile_up(installed: Path, folder: Path) -> None:
    """Whoever asks, there is no other process of that program before one has ended."""
    helper = Helper(str(folder / "helper.sock"), programs(), lambda _: None)
    stuck: list[Any] = [_Stuck() for _ in range(MOST_HANGING)]
    helper._processes.update(dict.fromkeys(stuck, "sample"))
    ours, theirs = socket.socketpair()
    with ours, theirs:
        with pytest.raises(BorderFailed, match=f"{MOST_HANGING} killed processes of sample hang in the kernel"):
            helper._start(theirs, "sample")
        stuck[0].hangs = False
        helper._connections = 1
        helper._start(theirs, "sample")
        assert isinstance(answer(ours), Opened)
    until(lambda: len(helper._processes) == MOST_HANGING)


def test_many_lives_leave_nothing_behind(
    start_helper: StartHelper, new_border: NewBorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The helper has as many descriptors and threads after twenty processes as after five, and no zombie."""
    monkeypatch.setattr("supervisor.border.backoff.FIRST", 0.0)
    helper, here = start_helper(), new_border()
    proc = Path(f"/proc/{helper.process.pid}")
    counts = []
    for life in range(20):
        greet(here)
        pid = here.pid or 0
        os.kill(pid, signal.SIGKILL) if life % 2 else here.restart("for this test")
        until(lambda: here.pid is None)  # it has been told, too
        until(lambda pid=pid: not Path(f"/proc/{pid}").exists() and len(list((proc / "task").iterdir())) == 1)  # type: ignore[misc]  # mypy infers no type for a default of a lambda
        counts.append(len(list((proc / "fd").iterdir())))
        assert helper.log
    assert counts[-1] <= counts[4]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--socket", "{folder}/missing/helper.sock"], 1, "No such file or directory; mount a writable directory there"),
        (["--socket", "{folder}/" + "x" * 100], 1, "is too long for a socket; 102 bytes are possible"),
        (["--port", "80"], 2, "unrecognized arguments"),
        (["--program", "smaple"], 2, "no installed package has the program 'smaple'; there are: "),
        (["--help"], 0, "--socket PATH"),
    ],
)
def test_the_command_says_what_is_wrong(folder: Path, arguments: list[str], code: int, said: str) -> None:
    """With the usual exit codes."""
    given = [argument.format(folder=folder) for argument in arguments]
    command = [sys.executable, "-m", "supervisor", "helper", *given]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=os.environ | {"COLUMNS": "120"})
    assert done.returncode == code
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert not list(folder.iterdir())


def test_a_helper_that_does_not_answer_is_told(new_border: NewBorder, folder: Path) -> None:
    """It is stopped, or something else listens there."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "helper.sock"))
        listening.listen()
        with pytest.raises(BorderFailed, match="did not answer in time; look at the log of its container"):
            new_border(BorderLimits(start=0.3)).open(soon())
