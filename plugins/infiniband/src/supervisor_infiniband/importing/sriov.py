"""sriov-network-device-plugin: of its ``config.json`` the resources with ``isRdma``, each device to one container, as there.

There, a device belongs to the first resource in the file that takes it, as here. So what a resource takes that cannot be translated is
denied to those after it: else two plugins would give out the same device.
Source of the keys: ``pkg/types/types.go`` and the README of github.com/k8snetworkplumbingwg/sriov-network-device-plugin.
"""

import re
from collections.abc import Iterator, Mapping, Sequence

from supervisor import Translation
from supervisor_infiniband.config import function_problem
from supervisor_infiniband.environment import pcidevice
from supervisor_infiniband.importing.pools import FEWER_NODES, Facts, Narrowing, Pools, exact
from supervisor_infiniband.importing.reading import Reader

DEFAULT_PREFIX = "intel.com"

_KINDS: Mapping[str, tuple[str, ...]] = {"netdevice": ("pf", "vf"), "auxnetdevice": ("sf",)}
"""By deviceType, whose case counts nowhere."""
_IN_USER_SPACE = frozenset({"vfio-pci", "uio_pci_generic", "igb_uio"})
"""Drivers that leave a function to a program. It has no RDMA device then."""
_PKEY = re.compile(r"0[xX][0-9A-Fa-f]{1,4}")
_REGULAR = frozenset("^$*+?()[]|\\")
_OF_PARTS: Mapping[str, str] = {"mlx5_ib": "mlx5_core", "mlx4_ib": "mlx4_core", "bnxt_re": "bnxt_en"}
"""RDMA drivers that are taken for those of PCI functions, as in their own example. Nothing fits them, there as here."""
_KEEP = "Keep the other plugin for it"


def translate(source: object) -> Translation:
    """Raises ``SourceRefused`` where something is of a wrong type."""
    pools = Pools()
    root = Reader(source, (), pools.problems)
    denied: list[Facts] = []
    entries = pools.few(root.mappings("resourceList"), root.at("resourceList"))
    for entry in entries:
        _resource(entry, pools, denied)
    pools.leave(root)
    if "resourceList" not in root:
        pools.lose("There is no resourceList: is this a file of sriov-network-device-plugin?", ())
    if any("resourcePrefix" not in entry for entry in entries):
        text = f"Without resourcePrefix, {DEFAULT_PREFIX} is taken. Where that plugin runs with --resource-prefix, write that."
        pools.note(text, root.at("resourceList"))
    pools.note(FEWER_NODES, root.at("resourceList"))
    return pools.translation()


def _resource(entry: Reader, pools: Pools, denied: list[Facts]) -> None:
    name = f"{entry.text('resourcePrefix') or DEFAULT_PREFIX}/{entry.text('resourceName')}"
    kind = entry.text("deviceType") or "netDevice"
    rdma = entry.flag("isRdma")
    selectors = pools.few(entry.mappings("selectors", or_one=True), entry.at("selectors"))
    matches: list[Facts] = []
    for selector in selectors or (Reader({}, entry.at("selectors"), pools.problems),):
        matches += _selected(selector, kind, pools, denied, rdma=rdma)
    _besides(entry, name, pools)
    pools.leave(entry)
    pool = {"name": name, "match": matches, "pcideviceInfo": True}
    if matches and not pools.add(pool | ({"deviceInfo": True} if kind.lower() == "netdevice" else {}), entry.place):
        denied += matches


def _besides(entry: Reader, name: str, pools: Pools) -> None:
    """What is said of a resource besides its devices."""
    if entry.flag("excludeTopology"):
        text = "The kubelet is always told the NUMA node. Choose another policy of its Topology Manager, if that is in the way."
        pools.lose(text, entry.at("excludeTopology"))
    if "additionalInfo" in entry:
        pools.lose("Nothing can be added to PCIDEVICE_…_INFO. Give it to the pod by a ConfigMap.", entry.at("additionalInfo"))
    theirs = "PCIDEVICE_" + re.sub(r"[./]", "_", name.upper())
    if theirs != pcidevice(name):
        pools.note(f"The variable {theirs}, which no shell can read, is {pcidevice(name)} here.", entry.place)
    if "isRdma" in entry:
        text = "Newer releases read isRdma among the selectors alone; it is taken as it was meant."
        pools.note(text, entry.at("isRdma"))


