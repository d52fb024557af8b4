"""The configuration is edited while the process runs: only what the edit is about is touched."""

import json
from concurrent import futures
from pathlib import Path
from typing import Any

import pytest

from supervisor.host import Host
from supervisor.kubelet.simulator import Event, EventKind, KubeletSimulator
from tests.system.conftest import Start
from tests.system.rig import HEALTHY, RESOURCE, Process, Puppet, assert_sound, registered, wait_for

OTHER = "example.com/other"
SOON = 10.0
"""Seconds for a pod whose devices nobody holds back."""


@pytest.fixture
def other(puppet: Puppet, tmp_path: Path) -> Puppet:
    """A second plugin, with one device."""
    return Puppet(tmp_path, "other", {OTHER: {"o0": ""}})


@pytest.fixture
def both(kubelet: KubeletSimulator, start: Start, puppet: Puppet, other: Puppet) -> Process:
    """A supervisor with both plugins, and both are served."""
    process = start({"puppet": puppet.section(), "other": other.section()})
    kubelet.wait_devices(RESOURCE, HEALTHY)
    kubelet.wait_devices(OTHER, {"o0": "Healthy"})
    return process


def streams(kubelet: KubeletSimulator, resource: str) -> list[Event]:
    """What became of the streams of a resource."""
    kinds = (EventKind.STREAM_OPENED, EventKind.STREAM_ENDED)
    return [event for kind in kinds for event in kubelet.log(kind, resource=resource)]


def test_only_the_touched_plugin_is_made_anew(kubelet: KubeletSimulator, both: Process, puppet: Puppet, other: Puppet) -> None:
    """The other one is not called; both keep their stream, and nothing is registered."""
    both.configure({"puppet": puppet.section(), "other": other.section(edition=1)})
    both.wait_log("configuration 2 applied; changed: other")
    assert (puppet.calls("device_plugins"), other.calls("device_plugins")) == (1, 2)
    for resource in (RESOURCE, OTHER):
        assert len(streams(kubelet, resource)) == 1
        assert registered(kubelet, 1, resource) == 1
    other.show({"o0": "", "o1": ""}, OTHER)  # the new object is the one that watches
    kubelet.wait_devices(OTHER, {"o0": "Healthy", "o1": "Healthy"})
    assert_sound(kubelet)


def test_a_bad_edit_keeps_the_last_good_one(kubelet: KubeletSimulator, both: Process, puppet: Puppet, other: Puppet) -> None:
    """It names file, line, column and key, shows in the probe, stops nothing, and is forgotten with the next good edit."""
    both.configure({"puppet": puppet.section(), "other": other.section(colour="red")})
    lines = both.config.read_text().splitlines()
    line = next(number for number, text in enumerate(lines, 1) if '"colour"' in text)
    column = lines[line - 1].index('"colour"') + 1
    (problem,) = both.wait_events("ConfigRejected", 1)[0]["problems"]
    assert f":{line}:{column}" in problem
    assert "colour" in problem
    status, reasons = both.get("/readyz")
    assert (status, "configuration not applied" in reasons) == (200, True)
    puppet.show({"w0": "", "w1": "", "w2": ""})
    kubelet.wait_devices(RESOURCE, HEALTHY | {"w2": "Healthy"})
    kubelet.wait_devices(OTHER, {"o0": "Healthy"})
    both.configure({"puppet": puppet.section(), "other": other.section(edition=2)})
    both.wait_generation(2)
    assert "not applied" not in both.get("/readyz")[1]
    assert_sound(kubelet)


@pytest.mark.parametrize("text", ["", "{", "\x00\x01", "# nothing\n", "plugins: [1]\n"])
def test_rubbish_in_the_file_changes_nothing(kubelet: KubeletSimulator, both: Process, text: str) -> None:
    """Whatever is written there, the last good configuration stays and that is said."""
    good = both.config.read_text()
    both.config.write_text(text)
    both.wait_events("ConfigRejected", 1)
    assert kubelet.devices(RESOURCE) == HEALTHY
    both.config.write_text(good)
    wait_for(lambda: "not applied" not in both.get("/readyz")[1], what="the good configuration")
    assert len(streams(kubelet, RESOURCE)) == 1


def test_a_plugin_is_switched_off_and_on(kubelet: KubeletSimulator, both: Process, puppet: Puppet, other: Puppet) -> None:
    """Off: its stream ends at once, without an empty list before. On: it is registered again."""
    both.configure({"puppet": puppet.section(), "other": other.section(enabled=False)})
    ended = kubelet.wait_event(EventKind.STREAM_ENDED, resource=OTHER)
    last = [event for event in kubelet.log(EventKind.LIST_RECEIVED, resource=OTHER) if event.at_ns < ended.at_ns][-1]
    assert (last["healthy"], last["unhealthy"]) == (1, 0)
    both.wait_log('"ResourceRetired"')
    both.configure({"puppet": puppet.section(), "other": other.section()})
    kubelet.wait_devices(OTHER, {"o0": "Healthy"})
    assert len(streams(kubelet, RESOURCE)) == 1
    assert_sound(kubelet)


def test_a_resource_that_the_new_objects_do_not_name_is_closed(
    kubelet: KubeletSimulator, both: Process, puppet: Puppet, other: Puppet
) -> None:
    """What the operator took away ends at once, also when a pod holds a device of it."""
    assert kubelet.add_pod("holder", {OTHER: 1}).admitted
    renamed = Puppet(other.script.parent, "renamed", {"example.com/renamed": {"n0": ""}})
    both.configure({"puppet": puppet.section(), "other": other.section(script=str(renamed.script))})
    kubelet.wait_devices("example.com/renamed", {"n0": "Healthy"})
    kubelet.wait_event(EventKind.STREAM_ENDED, resource=OTHER)
    assert not [event for event in kubelet.log(EventKind.LIST_RECEIVED, resource=OTHER) if not event["healthy"]]
    assert len(streams(kubelet, RESOURCE)) == 1
    assert_sound(kubelet)


