"""The health of all GPUs as the plugin sees it: verdicts, when to look, and what is told."""

import threading

import pytest

from supervisor_nvidia_gpu.config import Health, XidRule
from supervisor_nvidia_gpu.health import Change, Monitor
from supervisor_nvidia_gpu.report import Evidence, GpuEvent, Report
from tests.plugins.nvidia_gpu.health.samples import A, B, gpu, look, lost, mig, xid

DIVIDED = gpu(A, mig("MIG-1", 1), mig("MIG-2", 2))


def monitor(*gpus: object, **settings: object) -> Monitor:
    """One that has looked once, at 0 s."""
    made = Monitor(Health(**settings))  # type: ignore[arg-type]  # the tests name the settings rightly
    made.look(look(*(gpus or (gpu(A), gpu(B)))), 0.0)  # type: ignore[arg-type]  # they are GPUs
    return made


def state(watch: Monitor, key: str = A, now: float = 1.0) -> str:
    return watch.verdict(key, now).state


def test_a_hard_xid_is_a_verdict_at_once_and_asks_for_a_look() -> None:
    """With its number, its reason and its time; the neighbour is as it was."""
    watch = monitor()
    assert watch.events([xid(79, at=5.0)], 5.001)
    verdict = watch.verdict(A, 6.0)
    assert (verdict.healthy, verdict.since, verdict.state) == (False, 5.0, "unhealthy")
    assert verdict.reason.startswith("XID 79: it has fallen off the bus")
    assert verdict.reason.endswith("only a reset heals it")
    assert watch.verdict(B, 6.0).healthy


def test_an_xid_hits_the_mig_devices_it_is_for() -> None:
    """One instance, or all with the GPU."""
    watch = monitor(DIVIDED)
    watch.events([xid(48, at=5.0, instance=1)], 5.0)
    assert [state(watch, key) for key in (A, "MIG-1", "MIG-2")] == ["healthy", "unhealthy", "healthy"]
    watch.events([xid(48, at=6.0)], 6.0)
    assert [state(watch, key) for key in (A, "MIG-1", "MIG-2")] == ["unhealthy"] * 3


def test_it_heals_and_says_when_to_look_for_it() -> None:
    """Quiet, probation, healthy; each look that is due is asked for once."""
    watch = monitor()
    watch.events([xid(48, at=10.0)], 10.0)
    assert watch.wake_at() == 70.0
    assert not watch.due(69.0)
    assert watch.due(70.0)
    assert not watch.due(70.0)
    watch.look(look(gpu(A), gpu(B)), 70.1)
    assert watch.verdict(A, 71.0).reason == "on probation for 300 s, after " + watch_reason(48)
    assert watch.wake_at() == pytest.approx(370.1)
    watch.look(look(gpu(A), gpu(B)), 370.2)
    assert watch.verdict(A, 371.0).healthy
    assert watch.wake_at() is None
    assert [(key, each.before, each.after) for key, each in watch.told()] == [
        (A, "healthy", "unhealthy"),
        (A, "unhealthy", "probation"),
        (A, "probation", "healthy"),
    ]
    assert watch.told() == ()
    assert watch.counts().changes == {"unhealthy": 1, "probation": 1, "healthy": 1}


def watch_reason(code: int) -> str:
    """The reason that an XID gives."""
    watch = monitor()
    watch.events([xid(code, at=1.0)], 1.0)
    return watch.verdict(A, 1.0).reason


def test_a_thousand_xids_in_a_second_cost_few_looks() -> None:
    """One by one, on 16 GPUs of 7 MIG devices each, of hard and soft kinds; the first is asked for at once."""
    gpus = [gpu(f"GPU-{at:x}", *(mig(f"MIG-{at:x}-{each}", each) for each in range(7))) for at in range(16)]
    watch = monitor(*gpus)
    codes = (79, 48, 13, 63, 154, 45, 119)
    asked = []
    for count in range(1_000):
        now = 5.0 + count / 1_000
        event = xid(codes[count % 7], f"GPU-{count % 16:x}", now, instance=count % 7 if count % 3 else None)
        if watch.events([event], now) | watch.due(now):
            asked.append(now)
    assert asked[0] == 5.0
    assert len(asked) <= 20
    assert not any(watch.verdict(each.uuid, 6.0).healthy for each in gpus)
    last = watch.wake_at()
    assert last is not None
    assert watch.due(last)


