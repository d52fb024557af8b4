"""Hardware that several ids share: the first one named has it, alone, until it is let go."""

from collections.abc import Iterable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from supervisor.errors import DeviceOccupied
from supervisor.inventory import Inventory, check_look
from supervisor.model import Device, Health
from supervisor.tenancy import Tenancy, Tenant, in_use_by, withdrawn

LEFT, RIGHT = "fpga.example/left", "fpga.example/right"


def unit(device_id: str, claim: str = "region") -> Device:
    """A device that shares hardware with others."""
    return Device(device_id, claim=claim)


def taken(tenancy: Tenancy, resource: str, *devices: Device, now: float = 0.0) -> tuple[str, ...]:
    """The claims of a call that is granted."""
    claims = tenancy.take(resource, devices, now)
    tenancy.settle(claims, now, granted=True)
    return claims


def refusal(tenancy: Tenancy, resource: str, *devices: Device) -> str:
    """Why these cannot be had. The table is as before."""
    before = tenancy.all()
    with pytest.raises(DeviceOccupied) as caught:
        tenancy.take(resource, devices, 99.0)
    assert tenancy.all() == before
    return str(caught.value)


def test_the_first_has_it_whatever_the_resource() -> None:
    """The other id is refused in one sentence that names the one that has it."""
    tenancy = Tenancy()
    assert taken(tenancy, LEFT, unit("r0@left")) == ("region",)
    text = "fpga.example/right device 'r0@right' cannot be had: its hardware is in use as r0@left of fpga.example/left"
    assert refusal(tenancy, RIGHT, unit("r0@right")) == text
    assert refusal(tenancy, LEFT, unit("other"))
    assert taken(tenancy, RIGHT, unit("r1@right", "another")) == ("another",)


def test_a_device_without_a_claim_takes_nothing() -> None:
    """It shares with nobody."""
    tenancy = Tenancy()
    assert tenancy.take(LEFT, [Device("a"), Device("b")], 0.0) == ()
    assert tenancy.all() == {}
    assert tenancy.version == 0


def test_the_same_id_may_be_named_again() -> None:
    """The kubelet retries, and its time is the newest; it is no news for the file."""
    tenancy = Tenancy()
    taken(tenancy, LEFT, unit("a"), now=1.0)
    version = tenancy.version
    taken(tenancy, LEFT, unit("a"), now=5.0)
    assert tenancy.granted == {"region": Tenant(LEFT, "a", 5.0)}
    assert tenancy.version == version


def test_an_id_in_another_resource_is_another_id() -> None:
    """A pod still holds it under its old resource."""
    tenancy = Tenancy()
    taken(tenancy, LEFT, unit("a"))
    assert "in use as a of fpga.example/left" in refusal(tenancy, RIGHT, unit("a"))


def test_two_ids_of_one_claim_are_too_many_for_one_request() -> None:
    """Nothing is taken by a request that is refused, of the other claims either."""
    tenancy = Tenancy()
    text = refusal(tenancy, LEFT, unit("x", "free"), unit("a"), unit("b"))
    assert text == "fpga.example/left devices 'a' and 'b' are the same hardware: ask for one"
    assert tenancy.all() == {}
    assert taken(tenancy, LEFT, unit("a"), unit("a")) == ("region",)


def test_what_a_refused_call_took_is_free_again() -> None:
    """It was never in the picture that withdraws devices from lists, but was to be written down."""
    tenancy = Tenancy()
    claims = tenancy.take(LEFT, [unit("a")], 0.0)
    assert (dict(tenancy.granted), tenancy.all()) == ({}, {"region": Tenant(LEFT, "a", 0.0)})
    tenancy.settle(claims, 1.0, granted=False)
    assert tenancy.all() == {}
    assert taken(tenancy, RIGHT, unit("b"))


@pytest.mark.parametrize("outcomes", [(True, False), (False, True)])
def test_a_refused_call_takes_nothing_from_a_granted_one(outcomes: Iterable[bool]) -> None:
    """Two calls for one id at a time, in whatever order they end; and one long after."""
    tenancy = Tenancy()
    calls = [tenancy.take(LEFT, [unit("a")], 0.0) for _ in range(2)]
    for claims, granted in zip(calls, outcomes, strict=True):
        tenancy.settle(claims, 1.0, granted=granted)
    tenancy.settle(tenancy.take(LEFT, [unit("a")], 2.0), 3.0, granted=False)
    assert tenancy.granted["region"].device == "a"


def test_only_what_nobody_has_named_since_is_let_go() -> None:
    """Whoever releases has looked at an older picture."""
    tenancy = Tenancy()
    taken(tenancy, LEFT, unit("a"), now=1.0)
    seen = tenancy.granted["region"]
    taken(tenancy, LEFT, unit("a"), now=2.0)
    tenancy.release("region", seen)
    assert tenancy.granted
    newer = tenancy.granted["region"]
    under_way = tenancy.take(LEFT, [unit("a")], 2.0)
    tenancy.release("region", newer)
    assert tenancy.granted
    tenancy.settle(under_way, 2.0, granted=False)
    tenancy.release("region", newer)
    tenancy.release("never", newer)
    assert tenancy.all() == tenancy.granted == {}


