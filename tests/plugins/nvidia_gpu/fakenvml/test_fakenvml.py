"""The real nvidia-ml-py, in a process of its own, hears from the fake library exactly what the test decided."""

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest

from tests.plugins.nvidia_gpu.fakenvml import FakeNvml, Layout, layouts
from tests.plugins.nvidia_gpu.fakenvml.asker import Asker, Refused
from tests.plugins.nvidia_gpu.fakenvml.handle import (
    DRIVER_NOT_LOADED,
    EVENTS,
    FUNCTION_NOT_FOUND,
    GPU_IS_LOST,
    INIT,
    LIB_RM_VERSION_MISMATCH,
    NO_PERMISSION,
    NOT_SUPPORTED,
    UNINITIALIZED,
    UNKNOWN,
)
from tests.plugins.nvidia_gpu.fakenvml.hearing import heard

pytestmark = pytest.mark.requires("cc")

TIMEOUT, LIBRARY_NOT_FOUND, NOT_FOUND, INVALID_ARGUMENT = 10, 12, 6, 2
NODES = [
    layouts.dgx_a100,
    layouts.dgx_h100,
    layouts.l40s_pcie,
    layouts.hgx_a100_4,
    layouts.one_a100_mixed_mig,
    layouts.one_a100_split_mig,
    layouts.two_a100_uniform_mig,
    layouts.dgx_2,
    layouts.workstation,
    Layout,
]

NewAsker = Callable[[], Asker]


@pytest.fixture
def new_asker(fake_nvml: FakeNvml) -> Iterator[NewAsker]:
    """Makes processes that find the library as any program does."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(Asker(fake_nvml.env()))


@pytest.fixture
def ask(new_asker: NewAsker) -> Asker:
    """Such a process, in which nothing was called yet."""
    return new_asker()


def refusal(ask: Asker, call: str, *arguments: object) -> int:
    """The error that a call ends in."""
    with pytest.raises(Refused) as refused:
        ask(call, *arguments)
    return refused.value.code


def told(layout: Layout) -> Layout:
    """The layout as NVML tells it: a GPU that is not about to change its mode says so, and profiles have an order."""
    return replace(
        layout,
        gpus=tuple(
            replace(
                gpu,
                mig_pending=gpu.mig_enabled if gpu.mig_pending is None else gpu.mig_pending,
                profiles=tuple(sorted(gpu.profiles, key=lambda profile: profile.index)),
            )
            for gpu in layout.gpus
        ),
    )


@pytest.mark.parametrize("node", NODES, ids=lambda node: node.__name__)
def test_the_real_client_hears_what_the_layout_says(fake_nvml: FakeNvml, ask: Asker, node: Callable[[], Layout]) -> None:
    """Whoever asks for everything puts the same layout together again."""
    fake_nvml.show(node())
    ask("nvmlInit")
    assert heard(ask) == told(node())


def test_a_library_loaded_by_its_full_path_is_the_one_that_answers(fake_nvml: FakeNvml) -> None:
    """A driver root needs no search path: what was loaded under that name is not looked for again."""
    fake_nvml.show(layouts.l40s_pcie())
    with Asker(fake_nvml.control_env(), preload=fake_nvml.path) as ask:
        ask("nvmlInit")
        assert ask("nvmlDeviceGetCount") == 4


def test_handles_are_found_by_every_name_and_stay_the_same(fake_nvml: FakeNvml, ask: Asker) -> None:
    """A UUID, a PCI address and a MIG device's UUID lead to the device that has them."""
    fake_nvml.show(layouts.two_a100_uniform_mig())
    ask("nvmlInit")
    gpu = fake_nvml.layout.gpus[1]
    assert ask("nvmlDeviceGetUUID", ask("nvmlDeviceGetHandleByUUID", gpu.uuid)) == gpu.uuid
    assert ask("nvmlDeviceGetUUID", ask("nvmlDeviceGetHandleByPciBusId", gpu.pci)) == gpu.uuid
    assert ask("nvmlDeviceGetGpuInstanceId", ask("nvmlDeviceGetHandleByUUID", gpu.mig[6].uuid)) == 7
    assert refusal(ask, "nvmlDeviceGetHandleByUUID", "GPU-unheard-of") == NOT_FOUND
    assert refusal(ask, "nvmlDeviceGetHandleByIndex", 2) == INVALID_ARGUMENT
    assert refusal(ask, "nvmlDeviceGetMinorNumber", ask("nvmlDeviceGetHandleByUUID", gpu.mig[0].uuid)) == INVALID_ARGUMENT


