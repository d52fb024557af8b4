"""sriov-network-device-plugin's file: the same devices under the same names, and a word on all that has no equivalent."""

import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor import SourceRefused
from supervisor_infiniband.config import InfinibandConfig, Match
from supervisor_infiniband.importing.sriov import translate
from supervisor_infiniband.report import RdmaDevice, Report
from supervisor_infiniband.rules import offer
from tests.plugins.infiniband.functions import pf, port, sf, vf
from tests.plugins.infiniband.importing.theirs import config_of, lost, notes, refused


def resource(name: str = "a", **keys: Any) -> dict[str, Any]:
    return {"resourceName": name, **keys}


def rdma(**keys: Any) -> dict[str, Any]:
    """A selector with RDMA."""
    return {"isRdma": True, **keys}


def listed(*resources: dict[str, Any]) -> dict[str, Any]:
    return {"resourceList": [*resources]}


def test_a_resource_keeps_its_name_and_its_devices() -> None:
    """Every selector with an equivalent is translated, in one match."""
    selector = rdma(
        vendors=["15b3"],
        devices=["101c"],
        drivers=["mlx5_core"],
        pciAddresses=["0000:3b:01.2"],
        pfNames=["ens1f0#0-3,7"],
        linkTypes=["infiniband"],
        pKeys=["0x8001"],
    )
    found = translate(listed(resource("hca_vf", resourcePrefix="nvidia.com", deviceType="netDevice", selectors=[selector])))
    (pool,) = config_of(found).pools
    assert (pool.resource, pool.mode, pool.pcidevice_info, pool.device_info) == ("nvidia.com/hca_vf", "exclusive", True, True)
    assert pool.match == (
        Match(
            kind=("pf", "vf"),
            vendor=("15b3",),
            device=("101c",),
            driver=("mlx5_core",),
            id=("0000:3b:01.2",),
            pf=("ens1f0#0-3,7",),
            link_type=("infiniband",),
            pkey=("0x8001",),
        ),
    )
    assert lost(found) == {}
    assert "any index" in notes(found)["resourceList[0].selectors[0].pKeys"]


def test_selectors_may_be_one_or_several() -> None:
    """An object as it was once, a list as it is now."""
    one = config_of(translate(listed(resource(selectors=rdma(vendors=["15b3"])))))
    assert one == config_of(translate(listed(resource(selectors=[rdma(vendors=["15b3"])]))))
    both = config_of(translate(listed(resource(selectors=[rdma(vendors=["15b3"]), rdma(vendors=["8086"])]))))
    assert [match.vendor for match in both.pools[0].match] == [("15b3",), ("8086",)]


def test_the_default_prefix_is_theirs() -> None:
    """It may have been another one, by an argument that is not in the file."""
    found = translate(listed(resource("b", selectors=rdma())))
    assert config_of(found).pools[0].resource == "intel.com/b"
    assert "--resource-prefix" in notes(found)["resourceList"]
    assert (
        "--resource-prefix"
        not in notes(translate(listed(resource(resourcePrefix="b.example", selectors=rdma()))))["resourceList"]
    )


def test_sub_functions_are_of_their_own_kind() -> None:
    """Device-info files are written for PCI functions alone; keys that are not read for SFs are told."""
    selector = rdma(auxTypes=["sf"], pfNames=["p0#1"], pciAddresses=["0000:03:00.0"])
    found = translate(listed(resource("sf", deviceType="auxNetDevice", selectors=selector)))
    (pool,) = config_of(found).pools
    assert (pool.match, pool.device_info) == ((Match(kind=("sf",), pf=("p0#1",)),), False)
    assert list(lost(found)) == ["resourceList[0].selectors.pciAddresses"]


