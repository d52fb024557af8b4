"""The pages about deployment say what is there: what they show is accepted, and what they name exists."""

import argparse
import json
import os
import re
import subprocess
import tomllib
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from supervisor.cli import COMMANDS, main
from supervisor.config import API_VERSION, KIND
from tests.bench import sizing
from tests.bench.blocks import filled
from tests.deploy.pages import ROOT, Page, slug, words
from tests.e2e.cluster import kubectl
from tests.system import rollout

pytestmark = pytest.mark.checkout

DEPLOY = ROOT / "deploy"
PAGES = sorted(path for path in DEPLOY.rglob("*.md"))
MIGRATION = sorted((DEPLOY / "migration").glob("*.md"))
RBAC = "rbac.authorization.k8s.io/v1"
KEY = re.compile(r"[a-z][A-Za-z]*(\.[A-Za-z*]+)*")
OURS = re.compile(r"here\b|switch$")
"""Titles of columns that hold keys of the configuration."""
COMMAND = re.compile(
    r"(?<![/\w-])(?<!-n )(?<!namespace )(?<!install )device-plugin-supervisor ([a-z][a-z-]+)([^|#\n&]*)",
)
"""Our command line, and not the namespace or the release of that name."""

page = pytest.mark.parametrize("page", [*map(Page, PAGES)], ids=[str(path.relative_to(DEPLOY)) for path in PAGES])


def ours(text: str) -> bool:
    """Whether a block is a supervisor's configuration, whole or its plugins alone."""
    document = next(yaml.safe_load_all(text), None)
    return isinstance(document, dict) and ("plugins" in document or document.get("kind") == KIND)


def examples() -> list[Any]:
    """Each configuration that a page shows, named by page and number."""
    return [
        pytest.param(text, id=f"{path.relative_to(DEPLOY)}-{number}")
        for path in PAGES
        for number, text in enumerate(filter(ours, Page(path).blocks("yaml")))
    ]


