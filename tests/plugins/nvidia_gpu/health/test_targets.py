"""Whom an event hits."""

from hypothesis import given
from hypothesis import strategies as st

from supervisor_nvidia_gpu.health.targets import targets
from supervisor_nvidia_gpu.report import Gpu, GpuEvent
from tests.plugins.nvidia_gpu.health.samples import A, B, gpu, look, lost, mig, xid

DIVIDED = gpu(A, mig("MIG-1", 1), mig("MIG-2", 2, 0), mig("MIG-3", 2, 1))
NODE = look(DIVIDED, gpu(B))


def test_an_event_without_an_instance_hits_all_that_lies_on_the_gpu() -> None:
    """The GPU and every MIG device of it, and nothing of its neighbour."""
    assert targets(xid(79), NODE) == (A, "MIG-1", "MIG-2", "MIG-3")
    assert targets(xid(79, B), NODE) == (B,)


def test_an_event_of_an_instance_hits_that_instance() -> None:
    """One GPU instance, and one compute instance of it where the event names one."""
    assert targets(xid(48, instance=1), NODE) == ("MIG-1",)
    assert targets(xid(48, instance=2), NODE) == ("MIG-2", "MIG-3")
    assert targets(xid(48, instance=2, compute=1), NODE) == ("MIG-3",)
    assert targets(xid(48, instance=0, compute=0), look(gpu(A, mig("MIG-0", 0)))) == ("MIG-0",)


def test_an_event_of_an_unknown_instance_hits_its_gpu() -> None:
    """The layout is newer than the last look: who lies there now takes over the GPU's state; its neighbours are not it."""
    assert targets(xid(48, instance=5), NODE) == (A,)
    assert targets(xid(48, instance=2, compute=7), NODE) == (A,)


def test_an_event_may_name_a_mig_device() -> None:
    """Then it is that one."""
    assert targets(xid(48, "MIG-2"), NODE) == ("MIG-2",)


def test_a_gpu_that_no_look_has_found_is_hit_alone() -> None:
    """Its UUID is known, so all others are excluded, also before the first look."""
    assert targets(xid(79, "GPU-new"), NODE) == ("GPU-new",)
    assert targets(xid(79), look()) == (A,)


def test_an_unnamed_event_hits_all_that_cannot_be_excluded() -> None:
    """A GPU that tells no XIDs did not tell this one; GPUs without the instance are excluded by those that have it."""
    deaf = gpu("GPU-c", events=False)
    node = look(DIVIDED, gpu(B), deaf, Gpu(index=3, problem="unreadable"))
    assert targets(xid(79, ""), node) == (A, "MIG-1", "MIG-2", "MIG-3", B)
    assert targets(lost(), node) == (A, "MIG-1", "MIG-2", "MIG-3", B, "GPU-c")
    assert targets(xid(48, "", instance=1), node) == ("MIG-1",)
    assert targets(xid(48, "", instance=6), node) == (A,)
    assert targets(xid(48, "", instance=6), look(gpu(B))) == (B,)


@given(
    st.sampled_from(["xid", "lost", "mig-changed"]),
    st.sampled_from(["", A, B, "MIG-1", "GPU-new"]),
    st.one_of(st.none(), st.integers(0, 3)),
    st.one_of(st.none(), st.integers(0, 2)),
)
def test_nothing_is_hit_twice_and_a_named_gpu_never_misses(
    kind: str, uuid: str, instance: int | None, compute: int | None
) -> None:
    """Whatever an event says, it has a target, all differ, and none lies on another GPU than the one it names."""
    hit = targets(GpuEvent(kind, uuid, 0.0, 79, instance, compute), NODE)
    assert hit
    assert len({*hit}) == len(hit)
    lying = {A: {A, "MIG-1", "MIG-2", "MIG-3"}, B: {B}}
    assert not uuid or {*hit} <= lying.get(uuid, {uuid})
