"""Whether one match of the configuration fits one RDMA device, and why not, in a sentence.

There are three answers: it fits, it does not, and a fact is missing. A missing fact fits nothing, and what a ``not`` holds then does
not fit, so its match may. But such an answer is not certain: an interface is not seen while a pod has it, and a port that is down has
no rate, which are no reasons to take a device from the resource that it belongs to.
"""

import re
from collections.abc import Callable, Iterable, Iterator

from msgspec import Struct
from msgspec.structs import fields

from supervisor import glob_pattern
from supervisor_infiniband import pci
from supervisor_infiniband.config import Match
from supervisor_infiniband.report import RdmaDevice

_MEMBERSHIP = 0x8000
"""The bit of a P_Key that tells full members of a partition from limited ones."""


class Answer(Struct, frozen=True):
    """What a match says of a device."""

    fits: bool
    reason: str = ""
    """Why it does not fit; where it fits without being certain, what is not known."""
    certain: bool = True
    """Whether no fact that is missing could turn it around."""


FITS = Answer(fits=True)

_FIELDS = fields(Match)


def answer(match: Match, device: RdmaDevice, pf: RdmaDevice | None = None) -> Answer:
    """Whether all that is given fits. ``pf`` is the physical function of a VF or SF, where it is an RDMA device itself."""
    doubt = FITS
    for each in _answers(match, device, pf):
        if each.certain and not each.fits:
            return each
        if not each.certain and doubt.fits:
            doubt = each
    return doubt


def words(match: Match) -> str:
    """A match in one line, in the words of the configuration: ``kind vf, pf ens1f0#0-3``."""
    return ", ".join(_words(match))


def _words(match: Match) -> Iterator[str]:
    for each in _FIELDS:
        value = getattr(match, each.name)
        if value in {(), None}:
            continue
        if each.name == "not_":
            yield from (f"not ({words(inner)})" for inner in value)
        elif isinstance(value, bool):
            yield f"{each.encode_name} {str(value).lower()}"
        elif isinstance(value, float):
            yield f"{each.encode_name} {value:g}"
        else:
            yield f"{each.encode_name} {' or '.join(str(one) for one in value)}"


def _answers(match: Match, device: RdmaDevice, pf: RdmaDevice | None) -> Iterator[Answer]:
    for fact in _FACTS:
        if wanted := getattr(match, fact.field):
            yield fact.answer(wanted, device)
    if match.rate is not None:
        yield _rate(match.rate, device)
    if match.pf:
        yield _pf(match.pf, device, pf)
    if match.has_vfs is not None:
        yield _has_vfs(device, wanted=match.has_vfs)
    for number, inner in enumerate(match.not_):
        yield _negated(number, inner, answer(inner, device, pf))


# --- facts that are lists of texts ------------------------------------------------------------------------------------------


class _Fact(Struct, frozen=True):
    """One field of a match: what a device has that may fit it, and how. An empty text stands for something that cannot be seen."""

    field: str
    word: str
    of: Callable[[RdmaDevice], Iterable[str]]
    fits: Callable[[str, str], bool]
    """A wanted text and a device's."""

    def answer(self, wanted: Iterable[str], device: RdmaDevice) -> Answer:
        found = tuple(self.of(device))
        known = tuple(dict.fromkeys(filter(None, found)))
        if any(self.fits(str(one), text) for one in wanted for text in known):
            return FITS
        if not known:
            return Answer(fits=False, reason=f"{self.word} is not known", certain=False)
        asked = [str(one) for one in wanted]
        verdict = f"is none of {', '.join(asked)}" if len(asked) > 1 else f"is not {asked[0]}"
        return Answer(fits=False, reason=f"{self.word} {', '.join(known)} {verdict}", certain=len(known) == len({*found}))


def _is_pattern_of(pattern: str, text: str) -> bool:
    return glob_pattern(pattern).match(text) is not None


def _is(wanted: str, text: str) -> bool:
    return wanted == text


def _is_hex(wanted: str, text: str) -> bool:
    return wanted.lower() == text.lower()


def _is_id(pattern: str, text: str) -> bool:
    return pci.normal(pattern) == text or _is_pattern_of(pattern.lower(), text.lower())


def _is_pkey(wanted: str, text: str) -> bool:
    return (int(wanted, 16) ^ int(text, 16)) & ~_MEMBERSHIP == 0


def _is_guid(pattern: str, text: str) -> bool:
    return _is_pattern_of(bare_guid(pattern), bare_guid(text))


def bare_guid(text: str) -> str:
    """A GUID, or a pattern of one, without what people put around its digits."""
    return text.lower().removeprefix("0x").replace(":", "")


