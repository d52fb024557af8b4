"""The environment variables of NVIDIA's plugin, and who wins: our section, then the environment, then the file."""

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor_nvidia_gpu.compat import Folded, fold
from supervisor_nvidia_gpu.compat.keys import KEYS, NOT_SUPPORTED, VARIABLES, VARIABLES_NOT_SUPPORTED
from supervisor_nvidia_gpu.config import NvidiaGpuConfig
from supervisor_nvidia_gpu.health.policy import DEFAULTS
from supervisor_nvidia_gpu.section import NvidiaGpuSection

PATH = "/etc/nvidia/config.yaml"


def folded(environ: Mapping[str, str], section: Mapping[str, Any] | None = None, file: str | None = None) -> Folded:
    """What an environment, our section and a file make together."""
    words = {**(section or {}), **({"nvidiaConfig": PATH} if file is not None else {})}
    files = {PATH: file.encode()} if file is not None else {}
    return fold(msgspec.convert(words, NvidiaGpuSection), environ, files.get)


def wanted(**words: Any) -> NvidiaGpuConfig:
    """The configuration with these keys of ours."""
    return msgspec.convert(words, NvidiaGpuConfig)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("MIG_STRATEGY", "mixed", {"migStrategy": "mixed"}),
        ("FAIL_ON_INIT_ERROR", "false", {}),
        ("NVIDIA_DRIVER_ROOT", "/run/nvidia/driver", {"driverRoot": "/run/nvidia/driver"}),
        ("NVIDIA_DEV_ROOT", "/", {"devRoot": "/"}),
        ("PASS_DEVICE_SPECS", "1", {"passDeviceSpecs": True}),
        ("PASS_DEVICE_SPECS", "F", {"passDeviceSpecs": False}),
        ("DEVICE_LIST_STRATEGY", "volume-mounts", {"deviceListStrategy": ["volume-mounts"]}),
        ("DEVICE_LIST_STRATEGY", "envvar, cdi-cri", {"deviceListStrategy": ["envvar", "cdi-cri"]}),
        ("DEVICE_ID_STRATEGY", "index", {"deviceIDStrategy": "index"}),
        ("GDRCOPY_ENABLED", "TRUE", {"extras": {"*": {"gdrcopy": True}}}),
        ("GDS_ENABLED", "t", {"extras": {"*": {"gds": True}}}),
        ("MOFED_ENABLED", "true", {"extras": {"*": {"mofed": True}}}),
        ("CDI_ANNOTATION_PREFIX", "nvidia.cdi.k8s.io/", {"cdi": {"annotationPrefix": "nvidia.cdi.k8s.io/"}}),
        ("NVIDIA_CDI_HOOK_PATH", "/usr/bin/nvidia-cdi-hook", {"cdi": {"hook": "/usr/bin/nvidia-cdi-hook"}}),
        ("NVIDIA_CTK_PATH", "/usr/bin/nvidia-ctk", {"cdi": {"hook": "/usr/bin/nvidia-ctk"}}),
        ("CONTAINER_DRIVER_ROOT", "/driver-root", {"driverRootMount": "/driver-root"}),
        ("DRIVER_ROOT_CTR_PATH", "/host", {"driverRootMount": "/host"}),
        ("SHARED_DEVICES_ALLOCATION_POLICY", "packed", {"sharing": {"policy": "packed"}}),
        ("DEVICE_DISCOVERY_STRATEGY", "auto", {}),
        ("IMEX_CHANNEL_IDS", "0", {"extras": {"*": {"imexChannels": [0]}}}),
        ("IMEX_REQUIRED", "true", {"extras": {"*": {"imexRequired": True}}}),
    ],
)
def test_a_variable_that_is_honoured(name: str, value: str, words: dict[str, Any]) -> None:
    """It means what the key of the file means."""
    found = folded({name: f" {value} "})
    assert found.config == wanted(**words)
    assert not found.problems
    assert not found.unsupported
    assert set(found.sources.values()) == ({name} if words else set())


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("FAIL_ON_INIT_ERROR", "true", "FAIL_ON_INIT_ERROR=true is not supported, because a missing driver is waited for"),
        ("DEVICE_DISCOVERY_STRATEGY", "tegra", "DEVICE_DISCOVERY_STRATEGY=tegra is not supported, because Tegra"),
        ("MPS_ROOT", "/run/nvidia/mps", "MPS_ROOT is not supported, because GPUs are shared by time-slicing alone"),
        ("USE_NODE_FEATURE_API", "true", "USE_NODE_FEATURE_API is not supported, because labelling"),
        ("KUBELET_SOCKET", "/var/lib/kubelet/x.sock", "KUBELET_SOCKET is not supported, because the kubelet's directory"),
        ("CDI_FEATURE_FLAGS", "x", "CDI_FEATURE_FLAGS is not supported, because they belong to"),
        ("CDI_DISABLE_HOOKS", "all", "CDI_DISABLE_HOOKS is not supported, because no hooks are used"),
        ("GFD_SLEEP_INTERVAL", "60s", "GFD_SLEEP_INTERVAL is not supported, because labelling"),
    ],
)
def test_a_variable_that_is_named(name: str, value: str, sentence: str) -> None:
    """What cannot be honoured is told with the reason, and changes nothing."""
    found = folded({name: value})
    assert [text[: len(sentence)] for text in found.unsupported] == [sentence]
    assert found.config == wanted()
    assert not found.problems


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("MIG_STRATEGY", "some", "MIG_STRATEGY: Invalid enum value 'some': choose from mixed, none, single"),
        ("PASS_DEVICE_SPECS", "yes", "PASS_DEVICE_SPECS: Expected true or false, got 'yes'"),
        ("FAIL_ON_INIT_ERROR", "maybe", "FAIL_ON_INIT_ERROR: Expected true or false, got 'maybe'"),
        ("USE_NODE_FEATURE_API", "maybe", "USE_NODE_FEATURE_API: Expected true or false, got 'maybe'"),
        ("IMEX_CHANNEL_IDS", "0,one", "IMEX_CHANNEL_IDS: Expected numbers with commas between, got '0,one'"),
        ("NVIDIA_DRIVER_ROOT", "here", "NVIDIA_DRIVER_ROOT: Expected an absolute path"),
        (
            "DEVICE_LIST_STRATEGY",
            "magic",
            "DEVICE_LIST_STRATEGY: Invalid enum value 'magic': choose from cdi-annotations, cdi-cri,",
        ),
        ("DP_DISABLE_HEALTHCHECKS", "79,x", "DP_DISABLE_HEALTHCHECKS: 'x' is no XID, and none of all, xids"),
        ("DP_ENABLE_HEALTHCHECKS", "xids", "DP_ENABLE_HEALTHCHECKS: 'xids' is no XID, and none of all"),
        ("DP_ENABLE_HEALTHCHECKS", "0", "DP_ENABLE_HEALTHCHECKS: '0' is no XID, and none of all"),
    ],
)
def test_a_variable_with_a_value_that_cannot_be(name: str, value: str, problem: str) -> None:
    """It alone is left out; the other variables count."""
    found = folded({name: value, "GDS_ENABLED": "true"})
    assert [text[: len(problem)] for text in found.problems] == [problem]
    assert found.config.extras["*"].gds
    assert found.config.mig_strategy == "none"


