"""What the README and the page for operators promise is there."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from supervisor.cli import COMMANDS
from supervisor.config import API_VERSION, DEFAULTS, KIND
from supervisor.config_file import parse
from supervisor.families import CORE

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "deploy" / "observing.md"]

pytestmark = pytest.mark.checkout


def blocks(page: Path) -> list[dict[str, Any]]:
    """Its parts of configuration files, each made whole."""
    found = re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    heading = {"apiVersion": API_VERSION, "kind": KIND}
    return [heading | part for part in map(yaml.safe_load, found) if "rules" not in part]


def test_every_command_has_its_row() -> None:
    """In the table of commands, and no other has one."""
    table = (ROOT / "README.md").read_text().partition("## Commands")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `([a-z-]+)[ `]", table, re.MULTILINE)) == set(COMMANDS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_example_can_be_read(page: Path) -> None:
    """By the strict reader of the configuration file; there is at least one."""
    assert blocks(page)
    for block in blocks(page):
        parse(yaml.safe_dump(block).encode())


def test_the_example_names_every_section() -> None:
    """A newcomer sees all that can be set, with the values that hold anyway."""
    (whole, *_) = blocks(PAGES[0])
    assert set(whole) == set(DEFAULTS.__struct_encode_fields__)
    read = parse(yaml.safe_dump(whole).encode()).config
    assert (read.kubelet, read.host, read.log) == (DEFAULTS.kubelet, DEFAULTS.host, DEFAULTS.log)
    assert read.profiles == ()
    assert (read.ledger, read.metrics, read.kubernetes) == (DEFAULTS.ledger, DEFAULTS.metrics, DEFAULTS.kubernetes)


def test_every_metric_is_told() -> None:
    """Of the core; those of plugins are told by their own pages."""
    told = PAGES[1].read_text().partition("## Metrics")[2].partition("\n## ")[0]
    names = {name.removesuffix("_total").removesuffix("_info") for name in re.findall(r"`([a-z_]+)(?:\{[^`]*)?`", told)}
    assert set(CORE) <= names | {name + "_info" for name in names}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    """Within the repository."""
    for target in re.findall(r"\]\(([^)#:]+)[^)]*\)", page.read_text()):
        assert (page.parent / target).exists(), target
