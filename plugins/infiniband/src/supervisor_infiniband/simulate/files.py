"""What a machine has in its files, by their paths: pure, so that what changes is a difference of two of these.

Source of the names and formats: ``Documentation/ABI/stable/sysfs-class-infiniband``, ``testing/sysfs-class-net`` and
``testing/sysfs-bus-pci`` of the kernel; the links lead where the kernel's do. Attributes whose reading the kernel answers with
EINVAL (the type of an empty slot, the carrier of an interface that is down) are not there: to those who read, that is the same.
"""

from collections.abc import Mapping

from supervisor import TreeDevice, TreeFiles, TreeFolder, TreeLink, Trouble, device_files, driver_files, spoil
from supervisor_infiniband.report import PhysState, PortState
from supervisor_infiniband.simulate.machine import VIRTUAL, Function, Hca, Interface, Machine, Port

_FOLDERS = (
    "sys/bus/pci/devices",
    "sys/bus/auxiliary/devices",
    "sys/class/net",
    "sys/class/misc",
    "sys/dev/char",
    "dev/infiniband",
)
_CLASSES = {"ib_core": "infiniband", "ib_uverbs": "infiniband_verbs", "ib_umad": "infiniband_mad"}
"""The classes of modules: they come and go with these."""
_ABI = {"infiniband_verbs": 6, "infiniband_mad": 5}

_MAJOR, _DYNAMIC = 231, {"uverbs": 509, "umad": 508, "issm": 507}
_FIRST_MINOR, _FIXED_MINORS = {"uverbs": 192, "umad": 0, "issm": 64}, {"uverbs": 32, "umad": 64, "issm": 64}
"""Device numbers: fixed ones first, then those of a major number that the kernel chooses."""
_RDMA_CM = TreeDevice(10, 58)

_PHYS_NAMES = (
    "<unknown>",
    "Sleep",
    "Polling",
    "Disabled",
    "PortConfigurationTraining",
    "LinkUp",
    "LinkErrorRecovery",
    "Phy Test",
)
_IDLE_RATE = "10 Gb/sec (4X SDR)"
"""What drivers say while a port is down: it means nothing."""
_NO_GID = "0000:0000:0000:0000:0000:0000:0000:0000"

QUERIED = ("state", "phys_state", "lid", "sm_lid", "cap_mask", "rate")
"""The attributes of a port for which the kernel asks the device's firmware."""


def render(machine: Machine) -> TreeFiles:
    """All files, links and nodes below the root of the tree."""
    files: TreeFiles = dict.fromkeys(_FOLDERS, TreeFolder())
    for module in machine.modules:
        files[f"sys/module/{module}/initstate"] = b"live\n"
        if kind := _CLASSES.get(module):
            files[f"sys/class/{kind}"] = TreeFolder()
            if kind in _ABI:
                files[f"sys/class/{kind}/abi_version"] = f"{_ABI[kind]}\n".encode()
    if machine.netns_mode and "ib_core" in machine.modules:
        files["sys/module/ib_core/parameters/netns_mode"] = b"Y\n" if machine.netns_mode == "shared" else b"N\n"
    if "rdma_ucm" in machine.modules:
        _character(files, "sys/devices/virtual", "misc", "rdma_cm", _RDMA_CM, {})
    for function in machine.functions:
        _function(files, function, machine)
    for function, hca in machine.hcas():
        _spoil(files, function, hca)
    return files


def _function(files: TreeFiles, function: Function, machine: Machine) -> None:
    for depth, bridge in enumerate(function.above):
        path = "/".join(("sys/devices", *function.above[: depth + 1]))
        if bridge[4:5] == ":" and f"{path}/uevent" not in files:
            files |= device_files(
                path, "bus/pci", {"PCI_SLOT_NAME": bridge}, {"class": "0x060400", "numa_node": function.numa_node}
            )
    if function.bus == "pci":
        _pci(files, function, [other for other in machine.functions if other.pf == function.id and other.bus == "pci"])
    elif function.bus:
        uevent = {"DRIVER": function.driver, "MODALIAS": f"auxiliary:{function.driver}"}
        files |= device_files(f"sys/{function.path}", "bus/auxiliary", uevent, {"sfnum": function.index})
        files |= _driver(function)
    if function.bus and not function.driver:
        return
    for interface in function.interfaces:
        if not any(hca.away for hca in function.hcas):
            _interface(files, function, interface)
    if "ib_core" in machine.modules:
        for hca in function.hcas:
            _hca(files, function, hca, machine.modules)


def _pci(files: TreeFiles, function: Function, vfs: list[Function]) -> None:
    ids = f"{function.vendor}:{function.device}".upper()
    uevent = {"DRIVER": function.driver} if function.driver else {}
    uevent |= {"PCI_CLASS": function.pci_class.lstrip("0"), "PCI_ID": ids, "PCI_SLOT_NAME": function.id}
    attributes: dict[str, object] = {
        "vendor": f"0x{function.vendor}",
        "device": f"0x{function.device}",
        "class": f"0x{function.pci_class}",
        "numa_node": function.numa_node,
    }
    if function.total_vfs:
        attributes |= {"sriov_totalvfs": function.total_vfs, "sriov_numvfs": len(vfs)}
    if link := function.link:
        attributes |= {"current_link_speed": link.speed, "max_link_speed": link.max_speed}
        attributes |= {"current_link_width": link.width, "max_link_width": link.max_width}
    path = f"sys/{function.path}"
    files |= device_files(path, "bus/pci", uevent, attributes)
    files |= _driver(function)
    for vf in vfs:
        files[f"{path}/virtfn{vf.index}"] = TreeLink(f"sys/{vf.path}")
        files[f"sys/{vf.path}/physfn"] = TreeLink(path)


