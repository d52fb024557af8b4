"""A thread of the supervisor that stops turning ends the process, so that the kubelet starts it anew; the other one says so."""

import pytest

from supervisor.kubelet.simulator import KubeletSimulator
from tests.system.conftest import Start
from tests.system.rig import HEALTHY, RESOURCE

IMPATIENT = """
import sys, time
from supervisor import heartbeat

heartbeat.PERIOD, heartbeat.FATAL = 0.1, 1.0  # before anybody has taken the real ones

from supervisor import supervision
from supervisor.cli import main
from supervisor.kubelet.wire import Wire


def wedge_supervising(supervisor):
    async def hang(*arguments):
        time.sleep(60)

    supervisor._watch_config = hang


def wedge_wire(supervisor):
    async def hang(*arguments):
        supervisor._wire._order(time.sleep, 60)

    supervisor._watch_config = hang


def start(supervisor, *arguments, original=supervision.Supervisor.__init__):
    original(supervisor, *arguments)
    {wedge}(supervisor)


supervision.Supervisor.__init__ = start
sys.exit(main())
"""
"""The supervisor with little patience, one of whose threads hangs for a minute when it has started."""


@pytest.mark.parametrize(
    ("wedge", "sentence"),
    [
        ("wedge_supervising", "the supervising thread has not turned for too long; ending the process"),
        ("wedge_wire", "device-plugin-supervisor: the wire thread does not turn: it hangs"),
    ],
)
def test_the_process_ends(kubelet: KubeletSimulator, start: Start, wedge: str, sentence: str) -> None:
    """Exit code 1, which thread it was, and a successor that serves at once."""

    def wrap(command: list[str]) -> list[str]:
        return [command[0], "-c", IMPATIENT.replace("{wedge}", wedge), *command[3:]]

    process = start(wrap=wrap)
    assert process.wait() == 1
    assert sentence in process.log
    assert ("most recent call first" in process.log) == (wedge == "wedge_supervising")
    start()
    kubelet.wait_devices(RESOURCE, HEALTHY)
