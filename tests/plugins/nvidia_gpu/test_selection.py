"""Which GPUs are offered, hidden or cordoned, and by which words of a person."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor_nvidia_gpu.config import GpuMatch, Selection
from supervisor_nvidia_gpu.report import Gpu
from supervisor_nvidia_gpu.selection import fits, select, selects
from tests.plugins.nvidia_gpu.gpus import H100, L40S, gpu, uuid_of


def test_without_rules_all_are_offered() -> None:
    """The default selection hides and cordons nothing."""
    assert all(not each.hidden and not each.cordoned for each in select([gpu(0), gpu(1)], Selection()))


@pytest.mark.parametrize(
    "spelling",
    [
        "0000:13:00.0",
        "00000000:13:00.0",
        "13:00.0",
        "13:00",
        "0000:13:*",
        "13:*",
        "00000000:13:*",
        "*:13:00.?",
        " 0000:13:00.0 ",
    ],
)
def test_a_pci_address_in_any_spelling(spelling: str) -> None:
    """NVML, sysfs, lspci and patterns all name the same GPU."""
    assert [each.index for each in (gpu(2), gpu(3), gpu(4)) if selects(GpuMatch(pci=spelling), each)] == [3]


@pytest.mark.parametrize("spelling", ["0000:AB:00.0", "ab:00.0", "0000:aB:*", "AB:*"])
def test_capitals_in_an_address_mean_nothing(spelling: str) -> None:
    """NVML writes capitals, sysfs does not."""
    assert selects(GpuMatch(pci=spelling), gpu(0, pci="0000:ab:00.0"))


@pytest.mark.parametrize(
    ("rule", "chosen"),
    [
        (GpuMatch(index=1), [1]),
        (GpuMatch(uuid=uuid_of(2)), [2]),
        (GpuMatch(uuid=uuid_of(2).upper()), [2]),
        (GpuMatch(uuid="gpu-00000001-*"), [1]),
        (GpuMatch(model="*l40s"), [1]),
        (GpuMatch(model="L40S"), []),
        (GpuMatch(model="NVIDIA *"), [0, 1, 2]),
        (GpuMatch(model="*H100*", index=2), [2]),
        (GpuMatch(model="*H100*", index=1), []),
    ],
)
def test_all_given_fields_must_fit(rule: GpuMatch, chosen: list[int]) -> None:
    """A rule is an "and" of its fields; patterns are for the whole text and ignore case."""
    gpus = (gpu(0, model=H100), gpu(1, model=L40S), gpu(2, model=H100))
    assert [each.index for each in gpus if selects(rule, each)] == chosen


def test_the_reasons_name_the_rule() -> None:
    """Whoever wonders where a GPU is learns which line of the configuration to look at."""
    selection = Selection(
        include=(GpuMatch(model="*H100*"),),
        exclude=(GpuMatch(index=7), GpuMatch(pci="10:00.0", model="*H100*")),
        cordon=(GpuMatch(index=1), GpuMatch(index=0)),
    )
    excluded, cordoned, foreign, offered = select([gpu(0), gpu(1), gpu(2, model=L40S), gpu(3)], selection)
    assert (excluded.hidden, excluded.cordoned) == ("excluded by selection.exclude[1] (pci 10:00.0, model *H100*)", "")
    assert (cordoned.hidden, cordoned.cordoned) == ("", "cordoned by selection.cordon[0] (index 1)")
    assert foreign.hidden == "fits none of selection.include"
    assert not offered.hidden
    assert not offered.cordoned


def test_what_could_not_be_read_fits_nothing() -> None:
    """A GPU that has lost its model and address is not excluded by a pattern that fits everything."""
    lost = Gpu(index=5, problem="GPU is lost")
    assert not selects(GpuMatch(model="*"), lost)
    assert not selects(GpuMatch(uuid="*"), lost)
    assert not selects(GpuMatch(pci="*"), lost)
    assert not selects(GpuMatch(pci="0000:00:00.0"), lost)
    assert selects(GpuMatch(index=5), lost)


@given(st.text(min_size=1, max_size=20), st.text(max_size=20))
def test_patterns_take_any_text(pattern: str, text: str) -> None:
    """No pattern and no text of a driver raise, and a star takes every text that is there."""
    assert fits(pattern, text) in {True, False}
    assert fits("*", text) is bool(text)


def test_the_display_of_a_dgx_station_is_passed_over() -> None:
    """Unless somebody asks for it by name."""
    display = gpu(0, model="NVIDIA DGX Display")
    (choice,) = select([display], Selection())
    assert "display" in choice.hidden
    (choice,) = select([display], Selection(include=(GpuMatch(index=0),)))
    assert not choice.hidden
