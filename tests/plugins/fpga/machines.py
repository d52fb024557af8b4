"""Machines with FPGAs of every sort, as their kernels show them, and with what goes wrong in them.

``MACHINES`` has them all, by name, for tests that hold for each; ``planted`` writes one below a directory.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from msgspec import structs

from supervisor import Trouble
from supervisor_fpga.simulate import changes, pci
from supervisor_fpga.simulate.amd import Alveo, alveo_machine, ma35, ma35_machine
from supervisor_fpga.simulate.embedded import STATES, ZYNQ, Fabric, embedded_machine
from supervisor_fpga.simulate.intel import (
    ALL_ONES,
    NLB0,
    NLB3,
    OFS,
    Card,
    dfl,
    dfl_machine,
    dfl_vf,
    opae_machine,
)
from supervisor_fpga.simulate.layouts import NAMES, layout
from supervisor_fpga.simulate.machine import Device, Function, Machine, Node
from supervisor_fpga.simulate.tree import Tree
from supervisor_fpga.simulate.vfio import driven, passed, vfio_machine

CARD = "0000:3b:00.0"
"""The address at which most of these machines have their card."""
SECOND = "0000:af:00.0"
VF = "0000:3b:00.1"


def planted(name: str, root: Path) -> Tree:
    """One of the ``MACHINES`` below a directory; its ``close`` removes it."""
    return Tree(root, MACHINES[name]())


def spoilt(before: Machine, word: str, troubles: dict[str, bytes | Trouble]) -> Machine:
    """With other things in the place of attributes, by kernel name and attribute: ``dfl-port.0/afu_id``; a name alone: all of it."""
    function = before.find(word)
    paths = {}
    for name, trouble in troubles.items():
        first, slash, rest = name.partition("/")
        (path,) = (device.path for device in function.devices if device.name == first)
        paths[path + slash + rest] = trouble
    return before.with_function(structs.replace(function, spoilt=dict(function.spoilt) | paths))


def dfl_a10() -> Machine:
    """An Arria 10 card with one port."""
    return dfl_machine((Card(CARD),))


def dfl_two_cards() -> Machine:
    """Two cards of one port, at two processors."""
    return dfl_machine((Card(CARD), Card(SECOND, afus=(NLB3,), numa_node=1)))


def dfl_two_ports() -> Machine:
    """One card with two ports in one region."""
    return dfl_machine((Card(CARD, afus=(NLB0, NLB3)),))


def dfl_sixteen_cards() -> Machine:
    """More than one machine has."""
    return dfl_machine([Card(f"0000:{bus:02x}:00.0", numa_node=bus // 128) for bus in range(16, 256, 15)])


def dfl_released_port() -> Machine:
    """The only port was released, and no VF has been made yet: a card without a function."""
    return dfl_machine((Card(CARD, afus=(None,)),))


def dfl_vf_of_card() -> Machine:
    """The port went to a VF, seen beside its card."""
    card = Card(CARD, afus=(None,))
    pf = dfl(card)
    itself = pf.devices[0].having(sriov_numvfs=1)
    pf = structs.replace(pf, devices=(itself, *pf.devices[1:]))
    return Machine((pf, dfl_vf(card, VF)), modules=dfl_machine(()).modules)


def dfl_vf_alone() -> Machine:
    """A VF whose card is not seen here, as in a virtual machine: no FME, and no region that says what fits."""
    return Machine((structs.replace(dfl_vf(Card(CARD), VF), pf=""),), modules=dfl_machine(()).modules)


def dfl_empty_compat_id() -> Machine:
    """A region that does not say what fits it."""
    return spoilt(dfl_two_cards(), CARD, {"region1/compat_id": b"\n"})


def dfl_no_compat_id() -> Machine:
    """A region whose kernel has no such attribute."""
    return spoilt(dfl_two_cards(), CARD, {"region1/compat_id": Trouble.ABSENT})


def dfl_all_ones() -> Machine:
    """A card that has fallen off its bus, and one that is well."""
    gone = changes.programmed(dfl_two_cards(), CARD, ALL_ONES)
    return spoilt(gone, CARD, {"region1/compat_id": f"{ALL_ONES}\n".encode()})


def dfl_all_zero() -> Machine:
    """A port with nothing in it, and one with an accelerator."""
    return changes.programmed(dfl_two_cards(), CARD, "0" * 32)


def dfl_odd_afu_id() -> Machine:
    """A port that says what is no id, and one that is well."""
    return spoilt(dfl_two_cards(), CARD, {"dfl-port.0/afu_id": b"\xff<script>\n"})


def dfl_unreadable_afu_id() -> Machine:
    """A port whose id cannot be read, as while it is in reset, and one that is well."""
    return spoilt(dfl_two_cards(), CARD, {"dfl-port.0/afu_id": Trouble.FAILS})


def dfl_empty_afu_id() -> Machine:
    """A port whose id is empty, and one that is well."""
    return spoilt(dfl_two_cards(), CARD, {"dfl-port.0/afu_id": b"\n"})


def dfl_hanging() -> Machine:
    """A card that does not answer, and one that does."""
    return changes.hanging(dfl_two_cards(), CARD, hangs=True)


def dfl_no_node() -> Machine:
    """A port whose node udev has not made."""
    before = dfl_a10()
    function = before.find(CARD)
    devices = tuple(
        structs.replace(device, node=structs.replace(device.node, present=False))
        if device.name == "dfl-port.0" and device.node is not None
        else device
        for device in function.devices
    )
    return before.with_function(structs.replace(function, devices=devices))


def dfl_errors() -> Machine:
    """A port and its card with errors, and one that is well."""
    broken = changes.failing(dfl_two_cards(), CARD, "port/errors", 0x21)
    return changes.failing(broken, CARD, "fme/catfatal_errors", 0x2)


def dfl_hot() -> Machine:
    """A card above all its limits, and one that is well."""
    return changes.hot(dfl_two_cards(), CARD, 110)


def dfl_ap6() -> Machine:
    """A port that its card has throttled to the end."""
    before = dfl_two_cards()
    function = before.find(CARD)
    devices = tuple(device.having(power_state="0x6") if device.name == "dfl-port.0" else device for device in function.devices)
    return before.with_function(structs.replace(function, devices=devices))


def dfl_no_driver() -> Machine:
    """A card that no driver has taken."""
    return Machine((driven(CARD, ""),))


def opae_tree() -> Machine:
    """A card by OPAE's drivers."""
    return opae_machine((Card(CARD),))