def test_xids_that_change_nothing_ask_for_no_look() -> None:
    """They are counted all, and told once a minute."""
    watch = monitor()
    assert not any(watch.events([xid(31, at=at / 100)], at / 100) for at in range(1, 1_000))
    assert watch.verdict(A, 10.0).healthy
    assert watch.counts().xids == {(A, 31): 999}
    assert watch.told() == (
        (A, Change("healthy", "healthy", "XID 31: the application touched memory that is not mapped", 0.01)),
    )
    watch.events([xid(31, at=61.0)], 61.0)
    assert len(watch.told()) == 1


def test_an_ignored_xid_is_only_counted() -> None:
    """By a rule, as the environment variables of others make one."""
    watch = monitor(xids=(XidRule(xid="all", action="ignore"),))
    assert not watch.events([xid(79, at=5.0)], 5.0)
    assert watch.verdict(A, 6.0).healthy
    assert watch.counts().xids == {(A, 79): 1}
    assert watch.told() == ()


def test_a_rule_may_want_several_within_a_window() -> None:
    """Three of one kind on one device within ten seconds; others do not count."""
    watch = monitor(xids=(XidRule(xid=31, action="unhealthy", count=3, window=10.0),))
    for at, uuid in [(1.0, A), (6.0, A), (7.0, B), (12.0, A)]:
        watch.events([xid(31, uuid, at)], at)
    assert watch.verdict(A, 13.0).healthy
    watch.events([xid(31, A, 14.0)], 14.0)
    assert not watch.verdict(A, 15.0).healthy
    assert watch.verdict(B, 15.0).healthy


def test_a_rule_may_want_more_than_can_be_counted() -> None:
    """Then it never counts, and nothing else is disturbed."""
    watch = monitor(xids=(XidRule(xid=31, action="unhealthy", count=10**30),))
    watch.events([xid(31, A, 5.0), xid(48, B, 5.0)], 5.0)
    assert (state(watch, A), state(watch, B)) == ("healthy", "unhealthy")


def test_a_driver_that_talks_much_is_remembered_too() -> None:
    """Its text is cut: an entry that is too long for the memory would be forgotten, and the GPU with it."""
    watch = monitor(gpu(A, problem="x" * 9_000), gpu(B))
    watch.events([xid(95, A, 5.0), GpuEvent("unavailable", B, 5.0, detail="y" * 9_000)], 5.0)
    again = Monitor(Health())
    assert again.recall(watch.remember(), 6.0) == 0
    assert (state(again, A), state(again, B)) == ("unhealthy", "suspect")
    assert all(len(again.verdict(key, 6.0).reason) < 1_024 for key in (A, B))


def test_an_event_of_a_model_follows_the_rules_of_the_model() -> None:
    """Two models on one node may differ."""
    rules = (XidRule(xid=31, action="unhealthy", model="*A100*"),)
    watch = monitor(gpu(A), gpu(B, model="NVIDIA A100-SXM4-40GB"), xids=rules)
    watch.events([xid(31, A, 5.0), xid(31, B, 5.0)], 5.0)
    assert (state(watch, A), state(watch, B)) == ("healthy", "unhealthy")


def test_a_lost_wait_asks_for_a_look_and_takes_nothing_away() -> None:
    """All are suspect, listed healthy, until the look; a thousand of them ask for few looks."""
    watch = monitor()
    asked = sum(watch.events([lost(at=5.0 + at / 1_000)], 5.0 + at / 1_000) for at in range(1_000))
    assert asked == 1
    assert watch.wake_at() == 6.0
    assert {(watch.verdict(key, 6.0).state, watch.verdict(key, 6.0).healthy) for key in (A, B)} == {("suspect", True)}
    watch.look(look(gpu(A), gpu(B, problem="GPU is lost")), 6.1)
    assert (state(watch, A), state(watch, B)) == ("healthy", "unhealthy")