def test_what_is_set_to_nothing_is_left_out() -> None:
    """Charts set variables to the empty text."""
    names = (*VARIABLES, *VARIABLES_NOT_SUPPORTED, "DP_DISABLE_HEALTHCHECKS", "DP_ENABLE_HEALTHCHECKS", "GFD_ONESHOT")
    assert folded(dict.fromkeys(names, "")) == Folded(config=wanted())


def test_the_environment_may_be_left_alone() -> None:
    """One key of our section closes the ears."""
    assert folded({"MIG_STRATEGY": "mixed", "MPS_ROOT": "/x"}, {"environment": False}).config == wanted(environment=False)


def test_a_file_may_be_named_by_the_environment() -> None:
    """As NVIDIA's plugin is told; our own section's name for it wins."""
    section = msgspec.convert({}, NvidiaGpuSection)
    found = fold(section, {"CONFIG_FILE": PATH}, {PATH: b"flags: {migStrategy: single}"}.get)
    assert found.config == wanted(nvidiaConfig=PATH, migStrategy="single")
    found = folded({"CONFIG_FILE": "/elsewhere"}, file="flags: {migStrategy: single}")
    assert found.config == wanted(nvidiaConfig=PATH, migStrategy="single")


def test_who_wins() -> None:
    """Our section even where it repeats a default, then the environment, then the file; the sources tell."""
    file = """
flags:
  migStrategy: single
  gdsEnabled: true
  plugin: {deviceIDStrategy: index, cdiAnnotationPrefix: file/}
sharing: {timeSlicing: {renameByDefault: true, resources: [{name: gpu, replicas: 3}]}}
"""
    environ = {"MIG_STRATEGY": "mixed", "DEVICE_ID_STRATEGY": "index", "CDI_ANNOTATION_PREFIX": "env/", "MOFED_ENABLED": "1"}
    section = {"migStrategy": "none", "cdi": {"directory": "/run/cdi"}, "sharing": {"timeSlicing": {"renameByDefault": False}}}
    found = folded(environ, section, file)
    assert found.config == wanted(
        nvidiaConfig=PATH,
        deviceIDStrategy="index",
        cdi={"directory": "/run/cdi", "annotationPrefix": "env/"},
        extras={"*": {"gds": True, "mofed": True}},
        sharing={"timeSlicing": {"resources": [{"name": "gpu", "replicas": 3}]}},
    )
    assert found.sources == {
        "extras[...].gds": f"{PATH}:4: flags.gdsEnabled",
        "extras[...].mofed": "MOFED_ENABLED",
        "deviceIDStrategy": "DEVICE_ID_STRATEGY",
        "cdi.annotationPrefix": "CDI_ANNOTATION_PREFIX",
        "sharing.timeSlicing.resources": f"{PATH}:6: sharing.timeSlicing.resources",
    }