def test_both_names_of_a_function_must_fit() -> None:
    """``pfNames`` and ``rootDevices`` together."""
    roots = config_of(translate(listed(resource(selectors=rdma(rootDevices=["0000:3b:00.0#1"])))))
    assert roots.pools[0].match[0].pf == ("0000:3b:00.0#1",)
    both = config_of(translate(listed(resource(selectors=rdma(pfNames=["ens1f0#0-3"], rootDevices=["0000:3b:00.0#1-9"])))))
    taken = offer(
        Report(tuple(vf(index, parent) for parent in (0, 1) for index in range(6 * parent, 6 * parent + 6))), both
    ).taken
    assert list(taken) == ["0000:3b:01.1", "0000:3b:01.2", "0000:3b:01.3"]


def test_what_is_for_networks_alone_is_left_out() -> None:
    """Nothing is offered for it, with the reason."""
    found = translate(listed(resource(selectors={"vendors": ["15b3"]}), resource("b", isRdma=False), resource("c")))
    assert found.section is None
    assert {place: "networks alone" in text for place, text in lost(found).items()} == {
        "resourceList[0].selectors": True,
        "resourceList[1].selectors": True,
        "resourceList[2].selectors": True,
    }


def test_what_it_takes_is_denied_to_those_below() -> None:
    """Two plugins would give out one device: there, the first resource that takes it has it, RDMA or not."""
    source = listed(
        resource("net", selectors={"pfNames": ["ens1f0#0-1"]}), resource("rdma", selectors=rdma(pfNames=["ens1f0"]))
    )
    taken = offer(Report((vf(0), vf(1), vf(2))), config_of(translate(source))).taken
    assert taken == {"0000:3b:01.2": "intel.com/rdma"}
    source["resourceList"].reverse()
    taken = offer(Report((vf(0), vf(1), vf(2))), config_of(translate(source))).taken
    assert list(taken) == ["0000:3b:01.0", "0000:3b:01.1", "0000:3b:01.2"]


def test_nothing_is_denied_that_nothing_could_take() -> None:
    """What is for cards of another vendor does not make a resource harder to read."""
    net = resource("net", selectors={"vendors": ["8086"], "drivers": ["iavf"]})
    (pool,) = config_of(translate(listed(net, resource("hca", selectors=rdma(vendors=["15b3"]))))).pools
    assert pool.match == (Match(kind=("pf", "vf"), vendor=("15b3",)),)
    (pool,) = config_of(translate(listed(net, resource("any", selectors=rdma())))).pools
    assert pool.match[0].not_ == (Match(kind=("pf", "vf"), vendor=("8086",), driver=("iavf",)),)


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ({"acpiIndexes": ["101"]}, "acpiIndexes"),
        ({"ddpProfiles": ["GTPv1-C/U IPv4/IPv6 payload"]}, "ddpProfiles"),
        ({"vdpaType": "vhost"}, "vDPA is not offered"),
    ],
)
def test_a_selector_that_would_take_more_than_it_did_is_left_out(keys: dict[str, Any], text: str) -> None:
    """What narrows it has no equivalent. The other selectors stay, without what it takes."""
    found = translate(listed(resource(selectors=[rdma(vendors=["15b3"], **keys), rdma()])))
    (pool,) = config_of(found).pools
    assert pool.match == (Match(kind=("pf", "vf"), not_=(Match(kind=("pf", "vf"), vendor=("15b3",)),)),)
    (complaint,) = lost(found).values()
    assert text in complaint


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        ({"drivers": ["vfio-pci"]}, "'vfio-pci' can be no RDMA device's"),
        ({"vendors": ["0x15b3"]}, "'0x15b3' is not four hexadecimal digits"),
        ({"linkTypes": ["loopback"]}, "'loopback' is none of ether, infiniband"),
        ({"pKeys": ["7"]}, "'7' is no P_Key like 0x8001"),
        ({"pfNames": ["ens1f0#a"]}, "is no function with ranges"),
        ({"rootDevices": ["0000:3b:00.0#3-1"]}, "has the range 3-1, which runs backwards"),
        ({"pciAddresses": [""]}, "'' can be no RDMA device's"),
    ],
)
def test_what_can_fit_nothing_is_told(keys: dict[str, Any], complaint: str) -> None:
    """One of several values is left out; with none left, so is the selector."""
    found = translate(listed(resource(selectors=rdma(**keys)), resource("b", selectors=rdma())))
    assert [pool.resource for pool in config_of(found).pools] == ["intel.com/b"]
    (key, (value,)) = next(iter(keys.items()))
    assert complaint in lost(found)[f"resourceList[0].selectors.{key}[0]"]
    assert "it is left out" in lost(found)["resourceList[0].selectors"]
    good = {"drivers": "mlx5_core", "vendors": "15b3", "linkTypes": "ether", "pKeys": "0x1", "pciAddresses": "0000:3b:01.0"}
    found = translate(listed(resource(selectors=rdma(**{key: [value, good.get(key, "ens1f0#1")]}))))
    assert len(config_of(found).pools) == 1
    assert list(lost(found)) == [f"resourceList[0].selectors.{key}[0]"]


