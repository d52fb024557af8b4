"""NVIDIA's files as people write them: what becomes of them here, and what is said of the rest."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor_nvidia_gpu.compat import Folded, fold
from supervisor_nvidia_gpu.config import NvidiaGpuConfig
from supervisor_nvidia_gpu.section import NvidiaGpuSection

FILES = Path(__file__).parent / "files"
PATH = "/etc/nvidia/config.yaml"


def folded(
    data: bytes | str | None, section: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None
) -> Folded:
    """What our section, a file and an environment make together."""
    content = data.encode() if isinstance(data, str) else data
    files = {PATH: content}
    words = {"nvidiaConfig": PATH, **(section or {})}
    return fold(msgspec.convert(words, NvidiaGpuSection), environ or {}, files.get)


def wanted(**words: Any) -> NvidiaGpuConfig:
    """The configuration with these keys of ours."""
    return msgspec.convert({"nvidiaConfig": PATH, **words}, NvidiaGpuConfig)


def shares(*resources: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"timeSlicing": {"resources": list(resources), **more}}


EVERYTHING: dict[str, Any] = {
    "migStrategy": "mixed",
    "driverRoot": "/run/nvidia/driver",
    "devRoot": "/run/nvidia/driver",
    "driverRootMount": "/host",
    "deviceListStrategy": ["volume-mounts", "cdi-cri"],
    "passDeviceSpecs": True,
    "deviceIDStrategy": "index",
    "naming": [
        {"name": "nvidia.com/h100", "model": "*H100*"},
        {"name": "gpu", "model": "*"},
        {"name": "small", "profile": "1g.*"},
    ],
    "sharing": {
        **shares(
            {"name": "nvidia.com/gpu", "replicas": 4, "rename": "nvidia.com/gpu.slice", "devices": "all"},
            renameByDefault=True,
            failRequestsGreaterThanOne=True,
        ),
        "policy": "packed",
    },
    "cdi": {"annotationPrefix": "nvidia.cdi.k8s.io/", "hook": "/usr/local/nvidia/toolkit/nvidia-cdi-hook"},
    "extras": {"*": {"gdrcopy": True, "gds": True, "mofed": False, "imexChannels": [0], "imexRequired": False}},
}
NO_LABELS = "is not supported, because labelling nodes is the work of GPU feature discovery"
NO_MPS = "is not supported, because GPUs are shared by time-slicing alone"
NO_TEGRA = "is not supported, because Tegra systems have no NVML, by which GPUs are found here"
NO_ROOT = (
    "is not supported, because /run/nvidia/driver is looked for below the place where this process sees the host's root: "
    "mount that as a whole, and name the place as driverRootMount"
)
NO_EXIT = "is not supported, because a missing driver is waited for and told; it never ends the process"


@pytest.mark.parametrize(
    ("name", "words", "unsupported"),
    [
        ("plain.yaml", {}, []),
        ("nothing.yaml", {}, []),
        (
            "chart.yaml",
            {"driverRoot": "/", "deviceListStrategy": ["envvar"], "passDeviceSpecs": False},
            [f"4: flags.failOnInitError: true {NO_EXIT}"],
        ),
        (
            "every-key.yaml",
            EVERYTHING,
            [f"5: flags.mpsRoot {NO_MPS}", f"11: flags.useNodeFeatureAPI {NO_LABELS}", f"23: flags.gfd {NO_LABELS}"],
        ),
        ("time-slicing.yaml", {"sharing": shares({"name": "nvidia.com/gpu", "replicas": 10})}, []),
        (
            "time-slicing-mig.yaml",
            {
                "migStrategy": "mixed",
                "sharing": shares(
                    {"name": "nvidia.com/gpu", "replicas": 2},
                    {
                        "name": "nvidia.com/mig-1g.5gb",
                        "replicas": 2,
                        "devices": ["0:0", "1:3", "MIG-2b1c7f3a-5d3e-5c2a-9a51-0c0d9d0f3b11"],
                    },
                    {"name": "nvidia.com/mig-3g.20gb", "replicas": 5},
                    renameByDefault=True,
                    failRequestsGreaterThanOne=True,
                ),
            },
            [],
        ),
        (
            "per-gpu.json",
            {
                "deviceListStrategy": ["envvar"],
                "sharing": shares(
                    {"name": "nvidia.com/gpu", "replicas": 4, "devices": [0, 1]},
                    {"name": "nvidia.com/gpu", "replicas": 8, "devices": ["GPU-0ab9b1a0-93a5-4f6f-9f20-6c5e2a1b7c9d"]},
                ),
            },
            [],
        ),
        ("mps.yaml", {}, [f"3: flags.mpsRoot {NO_MPS}", f"5: sharing.mps {NO_MPS}; these are offered whole"]),
        (
            "cdi.yaml",
            {"deviceListStrategy": ["cdi-annotations", "cdi-cri"], "cdi": {"hook": "/usr/bin/nvidia-ctk"}},
            [],
        ),
        (
            "driver-container.yaml",
            {"driverRoot": "/run/nvidia/driver", "devRoot": "/", "passDeviceSpecs": True},
            [
                f"6: flags.plugin.containerDriverRoot: /driver-root {NO_ROOT}",
            ],
        ),
        (
            "tegra.yaml",
            {},
            [
                f"3: flags.deviceDiscoveryStrategy: tegra {NO_TEGRA}",
            ],
        ),
        ("gfd-only.yaml", {}, [f"2: flags.gfd {NO_LABELS}"]),
        ("nulls.yaml", {"extras": {"*": {"imexChannels": []}}}, []),
        (
            "newer.yaml",
            {"deviceListStrategy": ["envvar"], "sharing": shares({"name": "nvidia.com/gpu", "replicas": 2})},
            [
                "3: flags.migStrategi is not a known key; did you mean migStrategy?",
                "6: flags.plugin.somethingNew is not a known key",
                "7: health is not a known key",
                "14: sharing.timeSlicing.resources[0].weight is not a known key",
            ],
        ),
    ],
)
def test_a_file_as_people_write_it(name: str, words: dict[str, Any], unsupported: list[str]) -> None:
    """Each key is honoured, or named with its line and the reason."""
    found = folded((FILES / name).read_bytes())
    assert found.config == wanted(**words)
    assert list(found.unsupported) == [f"{PATH}:{text}" for text in unsupported]
    assert not found.problems


def test_every_sample_is_looked_at() -> None:
    """A sample that no test reads proves nothing."""
    marks = test_a_file_as_people_write_it.pytestmark
    assert {case[0] for mark in marks for case in mark.args[1]} == {path.name for path in FILES.iterdir()}


SLICES = "sharing:\n  timeSlicing:\n    resources:\n"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("version: v2\n", "1: version: Expected v1, got 'v2'"),
        ("version: [v1\n", "2: is not YAML: did not find expected ',' or ']' while parsing a flow sequence"),
        ("- v1\n", "1: Expected a mapping"),
        ("version: v1\nflags: mixed\n", "2: flags: Expected a mapping"),
        (
            "flags:\n  migStrategy: sometimes\n",
            "2: flags.migStrategy: Invalid enum value 'sometimes': choose from mixed, none, single",
        ),
        ("flags:\n  failOnInitError: perhaps\n", "2: flags.failOnInitError: Expected true or false, got 'perhaps'"),
        ("flags:\n  gdsEnabled: perhaps\n", "2: flags.gdsEnabled: Expected bool, got str"),
        ("flags:\n  nvidiaDriverRoot: run\n", "2: flags.nvidiaDriverRoot: Expected an absolute path"),
        ("flags:\n  deviceDiscoveryStrategy: guess\n", "2: flags.deviceDiscoveryStrategy: Expected one of auto, nvml, tegra"),
        (
            "flags:\n  plugin:\n    deviceListStrategy:\n    - envvar\n    - magic\n",
            "3: flags.plugin.deviceListStrategy: Invalid enum value 'magic': choose from cdi-annotations, cdi-cri, envvar, volume-mounts",
        ),
        ("flags:\n  migStrategy: none\n  migStrategy: mixed\n", "3: migStrategy: duplicate key, first in line 2"),
        (f"{SLICES}    - name: nvidia.com/gpu\n", "4: sharing.timeSlicing.resources[0]: the key replicas is missing"),
        (
            f"{SLICES}    - name: nvidia.com/gpu\n      replicas: 1\n",
            "5: sharing.timeSlicing.resources[0].replicas: Expected int >= 2",
        ),
        (
            f"{SLICES}    - name: nvidia.com/gpu\n      replicas: ten\n",
            "5: sharing.timeSlicing.resources[0].replicas: Expected int, got str",
        ),
        (
            f"{SLICES}    - name: a b\n      replicas: 2\n",
            "4: sharing.timeSlicing.resources[0].name: 'a b' is no resource name",
        ),
        (
            f"{SLICES}    - {{name: gpu, replicas: 2}}\n    - {{name: nvidia.com/gpu, replicas: 3}}\n",
            "5: sharing.timeSlicing.resources[1]: shares devices of nvidia.com/gpu that resources[0] shares already",
        ),
        (f"{SLICES}      gpu: 2\n", "3: sharing.timeSlicing.resources: Expected a list"),
        (
            "sharing:\n  timeSlicing: {renameByDefault: true}\n  mps: {renameByDefault: true}\n",
            "3: sharing.mps: it excludes sharing.timeSlicing; keep one of them",
        ),
        ("resources:\n  gpus:\n  - pattern: '*'\n", "3: resources.gpus[0]: the key name is missing"),
        ("imex:\n  channelIDs: [zero]\n", "2: imex.channelIDs: Expected int, got str"),
        ("a: &a 1\nb: *a\n", "2: the alias *a is not supported: write the value out"),
        ("a: !python/object:os.system 1\n", "1: the tag !python/object:os.system is not supported"),
        ("version: v1\n---\nversion: v1\n", "3: a second document starts here: one file holds one"),
        ("[a]: 1\n", "1: a key must be a word"),
        ("a: " + "[" * 200_000, "1: is nested more than 32 deep"),
        (b"version: v1\n\xff\n", "2: is not UTF-8 text"),
        (b"version: v1\n\x07\n", "1: is not YAML: "),
        (b" " * ((1 << 20) + 1), "1: is longer than 1048576 bytes (1 MiB)"),
    ],
)
def test_a_broken_file_is_left_out_with_a_reason(text: str | bytes, problem: str) -> None:
    """The sentence names line and key; nothing of the file counts, what our section says still does."""
    found = folded(text, {"migStrategy": "single"})
    assert len(found.problems) == 1
    assert found.problems[0].startswith(f"{PATH}:{problem}")
    assert found.config == wanted(migStrategy="single")


def test_a_key_with_dots_is_another_key() -> None:
    """Only nested keys mean what nested keys mean."""
    found = folded("flags.migStrategy: mixed\nresources: {'gpus[]': 1}\n")
    assert found.unsupported == (
        f"{PATH}:1: ['flags.migStrategy'] is not a known key",
        f"{PATH}:2: resources['gpus[]'] is not a known key",
    )
    assert found.config == wanted()


def test_a_file_of_nonsense_makes_no_flood() -> None:
    """What is wrong with the first hundred keys is told; more nobody reads."""
    found = folded("".join(f"key{number}: 1\n" for number in range(10_000)))
    assert len(found.unsupported) == 101
    assert found.unsupported[-1] == f"{PATH}:101: and more of the like from here on"
    found = folded(f"resources: {{gpus: [{'{}, ' * 10_000}]}}")
    assert len(found.problems) == 101


def failing(error: OSError) -> Callable[[str], bytes | None]:
    """A way to read files that fails."""

    def read(path: str) -> bytes | None:
        raise error

    return read


def test_a_file_that_cannot_be_read() -> None:
    """Absent or forbidden, it is told and nothing else changes."""
    assert folded(None).problems == (f"{PATH}: does not exist, but is named as NVIDIA's configuration file",)
    section = msgspec.convert({"nvidiaConfig": PATH}, NvidiaGpuSection)
    assert fold(section, {}, failing(PermissionError(13, "Permission denied"))).problems == (
        f"{PATH}: cannot be read: Permission denied",
    )


def test_without_a_file_none_is_read() -> None:
    """Nobody looks for a file that nobody named."""
    found = fold(NvidiaGpuSection(), {}, failing(AssertionError()))  # type: ignore[arg-type]  # the test fails if it is raised
    assert found == Folded(config=NvidiaGpuConfig())


def test_wildcards_of_names() -> None:
    """Only the star means something in NVIDIA's patterns."""
    text = "resources: {gpus: [{pattern: 'NVIDIA A100 [80GB]?*', name: a100}]}"
    assert folded(text).config == wanted(naming=[{"name": "a100", "model": "NVIDIA A100 [[]80GB][?]*"}])


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_no_bytes_raise(data: bytes) -> None:
    """Whatever a file holds, the answer is a configuration, and a broken file changes nothing of it."""
    found = folded(data, {"migStrategy": "mixed"})
    assert found.config.mig_strategy == "mixed"
    assert not found.problems or found.config == wanted(migStrategy="mixed")


