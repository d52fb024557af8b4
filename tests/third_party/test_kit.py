"""The kit for plugin authors on installed packages: what passes there is what a node would run."""

from collections.abc import Callable
from pathlib import Path

import pytest

from supervisor.errors import PluginRefused
from supervisor.kubelet.simulator import KubeletSimulator
from supervisor.testing import FakeHost, check_plugin, plugins_of
from supervisor.testing.supervised import Supervised

Run = Callable[..., Supervised]


@pytest.fixture(autouse=True)
def _samples(installed_samples: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(installed_samples))


@pytest.fixture
def fake(tmp_path: Path) -> FakeHost:
    """A machine with two boards of gadgets and the driver's events."""
    made = FakeHost(tmp_path)
    for number, (serial, node) in enumerate([("A-0", "0"), ("A-1", "0"), ("B-0", "1"), ("B-1", "1")]):
        attributes = {"serial": serial, "status": "ok", "numa_node": node, "reset": "0"}
        made.add_device("acme", f"gadget{number}", attributes, node=f"gadget{number}")
    return made


def test_the_good_sample_passes(fake: FakeHost) -> None:
    """The smallest plugin has no problem."""
    fake.write("/dev/widget0")
    (plugin,) = plugins_of("acme-widget", host=fake.host)
    report = check_plugin(plugin)
    assert (report.problems, report.devices) == ((), {"acme.example/widget": 1})


def test_an_object_that_would_be_left_out_is_an_error_here() -> None:
    """An author wants to know, where an operator wants the rest."""
    with pytest.raises(PluginRefused, match="return an instance, Nonsense"):
        plugins_of("nonsense")


def test_a_supervisor_that_ends_badly_fails_the_test(
    kubelet: KubeletSimulator, fake: FakeHost, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its exit code and its log are shown, and nobody waits for what it can no longer say."""
    supervised = Supervised(kubelet.paths, tmp_path, {"acme-widget": {"colour": "red"}}, fake.host)
    supervised.__enter__()
    with pytest.raises(TimeoutError, match="'connected' was not in the supervisor's log when it ended"):
        supervised.wait_log("connected", timeout=60)
    with pytest.raises(AssertionError, match="exit code 2"):
        supervised.__exit__(None, None, None)
    assert "colour" in capsys.readouterr().err


def test_a_supervisor_is_stopped_in_good_order(kubelet: KubeletSimulator, fake: FakeHost, supervised: Run) -> None:
    """After SIGTERM it ends with exit code 0, once and for all."""
    fake.write("/dev/widget0")
    running = supervised({"acme-widget": {}}, fake.host)
    kubelet.wait_devices("acme.example/widget", {"/dev/widget0": "Healthy"})
    assert running.stop() == 0
    assert running.stop() == 0
