from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.cluster.account import Account
from tests.cluster.apiserver import ApiServer, MemoryApi, StoredCluster, serving
from tests.cluster.pod import service_account


@pytest.fixture
def cluster() -> StoredCluster:
    return StoredCluster()


@pytest.fixture
def server(cluster: StoredCluster) -> Iterator[ApiServer]:
    with serving(cluster) as running:
        yield running


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """The directory that the kubelet mounts into each pod."""
    return service_account(tmp_path)


@pytest.fixture
def account(server: ApiServer, secrets: Path) -> Account:
    return Account(secrets, {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(server.port)})


@pytest.fixture
def api(cluster: StoredCluster) -> MemoryApi:
    return MemoryApi(cluster)
