"""Making units ready: by a process that answers as a test wants, and by the real one on machines that are not there."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

from supervisor import AllocationRefused, Border, BorderFailed, Host
from supervisor_fpga.config import FpgaConfig
from supervisor_fpga.health import Monitor
from supervisor_fpga.metrics import StartCount
from supervisor_fpga.operating.messages import GRACE, Prepare, Prepared
from supervisor_fpga.presets import rules_of
from supervisor_fpga.reach import border, helped, notices, reachable
from supervisor_fpga.report import Function, Report
from supervisor_fpga.rules import offer
from supervisor_fpga.simulate.intel import A10_INTERFACE, NLB3, Card, dfl_machine
from supervisor_fpga.starting import Starter, required
from supervisor_fpga.units import Unit
from tests.plugins.fpga.functions import SUM, alveo, config_of, dfl, program
from tests.plugins.fpga.looks import survey
from tests.plugins.fpga.machines import CARD, SECOND
from tests.plugins.fpga.operating.yard import PATIENCE, Yard

NLB = f"{{name: fpga.example/nlb, unit: region, {program()}}}"
RESET = "{name: fpga.example/reset, reset: true, clearErrors: false}"

Answer = Callable[[Prepare], Prepared]


class Fake:
    """A process that says what the test wants, and notes what it was asked."""

    def __init__(self, answer: Answer = lambda request: Prepared("ready")) -> None:
        self.asked: list[Prepare] = []
        self.waited: list[float] = []
        self._answer = answer

    def ask(self, request: Any, kind: type[Any], deadline: float) -> Any:
        self.asked.append(request)
        self.waited.append(deadline - request.deadline)
        return kind(**msgspec.structs.asdict(self._answer(request)))


class Patient:
    """A border that waits longer than it is told to, as the process on a busy machine may need."""

    def __init__(self, operator: Border) -> None:
        self._operator = operator

    def ask(self, request: Any, kind: type[Any], deadline: float) -> Any:
        return self._operator.ask(request, kind, deadline + PATIENCE)


class Bench:
    """A starter with its monitor, which knows some functions."""

    def __init__(self, resources: str, *functions: Function, fake: Any = None, deadline: float = 25.0) -> None:
        self.config = config_of(f"{{programming: [dfl-ioctl, xrt], startDeadline: {deadline}, resources: [{resources}]}}")
        self.fake = Fake() if fake is None else fake
        self.monitor = Monitor(self.config.health)
        self.report = Report(functions)
        self.units = offer(self.report, self.config).units
        self.monitor.look(self.report, time.monotonic())
        self.looks = 0
        self.starter = Starter(self.fake, self.monitor, self.config, self._change)

    def _change(self) -> None:
        self.looks += 1

    def start(self, *units: Unit) -> str:
        """Why not, or nothing."""
        try:
            self.starter.start(units or self.units)
        except AllocationRefused as refused:
            return str(refused)
        return ""

    def states(self) -> list[str]:
        """What is said of the units now."""
        return [self.monitor.verdict(unit).state for unit in self.units]


def counts(bench: Bench) -> dict[tuple[str, str], StartCount]:
    return {(each.resource, each.outcome): each for each in bench.starter.counts()}


def test_what_is_asked_follows_from_the_resource() -> None:
    """The bitstream with all that is known of it, the ways that may be used, and a deadline that leaves time for the answer."""
    more = f", afuId: {NLB3}, interfaceId: {dfl().interface_id}, signature: nlb.sig"
    bench = Bench(f"{{name: fpga.example/nlb, unit: region, {program(more=more)}}}", dfl())
    begun = time.monotonic()
    assert bench.start() == ""
    (request,) = bench.fake.asked
    assert (request.function, request.region, request.backend) == (CARD, f"{CARD}/region0", "dfl")
    wanted = request.bitstream
    assert wanted is not None
    assert (wanted.name, wanted.sha256, wanted.afu_id, wanted.signature) == ("nlb.gbs", SUM, NLB3, "nlb.sig")
    assert wanted.interface_id == dfl().interface_id
    assert (request.ways, request.reset, request.clear_errors) == (("dfl-ioctl", "xrt"), False, True)
    assert begun + 20 < request.deadline <= begun + 25
    assert bench.fake.waited == [pytest.approx(GRACE)]


def test_one_way_that_is_named_is_the_only_one() -> None:
    """The others that may be used are for resources that name none."""
    bench = Bench(f"{{name: fpga.example/nlb, {program(more=', way: dfl-ioctl')}}}", dfl())
    bench.start()
    assert bench.fake.asked[0].ways == ("dfl-ioctl",)


def test_a_reset_asks_for_no_bitstream() -> None:
    """And for no way of programming."""
    bench = Bench(RESET, dfl())
    assert bench.start() == ""
    (request,) = bench.fake.asked
    assert (request.bitstream, request.ways, request.reset, request.clear_errors) == (None, (), True, False)


def test_nothing_is_asked_where_nothing_is_to_be_done() -> None:
    """A start that needs no hardware touches none."""
    bench = Bench("{name: fpga.example/plain}", dfl())
    assert (bench.start(), bench.fake.asked, bench.starter.counts()) == ("", [], ())


def test_a_region_is_programmed_once_for_all_its_functions() -> None:
    """Each of the others is still opened, cleared, and reset where its driver can."""
    first, second = dfl(), dfl(1, id=f"{CARD}/port1", region=f"{CARD}/region0")
    bench = Bench(NLB, first, second)
    assert bench.start() == ""
    assert [(each.function, each.bitstream is not None) for each in bench.fake.asked] == [
        (CARD, True),
        (f"{CARD}/port1", False),
    ]


def test_after_a_failure_nothing_more_is_done_to_a_region() -> None:
    """What could not be programmed is not reset behind it."""
    fake = Fake(lambda request: Prepared("failed", "its manager says write error"))
    bench = Bench(NLB, dfl(), dfl(1, id=f"{CARD}/port1", region=f"{CARD}/region0"), fake=fake)
    assert "has failed: its manager says write error" in bench.start()
    assert len(fake.asked) == 1


def test_the_regions_of_a_container_are_made_ready_together() -> None:
    """Two that need most of the time each are ready in time: both have been asked before either answers."""
    both = threading.Barrier(2, timeout=PATIENCE)

    def answer(request: Prepare) -> Prepared:
        both.wait()
        return Prepared("ready", was_reset=True)

    bench = Bench(
        "{name: fpga.example/u30, unit: group, reset: true}",
        alveo(0, group="2A0001", resettable=True),
        alveo(1, group="2A0001", resettable=True),
        fake=Fake(answer),
    )
    assert bench.start() == ""
    assert counts(bench)["fpga.example/u30", "ready"].resets == 2
    assert counts(bench)["fpga.example/u30", "ready"].count == 1


@pytest.mark.parametrize(
    ("outcome", "said", "state"),
    [
        ("busy", f"{CARD} is busy: a reason", "Healthy"),
        ("refused", f"{CARD} cannot be made ready: a reason", "Healthy"),
        ("failed", f"{CARD} has failed: a reason", "ProgrammingFailed"),
        ("late", f"{CARD} was not ready in time: a reason", "Healthy"),
    ],
)
def test_only_broken_hardware_makes_unhealthy(outcome: Any, said: str, state: str) -> None:
    """The container gets a short true error either way, and what came of it is counted by its name."""
    bench = Bench(RESET, dfl(), fake=Fake(lambda request: Prepared(outcome, "a reason")))
    assert bench.start() == said
    assert bench.states() == [state]
    assert counts(bench)["fpga.example/reset", outcome].count == 1


def test_a_later_success_recovers_what_has_failed() -> None:
    """The kubelet tries again, with an id that is Unhealthy now."""
    answers = iter([Prepared("failed", "gone"), Prepared("ready", was_reset=True)])
    bench = Bench(RESET, dfl(), fake=Fake(lambda request: next(answers)))
    assert bench.start() != ""
    assert bench.states() == ["ProgrammingFailed"]
    assert bench.start() == ""
    assert bench.states() == ["Healthy"]


def test_after_programming_a_look_is_wanted() -> None:
    """No event tells that the region holds something else."""
    bench = Bench(NLB, dfl(), fake=Fake(lambda request: Prepared("ready", programmed=True, seconds=2.0)))
    assert bench.start() == ""
    assert bench.looks == 1
    done = counts(bench)["fpga.example/nlb", "ready"]
    assert (done.programmed, done.programming_seconds) == (1, 2.0)


@pytest.mark.parametrize("error", [BorderFailed("program fpga-operate: it has ended"), AllocationRefused("not now")])
def test_a_process_that_does_not_answer_says_nothing_of_the_hardware(error: Exception) -> None:
    """It is an error of this start alone, with the reason."""

    def answer(request: Prepare) -> Prepared:
        raise error

    bench = Bench(RESET, dfl(), fake=Fake(answer))
    assert bench.start() == f"{CARD} cannot be made ready: {error}"
    assert bench.states() == ["Healthy"]
    assert bench.looks == 1  # it may have been reset all the same


def test_an_answer_that_nobody_has_explains_nothing_more() -> None:
    """Without a reason the sentence ends where it is still true."""
    bench = Bench(RESET, dfl(), fake=Fake(lambda request: Prepared("busy")))
    assert bench.start() == f"{CARD} is busy"


def test_several_failures_are_one_sentence() -> None:
    """The first, and how many more there are."""
    bench = Bench(RESET, dfl(), dfl(1), dfl(2), fake=Fake(lambda request: Prepared("busy", "in use")))
    assert bench.start() == f"{CARD} is busy: in use; 2 more of its 3 devices are not ready either"


def test_a_long_text_is_cut() -> None:
    """It ends up in the pod's status."""
    bench = Bench(RESET, dfl(), fake=Fake(lambda request: Prepared("failed", "x" * 5000)))
    assert len(bench.start()) < 400


