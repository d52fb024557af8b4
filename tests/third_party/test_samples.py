"""Third-party distributions, installed for real: the good one works, each bad one is refused alone and with a cure."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from supervisor import Host
from supervisor.errors import PluginRefused
from supervisor.inventory import check_look
from supervisor.plugins import Made, Package, decode, installed, load, make
from tests.third_party.conftest import SAMPLES

NAMES = {folder.parent.name for folder in SAMPLES.glob("*/pyproject.toml")}


@pytest.fixture
def samples(installed_samples: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Package]]:
    """The samples by the name of their module, found on the path."""
    monkeypatch.syspath_prepend(str(installed_samples))
    yield {package.value: package for package in installed() if package.value in NAMES}
    for name in NAMES:
        sys.modules.pop(name, None)


def made(package: Package, section: dict[str, Any] | None = None, host: Host | None = None) -> Made:
    """The plugins of a package, by all the steps of loading."""
    loaded = load(package)
    return make(loaded, decode(loaded, section), host or Host())


def test_every_sample_is_found(samples: dict[str, Package]) -> None:
    """What pip installed is what the supervisor sees, broken packages among it."""
    assert samples.keys() == NAMES
    assert samples["acme_widget"].distribution == "acme-widget"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("broken_import", "No module named 'a_library_that_is_not_installed'"),
        ("misspelt_hook", "did you mean device_plugins?"),
        ("wrong_contract", "contract version 99"),
    ],
)
def test_a_broken_package_is_refused_alone(samples: dict[str, Package], name: str, sentence: str) -> None:
    """The sentence names the distribution, and the good package loads before and after."""
    assert made(samples["acme_widget"]).plugins
    with pytest.raises(PluginRefused, match=f"^sample-{name.replace('_', '-')} 1.0.0, entry point ") as caught:
        load(samples[name])
    assert sentence in str(caught.value)
    assert made(samples["acme_widget"]).plugins


def test_the_good_package_offers_what_is_there(samples: dict[str, Package], tmp_path: Path) -> None:
    """Its devices are the nodes of the configured device directory, by the names that the host gives them."""
    for name in ("widget0", "widget1", "gadget0"):
        (tmp_path / name).touch()
    (plugin,) = made(samples["acme_widget"], host=Host(dev=str(tmp_path))).plugins
    inventory = check_look(plugin.discover()).inventories["acme.example/widget"]
    assert [device.id for device in inventory.devices] == ["/dev/widget0", "/dev/widget1"]
    assert [device.edits.device_nodes[0].host_path for device in inventory.devices] == ["/dev/widget0", "/dev/widget1"]


def test_the_good_package_is_small() -> None:
    """The smallest useful third-party plugin has at most 30 lines in two files."""
    files = [file for file in (SAMPLES / "acme_widget").iterdir() if file.is_file()]
    assert len(files) == 2
    assert sum(len(file.read_text().splitlines()) for file in files) <= 30


def test_nonsense_is_left_out_piece_by_piece(samples: dict[str, Package]) -> None:
    """One good device among rubbish stays; each piece of rubbish has its own reason."""
    answer = made(samples["nonsense"])
    (plugin,) = answer.plugins
    assert len(answer.refused) == 2
    look = check_look(plugin.discover())
    assert [device.id for device in look.inventories["nonsense.example/thing"].devices] == ["nonsense-good"]
    assert len(look.quarantined) == 10


@pytest.mark.parametrize("answer", ["nothing", "text"])
def test_an_answer_that_is_no_mapping_is_a_failed_look(samples: dict[str, Package], answer: str) -> None:
    """The border says what was returned instead."""
    (plugin,) = made(samples["nonsense"], {"answer": answer}).plugins
    with pytest.raises(TypeError, match="must return a mapping"):
        check_look(plugin.discover())


def test_an_endless_answer_ends_at_the_limit(samples: dict[str, Package]) -> None:
    """A generator without end costs its resource, and neither time nor memory without bound."""
    (plugin,) = made(samples["nonsense"], {"answer": "endless"}).plugins
    look = check_look(plugin.discover())
    assert look.inventories == {}
    assert "more than 100000 devices" in look.quarantined[0].reason


@pytest.mark.parametrize("how", ["raise", "exit"])
def test_a_package_that_crashes_when_asked_is_refused(samples: dict[str, Package], how: str) -> None:
    """Even ``SystemExit`` is only a sentence about that package."""
    with pytest.raises(PluginRefused, match=r"sample-crasher.*device_plugins\(\) raised"):
        made(samples["crasher"], {"where": "device_plugins", "how": how})


def test_a_package_may_be_used_with_its_defaults(samples: dict[str, Package]) -> None:
    """No section is an empty section."""
    (plugin,) = made(samples["hanger"], {"until": "/"}).plugins
    assert check_look(plugin.discover()).inventories["hanger.example/thing"].index.keys() == {"hang-0", "hang-1"}
    (plugin,) = made(samples["crasher"]).plugins
    with pytest.raises(OSError, match="as configured"):
        plugin.discover()
