"""The third-party road to its end: installed packages, the real program, a simulated kubelet. No package hurts another."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from supervisor.kubelet.simulator import KubeletSimulator, Phase
from supervisor.testing import FakeHost
from supervisor.testing.supervised import Supervised

WIDGET = "acme.example/widget"
WIDGETS = {"/dev/widget0": "Healthy", "/dev/widget1": "Healthy"}
PLACES = ["discover", "watch", "allocate", "preferred_allocation", "pre_start"]

Run = Callable[..., Supervised]


@pytest.fixture
def kubelet(short_dir: Path) -> Iterator[KubeletSimulator]:
    """A kubelet that knows its pods at once, so that these tests need not wait a second each."""
    with KubeletSimulator(short_dir, sources_delay=0.0) as simulator:
        yield simulator


@pytest.fixture
def run(installed_samples: Path, monkeypatch: pytest.MonkeyPatch, fake_host: FakeHost, supervised: Run) -> Run:
    """Starts the supervisor with the widgets, of which there are two, and the named packages."""
    monkeypatch.syspath_prepend(str(installed_samples))
    for name in ("widget0", "widget1"):
        fake_host.write(f"/dev/{name}")
    return lambda **sections: supervised(
        {"acme-widget": {}} | {name.replace("_", "-"): section for name, section in sections.items()}, fake_host.host
    )


def assert_widgets_work(kubelet: KubeletSimulator) -> None:
    """The good package's devices are there, and a pod gets one."""
    kubelet.wait_devices(WIDGET, WIDGETS)
    name = f"widget-{len(kubelet.pods())}"
    pod = kubelet.add_pod(name, {WIDGET: 1})
    assert pod.admitted, pod.message
    kubelet.delete_pod(name)


