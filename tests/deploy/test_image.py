"""What is in the image: the locked packages and ours, compiled, the same bytes each time, and room for a plugin of others."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.image import BASE, IMAGE, PYTHON, ROOT, Store, download
from tests.deploy.others import third_party, write_wheel

pytestmark = [
    pytest.mark.requires("root", "namespaces", "buildah", "podman", "crun", "index", "patience"),
    pytest.mark.slow,
    pytest.mark.checkout,
    pytest.mark.timeout(900),  # the first time, debootstrap takes a minute of it
]

MEGABYTES = 90
"""That the image may have beyond its base."""
NAMES = {
    "device-plugin-supervisor",
    "device-plugin-supervisor-fpga",
    "device-plugin-supervisor-generic",
    "device-plugin-supervisor-infiniband",
    "device-plugin-supervisor-nvidia-gpu",
}
BOM = "/opt/device-plugin-supervisor/sbom.cdx.json"

UNCHECKED = """
import importlib.util, json, pathlib, sysconfig
bad = []
for source in pathlib.Path(sysconfig.get_path("purelib")).rglob("*.py"):
    compiled = pathlib.Path(importlib.util.cache_from_source(str(source)))
    if "/site-packages/pip/" not in str(source):
        flags = int.from_bytes(compiled.read_bytes()[4:8], "little") if compiled.exists() else None
        bad += [] if flags == 1 else [f"{source}: {flags}"]
print(json.dumps(bad))
"""
"""Flags 1 (PEP 552): valid whatever the source is."""

INSTALLED = """
import importlib.metadata as m, json
print(json.dumps(sorted((d.metadata["Name"], d.version) for d in m.distributions())))
"""


def python(store: Store, program: str, image: str = IMAGE) -> Any:
    """What a program prints as JSON in the image."""
    return json.loads(store.run("--entrypoint", "python", image, "-c", program))


def plugins(store: Store, image: str) -> dict[str, str]:
    """The state of each plugin that the image knows of."""
    answer = json.loads(store.run(image, "plugins", "--json"))
    return {package["name"]: package["state"] for package in answer["packages"]}


def locked(name: str) -> dict[tuple[str, str], set[str]]:
    """The hashes of a lock's files by package and version."""
    text = (ROOT / name).read_text()
    entries = re.findall(r"^([\w.-]+)==(\S+)([^\n]*\\\n(?: +--hash=\S+(?: \\)?\n)+)", text, re.MULTILINE)
    return {(package, version): set(re.findall(r"sha256:(\w+)", rest)) for package, version, rest in entries}


def test_it_is_small_and_says_what_it_is(store: Store) -> None:
    """One layer of at most 90 MB beyond its base; version and revision by argument; started without a shell, by root."""
    image, base = store.inspect(IMAGE), store.inspect(BASE)
    megabytes = (image["Size"] - base["Size"]) / 1e6
    print(f"the image has {megabytes:.1f} MB beyond its base")
    assert megabytes <= MEGABYTES
    assert image["RootFS"]["Layers"][:-1] == base["RootFS"]["Layers"]
    labels = {name.removeprefix("org.opencontainers.image."): value for name, value in image["Labels"].items()}
    project = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert project is not None
    assert (labels["version"], labels["revision"], labels["licenses"]) == (project[1], "0123abc", "Apache-2.0")
    assert labels["base.name"] == BASE
    config = image["Config"]
    assert (config["Entrypoint"], config["Cmd"], config["User"]) == (["device-plugin-supervisor"], ["run"], "0")
    assert list(config["ExposedPorts"]) == ["9410/tcp"]


def test_two_builds_are_the_same_bytes(store: Store) -> None:
    """Another build of the same sources, whose files are newer, makes the same layers."""
    for path in store.context.rglob("*.py"):
        path.touch()
    store.build("localhost/again:test", {"REVISION": "0123abc"})
    assert store.inspect("localhost/again:test")["RootFS"] == store.inspect(IMAGE)["RootFS"]


def test_all_is_compiled_for_good(store: Store) -> None:
    """Nothing is compiled at a start, also where layers have given the files another time."""
    assert python(store, UNCHECKED) == []


def test_the_bill_of_materials_lists_what_is_installed(store: Store) -> None:
    """Every distribution with its licence and with the hash of the file it came from, which is one of the lock's."""
    bill = json.loads(store.run("--entrypoint", "cat", IMAGE, BOM))
    assert (bill["bomFormat"], bill["specVersion"], bill["version"]) == ("CycloneDX", "1.6", 1)
    assert re.fullmatch(r"urn:uuid:[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}", bill["serialNumber"])
    assert bill["metadata"]["timestamp"] == "2023-11-14T22:13:20Z"
    components = {(each["name"], each["version"]): each for each in bill["components"]}
    installed = {(re.sub(r"[-_.]+", "-", name).lower(), version) for name, version in python(store, INSTALLED)}
    assert components.keys() == installed
    hashes = locked("requirements/run.txt") | locked("deploy/image/pip.txt")
    for key, component in components.items():
        assert component["type"] == "library"
        assert component["bom-ref"] == component["purl"] == f"pkg:pypi/{key[0]}@{key[1]}"
        assert component["licenses"]
        (digest,) = component["hashes"]
        assert digest["alg"] == "SHA-256"
        assert key[0] in NAMES or digest["content"] in hashes[key]


def test_an_argument_says_which_plugins_go_in(store: Store) -> None:
    """All of them by default, or those that are named."""
    assert plugins(store, IMAGE) == {"fpga": "ready", "generic": "nothing to do", "infiniband": "ready", "nvidia-gpu": "ready"}
    store.build("localhost/generic:test", {"PLUGINS": "generic"})
    assert plugins(store, "localhost/generic:test").keys() == {"generic"}


def test_others_add_a_plugin_with_one_line(store: Store, tmp_path: Path) -> None:
    """The Containerfile that ``new-plugin`` writes: one ``RUN pip install``, and the plugin is found beside ours."""
    write_wheel(tmp_path / "wheels", "grpcio", "99.0")
    third_party(store, tmp_path, "localhost/gizmo:test", '"grpcio>=1.60", ')
    assert plugins(store, "localhost/gizmo:test").keys() == {"acme-gizmo", "fpga", "generic", "infiniband", "nvidia-gpu"}
    before, after = (dict(python(store, INSTALLED, image)) for image in (IMAGE, "localhost/gizmo:test"))
    assert after == before | {"acme-gizmo-device-plugin": "0.1.0"}


def test_others_cannot_move_what_was_tested_together(store: Store, tmp_path: Path) -> None:
    """A plugin that wants a newer grpcio, which the index has, is refused at its build, with both versions named."""
    write_wheel(tmp_path / "wheels", "grpcio", "99.0")
    with pytest.raises(AssertionError, match=r"(?s)depends on grpcio>=99.*\(constraint\) grpcio==1\."):
        third_party(store, tmp_path, "localhost/greedy:test", '"grpcio>=99", ')


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("version", [PYTHON, "3.14"])
def test_the_lock_is_wheels_on_every_machine(tmp_path: Path, version: str, machine: str) -> None:
    """Nothing has to be compiled, on the oldest and on the newest Python, on amd64 and on arm64."""
    names = download(tmp_path, "requirements/run.txt", python=version, machine=machine)
    assert len(names) >= 20
    assert any(name.startswith("grpcio-") and name.endswith(f"{machine}.whl") for name in names)
