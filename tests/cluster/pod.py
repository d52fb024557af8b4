"""A supervisor as in a pod of the stand-in cluster: its service account where every pod has it, in a mount namespace of its own."""

import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cluster.apiserver import NODE, TLS, TOKEN, ApiServer


def service_account(directory: Path) -> Path:
    """A directory as the kubelet mounts it into each pod."""
    directory.mkdir(exist_ok=True)
    shutil.copy(TLS / "ca.crt", directory / "ca.crt")
    (directory / "token").write_text(f"{TOKEN}\n")
    return directory


def in_pod(server: ApiServer, secrets: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[list[str]], list[str]]:
    """Set the variables of a pod, and say how to start a command in it: for ``wrap``. Needs the tool ``namespaces``."""
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(server.port))
    monkeypatch.setenv("NODE_NAME", NODE)
    monkeypatch.setenv("POD_NAME", "supervisor-x7")
    account = "/run/secrets/kubernetes.io/serviceaccount"
    mounts = f"mount -t tmpfs none /run && mkdir -p {account} && mount --bind {shlex.quote(str(secrets))} {account}"
    return lambda command: ["unshare", "--mount", "sh", "-c", f'{mounts} && exec "$@"', "sh", *command]