def test_the_plugins_command_says_what_was_found_and_why_it_is_not_used(installed_samples: Path, tmp_path: Path) -> None:
    """Every installed package is listed; each refused one with its sentence, and the import that hangs with its deadline."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(installed_samples), *filter(None, sys.path)])}
    config = tmp_path / "config.yaml"
    config.write_text(
        "apiVersion: device-plugin-supervisor/v1alpha1\nkind: SupervisorConfig\nplugins: {endless-import: {enabled: false}}\n"
    )
    command = [sys.executable, "-c", "import sys; from supervisor.cli import main; sys.exit(main())", "plugins", "--json"]
    done = subprocess.run([*command, "--config", str(config)], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    found: dict[str, Any] = {package["name"]: package for package in json.loads(done.stdout)["packages"]}
    assert [plugin["name"] for plugin in found["acme-widget"]["plugins"]] == ["acme-widget"]
    assert found["acme-widget"]["problem"] == ""
    assert "a_library_that_is_not_installed" in found["broken-import"]["problem"]
    assert "did you mean device_plugins?" in found["misspelt-hook"]["problem"]
    assert "contract version 99" in found["wrong-contract"]["problem"]
    assert found["endless-import"]["state"] == "disabled"
    assert any("return an instance" in refused["reason"] for refused in found["nonsense"]["refused"])
    (namesake,) = found["rival"]["refused"]
    assert namesake["plugin"] == "acme-widget"
    assert "acme-widget 1.0.0, entry point acme-widget = acme_widget has a plugin of the same name" in namesake["reason"]


def test_packages_that_cannot_be_loaded_leave_the_others_alone(run: Run, kubelet: KubeletSimulator) -> None:
    """Import error, misspelt hook, another contract: each is said in the log, and the widgets are served."""
    running = run(broken_import={}, misspelt_hook={}, wrong_contract={})
    assert_widgets_work(kubelet)
    for name in ("broken-import", "misspelt-hook", "wrong-contract"):
        assert f"sample-{name}" in running.log


def test_rubbish_is_sorted_out(run: Run, kubelet: KubeletSimulator) -> None:
    """The one good device of a plugin that returns rubbish is offered."""
    run(nonsense={})
    kubelet.wait_devices("nonsense.example/thing", {"nonsense-good": "Healthy"})
    assert_widgets_work(kubelet)


@pytest.mark.parametrize("where", PLACES)
def test_a_package_that_raises_leaves_the_others_alone(run: Run, kubelet: KubeletSimulator, where: str) -> None:
    """Wherever it raises: that is seen where it belongs, the widgets stay, and get to their pods."""
    running = run(crasher={"where": where})
    assert_widgets_work(kubelet)
    if where == "discover":
        running.wait_log('"LookFailed"')
    else:
        kubelet.wait_devices("crasher.example/thing", {"crash-0": "Healthy", "crash-1": "Healthy"})
        pod = kubelet.add_pod("crash", {"crasher.example/thing": 1})
        assert pod.admitted is (where != "allocate"), pod.message
        assert (pod.phase is Phase.RUNNING) is (where not in {"allocate", "pre_start"}), pod
    if where == "watch":
        running.wait_log('"WatchFailed"')
    assert_widgets_work(kubelet)


@pytest.mark.parametrize("where", PLACES)
def test_a_package_that_hangs_leaves_the_others_alone(run: Run, kubelet: KubeletSimulator, where: str) -> None:
    """Wherever it hangs, for ever and in naps of 100 ms: the widgets stay, and get to their pods."""
    times = {"lookTimeout": 0.2, "allocateTimeout": 0.2, "preStartTimeout": 0.2, "preferredAllocationTimeout": 0.1}
    running = run(hanger={"where": where, **times})
    assert_widgets_work(kubelet)
    if where == "discover":
        running.wait_log('"LookFailed"')
    else:
        kubelet.wait_devices("hanger.example/thing", {"hang-0": "Healthy", "hang-1": "Healthy"})
        pod = kubelet.add_pod("hang", {"hanger.example/thing": 1})
        assert pod.admitted is (where != "allocate"), pod.message
        assert (pod.phase is Phase.RUNNING) is (where not in {"allocate", "pre_start"}), pod
    assert_widgets_work(kubelet)


@pytest.mark.parametrize("how", ["abort", "spin", "leak"])
def test_a_package_that_kills_its_process_leaves_the_others_alone(run: Run, kubelet: KubeletSimulator, how: str) -> None:
    """In a process of its own it takes nobody with it, and is started again."""
    limits = {"isolation": "process", "lookInterval": 0.2, "lookTimeout": 1, "memoryLimit": "256Mi"}
    running = run(crasher={"how": how, "after": 1, **limits})
    kubelet.wait_devices("crasher.example/thing", {"crash-0": "Healthy", "crash-1": "Healthy"})
    running.wait_log('"LookFailed"')
    assert_widgets_work(kubelet)
    running.wait_log('"PluginRecovered"', timeout=30)
    kubelet.wait_devices("crasher.example/thing", {"crash-0": "Healthy", "crash-1": "Healthy"})


def test_a_contested_name_and_resource_stay_with_the_first_by_name(run: Run, kubelet: KubeletSimulator) -> None:
    """Both plugins are named, and what is not contested is served."""
    running = run(rival={})
    kubelet.wait_devices("rival.example/thing", {"own": "Healthy"})
    assert_widgets_work(kubelet)
    assert "rival.example/namesake" not in kubelet.node_status()
    (contended,) = [line for line in running.log.splitlines() if "ResourceContended" in line]
    assert all(name in contended for name in (WIDGET, "acme-widget", "rival"))
    (refused,) = [line for line in running.log.splitlines() if "PluginRejected" in line]
    assert all(name in refused for name in ("sample-rival", "acme-widget 1.0.0", "uninstall one of them"))


def test_an_installed_package_is_switched_on_and_off_while_running(run: Run, kubelet: KubeletSimulator) -> None:
    """An edit of the configuration touches that package alone."""
    running = run()
    assert_widgets_work(kubelet)
    running.configure({"acme-widget": {}, "hanger": {"until": "/"}})
    kubelet.wait_devices("hanger.example/thing", {"hang-0": "Healthy", "hang-1": "Healthy"})
    running.configure({"acme-widget": {}})
    kubelet.wait_for(lambda: "hanger.example/thing" not in kubelet.connected(), what="the hanger's retirement")
    assert_widgets_work(kubelet)
    assert len(kubelet.registrations(WIDGET)) == 1
