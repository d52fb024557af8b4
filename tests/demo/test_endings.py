"""The end of the demo: by a signal, by a failure, by a reader who goes away, with ``--keep``. Nothing of it stays."""

import json
import os
import re
import signal
import urllib.request
from pathlib import Path

import pytest

from tests.demo.showing import ACTS, SIMULATED, Showing, python_without


@pytest.mark.parametrize(
    ("moment", "number"),
    [
        ("written is this", signal.SIGINT),
        ("A kubelet", signal.SIGINT),
        ("opens what Allocate named", signal.SIGTERM),
        ("stands by", signal.SIGHUP),
    ],
)
def test_an_interruption_leaves_nothing_behind(moment: str, number: signal.Signals) -> None:
    """A signal ends it in the midst of an act, without a traceback, and with the usual exit code."""
    with Showing() as demo:
        demo.until("dps-demo-")
        demo.until(moment)
        demo.signal(number)
        code, errors = demo.end()
        assert (code, errors) == (128 + number, ""), demo.output
        assert "Interrupted. Nothing is left behind." in demo.output
        assert demo.left_behind() == []


def test_an_act_that_does_not_come_true_fails() -> None:
    """On a full disk (no file may grow) it says why, exits with 1, and does not go on."""
    with Showing(wrapper=("sh", "-c", 'ulimit -f 0; exec "$@"', "sh")) as demo:
        code, errors = demo.end()
        assert (code, errors) == (1, ""), demo.output
        assert "✗ [Errno 27] File too large" in demo.output
        assert demo.done == 0
        assert demo.processes() == {}


def test_a_reader_who_goes_away_ends_it() -> None:
    """In a pipe to something like head it cleans up and does not complain."""
    with Showing() as demo:
        demo.until("dps-demo-")
        demo.stop_reading()
        code, errors = demo.end()
        assert (code, errors) == (1, "")
        assert demo.left_behind() == []


def test_keep_goes_on_until_interrupted(tmp_path: Path) -> None:
    """With --keep the supervisor answers at the address that is shown, and Ctrl-C is a good end."""
    with Showing("--keep", python=python_without(SIMULATED, tmp_path)) as demo:
        demo.until("Ctrl-C ends it")
        demo.until("/status")
        url = re.search(r"(http://\S+)/status", demo.output)
        assert url is not None
        with urllib.request.urlopen(f"{url[1]}/status", timeout=20) as answer:
            status = json.load(answer)
        assert status["active"]
        assert all(resource["phase"] == "connected" for resource in status["resources"])
        demo.signal(signal.SIGINT)
        assert demo.end() == (0, ""), demo.output
        assert demo.done == ACTS - len(SIMULATED)
        assert demo.left_behind() == []


def test_keep_may_be_interrupted_as_soon_as_it_says_so(tmp_path: Path) -> None:
    """Ctrl-C in the midst of what it says about going on is the good end, too."""
    with Showing("--keep", python=python_without(SIMULATED, tmp_path)) as demo:
        demo.until("Ctrl-C ends it")
        demo.signal(signal.SIGINT)
        assert demo.end() == (0, ""), demo.output
        assert demo.left_behind() == []


def test_keep_fails_when_the_supervisor_ends(tmp_path: Path) -> None:
    """A supervisor that is gone is not kept running: exit code 1."""
    with Showing("--keep", python=python_without(SIMULATED, tmp_path)) as demo:
        demo.until("Ctrl-C ends it")
        (supervisor,) = [pid for pid, command in demo.processes().items() if " supervisor run " in command]
        os.kill(supervisor, signal.SIGKILL)
        assert demo.end() == (1, ""), demo.output
        assert "✗ the supervisor has ended" in demo.output
        assert demo.left_behind() == []