def test_what_came_besides_is_told_and_the_resource_stays() -> None:
    """Device nodes of networks, more variables, no NUMA node, keys that nobody reads."""
    entry = resource(
        "with-dash",
        selectors=rdma(needVhostNet=True, vendor=["15b3"]),
        additionalInfo={"*": {"zone": "a"}},
        excludeTopology=True,
        comment="of 2019",
    )
    found = translate(listed(entry) | {"version": 1})
    assert [pool.resource for pool in config_of(found).pools] == ["intel.com/with-dash"]
    assert set(lost(found)) == {
        "version",
        "resourceList[0].selectors.needVhostNet",
        "resourceList[0].selectors.vendor",
        "resourceList[0].additionalInfo",
        "resourceList[0].excludeTopology",
        "resourceList[0].comment",
    }
    assert "PCIDEVICE_INTEL_COM_WITH_DASH" in notes(found)["resourceList[0]"]


def test_the_driver_of_another_bus_is_told() -> None:
    """Their own example asks for it; it fits nothing, there as here."""
    found = translate(listed(resource(selectors=rdma(drivers=["mlx5_core", "mlx5_ib"]))))
    assert config_of(found).pools[0].match[0].driver == ("mlx5_core", "mlx5_ib")
    assert "itself has mlx5_core" in notes(found)["resourceList[0].selectors.drivers[1]"]
    assert "resourceList[0].selectors.drivers[0]" not in notes(found)


def test_names_are_no_patterns() -> None:
    """Nor regular expressions."""
    found = translate(listed(resource(selectors=rdma(pfNames=["ens*f0#1"], drivers=["mlx[5]"]))))
    (match,) = config_of(found).pools[0].match
    assert (match.pf, match.driver) == (("ens[*]f0#1",), ("mlx[[]5]",))
    assert "not as a regular expression" in notes(found)["resourceList[0].selectors.pfNames[0]"]


def test_rdma_of_old_is_taken_as_meant() -> None:
    """It stood beside the selectors, and stands there in many files still."""
    found = translate(listed(resource(isRdma=True, selectors={"vendors": ["15b3"]}), resource("b", isRdma=True)))
    assert [pool.match for pool in config_of(found).pools] == [
        (Match(kind=("pf", "vf"), vendor=("15b3",)),),
        (Match(kind=("pf", "vf")),),
    ]
    assert "Newer releases" in notes(found)["resourceList[1].isRdma"]


def test_the_way_out_of_the_node_is_no_longer_left_out_by_itself() -> None:
    """Where a selector may take a physical function, that is told: a pod would take the node's own interface."""
    found = translate(
        listed(resource(selectors=[rdma(vendors=["15b3"]), rdma(pfNames=["ens1f0"]), rdma(pciAddresses=["0000:3b:01.0"])]))
    )
    assert [place for place, text in notes(found).items() if "default route" in text] == ["resourceList[0].selectors[0]"]