def test_lists_of_rules_are_joined() -> None:
    """Of names the first rule counts, of XIDs the last: both ways ours win, and theirs still hold for all else."""
    section = {"naming": [{"name": "mine", "model": "*H100*"}], "health": {"xids": [{"xid": 79, "action": "event"}]}}
    file = "resources: {gpus: [{pattern: '*', name: theirs}]}"
    found = folded({"DP_ENABLE_HEALTHCHECKS": "79"}, section, file)
    assert [rule.name for rule in found.config.naming] == ["mine", "theirs"]
    assert [rule.action for rule in found.config.health.xids] == ["until-reset", "event"]
    assert found.sources.keys() == {"naming", "health"}


MERGED = (
    "nvidia.com/fast would be made of nvidia.com/fast (whole), nvidia.com/gpu (2 slices each); "
    "share them alike, or choose another name"
)


def test_what_does_not_fit_together() -> None:
    """A file that is right alone may contradict our section: the file stands back, with a reason."""
    section = {"naming": [{"name": "fast", "model": "*H100*"}]}
    file = "sharing: {timeSlicing: {resources: [{name: gpu, rename: fast, replicas: 2}]}}"
    found = folded({"GDS_ENABLED": "1"}, section, file)
    assert found.problems == (f"{PATH}:1: sharing.timeSlicing.resources: {MERGED}",)
    assert found.config == wanted(nvidiaConfig=PATH, **section, extras={"*": {"gds": True}})