def test_no_call_works_before_the_first_or_after_the_last(fake_nvml: FakeNvml, ask: Asker) -> None:
    """Each initialisation needs a shutdown of its own."""
    fake_nvml.show(layouts.l40s_pcie())
    assert refusal(ask, "nvmlDeviceGetCount") == UNINITIALIZED
    for call in ("nvmlInit", "nvmlInit", "nvmlShutdown"):
        ask(call)
    assert ask("nvmlDeviceGetCount") == 4
    ask("nvmlShutdown")
    assert refusal(ask, "nvmlDeviceGetCount") == UNINITIALIZED


# ---- the driver ----------------------------------------------------------------------------------------------------------


def test_a_library_that_appears_late_is_found_by_the_same_process(fake_nvml: FakeNvml, ask: Asker) -> None:
    """Neither a missing library nor a missing driver is remembered."""
    fake_nvml.remove()
    assert refusal(ask, "nvmlInit") == LIBRARY_NOT_FOUND
    fake_nvml.appear()
    assert refusal(ask, "nvmlInit") == DRIVER_NOT_LOADED
    fake_nvml.show(layouts.l40s_pcie())
    ask("nvmlInit")
    assert ask("nvmlDeviceGetCount") == 4


def test_a_driver_that_was_replaced_needs_a_new_process(fake_nvml: FakeNvml, ask: Asker, new_asker: NewAsker) -> None:
    """The library in memory does not fit the new driver; the one on disk does."""
    fake_nvml.show(layouts.l40s_pcie())
    ask("nvmlInit")
    fake_nvml.driver("590.10.01")
    assert refusal(ask, "nvmlDeviceGetCount") == LIB_RM_VERSION_MISMATCH
    assert refusal(ask, "nvmlInit") == LIB_RM_VERSION_MISMATCH
    assert fake_nvml.path.resolve().name == "libnvidia-ml.so.590.10.01"
    fresh = new_asker()
    fresh("nvmlInit")
    assert fresh("nvmlSystemGetDriverVersion") == "590.10.01"


def test_an_upgrade_without_a_reboot_hurts_new_processes_only(fake_nvml: FakeNvml, ask: Asker, new_asker: NewAsker) -> None:
    """Packages bring a new library while the old driver still runs, and whoever started before does not notice."""
    fake_nvml.show(layouts.l40s_pcie())
    ask("nvmlInit")
    fake_nvml.driver(fake_nvml.layout.driver, library="590.10.01")
    assert ask("nvmlDeviceGetCount") == 4
    assert refusal(new_asker(), "nvmlInit") == LIB_RM_VERSION_MISMATCH


@pytest.mark.parametrize("code", [DRIVER_NOT_LOADED, NO_PERMISSION, UNKNOWN])
def test_initialisation_fails_as_told_until_it_is_let_go(fake_nvml: FakeNvml, ask: Asker, code: int) -> None:
    """The error is the one that was asked for, and only as long as it was."""
    fake_nvml.show(layouts.l40s_pcie())
    fake_nvml.init_error(code)
    assert refusal(ask, "nvmlInit") == code
    fake_nvml.let_go()
    ask("nvmlInit")


# ---- faults --------------------------------------------------------------------------------------------------------------


def test_a_lost_gpu_fails_in_all_calls_and_alone(fake_nvml: FakeNvml, ask: Asker) -> None:
    """It still counts, its neighbours still answer, and it can come back."""
    fake_nvml.show(layouts.l40s_pcie())
    ask("nvmlInit")
    lost, well = ask("nvmlDeviceGetHandleByIndex", 1), ask("nvmlDeviceGetHandleByIndex", 2)
    fake_nvml.lose(1)
    assert refusal(ask, "nvmlDeviceGetMemoryInfo", lost) == GPU_IS_LOST
    assert refusal(ask, "nvmlDeviceGetHandleByIndex", 1) == GPU_IS_LOST
    assert ask("nvmlDeviceGetUUID", well) == fake_nvml.layout.gpus[2].uuid
    assert ask("nvmlDeviceGetCount") == 4
    fake_nvml.recover(1)
    assert ask("nvmlDeviceGetUUID", lost) == fake_nvml.layout.gpus[1].uuid


