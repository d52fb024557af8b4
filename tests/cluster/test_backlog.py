"""Whatever happens how often: memory and requests stay bounded, and the last word about each subject is the one that is told."""

from hypothesis import given
from hypothesis import strategies as st

from supervisor.cluster.backlog import BURST, MOST_WAITING, NAMED, REFILL, Backlog, Bucket
from supervisor.cluster.happenings import Happening, Reason

DEVICE_REASONS = (Reason.DEVICE_LOST, Reason.DEVICE_UNHEALTHY, Reason.DEVICE_RECOVERED)


def _device(name: str, reason: Reason = Reason.DEVICE_UNHEALTHY, at: float = 0.0) -> Happening:
    return Happening(("device", "r", name), reason, f"{name} {reason}", at, "r", name)


def _plugin(name: str) -> Happening:
    return Happening(("plugin", name), Reason.PLUGIN_FAILING, name, 0.0)


SOME = st.one_of(
    st.builds(_device, st.sampled_from("abcdef"), st.sampled_from(DEVICE_REASONS)), st.builds(_plugin, st.sampled_from("xy"))
)


@given(st.lists(st.floats(0, 100), max_size=200))
def test_a_bucket_never_gives_more_than_it_got(steps: list[float]) -> None:
    """A burst, and then one for each so many seconds; what it says one has to wait is enough."""
    now, given_out = 50.0, 0
    bucket = Bucket(now)
    for step in steps:
        now += step
        given_out += bucket.take(now)
    assert given_out <= BURST + (now - 50.0) / REFILL + 1e-3
    now += bucket.wait(now)
    assert bucket.take(now)


@given(st.lists(SOME, max_size=60))
def test_one_by_one_each_subject_is_told_once_with_its_last_word(added: list[Happening]) -> None:
    """In the order in which the subjects first came up."""
    backlog = Backlog()
    for one in added:
        backlog.add(one)
    told = [backlog.take(sum_up=False) for _ in range(len(backlog))]
    assert len(backlog) == 0
    assert [one.subject for one in told] == list(dict.fromkeys(one.subject for one in added))
    assert {one.subject: one.reason for one in told} == {one.subject: one.reason for one in added}


@given(st.lists(SOME, min_size=1, max_size=60))
def test_summed_up_nothing_is_left_out(added: list[Happening]) -> None:
    """All devices are in one, by their last word; what is no device is told by itself."""
    backlog = Backlog()
    for one in added:
        backlog.add(one)
    told = []
    while backlog:
        told.append(backlog.take(sum_up=True))
    last = {one.subject: one for one in added}
    devices = [one for one in last.values() if one.device]
    plugins = [one.subject for one in told if one.subject[0] == "plugin"]
    assert sorted(plugins) == sorted(subject for subject in last if subject[0] == "plugin")
    rest = [one for one in told if one.subject[0] != "plugin"]
    assert len(rest) == min(1, len(devices))
    if len(devices) > 1:
        assert rest[0].message.startswith(f"{len(devices)} more devices: ")
        assert rest[0].reason is min((one.reason for one in devices), key=DEVICE_REASONS.index)


def test_the_same_again_is_counted() -> None:
    """Another reason about the same device begins anew."""
    backlog = Backlog()
    for _ in range(3):
        backlog.add(_device("a"))
    assert backlog.take(sum_up=False).times == 3
    backlog.add(_device("a"))
    backlog.add(_device("a", Reason.DEVICE_RECOVERED))
    assert backlog.take(sum_up=False).times == 1


def test_what_was_told_in_vain_comes_last_or_not_at_all() -> None:
    """Newer word of the same subject takes its place, and a full backlog has none."""
    backlog = Backlog()
    backlog.add(_device("b"))
    backlog.put_back(_device("a"))
    backlog.put_back(_device("b", Reason.DEVICE_RECOVERED))
    assert [backlog.take(sum_up=False) for _ in range(2)] == [_device("b"), _device("a")]
    for number in range(MOST_WAITING):
        backlog.add(_device(str(number)))
    backlog.put_back(_device("a"))
    assert len(backlog) == MOST_WAITING


def test_a_sum_names_a_few() -> None:
    """A message is bounded, however many there are."""
    backlog = Backlog()
    for number in range(NAMED + 1):
        backlog.add(_device(f"d{number}", at=float(number)))
    summed = backlog.take(sum_up=True)
    assert summed.message == "9 more devices: 9 unhealthy (r d0, r d1, r d2, r d3, r d4, r d5, r d6, r d7, …)"
    assert (summed.at, summed.device) == (float(NAMED), "")
