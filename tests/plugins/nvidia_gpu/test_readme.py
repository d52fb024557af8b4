"""The README of the package says what the code does: its examples are accepted, and its tables are complete and right."""

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from supervisor.host import Host
from supervisor.testing import FakeMemory
from supervisor_nvidia_gpu.cdi.keeping import FILES
from supervisor_nvidia_gpu.cdi.names import CLASSES
from supervisor_nvidia_gpu.compat import fold
from supervisor_nvidia_gpu.compat.healthchecks import DISABLE, ENABLE
from supervisor_nvidia_gpu.compat.keys import KEYS, NOT_SUPPORTED, VARIABLES, VARIABLES_NOT_SUPPORTED, Key, Records
from supervisor_nvidia_gpu.config import NvidiaGpuConfig
from supervisor_nvidia_gpu.health.policy import DEFAULTS, MODELS
from supervisor_nvidia_gpu.metrics import PHASES
from supervisor_nvidia_gpu.plugin import NvidiaGpuPlugin
from supervisor_nvidia_gpu.section import NvidiaGpuSection
from supervisor_nvidia_gpu.simulate.layouts import NAMES, layout
from supervisor_nvidia_gpu.simulate.probe import SimulatedProbe
from supervisor_nvidia_gpu.simulate.script import parse
from tests.plugins.readme import Readme, documented, refused, words

pytestmark = pytest.mark.checkout

README = Readme("nvidia_gpu")


def test_every_example_passes_check_config(tmp_path: Path) -> None:
    """What the README shows can be copied; variables of NVIDIA's, which this machine may have, say nothing here."""
    examples = README.examples
    assert len(examples) >= 10
    for document in examples:
        document["plugins"]["nvidia-gpu"].setdefault("driverRootMount", str(tmp_path))
    assert refused(examples, "nvidia-gpu", tmp_path, without=VARIABLES) == []


def test_every_key_is_told_with_its_default() -> None:
    """None is missing, none is left over, and each default is the one that counts; the three selections have one row for each key."""
    keys = documented(NvidiaGpuConfig)
    assert README.keys == {re.sub(r"^selection\.\w+\[", "selection.*[", key): default for key, default in keys.items()}


def numbers(cell: str) -> Iterator[int]:
    for part in cell.split(", "):
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)


def test_the_table_of_xids_is_that_of_the_policy() -> None:
    """Each number stands in the row of its default action, once; then come those that some models judge otherwise."""
    *general, by_model = [(action, list(numbers(cell)), why) for action, cell, why in README.rows("action", "XIDs")]
    told = [(xid, action) for action, xids, _ in general for xid in xids]
    assert sorted(told) == sorted((xid, decision.action) for xid, decision in DEFAULTS.items())
    assert {(by_model[0], xid) for xid in by_model[1]} == {(decision.action, xid) for xid, _, decision in MODELS}
    for _, pattern, _ in MODELS:
        assert pattern.strip("*").removeprefix("Quadro ") in by_model[2]


def test_the_states_of_health_are_all_told() -> None:
    """In the order in which the metrics have them."""
    assert [state for state, *_ in README.rows("state", "listed")] == list(PHASES)


def test_what_is_honoured_of_nvidias_configuration_is_told_with_our_key() -> None:
    """Every key of the file and every variable stands in one row, with the key of ours that it becomes."""
    keys: set[str] = set()
    variables: set[str] = set()
    for file, environment, here in README.rows("file", "environment", "here"):
        ours = words(here)
        for number, name in enumerate(words(file)):
            meaning = KEYS[name]
            assert isinstance(meaning, Key)
            parent = KEYS.get(name.rpartition("[].")[0])
            above = f"{'.'.join(parent.target)}[]." if isinstance(parent, Records) else ""
            if meaning.target and here != "the same":
                assert ours[number] == above + ".".join(meaning.target)
            elif meaning.target:
                assert name == above + ".".join(meaning.target)
        for name in words(environment):
            known = VARIABLES[name][0] if name in VARIABLES else ""
            assert [known] == words(file) or (not file and name in {"CONFIG_FILE", DISABLE, ENABLE})
        keys.update(words(file))
        variables.update(words(environment))
    assert keys == {name for name, meaning in KEYS.items() if isinstance(meaning, Key)}
    assert variables == {name for name, (key, _) in VARIABLES.items() if key not in NOT_SUPPORTED} | {DISABLE, ENABLE}


def test_what_is_not_supported_of_nvidias_configuration_is_told() -> None:
    """All that is named at run time is named in the README."""
    told = README.rows("file", "environment", "because")
    assert {name for file, *_ in told for name in words(file)} == set(NOT_SUPPORTED)
    variables = {name for name, (key, _) in VARIABLES.items() if key in NOT_SUPPORTED} | set(VARIABLES_NOT_SUPPORTED)
    assert {name for _, environment, _ in told for name in words(environment)} == variables | {"GFD_*"}


def test_the_metrics_are_all_told_with_their_labels() -> None:
    """As a scrape has them, those that need a setting among them."""
    words_of_section = {"simulate": {"layout": "l40s-4"}, "usageMetrics": True, "deviceListStrategy": ["cdi-cri"]}
    folded = fold(msgspec.convert(words_of_section, NvidiaGpuSection), {}, lambda _: None)
    lost = SimulatedProbe("l40s-4", ["after 0s xid 79 on 0"])
    plugin = NvidiaGpuPlugin(folded, Host(), FakeMemory(), lost)
    plugin.discover()
    README.assert_metrics("nvidia-gpu", plugin.collect_metrics())


def test_the_machines_of_the_simulation_are_told_and_the_script_can_be_played() -> None:
    """The names, and each line without its explanation."""
    (sentence,) = re.findall(r"Layouts: (.*?)\.", README.text)
    assert words(sentence) == list(NAMES)
    assert [step.action for step in parse(README.script, layout("dgx-h100"))] == ["xid", "lose", "recover", "mig"]


def test_the_names_of_cdi_specs_are_those_that_are_written() -> None:
    """Vendor, classes and files."""
    text = README.text
    vendor = NvidiaGpuConfig().cdi.vendor
    assert {*CLASSES, vendor, FILES.file_name("<vendor>/<class>")} <= set(words(text))


def test_every_link_leads_somewhere() -> None:
    """Headings may be renamed, and files moved; then so are the links."""
    assert README.dead_links == set()
