"""Whatever comes to the HTTP port, the kubelet notices nothing of it."""

import http.client
import json
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

import pytest

from supervisor.kubelet.protos import deviceplugin_pb2 as pb
from supervisor.kubelet.simulator import KubeletSimulator
from tests.observe.certificates import Authority, Pair, put
from tests.system.conftest import Start
from tests.system.rig import HEALTHY, RESOURCE, Process, Puppet, assert_served, wait_for
from tests.system.siege import Siege

HOSTILE = 200
"""Connections at the same time."""
MOST_GROWTH = 48 << 20
"""Bytes, for clients, answers under way and what the allocator keeps of them."""


def _resident(process: Process) -> int:
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) << 10


def _answers(process: Process, path: str) -> bool:
    """One that is new and slow to speak may lose its place in such a crowd, and would come again."""
    with suppress(OSError, http.client.HTTPException):
        return process.get(path)[0] == 200
    return False


def test_hostile_clients_harm_nobody(kubelet: KubeletSimulator, served: Process, puppet: Puppet) -> None:
    """While two hundred try all they can, devices are allocated, health changes arrive, probes are answered, memory stays."""
    address = json.loads(served.wait_log('"HttpListening"'))["address"]
    siege = Siege(int(address.rpartition(":")[2]), HOSTILE)
    assert served.get("/status")[0] == served.get("/metrics")[0] == 200
    before = _resident(served)
    request = pb.AllocateRequest(container_requests=[pb.ContainerAllocateRequest(devices_ids=["w0"])]).SerializeToString()
    with siege():
        wait_for(lambda: siege.tried >= 5 * HOSTILE, 60, "the siege")
        for _ in range(50):
            good = pb.AllocateResponse.FromString(kubelet.call(RESOURCE, "Allocate", request))
            assert dict(good.container_responses[0].envs) == {"W": "1"}
        for path in ("/livez", "/readyz", "/metrics"):
            wait_for(partial(_answers, served, path), 30, f"an answer of {path} between all those requests")
        assert_served(kubelet, puppet, 1)
        growth = _resident(served) - before
    assert growth < MOST_GROWTH
    served.wait_ready("active")


def test_protection_stays_where_the_address_is_moved(start: Start, kubelet: KubeletSimulator, tmp_path: Path) -> None:
    """``--http`` names another address; who shows no token still learns the verdict alone."""
    tokens = tmp_path / "tokens"
    tokens.write_text("secret\n")
    auth = {"bearerTokenFile": str(tokens)}
    process = start(http={"listen": "127.0.0.1:1", "auth": auth}, options=("--http", "127.0.0.1:0"))
    kubelet.wait_devices(RESOURCE, HEALTHY)
    process.wait_ready("active")
    assert process.get("/livez") == (200, "live\n")
    assert process.get("/status")[0] == process.get("/metrics")[0] == 401


@pytest.mark.parametrize("address", [":0", "0.0.0.0:0"])
def test_a_token_is_not_moved_into_the_open(start: Start, tmp_path: Path, address: str) -> None:
    """A command line that would have tokens sent over plain HTTP ends with the cure."""
    auth = {"bearerTokenFile": str(tmp_path / "tokens")}
    process = start(http={"listen": "127.0.0.1:0", "auth": auth}, options=("--http", address))
    assert process.wait() == 2
    assert f"--http {address}: auth.bearerTokenFile: " in process.log
    assert "or listen on 127.0.0.1" in process.log


@pytest.mark.requires("openssl")
def test_a_protected_port_from_end_to_end(start: Start, kubelet: KubeletSimulator, tmp_path: Path) -> None:
    """Over TLS a probe hears the verdict, a token opens the rest; a key that went bad shows there, and goes when it is mended."""
    authority = Authority(tmp_path)
    pair, other, tokens = authority.sign("server"), authority.sign("server", "other"), tmp_path / "tokens"
    tokens.write_text("secret\n")
    auth = {"bearerTokenFile": str(tokens), "clientCaFile": str(authority.certificate)}
    tls = {"certFile": str(pair.certificate), "keyFile": str(pair.key)}
    process = start(http={"listen": ":0", "tls": tls, "auth": auth})
    kubelet.wait_devices(RESOURCE, HEALTHY)
    heard = json.loads(process.wait_log('"HttpListening"'))
    assert heard["scheme"] == "https"
    port = int(heard["address"].rpartition(":")[2])

    def ask(path: str, client: Pair | None = None, **headers: str) -> tuple[int, str]:
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=10, context=authority.context(client))
        with closing(connection):
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def reasons() -> str:
        return ask("/readyz", Authorization="Bearer secret")[1]

    assert ask("/livez") == (200, "live\n")
    assert (ask("/status")[0], ask("/metrics")[0]) == (401, 401)
    assert ask("/metrics", authority.sign("client"))[0] == 200
    good = pair.key.read_bytes()
    put(pair.key, other.key.read_bytes())
    wait_for(lambda: "http: certificate: the key in" in reasons(), what="the bad key")
    put(pair.key, good)
    wait_for(lambda: "certificate" not in reasons(), what="the good key")