def test_of_two_accounts_the_newer_holds() -> None:
    """A predecessor's file may be older, or newer, than what this process has seen."""
    tenancy = Tenancy()
    tenancy.adopt({"region": Tenant(LEFT, "a", 5.0)})
    tenancy.adopt({"region": Tenant(RIGHT, "b", 4.0)})
    assert tenancy.granted["region"].device == "a"
    tenancy.adopt({"region": Tenant(RIGHT, "b", 6.0)})
    assert tenancy.granted["region"].device == "b"
    assert "in use as b" in refusal(tenancy, LEFT, unit("a"))


def test_what_another_has_is_occupied() -> None:
    """All else stays as it is: the tenant, a broken device with its own reason, and a list without shared hardware."""
    broken = Device("d", Health.UNHEALTHY, "hot", claim="region")
    inventory = Inventory.of(LEFT, [unit("a"), unit("b"), unit("c", "another"), broken, Device("e")])
    tenant = Tenant(LEFT, "a", 0.0)
    listed = withdrawn(inventory, {"region": tenant})
    assert [each.health.value for each in listed.devices] == ["Healthy", "Occupied", "Healthy", "Unhealthy", "Healthy"]
    assert listed.devices[1].reason == in_use_by(tenant) == "its hardware is in use as a of fpga.example/left"
    assert listed.devices[3] is broken
    assert (listed.devices[1].healthy, listed.devices[1].sound) == (False, True)
    assert withdrawn(inventory, {}) is inventory
    plain = Inventory.of(LEFT, [Device("a")])
    assert withdrawn(plain, {"region": tenant}) is plain


@pytest.mark.parametrize("claim", ["two words", "x" * 129, "é", "a\n"])
def test_an_impossible_claim_costs_the_device_only(claim: str) -> None:
    """It is quarantined with what a claim must be."""
    look = check_look({LEFT: [unit("a", claim), unit("b")]})
    assert [device.id for device in look.inventories[LEFT].devices] == ["b"]
    assert look.quarantined[0].reason.startswith("claim: ")


def test_no_plugin_says_that_a_device_is_occupied() -> None:
    """It does not know; who does is told how to share."""
    look = check_look({LEFT: [Device("a", Health.OCCUPIED, "mine"), unit("b")]})
    assert [device.id for device in look.inventories[LEFT].devices] == ["b"]
    assert look.quarantined[0].reason == "health: Occupied is said by the supervisor alone; name the shared hardware in claim"


class Model(RuleBasedStateMachine):
    """Calls of several ids that overlap, end well or not, and readings that let go."""

    calls: Bundle[tuple[tuple[str, ...], str]] = Bundle("calls")
    CLAIMS = ("p", "q")

    def __init__(self) -> None:
        super().__init__()
        self.tenancy = Tenancy()
        self.now = 0.0
        self.under_way: dict[str, list[str]] = {claim: [] for claim in self.CLAIMS}
        """The ids of the calls that are being answered."""
        self.holds: dict[str, str] = {}
        """Claim to the id of which a call was granted and that was not let go since."""

    @rule(target=calls, name=st.sampled_from("abc"), claims=st.sets(st.sampled_from(CLAIMS), min_size=1))
    def call(self, name: str, claims: set[str]) -> tuple[tuple[str, ...], str]:
        self.now += 1
        wanted = [unit(f"{name}@{claim}", claim) for claim in sorted(claims)]
        others = {
            device.claim: other
            for device in wanted
            for other in (*self.under_way[device.claim], *filter(None, [self.holds.get(device.claim)]))
            if other != device.id
        }
        if others:
            assert any(other in refusal(self.tenancy, LEFT, *wanted) for other in others.values())
            return (), name
        taken_now = self.tenancy.take(LEFT, wanted, self.now)
        assert set(taken_now) == claims
        for device in wanted:
            self.under_way[device.claim].append(device.id)
        return taken_now, name

    @rule(call=consumes(calls), granted=st.booleans())
    def answer(self, call: tuple[tuple[str, ...], str], granted: bool) -> None:
        self.now += 1
        claims, name = call
        for claim in claims:
            self.under_way[claim].remove(f"{name}@{claim}")
            if granted:
                self.holds[claim] = f"{name}@{claim}"
        self.tenancy.settle(claims, self.now, granted=granted)

    @rule(claim=st.sampled_from(CLAIMS), stale=st.booleans())
    def let_go(self, claim: str, stale: bool) -> None:
        tenant = self.tenancy.granted.get(claim, Tenant(LEFT, "nobody", 0.0))
        self.tenancy.release(claim, Tenant(LEFT, tenant.device, tenant.at - stale))
        if not stale and not self.under_way[claim]:
            self.holds.pop(claim, None)

    @invariant()
    def one_id_for_each_claim(self) -> None:
        """Whoever was granted it has it, and whoever waits for an answer may count on it."""
        assert {claim: tenant.device for claim, tenant in self.tenancy.granted.items()} == self.holds
        expected = {claim: ids[0] for claim, ids in self.under_way.items() if ids} | self.holds
        assert {claim: tenant.device for claim, tenant in self.tenancy.all().items()} == expected
        assert all(len({*ids, *filter(None, [self.holds.get(claim)])}) <= 1 for claim, ids in self.under_way.items())


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
