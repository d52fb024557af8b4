"""Who has shared hardware, on the disk: an ``Allocate`` that takes a claim is answered when the claim stands here.

One file beside the owner's lock, so that whoever owns the node next finds it; a new one takes the place of the old one whole. It
counts for one boot of the node. Nothing is synced: it must outlive this process, not the node.
"""

import errno
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from supervisor.memories import boot_id
from supervisor.nodefiles import NodeFolder
from supervisor.ownership import HIDDEN_NAME
from supervisor.tenancy import Tenant

NAME = "claims.json"


class _File(msgspec.Struct, frozen=True, rename="camel"):
    boot_id: str
    claims: dict[str, Tenant]


class TenancyFile:
    """The file of one device-plugins directory. Only the owner writes it, from one thread at a time.

    ``owns`` says whether this process owns the directory at its path now; it is called in the writing thread.
    """

    def __init__(self, directory: Path, proc: str, owns: Callable[[], bool]) -> None:
        self._folder = NodeFolder(str(directory / HIDDEN_NAME))
        self._boot_id = boot_id(proc)[0] or ""
        """Where it is not known, claims outlast a boot of the node, until the ledger shows them free."""
        self._owns = owns

    def read(self, now: float) -> Mapping[str, Tenant]:
        """What was written last, in this boot; nothing where that cannot be read. No time in it is later than ``now``."""
        try:
            read = msgspec.json.decode(self._folder.read(NAME) or b"", type=_File)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return {}
        if read.boot_id != self._boot_id:
            return {}
        return {claim: msgspec.structs.replace(tenant, at=min(tenant.at, now)) for claim, tenant in read.claims.items()}

    def write(self, claims: Mapping[str, Tenant]) -> None:
        """Raises ``OSError``, also where this process does not own the directory."""
        if not self._owns():
            raise OSError(errno.EPERM, "this process does not own the node")
        self._folder.sweep(NAME.__eq__)
        self._folder.write(NAME, msgspec.json.encode(_File(self._boot_id, dict(claims)), order="deterministic"), 0o600)
