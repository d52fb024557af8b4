"""The process: asked over its border, by many at once, and by somebody who wants other files written."""

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from supervisor import Border, BorderFailed, Host
from supervisor_fpga.operating.messages import PROGRAM, Bitstream, Options, Prepare, Prepared
from supervisor_fpga.operating.simulated import bitstream
from supervisor_fpga.simulate.intel import A10_INTERFACE, NLB3, Card, dfl_machine
from tests.plugins.fpga.machines import CARD, SECOND
from tests.plugins.fpga.operating.yard import PATIENCE, Yard

Plant = Callable[..., Yard]
CARDS = [f"0000:{bus:02x}:00.0" for bus in range(0x10, 0x18)]
AFUS = [f"{number:032x}" for number in range(1, 4)]


def ask(border: Border, function: str, wanted: Bitstream | None = None) -> Prepared:
    deadline = time.monotonic() + PATIENCE
    return border.ask(Prepare(function, "", "dfl", deadline, wanted, ("dfl-ioctl",)), Prepared, deadline + 1)


@pytest.fixture
def start(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., tuple[Yard, Border]]]:
    """A yard, and a process for it."""
    borders: list[Border] = []

    def start(machine: object = "dfl_a10", *, simulated: bool = True) -> tuple[Yard, Border]:
        yard = plant(machine)
        monkeypatch.setenv("FPGA_BITSTREAMS", yard.settings.bitstreams)
        monkeypatch.setenv("FPGA_LOCKS", yard.settings.locks)
        monkeypatch.setenv("FPGA_SIMULATED", str(yard.tree.sys.parent) if simulated else "")
        options = Options(str(yard.tree.sys), str(yard.tree.dev))
        borders.append(Border(PROGRAM, Host(helper_socket="/nonexistent"), options))
        return yard, borders[-1]

    yield start
    for border in borders:
        border.close()


def test_a_process_of_its_own_programs(start: Callable[..., tuple[Yard, Border]]) -> None:
    """Asked twice, it programs once."""
    yard, border = start()
    first, second = (ask(border, CARD, yard.file()) for _ in range(2))
    assert (first.outcome, first.programmed, first.afu_id) == ("ready", True, NLB3)
    assert (second.outcome, second.programmed, second.was_reset) == ("ready", False, True)
    assert yard.attribute("dfl-port.0/afu_id") == NLB3


def test_a_made_up_sysfs_is_not_believed(start: Callable[..., tuple[Yard, Border]]) -> None:
    """Whoever asks could have made it in order to have files written; only the process's own environment says which are simulated."""
    yard, border = start(simulated=False)
    yard.attribute("dfl-port.0/errors/errors", "0x1")
    assert ask(border, CARD, yard.file()).outcome in {"failed", "refused"}
    assert yard.attribute("dfl-port.0/errors/errors") == "0x1"


def test_a_card_that_hangs_is_answered_for(start: Callable[..., tuple[Yard, Border]]) -> None:
    """The process goes on and serves the others: it is not killed for one card, so nobody waits for a new one."""
    _, border = start("dfl_hanging")
    border.open(time.monotonic() + PATIENCE)
    pid = border.pid
    request = Prepare(CARD, "", "dfl", time.monotonic() + 0.2)
    assert border.ask(request, Prepared, time.monotonic() + PATIENCE).outcome == "late"
    assert ask(border, SECOND).outcome == "ready"
    assert ask(border, CARD).outcome == "busy"
    assert border.pid == pid


def test_a_killed_process_is_replaced(start: Callable[..., tuple[Yard, Border]]) -> None:
    """What it had locked is free."""
    yard, border = start()
    ask(border, CARD)
    border.restart("the test wants it")
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            assert ask(border, CARD, yard.file()).outcome == "ready"
            return
        except BorderFailed:
            assert time.monotonic() < deadline, "it has not come back"
            time.sleep(0.05)


def test_fifty_requests_on_eight_regions(start: Callable[..., tuple[Yard, Border]]) -> None:
    """All at once, over two borders as while one supervisor takes over from another: none is lost, and the last one's word holds."""
    machine = dfl_machine([Card(address, interface=A10_INTERFACE) for address in CARDS])
    yard, first = start(machine)
    second = Border(PROGRAM, Host(helper_socket="/nonexistent"), Options(str(yard.tree.sys), str(yard.tree.dev)))
    files = [yard.file(f"{afu[-1]}.gbs", bitstream(A10_INTERFACE, afu)) for afu in AFUS]

    def work(number: int) -> Prepared:
        return ask((first, second)[number % 2], CARDS[number % 8], files[number % 3])

    try:
        with ThreadPoolExecutor(50) as pool:
            answers = list(pool.map(work, range(50)))
    finally:
        second.close()
    assert Counter(answer.outcome for answer in answers) == {"ready": 50}
    assert [answer.afu_id for answer in answers] == [AFUS[number % 3] for number in range(50)]


def test_fifty_requests_are_never_two_on_one_region(plant: Plant) -> None:
    """In one process, seen from the drivers: between the opening of a port and its closing nobody else works on it."""
    yard = plant(dfl_machine([Card(address, interface=A10_INTERFACE) for address in CARDS]))
    files = [yard.file(f"{afu[-1]}.gbs", bitstream(A10_INTERFACE, afu)) for afu in AFUS]
    yard.drivers.before["program"] = partial(time.sleep, 0.002)

    def work(number: int) -> Prepared:
        return yard.prepare(files[number % 3], CARDS[number % 8])

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(work, range(50)))
    assert Counter(answer.outcome for answer in answers) == {"ready": 50}
    assert [answer.afu_id for answer in answers] == [AFUS[number % 3] for number in range(50)]


def test_nothing_large_is_imported() -> None:
    """The process costs little memory, so it goes without what it does not need."""
    code = "import sys, supervisor_fpga.operating.program; print(' '.join(sorted(sys.modules)))"
    loaded = set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())
    assert not loaded & {"asyncio", "trio", "grpc", "subprocess", "tempfile", "logging", "yaml", "pyudev"}