def test_the_case_of_keys_does_not_count() -> None:
    """As where they come from; ``null`` is absent."""
    found = translate(
        {"ResourceList": [{"ResourceName": "a", "deviceType": None, "selectors": {"ISRDMA": True, "Vendors": ["15b3"]}}]}
    )
    assert config_of(found).pools[0].match == (Match(kind=("pf", "vf"), vendor=("15b3",)),)
    assert lost(found) == {}


@pytest.mark.parametrize("kind", ["accelerator", "nvme"])
def test_other_device_types_have_no_rdma(kind: str) -> None:
    """They deny nothing to others, as they are no network devices."""
    found = translate(listed(resource(deviceType=kind, selectors=rdma()), resource("b", selectors=rdma())))
    assert [pool.match for pool in config_of(found).pools] == [(Match(kind=("pf", "vf")),)]
    assert f"of the deviceType {kind}" in lost(found)["resourceList[0].selectors"]


def test_auxiliary_devices_but_for_sub_functions_are_left_out() -> None:
    """An ``eth`` of the auxiliary bus is a part of a function, no device of its own."""
    found = translate(listed(resource(deviceType="auxNetDevice", selectors=rdma(auxTypes=["eth"]))))
    assert (found.section, "not eth" in lost(found)["resourceList[0].selectors"]) == (None, True)


def test_a_name_that_cannot_be_one_is_told() -> None:
    """So is a second resource of one name."""
    vendor = rdma(vendors=["15b3"])
    found = translate(listed(resource("a b", selectors=vendor), resource(selectors=rdma()), resource(selectors=rdma())))
    (pool,) = config_of(found).pools
    assert (pool.resource, pool.match[0].not_) == ("intel.com/a", (Match(kind=("pf", "vf"), vendor=("15b3",)),))
    assert "'intel.com/a b' is no resource name" in lost(found)["resourceList[0]"]
    assert "is there already" in lost(found)["resourceList[2]"]


def test_a_file_of_wrong_types_is_refused_with_every_place() -> None:
    """Not only with the first."""
    source = listed(
        {"resourceName": 1, "selectors": [rdma(vendors="15b3", devices=[1]), 7]}, resource(selectors={"isRdma": "yes"})
    )
    assert refused(translate, source) == {
        "resourceList[0].selectors[1]": "Expected a mapping, got int",
        "resourceList[0].resourceName": "Expected a text, got int",
        "resourceList[0].selectors[0].vendors": "Expected a list, got str",
        "resourceList[0].selectors[0].devices[0]": "Expected a text, got int",
        "resourceList[1].selectors.isRdma": "Expected true or false, got str",
    }
    assert refused(translate, [1]) == {"": "Expected a mapping, got list"}


def test_a_file_of_another_plugin_is_told() -> None:
    """Nothing comes of it."""
    found = translate({"configList": []})
    assert found.section is None
    assert "There is no resourceList" in lost(found)[""]


def test_more_than_any_node_has_is_refused() -> None:
    """Else a small file could become a huge one."""
    assert refused(translate, listed(*[resource(selectors=[{}] * 20)] * 20)) == {
        "resourceList[11].selectors": "Expected at most 256 resources and selectors in one file"
    }


