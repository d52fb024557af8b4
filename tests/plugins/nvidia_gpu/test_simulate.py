"""Simulated GPUs: the layouts, the script, the probe that plays it, and what a container gets."""

import stat
from collections.abc import Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from supervisor_nvidia_gpu import pci
from supervisor_nvidia_gpu.config import NvidiaGpuConfig
from supervisor_nvidia_gpu.report import Evidence, GpuEvent, Report
from supervisor_nvidia_gpu.simulate.edits import GIVEN, edits
from supervisor_nvidia_gpu.simulate.layouts import NAMES, layout
from supervisor_nvidia_gpu.simulate.mig import partition
from supervisor_nvidia_gpu.simulate.probe import SimulatedProbe, mistake
from supervisor_nvidia_gpu.simulate.script import Step, apply, event, parse
from supervisor_nvidia_gpu.units import offer

DGX = layout("dgx-h100")


def play(lines: Sequence[str], beginning: Report = DGX) -> Report:
    """The report after all steps."""
    report = beginning
    for step in parse(lines, beginning):
        report = apply(step, report, beginning)
    return report


# --- layouts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_each_layout_is_a_machine_without_contradictions(name: str) -> None:
    """No two GPUs share a UUID, an address or a node; matrices are square and symmetric; a border can be crossed."""
    report = layout(name)
    count = len(report.gpus)
    for values in ([g.uuid for g in report.gpus], [g.pci for g in report.gpus], [g.minor for g in report.gpus]):
        assert len(set(values)) == count
    assert [gpu.index for gpu in report.gpus] == list(range(count))
    assert all(pci.normal(gpu.pci) == gpu.pci for gpu in report.gpus)
    for table in (report.links, report.ancestors):
        assert [len(row) for row in table] == [count] * count
        assert table == tuple(zip(*table, strict=True))
    assert report.source == "simulated"
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(report), type=Report) == report
    assert layout(name) is report


@pytest.mark.parametrize(
    ("name", "gpus", "model", "links"),
    [
        ("dgx-h100", 8, "H100", 18),
        ("dgx-a100", 8, "A100", 12),
        ("l40s-4", 4, "L40S", 0),
        ("mig-mixed", 2, "H100", 0),
        ("gpus-16", 16, "V100", 6),
    ],
)
def test_layouts_are_what_their_names_say(name: str, gpus: int, model: str, links: int) -> None:
    """The number of GPUs, their model, and the links between the first two."""
    report = layout(name)
    assert len(report.gpus) == gpus
    assert all(model in gpu.model for gpu in report.gpus)
    assert report.links[0][1] == links


def test_the_mixed_layout_offers_a_whole_gpu_beside_mig_devices() -> None:
    """With the mixed strategy each profile is a resource of its own."""
    found = offer(layout("mig-mixed"), NvidiaGpuConfig(mig_strategy="mixed"))
    kinds = ["gpu", "mig-1g.10gb", "mig-1g.10gb.me", "mig-2g.20gb", "mig-3g.40gb"]
    assert sorted(found.resources) == [f"nvidia.com/{kind}" for kind in kinds]
    assert len(found.units) == len(kinds)


def test_an_unknown_layout_is_refused_with_the_known_ones() -> None:
    """A misspelt name shows what could have been meant."""
    with pytest.raises(ValueError, match="no layout 'dgx'; there are dgx-a100, dgx-h100, gpus-16, l40s-4, mig-mixed"):
        layout("dgx")
    assert "no layout 'dgx'" in mistake("dgx", ())


# --- MIG -------------------------------------------------------------------------------------------------------------


def test_mig_devices_are_numbered_as_the_driver_does() -> None:
    """GPU instances by their size, indices in order, the same UUIDs for the same profiles."""
    gpu = DGX.gpus[0]
    devices = partition(gpu, "3g.40gb,2g.20gb,1g.10gb*2")
    assert [(d.index, d.profile, d.gpu_instance) for d in devices] == [
        (0, "3g.40gb", 1),
        (1, "2g.20gb", 3),
        (2, "1g.10gb", 7),
        (3, "1g.10gb", 8),
    ]
    assert len({device.uuid for device in devices}) == 4
    assert partition(gpu, "3g.40gb,2g.20gb,1g.10gb*2") == devices
    assert devices[0].uuid not in {device.uuid for device in partition(DGX.gpus[1], "3g.40gb")}
    assert not partition(gpu, "1c.2g.20gb")[0].whole
    assert partition(gpu, "1g.10gb+me")[0].memory_mib == (gpu.memory_mib or 0) // 8


