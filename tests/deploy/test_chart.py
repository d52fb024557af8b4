"""The chart by itself: its schema, its metadata, the configuration that it writes, and what a change of values touches."""

import json
import tarfile
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from supervisor.config import RESTART_SECTIONS, SupervisorConfig
from supervisor.config_file import parse
from tests.deploy.chart import ELSEWHERE, FOLDER, SCHEMA, config_schema, objects, render, values_schema

pytestmark = [pytest.mark.checkout, pytest.mark.requires("helm", "patience")]

ROOT = FOLDER.parents[1]


def the(kind: str, values: dict[str, Any] | None = None) -> dict[str, Any]:
    """The only object of its kind."""
    (found,) = [each for each in objects(values) if each["kind"] == kind]
    return found


def config_text(values: dict[str, Any] | None = None) -> str:
    """The file that the supervisor reads."""
    for each in objects(values):
        if each["kind"] == "ConfigMap" and "config.yaml" in each["data"]:
            return str(each["data"]["config.yaml"])
    raise AssertionError("no configuration")


def config(values: dict[str, Any] | None = None) -> SupervisorConfig:
    """The same, as the supervisor understands it. Fails where it is refused."""
    return parse(config_text(values).encode()).config


def refusal(values: dict[str, Any]) -> str:
    """What Helm says of values that it does not take."""
    import helm_python  # only where the tests are not skipped

    with pytest.raises(helm_python.HelmError) as caught:
        render(values)
    return str(caught.value)


# --- metadata ---------------------------------------------------------------------------------------------------------


def test_lint_finds_nothing() -> None:
    """With warnings as errors; remarks, such as that an icon would be nice, aside."""
    import helm_python

    report = helm_python.lint(FOLDER, strict=True)
    assert report["total_charts_linted"] == 1
    assert not report["errors"]
    assert [message for message in report["messages"] if message["severity"] > 1] == []