_scalars = st.none() | st.booleans() | st.integers(-5, 20) | st.sampled_from(("all", "gpu", "mixed", "/", "envvar", "", "0:1"))
_KEYS = (
    "version",
    "flags",
    "plugin",
    "gfd",
    "migStrategy",
    "failOnInitError",
    "deviceListStrategy",
    "nvidiaDriverRoot",
    "containerDriverRoot",
    "gdsEnabled",
    "sharing",
    "timeSlicing",
    "mps",
    "resources",
    "gpus",
    "mig",
    "name",
    "pattern",
    "replicas",
    "devices",
    "rename",
    "renameByDefault",
    "imex",
    "channelIDs",
    "required",
    "other",
)
_trees = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_KEYS), inner, max_size=4),
    max_leaves=25,
)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(("version", "flags", "resources", "sharing", "imex", "other"), _trees)))
def test_no_tree_raises(tree: dict[str, Any]) -> None:
    """Known keys with impossible values and in impossible places are told, each with its line."""
    found = folded(msgspec.json.encode(tree))
    assert all(text.startswith(f"{PATH}:1: ") for text in (*found.problems, *found.unsupported))
    if found.problems:
        assert found.config == wanted()
    if tree.get("other") is not None:
        assert any(": other is not a known key" in text for text in found.unsupported)