def _selected(selector: Reader, kind: str, pools: Pools, denied: list[Facts], *, rdma: bool) -> Iterator[Facts]:
    """The match of one selector, if it has one. What it takes without one is denied to all after it."""
    kinds = _KINDS.get(kind.lower())
    if kinds is None:
        pools.lose(f"It is of the deviceType {kind}, which has no RDMA devices. {_KEEP}.", selector.place)
        return
    narrowing = Narrowing(selector, pools, kinds)
    narrowing.ids("vendors", "vendor")
    narrowing.ids("devices", "device")
    narrowing.names("drivers", "driver", _IN_USER_SPACE)
    for number, name in enumerate(selector.texts("drivers")):
        if name in _OF_PARTS:
            pools.note(
                f"{name} drives a part of a function, which itself has {_OF_PARTS[name]}.", (*selector.at("drivers"), number)
            )
    _functions(selector, narrowing, pools)
    narrowing.link_types()
    why = [*_reasons(selector, kinds, narrowing, pools, rdma=rdma)]
    pools.leave(selector)
    if narrowing.impossible:
        pools.lose("Nothing of this selector can fit an RDMA device: it is left out.", selector.place)
    elif why:
        pools.lose(
            f"This selector is left out: {'; '.join(why)}. {_KEEP}; what it takes, no resource below it gets.", selector.place
        )
        denied += [narrowing.facts] * (narrowing.facts not in denied)
    else:
        if "pf" in kinds and not narrowing.facts.keys() & {"pf", "id"}:
            text = "A physical function with the node's default route is left out there, and not here: not: [{interface: [its name]}]."
            pools.note(text, selector.place)
        alike = [each for each in denied if _may_meet(each, narrowing.facts)]
        negated = [*narrowing.facts.pop("not", ()), *alike]
        yield narrowing.facts | ({"not": negated} if negated else {})


def _may_meet(one: Facts, other: Facts) -> bool:
    """Whether a device can fit both: it has one kind, one vendor, one number of a model, and one driver."""
    return all(
        {value.lower() for value in one[key]} & {value.lower() for value in other[key]}
        for key in ("kind", "vendor", "device", "driver")
        if key in one and key in other
    )


def _functions(selector: Reader, narrowing: Narrowing, pools: Pools) -> None:
    """``pfNames`` and ``rootDevices``. Both of them may be given, and then both must fit: the second one as what must not not fit."""
    names = narrowing.checked("pfNames", "pf", function_problem, _function)
    for number, name in enumerate(selector.texts("pfNames")):
        if _REGULAR & set(name.partition("#")[0]):
            pools.note(f"{name!r:.80} is taken as a name, not as a regular expression.", (*selector.at("pfNames"), number))
    roots = narrowing.checked("rootDevices", "roots", function_problem, _function)
    narrowing.facts.pop("roots", None)
    if names and roots:
        narrowing.facts["not"] = [{"not": [{"pf": [*roots]}]}]
    elif roots:
        narrowing.facts["pf"] = [*roots]


def _function(text: str) -> str:
    name, sign, ranges = text.partition("#")
    return f"{exact(name)}{sign}{ranges}"


def _reasons(selector: Reader, kinds: Sequence[str], narrowing: Narrowing, pools: Pools, *, rdma: bool) -> Iterator[str]:
    """Why what a selector takes cannot be taken here; what cannot be given with it, is said on the way."""
    if not selector.flag("isRdma") and not rdma:
        yield "it has no isRdma, so that it is for networks alone"
    if selector.texts("acpiIndexes"):
        yield "devices cannot be told by acpiIndexes here (name their PCI addresses: id)"
    if "sf" in kinds:
        types = selector.texts("auxTypes")
        if types and "sf" not in types:
            yield f"of the auxTypes only sf has RDMA devices of its own, not {', '.join(types)}"
        return
    narrowing.names("pciAddresses", "id")
    if selector.texts("ddpProfiles"):
        yield "devices cannot be told by ddpProfiles here"
    if selector.text("vdpaType"):
        yield "vDPA is not offered here"
    if selector.flag("needVhostNet"):
        text = "/dev/vhost-net and /dev/net/tun are not given. The plugin generic can offer them, as a resource of their own."
        pools.lose(text, selector.at("needVhostNet"))
    if narrowing.checked("pKeys", "pkey", lambda text: "" if _PKEY.fullmatch(text) else "is no P_Key like 0x8001"):
        pools.note("It may stand at any index here, not only at 0, for full and limited members alike.", selector.at("pKeys"))