_ADDRESSES = st.sampled_from(["0000:3b:01.0", "0000:3b:01.3", "0000:3b:00.0"])
_FUNCTIONS = st.sampled_from(["ens1f0", "ens1f1", "ens1f0#0-2", "ens1f0#1,4-5", "ens1f1#6"])
_SELECTORS = st.fixed_dictionaries(
    {"isRdma": st.booleans()},
    optional={
        "vendors": st.lists(st.sampled_from(["15b3", "8086"]), max_size=2),
        "devices": st.lists(st.sampled_from(["101b", "101c"]), max_size=2),
        "drivers": st.lists(st.sampled_from(["mlx5_core", "irdma", "vfio-pci"]), max_size=2),
        "pciAddresses": st.lists(_ADDRESSES, max_size=2),
        "pfNames": st.lists(_FUNCTIONS, max_size=2),
        "rootDevices": st.lists(st.sampled_from(["0000:3b:00.0", "0000:3b:00.1#6-8"]), max_size=2),
        "linkTypes": st.lists(st.sampled_from(["ether", "infiniband"]), max_size=1),
    },
)
_FILES = st.lists(
    st.tuples(st.sampled_from(["netDevice", "auxNetDevice"]), st.lists(_SELECTORS, min_size=1, max_size=3)), max_size=4
).map(lambda some: listed(*(resource(f"r{n}", deviceType=kind, selectors=each) for n, (kind, each) in enumerate(some))))

NODE = (
    pf(0),
    pf(1, vendor="8086", driver="irdma", ports=(port(interface="ens1f1", link_layer="Ethernet"),)),
    *(vf(index) for index in range(6)),
    *(vf(index, 1, vendor="8086", driver="irdma") for index in range(6, 9)),
    sf(4),
)


def _named(device: RdmaDevice, wanted: str, names: tuple[str, ...]) -> bool:
    name, _, ranges = wanted.partition("#")
    spans = [re.fullmatch(r"(\d+)(?:-(\d+))?", span) for span in ranges.split(",")] if ranges else []
    inside = [span for span in spans if span and int(span[1]) <= (device.index or 0) <= int(span[2] or span[1])]
    return name in names and (not ranges or bool(inside))


def _theirs(selector: dict[str, Any], kind: str, device: RdmaDevice) -> bool:
    """Whether their plugin would take a device by this selector, as its documentation has it."""
    kinds = {"netDevice": ("pf", "vf"), "auxNetDevice": ("sf",)}[kind]
    facts: dict[str, tuple[str, ...]] = {"vendors": (device.vendor,), "devices": (device.device,), "drivers": (device.driver,)}
    facts["linkTypes"] = tuple(netdev.link_type for port in device.ports for netdev in port.link.netdevs)
    if kind == "netDevice":
        facts["pciAddresses"] = (device.id,)
    plain = all(set(selector[key]) & set(values) for key, values in facts.items() if selector.get(key))
    names = {"pfNames": device.pf_netdevs, "rootDevices": (device.pf,)}
    functions = all(
        any(_named(device, wanted, known) for wanted in selector[key]) for key, known in names.items() if selector.get(key)
    )
    return device.kind in kinds and plain and functions


@given(_FILES)
def test_the_same_devices_come_under_the_same_names(source: dict[str, Any]) -> None:
    """Of any file that has equivalents, as their plugin would offer them: the first selector that fits has a device."""
    wanted = {}
    for device in NODE:
        found = [
            (f"intel.com/{entry['resourceName']}", selector["isRdma"])
            for entry in source["resourceList"]
            for selector in entry["selectors"]
            if _theirs(selector, entry["deviceType"], device)
        ]
        if found and found[0][1]:
            wanted[device.id] = found[0][0]
    translation = translate(source)
    taken = offer(Report(NODE), config_of(translation)).taken if translation.section is not None else {}
    assert taken == wanted


_ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["15b3", "ens1f0#1", "netDevice"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["resourceList", "resourceName", "selectors", "isRdma", "vendors", "pfNames", "deviceType", "x"]),
            inner,
        )
    ),
    max_leaves=15,
)


@given(st.fixed_dictionaries({"resourceList": st.lists(_ANYTHING, max_size=3)}) | _ANYTHING)
def test_any_content_is_refused_or_becomes_a_section(source: object) -> None:
    """Never anything else."""
    try:
        found = translate(source)
    except SourceRefused:
        return
    assert found.section is None or msgspec.convert(found.section, InfinibandConfig).resources
    assert all(remark.text for remark in (*found.lost, *found.notes))
