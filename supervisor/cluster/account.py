"""Where the API server is and who we are, as the kubelet tells every container: two variables and three files.

The files are read anew for each request: the kubelet replaces the token before it ends, and a cluster may change its CA.
Source: Kubernetes' documentation, "Accessing the Kubernetes API from a Pod".
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from supervisor.cluster.api import ApiUnavailable

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
MOST_BYTES = 1 << 20
"""Of one file. A token has about 1 KiB, a bundle of certificates some more."""
_HOST = re.compile(r"[0-9A-Za-z]([-.0-9A-Za-z]*[0-9A-Za-z])?|[0-9A-Fa-f:.]+")
_PORT = re.compile(r"[0-9]{1,5}")


class Access(Struct, frozen=True):
    """All that is needed for one request."""

    url: str
    """``https://host:port``"""
    token: str
    authorities: str
    """Certificates in PEM, one of which must have signed the server's."""


class Account:
    """The service account of this pod. Another directory and other variables are for tests."""

    def __init__(self, directory: Path = SERVICE_ACCOUNT, environ: Mapping[str, str] = os.environ) -> None:
        self._directory = directory
        self._environ = environ

    def read(self) -> Access:
        """What is valid now. Blocks on files. Raises ``ApiUnavailable`` with what is missing and its cure."""
        url = self._url()
        token = self._file("token").strip()
        if not token.isascii() or not token.isprintable() or not token or " " in token:
            raise ApiUnavailable(f"{self._directory / 'token'} holds no token")
        return Access(url, token, self._file("ca.crt"))

    def _url(self) -> str:
        host, port = (self._environ.get(f"KUBERNETES_SERVICE_{part}", "") for part in ("HOST", "PORT"))
        if not _HOST.fullmatch(host) or not _PORT.fullmatch(port):
            raise ApiUnavailable("no cluster: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT do not say where it is")
        return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"

    def _file(self, name: str) -> str:
        path = self._directory / name
        try:
            with path.open("rb") as file:
                text = file.read(MOST_BYTES + 1)
        except OSError as error:
            cure = "the pod needs a service account whose token is mounted"
            raise ApiUnavailable(f"{path} cannot be read ({error.strerror}): {cure}") from error
        if len(text) > MOST_BYTES:
            raise ApiUnavailable(f"{path} is longer than {MOST_BYTES} bytes")
        return text.decode("utf-8", "replace")