@pytest.mark.parametrize(
    ("profiles", "problem"),
    [
        ("1g.10gb*8", "neither a profile nor one with a count"),
        ("4g.40gb,4g.40gb", "8 of 7 compute slices"),
        ("1g.20gb*5", "10 of 8 memory slices"),
        ("1g.5gb", "has no profile 1g.5gb"),
        ("3g.20gb", "has no profile 3g.20gb"),
        ("2c.2g.20gb", "has no profile 2c.2g.20gb"),
        ("5g.50gb", "is no MIG profile"),
        ("big", "'big' is no MIG profile"),
        ("1g.10gb,", "'' is neither"),
    ],
)
def test_profiles_that_a_gpu_has_not_are_refused(profiles: str, problem: str) -> None:
    """Each with its reason, and more than fit together too."""
    with pytest.raises(ValueError, match="(?i)" + problem.replace("(", r"\(")):
        partition(DGX.gpus[0], profiles)


# --- the script ------------------------------------------------------------------------------------------------------


def test_a_script_is_read_in_the_order_of_its_times() -> None:
    """All four actions, all units of time, comments and empty lines."""
    steps = parse(
        [
            "# a bad day",
            "",
            "after 1m lose 1 # for good?",
            "after 500ms xid 79 on 0",
            "after 1h recover 1",
            "after 1.5 s xid 94 on 2 gi 1 ci 0",
            "after 40s mig 0 1g.10gb*7",
            "after 41s mig 0 off",
            "after 42s mig 0 on",
        ],
        DGX,
    )
    assert [(step.after, step.action, step.gpu) for step in steps] == [
        (0.5, "xid", 0),
        (1.5, "xid", 2),
        (40, "mig", 0),
        (41, "mig", 0),
        (42, "mig", 0),
        (60, "lose", 1),
        (3600, "recover", 1),
    ]
    assert (steps[1].xid, steps[1].gpu_instance, steps[1].compute_instance) == (94, 1, 0)
    assert [None if step.mig is None else len(step.mig) for step in steps[2:5]] == [7, None, 0]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("lose 1", "expected `after TIME`"),
        ("after ten lose 1", "expected `after TIME`"),
        ("after 5s explode 1", "xid, lose, recover or mig"),
        ("after 5s xid 79", "expected `xid 79 on 0`"),
        ("after 5s xid 0 on 1", "no XID 0"),
        ("after 5s xid 79 on 8", "no GPU 8, only 0 to 7"),
        ("after 5s lose", "expected `after TIME`"),
        ("after 5s lose all", "expected `lose 0`"),
        ("after 5s mig 0", "expected `mig 0 1g"),
        ("after 5s mig 0 9g.90gb", "no MIG profile"),
    ],
)
def test_a_mistake_names_its_line(line: str, problem: str) -> None:
    """The number of the line, its text, and what was expected; all mistakes at once."""
    lines = ["after 1s lose 0", line, "nonsense"]
    with pytest.raises(ValueError, match="line 2, ") as caught:
        parse(lines, DGX)
    first, second = str(caught.value).split("; line ")
    assert first.startswith(f"line 2, {line!r}: ")
    assert problem in first
    assert second.startswith("3, 'nonsense': ")
    assert mistake("dgx-h100", lines) == str(caught.value)
    assert not mistake("dgx-h100", lines[:1])


def test_mig_is_refused_where_the_model_has_none() -> None:
    """An L40S cannot be partitioned."""
    with pytest.raises(ValueError, match="NVIDIA L40S has no MIG"):
        parse(["after 1s mig 0 on"], layout("l40s-4"))


def test_a_lost_gpu_keeps_its_place_and_says_why() -> None:
    """It is known by its UUID still, and tells no evidence; a recovery leads back to the beginning."""
    lost = play(["after 1s lose 3"])
    assert lost.gpus[3].problem
    assert lost.gpus[3].uuid == DGX.gpus[3].uuid
    assert lost.gpus[3].evidence == Evidence()
    assert play(["after 1s lose 3", "after 2s recover 3"]) == DGX