def opae_two_cards() -> Machine:
    """Two of them, of which one says nothing of its shell."""
    return spoilt(
        opae_machine((Card(CARD), Card(SECOND, afus=(NLB3,), numa_node=1))), SECOND, {"intel-fpga-fme.1/pr/interface_id": b""}
    )


def zynq_in(state: str) -> Machine:
    """A Zynq-7000 whose manager is in a state; with one that fails it says how."""
    status = ("reconfig CRC error",) if state.endswith("error") else ()
    return embedded_machine(structs.replace(ZYNQ, state=state, status=status))


def zynqmp() -> Machine:
    """A Zynq UltraScale+ with a bridge and accelerators."""
    return embedded_machine(Fabric())


def kria() -> Machine:
    """The same with a vendor's kernel, which lets files be loaded."""
    return embedded_machine(Fabric(attributes=True))


def zynqmp_bridge_disabled() -> Machine:
    """A fabric that is cut off."""
    return embedded_machine(Fabric(bridge="disabled"))


def zynqmp_hanging() -> Machine:
    """A manager that does not answer."""
    return changes.hanging(zynqmp(), "fpga0", hangs=True)


def manager_without_region() -> Machine:
    """Nothing but a manager."""
    return embedded_machine(Fabric(region=False, bridge=None, render=None))


def u250() -> Machine:
    """A U250 with its user and management functions."""
    return alveo_machine(Alveo("0000:65:00.0"))


def u250_qdma() -> Machine:
    """With queues of its own."""
    return alveo_machine(Alveo("0000:65:00.0", shell="xilinx_u250_qdma_201920_1", qdma=True))


def u250_user_only() -> Machine:
    """As in a virtual machine: the management function is not seen."""
    return alveo_machine(Alveo("0000:65:00.0", management=False))


def v70() -> Machine:
    """A newer card, whose serial number another sub-device knows."""
    return alveo_machine(
        Alveo(
            "0000:65:00.0", "xilinx_v70_gen5x8_qdma_2", device="5095", serial="XFL1V70A0001", qdma=True, controller="hwmon_sdm"
        )
    )


def u30() -> Machine:
    """Both chips of a U30, with one serial number."""
    first = Alveo("0000:b3:00.0", "xilinx_u30_gen3x4_base_2", device="513d", serial="XFL1RT5PHT31")
    return alveo_machine(first, structs.replace(first, address="0000:b4:00.0", render=129))


def alveo_without_rom() -> Machine:
    """A card that does not say its shell, and one that does."""
    before = alveo_machine(Alveo("0000:65:00.0"), Alveo("0000:66:00.0", render=129, serial="2130A0BK0052"))
    function = before.find("0000:65:00.1")
    devices = tuple(device for device in function.devices if not device.name.startswith("rom."))
    return before.with_function(structs.replace(function, devices=devices))


def alveo_odd_shell() -> Machine:
    """A card whose shell has a name that is none, and one that is well."""
    before = alveo_machine(Alveo("0000:65:00.0"), Alveo("0000:66:00.0", render=129, serial="2130A0BK0052"))
    return spoilt(before, "0000:65:00.1", {f"rom.u.{pci.number('0000:65:00.1')}/VBNV": b"../\xff \x00\n"})