def test_who_waits_for_a_region_in_vain_is_late() -> None:
    """The one at work goes on; the other is told in time, and nothing was asked for it."""
    reached, gate = threading.Event(), threading.Event()

    def answer(request: Prepare) -> Prepared:
        reached.set()
        gate.wait(PATIENCE)
        return Prepared("ready")

    bench = Bench(RESET, dfl(), fake=Fake(answer), deadline=0.2)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(bench.start)
        assert reached.wait(PATIENCE)
        second = bench.start()
        gate.set()
        assert first.result() == ""
    assert second.startswith(f"{CARD} was not ready in time: {CARD}/region0 is being made ready")
    assert len(bench.fake.asked) == 1


def test_nobody_is_asked_when_the_time_is_over() -> None:
    """Whoever does not answer within the time is taken for one that hangs, and is killed with all that it does for others."""

    def answer(request: Prepare) -> Prepared:
        assert not threading.Event().wait(request.deadline + 0.01 - time.monotonic())
        return Prepared("ready", programmed=True)

    bench = Bench(NLB, dfl(), dfl(1, id=f"{CARD}/port1", region=f"{CARD}/region0"), fake=Fake(answer), deadline=0.2)
    assert (
        bench.start()
        == f"{CARD}/region0@{bench.units[0].id[-8:]} was not ready in time: there was no time left for {CARD}/port1"
    )
    assert len(bench.fake.asked) == 1