def names_of(device: RdmaDevice) -> tuple[str, ...]:
    """Its id and its PCI address. An SF has that of the function that carries it, which is no address of its own."""
    return (device.id, device.pci) if device.pci and device.kind in {"pf", "vf"} else (device.id,)


def _interfaces(device: RdmaDevice) -> Iterator[str]:
    for port in device.ports:
        yield from (netdev.name for netdev in port.link.netdevs) if port.link.netdevs else ("",)


def _link_types(device: RdmaDevice) -> Iterator[str]:
    for port in device.ports:
        yield from (netdev.link_type for netdev in port.link.netdevs) if port.link.netdevs else ("",)


def _pkeys(device: RdmaDevice) -> Iterator[str]:
    for port in device.ports:
        yield from (f"{pkey:#06x}" for pkey in port.pkeys) if port.pkeys else ("",)


_FACTS = (
    _Fact("kind", "kind", lambda device: (device.kind,), _is),
    _Fact("id", "id", names_of, _is_id),
    _Fact("name", "name", lambda device: (device.name,), _is_pattern_of),
    _Fact("vendor", "vendor", lambda device: (device.vendor,), _is_hex),
    _Fact("device", "device", lambda device: (device.device,), _is_hex),
    _Fact("driver", "driver", lambda device: (device.driver,), _is_pattern_of),
    _Fact("interface", "interface", _interfaces, _is_pattern_of),
    _Fact("link_type", "link type", _link_types, _is),
    _Fact("link_layer", "link layer", lambda device: (port.link_layer for port in device.ports), _is),
    _Fact("pkey", "P_Key", _pkeys, _is_pkey),
    _Fact("guid", "GUID", lambda device: (device.node_guid, *(port.guid for port in device.ports)), _is_guid),
    _Fact("firmware", "firmware", lambda device: (device.firmware,), _is_pattern_of),
    _Fact("numa_node", "NUMA node", lambda device: ("" if device.numa_node is None else str(device.numa_node),), _is),
)
"""Those first that tell most to whoever wonders why a device is refused."""


# --- the others -------------------------------------------------------------------------------------------------------------


def _rate(wanted: float, device: RdmaDevice) -> Answer:
    rates = [port.rate if port.link.active else None for port in device.ports]
    known = [rate for rate in rates if rate is not None]
    if not known:
        return Answer(fits=False, reason="rate is not known, which only an active port tells", certain=False)
    if max(known) >= wanted:
        return FITS
    reason = f"rate {max(known):g} Gb/s is less than {wanted:g}, and only active ports count"
    return Answer(fits=False, reason=reason, certain=len(known) == len(rates))


def _pf(entries: tuple[str, ...], device: RdmaDevice, pf: RdmaDevice | None) -> Answer:
    if device.kind not in {"vf", "sf"}:
        return Answer(fits=False, reason="pf: it is no VF or SF of a physical function")
    names = {name for name in (*device.pf_netdevs, device.pf, *((pf.name, pf.pci) if pf else ())) if name}
    if any(_is_function(entry, names, device.index) for entry in entries):
        return FITS
    index = "index unknown" if device.index is None else f"index {device.index}"
    reason = f"PF {' = '.join(sorted(names)) or 'unknown'} with {index} is not {' or '.join(entries)}"
    return Answer(fits=False, reason=reason, certain=bool(device.pf_netdevs) and device.index is not None)


def _is_function(entry: str, names: Iterable[str], index: int | None) -> bool:
    """Whether ``ens1f0#0-3,7`` means the function with this index on the physical function with these names."""
    name, _, ranges = entry.partition("#")
    if not any(_is_id(name, each) if pci.normal(each) else _is_pattern_of(name, each) for each in names):
        return False
    if not ranges:
        return True
    spans = (re.fullmatch(r"([0-9]+)(?:-([0-9]+))?", span) for span in ranges.split(","))
    return index is not None and any(span and int(span[1]) <= index <= int(span[2] or span[1]) for span in spans)


def _has_vfs(device: RdmaDevice, *, wanted: bool) -> Answer:
    if wanted is (device.vfs > 0):
        return FITS
    return Answer(fits=False, reason=f"it has {device.vfs or 'no'} virtual function{'' if device.vfs == 1 else 's'}")


def _negated(number: int, match: Match, inner: Answer) -> Answer:
    if inner.fits:
        return Answer(fits=False, reason=f"not[{number}] fits it ({words(match)})", certain=inner.certain)
    return FITS if inner.certain else Answer(fits=True, reason=inner.reason, certain=False)
