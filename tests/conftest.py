"""Rules for all tests: what is missing on this machine is listed at the end, and CI forbids any skip."""

import os
import signal
from collections import defaultdict
from collections.abc import Generator, Iterator
from itertools import groupby

import pytest
from hypothesis import settings

from tests.machine import TOOLS, found, need

pytest_plugins = ["tests.bed.fixtures", "tests.plugins.nvidia_gpu.fakenvml.fixtures"]

MOST_NAMES = 12
"""Of one file's tests that are listed one by one."""

# Programs that are started here can be interrupted, also where the tests themselves run in the background of a shell or under nohup.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine is no reason for a law to fail.
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the switch that makes a skipped test a failed one."""
    parser.addoption(
        "--no-skips-allowed",
        action="store_true",
        default=bool(os.environ.get("NO_SKIPS")),
        help="a test that would be skipped fails (also: NO_SKIPS=1 in the environment)",
    )


def _needs(item: pytest.Item) -> list[str]:
    names = [str(name) for marker in item.iter_markers("requires") for name in marker.args]
    return names + [marker.name for marker in item.iter_markers() if marker.name in {"root", "namespaces"}]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Refuse a need that nobody knows how to meet; where no skip is allowed, leave out what wants other hardware."""
    for item in items:
        if unknown := set(_needs(item)) - set(TOOLS):
            raise pytest.UsageError(f"{item.nodeid} requires {', '.join(sorted(unknown))}: not in tests/machine.py")
    if config.getoption("--no-skips-allowed"):
        left_out = [item for item in items if any(TOOLS[name].hardware and not found(name) for name in _needs(item))]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test, before its fixtures run, where the machine lacks what it needs."""
    need(*_needs(item))


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    return report.longrepr[2].removeprefix("Skipped: ") if isinstance(report.longrepr, tuple) else str(report.longrepr)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip into a failure where none is allowed."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and item.config.getoption("--no-skips-allowed"):
        report.longrepr, report.outcome = f"skipped, which is not allowed here: {_reason(report)}", "failed"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Turn a skipped module into a failure where none is allowed."""
    report = yield
    if report.skipped and collector.config.getoption("--no-skips-allowed"):
        report.longrepr, report.outcome = f"skipped, which is not allowed here: {_reason(report)}", "failed"
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List, by name, the tests that did not run here, under what each wants; many of one file by their number."""
    skipped: dict[str, list[str]] = defaultdict(list)
    for report in terminalreporter.stats.get("skipped", []):
        skipped[_reason(report)].append(report.nodeid)
    if skipped:
        terminalreporter.section("not run on this machine", yellow=True)
    for reason, names in sorted(skipped.items()):
        terminalreporter.write_line(reason)
        for name in _told(names):
            terminalreporter.write_line(f"    {name}")


def _told(names: list[str]) -> Iterator[str]:
    for file, group in groupby(sorted(names), lambda name: name.partition("::")[0]):
        tests = list(group)
        yield from tests if len(tests) <= MOST_NAMES else [f"{file}: {len(tests)} tests"]