@pytest.mark.parametrize("kind", ["recovery-action", "mig-changed", "unavailable", "something-new"])
def test_a_sign_asks_for_a_look(kind: str) -> None:
    """At once, and a second later again if it comes again."""
    watch = monitor()
    assert watch.events([GpuEvent(kind, A, 5.0)], 5.0)
    assert not watch.events([GpuEvent(kind, A, 5.5)], 5.5)
    assert watch.wake_at() == 6.0
    assert watch.due(6.0)
    assert watch.verdict(A, 7.0).healthy


def test_evidence_of_looks_counts() -> None:
    """A standing recovery action holds a GPU until it is gone; that is a reset, and probation follows."""
    watch = monitor()
    watch.look(look(gpu(A, evidence=Evidence(recovery_action=1)), gpu(B)), 10.0)
    assert watch.verdict(A, 10.0).reason == "the driver says that it needs a reset of the GPU"
    watch.look(look(gpu(A, evidence=Evidence(recovery_action=1)), gpu(B)), 900.0)
    assert state(watch, A) == "unhealthy"
    watch.look(look(gpu(A, evidence=Evidence(recovery_action=0)), gpu(B)), 1_000.0)
    assert state(watch, A) == "probation"


def silence(watch: Monitor, reason: str, now: float) -> None:
    """A look that does not reach NVML."""
    watch.look(Report((gpu(A), gpu(B)), source="procfs", notices=(reason,)), now)


def test_a_monitor_that_died_vouches_for_nothing_after_the_grace() -> None:
    """Then for all again as it was, at once; a look is due both times."""
    watch = monitor()
    watch.events([xid(48, B, 9.0)], 9.0)
    silence(watch, "its process was killed", 10.0)
    silence(watch, "it does not start", 30.0)
    assert watch.verdict(A, 69.9).healthy
    assert watch.wake_at() == 69.0
    watch.look(Report((gpu(A), gpu(B)), source="procfs"), 69.5)
    assert watch.wake_at() == 70.0
    assert watch.due(70.0)
    verdict = watch.verdict(A, 70.0)
    assert (verdict.healthy, verdict.state, verdict.since) == (False, "unmonitored", 70.0)
    assert verdict.reason == "no longer monitored: NVML cannot be reached"
    assert state(watch, B, 70.0) == "unhealthy"
    watch.look(look(gpu(A), gpu(B)), 500.0)
    assert (state(watch, A, 500.0), state(watch, B, 500.0)) == ("healthy", "unhealthy")
    assert watch.told()[1:] == ()


def test_attempts_to_start_it_again_are_no_sign_of_life() -> None:
    """They are told by who waits for it; only what NVML alone can say ends the silence, or a look that reaches it."""
    watch = monitor()
    for at in range(10, 90, 10):
        watch.events([GpuEvent("changed", at=float(at)), lost(at=float(at))], float(at))
        watch.look(Report((gpu(A), gpu(B)), source="procfs"), at + 0.1)
    assert state(watch, A, 90.0) == "unmonitored"
    assert not watch.verdict(A, 90.0).healthy
    watch.events([xid(13, A, 91.0)], 91.0)
    assert watch.verdict(A, 91.0).healthy


def test_a_look_without_nvml_does_not_hide_the_mig_layout() -> None:
    """An XID that comes before the next full look still hits the MIG devices."""
    watch = monitor(DIVIDED)
    watch.look(Report((gpu(A),), source="procfs"), 2.0)
    watch.events([xid(48, A, 3.0, instance=1)], 3.0)
    assert [state(watch, key) for key in (A, "MIG-1", "MIG-2")] == ["healthy", "unhealthy", "healthy"]


