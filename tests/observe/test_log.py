"""The log says each change once, folds what repeats, and is never in the way."""

import fcntl
import json
import logging
import os
import select
import threading
import typing
from collections.abc import Iterator
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from supervisor import events
from supervisor.model import Health
from supervisor.observe.log import (
    BURST,
    FIRST_WINDOW,
    LONGEST_LINE,
    LONGEST_WINDOW,
    MOST_SUBJECTS,
    Log,
    Style,
    keep_flushing,
    libraries_logged,
    style_for,
)
from supervisor.observe.sentences import SENTENCES, Grade, sentence

GPU = "vendor.example/gpu"
LOST = events.StreamLost(GPU)
FAILED = events.LookFailed("gpu", "no driver", 3, 8.0)


class Reader:
    """The other end of a log, and its clock."""

    def __init__(self) -> None:
        self.end, self.descriptor = os.pipe()
        os.set_blocking(self.end, False)
        self.now = 0.0

    def log(self, style: Style = Style.TEXT, least: Grade = Grade.INFO) -> Log:
        return Log(self.descriptor, style, least, lambda: self.now)

    def read(self) -> str:
        heard = b""
        while select.select([self.end], [], [], 0)[0] and (data := os.read(self.end, 65536)):
            heard += data
        return heard.decode()

    def lines(self) -> list[str]:
        """The lines without their dates."""
        return [line.partition(" ")[2] for line in self.read().splitlines()]

    def objects(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.read().splitlines()]

    def close(self) -> None:
        for descriptor in (self.end, self.descriptor):
            os.close(descriptor)


@pytest.fixture
def reader() -> Iterator[Reader]:
    made = Reader()
    yield made
    made.close()


# What is said ---------------------------------------------------------------------------------------------------------


def _examples() -> dict[type[events.Event], events.Event]:
    values: dict[Any, Any] = {
        str: "text", float: 8.25, int: 3, bool: True, tuple[str, ...]: ("one", "two"), Health | None: Health.UNHEALTHY,
    }  # fmt: skip
    return {
        kind: kind(
            **{name: values[hint] for name, hint in typing.get_type_hints(kind).items() if name in kind.__struct_fields__}
        )
        for kind in events.Event.__subclasses__()
    }


@pytest.mark.parametrize("event", _examples().values(), ids=lambda event: type(event).__name__)
def test_every_event_has_its_sentence(event: events.Event, reader: Reader) -> None:
    """No event is left out, every sentence can be filled, and both styles can show it."""
    assert type(event) in SENTENCES
    grade, text = sentence(event)
    assert text
    assert "{" not in text
    log = reader.log(Style.JSON, Grade.DEBUG)
    log(event)
    (shown,) = reader.objects()
    assert shown["event"] == type(event).__name__
    assert shown["level"] == grade.name.lower()
    assert shown["message"] == text


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (FAILED, "warning plugin gpu could not look: no driver; its last devices stay, it looks again in 8 s"),
        (
            events.RegistrationFailed(GPU, "refused", 0.5),
            f"warning {GPU} could not register: refused; retrying in 0.5 s",
        ),
        (
            events.DeviceChanged("gpu", GPU, "g0", Health.UNHEALTHY, "XID 79"),
            f"warning {GPU}: g0 is unhealthy: XID 79; no new pod gets it until it recovers",
        ),
        (events.DeviceChanged("gpu", GPU, "g0", Health.HEALTHY, ""), f"info    {GPU}: g0 is healthy"),
        (events.DeviceChanged("gpu", GPU, "g0", None, ""), f"info    {GPU}: g0 is gone"),
        (events.OwnershipChanged(active=False, reason="pid 7 owns it"), "info    this process stands by: pid 7 owns it"),
        (
            events.ConfigApplied(2, ("gpu",), ("http",)),
            "info    configuration 2 applied; changed: gpu; at the next start: http",
        ),
        (events.PluginNoticed("gpu", ()), "info    plugin gpu has nothing to say any more"),
    ],
)
def test_a_line_says_what_happened_and_what_comes_next(event: events.Event, line: str, reader: Reader) -> None:
    """Plugin, resource, device, reason and the next step, in one sentence."""
    reader.log()(event)
    assert reader.lines() == [line]


def test_json_has_everything_in_its_own_field(reader: Reader) -> None:
    """One object a line, with the event's fields beside the sentence."""
    reader.log(Style.JSON)(FAILED)
    (shown,) = reader.objects()
    assert shown.pop("time").endswith("Z")
    assert shown.pop("message").startswith("plugin gpu could not look")
    assert shown == {
        "level": "warning",
        "event": "LookFailed",
        "plugin": "gpu",
        "reason": "no driver",
        "failures": 3,
        "retry_in": 8.0,
    }


def test_an_event_without_a_sentence_is_shown_as_it_is() -> None:
    """A new event is never lost because nobody wrote its sentence."""

    class Surprise(events.Event, frozen=True):
        what: str

    assert sentence(Surprise("party")) == (Grade.INFO, "Surprise(what='party')")