@pytest.mark.parametrize(
    ("root", "place", "mount"),
    [
        (None, "/driver-root", "/driver-root"),
        ("/", "/driver-root", "/driver-root"),
        ("/run/nvidia/driver", "/host/run/nvidia/driver", "/host"),
        ("/run/nvidia/driver", "/run/nvidia/driver", "/"),
        ("/run/nvidia/driver", "/driver-root", None),
    ],
)
def test_where_the_driver_is_seen(root: str | None, place: str, mount: str | None) -> None:
    """NVIDIA's variable names where the driver's root is mounted, our key where the host's is."""
    found = folded({"CONTAINER_DRIVER_ROOT": place, **({"NVIDIA_DRIVER_ROOT": root} if root else {})})
    assert found.config.driver_root_mount == mount
    assert bool(found.unsupported) is (mount is None)


# --- health checks --------------------------------------------------------------------------------------------------------


def actions(disable: str, enable: str) -> tuple[dict[Any, str], bool]:
    """The last action of each XID without a model, and whether other evidence counts."""
    environ = {"DP_DISABLE_HEALTHCHECKS": disable, "DP_ENABLE_HEALTHCHECKS": enable}
    found = folded(environ)
    assert not found.problems
    return {rule.xid: rule.action for rule in found.config.health.xids if rule.model is None}, bool(
        found.config.health.unhealthy_on
    )


def test_all_off() -> None:
    """Nothing takes a GPU away; ``xids`` leaves the other evidence alone."""
    assert actions("all", "") == ({"all": "event"}, False)
    assert actions("xids", "") == ({"all": "event"}, True)
    assert actions("48, ALL", "") == ({"all": "event"}, False)


def test_a_list_is_off() -> None:
    """Each of its numbers is told and no more."""
    assert actions("79, 48,,79 ", "") == ({79: "event", 48: "event"}, True)


def test_the_documented_override() -> None:
    """All off and 79 on watches for XID 79, as severe as ever; a number that is harmless by default becomes unhealthy."""
    assert actions("all", "79,13") == ({"all": "event", 79: "until-reset", 13: "unhealthy"}, False)
    assert actions("79", "79") == ({79: "until-reset"}, True)


def test_all_on_beats_the_default_skip_list() -> None:
    """Every XID counts, 13 and 31 as well, and none counts less than it did; so it is where all is off, too."""
    on, evidence = actions("", "all")
    assert evidence
    assert on.pop("all") == "unhealthy"
    assert on.items() >= {(xid, "until-reset") for xid, decision in DEFAULTS.items() if decision.action == "until-reset"}
    assert set(on.values()) == {"unhealthy", "until-reset"}
    assert actions("all", "all") == ({"all": "unhealthy", **on}, True)


def test_a_model_keeps_its_severity() -> None:
    """Older GPUs cannot contain XID 48; naming it does not make it milder for them."""
    rules = folded({"DP_ENABLE_HEALTHCHECKS": "48"}).config.health.xids
    assert (rules[0].xid, rules[0].action, rules[0].model) == (48, "unhealthy", None)
    assert ("*T4", "until-reset") in {(rule.model, rule.action) for rule in rules[1:]}


# --- what always holds ----------------------------------------------------------------------------------------------------


def test_every_variable_leads_to_a_key() -> None:
    """The tables know each other."""
    assert all(known in KEYS or known in NOT_SUPPORTED for known, _ in VARIABLES.values() if known != "CONFIG_FILE")


_texts = st.text(max_size=20) | st.sampled_from(("all", "79,x", "true", "mixed", "/", "envvar,cdi-cri", "0", "none", "/a/b"))


@given(st.dictionaries(st.sampled_from((*VARIABLES, "DP_DISABLE_HEALTHCHECKS", "DP_ENABLE_HEALTHCHECKS", "GFD_X")), _texts))
def test_no_environment_raises(environ: dict[str, str]) -> None:
    """Whatever stands there, each variable is honoured, named, or told to be wrong, and what our section says holds."""
    found = folded(environ, {"migStrategy": "mixed", "cdi": {"hook": None}})
    assert found.config.mig_strategy == "mixed"
    assert found.config.cdi.hook is None
    told = " ".join((*found.problems, *found.unsupported))
    for name in ("MPS_ROOT", "GFD_X"):
        assert (name in told) is bool(environ.get(name, "").strip())
