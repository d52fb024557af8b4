"""Shared hardware is let go of when the ledger proves that its pod has gone, and given to whom the ledger shows to hold it."""

from collections.abc import Iterable, Mapping

import pytest

from supervisor.inventory import Inventory
from supervisor.ledger import Holding, Reading
from supervisor.model import Device
from supervisor.tenancy import Tenant
from supervisor.tombstones import APART, QUIET, RECHECK
from supervisor.vacancy import Found, Vacancies, found_held

FPGA = "fpga.example/left"
TENANT = Tenant(FPGA, "a", 1000.0)
STARTED = 0.0
DAY = 86400.0
FREE_FROM = TENANT.at + QUIET


def read(at: float, *held: str, unsure: Iterable[str] = (), resource: str = FPGA) -> Reading:
    """A complete reading in which these ids are held, and these are held by the checkpoint alone."""
    holdings = tuple(Holding(resource, each, "default", "pod", "main") for each in held)
    unlisted = tuple(Holding(resource, each, "", "uid", "setup") for each in unsure)
    return Reading(at, "podresources", complete=True, holdings=holdings, unlisted=unlisted)


def unreadable(at: float) -> Reading:
    """A reading that shows nothing."""
    return Reading(at, "none", complete=False, reason="nobody answers")


def found(
    readings: Iterable[Reading],
    tenants: Mapping[str, Tenant] | None = None,
    started: float = STARTED,
    limit: float = DAY,
) -> list[Found]:
    """What each of these readings in turn says of one tenant."""
    vacancies = Vacancies()
    tenants = {"region": TENANT} if tenants is None else tenants
    return [vacancies.observe_reading(each, each.at, started, tenants, limit) for each in readings]


def vacant(readings: Iterable[Reading], started: float = STARTED, limit: float = DAY) -> list[bool]:
    """Whether each of these readings ends the tenancy."""
    return [bool(each.vacant) for each in found(readings, started=started, limit=limit)]


def test_two_readings_apart_prove_it() -> None:
    """And the tenant is told with the claim, so that a newer one is not let go."""
    readings = [read(FREE_FROM), read(FREE_FROM + APART / 2), read(FREE_FROM + APART)]
    assert [each.vacant for each in found(readings)] == [{}, {}, {"region": TENANT}]


def test_a_reading_that_shows_it_held_begins_anew() -> None:
    """One free reading before and one after it are not two."""
    times = [FREE_FROM + APART * n for n in range(4)]
    readings = [read(times[0]), read(times[1], "a"), read(times[2]), read(times[3])]
    assert vacant(readings) == [False, False, False, True]


def test_another_resources_device_of_that_name_is_another_device() -> None:
    """Other vendors name theirs by PCI address, too."""
    readings = [read(FREE_FROM + APART * n, "a", resource="other.example/nic") for n in range(2)]
    assert vacant(readings) == [False, True]


def test_readings_soon_after_an_allocate_prove_nothing() -> None:
    """The kubelet writes down what it gave out when the whole pod is admitted."""
    readings = [read(TENANT.at + 1), read(FREE_FROM - 1), read(FREE_FROM), read(FREE_FROM + APART)]
    assert vacant(readings) == [False, False, False, True]


def test_readings_soon_after_a_start_prove_nothing() -> None:
    """A fresh kubelet answers with nothing, and what it showed before its start became known counts no more."""
    vacancies = Vacancies()
    restarted = FREE_FROM + 5
    began = [(read(FREE_FROM), STARTED)]
    later = [(read(restarted + at), restarted) for at in (APART, QUIET, QUIET + APART)]
    ended = [
        bool(vacancies.observe_reading(reading, reading.at, started, {"region": TENANT}, DAY).vacant)
        for reading, started in began + later
    ]
    assert ended == [False, False, False, True]


def test_a_new_allocate_begins_anew() -> None:
    """What readings proved of an earlier pod says nothing of this one."""
    vacancies = Vacancies()
    newer = Tenant(FPGA, "a", FREE_FROM + 1)
    assert not vacancies.observe_reading(read(FREE_FROM), 0.0, STARTED, {"region": TENANT}, DAY).vacant
    assert not vacancies.observe_reading(read(FREE_FROM + APART), 0.0, STARTED, {"region": newer}, DAY).vacant


def test_what_only_the_checkpoint_shows_stays_until_the_file_is_known_to_be_new() -> None:
    """A list is sent again, upon which the kubelet writes it; an init container is still in it then, an ended pod is not."""
    times = [FREE_FROM, FREE_FROM + APART, FREE_FROM + 2 * APART]
    still_there = found([read(at, unsure=["a"]) for at in times])
    assert [(bool(each.vacant), each.stale) for each in still_there] == [(False, False), (False, True), (False, False)]
    gone = found([*(read(at, unsure=["a"]) for at in times), read(times[-1] + 1)])
    assert gone[-1] == Found({"region": TENANT})


def test_an_init_container_that_ends_later_is_noticed() -> None:
    """The file is made new again every now and then."""
    first = FREE_FROM + APART
    times = [FREE_FROM, first, first + RECHECK - 1, first + RECHECK, first + RECHECK + 1]
    assert [each.stale for each in found([read(at, unsure=["a"]) for at in times])] == [False, True, False, True, False]


@pytest.mark.parametrize("last_heard", [None, TENANT.at + 100])
def test_where_nothing_can_be_read_a_setting_decides(last_heard: float | None) -> None:
    """Counted from the last Allocate or the last complete reading, whichever is later."""
    heard = [] if last_heard is None else [read(last_heard, "a")]
    since = last_heard or TENANT.at
    readings = [*heard, unreadable(since + 49), unreadable(since + 50)]
    assert vacant(readings, limit=50.0)[-2:] == [False, True]


def test_a_held_id_that_nobody_was_known_to_have_gets_its_hardware() -> None:
    """Whoever gave it out has left no file; a claim that somebody has stays with him."""
    inventory = Inventory.of(FPGA, [Device("a", claim="p"), Device("b", claim="p"), Device("c", claim="q"), Device("d")])
    plain = Inventory.of("other.example/nic", [Device("e")])
    reading = read(50.0, "b", "c", "d", "stranger", unsure=["a"])
    assert found_held(reading, [inventory, plain], {}) == {"p": Tenant(FPGA, "b", 50.0), "q": Tenant(FPGA, "c", 50.0)}
    assert found_held(reading, [inventory], {"p": TENANT}).keys() == {"q"}
    assert found_held(unreadable(50.0), [inventory], {}) == {}
    assert found_held(read(50.0, unsure=["a"]), [inventory], {}) == {"p": Tenant(FPGA, "a", 50.0)}