def test_levels_leave_lines_out(reader: Reader) -> None:
    """Less grave lines are not written; the level can be changed while running."""
    log = reader.log(least=Grade.WARNING)
    log(events.PluginRecovered("gpu"))
    log(FAILED)
    log.set_level("debug")
    log(events.UeventReceived("usb", "add"))
    assert [line.split()[0] for line in reader.lines()] == ["warning", "debug"]


def test_a_section_of_nobody_is_of_no_distribution() -> None:
    """Every other refusal says whose it is."""
    assert sentence(events.PluginRejected("gpu", "", "absent"))[1] == "plugin gpu is not used: absent"
    assert sentence(events.PluginRejected("gpu", "acme", "broken"))[1] == "plugin gpu of acme is not used: broken"


@given(st.text(st.characters(exclude_categories=()), max_size=3000), st.sampled_from(Style))
def test_any_text_is_one_line_that_fits_a_pipe(text: str, style: Style) -> None:
    """Line ends, control characters, undecodable names and quotes: one line of at most PIPE_BUF bytes."""
    reader = Reader()
    try:
        log = reader.log(style)
        log(events.PluginRejected(text, text, text))
        log(events.ConfigRejected((text, text)))
        written = reader.read()
    finally:
        reader.close()
    assert written.endswith("\n")
    assert len(written.splitlines()) == 2
    assert all(len(line.encode()) < LONGEST_LINE for line in written.splitlines())
    if style is Style.JSON:
        assert all(json.loads(line)["message"] for line in written.splitlines())


# What is folded -------------------------------------------------------------------------------------------------------


def test_the_same_again_is_folded(reader: Reader) -> None:
    """The first is shown at once, the others as a count when the window is over, though their numbers differ."""
    log = reader.log()
    for failures in range(1, 6):
        log(events.LookFailed("gpu", "no driver", failures, 2.0**failures))
    assert len(reader.lines()) == 1
    reader.now = FIRST_WINDOW
    log.flush()
    (line,) = reader.lines()
    assert line.endswith("it looks again in 32 s (the last of 4 such lines in 60 s)")


def test_a_lasting_repetition_gets_ever_longer_windows(reader: Reader) -> None:
    """A plugin that fails for a day writes a line every ten minutes, and no repetition is uncounted."""
    log = reader.log(Style.JSON)
    shown: list[dict[str, Any]] = []
    for half_minute in range(24 * 120):
        reader.now = 30.0 * half_minute
        log(FAILED)
        shown += reader.objects()
    log.close()
    shown += reader.objects()
    assert len(shown) < 24 * 60 * 60 / LONGEST_WINDOW + 10
    assert sum(line.get("repeated", 1) for line in shown) == 24 * 120


def test_a_repetition_after_a_quiet_window_is_news(reader: Reader) -> None:
    """What happens once a day is shown each time."""
    log = reader.log()
    for day in range(3):
        reader.now = day * 86400.0
        log(LOST)
    assert len(reader.lines()) == 3


def test_each_change_of_state_is_shown(reader: Reader) -> None:
    """Lost, connected, lost: three lines, and what was held back comes before the change."""
    log = reader.log()
    connected = events.Registered(GPU, 0.01)
    for event in (LOST, connected, LOST, LOST, LOST, connected):
        log(event)
    words = ["lost", "is connected", "lost", "the last of 2 such lines", "is connected"]
    lines = reader.lines()
    assert [word in line for word, line in zip(words, lines, strict=True)] == [True] * 5


def test_flapping_is_folded_too(reader: Reader) -> None:
    """A thousand changes about one resource in a second: a few lines, and the last state is the last line."""
    log = reader.log()
    for _ in range(500):
        log(LOST)
        log(events.Registered(GPU, 0.01))
    assert len(reader.lines()) == 2 * BURST
    reader.now = FIRST_WINDOW
    log.flush()
    (line,) = reader.lines()
    assert "is connected" in line
    assert line.endswith(f"(the last of {1000 - 2 * BURST} such lines in 60 s)")


def test_good_news_does_not_hide_a_warning(reader: Reader) -> None:
    """A node with many devices tells of each at the start; one that breaks right after that is told, too."""
    log = reader.log()
    for device in range(100):
        log(events.DeviceChanged("gpu", GPU, f"g{device}", Health.HEALTHY, ""))
    assert len(reader.lines()) == BURST
    log(events.DeviceChanged("gpu", GPU, "g7", Health.UNHEALTHY, "XID 79"))
    assert any("XID 79" in line for line in reader.lines())


def test_a_noisy_resource_silences_no_other(reader: Reader) -> None:
    """Windows are kept for each subject."""
    log = reader.log()
    for device in range(1000):
        log(events.DeviceChanged("gpu", GPU, f"g{device}", Health.HEALTHY, ""))
    reader.read()
    log(events.StreamLost("vendor.example/nic"))
    assert len(reader.lines()) == 1