def test_a_silence_within_the_grace_is_none() -> None:
    """A child that is replaced takes no GPU away."""
    watch = monitor()
    silence(watch, "its process was killed", 10.0)
    watch.look(look(gpu(A), gpu(B)), 40.0)
    assert watch.verdict(A, 200.0).healthy
    assert watch.wake_at() is None


def test_time_that_nobody_watched_is_no_quiet() -> None:
    """What was on its way back begins its wait anew."""
    watch = monitor()
    watch.events([xid(48, A, 10.0)], 10.0)
    silence(watch, "it hangs", 11.0)
    watch.look(look(gpu(A), gpu(B)), 500.0)
    assert state(watch, A) == "unhealthy"
    watch.look(look(gpu(A), gpu(B)), 560.0)
    assert state(watch, A) == "probation"


def test_a_monitor_that_never_lived_is_told_and_takes_nothing_away() -> None:
    """Where NVML cannot be had at all, the inventory goes on without health; what is remembered as bad stays bad."""
    watch = Monitor(Health())
    watch.look(Report((gpu(A),), source="procfs", waiting_for="no access to /dev/nvidiactl"), 10.0)
    verdict = watch.verdict(A, 500.0)
    assert (verdict.healthy, verdict.state) == (True, "unmonitored")
    assert verdict.reason == "not monitored: no access to /dev/nvidiactl"
    assert watch.wake_at() is None
    other = monitor()
    other.events([xid(95, A, 5.0)], 5.0)
    watch.recall(other.remember(), 20.0)
    watch.look(Report((gpu(A),), source="procfs"), 9_000.0)
    assert state(watch, A, 9_000.0) == "unhealthy"


def test_a_restart_changes_no_verdict() -> None:
    """The clock goes on where it was."""
    watch = monitor()
    watch.events([xid(48, A, 10.0), xid(79, B, 20.0)], 20.0)
    again = Monitor(Health())
    assert again.recall(watch.remember(), 30.0) == 0
    for key in (A, B):
        assert again.verdict(key, 30.0) == watch.verdict(key, 30.0)
    again.look(look(gpu(A), gpu(B)), 70.0)
    assert (state(again, A), state(again, B)) == ("probation", "unhealthy")


def test_a_reset_while_nobody_looked_is_seen_afterwards() -> None:
    """By the first look after the memory, and also where a standby had looked before it got the memory."""
    watch = monitor()
    watch.events([xid(79, A, 10.0)], 10.0)
    watch.look(look(gpu(A), gpu(B)), 11.0)
    anew = look(gpu(A), gpu(B), load=8)
    first = Monitor(Health())
    first.recall(watch.remember(), 100.0)
    first.look(anew, 101.0)
    standby = Monitor(Health())
    standby.look(anew, 101.0)
    standby.recall(watch.remember(), 102.0)
    assert state(first, A) == state(standby, A) == "probation"


def test_a_standby_holds_the_next_look_against_its_own_last_one() -> None:
    """A reset that its last look is too old to tell from the owner's XID takes nothing back; one after that does."""
    watch = monitor()
    watch.events([xid(95, A, 10.0)], 10.0)
    watch.look(look(gpu(A), gpu(B), load=8), 11.0)
    standby = monitor()
    standby.recall(watch.remember(), 12.0)
    standby.look(look(gpu(A), gpu(B), load=8), 13.0)
    assert state(standby, A) == "unhealthy"
    standby.look(look(gpu(A), gpu(B), load=9), 14.0)
    assert state(standby, A) == "probation"


def test_more_xids_of_a_broken_gpu_ask_for_a_look_now_and_then() -> None:
    """So that a reset is known to be later than the last of them."""
    watch = monitor()
    asked = [at for at in range(10, 40) if watch.events([xid(95, A, float(at))], float(at)) | watch.due(float(at))]
    assert asked == [10, 15, 20, 25, 30, 35]