def test_a_gpu_that_is_gone_leaves_its_handle_lost_and_the_others_right(fake_nvml: FakeNvml, ask: Asker) -> None:
    """Indices move up when a GPU falls out of the list, handles do not."""
    fake_nvml.show(layouts.l40s_pcie())
    ask("nvmlInit")
    handles = [ask("nvmlDeviceGetHandleByIndex", index) for index in range(4)]
    before = fake_nvml.layout
    fake_nvml.show(before.without_gpu(1))
    assert refusal(ask, "nvmlDeviceGetName", handles[1]) == GPU_IS_LOST
    assert ask("nvmlDeviceGetUUID", handles[2]) == before.gpus[2].uuid
    assert ask("nvmlDeviceGetUUID", ask("nvmlDeviceGetHandleByIndex", 1)) == before.gpus[2].uuid
    assert heard(ask).gpus == told(fake_nvml.layout).gpus


def test_one_call_of_one_gpu_may_fail(fake_nvml: FakeNvml, ask: Asker) -> None:
    """That is how a driver looks that is too old for a call, or a GPU that is half dead."""
    fake_nvml.show(layouts.l40s_pcie())
    ask("nvmlInit")
    first, second = ask("nvmlDeviceGetHandleByIndex", 0), ask("nvmlDeviceGetHandleByIndex", 1)
    fake_nvml.fail("nvmlDeviceGetUUID", UNKNOWN, gpu=0)
    fake_nvml.fail("nvmlDeviceGetRemappedRows", FUNCTION_NOT_FOUND)
    assert refusal(ask, "nvmlDeviceGetUUID", first) == UNKNOWN
    assert ask("nvmlDeviceGetName", first) == "NVIDIA L40S"
    assert ask("nvmlDeviceGetUUID", second) == fake_nvml.layout.gpus[1].uuid
    assert refusal(ask, "nvmlDeviceGetRemappedRows", second) == FUNCTION_NOT_FOUND


@pytest.mark.parametrize("call", ["nvmlDeviceGetHandleByIndex", "nvmlDeviceGetCount", INIT])
def test_a_call_hangs_until_it_is_let_go(fake_nvml: FakeNvml, ask: Asker, call: str) -> None:
    """It is under way, as the log of calls shows, and then returns as if nothing had been."""
    fake_nvml.show(layouts.l40s_pcie())
    ask("nvmlInit")
    versions = {"nvmlDeviceGetHandleByIndex": "_v2", "nvmlDeviceGetCount": "_v2"}
    symbol = call + versions.get(call, "")
    before = fake_nvml.calls()[symbol]
    fake_nvml.hang(symbol, gpu=0 if "Index" in call else None)
    ask.start(call, *([] if call == "nvmlDeviceGetCount" else [0]))
    fake_nvml.wait_for(lambda fake: fake.calls()[symbol] > before)
    fake_nvml.let_go()
    ask.finish()


def test_only_the_calls_of_the_hanging_gpu_hang(fake_nvml: FakeNvml, ask: Asker, new_asker: NewAsker) -> None:
    """Another process goes on asking for the others meanwhile, and the one that hangs can be killed."""
    fake_nvml.show(layouts.l40s_pcie())
    other = new_asker()
    for process in (ask, other):
        process("nvmlInit")
    handle = ask("nvmlDeviceGetHandleByIndex", 0)
    fake_nvml.hang("*", gpu=0)
    ask.start("nvmlDeviceGetName", handle)
    fake_nvml.wait_for(lambda fake: fake.calls(ask.process.pid)["nvmlDeviceGetName"] == 1)
    assert other("nvmlDeviceGetName", other("nvmlDeviceGetHandleByIndex", 1)) == "NVIDIA L40S"
    assert fake_nvml.pids() == [ask.process.pid, other.process.pid]
    ask.process.kill()
    assert ask.died_of() == signal.SIGKILL


