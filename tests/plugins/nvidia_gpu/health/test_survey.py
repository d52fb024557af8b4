"""One look at all GPUs, and what lies on them."""

from supervisor_nvidia_gpu.config import Health
from supervisor_nvidia_gpu.health.evidence import Facts, Judgement
from supervisor_nvidia_gpu.health.state import fresh, step
from supervisor_nvidia_gpu.health.survey import Known, look
from supervisor_nvidia_gpu.report import Evidence, Gpu, Report
from tests.plugins.nvidia_gpu.health.samples import A, B, gpu, mig
from tests.plugins.nvidia_gpu.health.samples import look as report

CONFIG = Health()
LOST = "GPU is lost"


def known(*looks: Report, since: Known | None = None) -> Known:
    """What several looks tell, a second apart, from 0 s on; after what is known already from 1 s on."""
    found = since or Known()
    for at, each in enumerate(looks, 0 if since is None else 1):
        found, _ = look(found, each, float(at), CONFIG)
    return found


def fallen(base: Known, key: str, gpu_uuid: str, *, needs_reset: bool = False) -> Known:
    """The same with strong evidence against one device at 0.5 s."""
    state = base.states.get(key) or fresh(gpu_uuid, 0.0)
    state, _ = step(state, Facts((Judgement("broken", needs_reset=needs_reset),)), 0.5, CONFIG)
    return Known({**base.states, key: state}, base.seen)


def test_what_a_look_tells_of_a_gpu_holds_for_its_mig_devices() -> None:
    """And for nothing of its neighbour."""
    node = known(report(gpu(A, mig("MIG-1", 1), evidence=Evidence(recovery_action=1)), gpu(B)))
    assert {key: state.phase for key, state in node.states.items()} == {A: "unhealthy", "MIG-1": "unhealthy", B: "healthy"}
    assert node.states["MIG-1"].gpu == A


def test_one_gpu_that_does_not_answer_hides_no_other() -> None:
    """An unreadable one without a UUID has no state, and all others are as they were."""
    node = known(report(gpu(A, problem=LOST), gpu(B), Gpu(index=2, problem="unreadable")))
    assert (node.states[A].phase, node.states[A].reason) == ("unhealthy", LOST)
    assert node.states[B].phase == "healthy"
    assert {*node.states} == {A, B}


def test_another_layout_launders_nothing() -> None:
    """A MIG device that is made where a broken one was takes over what was known of that, also some looks later."""
    base = fallen(known(report(gpu(A, mig("MIG-1", 1), mig("MIG-2", 2)))), "MIG-1", A, needs_reset=True)
    node = known(report(gpu(A, mig("MIG-2", 2))), report(gpu(A, mig("MIG-2", 2), mig("MIG-3", 1))), since=base)
    assert node.states["MIG-3"].needs_reset
    assert node.states["MIG-2"].phase == node.states[A].phase == "healthy"


def test_a_mig_device_takes_over_the_state_of_its_gpu() -> None:
    """Whatever hit the whole GPU before the device was made."""
    base = fallen(known(report(gpu(A))), A, A)
    node = known(report(gpu(A, mig("MIG-1", 1))), since=base)
    assert node.states["MIG-1"].reason == "broken"


def test_mig_devices_that_are_no_more_are_forgotten_when_they_have_healed() -> None:
    """Until then what heals the GPU heals them."""
    base = fallen(known(report(gpu(A, mig("MIG-1", 1)))), "MIG-1", A)
    node = known(report(gpu(A)), since=base)
    assert "MIG-1" in node.states
    node, _ = look(node, report(gpu(A)), 100.0, CONFIG)
    node, _ = look(node, report(gpu(A)), 400.0, CONFIG)
    assert {*node.states} == {A}
    assert {*known(report(gpu(A, mig("MIG-1", 1))), report(gpu(A))).states} == {A}


def test_a_mig_device_that_an_event_named_first_belongs_to_its_gpu() -> None:
    """The look that finds it tells on which GPU it lies."""
    base = fallen(known(report(gpu(A))), "MIG-1", "MIG-1")
    node = known(report(gpu(A, mig("MIG-1", 1))), since=base)
    assert (node.states["MIG-1"].gpu, node.states["MIG-1"].reason) == (A, "broken")


def test_a_gpu_that_left_the_bus_and_is_back_was_reset() -> None:
    """An unplugged GPU starts anew; one that only could not be read has not left."""
    base = fallen(known(report(gpu(A), gpu(B))), A, A, needs_reset=True)
    assert not known(report(gpu(B)), report(gpu(A), gpu(B)), since=base).states[A].needs_reset
    unreadable = report(Gpu(index=0, problem="unreadable"), gpu(B))
    assert known(unreadable, report(gpu(A), gpu(B)), since=base).states[A].needs_reset
    at_its_place = report(Gpu(index=0, pci=gpu(A).pci, problem="unreadable"), gpu(B))
    assert known(at_its_place, report(gpu(A), gpu(B)), since=base).states[A].needs_reset


def test_what_is_older_than_the_evidence_is_not_taken_for_a_reset_later() -> None:
    """A counter that cannot be read in the look after an XID may have fallen before the XID."""
    base = fallen(known(report(gpu(A, evidence=Evidence(9)))), A, A, needs_reset=True)
    silent, low, lower = (report(gpu(A, evidence=Evidence(each))) for each in (None, 3, 1))
    assert known(silent, low, since=base).states[A].needs_reset
    assert not known(silent, low, lower, since=base).states[A].needs_reset


def test_a_gpu_that_is_not_there_is_not_forgotten() -> None:
    """It is as it was when it is back."""
    base = fallen(known(report(gpu(A, pci=""), gpu(B))), A, A, needs_reset=True)
    assert known(report(gpu(B)), report(gpu(A, pci="")), since=base).states[A].needs_reset
