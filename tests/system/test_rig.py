"""What the tests of whole processes judge the kubelet's events by, judged itself."""

from supervisor.kubelet.simulator import EventKind
from supervisor.kubelet.simulator.events import Event
from tests.system.rig import RESOURCE, double_registrations

LIFE = (
    EventKind.KUBELET_STARTING,
    EventKind.REGISTER_RECEIVED,
    EventKind.STREAM_OPENED,
    EventKind.REGISTER_ANSWERED,
    EventKind.STREAM_ENDED,
    EventKind.REGISTER_RECEIVED,
    EventKind.REGISTER_ANSWERED,
    EventKind.STREAM_OPENED,
)
"""One in which the stream is lost once."""


def events(*kinds: EventKind) -> list[Event]:
    return [Event(kind, at, 1, {"resource": RESOURCE, "error": ""}) for at, kind in enumerate(kinds)]


def test_a_registration_after_a_lost_stream_is_none_too_many() -> None:
    """Wherever the memory of the events begins: after an hour that is in the middle of a life."""
    for start in range(len(LIFE)):
        assert double_registrations(events(*LIFE[start:])) == []


def test_a_registration_beside_a_stream_is_one_too_many() -> None:
    """So is one beside another that is under way."""
    again = EventKind.REGISTER_RECEIVED
    assert [event.at_ns for event in double_registrations(events(*LIFE, again))] == [len(LIFE)]
    assert [event.at_ns for event in double_registrations(events(*LIFE[:2], again))] == [2]
