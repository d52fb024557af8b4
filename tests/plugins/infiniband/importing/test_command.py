"""``import-config`` with the importers as they are installed: what comes out passes ``check-config``."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

SRIOV = {
    "resourceList": [
        {"resourceName": "net", "selectors": {"vendors": ["8086"], "drivers": ["iavf"], "pfNames": ["ens5f0"]}},
        {
            "resourceName": "hca_vf",
            "resourcePrefix": "nvidia.com",
            "selectors": [{"vendors": ["15b3"], "devices": ["1018", "1e10"], "pfNames": ["ens1f0#0-3,7"], "isRdma": True}],
        },
    ]
}
SHARED = {"configList": [{"resourceName": "hca", "rdmaHcaMax": 63, "selectors": {"vendors": ["15b3"], "linkTypes": ["ether"]}}]}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "supervisor", *arguments]
    return subprocess.run(command, env=dict(os.environ), capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("tool", "source", "resource", "lost"),
    [
        ("sriov-network-device-plugin", SRIOV, "nvidia.com/hca_vf", 1),
        ("k8s-rdma-shared-dev-plugin", SHARED, "rdma/hca", 0),
    ],
)
def test_what_comes_out_is_accepted(tool: str, source: object, resource: str, lost: int, tmp_path: Path) -> None:
    """Of a file, and of a ConfigMap that holds it; what is lost has its line in either."""
    text = json.dumps(source, indent=2)
    plain, wrapped, ours = (tmp_path / name for name in ("theirs.json", "theirs.yaml", "ours.yaml"))
    plain.write_text(text)
    indented = "".join(f"    {line}\n" for line in text.splitlines())
    wrapped.write_text(f"kind: ConfigMap\ndata:\n  config.json: |\n{indented}")
    answers = [run("import-config", tool, str(file)) for file in (plain, wrapped)]
    assert [answer.returncode for answer in answers] == [0, 0]
    assert answers[0].stdout == answers[1].stdout
    for answer, shift in zip(answers, (0, 3), strict=True):
        places = [line.split(":")[2] for line in answer.stderr.splitlines() if line.startswith("lost: ")]
        assert places == [str(next(n for n, line in enumerate(text.splitlines(), 1) if "selectors" in line) + shift)] * lost
    file = yaml.safe_load(answers[0].stdout)
    assert [each["name"] for each in file["plugins"]["infiniband"]["resources"]] == [resource]
    for name in ("sysfs", "dev", "proc", "runUdev"):
        (tmp_path / name).mkdir()
    host = {name: str(tmp_path / name) for name in ("sysfs", "dev", "proc", "runUdev")}
    ours.write_text(f"{answers[0].stdout}  nvidia-gpu: {{enabled: false}}\nhost: {json.dumps(host)}\n")
    checked = run("check-config", str(ours))
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "infiniband" in checked.stdout.partition("On: ")[2]
