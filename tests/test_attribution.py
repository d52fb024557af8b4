"""Who holds what: never more than is known."""

from supervisor.attribution import SETTLING, Attribution, attribute
from supervisor.ledger import Holding, Reading

HOLDING = Holding("example.com/widget", "a", "default", "pod", "main")
OTHER = Holding("example.com/widget", "a", "default", "pod", "side")
INIT = Holding("example.com/widget", "b", "", "6f1c", "init")
NOTHING = Attribution()


def reading(at: float = 100.0, *holdings: Holding, unlisted: tuple[Holding, ...] = ()) -> Reading:
    return Reading(at, "podresources", complete=True, holdings=holdings, unlisted=unlisted)


def test_nothing_is_known_before_somebody_was_asked() -> None:
    """It says so in words."""
    assert not NOTHING.known
    assert NOTHING.reason


def test_a_complete_reading_tells_holders() -> None:
    """All containers of one device, and apart from them what only the checkpoint shows."""
    found = attribute(reading(100.0, HOLDING, OTHER, unlisted=(INIT,)), None, NOTHING)
    assert found.known
    assert found.source == "podresources"
    assert found.holders == {("example.com/widget", "a"): (HOLDING, OTHER)}
    assert found.perhaps == {("example.com/widget", "b"): (INIT,)}


def test_an_incomplete_reading_takes_everything_back() -> None:
    """What was known before may have ended since."""
    before = attribute(reading(100.0, HOLDING), None, NOTHING)
    failed = Reading(130.0, "none", complete=False, reason="podresources: no socket")
    found = attribute(failed, None, before)
    assert (found.known, found.holders, found.reason) == (False, {}, "podresources: no socket")


def test_an_empty_list_of_a_fresh_kubelet_proves_nothing() -> None:
    """Until it has had time to know its pods; one that names somebody is believed at once."""
    assert not attribute(reading(100.0), 99.0, NOTHING).known
    assert attribute(reading(100.0, HOLDING), 99.0, NOTHING).known
    assert attribute(reading(99.0 + SETTLING), 99.0, NOTHING).known
    assert attribute(reading(100.0), None, NOTHING).known


def test_equal_answers_are_the_same_object() -> None:
    """So that what was drawn of it can be kept."""
    first = attribute(reading(100.0, HOLDING), None, NOTHING)
    second = attribute(reading(130.0, HOLDING), None, first)
    assert second.holders is first.holders
    assert second.read_at == 130.0
    assert attribute(reading(160.0, OTHER), None, second).holders is not first.holders