def test_isolation_is_switched(kubelet: KubeletSimulator, both: Process, puppet: Puppet, other: Puppet) -> None:
    """Into a process of its own and back: the stream stays, and the child goes."""
    assert not _has_children(both.pid)
    both.configure({"puppet": puppet.section(), "other": other.section(isolation="process")})
    both.wait_generation(2)
    wait_for(lambda: _has_children(both.pid), what="the child")
    other.show({"o0": "", "o1": ""}, OTHER)
    kubelet.wait_devices(OTHER, {"o0": "Healthy", "o1": "Healthy"})
    both.configure({"puppet": puppet.section(), "other": other.section()})
    both.wait_generation(3)
    wait_for(lambda: not _has_children(both.pid), what="the end of the child")
    other.show({"o0": ""}, OTHER)
    kubelet.wait_devices(OTHER, {"o0": "Healthy", "o1": "Unhealthy"})
    assert len(streams(kubelet, OTHER)) == 1
    assert_sound(kubelet)


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_an_edit_cuts_no_answer(kubelet: KubeletSimulator, start: Start, puppet: Puppet, isolation: str) -> None:
    """What the old objects have been asked they answer, while the new ones serve: the pod gets its device."""
    process = start({"puppet": puppet.section(isolation=isolation)})
    kubelet.wait_devices(RESOURCE, HEALTHY)
    puppet.behave(allocate="hang")
    with futures.ThreadPoolExecutor(1) as asking:
        pod = asking.submit(kubelet.add_pod, "pod", {RESOURCE: 1})
        wait_for(lambda: puppet.calls("allocate") == 1, what="the call")
        process.configure({"puppet": puppet.section(isolation=isolation, edition=1)})
        process.wait_generation(2)
        puppet.behave()
        assert pod.result(SOON).admitted, pod.result().message
    assert len(streams(kubelet, RESOURCE)) == 1
    assert_sound(kubelet)


def _has_children(pid: int) -> bool:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return any(task.read_text() for task in tasks)


@pytest.mark.parametrize(
    ("section", "value"),
    [
        ("http", {"listen": "127.0.0.1:1"}),
        ("host", {"sysfs": "/somewhere"}),
        ("kubelet", {"devicePluginsDir": "/somewhere", "podResourcesSocket": "/somewhere/else"}),
    ],
)
def test_what_waits_for_a_restart_is_pending(
    kubelet: KubeletSimulator, both: Process, section: str, value: dict[str, str]
) -> None:
    """It is accepted and said, changes nothing now, and is forgotten when it is taken back."""
    before = json.loads(both.config.read_text())[section]
    both.edit(**{section: value})
    wait_for(lambda: f"pending until the next start: {section}" in both.get("/readyz")[1], what="the pending section")
    assert both.get("/readyz")[0] == 200
    both.edit(**{section: before})
    wait_for(lambda: "pending" not in both.get("/readyz")[1], what="the end of it")
    assert len(streams(kubelet, RESOURCE)) == 1


def test_a_config_map_is_swapped(kubelet: KubeletSimulator, start: Start, puppet: Puppet, tmp_path: Path) -> None:
    """The kubelet turns a link of directories; the file's own name never changes."""
    folder = tmp_path / "map"
    template = Process(kubelet.paths, tmp_path, {}, Host())

    def write(version: str, **options: Any) -> None:
        (folder / version).mkdir(parents=True)
        template.configure({"puppet": puppet.section(**options)})
        (folder / version / "config.yaml").write_text(template.config.read_text())
        (folder / "..new").symlink_to(version)
        (folder / "..new").rename(folder / "..data")

    write("..2026_1")
    (folder / "config.yaml").symlink_to("..data/config.yaml")
    process = start(options=("--config", str(folder / "config.yaml")))
    kubelet.wait_devices(RESOURCE, HEALTHY)
    looks = puppet.calls("discover")
    write("..2026_2", edition=1)
    process.wait_log("configuration 2 applied; changed: puppet")
    wait_for(lambda: puppet.calls("discover") > looks, what="the look")
    assert_sound(kubelet)


def test_a_profile_holds_as_soon_as_its_node_is_one(
    kubelet: KubeletSimulator, start: Start, puppet: Puppet, other: Puppet
) -> None:
    """By the node's name at once; the plugin that it does not touch notices nothing."""
    process = start({"puppet": puppet.section(), "other": other.section(enabled=False)}, kubernetes={"nodeName": "worker-7"})
    kubelet.wait_devices(RESOURCE, HEALTHY)
    process.edit(
        profiles=[
            {"name": "workers", "when": {"nodeName": ["worker-*"]}, "plugins": {"other": other.section()}},
            {"name": "masters", "when": {"nodeName": ["master-*"]}, "plugins": {"puppet": {"enabled": False}}},
        ]
    )
    kubelet.wait_devices(OTHER, {"o0": "Healthy"})
    process.wait_log("configuration 2 applied; for workers; changed: other, profiles")
    assert json.loads(process.get("/status")[1])["config"]["profiles"] == ["workers"]
    assert len(streams(kubelet, RESOURCE)) == 1
    process.edit(profiles=[])
    wait_for(lambda: bool(kubelet.log(EventKind.STREAM_ENDED, resource=OTHER)), 10.0, "the profile's resource ended")
    assert_sound(kubelet)
