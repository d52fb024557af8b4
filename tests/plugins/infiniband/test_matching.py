"""Which words of a person fit which RDMA device, and what is said where they do not."""

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec.structs import replace

from supervisor_infiniband import pci
from supervisor_infiniband.config import Match
from supervisor_infiniband.matching import Answer, answer, words
from supervisor_infiniband.report import RdmaDevice
from tests.plugins.infiniband.functions import DOWN, devices, guid, match_of, matches, pf, port, rxe, sf, vf


def given_fields(match: Match) -> dict[str, Any]:
    """What stands in a match."""
    return {name: value for name in Match.__struct_fields__ if (value := getattr(match, name)) not in {(), None}}


TWO_PORTS = pf(ports=(port(1, rate=100.0), port(2, interface="ib9", rate=400.0, pkeys=(0xFFFF, 0x8001), guid=guid(0xABC))))
ROCE = pf(ports=(port(interface="ens1f0", link_layer="Ethernet"),))


@pytest.mark.parametrize(
    ("text", "device"),
    [
        ("{id: ['0000:3b:00.0']}", pf()),
        ("{id: ['3B:00.0']}", pf()),
        ("{id: ['0000:3B:*']}", pf()),
        ("{id: ['0000:3b:00.0']}", pf(id="0000:3b:00.0-b8cef60300aa0000")),
        ("{id: ['mlx5_core.sf.*']}", sf(4)),
        ("{id: ['guid-B8CE*']}", rxe()),
        ("{name: ['mlx4_*', 'mlx5_?']}", pf()),
        ("{kind: [vf, pf]}", pf()),
        ("{kind: [virtual]}", rxe()),
        ("{vendor: ['15B3']}", pf()),
        ("{device: ['101C', '101b']}", pf()),
        ("{driver: ['mlx5_*']}", pf()),
        ("{interface: ['ib0']}", pf()),
        ("{interface: ['ib9']}", TWO_PORTS),
        ("{linkType: [infiniband]}", pf()),
        ("{linkType: [ether]}", ROCE),
        ("{linkLayer: [Ethernet]}", ROCE),
        ("{rate: 200}", pf()),
        ("{rate: 400}", TWO_PORTS),
        ("{pkey: ['0x8001']}", TWO_PORTS),
        ("{pkey: ['0x0001']}", TWO_PORTS),
        ("{pkey: ['0X7fFf']}", pf()),
        (f"{{guid: ['{guid(0)}']}}", pf()),
        (f"{{guid: ['{guid(0xABC).upper()}']}}", TWO_PORTS),
        ("{guid: ['0xB8CEF60300AA0101']}", pf()),
        ("{guid: ['b8ce:f6*']}", pf()),
        ("{guid: ['b8cef6*']}", pf()),
        ("{firmware: ['20.31.*']}", pf()),
        ("{pf: ['ens1f0']}", vf(5)),
        ("{pf: ['ens1f*']}", vf(5)),
        ("{pf: ['ens1f0#0-3,5']}", vf(5)),
        ("{pf: ['0000:3B:00.0#5-5']}", vf(5)),
        ("{pf: ['3b:00.0']}", vf(5)),
        ("{pf: ['ens9', 'mlx5_0#5']}", vf(5)),
        ("{pf: ['ens1f0#88']}", sf(88)),
        ("{numaNode: [1, 0]}", pf()),
        ("{hasVfs: false}", pf()),
        ("{hasVfs: true}", pf(vfs=4)),
        ("{not: [{kind: [vf]}, {vendor: ['8086']}]}", pf()),
        ("{vendor: ['15b3'], kind: [pf], rate: 100}", pf()),
    ],
)
def test_what_fits(text: str, device: RdmaDevice) -> None:
    """Each field in each way in which people write it; hexadecimal digits in any case."""
    owner = pf() if device.pf else None
    assert answer(match_of(text), device, owner) == Answer(fits=True)


