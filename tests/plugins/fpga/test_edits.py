"""What containers get: the least of nodes, CDI devices where they can be resolved, variables of all their functions, or a refusal."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from supervisor import CdiState, ContainerEdits, DeviceNode
from supervisor.allocation import merge
from supervisor_fpga.cdi import class_of
from supervisor_fpga.edits import edits, joint, refusal
from supervisor_fpga.environment import DEVICE_INFO, DEVICES, variables
from supervisor_fpga.publishing import Published
from supervisor_fpga.report import Function, Node, Report, Role
from supervisor_fpga.units import Unit
from tests.plugins.fpga.functions import AFU, OTHER_AFU, alveo, dfl, functions, offered, program, u30, vfio, zynq

NOTHING = Published()


def units(rule: str, *given: Function) -> tuple[Unit, ...]:
    return offered(f"{{name: fpga.example/a, {rule}}}", *given).units


def got(rule: str, *given: Function, published: Published = NOTHING, simulated: str = "") -> ContainerEdits:
    return joint(units(rule, *given), Report(given, simulated=simulated), published)


def paths(found: ContainerEdits) -> list[str]:
    return [node.host_path for node in found.device_nodes]


def test_the_least_that_a_tenant_needs() -> None:
    """The port to read and write, nothing that changes the card, no mount."""
    found = got("unit: function", dfl(), alveo())
    assert found.device_nodes == (DeviceNode("/dev/dfl-port.0"), DeviceNode("/dev/dri/renderD128"))
    assert {node.permissions for node in found.device_nodes} == {"rw"}
    assert (found.mounts, found.annotations, found.cdi_devices) == ((), {}, ())


def test_what_changes_the_card_is_for_those_who_ask() -> None:
    """By the roles that the resource names, and only these."""
    assert paths(got("nodes: [port, fme]", dfl())) == ["/dev/dfl-port.0", "/dev/dfl-fme.0"]
    assert paths(got("nodes: [management]", alveo())) == ["/dev/xclmgmt0"]


def test_vfio_gets_its_group_once() -> None:
    """All functions of the group share its nodes."""
    assert paths(got("unit: function", vfio(0), vfio(1))) == ["/dev/vfio/42", "/dev/vfio/vfio"]


def test_the_nodes_of_all_functions_of_a_unit() -> None:
    """Both chips of a U30."""
    assert paths(got("unit: group", u30(0), u30(1))) == ["/dev/dri/renderD128", "/dev/dri/renderD129"]


@given(st.lists(functions(), max_size=4, unique_by=lambda function: function.id), st.sampled_from(["port", "fme", "user"]))
def test_no_node_that_is_not_there_or_not_asked_for(given: list[Function], role: Role) -> None:
    """Whatever the host has."""
    equipped = [
        replace(
            each, nodes=(Node(f"/dev/{number}", role), Node(f"/dev/gone{number}", role, present=False), Node("/dev/x", "dma"))
        )
        for number, each in enumerate(given)
    ]
    there = {f"/dev/{number}" for number in range(len(given))}
    assert {*paths(got(f"nodes: [{role}]", *equipped))} <= there


def test_a_missing_node_refuses() -> None:
    """A container with half of its nodes fails later, and nobody knows why; of the nodes for the IOMMU one is enough."""
    gone = replace(dfl(), nodes=(Node("/dev/dfl-port.0", "port", present=False), *dfl().nodes[1:]))
    assert refusal(units("unit: function", gone)) == "there is no /dev/dfl-port.0 of 0000:3b:00.0 now"
    assert refusal(units("unit: function", dfl(), alveo(), zynq())) == ""
    newest = replace(vfio(0), nodes=(*vfio(0).nodes, Node("/dev/iommu", "iommu", present=False)))
    assert refusal(units("unit: function", newest)) == ""


def test_simulated_nodes_are_harmless() -> None:
    """Under the names that real ones would have."""
    assert got("unit: function", dfl(), simulated="dfl-card").device_nodes == (DeviceNode("/dev/null", "/dev/dfl-port.0"),)


def test_a_cdi_device_stands_for_the_nodes() -> None:
    """Only one that runtimes can resolve; the others are given by their nodes, which do the same."""
    name = f"vendor.example/{class_of('fpga.example/a')}=0000:3b:00.0"
    published = Published("vendor.example", CdiState(names=frozenset({name})))
    found = got("cdi: true", dfl(), dfl(1), published=published)
    assert (found.cdi_devices, paths(found)) == ((name,), ["/dev/dfl-port.1"])
    assert found.envs[DEVICES] == "0000:3b:00.0,0000:3b:00.1"
    assert got("cdi: false", dfl(), published=published).cdi_devices == ()


# --- variables --------------------------------------------------------------------------------------------------------------


def test_the_variables_tell_all_functions_in_their_order() -> None:
    """The list and the JSON go in step."""
    envs = got("unit: function", dfl(1), dfl(0)).envs
    info = msgspec.json.decode(envs[DEVICE_INFO])
    assert envs[DEVICES].split(",") == [each["id"] for each in info] == ["0000:3b:00.0", "0000:3b:00.1"]
    assert info[0] | {"nodes": ["/dev/dfl-port.0"], "numaNode": 0, "pci": "0000:3b:00.0", "afuId": AFU} == info[0]


def test_what_will_be_programmed_is_told_and_not_what_is_there_now() -> None:
    """The variables are made before, and stay."""
    (unit,) = units(f"unit: region, {program(more=f', afuId: {OTHER_AFU.upper()}')}", dfl())
    assert msgspec.json.decode(variables((unit,))[DEVICE_INFO])[0]["afuId"] == OTHER_AFU
    (unit,) = units(f"unit: region, {program()}", dfl())
    assert msgspec.json.decode(variables((unit,))[DEVICE_INFO])[0]["afuId"] == ""


def test_a_variable_that_is_too_long_is_left_out() -> None:
    """A container starts without it; the short one is there."""
    many = [replace(dfl(), id=f"fpga{number}", name="x" * 200) for number in range(200)]
    assert [*got("unit: function", *many).envs] == [DEVICES]
    assert variables(()) == {}


@pytest.mark.parametrize("rule", ["unit: function", "unit: card", "nodes: [port, fme]"])
def test_one_unit_gets_what_it_carries(rule: str) -> None:
    """The supervisor joins what units carry when the plugin is not asked."""
    for unit in units(rule, dfl(), dfl(1)):
        report = Report(unit.functions)
        assert merge([edits(unit, report, NOTHING)]) == joint((unit,), report, NOTHING)
