"""Requests and names that make no sense get a short, clear answer, and cost nothing but that."""

import pytest

from supervisor.kubelet.protos import deviceplugin_pb2 as pb
from supervisor.kubelet.simulator import KubeletSimulator, PluginCallError
from tests.system.conftest import Start
from tests.system.rig import HEALTHY, RESOURCE, Process, Puppet, assert_sound

LONGEST = 500
"""Characters of an error; it lands in the status of a pod."""


def request(*containers: list[str]) -> bytes:
    """An ``AllocateRequest`` for these containers."""
    wanted = [pb.ContainerAllocateRequest(devices_ids=ids) for ids in containers]
    return pb.AllocateRequest(container_requests=wanted).SerializeToString()


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        (["nobody"], "nobody"),
        (["w0", "sick"], "sick"),
        (["w0", "nobody"], "nobody"),
        ([""], ""),
        (["\x00\n\u202e\U0001f4a5" * 20], ""),
        (["x" * 100_000], ""),
        ([f"nobody-{number}" for number in range(10_000)], "nobody-0"),
    ],
    ids=["unknown", "unhealthy", "half known", "empty id", "odd characters", "endless id", "10 000 unknown ids"],
)
def test_ids_that_cannot_be_given_are_refused(
    kubelet: KubeletSimulator, served: Process, puppet: Puppet, ids: list[str], words: str
) -> None:
    """One line says which and why; the next good request is answered."""
    puppet.show({"w0": "", "w1": "", "sick": "worn out"})
    kubelet.wait_devices(RESOURCE, HEALTHY | {"sick": "Unhealthy"})
    with pytest.raises(PluginCallError) as refused:
        kubelet.call(RESOURCE, "Allocate", request(ids))
    text = str(refused.value)
    assert words in text
    assert len(text) < LONGEST
    assert "\n" not in text
    assert "Traceback" not in text
    good = pb.AllocateResponse.FromString(kubelet.call(RESOURCE, "Allocate", request(["w0"])))
    assert dict(good.container_responses[0].envs) == {"W": "1"}
    assert_sound(kubelet)


@pytest.mark.parametrize(
    ("body", "words"),
    [(request(), "names no container"), (request([]), "names no device"), (request(["w0"], []), "names no device")],
    ids=["nothing", "no ids", "one without ids"],
)
def test_an_empty_request_is_refused(kubelet: KubeletSimulator, served: Process, body: bytes, words: str) -> None:
    """No kubelet sends one; whoever does is told what is missing."""
    with pytest.raises(PluginCallError, match=words):
        kubelet.call(RESOURCE, "Allocate", body)
    assert kubelet.call(RESOURCE, "Allocate", request(["w0"]))


def test_a_request_that_is_no_message(kubelet: KubeletSimulator, served: Process) -> None:
    """Bytes that mean nothing are refused, and the next request is answered."""
    with pytest.raises(PluginCallError):
        kubelet.call(RESOURCE, "Allocate", b"\xff\xff\xff\xff")
    assert kubelet.call(RESOURCE, "Allocate", request(["w0"]))
    assert kubelet.devices(RESOURCE) == HEALTHY


def test_ten_thousand_devices_are_given_at_once(kubelet: KubeletSimulator, start: Start, puppet: Puppet) -> None:
    """A request of any size that makes sense is answered."""
    ids = [f"d{number}" for number in range(10_000)]
    puppet.show(dict.fromkeys(ids, ""))
    start()
    kubelet.wait_status(RESOURCE, 10_000, 10_000)
    answer = pb.AllocateResponse.FromString(kubelet.call(RESOURCE, "Allocate", request(ids)))
    assert dict(answer.container_responses[0].envs) == {"W": "1"}


@pytest.mark.parametrize(
    "name",
    ["widget", "kubernetes.io/widget", "requests.example.com/widget", "Example.com/widget", "example.com/w/x", "example.com/"],
)
def test_a_name_that_the_kubelet_would_refuse_is_never_registered(
    kubelet: KubeletSimulator, start: Start, puppet: Puppet, name: str
) -> None:
    """The rule that it breaks is said, and the good resources of the same plugin are served."""
    puppet.show({"b0": ""}, name)
    process = start()
    kubelet.wait_devices(RESOURCE, HEALTHY)
    (left_out,) = process.wait_events("DeviceQuarantined", 1)
    assert left_out["resource"] == name
    assert left_out["reason"]
    assert {event["resource"] for event in kubelet.registrations()} == {RESOURCE}
    assert name in process.get("/readyz")[1]


def test_devices_that_cannot_be_are_left_out_one_by_one(kubelet: KubeletSimulator, start: Start, puppet: Puppet) -> None:
    """An id that is too long, or has odd characters, costs that device alone."""
    puppet.show({"w0": "", "w1": "", "x" * 64: "", "with a space": ""})
    process = start()
    kubelet.wait_devices(RESOURCE, HEALTHY)
    assert len(process.wait_events("DeviceQuarantined", 2)) == 2
