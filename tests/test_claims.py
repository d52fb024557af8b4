"""Two plugins that want one resource: who keeps it, whatever the order in which they ask."""

from hypothesis import given
from hypothesis import strategies as st

from supervisor.claims import Claims

NAMES = st.sampled_from(["a", "b", "c", "d"])
RESOURCES = st.frozensets(st.sampled_from(["x/1", "x/2", "x/3"]))
CLAIMED = st.dictionaries(NAMES, RESOURCES)


def owners(claims: Claims) -> dict[str, str | None]:
    """The owner of each resource that these tests use."""
    return {resource: claims.owner(resource) for resource in ("x/1", "x/2", "x/3")}


def test_at_start_the_first_by_name_keeps_a_contested_resource() -> None:
    """First looks are settled together, so the name decides and both plugins are known."""
    settled = Claims().settle_all({"zeta": {"x/1", "x/2"}, "alpha": {"x/1"}})
    assert settled["alpha"].kept == {"x/1"}
    assert settled["zeta"].kept == {"x/2"}
    assert settled["zeta"].lost == {"x/1": "alpha"}


def test_later_the_present_owner_keeps_it() -> None:
    """A newcomer takes nothing away, whatever its name."""
    claims = Claims()
    claims.settle_all({"zeta": {"x/1"}})
    assert claims.settle("alpha", {"x/1"}).lost == {"x/1": "zeta"}
    assert claims.settle("zeta", {"x/1"}).kept == {"x/1"}


def test_what_an_owner_no_longer_names_goes_to_the_next_claimant() -> None:
    """The heir is named, so that it looks again."""
    claims = Claims()
    claims.settle_all({"alpha": {"x/1"}, "beta": {"x/1"}})
    assert claims.settle("alpha", set()).heirs == {"beta"}
    assert claims.settle("beta", {"x/1"}).kept == {"x/1"}


def test_what_a_gone_plugin_owned_goes_to_the_next_claimant() -> None:
    """A retired plugin blocks nobody, and releasing an unknown one is harmless."""
    claims = Claims()
    claims.settle_all({"alpha": {"x/1"}, "beta": {"x/1"}})
    assert claims.release("alpha") == {"beta"}
    assert claims.release("alpha") == frozenset()
    assert claims.owner("x/1") == "beta"


@given(CLAIMED)
def test_start_does_not_depend_on_order(claimed: dict[str, frozenset[str]]) -> None:
    """The same first looks give the same owners, in whatever order they are listed."""
    one, other = Claims(), Claims()
    one.settle_all(claimed)
    other.settle_all(dict(reversed(claimed.items())))
    assert owners(one) == owners(other)


@given(CLAIMED, st.lists(st.tuples(NAMES, st.none() | RESOURCES)))
def test_every_claimed_resource_has_one_owner_among_its_claimants(
    start: dict[str, frozenset[str]], steps: list[tuple[str, frozenset[str] | None]]
) -> None:
    """After any history: nothing claimed is ownerless, nobody owns what it does not claim, and owners are never displaced."""
    claims = Claims()
    claims.settle_all(start)
    claimed = dict(start)
    for plugin, resources in steps:
        before = owners(claims)
        if resources is None:
            claims.release(plugin)
            claimed.pop(plugin, None)
        else:
            settled = claims.settle(plugin, resources)
            claimed[plugin] = resources
            assert settled.kept | settled.lost.keys() == resources
            assert all(claims.owner(resource) == plugin for resource in settled.kept)
        for resource, owner in owners(claims).items():
            claimants = {name for name, names in claimed.items() if resource in names}
            assert owner in claimants if claimants else owner is None
            if before[resource] in claimants:
                assert owner == before[resource]


@given(CLAIMED, NAMES, RESOURCES)
def test_heirs_are_exactly_the_others_that_gained(
    start: dict[str, frozenset[str]], plugin: str, resources: frozenset[str]
) -> None:
    """Whoever has more than before is told so, and nobody else."""
    claims = Claims()
    claims.settle_all(start)
    before = owners(claims)
    heirs = claims.settle(plugin, resources).heirs
    gained = {owner for resource, owner in owners(claims).items() if owner and owner != before[resource]}
    assert heirs == gained - {plugin}
