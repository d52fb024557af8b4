"""k8s-rdma-shared-dev-plugin: its ``config.json``, each resource as a pool whose every unit is all of its devices, as there.

Source of the keys: ``pkg/types/types.go`` and ``pkg/resources/resources_manager.go`` of github.com/Mellanox/k8s-rdma-shared-dev-plugin.
"""

from supervisor import Translation
from supervisor_infiniband.config import MAX_REPLICAS
from supervisor_infiniband.importing.pools import FEWER_NODES, Narrowing, Pools
from supervisor_infiniband.importing.reading import Reader

DEFAULT_PREFIX = "rdma"

_KINDS = ("pf", "vf")
"""It looks at network controllers of PCI and at nothing else."""


def translate(source: object) -> Translation:
    """Raises ``SourceRefused`` where something is of a wrong type."""
    pools = Pools()
    root = Reader(source, (), pools.problems)
    for entry in pools.few(root.mappings("configList"), root.at("configList")):
        _resource(entry, pools)
    if root.number("periodicUpdateInterval") is not None:
        text = "The kernel's events tell of devices that come and go. lookInterval of the section is how often it is looked without one."
        pools.note(text, root.at("periodicUpdateInterval"))
    if root.text("kubeletRootDir"):
        text = "Of another kubelet's root say kubelet.devicePluginsDir and kubelet.podResourcesSocket, beside plugins."
        pools.note(text, root.at("kubeletRootDir"))
    pools.leave(root)
    if "configList" not in root:
        pools.lose("There is no configList: is this a file of k8s-rdma-shared-dev-plugin?", ())
    text = (
        "Each container gets all devices of its pool, as there. With mode: shared in place of pool it gets one device for each unit, with "
        "its NUMA node, and replicas counts for each device."
    )
    pools.note(text, root.at("configList"))
    pools.note(FEWER_NODES, root.at("configList"))
    if len(pools) > 1:
        pools.note("There a device may be in several resources. Here it is in the first that takes it.", root.at("configList"))
    return pools.translation()


def _resource(entry: Reader, pools: Pools) -> None:
    name = f"{entry.text('resourcePrefix') or DEFAULT_PREFIX}/{entry.text('resourceName')}"
    selectors = pools.few(entry.mappings("selectors", or_one=True), entry.at("selectors"))
    narrowing = Narrowing(selectors[0] if selectors else Reader({}, entry.at("selectors"), pools.problems), pools, _KINDS)
    narrowing.ids("vendors", "vendor")
    narrowing.ids("deviceIDs", "device")
    narrowing.names("drivers", "driver")
    narrowing.names("ifNames", "interface")
    narrowing.link_types()
    selected = len(narrowing.facts) > 1 or narrowing.impossible
    older = Narrowing(entry, pools, _KINDS)
    older.names("devices", "interface")
    replicas = _replicas(entry, pools)
    pools.leave(entry, *selectors)
    facts = narrowing.facts | older.facts
    if selected and "devices" in entry and entry.texts("devices"):
        pools.lose(f"{name} has both selectors and devices, which that plugin refuses: it is left out.", entry.place)
    elif len(facts) == 1 or narrowing.impossible or older.impossible:
        pools.lose(
            f"{name} names no devices, which that plugin refuses, or none that there can be: it is left out.", entry.place
        )
    elif replicas:
        pools.add({"name": name, "mode": "pool", "replicas": replicas, "match": [facts]}, entry.place)


def _replicas(entry: Reader, pools: Pools) -> int:
    """0: the resource has none."""
    wanted = entry.number("rdmaHcaMax") or 0
    if wanted <= 0:
        pools.lose("Without an rdmaHcaMax above 0 there is nothing to give: the resource is left out.", entry.at("rdmaHcaMax"))
    elif wanted > MAX_REPLICAS:
        pools.lose(f"More than {MAX_REPLICAS} units are not offered: it is {MAX_REPLICAS}.", entry.at("rdmaHcaMax"))
    return max(0, min(wanted, MAX_REPLICAS))