def test_windows_are_bounded(reader: Reader) -> None:
    """With more subjects than are remembered, the oldest window ends early and tells its count."""
    log = reader.log()
    log(FAILED)
    log(FAILED)
    log(FAILED)
    for number in range(MOST_SUBJECTS):
        log(events.StreamLost(f"vendor.example/r{number}"))
        reader.now += 0.001
    assert len(log._windows) == MOST_SUBJECTS
    assert any("the last of 2 such lines" in line for line in reader.lines())


def test_the_end_shows_what_was_held_back(reader: Reader) -> None:
    """Closing forgets nothing."""
    log = reader.log()
    for _ in range(3):
        log(LOST)
    reader.read()
    log.close()
    assert "the last of 2" in reader.lines()[0]


async def test_held_lines_come_without_a_next_event(reader: Reader, autojump_clock: trio.testing.MockClock) -> None:
    """The flushing task shows them in time, and the rest when it is cancelled."""
    log = Log(reader.descriptor, Style.TEXT, clock=trio.current_time)
    log(LOST)
    log(LOST)
    log(LOST)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep_flushing, log)
        await trio.sleep(FIRST_WINDOW + 1)
        assert "the last of 2" in reader.lines()[-1]
        log(LOST)
        nursery.cancel_scope.cancel()
    assert len(reader.lines()) == 1


# What goes wrong ------------------------------------------------------------------------------------------------------


def test_a_slow_reader_stops_nobody(reader: Reader) -> None:
    """With a full pipe lines are dropped, and their number is the first that is written when there is room again."""
    fcntl.fcntl(reader.descriptor, fcntl.F_SETPIPE_SZ, 8192)
    log = reader.log()
    for number in range(500):
        log(events.PluginRejected(f"p{number}", "package", "x" * 500))
    kept = len(reader.lines())
    assert 0 < kept < 500
    log(LOST)
    dropped, line = reader.lines()
    assert dropped == f"warning {500 - kept} lines were dropped: nobody read them fast enough"
    assert "lost" in line


def test_a_reader_that_is_gone_stops_nobody() -> None:
    """A broken pipe and a closed descriptor are borne in silence."""
    end, descriptor = os.pipe()
    os.close(end)
    log = Log(descriptor, Style.TEXT)
    log(LOST)
    os.close(descriptor)
    log(FAILED)
    assert log._dropped == 2


def test_a_regular_file_is_written(tmp_path: Any) -> None:
    """A file can always be written, and gets JSON."""
    with (tmp_path / "log").open("wb", buffering=0) as file:
        assert style_for(file.fileno()) is Style.JSON
        Log(file.fileno())(LOST)
    assert json.loads((tmp_path / "log").read_text())["resource"] == GPU


def test_a_terminal_gets_text() -> None:
    """A person reads sentences."""
    parent, child = os.openpty()
    try:
        assert style_for(child) is Style.TEXT
        Log(child)(LOST)
        assert b"lost the kubelet's stream" in os.read(parent, 4096)
    finally:
        os.close(parent)
        os.close(child)


def test_threads_do_not_mix_their_lines(reader: Reader) -> None:
    """Lines from many threads arrive whole, and none is lost or doubled."""
    fcntl.fcntl(reader.descriptor, fcntl.F_SETPIPE_SZ, 1 << 20)
    log = reader.log(Style.JSON)

    def write(name: str) -> None:
        for number in range(50):
            log.write(Grade.INFO, f"line {number}", logger=f"{name}{number}")

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({shown["logger"] for shown in reader.objects()}) == 200


def test_a_destructor_that_logs_does_not_lock_the_log(reader: Reader) -> None:
    """The collector of garbage may log in the middle of a line of the same thread: that line is dropped and counted."""
    log = reader.log()
    again: list[events.Event] = [FAILED]

    def clock() -> float:
        if again:
            log(again.pop())
        return 0.0

    log._clock = clock
    log(LOST)
    assert reader.lines() == [
        "warning 1 lines were dropped: nobody read them fast enough",
        f"warning {GPU} lost the kubelet's stream; it registers again",
    ]


def test_the_warnings_of_libraries_are_lines_too(reader: Reader) -> None:
    """Warnings and errors, with their cause; nothing below, nothing after."""
    log = reader.log(Style.JSON)
    library = logging.getLogger("some.library")
    with libraries_logged(log):
        library.info("not this")
        library.warning("queue %d is full", 7)
        try:
            raise OSError("no space")
        except OSError:
            library.exception("could not write")
    library.warning("not this either")
    assert [(shown["level"], shown["message"], shown["logger"]) for shown in reader.objects()] == [
        ("warning", "queue 7 is full", "some.library"),
        ("error", "could not write: OSError: no space", "some.library"),
    ]


def test_a_library_that_formats_badly_is_shown_unformatted(reader: Reader) -> None:
    """A record that cannot be put together is no reason to raise in the library's code."""
    before = set(logging.getLogger().handlers)
    with libraries_logged(reader.log()):
        (bridge,) = set(logging.getLogger().handlers) - before
        bridge.handle(logging.LogRecord("some.library", logging.WARNING, "x.py", 1, "bad %d", ("format",), None))
    assert reader.lines() == ["warning 'bad %d' with ('format',)"]
