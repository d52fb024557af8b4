"""What checkov finds in the pods, and why each finding stays."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from tests.deploy.chart import hooks
from tests.deploy.rendering import COMPONENTS, FOLDER, OVERLAYS, Object, kustomize, rendered

pytestmark = [
    pytest.mark.checkout,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.requires("kustomize", "index", "patience"),
]

VERSION = "3.3.30"
PLACE = FOLDER.parent / "build/checkov"
"""An environment of its own: it wants a hundred packages, many in one version alone."""

BASE = {
    "CKV_K8S_11": "no limit on CPU: throttling delays Allocate and the hand-over, which costs pods",
    "CKV_K8S_15": "a node that restarts must get its hardware back without a registry",
    "CKV_K8S_23": "uid 0: the kubelet's directories belong to root; all its capabilities are dropped",
    "CKV_K8S_40": "as CKV_K8S_23",
    "CKV_K8S_43": "whoever installs it names a digest with their own image: kustomize's `images`, the chart's `image.digest`",
}
BY_COMPONENT = {
    "components/helper": {
        "CKV_K8S_8": "its only client is the supervisor, which notices at once when it is gone; one that ends is started again",
        "CKV_K8S_9": "as CKV_K8S_8: nothing is sent to it by readiness",
        "CKV_K8S_16": "it opens devices that no cgroup rule can name beforehand: what the helper is for",
        "CKV_K8S_20": "goes with CKV_K8S_16",
        "CKV_K8S_28": "goes with CKV_K8S_16",
        "CKV_K8S_37": "goes with CKV_K8S_16",
    },
    "components/host-network": {"CKV_K8S_19": "the node's network is what the component is for"},
}

CLEANUP = BASE | {
    "CKV_K8S_8": "what runs for a moment, and what only sleeps, cannot hang",
    "CKV_K8S_9": "a pod that has started is ready: its node is clean",
}
HOOKS = CLEANUP | {"CKV_K8S_38": "the Job asks the API server whether all nodes are clean; its pod has one container"}
"""Of the chart, after ``helm uninstall``."""


@pytest.fixture(scope="module")
def checkov() -> Path:
    """The program, installed the first time."""
    program = PLACE / "bin/checkov"
    if not program.exists():
        subprocess.run([sys.executable, "-m", "venv", str(PLACE)], check=True)
        install: list[str | Path] = [
            PLACE / "bin/python",
            "-m",
            "pip",
            "install",
            "--quiet",
            "--only-binary=:all:",
            f"checkov=={VERSION}",
        ]
        subprocess.run(install, stdin=subprocess.DEVNULL, check=True)
    return program


def found(checkov: Path, folder: Path, objects: Sequence[Object]) -> set[str]:
    """The checks that fail."""
    (folder / "all.yaml").write_text(yaml.safe_dump_all(objects))
    command: list[str | Path] = [
        checkov,
        "--file",
        folder / "all.yaml",
        "--framework",
        "kubernetes",
        "--skip-download",
        "--output",
        "json",
    ]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False)
    results = json.loads(done.stdout)["results"]
    assert len(results["passed_checks"]) > 50
    return {each["check_id"] for each in results["failed_checks"]}


@pytest.mark.parametrize("folder", ["base", *OVERLAYS])
def test_the_base_has_no_finding_without_a_reason(checkov: Path, tmp_path: Path, folder: str) -> None:
    """And no reason without a finding; overlays add none."""
    assert found(checkov, tmp_path, rendered(folder)) == BASE.keys()


@pytest.mark.parametrize("component", BY_COMPONENT)
def test_a_component_adds_what_it_is_for(checkov: Path, tmp_path: Path, component: str) -> None:
    """Findings that the base has not, each with its reason."""
    assert found(checkov, tmp_path, rendered(components=[component])) == BASE.keys() | BY_COMPONENT[component].keys()


def test_all_components_add_nothing_else(checkov: Path, tmp_path: Path) -> None:
    """What none of those adds, no other one does."""
    reasons = set(BASE).union(*BY_COMPONENT.values())
    assert found(checkov, tmp_path, rendered(components=COMPONENTS)) == reasons


def test_the_cleanup_has_no_finding_without_a_reason(checkov: Path, tmp_path: Path) -> None:
    """As kustomize makes it."""
    assert found(checkov, tmp_path, kustomize(FOLDER / "cleanup")) == CLEANUP.keys()


@pytest.mark.requires("helm")
def test_the_hooks_of_the_chart_have_no_finding_without_a_reason(checkov: Path, tmp_path: Path) -> None:
    """The clean-up, and the Job that waits for it; all else of the chart is the same as kustomize's."""
    assert found(checkov, tmp_path, hooks({"cleanup": {"enabled": True}})) == HOOKS.keys()
