"""One port: its facts, its tables, and what is asked of it at each poll."""

from msgspec import Struct

from supervisor_infiniband.report import Gid, Link, PhysState, Port
from supervisor_infiniband.sysfs import attributes, interfaces
from supervisor_infiniband.sysfs.attributes import Attributes
from supervisor_infiniband.sysfs.interfaces import Interface

MOST_GIDS = 1024
EMPTY_GIDS = 16
"""In a row, after which the rest is taken for empty: the kernel puts a new one into the first free slot."""
MOST_PKEYS = 1024
EMPTY_PKEYS = 32
"""As above: a subnet manager writes this table in blocks of so many."""


class Polled(Struct, frozen=True):
    """Where a port's state is read, again and again."""

    number: int
    directory: str
    interfaces: tuple[Interface, ...] = ()
    counters: tuple[str, ...] = ()
    """The names of its files in ``counters``."""
    hw_counters: tuple[str, ...] = ()


Sample = tuple[bytes | None, ...]
"""What the files of a port said: state, physical state, then flags and carrier of each interface. To compare costs less than to
understand.
"""

_ACTIVE = b"4: "


def sample(polled: Polled, before: Sample = (), *, carried: bool = False) -> Sample:
    """Read what ``link`` wants. May hang: state and physical state each are a command to the firmware, so the second is not asked again
    of a port that was active ``before`` and is still, nor, in any state, of one that is ``carried`` by another.
    """
    state = attributes.raw(f"{polled.directory}/state")
    same = before and state is not None and state == before[0] and (carried or state.startswith(_ACTIVE))
    found: Sample = (state, before[1] if same else attributes.raw(f"{polled.directory}/phys_state"))
    for interface in polled.interfaces:
        found += interfaces.sample(interface.directory)
    return found


def link(polled: Polled, found: Sample) -> Link:
    """What a sample says. Raises ``Nonsense``. May hang where the state could not be read."""
    attribute = Attributes(polled.directory, f"ports/{polled.number}/")
    if found[0] is None:
        raise attribute.unreadable("state")
    told = zip(polled.interfaces, found[2::2], found[3::2], strict=True)
    return Link(
        state=attribute.parsed("state", found[0], attributes.port_state),
        phys_state=PhysState.UNKNOWN if found[1] is None else attribute.parsed("phys_state", found[1], attributes.phys_state),
        netdevs=tuple(interfaces.state(interface, flags, carrier) for interface, flags, carrier in told if flags is not None),
    )


def facts(number: int, directory: str, umad: str | None, issm: str | None) -> Port:
    """All but its link. May hang. Raises ``Nonsense``."""
    attribute = Attributes(directory, f"ports/{number}/")
    gids, has_table = _gids(attribute)
    return Port(
        number=number,
        link_layer=attribute.value("link_layer", attributes.link_layer) or "",
        rate=attribute.value("rate", attributes.rate),
        guid=next((gid.gid[20:] for gid in gids if gid.index == 0), ""),
        lid=attribute.value("lid", attributes.number),
        sm_lid=attribute.value("sm_lid", attributes.number),
        cap_mask=attribute.value("cap_mask", attributes.number),
        pkeys=_pkeys(attribute),
        gids=gids,
        gid_table=has_table,
        umad=umad,
        issm=issm,
    )


def _gids(port: Attributes) -> tuple[tuple[Gid, ...], bool]:
    """Those in use, and whether there is a table at all."""
    table, kinds, netdevs = port.below("gids"), port.below("gid_attrs/types"), port.below("gid_attrs/ndevs")
    found: list[Gid] = []
    empty, has_table = 0, False
    for index in range(MOST_GIDS):
        gid = table.value(str(index), attributes.gid)
        has_table = has_table or gid is not None
        if gid is not None and gid.strip("0:"):
            empty = 0
            found.append(Gid(index, gid, kinds.text(str(index)), netdevs.text(str(index))))
            continue
        empty += 1
        if empty == EMPTY_GIDS or not has_table:
            break
    return tuple(found), has_table


def _pkeys(port: Attributes) -> tuple[int, ...]:
    table = port.below("pkeys")
    found: list[int] = []
    empty = 0
    for index in range(MOST_PKEYS):
        key = table.value(str(index), attributes.number)
        empty = 0 if key else empty + 1
        if key:
            found.append(key)
        elif key is None or empty == EMPTY_PKEYS:
            break
    return tuple(found)
