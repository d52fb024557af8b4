"""k8s-rdma-shared-dev-plugin's file: pools whose every unit is all their devices, under the same names."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor import SourceRefused
from supervisor_infiniband.config import InfinibandConfig, Match
from supervisor_infiniband.importing.rdma_shared import translate
from supervisor_infiniband.report import Report
from supervisor_infiniband.rules import offer
from supervisor_infiniband.units import replica_ids
from tests.plugins.infiniband.functions import pf, sf, vf
from tests.plugins.infiniband.importing.theirs import config_of, lost, notes, refused


def resource(name: str = "a", most: Any = 63, **keys: Any) -> dict[str, Any]:
    return {"resourceName": name, "rdmaHcaMax": most, **keys}


def listed(*resources: dict[str, Any]) -> dict[str, Any]:
    return {"configList": [*resources]}


def test_a_resource_keeps_its_name_its_number_and_its_devices() -> None:
    """By every selector, in one match."""
    selectors = {
        "vendors": ["15b3"],
        "deviceIDs": ["1017"],
        "drivers": ["mlx5_core"],
        "ifNames": ["ib3"],
        "linkTypes": ["infiniband"],
    }
    found = translate(listed(resource("hca", 500, resourcePrefix="b.example", selectors=selectors)))
    (pool,) = config_of(found).pools
    assert (pool.resource, pool.mode, pool.replicas) == ("b.example/hca", "pool", 500)
    assert pool.match == (
        Match(
            kind=("pf", "vf"),
            vendor=("15b3",),
            device=("1017",),
            driver=("mlx5_core",),
            interface=("ib3",),
            link_type=("infiniband",),
        ),
    )
    assert lost(found) == {}


def test_every_unit_is_all_devices() -> None:
    """As many units as they say, and no SF, at which their plugin does not look."""
    config = config_of(
        translate(listed(resource("hca", 3, devices=["ib0", "ib1"]), resource("b", 2, selectors={"vendors": ["15b3"]})))
    )
    (first, second) = offer(Report((pf(0), pf(1), vf(0), sf(4))), config).units
    assert (first.resource, [device.name for device in first.devices]) == ("rdma/hca", ["mlx5_0", "mlx5_1"])
    assert len(replica_ids(first)) == 3
    assert (second.resource, [device.kind for device in second.devices]) == ("rdma/b", ["vf"])


def test_what_works_another_way_is_told() -> None:
    """Intervals, character devices, and that a device is in one resource only."""
    one = translate(listed(resource(devices=["ib0"])))
    assert "several resources" not in notes(one)["configList"]
    two = translate(listed(resource(devices=["ib0"]), resource("b", devices=["ib0"])) | {"periodicUpdateInterval": 0})
    assert "several resources" in notes(two)["configList"]
    assert "charDevices: [rdma_cm, umad, issm]" in notes(two)["configList"]
    assert "lookInterval" in notes(two)["periodicUpdateInterval"]
    moved = translate(listed(resource(devices=["ib0"])) | {"kubeletRootDir": "/var/lib/k0s/kubelet"})
    assert (lost(moved), "kubelet.devicePluginsDir" in notes(moved)["kubeletRootDir"]) == ({}, True)
    assert lost(two) == {}


@pytest.mark.parametrize(
    ("entry", "place", "complaint"),
    [
        (resource(devices=["ib0"], selectors={"vendors": ["15b3"]}), "configList[0]", "both selectors and devices"),
        (resource(), "configList[0]", "names no devices"),
        (resource(selectors={}), "configList[0]", "names no devices"),
        (resource(selectors={"vendors": ["Mellanox"]}), "configList[0].selectors.vendors[0]", "four hexadecimal digits"),
        (resource(selectors={"vendors": ["Mellanox"]}), "configList[0]", "none that there can be"),
        (resource(devices=[""]), "configList[0]", "none that there can be"),
        (resource(most=0, devices=["ib0"]), "configList[0].rdmaHcaMax", "above 0"),
        ({"resourceName": "a", "devices": ["ib0"]}, "configList[0].rdmaHcaMax", "above 0"),
        (resource("a b", devices=["ib0"]), "configList[0]", "'rdma/a b' is no resource name"),
    ],
)
def test_a_resource_that_is_none_is_left_out(entry: dict[str, Any], place: str, complaint: str) -> None:
    """With the reason; the others are translated."""
    found = translate(listed(entry, resource("other", devices=["ib7"])))
    assert [pool.resource for pool in config_of(found).pools] == ["rdma/other"]
    assert complaint in lost(found)[place]
    assert translate(listed(entry)).section is None


def test_too_many_units_are_cut() -> None:
    """To what the kubelet can be told of."""
    found = translate(listed(resource(most=100_000, devices=["ib0"])))
    assert config_of(found).pools[0].replicas == 10_000
    assert "it is 10000" in lost(found)["configList[0].rdmaHcaMax"]


def test_keys_that_nobody_reads_are_told() -> None:
    """At every level; the prefix does not make two names out of one word."""
    found = translate(
        listed(resource(devices=["ib0"], mode="hca"), resource(selectors={"ifname": ["ib0"], "ifNames": ["ib1"]})) | {"v": 1}
    )
    assert set(lost(found)) == {"v", "configList[0].mode", "configList[1].selectors.ifname", "configList[1]"}


def test_a_file_of_wrong_types_is_refused_with_every_place() -> None:
    """Not only with the first."""
    assert refused(
        translate, listed(resource(most="63", devices="ib0"), resource(most=True)) | {"periodicUpdateInterval": 1.5}
    ) == {
        "periodicUpdateInterval": "Expected a whole number, got float",
        "configList[0].rdmaHcaMax": "Expected a whole number, got str",
        "configList[0].devices": "Expected a list, got str",
        "configList[1].rdmaHcaMax": "Expected a whole number, got bool",
    }


def test_a_file_of_another_plugin_is_told() -> None:
    """Nothing comes of it."""
    found = translate({"resourceList": []})
    assert (found.section, "There is no configList" in lost(found)[""]) == (None, True)


_ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["15b3", "ib0"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["configList", "resourceName", "rdmaHcaMax", "devices", "selectors", "vendors", "x"]), inner
        )
    ),
    max_leaves=15,
)


@given(st.fixed_dictionaries({"configList": st.lists(_ANYTHING, max_size=3)}) | _ANYTHING)
def test_any_content_is_refused_or_becomes_a_section(source: object) -> None:
    """Never anything else."""
    try:
        found = translate(source)
    except SourceRefused:
        return
    assert found.section is None or msgspec.convert(found.section, InfinibandConfig).resources