@pytest.mark.parametrize(
    ("xid", "fact"),
    [
        (48, lambda e: e.uncorrected_ecc == 1),
        (63, lambda e: e.remapped.pending and e.remapped.uncorrectable == 1),
        (64, lambda e: e.remapped.failed),
        (79, lambda e: e.recovery_action == 2),
        (95, lambda e: e.recovery_action == 1 and e.uncorrected_ecc == 1),
        (31, lambda e: e == DGX.gpus[0].evidence),
    ],
)
def test_an_xid_leaves_the_evidence_that_the_driver_would_show(xid: int, fact: Callable[[Any], bool]) -> None:
    """Counters rise and a recovery action is asked for; an application's own fault leaves nothing."""
    report = play([f"after 1s xid {xid} on 0"])
    assert fact(report.gpus[0].evidence)
    assert report.gpus[1:] == DGX.gpus[1:]


def test_an_xid_of_a_lost_gpu_counts_too() -> None:
    """The driver knows what it needs, though it tells nothing else of it."""
    lines = ["after 1s lose 0", "after 2s xid 79 on 0"]
    assert play(lines).gpus[0].evidence == Evidence(recovery_action=2)
    assert play([*lines, "after 3s recover 0"]) == DGX


def test_an_older_gpu_retires_pages_instead_of_rows() -> None:
    """What a model cannot tell stays unknown."""
    evidence = play(["after 1s xid 63 on 0"], layout("gpus-16")).gpus[0].evidence
    assert evidence.remapped is None
    assert evidence.retirement_pending is True
    assert play(["after 1s xid 63 on 0"]).gpus[0].evidence.retirement_pending is None


LINES = st.builds(
    "after {}s {}".format,
    st.integers(0, 100),
    st.one_of(
        st.builds("xid {} on {}".format, st.integers(1, 160), st.integers(0, 7)),
        st.builds("{} {}".format, st.sampled_from(["lose", "recover"]), st.integers(0, 7)),
        st.builds("mig {} {}".format, st.integers(0, 7), st.sampled_from(["on", "off", "1g.10gb*7", "7g.80gb"])),
    ),
)


@given(st.lists(LINES))
def test_each_step_changes_one_gpu_and_a_reset_of_all_heals_all(lines: list[str]) -> None:
    """Whatever happened before, and the facts that topology is made of stay the same objects."""
    report = DGX
    for step in parse(lines, DGX):
        after = apply(step, report, DGX)
        changed = {at for at, pair in enumerate(zip(report.gpus, after.gpus, strict=True)) if pair[0] != pair[1]}
        assert changed <= {step.gpu}
        assert (after.links, after.ancestors) == (DGX.links, DGX.ancestors)
        assert after.gpus[step.gpu].uuid == DGX.gpus[step.gpu].uuid
        report = after
    for at in range(8):
        for step in parse([f"after 0s recover {at}", f"after 0s mig {at} off"], DGX):
            report = apply(step, report, DGX)
    assert report == DGX


def test_steps_are_told_as_the_driver_would() -> None:
    """XIDs with their instances, and for all else that it is time to look."""
    steps = parse(["after 1s xid 94 on 2 gi 1 ci 0", "after 2s lose 1", "after 3s recover 1", "after 4s mig 0 on"], DGX)
    told = [event(step, DGX, at=100 + step.after) for step in steps]
    assert told[0] == GpuEvent("xid", DGX.gpus[2].uuid, 101.0, 94, 1, 0)
    assert told[1].detail == play(["after 2s lose 1"]).gpus[1].problem
    assert [each.kind for each in told] == ["xid", "unavailable", "recovery-action", "mig-changed"]
    assert [each.uuid for each in told[1:]] == [DGX.gpus[1].uuid, DGX.gpus[1].uuid, DGX.gpus[0].uuid]


# --- the probe -------------------------------------------------------------------------------------------------------

SCRIPT = ("after 10s xid 79 on 0", "after 20s lose 1", "after 30s recover 1", "after 40s mig 0 1g.10gb*7")