def _driver(function: Function) -> TreeFiles:
    return driver_files(f"sys/{function.path}", function.bus, function.driver) if function.driver else {}


def _interface(files: TreeFiles, function: Function, interface: Interface) -> None:
    attributes: dict[str, object] = {
        "address": interface.address,
        "addr_len": interface.address.count(":") + 1,
        "type": 32 if interface.ipoib else 1,
        "dev_id": "0x0",
        "dev_port": interface.port,
        "flags": "0x1003" if interface.up else "0x1002",
        "ifindex": interface.ifindex,
        "operstate": "up" if interface.up and interface.carrier else "down",
    }
    if interface.up:
        attributes["carrier"] = int(interface.carrier)
    if interface.port_name:
        attributes["phys_port_name"] = interface.port_name
    uevent = {"INTERFACE": interface.name, "IFINDEX": str(interface.ifindex)}
    _class_device(files, f"sys/{function.path}", "net", interface.name, uevent, attributes)


def _hca(files: TreeFiles, function: Function, hca: Hca, modules: tuple[str, ...]) -> None:
    parent = f"sys/{function.path}"
    if not hca.away:
        known = {"fw_ver": hca.firmware, "board_id": hca.board_id, "hca_type": hca.hca_type, "parent": hca.parent}
        attributes: dict[str, object] = {name: value for name, value in known.items() if value}
        attributes |= {"node_type": hca.node_type, "node_guid": hca.node_guid, "node_desc": function.id}
        attributes |= {"sys_image_guid": hca.sys_image_guid or hca.node_guid}
        attributes |= {f"hw_counters/{name}": value for name, value in hca.hw_counters.items()}
        for number, port in enumerate(hca.ports, start=1):
            attributes |= {f"ports/{number}/{name}": value for name, value in _port(port).items()}
        _class_device(files, parent, "infiniband", hca.name, {"NAME": hca.name}, attributes)
    if hca.uverbs is not None and "ib_uverbs" in modules:
        more: dict[str, object] = {"ibdev": hca.name, "abi_version": 1}
        _numbered(files, parent, "uverbs", hca.uverbs, more)
    for number, port in enumerate(hca.ports, start=1):
        for kind, at in (("umad", port.umad), ("issm", port.issm)):
            if at is not None and "ib_umad" in modules:
                _numbered(files, parent, kind, at, {"ibdev": hca.name, "port": number})


def _port(port: Port) -> dict[str, object]:
    active = port.state in {PortState.ACTIVE, PortState.ACTIVE_DEFER}
    attributes: dict[str, object] = {
        "state": f"{port.state}: {PortState(port.state).name}",
        "phys_state": f"{port.phys_state}: {_PHYS_NAMES[PhysState(port.phys_state)]}",
        "link_layer": port.link_layer,
        "rate": port.rate if active else _IDLE_RATE,
        "lid": f"0x{port.lid:x}",
        "sm_lid": f"0x{port.sm_lid:x}",
        "cap_mask": f"0x{port.cap_mask:08x}",
    }
    used = {gid.index: gid for gid in port.gids}
    for index in range(port.slots):
        attributes[f"gids/{index}"] = used[index].gid if index in used else _NO_GID
        if index in used and used[index].kind:
            attributes[f"gid_attrs/types/{index}"] = used[index].kind
        if index in used and used[index].netdev:
            attributes[f"gid_attrs/ndevs/{index}"] = used[index].netdev
    attributes |= {f"pkeys/{index}": f"0x{pkey:04x}" for index, pkey in enumerate(port.pkeys)}
    attributes |= {f"counters/{name}": value for name, value in port.counters.items()}
    return attributes | {f"hw_counters/{name}": value for name, value in port.hw_counters.items()}


def _numbered(files: TreeFiles, parent: str, kind: str, number: int, attributes: Mapping[str, object]) -> None:
    fixed = _FIXED_MINORS[kind]
    node = TreeDevice(_MAJOR, _FIRST_MINOR[kind] + number) if number < fixed else TreeDevice(_DYNAMIC[kind], number - fixed)
    home = "infiniband_verbs" if kind == "uverbs" else "infiniband_mad"
    _character(files, parent, home, f"{kind}{number}", node, attributes)


def _character(files: TreeFiles, parent: str, home: str, name: str, node: TreeDevice, attributes: Mapping[str, object]) -> None:
    numbers = f"{node.major}:{node.minor}"
    uevent = {"MAJOR": str(node.major), "MINOR": str(node.minor), "DEVNAME": f"infiniband/{name}"}
    _class_device(files, parent, home, name, uevent, {"dev": numbers} | dict(attributes))
    files[f"sys/dev/char/{numbers}"] = TreeLink(f"{parent}/{home}/{name}")
    files[f"dev/infiniband/{name}"] = node


def _class_device(
    files: TreeFiles, parent: str, home: str, name: str, uevent: Mapping[str, str], attributes: Mapping[str, object]
) -> None:
    path = f"{parent}/{home}/{name}"
    files |= device_files(path, f"class/{home}", uevent, attributes)
    if not parent.endswith(f"/{VIRTUAL}"):
        files[f"{path}/device"] = TreeLink(parent)


def _spoil(files: TreeFiles, function: Function, hca: Hca) -> None:
    home = f"sys/{function.path}/infiniband/{hca.name}"
    for name, trouble in hca.spoilt.items():
        path = f"sys/{function.path}/{name[7:]}" if name.startswith("device/") else f"{home}/{name}".rstrip("/")
        spoil(files, path, Trouble.ABSENT if hca.away else trouble)
