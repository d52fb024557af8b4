"""A dry run of the end-to-end tests: they pass on a stand-in that behaves, and each notices the fault that it is there for."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.checkout, pytest.mark.slow, pytest.mark.requires("patience")]

ROOT = Path(__file__).parents[2]
PUPPET = Path(__file__).with_name("puppet_cluster.py")
FAULTS = {
    "a unit is missing": "test_capacity_appears",
    "device for everybody": "test_a_pod_gets_its_device",
    "restart unnoticed": "test_a_kubelet_restart_loses_nothing",
    "upgrade with a gap": "test_an_upgrade_is_not_seen_by_the_node",
    "edit restarts": "test_an_edit_applies_without_a_restart",
    "removal ends pods": "test_removal_leaves_pods_alone",
}
"""Each fault of the stand-in, and the test that has to see it."""


def run(folder: Path, *tests: str, fault: str = "") -> subprocess.CompletedProcess[str]:
    """Run the end-to-end tests, or some of them, against a stand-in with a fault."""
    kubectl = folder / "bin/kubectl"
    kubectl.parent.mkdir()
    kubectl.write_text(f'#!/bin/sh\nexec {sys.executable} {PUPPET} "$@"\n')
    kubectl.chmod(0o755)
    env = {name: value for name, value in os.environ.items() if not name.startswith(("NO_SKIPS", "PYTEST_"))} | {
        "PATH": f"{kubectl.parent}{os.pathsep}{os.environ['PATH']}",
        "KUBECONFIG": str(folder / "none"),
        "PUPPET_CLUSTER": str(folder / "cluster.json"),
        "FAULT": fault,
        "PATIENCE": "3",
        "RESTART_KUBELET": f"{kubectl} restart-kubelet",
    }
    wanted = [f"tests/e2e/test_cluster.py::{name}" for name in tests] or ["tests/e2e"]
    command = [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", "--tb=short", *wanted]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=100, check=False)


def test_a_cluster_that_behaves_passes(tmp_path: Path) -> None:
    """All of them, in whatever order, and nothing of ours is left on the cluster."""
    done = run(tmp_path)
    assert done.returncode == 0, done.stdout
    assert re.search(r"\b7 passed\b", done.stdout)
    assert "skipped" not in done.stdout
    assert '"device-plugin-supervisor"' not in (tmp_path / "cluster.json").read_text()


@pytest.mark.parametrize(("fault", "test"), FAULTS.items(), ids=FAULTS)
def test_each_fault_is_seen(fault: str, test: str, tmp_path: Path) -> None:
    """The test whose promise is broken fails, not for another reason than this."""
    done = run(tmp_path, test, fault=fault)
    assert done.returncode == 1, done.stdout
    assert re.search(r"\b1 failed\b", done.stdout)
    assert "no answer" not in done.stdout
    assert re.search(r"E +(AssertionError: )?assert |not seen in 3 s", done.stdout)


def test_a_cluster_in_use_is_left_alone(tmp_path: Path) -> None:
    """Where our namespace is there already, nothing is run and nothing deleted."""
    before = '{"namespaces": ["device-plugin-supervisor"], "pods": {}, "serial": 1, "config": "", "restarts": 0, "gap": 0}'
    (tmp_path / "cluster.json").write_text(before)
    done = run(tmp_path)
    assert done.returncode == 2, done.stdout
    assert "would delete" in done.stdout
    assert '["device-plugin-supervisor"]' in (tmp_path / "cluster.json").read_text()
