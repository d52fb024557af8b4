"""AMD's Alveo cards: the drivers tell which function is for whom, and a card that says nothing of use costs nobody else anything."""

import pytest
from msgspec import structs

from supervisor import Trouble
from supervisor_fpga.report import Function, Node
from supervisor_fpga.simulate import pci
from supervisor_fpga.simulate.amd import Alveo, alveo_machine
from supervisor_fpga.simulate.machine import Machine
from supervisor_fpga.simulate.machine import Node as SimulatedNode
from tests.plugins.fpga.looks import Plant, by_id, look
from tests.plugins.fpga.machines import MACHINES, spoilt

MANAGER, USER, OTHER = "0000:65:00.0", "0000:65:00.1", "0000:66:00.1"
ROM = f"rom.u.{pci.number(USER)}"
XCLBIN = "d8424dc4-a4a3-c413-f89e-433683f9040b"


def only(plant: Plant, machine: str | Machine) -> Function:
    """The one function of a machine."""
    (found,) = look(plant, machine).functions
    return found


def having(machine: Machine, **attributes: object) -> Machine:
    """With other attributes of the user function."""
    function = machine.find(USER)
    itself = function.devices[0].having(**attributes)
    return machine.with_function(structs.replace(function, devices=(itself, *function.devices[1:])))


def without(machine: Machine, word: str, *beginnings: str) -> Machine:
    """Without those devices of a function whose names begin so."""
    function = machine.find(word)
    devices = tuple(device for device in function.devices if not device.name.startswith(beginnings))
    return machine.with_function(structs.replace(function, devices=devices))


def test_a_user_function_has_all_its_facts(plant: Plant) -> None:
    """As its files have them; of its nodes that of the card's management comes last."""
    card = only(plant, "u250")
    assert (card.id, card.pci, card.card, card.region, card.kind) == (USER, USER, MANAGER, f"{USER}/region0", "pf")
    assert (card.backend, card.name, card.driver) == ("xrt", "renderD128", "xocl")
    assert (card.vendor, card.device, card.numa_node) == ("10ee", "5005", 0)
    assert (card.shell, card.timestamp) == ("xilinx_u250_gen3x16_xdma_shell_4_1", "1638134452")
    assert card.shell_id == "12c8fafb0632499db1c0c6676271b8a6"
    assert (card.group, card.interface_id, card.afu_id) == ("2130A0BK0051", "f2b82d53372f45a4bbe93d1c980216da", "")
    assert card.nodes == (Node("/dev/dri/renderD128", "user"), Node(f"/dev/xclmgmt{pci.number(MANAGER)}", "management"))
    assert (card.programmable, card.resettable, card.waiting_for, card.problem) == (("xrt",), True, "", "")


def test_a_sound_card_speaks_for_its_health(plant: Plant) -> None:
    """Its sensors are there once, although both of its functions have them."""
    evidence = only(plant, "u250").evidence
    assert not evidence.offline
    readings = [(sensor.kind, sensor.value, sensor.limit, sensor.alarm) for sensor in evidence.sensors]
    assert readings == [("power", 36.0, 225.0, False), ("temperature", 51.0, 97.0, False)]
    assert evidence.pci_link is not None
    assert evidence.pci_link.width == evidence.pci_link.max_width


def test_where_the_user_function_has_no_sensors_the_other_has(plant: Plant) -> None:
    """It is the same card."""
    sensors = only(plant, without(MACHINES["u250"](), USER, "hwmon0")).evidence.sensors
    assert [sensor.name for sensor in sensors] == ["xclmgmt_hwmon power1", "xclmgmt_hwmon temp1"]


def test_queues_have_a_node_of_their_own(plant: Plant) -> None:
    """What else the driver makes for itself is nobody's business."""
    machine = MACHINES["u250_qdma"]()
    function = machine.find(USER)
    queue = next(device for device in function.devices if device.home == "class/xrt_user")
    other = structs.replace(
        queue, path=f"{function.path}/mailbox/xrt_user/mailbox.u1", node=SimulatedNode("xfpga/mailbox.u1", 238, 9)
    )
    card = only(plant, machine.with_function(structs.replace(function, devices=(*function.devices, other))))
    assert [(node.role, node.path) for node in card.nodes[:2]] == [
        ("user", "/dev/dri/renderD128"),
        ("dma", f"/dev/xfpga/dma.qdma.u{pci.number(USER)}.0"),
    ]
    assert [node.role for node in card.nodes[2:]] == ["management"]


def test_a_management_function_may_be_missing(plant: Plant) -> None:
    """As in a virtual machine."""
    card = only(plant, "u250_user_only")
    assert (card.id, card.card, [node.role for node in card.nodes], card.problem) == (MANAGER, MANAGER, ["user"], "")


def test_which_function_manages_its_driver_says(plant: Plant) -> None:
    """Old shells have the management function behind the other; ids and nodes are those of the right one."""
    first, second = MACHINES["u250"]().functions
    swapped = {MANAGER: first.path.replace(MANAGER, "0000:65:00.2"), USER: second.path.replace(USER, MANAGER)}
    moved = tuple(
        structs.replace(
            function,
            id=swapped[function.id].rpartition("/")[2],
            devices=tuple(
                structs.replace(device, path=device.path.replace(function.path, swapped[function.id]))
                for device in function.devices
            ),
        )
        for function in (first, second)
    )
    card = only(plant, Machine(moved))
    assert (card.id, card.card, [node.role for node in card.nodes]) == (MANAGER, MANAGER, ["user", "management"])


