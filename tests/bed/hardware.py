"""Sample hardware for the tree, with the attributes, links and nodes that its real drivers make.

Each function adds one piece and returns the device paths in the order in which the kernel announces them.
"""

from tests.bed.fakesys import Node, Tree


def gpu(tree: Tree, index: int = 0) -> list[str]:
    """An NVIDIA data-centre GPU. Its driver makes nodes without a sysfs class."""
    slot = f"0000:{0x17 + index:02x}:00.0"
    pci = tree.add(
        f"/devices/pci0000:00/{slot}",
        bus="pci",
        driver="nvidia",
        attrs={
            "vendor": "0x10de",
            "device": "0x2330",
            "class": "0x030200",
            "numa_node": index % 2,
            "config": bytes(64),
        },
        properties={"PCI_CLASS": "30200", "PCI_ID": "10DE:2330", "PCI_SUBSYS_ID": "10DE:16C1", "PCI_SLOT_NAME": slot},
    )
    tree.add_node(Node(f"nvidia{index}", 195, index))
    for shared in (Node("nvidiactl", 195, 255), Node("nvidia-uvm", 510, 0), Node("nvidia-caps/nvidia-cap1", 234, 1)):
        if not (tree.dev / shared.name).exists():
            tree.add_node(shared)
    return [pci]


def infiniband(tree: Tree, index: int = 0) -> list[str]:
    """A Mellanox host channel adapter with one active port; the kernel announces its nodes before the RDMA device."""
    slot, name = f"0000:{0x3B + index:02x}:00.0", f"mlx5_{index}"
    pci = tree.add(
        f"/devices/pci0000:00/{slot}",
        bus="pci",
        driver="mlx5_core",
        attrs={"vendor": "0x15b3", "device": "0x1021", "class": "0x020700", "numa_node": 0, "sriov_totalvfs": 8},
        properties={"PCI_CLASS": "20700", "PCI_ID": "15B3:1021", "PCI_SLOT_NAME": slot},
    )
    members = [
        tree.add(
            f"{pci}/{cls}/{member}",
            cls=cls,
            node=Node(f"infiniband/{member}", 231, minor),
            attrs={"ibdev": name, key: 1},
        )
        for cls, member, minor, key in (
            ("infiniband_verbs", f"uverbs{index}", 192 + index, "abi_version"),
            ("infiniband_mad", f"umad{index}", index, "port"),
            ("infiniband_mad", f"issm{index}", 64 + index, "port"),
        )
    ]
    adapter = tree.add(
        f"{pci}/infiniband/{name}",
        cls="infiniband",
        properties={"NAME": name},
        links={"device": f"../../../{slot}"},
        attrs={
            "node_type": "1: CA",
            "node_guid": f"b83f:d203:00aa:{index:04x}",
            "fw_ver": "28.39.1002",
            "hca_type": "MT4129",
            "ports/1/state": "4: ACTIVE",
            "ports/1/phys_state": "5: LinkUp",
            "ports/1/link_layer": "InfiniBand",
            "ports/1/rate": "400 Gb/sec (4X NDR)",
            "ports/1/gids/0": f"fe80:0000:0000:0000:b83f:d203:00aa:{index:04x}",
            "ports/1/counters/link_downed": 0,
        },
    )
    if not (tree.dev / "infiniband/rdma_cm").exists():
        tree.add_node(Node("infiniband/rdma_cm", 10, 122))
    return [pci, *members, adapter]