def test_without_a_reset_a_standby_takes_the_worse() -> None:
    """It had looked and found nothing; what the owner knew counts."""
    watch = monitor()
    watch.events([xid(79, A, 10.0)], 10.0)
    standby = monitor()
    standby.recall(watch.remember(), 102.0)
    assert state(standby, A) == "unhealthy"


def test_what_is_remembered_is_the_same_as_long_as_nothing_changes() -> None:
    """So that nothing is written in each look, also while something stands against a GPU."""
    watch = monitor(gpu(A, evidence=Evidence(recovery_action=1)))
    kept = watch.remember()
    watch.look(look(gpu(A, evidence=Evidence(recovery_action=1))), 50.0)
    assert watch.remember() == kept


def test_checks_that_are_switched_off_judge_nothing() -> None:
    """XIDs are counted, and a changed layout still asks for a look."""
    watch = monitor(gpu(A, evidence=Evidence(recovery_action=1)), enabled=False)
    assert not watch.events([xid(79, A, 5.0), xid(31, A, 5.0), GpuEvent("xid", A, 5.0, 48)], 5.0)
    assert watch.events([GpuEvent("mig-changed", A, 6.0)], 6.0)
    verdict = watch.verdict(A, 7.0)
    assert (verdict.healthy, verdict.state, verdict.reason) == (True, "unmonitored", "health checks are switched off")
    assert sum(watch.counts().xids.values()) == 3
    assert watch.told() == ()


def test_an_xid_before_the_first_look_is_not_lost() -> None:
    """The look finds the GPU as it is."""
    watch = Monitor(Health())
    assert watch.events([xid(79, A, 1.0)], 1.0)
    watch.look(look(gpu(A), gpu(B)), 2.0)
    assert (state(watch, A), state(watch, B)) == ("unhealthy", "healthy")


def test_an_xid_of_a_gpu_that_the_last_look_missed_hits_all_that_lay_on_it() -> None:
    """Its layout is not known now, so no MIG device of it can be excluded; its neighbour can."""
    watch = monitor(DIVIDED, gpu(B))
    watch.look(look(gpu(B)), 2.0)
    watch.events([xid(48, A, 3.0, instance=1)], 3.0)
    assert [state(watch, key) for key in (A, "MIG-1", "MIG-2", B)] == ["unhealthy"] * 3 + ["healthy"]


def test_a_device_that_nobody_has_looked_at_is_said_to_be_so() -> None:
    """Neither condemned nor vouched for."""
    assert monitor().verdict("GPU-new", 3.0).reason == "not looked at yet"


def test_made_up_names_and_numbers_fill_no_memory() -> None:
    """However many UUIDs and codes a driver gone mad tells, all is bounded, and the worst known is kept."""
    watch = monitor()
    watch.events([xid(79, A, 1.0)], 1.0)
    watch.events([xid(48 if at % 2 else 31, f"GPU-{at}", 2.0) for at in range(5_000)], 2.0)
    assert len(watch.counts().xids) <= 4_001
    assert sum(watch.counts().xids.values()) == 5_001
    assert len(watch.remember()["states"]) <= 1_000
    assert state(watch, A) == "unhealthy"
    assert len(watch.told()) <= 1_000


def test_threads_do_not_disturb_each_other() -> None:
    """Events, looks, verdicts and memory from several threads at once: nothing raises, nothing is lost."""
    watch = monitor()
    problems: list[BaseException] = []

    def run(turn: int) -> None:
        try:
            for at in range(200):
                now = float(at)
                watch.events([xid(48, (A, B)[at % 2], now)], now)
                watch.look(look(gpu(A), gpu(B)), now)
                watch.recall(watch.remember(), now)
                watch.verdict(A, now)
                watch.due(now + turn)
        except BaseException as problem:  # noqa: BLE001  # whatever it is, the test has to show it
            problems.append(problem)

    threads = [threading.Thread(target=run, args=(turn,)) for turn in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems
    assert watch.counts().xids == {(A, 48): 400, (B, 48): 400}
    assert (state(watch, A), state(watch, B)) == ("unhealthy", "unhealthy")