@pytest.mark.parametrize("text", examples())
def test_every_configuration_passes_check_config(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a page shows can be copied. The machine of the test is left out: it is an empty one that looks."""
    file = yaml.safe_load(text)
    for name in ("sysfs", "dev", "proc", "runUdev"):
        (tmp_path / name).mkdir()
    file["host"] = {name: str(tmp_path / name) for name in ("sysfs", "dev", "proc", "runUdev")}
    gpus = (file.get("plugins") or {}).setdefault("nvidia-gpu", {"enabled": False})
    gpus.setdefault("driverRootMount", str(tmp_path))
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({"apiVersion": API_VERSION, "kind": KIND, **file}))
    code = main(["check-config", str(config)])
    said = capsys.readouterr()
    assert (code, said.err) == (0, ""), said.out + said.err
    assert "fine. On: " in said.out


def test_every_page_of_a_released_plugin_has_an_example() -> None:
    """The check above has something to check: each page about a rival shows at least one configuration."""
    without = [path.name for path in MIGRATION if not any(map(ours, Page(path).blocks("yaml")))]
    assert without == ["README.md", "operators.md"]


@page
def test_every_block_can_be_read(page: Page) -> None:
    """YAML is YAML, without a key twice, and JSON is JSON, a document a line or a whole."""
    for text in page.blocks("yaml"):
        assert [document for document in yaml.safe_load_all(text) if document is not None], text
    for text in page.blocks("json"):
        documents = text.splitlines() if text.startswith("{") and "\n{" in text else [text]
        assert all(json.loads(document) for document in documents)


@pytest.mark.requires("kubernetes_validate")
def test_every_object_of_kubernetes_is_valid() -> None:
    """Pods and the like that a page shows are accepted by the oldest API that is supported."""
    validate = import_module("kubernetes_validate").validate
    documents = (document for path in PAGES for text in Page(path).blocks("yaml") for document in yaml.safe_load_all(text))
    shown = [each for each in documents if isinstance(each, dict) and each.get("apiVersion") in {"v1", "apps/v1", RBAC}]
    assert shown
    for each in shown:
        validate(each, "1.25", strict=True)


@pytest.mark.requires("kubectl")
def test_every_kustomization_can_be_rendered(tmp_path: Path) -> None:
    """What is shown works on deploy/base, wherever the reader has it, and patches and images find their place."""
    texts = [text for path in PAGES for text in Page(path).blocks("yaml") if "\nkind: Kustomization\n" in text]
    assert len(texts) >= 2
    (tmp_path / "config.yaml").write_text("plugins: {}\n")
    for text in texts:
        base = os.path.relpath(DEPLOY / "base", tmp_path.resolve())
        shown = yaml.safe_load(text) | {"resources": [base]}
        (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(shown))
        done = subprocess.run([kubectl(), "kustomize", str(tmp_path)], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        bare = subprocess.run([kubectl(), "kustomize", str(DEPLOY / "base")], capture_output=True, text=True, check=True)
        assert done.stdout != bare.stdout


@page
def test_every_link_leads_somewhere(page: Page) -> None:
    """Files and directories exist, and so do the headings in them."""
    for link in page.links():
        name, _, anchor = link.partition("#")
        target = (page.path.parent / name).resolve() if name else page.path
        assert target.exists(), link
        assert not anchor or anchor in Page(target).anchors(), link


def keys(
    schema: Mapping[str, Any], root: Mapping[str, Any], at: str = "", within: frozenset[str] = frozenset()
) -> Iterator[tuple[str, str]]:
    """All keys of a JSON Schema as dotted paths, ``*`` for any name, and all values of its enumerations, each with its kind.

    A definition that refers to itself is followed once: ``within`` has those on the way.
    """
    if (reference := schema.get("$ref", "")) and reference not in within:
        yield from keys(root["$defs"][reference.rpartition("/")[2]], root, at, within | {reference})
    for value in schema.get("enum", ()):
        yield "value", str(value)
    for part in (*schema.get("anyOf", ()), *filter(None, [schema.get("items")])):
        yield from keys(part, root, at, within)
    for name, value in schema.get("properties", {}).items():
        path = f"{at}.{name}".lstrip(".")
        yield "key", path
        yield from keys(value, root, path, within)
    if isinstance(schema.get("additionalProperties"), dict):
        yield from keys(schema["additionalProperties"], root, f"{at}.*", within)


@pytest.fixture
def known(capsys: pytest.CaptureFixture[str]) -> set[str]:
    """Every key of the configuration by all ends of its path, and every value that a key is limited to."""
    assert main(["config-schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    known = set()
    for kind, word in keys(schema, schema):
        parts = word.split(".")
        known |= {".".join(parts[start:]) for start in range(len(parts))} if kind == "key" else {word}
    return known


@page
def test_every_key_of_ours_is_in_the_schema(page: Page, known: set[str]) -> None:
    """A table that puts theirs beside ours names keys that there are."""
    named = {
        word
        for titles, rows in page.tables()
        for row in rows
        for title, cell in zip(titles, row, strict=True)
        if OURS.match(title)
        for word in words(cell)
        if KEY.fullmatch(word)
    }
    assert named <= known


def test_the_tables_name_keys() -> None:
    """The check above has something to check."""
    assert sum(bool(OURS.match(title)) for path in PAGES for titles, _ in Page(path).tables() for title in titles) >= 7


@page
def test_every_command_is_one_of_ours(page: Page) -> None:
    """Commands and their options are what the command line takes."""
    for command, rest in COMMAND.findall(page.code()):
        assert command in COMMANDS
        parser = argparse.ArgumentParser()
        import_module(f"supervisor.cli.{command.replace('-', '_')}").add_arguments(parser)
        assert set(re.findall(r"(?<!\S)--[a-z-]+", rest)) <= set(parser._option_string_actions)


@page
def test_every_target_and_path_exists(page: Page) -> None:
    """What is to be made, applied or run is in the checkout."""
    made = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:^|\s)make ([a-z][a-z0-9-]*)", page.code())) <= made
    for path in re.findall(r"(?<![\w/.:-])((?:deploy|tests|requirements|supervisor)/[\w./-]*\w)", page.code()):
        assert (ROOT / path).exists(), path
    for module in re.findall(r"python -m (tests[\w.]*|supervisor[\w.]*)", page.code()):
        file = ROOT / module.replace(".", "/")
        assert file.with_suffix(".py").exists() or (file / "__main__.py").exists(), module


@page
def test_every_alert_exists(page: Page) -> None:
    """A symptom is never explained by an alert that nobody sends."""
    alerts = set(re.findall(r"alert: (\w+)", (DEPLOY / "monitoring/rules.yaml").read_text()))
    assert set(re.findall(r"`(DevicePlugin[A-Z]\w+)`", page.prose)) <= alerts


def table(title: str) -> tuple[list[str], list[list[str]]]:
    """The one table of deploy/README.md whose first column has this title."""
    ((titles, rows),) = ((list(titles), rows) for titles, rows in Page(DEPLOY / "README.md").tables() if titles[0] == title)
    return titles, rows


def test_every_component_is_told() -> None:
    """Each folder of components has its row, with the value by which Helm switches the same thing on."""
    _, rows = table("component")
    told = {words(row[0])[0] for row in rows}
    there = {folder.name for folder in (DEPLOY / "components").iterdir() if folder.is_dir()}
    assert told == there | {"../monitoring"}
    values = yaml.safe_load((DEPLOY / "chart/values.yaml").read_text())
    for row in rows:
        for switch in words(row[1]):
            value: Any = values
            for name in switch.split("."):
                value = value[name]
            assert not value, f"{switch} is on where nobody has said so"


def test_every_argument_of_a_build_is_told() -> None:
    """What the Containerfile takes is in the table."""
    _, rows = table("argument")
    arguments = set(re.findall(r"^ARG (\w+)", (DEPLOY / "Containerfile").read_text(), re.MULTILINE))
    assert {name for row in rows for name in re.findall(r"\w+", row[0])} == arguments


def test_every_plugin_has_its_least_privilege() -> None:
    """What each plugin in the image needs is in the table."""
    _, rows = table("plugin")
    folders = re.findall(r'^ARG PLUGINS="(.+)"$', (DEPLOY / "Containerfile").read_text(), re.MULTILINE)[0].split()
    projects = [tomllib.loads((ROOT / "plugins" / folder / "pyproject.toml").read_text())["project"] for folder in folders]
    names = {name for project in projects for name in project["entry-points"]["device_plugin_supervisor.plugins"]}
    assert {row[0] for row in rows} == names | {"all"}


def test_the_table_of_sizes_is_what_the_bench_writes() -> None:
    """Each size has its row, no figure is missing, and the next table finds its place."""
    text = (DEPLOY / "README.md").read_text()
    ((_, rows),) = ((titles, rows) for titles, rows in Page(DEPLOY / "README.md").tables() if titles[0] == "resources")
    assert [(row[0], row[1]) for row in rows] == [(str(resources), f"{devices:,}") for resources, devices in sizing.SIZES]
    assert all(re.fullmatch(r"\d+ MiB", row[2]) and re.fullmatch(r"\d+\.\d m", row[3]) for row in rows)
    again = filled(text, sizing.BLOCK, sizing.table([(1.0, 2.0)] * len(sizing.SIZES)))
    assert again.count("| 1 MiB | 2.0 m |") == len(rows)
    with pytest.raises(ValueError, match="0 blocks"):
        filled("no block", sizing.BLOCK, "")


def test_the_table_of_gaps_is_what_the_campaign_writes() -> None:
    """Everything that is tried has its row, and another measurement finds its place."""
    text = (DEPLOY / "README.md").read_text()
    ((_, rows),) = ((titles, rows) for titles, rows in Page(DEPLOY / "README.md").tables() if titles[0] == "what happens")
    assert [row[0] for row in rows] == list(rollout.HAPPENINGS)
    gap = re.compile(r"\d+ ms \(median of \d+; longest \d+ ms\)")
    assert [bool(gap.fullmatch(row[1])) for row in rows] == [row[0] != "the configuration changes" for row in rows]
    lines = [rollout.Line(what, rollout.Judgement(), [0.001]) for what in rollout.HAPPENINGS]
    assert filled(text, rollout.BLOCK, rollout.table(lines)).count("| 1 ms (median of 1; longest 1 ms) | none |") == len(rows)


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="[]()\n"), max_size=30))
def test_an_anchor_has_no_space_and_no_capital(title: str) -> None:
    """Whatever a heading says, its anchor can stand in a link."""
    assert not re.search(r"[ A-Z`.,:!?/]", slug(title))


def test_anchors_are_those_of_github() -> None:
    """The rule, by examples that were seen there."""
    assert slug("NVIDIA's file and environment") == "nvidias-file-and-environment"
    assert slug("Drain, or not") == "drain-or-not"
    assert slug("From [a](b.md): `x_y`") == "from-a-x_y"
