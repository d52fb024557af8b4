"""Certificates for tests, made with the ``openssl`` command."""

import os
import ssl
import subprocess
from pathlib import Path
from typing import NamedTuple

from supervisor.config import TlsConfig

_CONFIG = "[req]\ndistinguished_name = name\n[name]\n"
_USES = {"server": ("serverAuth", "subjectAltName=IP:127.0.0.1"), "client": ("clientAuth", "subjectAltName=DNS:client")}


class Pair(NamedTuple):
    """A certificate and its key, as files in PEM."""

    certificate: Path
    key: Path

    @property
    def config(self) -> TlsConfig:
        """The same, for a server."""
        return TlsConfig(str(self.certificate), str(self.key))


class Authority:
    """Signs certificates; its own is the file ``certificate``."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._folder = folder
        self._name = name
        self._config = folder / f"{name}.cnf"
        self._config.write_text(_CONFIG)
        self.certificate, self._key = self._make(name, "basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign")

    def sign(self, use: str, name: str = "") -> Pair:
        """A new certificate for a ``server`` at 127.0.0.1 or a ``client``."""
        purpose, names = _USES[use]
        authority = ("-CA", self.certificate, "-CAkey", self._key)
        extensions = ("basicConstraints=critical,CA:FALSE", f"extendedKeyUsage={purpose}", names)
        return self._make(name or f"{self._name}-{use}", *extensions, options=authority)

    def context(self, client: Pair | None = None) -> ssl.SSLContext:
        """What a client needs that trusts this authority and may have a certificate itself."""
        made = ssl.create_default_context(cafile=self.certificate)
        if client is not None:
            made.load_cert_chain(*client)
        return made

    def _make(self, name: str, *extensions: str, options: tuple[str | Path, ...] = ()) -> Pair:
        made = Pair(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        wanted = [word for extension in extensions for word in ("-addext", extension)]
        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        files: list[str | Path] = ["-config", self._config, "-out", made.certificate, "-keyout", made.key]
        command: list[str | Path] = [
            "openssl",
            "req",
            "-x509",
            *curve,
            "-days",
            "2",
            "-subj",
            f"/CN={name}",
            *files,
            *wanted,
            *options,
        ]
        subprocess.run(command, check=True, capture_output=True, timeout=30)
        return made


def put(path: Path, data: bytes) -> None:
    """Replace a file in one step, as those who rotate secrets do."""
    new = path.with_name(path.name + ".new")
    new.write_bytes(data)
    new.rename(path)


def publish(folder: Path, version: str, files: dict[str, bytes]) -> None:
    """Put files into a folder as the kubelet mounts a Secret: links through ``..data``, which is swapped."""
    (folder / version).mkdir(parents=True)
    for name, data in files.items():
        (folder / version / name).write_bytes(data)
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"..data/{name}")
    new = folder / "..data_tmp"
    new.symlink_to(version)
    os.replace(new, folder / "..data")