@pytest.mark.parametrize("once", [True, False])
def test_a_call_crashes_the_process_that_makes_it(fake_nvml: FakeNvml, new_asker: NewAsker, once: bool) -> None:
    """Either every process that makes it, or only the first one."""
    fake_nvml.show(layouts.l40s_pcie())
    fake_nvml.crash("nvmlDeviceGetCount_v2", once=once)
    for dies in (True, not once):
        ask = new_asker()
        ask("nvmlInit")
        if dies:
            with pytest.raises(EOFError):
                ask("nvmlDeviceGetCount")
            assert ask.died_of() == signal.SIGABRT
        else:
            assert ask("nvmlDeviceGetCount") == 4


# ---- MIG -----------------------------------------------------------------------------------------------------------------


def test_a_new_mig_layout_replaces_devices_and_their_handles(fake_nvml: FakeNvml, ask: Asker) -> None:
    """Handles of devices that were destroyed are not found; those that were made are."""
    fake_nvml.show(layouts.one_a100_mixed_mig())
    ask("nvmlInit")
    gpu = ask("nvmlDeviceGetHandleByIndex", 0)
    old = ask("nvmlDeviceGetMigDeviceHandleByIndex", gpu, 2)
    fake_nvml.show(Layout((layouts.partition(fake_nvml.layout.gpus[0], "7g.80gb"),)))
    assert refusal(ask, "nvmlDeviceGetUUID", old) == NOT_FOUND
    assert refusal(ask, "nvmlDeviceGetMigDeviceHandleByIndex", gpu, 2) == NOT_FOUND
    assert [mig.name for mig in heard(ask).gpus[0].mig] == ["7g.80gb"]


def test_a_mode_that_waits_for_a_reset_is_told_apart(fake_nvml: FakeNvml, ask: Asker) -> None:
    """MIG mode has a present and a future."""
    fake_nvml.show(layouts.dgx_a100().with_gpu(3, mig_pending=True))
    ask("nvmlInit")
    assert ask("nvmlDeviceGetMigMode", ask("nvmlDeviceGetHandleByIndex", 3)) == [0, 1]
    assert ask("nvmlDeviceGetMigMode", ask("nvmlDeviceGetHandleByIndex", 4)) == [0, 0]


# ---- events --------------------------------------------------------------------------------------------------------------


def listening(ask: Asker, *gpus: int, types: int = EVENTS["xid"]) -> object:
    """An event set that wants these events of these GPUs."""
    ask("nvmlInit")
    events = ask("nvmlEventSetCreate")
    for gpu in gpus:
        ask("nvmlDeviceRegisterEvents", ask("nvmlDeviceGetHandleByIndex", gpu), types, events)
    return events


def test_an_xid_arrives_with_its_gpu_and_instance(fake_nvml: FakeNvml, ask: Asker) -> None:
    """Also one of no GPU, and one that came before anybody waited."""
    fake_nvml.show(layouts.two_a100_uniform_mig())
    events = listening(ask, 0, 1)
    fake_nvml.xid(1, 79)
    fake_nvml.xid(0, 94, gi=3, ci=0)
    fake_nvml.xid(None, 48)
    first, second, third = (ask("nvmlEventSetWait", events, 20_000) for _ in range(3))
    assert (first["eventType"], first["eventData"]) == (8, 79)
    assert ask("nvmlDeviceGetUUID", first["device"]) == fake_nvml.layout.gpus[1].uuid
    assert (first["gpuInstanceId"], first["computeInstanceId"]) == (0xFFFFFFFF, 0xFFFFFFFF)
    assert (second["eventData"], second["gpuInstanceId"], second["computeInstanceId"]) == (94, 3, 0)
    assert (third["eventData"], third["device"]) == (48, None)