async def test_the_probe_plays_the_script(autojump_clock: MockClock) -> None:
    """Each event comes at its time, and a look after it shows what has happened."""
    probe = SimulatedProbe("dgx-h100", SCRIPT, autojump_clock.current_time)
    begun = autojump_clock.current_time()
    assert probe.look() is DGX
    seen = []
    async with aclosing(probe.events()) as events:
        for _ in SCRIPT:
            each = await anext(events)
            report = probe.look()
            assert each.at == pytest.approx(autojump_clock.current_time())
            seen.append((each.at - begun, each.kind, bool(report.gpus[1].problem), len(report.gpus[0].mig)))
    assert seen == [
        (10, "xid", False, 0),
        (20, "unavailable", True, 0),
        (30, "recovery-action", False, 0),
        (40, "mig-changed", False, 7),
    ]
    assert probe.look() is probe.look()


async def test_events_are_told_once_and_never_end(autojump_clock: MockClock) -> None:
    """A watch that is started again goes on where the last one ended, and then waits for ever."""
    probe = SimulatedProbe("dgx-h100", SCRIPT, autojump_clock.current_time)
    async with aclosing(probe.events()) as events:
        assert (await anext(events)).kind == "xid"
    async with aclosing(probe.events()) as events:
        assert [(await anext(events)).kind for _ in range(3)] == ["unavailable", "recovery-action", "mig-changed"]
        with trio.move_on_after(3600) as scope:
            await anext(events)
    assert scope.cancelled_caught


async def test_looks_need_no_events(autojump_clock: MockClock) -> None:
    """Without a watch the GPUs change all the same."""
    probe = SimulatedProbe("dgx-h100", SCRIPT, autojump_clock.current_time)
    await trio.sleep(25)
    assert probe.look().gpus[1].problem
    assert not probe.look().gpus[0].mig
    await trio.sleep(25)
    assert not probe.look().gpus[1].problem
    assert len(probe.look().gpus[0].mig) == 7


def test_a_probe_with_mistakes_is_not_made() -> None:
    """The configuration says so first, and where."""
    with pytest.raises(ValueError, match="line 1, 'after noon': expected"):
        SimulatedProbe("dgx-h100", ["after noon"])
    section = {"simulate": {"layout": "l40s-4", "script": ["after 1s lose 0", "after 2s lose 4"]}}
    with pytest.raises(msgspec.ValidationError, match=r"line 2, .*: there is no GPU 4, only 0 to 3 - at `\$.simulate`"):
        msgspec.convert(section, NvidiaGpuConfig)


# --- what a container gets -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_containers_get_nodes_that_exist_under_names_of_their_own(name: str) -> None:
    """No two units of a machine are alike inside a container, and each node of the host is harmless to open."""
    units = offer(layout(name), NvidiaGpuConfig(mig_strategy="mixed")).units
    inside = set()
    for unit in units:
        edit = edits(unit.gpu, unit.mig)
        inside.add(tuple(node.container_path for node in edit.device_nodes))
        assert edit.envs == {"NVIDIA_VISIBLE_DEVICES": "void", GIVEN: unit.id}
        assert not edit.cdi_devices
        for node in edit.device_nodes:
            assert stat.S_ISCHR(Path(node.host_path).stat().st_mode)
            assert node.host_path == "/dev/null"
    assert len(inside) == len(units)


def test_a_node_is_named_by_the_minor_and_caps_by_the_instance() -> None:
    """As the driver would: neither by the index, nor by the order of MIG devices."""
    gpu = layout("dgx-a100").gpus[0]
    assert (gpu.index, gpu.minor) == (0, 2)
    assert "/dev/nvidia2" in {node.container_path for node in edits(gpu).device_nodes}
    device = partition(gpu, "1g.5gb")[0]
    caps = [node.container_path for node in edits(gpu, device).device_nodes][-2:]
    assert caps == ["/dev/nvidia-caps/nvidia-cap336", "/dev/nvidia-caps/nvidia-cap337"]


def test_steps_are_values() -> None:
    """The same line read twice is the same step."""
    assert parse(["after 1s lose 0"], DGX) == (Step(1.0, "lose", 0),)