@pytest.mark.parametrize(
    ("text", "device", "reason"),
    [
        ("{id: ['0000:3b:00.1']}", pf(), "id 0000:3b:00.0 is not 0000:3b:00.1"),
        ("{id: ['0000:3b:00.0']}", sf(4), "id mlx5_core.sf.4 is not 0000:3b:00.0"),
        ("{name: ['MLX5_*']}", pf(), "name mlx5_0 is not MLX5_*"),
        ("{name: ['mlx5']}", pf(), "name mlx5_0 is not mlx5"),
        ("{kind: [vf, sf]}", pf(), "kind pf is none of vf, sf"),
        ("{vendor: ['8086']}", pf(), "vendor 15b3 is not 8086"),
        ("{device: ['101c']}", pf(), "device 101b is not 101c"),
        ("{driver: [irdma]}", pf(), "driver mlx5_core is not irdma"),
        ("{interface: [IB0]}", pf(), "interface ib0 is not IB0"),
        ("{interface: ['eth*']}", TWO_PORTS, "interface ib0, ib9 is not eth*"),
        ("{linkType: [ether]}", pf(), "link type infiniband is not ether"),
        ("{linkLayer: [Ethernet]}", pf(), "link layer InfiniBand is not Ethernet"),
        ("{rate: 400}", pf(), "rate 200 Gb/s is less than 400, and only active ports count"),
        ("{pkey: ['0x8002', '0x2']}", TWO_PORTS, "P_Key 0xffff, 0x8001 is none of 0x8002, 0x2"),
        ("{guid: ['b8ce:f603:00aa:0002']}", pf(), f"GUID {guid(0)}, {guid(0x101)} is not b8ce:f603:00aa:0002"),
        ("{firmware: ['16.*']}", pf(), "firmware 20.31.1014 is not 16.*"),
        ("{pf: [ib0]}", pf(), "pf: it is no VF or SF of a physical function"),
        (
            "{pf: ['ens1f0#0-3,7']}",
            vf(5),
            "PF 0000:3b:00.0 = ens1f0 = mlx5_0 with index 5 is not ens1f0#0-3,7",
        ),
        ("{pf: [ens1f1, mlx5_1]}", vf(5), "PF 0000:3b:00.0 = ens1f0 = mlx5_0 with index 5 is not ens1f1 or mlx5_1"),
        ("{numaNode: [1]}", pf(), "NUMA node 0 is not 1"),
        ("{hasVfs: true}", pf(), "it has no virtual functions"),
        ("{hasVfs: false}", pf(vfs=1), "it has 1 virtual function"),
        ("{not: [{kind: [vf]}, {vendor: ['15b3'], rate: 100}]}", pf(), "not[1] fits it (vendor 15b3, rate 100)"),
        ("{vendor: ['8086'], kind: [vf]}", pf(), "kind pf is not vf"),
    ],
)
def test_what_certainly_does_not_fit(text: str, device: RdmaDevice, reason: str) -> None:
    """The reason names what the device has and what was asked; names in their own case only."""
    owner = pf() if device.pf else None
    assert answer(match_of(text), device, owner) == Answer(fits=False, reason=reason)


@pytest.mark.parametrize(
    ("text", "device", "reason"),
    [
        ("{vendor: ['15b3']}", rxe(), "vendor is not known"),
        ("{name: ['*']}", pf(name=""), "name is not known"),
        ("{interface: ['ib0']}", pf(ports=(port(interface=""),)), "interface is not known"),
        ("{interface: ['ib0']}", pf(ports=(port(interface=""), port(2, interface="ib9"))), "interface ib9 is not ib0"),
        ("{linkType: [ether]}", pf(ports=()), "link type is not known"),
        ("{linkLayer: [Ethernet]}", pf(ports=(port(link_layer=""),)), "link layer is not known"),
        ("{rate: 1}", pf(ports=(port(link=DOWN),)), "rate is not known, which only an active port tells"),
        ("{rate: 1}", pf(ports=()), "rate is not known, which only an active port tells"),
        (
            "{rate: 300}",
            pf(ports=(port(), port(2, link=DOWN, rate=400.0))),
            "rate 200 Gb/s is less than 300, and only active ports count",
        ),
        ("{pkey: ['0xffff']}", pf(ports=(port(pkeys=()),)), "P_Key is not known"),
        ("{guid: ['*']}", pf(node_guid="", ports=()), "GUID is not known"),
        ("{firmware: ['*']}", pf(firmware=""), "firmware is not known"),
        ("{numaNode: [0]}", pf(numa_node=None), "NUMA node is not known"),
        ("{pf: ['ens1f0#0-3']}", replace(vf(2), index=None), "PF 0000:3b:00.0 = ens1f0 with index unknown is not ens1f0#0-3"),
        ("{pf: [ens1f0]}", vf(2, pf="", pf_netdevs=()), "PF unknown with index 2 is not ens1f0"),
    ],
)
def test_what_is_not_known(text: str, device: RdmaDevice, reason: str) -> None:
    """A fact that is not seen fits nothing, not even a star, and it is said that this may change."""
    assert answer(match_of(text), device) == Answer(fits=False, reason=reason, certain=False)


def test_what_is_certainly_wrong_is_told_first() -> None:
    """A device of another vendor is refused for that, not for its port being down."""
    assert answer(match_of("{rate: 100, not: [{vendor: ['15b3']}]}"), pf(ports=(port(link=DOWN),))) == Answer(
        fits=False, reason="not[0] fits it (vendor 15b3)"
    )


