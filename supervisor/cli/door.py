"""Where a running supervisor is asked, and what both sides show each other: addresses, certificates, tokens."""

import argparse
import ssl
from ipaddress import ip_address
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from msgspec import Struct

from supervisor.cli.survey import add_config_argument, load_config
from supervisor.config import HttpConfig
from supervisor.errors import ConfigError

MOST_FILE_BYTES = 65536
"""Of a token file or a certificate."""

_LOOPBACK = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # nothing is bound here
_CERTIFICATE_END = "-----END CERTIFICATE-----"


class Door(Struct, frozen=True):
    """Where, and with what."""

    url: str
    """Without the path of a page, which follows."""
    ca: str = ""
    """The file of those who may vouch for the server; empty: whom the machine trusts."""
    pinned: str = ""
    """The one certificate, in PEM, that the server must show, whatever names are in it."""
    cert: str = ""
    """The file of the certificate to show the server."""
    key: str = ""
    """The file of its key; empty: it is in the same file."""
    token: str = ""

    @classmethod
    def of(cls, args: argparse.Namespace, configured: HttpConfig | None = None) -> Self:
        """Where the arguments say, else where the configuration says, which is read where none is given.

        Raises ``ConfigError`` for what cannot be used.
        """
        if args.key and not args.cert:
            raise ConfigError(("--key: a key without its certificate is of no use; --cert FILE names that",))
        if args.address:
            url, pinned, tokens = url_of(args.address, secure=bool(args.ca or args.cert)), "", None
        else:
            http = configured or load_config(args).config.http
            url, pinned = _own_url(http), _first_certificate(http.tls.cert_file) if http.tls and not args.ca else ""
            tokens = http.auth and http.auth.bearer_token_file
        tokens = args.token_file or tokens
        door = cls(url, args.ca or "", pinned, args.cert or "", args.key or "", _first_token(tokens) if tokens else "")
        if door.token and not door.safe:
            raise ConfigError((f"{url}: a token is not sent over plain HTTP; is there no https:// address?",))
        return door

    @property
    def secure(self) -> bool:
        return self.url.startswith("https://")

    @property
    def safe(self) -> bool:
        """Whether nobody on the way can read what is sent."""
        host = urlsplit(self.url).hostname or ""
        try:
            return self.secure or ip_address(host.partition("%")[0]).is_loopback
        except ValueError:
            return host == "localhost"

    def context(self) -> ssl.SSLContext:
        """What judges the server's certificate, and shows ours. Raises ``ConfigError`` for files that cannot be used."""
        try:
            context = ssl.create_default_context(cafile=self.ca or None, cadata=self.pinned or None)
        except (OSError, ValueError) as error:
            file = self.ca or "http.tls.certFile"
            raise ConfigError((f"{file}: no certificate can be read from it: {_words(error)}",)) from None
        if self.ca or self.pinned:
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # what is named is trusted, an authority's or not
        # Its names are those that others know the server by; that it is the server with this file is proof enough.
        context.check_hostname = not self.pinned
        try:
            if self.cert:
                context.load_cert_chain(self.cert, self.key or None)
        except (OSError, ValueError) as error:
            raise ConfigError((f"{self.cert}: cannot be shown to the server: {_words(error)}",)) from None
        return context


def add_door_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the commands that ask a running supervisor."""
    add_config_argument(parser)
    group = parser.add_argument_group("the running supervisor", "by default the one on this machine with this configuration")
    group.add_argument("--address", metavar="URL", type=_address, help="ADDR:PORT, :PORT, http://… or https://… of another")
    group.add_argument("--ca", metavar="FILE", help="who vouches for its certificate, or the certificate itself (PEM)")
    group.add_argument("--cert", metavar="FILE", help="client certificate to show it (PEM)")
    group.add_argument("--key", metavar="FILE", help="key of that, where it is not in the same file")
    group.add_argument("--token-file", metavar="FILE", help="file with the bearer token to send it")


def url_of(address: str, *, secure: bool = False) -> str:
    """From ``address:port`` or a URL, which may name the page, too. Raises ``ValueError`` for anything else."""
    if "://" not in address:
        return _url(HttpConfig(address), secure=secure)
    parts = urlsplit(address)
    if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc or parts.port == 0:
        raise ValueError(f"Expected a URL like https://node.example:9410, got {address!r}")
    return f"{parts.scheme}://{parts.netloc}{parts.path.removesuffix('/status').rstrip('/')}"


def _address(text: str) -> str:
    try:
        url_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error).removeprefix("listen: ")) from None
    return text


def _own_url(http: HttpConfig) -> str:
    if http.address[1] == 0:
        raise ConfigError(("http.listen: port 0 stands for any; its log says which one it is, name that with --address",))
    return _url(http, secure=http.tls is not None)


def _url(http: HttpConfig, *, secure: bool) -> str:
    host, port = http.address
    host = _LOOPBACK.get(host, host)
    return f"{'https' if secure else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"


def _first_token(file: str) -> str:
    token = next((line.strip() for line in _text(file).splitlines() if line.strip()), "")
    if not token or not (token.isascii() and token.isprintable()):
        raise ConfigError((f"{file}: its first line must be a token, of printable ASCII characters",))
    return token


def _first_certificate(file: str) -> str:
    """The server's own: those of who vouches for it follow it."""
    text, end, _ = _text(file).partition(_CERTIFICATE_END)
    return text + end


def _text(file: str) -> str:
    try:
        with Path(file).open("rb") as opened:
            return opened.read(MOST_FILE_BYTES).decode("ascii", "replace")
    except OSError as error:
        raise ConfigError((f"{file}: cannot be read: {error.strerror or error}",)) from None


def _words(error: Exception) -> str:
    """What the operating system or OpenSSL says, without its numbers."""
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).partition(" (_ssl.c")[0]