def test_fifty_starts_on_eight_regions() -> None:
    """Never two at once on one region, and none is lost."""
    working: Counter[str] = Counter()
    most: Counter[str] = Counter()
    lock = threading.Lock()

    def answer(request: Prepare) -> Prepared:
        with lock:
            working[request.region] += 1
            most[request.region] = max(most[request.region], working[request.region])
        threading.Event().wait(0.002)
        with lock:
            working[request.region] -= 1
        return Prepared("ready", was_reset=True)

    bench = Bench(RESET, *(dfl(number) for number in range(8)), fake=Fake(answer))
    with ThreadPoolExecutor(50) as pool:
        said = list(pool.map(lambda number: bench.start(bench.units[number % 8]), range(50)))
    assert said == [""] * 50
    assert len(bench.fake.asked) == 50
    assert set(most.values()) == {1}
    assert counts(bench)["fpga.example/reset", "ready"].count == 50
    assert bench.states() == ["Healthy"] * 8


# --- which resources need it ------------------------------------------------------------------------------------------------


def test_only_what_asks_for_it_is_required() -> None:
    """While the supervisor is down, containers of such a resource cannot start again: so for no other."""
    config = config_of(
        f"{{programming: [dfl-ioctl], resources: [{{name: a.example/plain, match: [{{id: [{CARD}]}}]}}, {NLB}]}}"
    )
    units = offer(Report((dfl(), dfl(1))), config).units
    assert not required("a.example/plain", units, rules_of(config))
    assert required("fpga.example/nlb", units, rules_of(config))
    assert not required("other.example/x", units, rules_of(config))


def test_a_function_that_is_away_does_not_come_back_unprepared() -> None:
    """Without a unit, the rules that may have given the name decide."""
    config = config_of("{resources: [{name: 'a.example/{backend}', reset: true}, {name: 'b.example/{backend}'}]}")
    assert required("a.example/dfl", (), rules_of(config))
    assert not required("b.example/dfl", (), rules_of(config))


# --- by the real process ----------------------------------------------------------------------------------------------------


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., tuple[Yard, Bench]]]:
    """A yard with a bench whose starter asks a real process."""
    ends: list[Callable[[], None]] = []

    def machine(kind: Any = "dfl_a10", unit: str = "region") -> tuple[Yard, Bench]:
        yard = Yard(tmp_path, kind)
        ends.append(yard.tree.close)
        monkeypatch.setenv("FPGA_SIMULATED", "")
        monkeypatch.setenv("FPGA_BITSTREAMS", yard.settings.bitstreams)
        wanted = yard.file()
        rule = f"{{name: fpga.example/nlb, unit: {unit}, program: {{bitstream: {wanted.name}, sha256: '{wanted.sha256}'}}}}"
        operator = border(Host(str(yard.tree.sys), str(yard.tree.dev)), simulated=True)
        ends.insert(0, operator.close)
        return yard, Bench(rule, *survey(yard.tree).look().report.functions, fake=operator)

    yield machine
    for end in ends:
        end()