def alveo_other_vendor() -> Machine:
    """A card with XRT's driver and a vendor of its own."""
    before = u250()
    function = before.find("0000:65:00.1")
    itself = function.devices[0].having(vendor="0x3475")
    return before.with_function(structs.replace(function, devices=(itself, *function.devices[1:])))


def alveo_offline() -> Machine:
    """A card that its driver has taken offline."""
    return changes.offline(u250(), "0000:65:00.1")


def ma35d() -> Machine:
    """Both chips of an MA35D."""
    return ma35_machine(ma35("0000:c1:00.0", 0, "XFL1MA35D001"), ma35("0000:c2:00.0", 1, "XFL1MA35D001"))


def ma35_silent() -> Machine:
    """One that does not say to which card it belongs."""
    return spoilt(ma35d(), "0000:c1:00.0", {"ama_transcoder0/bus_id": Trouble.ABSENT})


def vfio_vf() -> Machine:
    """A function for VFIO alone in its group, with the nodes of both interfaces."""
    return vfio_machine(passed("0000:5e:00.1", 42, 3))


def vfio_old_kernel() -> Machine:
    """The same with a kernel without iommufd."""
    return vfio_machine(passed("0000:5e:00.1", 42), iommufd=False)


def vfio_group_of_two() -> Machine:
    """Two functions in one group, both for VFIO."""
    return vfio_machine(passed("0000:5e:00.1", 42, 3), passed("0000:5e:00.2", 42, 4))


def vfio_group_with_other_driver() -> Machine:
    """One in whose group another driver has a function."""
    return vfio_machine(passed("0000:5e:00.1", 42, 3), driven("0000:5e:00.2", "dfl-pci", 42))


def vfio_group_with_bridge() -> Machine:
    """One in whose group a bridge is, which is no obstacle."""
    bridge = pci.function("0000:5d:01.0", "8086", "2030", "pcieport", pci_class="0x060400", iommu_group=42)
    bridge = structs.replace(bridge, path=pci.above("0000:5e:00.1"))
    return vfio_machine(passed("0000:5e:00.1", 42, 3), Function("0000:5d:01.0", (bridge,)))


def vfio_unbound() -> Machine:
    """A function that VFIO should have and nobody has."""
    return vfio_machine(driven("0000:5e:00.1", "", 42, device="bccf"))


def unbound() -> Machine:
    """A function that nothing drives."""
    return Machine((driven("0000:5e:00.0", "", device=OFS),))


def declared_card() -> Machine:
    """A card of a vendor that no back end knows, with a class and a node of its own."""
    itself = pci.function("0000:17:00.0", "1bad", "f00d", "acme_fpga")
    fpga = Device(f"{itself.path}/acme/acme0", "class/acme", {"model": "turbo", "serial": "A-17"}, node=Node("acme0", 236, 0))
    return Machine((Function("0000:17:00.0", (itself, fpga)),), modules=("acme_fpga",))


def everything() -> Machine:
    """All families in one machine."""
    machine = dfl_two_cards()
    kria = embedded_machine(Fabric(index=4, attributes=True, render=140))
    u250 = alveo_machine(Alveo("0000:65:00.0", render=132))
    for other in (kria, u250, ma35d(), vfio_vf(), declared_card()):
        machine = machine.joined(other)
    return machine


MACHINES: dict[str, Callable[[], Machine]] = {
    build.__name__: build
    for build in (
        dfl_a10,
        dfl_two_cards,
        dfl_two_ports,
        dfl_sixteen_cards,
        dfl_released_port,
        dfl_vf_of_card,
        dfl_vf_alone,
        dfl_empty_compat_id,
        dfl_no_compat_id,
        dfl_all_ones,
        dfl_all_zero,
        dfl_odd_afu_id,
        dfl_unreadable_afu_id,
        dfl_empty_afu_id,
        dfl_hanging,
        dfl_no_node,
        dfl_errors,
        dfl_hot,
        dfl_ap6,
        dfl_no_driver,
        opae_tree,
        opae_two_cards,
        zynqmp,
        kria,
        zynqmp_bridge_disabled,
        zynqmp_hanging,
        manager_without_region,
        u250,
        u250_qdma,
        u250_user_only,
        v70,
        u30,
        alveo_without_rom,
        alveo_odd_shell,
        alveo_other_vendor,
        alveo_offline,
        ma35d,
        ma35_silent,
        vfio_vf,
        vfio_old_kernel,
        vfio_group_of_two,
        vfio_group_with_other_driver,
        vfio_group_with_bridge,
        vfio_unbound,
        unbound,
        declared_card,
        everything,
    )
}
MACHINES["nothing"] = Machine
MACHINES |= {f"zynq {state}": partial(zynq_in, state) for state in STATES}
MACHINES |= {f"layout {name}": partial(layout, name) for name in NAMES}
