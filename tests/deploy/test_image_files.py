"""What the image is made from: the Containerfile, what a build may see, and the bill of materials, without building anything."""

import importlib
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from supervisor import scaffold
from tests.deploy.image import CONTEXT, ROOT

pytestmark = pytest.mark.checkout

CONTAINERFILE = ROOT / "deploy/Containerfile"


def argument(name: str) -> str:
    """The default of a build argument."""
    (value,) = re.findall(rf'^ARG {name}="?([^"\n]+)"?$', CONTAINERFILE.read_text(), re.MULTILINE)
    return str(value)


@pytest.mark.requires("hadolint")
def test_hadolint_finds_nothing(tmp_path: Path) -> None:
    """Neither in the Containerfile nor in the one that ``new-plugin`` writes, where only the missing tag of the base is by design."""
    theirs = tmp_path / "Containerfile"
    theirs.write_text(scaffold.files(scaffold.Project("acme-gizmo", "acme.example/gizmo"))["Containerfile"])
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, CONTAINERFILE, theirs], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("", 0)


def test_defaults_are_those_of_the_checkout() -> None:
    """Without arguments the image has the version of the packages, and all plugins."""
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version is not None
    assert argument("VERSION") == version[1]
    assert argument("PLUGINS").split() == sorted(path.parent.name for path in ROOT.glob("plugins/*/pyproject.toml"))


def test_a_build_sees_what_it_needs_and_nothing_else() -> None:
    """``.dockerignore`` leaves what the tests build from: no history, no environment, no secrets that lie about."""
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    assert {line[1:] for line in lines if line.startswith("!")} == {*CONTEXT, "build/wheelhouse"} - {"deploy/Containerfile"}


@pytest.fixture
def sbom() -> Any:
    """The module, which is there in a checkout alone."""
    return importlib.import_module("deploy.image.sbom")


def entry(name: str, version: str = "1.0", digest: str = "ab" * 32, **metadata: Any) -> dict[str, Any]:
    """One distribution as pip reports it."""
    found = {"archive_info": {"hashes": {"sha256": digest}}}
    return {"metadata": {"name": name, "version": version, **metadata}, "download_info": found}


@pytest.mark.parametrize(
    ("metadata", "licences"),
    [
        ({"license_expression": "MIT OR Apache-2.0", "license": "see LICENSE"}, [{"expression": "MIT OR Apache-2.0"}]),
        (
            {"classifier": ["License :: OSI Approved :: MIT License", "Topic :: System"], "license": "MIT"},
            [{"license": {"name": "MIT License"}}],
        ),
        ({"license": "BSD"}, [{"license": {"name": "BSD"}}]),
        ({"license": "a whole\ntext"}, []),
        ({}, []),
    ],
    ids=["expression", "classifier", "words", "text", "nothing"],
)
def test_a_licence_is_what_the_metadata_say(sbom: Any, metadata: dict[str, Any], licences: list[Any]) -> None:
    """The most exact statement counts, and none is made up."""
    assert sbom.licences(metadata) == licences


def test_a_component_is_named_as_the_index_names_it(sbom: Any) -> None:
    """Its purl is that of the normalized name; the hash is that of the file which was installed."""
    made = sbom.component(entry("Some_Thing.x", "2.0", summary="Does it."))
    assert (made["name"], made["purl"]) == ("some-thing-x", "pkg:pypi/some-thing-x@2.0")
    assert made["hashes"] == [{"alg": "SHA-256", "content": "ab" * 32}]
    assert "licenses" not in made


def test_a_bill_follows_from_what_is_in_it(sbom: Any) -> None:
    """The same distributions at the same time make the same document, another hash another serial number."""
    product = entry(sbom.PRODUCT, "3.1")
    bills = [sbom.bill([product, entry("other", digest=digest)], 0) for digest in ("ab" * 32, "ab" * 32, "cd" * 32)]
    assert bills[0] == bills[1]
    assert bills[0]["serialNumber"] != bills[2]["serialNumber"]
    assert bills[0]["metadata"]["component"]["version"] == "3.1"
    assert bills[0]["metadata"]["timestamp"] == "1970-01-01T00:00:00Z"