def test_a_region_is_programmed_and_then_only_reset(machine: Callable[..., tuple[Yard, Bench]]) -> None:
    """The kubelet asks again and again: what is there already is not written anew."""
    yard, bench = machine()
    assert (bench.start(), bench.start()) == ("", "")
    assert yard.attribute("dfl-port.0/afu_id") == NLB3
    done = counts(bench)["fpga.example/nlb", "ready"]
    assert (done.count, done.programmed, done.resets) == (2, 1, 1)


def test_a_missing_bitstream_is_an_error_of_the_resource(machine: Callable[..., tuple[Yard, Bench]]) -> None:
    """The device stays Healthy, and the sentence names the file."""
    yard, bench = machine()
    (yard.folder / "nlb3.gbs").unlink()
    assert "nlb3.gbs" in bench.start()
    assert bench.states() == ["Healthy"]


def test_fifty_starts_by_the_process(machine: Callable[..., tuple[Yard, Bench]]) -> None:
    """On eight regions: all are ready in the end, each programmed once."""
    cards = [f"0000:{bus:02x}:00.0" for bus in range(0x10, 0x18)]
    _, bench = machine(dfl_machine([Card(address, interface=A10_INTERFACE) for address in cards]))
    with ThreadPoolExecutor(50) as pool:
        said = list(pool.map(lambda number: bench.start(bench.units[number % 8]), range(50)))
    assert said == [""] * 50
    done = counts(bench)["fpga.example/nlb", "ready"]
    assert (done.count, done.programmed, done.resets) == (50, 8, 42)


def test_a_card_that_hangs_costs_its_own_container_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told in time, and the hardware is not called broken for it; the next card is ready at once, by the same process."""
    yard = Yard(tmp_path, "dfl_hanging")
    monkeypatch.setenv("FPGA_SIMULATED", "")
    operator = border(Host(str(yard.tree.sys), str(yard.tree.dev)), simulated=True)
    other = dfl(id=SECOND, pci=SECOND, card=SECOND, region=f"{SECOND}/region0")
    try:
        operator.open(time.monotonic() + PATIENCE)
        bench = Bench(RESET, dfl(), other, fake=Patient(operator), deadline=2.5)
        assert bench.start(bench.units[0]).startswith(f"{CARD} was not ready in time: there was no time left for ")
        patient = Bench(RESET, dfl(), other, fake=operator)
        assert patient.start(patient.units[1]) == ""
        assert patient.start(patient.units[0]).startswith(f"{CARD} is busy: the driver has not come back")
        assert (bench.states(), operator.restarts) == (["Healthy", "Healthy"], 0)
    finally:
        operator.close()
        yard.tree.close()


def test_a_simulation_has_no_helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one of the node has the machine's own functions, perhaps by the same ids."""
    monkeypatch.setenv("FPGA_SIMULATED", "")
    operator = border(Host(str(tmp_path / "sys"), str(tmp_path / "dev"), helper_socket="/dev/log"), simulated=True)
    assert not helped(operator)


# --- what will never be ready -----------------------------------------------------------------------------------------------


def test_what_cannot_be_reached_is_told_by_resource(tmp_path: Path) -> None:
    """Before a container fails for it, and only where something would be done."""
    (tmp_path / "dev").mkdir()
    for number in range(2):
        (tmp_path / "dev" / f"dfl-port.{number}").symlink_to("nowhere")  # not even root may write to it
    host = Host(sysfs=str(tmp_path / "sys"), dev=str(tmp_path / "dev"), helper_socket="/nonexistent")
    config = FpgaConfig(resources=config_of(f"{{resources: [{RESET}]}}").resources)
    units = offer(Report((dfl(), dfl(1))), config).units
    (notice,) = notices(units, host, border(host))
    assert notice.startswith(
        f"containers with fpga.example/reset cannot start: {CARD} and 1 more cannot be programmed or reset"
    )
    assert [*notices(offer(Report((dfl(),)), FpgaConfig()).units, host, border(host))] == []


def test_what_is_there_and_may_be_written_is_within_reach(tmp_path: Path) -> None:
    """A node that is absent may come, and says nothing."""
    (tmp_path / "dfl-port.0").touch()
    host = Host(sysfs=str(tmp_path), dev=str(tmp_path))
    assert reachable(dfl(), host)
    assert reachable(dfl(1), host)
    assert reachable(alveo(), host)