def test_the_chart_has_the_projects_version() -> None:
    """As version and as appVersion, by which the image is tagged."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    written = yaml.safe_load((FOLDER / "Chart.yaml").read_text())
    assert (written["version"], written["appVersion"]) == (version, version)
    assert the("DaemonSet")["spec"]["template"]["spec"]["containers"][0]["image"].endswith(f":{version}")


def test_a_package_holds_the_monitoring_files(tmp_path: Path) -> None:
    """They are links in the checkout, so that they cannot differ, and files in what is published."""
    import helm_python

    with tarfile.open(helm_python.package(FOLDER, destination=tmp_path)) as archive:
        members = {member.name: member for member in archive.getmembers()}
        for name in ("rules.yaml", "podmonitor.yaml", "dashboard.json"):
            member = members[f"device-plugin-supervisor/files/{name}"]
            assert member.isfile()
            content = archive.extractfile(member)
            assert content is not None
            assert content.read() == (ROOT / "deploy/monitoring" / name).read_bytes()


def test_two_renderings_are_the_same() -> None:
    """Byte for byte: what compares them before it applies them finds no change where there is none."""
    values = {"nvidia": {"enabled": True}, "monitoring": {"enabled": True}, "cleanup": {"enabled": True}}
    assert render(values) == render(values)


# --- schema -----------------------------------------------------------------------------------------------------------


def test_the_schema_of_config_is_that_of_the_configuration() -> None:
    """Made by ``python -m tests.deploy.chart``."""
    assert SCHEMA.read_text() == values_schema()


def test_the_schema_knows_every_value_and_describes_it_in_the_readme() -> None:
    """A value without a type, or that nobody is told of, would be found by reading templates only."""
    written = json.loads(SCHEMA.read_text())
    values = yaml.safe_load((FOLDER / "values.yaml").read_text())
    assert set(values) == set(written["properties"]) - {"global"}
    readme = (FOLDER / "README.md").read_text()
    told = {name.partition(".")[0] for line in readme.splitlines() if line.startswith("| `") for name in line.split("`")[1::2]}
    assert set(values) <= told


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"imagePullSecret": []}, "additional properties 'imagePullSecret' not allowed"),
        ({"image": {"tga": "1"}}, "at '/image': additional properties 'tga' not allowed"),
        ({"image": {"tag": 1.27}}, "at '/image/tag': got number, want string"),
        ({"image": {"digest": "0123"}}, "at '/image/digest'"),
        ({"image": {"pullPolicy": "Sometimes"}}, "'Always', 'IfNotPresent', 'Never'"),
        ({"http": {"port": "9410"}}, "at '/http/port': got string, want integer"),
        ({"http": {"port": 0}}, "at '/http/port': minimum: got 0, want 1"),
        ({"config": None}, "missing property 'config'"),
        ({"http": {"tls": None}}, "at '/http': missing property 'tls'"),
        ({"nvidia": True}, "at '/nvidia': got boolean, want object"),
        ({"events": {"enabled": "yes"}}, "at '/events/enabled': got string, want boolean"),
        ({"kubelet": {"devicePluginsDir": "var/lib"}}, "at '/kubelet/devicePluginsDir'"),
        ({"resources": {"limits": {"memory": "much"}}}, "at '/resources/limits/memory'"),
        ({"tolerations": [{"keys": "a"}]}, "at '/tolerations/0': additional properties 'keys' not allowed"),
        ({"podLabels": {"a": 1}}, "at '/podLabels/a': got number, want string"),
        ({"podLabels": {"app.kubernetes.io/name": "mine"}}, "at '/podLabels/app.kubernetes.io~1name': false schema"),
        ({"config": {"plugin": {}}}, "at '/config': additional properties 'plugin' not allowed"),
        (
            {"config": {"plugins": {"generic": {"resource": []}}}},
            "at '/config/plugins/generic': additional properties 'resource'",
        ),
        ({"config": {"log": {"level": "loud"}}}, "at '/config/log/level'"),
        ({"config": {"http": {"listen": ":1"}}}, "config.http: set http.port, http.tls and http.auth instead"),
        ({"config": {"kubelet": {}}}, "config.kubelet: set kubelet.devicePluginsDir and kubelet.podResourcesDir instead"),
        ({"config": {"kubernetes": {"events": True}}}, "config.kubernetes: set events.enabled, nodeLabels.enabled"),
        ({"config": {"plugins": {"nvidia-gpu": {}}}}, "config.plugins.nvidia-gpu: set nvidia.enabled too"),
        ({"config": {"plugins": {"nvidia-gpu": None}}}, "config.plugins.nvidia-gpu: set nvidia.enabled too"),
        ({"nvidia": {"runtimeClassName": "nvidia"}}, "nvidia.runtimeClassName: set nvidia.enabled too"),
        ({"nvidia": {"driverContainer": True}}, "nvidia.driverContainer: set nvidia.enabled too"),
        ({"http": {"auth": {"secretName": "a"}}}, "http.auth: anybody on the way could read a token"),
        (
            {"http": {"tls": {"secretName": "a"}, "auth": {"secretName": "b", "tokenKey": ""}}},
            "http.auth: set tokenKey, clientCaKey or both",
        ),
    ],
    ids=lambda given: json.dumps(given)[:60] if isinstance(given, dict) else "",
)
def test_values_that_cannot_be_meant_are_refused(values: dict[str, Any], words: str) -> None:
    """Before anything is applied, with the place and what is wrong there."""
    assert words in refusal(values)


def test_sections_of_other_plugins_may_be_anything() -> None:
    """At the top and in profiles: only their packages know their keys, and the image may have them."""
    section = {"acme": {"colour": "red"}}
    profile = {"name": "gpus", "when": {"pci": ["10de:*"]}, "plugins": section}
    found = config({"config": {"plugins": section, "profiles": [profile]}})
    assert found.section("acme").own == {"colour": "red"}
    assert found.profiles[0].plugins["acme"].own == {"colour": "red"}
    wrong = {"name": "gpus", "when": {"pci": ["10de:*"]}, "plugins": {"generic": {"resource": []}}}
    assert "at '/config/profiles/0/plugins/generic'" in refusal({"config": {"profiles": [wrong]}})


def test_every_section_is_a_value_or_refused() -> None:
    """No section of the configuration is set by two ways that could disagree, or by none."""
    properties = config_schema()[0]["properties"]
    assert set(properties) == set(SupervisorConfig.__struct_encode_fields__)
    for name in ELSEWHERE:
        assert f"config.{name}: set " in refusal({"config": {name: {}}})


# --- the configuration ------------------------------------------------------------------------------------------------


def test_the_configuration_follows_from_the_values() -> None:
    """Directories, port, certificates and what the cluster is asked, all in the words of the file."""
    found = config(
        {
            "kubelet": {"devicePluginsDir": "/data/device-plugins", "podResourcesDir": "/data/pod-resources"},
            "http": {
                "port": 9999,
                "tls": {"secretName": "certificate"},
                "auth": {"secretName": "tokens", "clientCaKey": "ca.crt"},
            },
            "events": {"enabled": True},
            "nodeLabels": {"enabled": True},
            "nodeCondition": "example.com/DevicesHealthy",
            "config": {"log": {"level": "debug"}, "host": {"proc": "/host/proc"}},
        }
    )
    assert found.kubelet.device_plugins_dir == "/data/device-plugins"
    assert found.kubelet.pod_resources_socket == "/data/pod-resources/kubelet.sock"
    assert found.http.listen == ":9999"
    assert found.http.tls is not None
    assert found.http.auth is not None
    assert (found.kubernetes.events, found.kubernetes.node_info) == (True, True)
    assert found.kubernetes.node_condition == "example.com/DevicesHealthy"
    assert found.log.level == "debug"
    assert (found.host.proc, found.host.sysfs) == ("/host/proc", "/host/sys")


def test_the_plugin_for_nvidia_is_on_where_it_has_what_it_needs() -> None:
    """Elsewhere it is off, unless the configuration says otherwise."""
    simulated = {"config": {"plugins": {"nvidia-gpu": {"enabled": True, "simulate": {"layout": "dgx-h100"}}}}}
    for values, expected in (({}, False), ({"nvidia": {"enabled": True}}, True), (simulated, True)):
        assert config(values).section("nvidia-gpu").options.enabled is expected


def test_the_plugin_for_rdma_is_on_where_its_section_is_given() -> None:
    """It needs nothing more; for all nodes, or for those of a profile."""
    pool = {"name": "rdma/hca", "mode": "shared", "replicas": 8}
    given = {"config": {"plugins": {"infiniband": {"resources": [pool]}}}}
    off = {"config": {"plugins": {"infiniband": {"enabled": False}}}}
    for values, expected in (({}, False), (given, True), ({"config": {"plugins": {"infiniband": {}}}}, True), (off, False)):
        assert config(values).section("infiniband").options.enabled is expected
    assert config(given).section("infiniband").own == {"resources": [pool]}
    profile = {"name": "rdma", "when": {"path": ["/sys/class/infiniband/*"]}, "plugins": {"infiniband": {}}}
    found = config({"config": {"profiles": [profile]}})
    assert not found.section("infiniband").options.enabled
    assert found.profiles[0].plugins["infiniband"].options.enabled


def test_the_plugin_for_fpgas_is_on_where_its_section_is_given() -> None:
    """What programs them does not switch it on: it is for those resources that ask for it."""
    given = {"config": {"plugins": {"fpga": {"preset": "intel-region"}}}}
    for values, expected in (({}, False), (given, True), ({"fpgaProgramming": {"enabled": True}}, False)):
        assert config(values).section("fpga").options.enabled is expected
    assert config(given).section("fpga").own == {"preset": "intel-region"}


def test_the_helper_gets_what_it_needs_besides() -> None:
    """Variables and mounts for it alone, as for the program by which an administrator programs FPGAs."""
    tools = {"name": "fpga-tools", "mountPath": "/opt/fpga", "readOnly": True}
    command = {"name": "FPGA_COMMAND", "value": "/opt/fpga/program"}
    volume = {"name": "fpga-tools", "hostPath": {"path": "/opt/fpga", "type": "Directory"}}
    values = {
        "fpgaProgramming": {"enabled": True},
        "helper": {"env": [command], "extraVolumeMounts": [tools], "programs": ["fpga-operate"]},
        "extraVolumes": [volume],
    }
    pod = the("DaemonSet", values)["spec"]["template"]["spec"]
    by_name = {container["name"]: container for container in pod["containers"]}
    assert by_name["helper"]["env"] == [command]
    assert by_name["helper"]["args"] == ["helper", "--program=fpga-operate"]
    assert tools in by_name["helper"]["volumeMounts"]
    assert tools not in by_name["supervisor"]["volumeMounts"]
    assert volume in pod["volumes"]


def test_files_that_the_configuration_names_are_mounted() -> None:
    """The certificate and the tokens lie where the supervisor looks for them, and probes speak TLS."""
    values = {
        "http": {"tls": {"secretName": "certificate"}, "auth": {"secretName": "tokens", "clientCaKey": "ca.crt"}},
    }
    http = config(values).http
    assert http.tls is not None
    assert http.auth is not None
    pod = the("DaemonSet", values)["spec"]["template"]["spec"]
    container = pod["containers"][0]
    secrets = {volume["name"]: volume["secret"]["secretName"] for volume in pod["volumes"] if "secret" in volume}
    found = {mount["mountPath"]: secrets[mount["name"]] for mount in container["volumeMounts"] if mount["name"] in secrets}
    files = {
        http.tls.cert_file: ("certificate", "tls.crt"),
        http.tls.key_file: ("certificate", "tls.key"),
        http.auth.bearer_token_file: ("tokens", "token"),
        http.auth.client_ca_file: ("tokens", "ca.crt"),
    }
    for path, (secret, key) in files.items():
        assert path is not None
        folder, _, name = path.rpartition("/")
        assert (found[folder], name) == (secret, key)
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["scheme"] == "HTTPS"


@given(
    st.text(
        st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"), exclude_characters="\x85\u2028\u2029\ufeff"), max_size=20
    )
)
@settings(max_examples=50, deadline=None)
def test_texts_arrive_as_they_were_given(text: str) -> None:
    """Helm writes YAML by other rules than ours are; ``yes``, ``0x1f`` and ``1:20`` are still texts here."""
    values = {"config": {"plugins": {"acme": {"text": text}}}}
    assert parse(config_text(values).encode()).config.section("acme").own == {"text": text}


@pytest.mark.parametrize(
    "value",
    [
        "yes",
        "0x10de",
        "10de",
        "1_000",
        "12:30:45",
        "~",
        "",
        "null",
        "1e3",
        "0o17",
        "010",
        "=",
        "<<",
        "2001-01-01",
        ".inf",
        "a\nb\n",
    ],
)
def test_texts_that_look_like_something_else_stay_texts(value: str) -> None:
    """Of PCI ids, times and words that some readers of YAML take for numbers or booleans."""
    values = {"config": {"plugins": {"acme": {"text": value}}}}
    assert parse(config_text(values).encode()).config.section("acme").own == {"text": value}


@pytest.mark.parametrize("value", [1073741824, 1 << 53, 0.25, 100000000.0, True, None, [], {}, [1, "1"]])
def test_other_values_arrive_as_they_were_given(value: Any) -> None:
    """Large numbers among them, which Helm likes to write with an exponent."""
    values = {"config": {"plugins": {"acme": {"list": [value]}}}}
    assert parse(config_text(values).encode()).config.section("acme").own == {"list": [value]}


# --- changes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "values",
    [
        {"config": {"plugins": {"generic": {"resources": []}}}},
        {"config": {"log": {"level": "debug"}}},
        {"config": {"metrics": {"perPod": False}}},
        {"networkPolicy": {"enabled": False}},
        {"monitoring": {"enabled": True}},
    ],
    ids=json.dumps,
)
def test_what_the_supervisor_follows_by_itself_starts_no_pod_anew(values: dict[str, Any]) -> None:
    """The template of the pods is the same as before."""
    assert objects(values) != objects()
    assert the("DaemonSet", values) == the("DaemonSet")


CHANGES: dict[str, dict[str, Any]] = {
    "kubelet": {"kubelet": {"devicePluginsDir": "/elsewhere"}},
    "http": {"http": {"port": 9411}},
    "host": {"config": {"host": {"proc": "/host/proc"}}},
    "kubernetes": {"nodeCondition": "example.com/DevicesHealthy"},
}


@pytest.mark.parametrize("section", RESTART_SECTIONS)
def test_what_takes_effect_at_a_start_starts_the_pods_anew(section: str) -> None:
    """One annotation has the sum of these sections."""
    before, after = (the("DaemonSet", values)["spec"]["template"]["metadata"] for values in (None, CHANGES[section]))
    assert before["annotations"].keys() == after["annotations"].keys()
    assert before["annotations"] != after["annotations"]