def test_a_wait_ends_with_the_event_that_comes_meanwhile(fake_nvml: FakeNvml, ask: Asker) -> None:
    """The process waits, then something happens."""
    fake_nvml.show(layouts.l40s_pcie())
    events = listening(ask, 0, 1, 2, 3)
    ask.start("nvmlEventSetWait", events, 20_000)
    fake_nvml.wait_for(lambda fake: fake.calls()["nvmlEventSetWait_v2"] == 1)
    fake_nvml.xid(2, 31)
    assert ask.finish()["eventData"] == 31


def test_events_that_nobody_asked_for_do_not_arrive(fake_nvml: FakeNvml, ask: Asker) -> None:
    """A wait in vain ends with its time, and an event set that is freed leaves nothing behind."""
    fake_nvml.show(layouts.l40s_pcie())
    events = listening(ask, 1)
    fake_nvml.xid(0, 79)
    fake_nvml.event("recovery-action", 1, 2)
    assert refusal(ask, "nvmlEventSetWait", events, 1) == TIMEOUT
    fake_nvml.xid(1, 13)
    assert ask("nvmlEventSetWait", events, 20_000)["eventData"] == 13
    ask("nvmlEventSetFree", events)
    assert fake_nvml.event_sets() == []


@pytest.mark.parametrize("kind", sorted(EVENTS))
def test_newer_kinds_of_events_arrive_where_the_driver_has_them(fake_nvml: FakeNvml, ask: Asker, kind: str) -> None:
    """An older driver refuses to be asked for them."""
    fake_nvml.show(layouts.dgx_h100())
    events = listening(ask, 0, types=EVENTS[kind])
    fake_nvml.event(kind, 0, 1)
    event = ask("nvmlEventSetWait", events, 20_000)
    assert (event["eventType"], event["eventData"]) == (EVENTS[kind], 1)
    fake_nvml.show(layouts.dgx_h100().with_gpu(0, events=layouts.EVENTS_OF_OLD_DRIVERS))
    assert refusal(ask, "nvmlDeviceRegisterEvents", ask("nvmlDeviceGetHandleByIndex", 0), 0x8000, events) == NOT_SUPPORTED


def test_a_gpu_without_events_refuses_to_be_watched(fake_nvml: FakeNvml, ask: Asker) -> None:
    """So do MIG devices, whose GPU is to be watched."""
    fake_nvml.show(layouts.workstation())
    events = listening(ask)
    assert refusal(ask, "nvmlDeviceRegisterEvents", ask("nvmlDeviceGetHandleByIndex", 0), 8, events) == NOT_SUPPORTED
    fake_nvml.show(layouts.one_a100_mixed_mig())
    mig = ask("nvmlDeviceGetHandleByUUID", fake_nvml.layout.gpus[0].mig[0].uuid)
    assert refusal(ask, "nvmlDeviceRegisterEvents", mig, 8, events) == INVALID_ARGUMENT


def test_a_wait_fails_once_or_from_now_on(fake_nvml: FakeNvml, ask: Asker) -> None:
    """A wait that fails at once, again and again, is what makes careless programs spin."""
    fake_nvml.show(layouts.l40s_pcie())
    events = listening(ask, 0)
    ask.start("nvmlEventSetWait", events, 20_000)
    fake_nvml.wait_for(lambda fake: fake.calls()["nvmlEventSetWait_v2"] == 1)
    fake_nvml.fail_wait(GPU_IS_LOST)
    with pytest.raises(Refused, match="15"):
        ask.finish()
    assert refusal(ask, "nvmlEventSetWait", events, 1) == TIMEOUT
    fake_nvml.fail("nvmlEventSetWait_v2", UNKNOWN)
    assert [refusal(ask, "nvmlEventSetWait", events, 20_000) for _ in range(2)] == [UNKNOWN, UNKNOWN]


def test_event_sets_of_dead_processes_are_cleared_away(fake_nvml: FakeNvml, new_asker: NewAsker) -> None:
    """An event reaches those that live."""
    fake_nvml.show(layouts.l40s_pcie())
    dead, alive = new_asker(), new_asker()
    listening(dead, 0)
    events = listening(alive, 0)
    dead.process.kill()
    dead.process.wait()
    fake_nvml.xid(0, 79)
    assert alive("nvmlEventSetWait", events, 20_000)["eventData"] == 79
    assert len(fake_nvml.event_sets()) == 1