def test_a_doubt_inside_a_not() -> None:
    """What may not be this way does not fit the inner match, so it fits the outer one, as long as nothing more is known."""
    unseen = pf(ports=(port(interface=""),))
    assert answer(match_of("{not: [{interface: [ib0]}]}"), unseen) == Answer(
        fits=True, reason="interface is not known", certain=False
    )
    assert answer(match_of("{not: [{interface: [ib0], kind: [vf]}]}"), unseen) == Answer(fits=True)
    assert answer(match_of("{not: [{not: [{interface: [ib0]}]}]}"), unseen) == Answer(
        fits=False, reason="not[0] fits it (not (interface ib0))", certain=False
    )


def test_words() -> None:
    """A match is repeated as it was written."""
    text = "{vendor: ['15b3', '8086'], rate: 99.5, numaNode: [0], hasVfs: false, not: [{kind: [vf]}, {name: ['x*']}]}"
    assert words(match_of(text)) == ("vendor 15b3 or 8086, rate 99.5, numaNode 0, hasVfs false, not (kind vf), not (name x*)")


@given(matches(), devices(), devices())
def test_a_reason_for_each_refusal_and_for_each_doubt(match: Match, device: RdmaDevice, owner: RdmaDevice) -> None:
    """A refusal has its sentence, and so has what is not certain; what certainly fits needs none."""
    found = answer(match, device, owner)
    assert bool(found.reason) is not (found.fits and found.certain)


@given(matches(), devices())
def test_a_negation_is_the_complement(match: Match, device: RdmaDevice) -> None:
    """Each device fits a match or its negation, never both, and one is as certain as the other."""
    plain, turned = answer(match, device), answer(Match(not_=(match,)), device)
    assert plain.fits is not turned.fits
    assert plain.certain is turned.certain


@given(matches(depth=0), matches(depth=0), devices())
def test_all_fields_must_fit(one: Match, other: Match, device: RdmaDevice) -> None:
    """A match with the fields of two others fits where both fit."""
    mine, others = given_fields(one), given_fields(other)
    assume(mine.keys().isdisjoint(others))
    assert answer(Match(**mine, **others), device).fits is (answer(one, device).fits and answer(other, device).fits)


HIDDEN = {
    "ports": (port(link=DOWN, interface="", pkeys=(), guid="", link_layer=""),),
    "firmware": "",
    "node_guid": "",
    "vendor": "",
    "numa_node": None,
    "pf_netdevs": (),
    "index": None,
}


@given(matches(), devices(), st.sets(st.sampled_from(sorted(HIDDEN))))
def test_what_is_certain_outlives_what_is_hidden(match: Match, device: RdmaDevice, hidden: set[str]) -> None:
    """What is said with certainty of a device of which less is seen is said of the whole device, too."""
    less = answer(match, replace(device, **{name: HIDDEN[name] for name in hidden}))
    if less.certain:
        assert answer(match, device).fits is less.fits


SPANS = st.lists(st.tuples(st.integers(0, 300), st.integers(0, 40)), min_size=1, max_size=5)


@given(SPANS, st.integers(0, 400))
def test_ranges(spans: list[tuple[int, int]], index: int) -> None:
    """A VF is meant by a list of ranges where one of them holds its index."""
    text = ",".join(f"{low}-{low + more}" if more else str(low) for low, more in spans)
    meant = any(low <= index <= low + more for low, more in spans)
    assert answer(Match(pf=(f"ens1f0#{text}",)), vf(index)).fits is meant


@given(st.integers(0, 0x1FFFF), st.integers(0, 255), st.integers(0, 31), st.integers(0, 7))
def test_addresses(domain: int, bus: int, device: int, function: int) -> None:
    """An address is normal already, or becomes so from capitals and from eight digits of domain."""
    address = f"{domain:04x}:{bus:02x}:{device:02x}.{function}"
    spellings = [address, address.upper(), f" {address}", f"{domain:08x}{address[address.index(':') :]}"]
    assert {pci.normal(each) for each in spellings} == {address}


@pytest.mark.parametrize("text", ["", "banana", "0000:3b:00", "0000:3b:20.0", "0000:3b:00.8", "3b.0", "mlx5_core.sf.4"])
def test_what_is_no_address(text: str) -> None:
    """Neither slots nor names are PCI functions."""
    assert not pci.normal(text)


def test_the_order_of_ids() -> None:
    """Addresses by their hexadecimal numbers, long domains last, several end points of one by their GUIDs; then names, as people count."""
    ids = [
        "0000:18:00.0",
        "0000:4f:00.0",
        "0000:4f:00.0-1f",
        "0000:4f:00.0-2a",
        "0000:4f:00.1",
        "0000:a0:00.0",
        "10000:01:00.0",
    ]
    ids += ["guid-1", "mlx5_core.sf.4", "mlx5_core.sf.10"]
    assert sorted({*ids}, key=pci.order) == ids
