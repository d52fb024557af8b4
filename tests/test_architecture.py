"""The shape of the code: imports point one way, broad catches stay at the borders, modules stay readable."""

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.checkout

ROOT = Path(__file__).parent.parent
PACKAGES = (
    "supervisor",
    "plugins/fpga/src/supervisor_fpga",
    "plugins/generic/src/supervisor_generic",
    "plugins/infiniband/src/supervisor_infiniband",
    "plugins/nvidia_gpu/src/supervisor_nvidia_gpu",
)
LONGEST = 400
"""No module of ours has more lines than this."""

BORDERS = {
    "supervisor/border/child.py": "calls a program's code in its process",
    "supervisor/contract.py": "looks at a plugin object, whose attributes may be properties",
    "supervisor/doctor/rounds.py": "calls checks, of which one that fails must not hide the others",
    "supervisor/importers.py": "loads importers and calls translate()",
    "supervisor/isolation/child.py": "calls plugin code in a child",
    "supervisor/looking.py": "calls discover()",
    "supervisor/plugins.py": "loads entry points and calls hooks",
    "supervisor/slots.py": "calls plugin code in threads",
    "supervisor/testing/trial.py": "tries a plugin for its author",
    "supervisor/units.py": "runs watch()",
}
"""The modules that call plugin code, which may raise anything; nowhere else is everything caught."""


def _modules() -> Iterator[Path]:
    for package in PACKAGES:
        yield from (file for file in sorted((ROOT / package).rglob("*.py")) if not file.stem.endswith("_pb2"))


def _lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    paths = [folder, *(folder / package for package in PACKAGES[1:])]
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--no-logo"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": ":".join(str(path.parent if path != folder else path) for path in paths)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_imports_keep_their_contracts() -> None:
    """The contracts of pyproject.toml hold for the tree as it is."""
    done = _lint_imports(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("supervisor/errors.py", "import supervisor.feed", "Imports point one way"),
        ("supervisor/model.py", "import grpc", "grpc, protobuf and asyncio stay in supervisor.kubelet"),
        ("supervisor/feed.py", "import asyncio", "grpc, protobuf and asyncio stay in supervisor.kubelet"),
        ("supervisor/feed.py", "import pyudev", "pyudev stays in supervisor.triggers and supervisor.host"),
        ("supervisor/events.py", "import prometheus_client", "prometheus_client stays in supervisor.observe.metrics"),
        ("supervisor/events.py", "import h11", "h11 stays in supervisor.observe.http"),
        ("supervisor/events.py", "import httpx2", "httpx2 stays in supervisor.cluster.client"),
        ("supervisor/events.py", "import supervisor_generic", "The supervisor names no plugin"),
        (f"{PACKAGES[1]}/__init__.py", "import supervisor.model", "Plugins import only the package supervisor"),
        (f"{PACKAGES[1]}/units.py", "import supervisor_fpga.rules", "So they do in the FPGA plugin"),
        (f"{PACKAGES[3]}/units.py", "import supervisor_infiniband.rules", "So they do in the InfiniBand plugin"),
        (f"{PACKAGES[4]}/nodes.py", "import supervisor_nvidia_gpu.edits", "So they do in the NVIDIA plugin"),
        (f"{PACKAGES[4]}/nodes.py", "import pynvml", "pynvml stays in the process that asks NVML"),
    ],
    ids=lambda text: text.split("/")[-1].replace(" ", "-"),
)
def test_a_broken_contract_is_reported(tmp_path: Path, module: str, line: str, contract: str) -> None:
    """Each contract fails, by name, on a tree that breaks it."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / module).open("a") as file:
        file.write(f"\n{line}\n")
    done = _lint_imports(tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    broken = [text for text in done.stdout.splitlines() if " BROKEN" in text]
    assert any(text.startswith(contract) for text in broken), done.stdout


def _is_broad(node: ast.expr | None) -> bool:
    if isinstance(node, ast.Tuple):
        return any(_is_broad(element) for element in node.elts)
    return node is None or (isinstance(node, ast.Name) and node.id in {"Exception", "BaseException"})


def _passes_on(handler: ast.ExceptHandler) -> bool:
    """Whether the handler tidies up and then raises what it caught."""
    return isinstance(handler.body[-1], ast.Raise) and handler.body[-1].exc is None


def _broad_catches(tree: ast.AST) -> Iterator[int]:
    for node in ast.walk(tree):
        match node:
            case ast.ExceptHandler(type=caught) if _is_broad(caught) and not _passes_on(node):
                yield node.lineno
            case ast.Call(func=ast.Name("suppress") | ast.Attribute(attr="suppress"), args=args):
                if any(_is_broad(argument) for argument in args):
                    yield node.lineno


def test_everything_is_caught_only_at_the_borders_with_plugin_code() -> None:
    """A broad catch anywhere else would hide our own mistakes; a border that needs none any more is struck off."""
    found = {
        str(module.relative_to(ROOT)): lines
        for module in _modules()
        if (lines := list(_broad_catches(ast.parse(module.read_text()))))
    }
    assert {name: lines for name, lines in found.items() if name not in BORDERS} == {}
    assert set(BORDERS) - set(found) == set()


@pytest.mark.parametrize(
    "code",
    [
        "try: x()\nexcept Exception: pass",
        "try: x()\nexcept (OSError, BaseException) as e: pass",
        "try: x()\nexcept: pass",
        "try: x()\nexcept Exception as e: raise ValueError from e",
        "with contextlib.suppress(Exception): x()",
    ],
)
def test_each_spelling_of_a_broad_catch_is_seen(code: str) -> None:
    """The search above knows every way to write one."""
    assert list(_broad_catches(ast.parse(code)))


def test_tidying_up_is_no_broad_catch() -> None:
    """A handler that raises again what it caught hides nothing."""
    assert not list(_broad_catches(ast.parse("try: x()\nexcept BaseException:\n  y()\n  raise")))


def test_no_module_is_too_long() -> None:
    """A module that has outgrown a sitting holds more than one thought."""
    lengths = {str(module.relative_to(ROOT)): len(module.read_text().splitlines()) for module in _modules()}
    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}


def _tests() -> Iterator[tuple[Path, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for file in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                yield file.relative_to(ROOT), node


def test_every_test_says_what_must_hold() -> None:
    """A test without its sentence leaves the reader to guess what it is for."""
    tests = list(_tests())
    assert len(tests) > 50
    assert {f"{file}::{test.name}" for file, test in tests if not ast.get_docstring(test)} == set()