def fpga(tree: Tree, index: int = 0) -> list[str]:
    """An Intel FPGA card under the DFL driver: management engine, region, manager and one port."""
    slot = f"0000:{0x5E + index:02x}:00.0"
    pci = tree.add(
        f"/devices/pci0000:00/{slot}",
        bus="pci",
        driver="dfl-pci",
        attrs={"vendor": "0x8086", "device": "0xbcce", "class": "0x120000", "numa_node": 1},
        properties={"PCI_ID": "8086:BCCE", "PCI_SLOT_NAME": slot},
    )
    region = tree.add(f"{pci}/fpga_region/region{index}", cls="fpga_region", attrs={"compat_id": "0" * 32})
    engine = tree.add(
        f"{region}/dfl-fme.{index}",
        bus="platform",
        driver="dfl-fme",
        node=Node(f"dfl-fme.{index}", 236, index),
        attrs={"bitstream_id": "0x23000410010310", "ports_num": 1, "errors/fme_errors": "0x0"},
        properties={"DEVTYPE": "dfl-fme"},
    )
    manager = tree.add(
        f"{engine}/dfl-fme-mgr.{index}/fpga_manager/fpga{index}",
        cls="fpga_manager",
        attrs={"name": "DFL FPGA Manager", "state": "operating", "status": ""},
    )
    port = tree.add(
        f"{region}/dfl-port.{index}",
        bus="platform",
        driver="dfl-port",
        node=Node(f"dfl-port.{index}", 236, 64 + index),
        attrs={"afu_id": "d8424dc4a4a3c413f89e433683f9040b", "errors/errors": "0x0"},
        properties={"DEVTYPE": "dfl-port"},
    )
    return [pci, region, engine, manager, port]


def usb_serial(tree: Tree, index: int = 0, serial: str | None = None) -> list[str]:
    """A USB serial adapter: the USB device with its node on the bus, its interface, and the terminal."""
    name, number = f"1-{index + 1}", index + 2
    usb = tree.add(
        f"/devices/pci0000:00/0000:00:14.0/usb1/{name}",
        bus="usb",
        driver="usb",
        node=Node(f"bus/usb/001/{number:03d}", 189, number - 1),
        attrs={
            "idVendor": "0403",
            "idProduct": "6001",
            "manufacturer": "FTDI",
            "product": "FT232R USB UART",
            "serial": serial or f"A{index:07d}",
            "busnum": 1,
            "devnum": number,
        },
        properties={"DEVTYPE": "usb_device", "PRODUCT": "403/6001/600", "BUSNUM": "001", "DEVNUM": f"{number:03d}"},
    )
    interface = tree.add(
        f"{usb}/{name}:1.0",
        bus="usb",
        driver="ftdi_sio",
        attrs={"bInterfaceNumber": "00", "bInterfaceClass": "ff"},
        properties={"DEVTYPE": "usb_interface", "PRODUCT": "403/6001/600"},
    )
    tty = tree.add(
        f"{interface}/ttyUSB{index}/tty/ttyUSB{index}",
        cls="tty",
        node=Node(f"ttyUSB{index}", 188, index),
        links={"device": f"../../../ttyUSB{index}"},
    )
    return [usb, interface, tty]


def camera(tree: Tree, index: int = 0) -> list[str]:
    """A capture card on PCI: two video nodes and one sound node of one device, to be handed out together."""
    slot = f"0000:{0x70 + index:02x}:00.0"
    pci = tree.add(
        f"/devices/pci0000:00/{slot}",
        bus="pci",
        driver="capture",
        attrs={"vendor": "0x1131", "device": "0x7160", "class": "0x048000", "numa_node": -1},
        properties={"PCI_ID": "1131:7160", "PCI_SLOT_NAME": slot},
    )
    videos = [
        tree.add(
            f"{pci}/video4linux/video{number}",
            cls="video4linux",
            node=Node(f"video{number}", 81, number),
            attrs={"name": "Capture", "index": number % 2},
            links={"device": f"../../../{slot}"},
        )
        for number in (2 * index, 2 * index + 1)
    ]
    node = Node(f"snd/pcmC{index}D0c", 116, 24 + index)
    return [pci, *videos, tree.add(f"{pci}/sound/card{index}/pcmC{index}D0c", cls="sound", node=node)]


def disk(tree: Tree, index: int = 0) -> list[str]:
    """A loop device: a block device without a parent on any bus."""
    node = Node(f"loop{index}", 7, index, block=True)
    return [tree.add(f"/devices/virtual/block/loop{index}", cls="block", node=node, attrs={"size": 0, "ro": 0})]


def misc(tree: Tree, name: str = "fuse", minor: int = 229) -> list[str]:
    """A character device without a parent on any bus."""
    return [tree.add(f"/devices/virtual/misc/{name}", cls="misc", node=Node(name, 10, minor))]