def test_a_manager_without_users_is_refused(plant: Plant) -> None:
    """There is nothing that a container could use."""
    machine = MACHINES["u250"]()
    report = look(plant, machine.without(USER))
    assert report.functions == ()
    assert "no function of that has the driver xocl" in report.refused[MANAGER]


def test_cards_with_one_serial_number_are_one_group(plant: Plant) -> None:
    """Each of their chips is a card of its own."""
    cards = look(plant, "u30").functions
    assert [card.id for card in cards] == ["0000:b3:00.1", "0000:b4:00.1"]
    assert {card.group for card in cards} == {"XFL1RT5PHT31"}
    assert [card.card for card in cards] == ["0000:b3:00.0", "0000:b4:00.0"]


def test_newer_cards_have_another_controller(plant: Plant) -> None:
    """It knows the serial number all the same."""
    assert only(plant, "v70").group == "XFL1V70A0001"


@pytest.mark.parametrize("serial", ["", "0", "00000000", "\x01\x02\x03\x04", "N/A", "a" * 80])
def test_what_is_no_serial_number_makes_no_group(plant: Plant, serial: str) -> None:
    """Cards that do not belong together would be one."""
    assert only(plant, alveo_machine(Alveo(MANAGER, serial=serial))).group == ""


def test_other_vendors_need_no_list(plant: Plant) -> None:
    """The driver tells that it is such a card."""
    assert (only(plant, "alveo_other_vendor").vendor, only(plant, "alveo_other_vendor").problem) == ("3475", "")


@pytest.mark.parametrize(
    ("machine", "problem"),
    [
        ("alveo_without_rom", "it has no ROM that could be read, so its shell is not known"),
        ("alveo_odd_shell", "which is no name"),
    ],
)
def test_a_card_without_a_shell_is_quarantined_alone(plant: Plant, machine: str, problem: str) -> None:
    """It keeps its id, with a reason; the other card is well."""
    cards = by_id(look(plant, machine))
    assert cards[USER].shell == ""
    assert cards[USER].problem.endswith(problem)
    assert (cards[OTHER].problem, cards[OTHER].shell) == ("", "xilinx_u250_gen3x16_xdma_shell_4_1")


def test_an_empty_shell_is_none(plant: Plant) -> None:
    """Nobody could ask for it."""
    assert only(plant, alveo_machine(Alveo(MANAGER, shell=""))).problem == "the name of its shell is empty"


@pytest.mark.parametrize(("ready", "reason"), [("0x0", "does not answer"), (Trouble.ABSENT, "")])
def test_a_card_whose_management_is_silent_is_waited_for(plant: Plant, ready: object, reason: str) -> None:
    """XRT does not work with it before; drivers that do not say so are content."""
    card = only(plant, having(MACHINES["u250"](), ready=ready))
    assert reason in card.waiting_for
    assert (bool(card.waiting_for), card.problem) == (bool(reason), "")


def test_a_card_in_reset_is_waited_for(plant: Plant) -> None:
    """Its driver has taken everything away, which is no fault of the card."""
    machine = having(without(MACHINES["u250"](), USER, "rom.", "xmc."), ready=Trouble.ABSENT, dev_offline=Trouble.ABSENT)
    card = only(plant, machine)
    assert card.problem == ""
    assert "starts or resets" in card.waiting_for


@pytest.mark.parametrize(("said", "offline"), [(0, False), (1, True), (-19, True)])
def test_a_card_that_is_offline_says_so(plant: Plant, said: int, offline: bool) -> None:
    """With its management silent and its shell unknown as well, it is that and nothing else."""
    machine = having(MACHINES["u250"](), dev_offline=said, ready="0x0" if offline else "0x1")
    card = only(plant, spoilt(machine, USER, {f"{ROM}/VBNV": Trouble.FAILS}) if offline else machine)
    assert (card.evidence.offline, card.waiting_for, card.problem) == (offline, "", "")


@pytest.mark.parametrize(
    ("said", "known"), [(XCLBIN, XCLBIN.replace("-", "")), ("0" * 8 + "-0000-0000-0000-" + "0" * 12, ""), ("no", "")]
)
def test_what_is_programmed(plant: Plant, said: str, known: str) -> None:
    """The id of its xclbin; zeros stand for none."""
    assert only(plant, alveo_machine(Alveo(MANAGER, xclbin=said))).afu_id == known


def test_of_several_interfaces_none_is_the_one(plant: Plant) -> None:
    """Nothing says to which of them a program has to be made."""
    machine = spoilt(MACHINES["u250"](), USER, {f"{USER}/interface_uuids": b"a" * 32 + b"\n" + b"b" * 32 + b"\n"})
    assert only(plant, machine).interface_id == ""


def test_a_driver_that_has_made_no_node_is_waited_for(plant: Plant) -> None:
    """There is nothing to give to a container."""
    card = only(plant, without(MACHINES["u250"](), USER, "renderD"))
    assert (card.name, card.waiting_for) == (USER, "its driver has made no device node for it")


def test_a_vf_belongs_to_the_card_of_its_physical_function(plant: Plant) -> None:
    """Also where its own address is in another slot."""
    (user,) = alveo_machine(Alveo("0000:65:04.0", management=False, render=140, serial="2130A0BK0051")).functions
    machine = MACHINES["u250"]()
    virtual = by_id(look(plant, structs.replace(machine, functions=(*machine.functions, structs.replace(user, pf=USER)))))[
        "0000:65:04.0"
    ]
    assert (virtual.kind, virtual.card, virtual.group) == ("vf", MANAGER, "2130A0BK0051")
