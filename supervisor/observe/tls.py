"""The TLS side of the HTTP server: a context made of certificate, key and the authorities of clients."""

import ssl

from supervisor.config import TlsConfig
from supervisor.observe.rotation import read_small

_MISMATCH = "KEY_VALUES_MISMATCH"


def server_context(tls: TlsConfig, client_ca: str | None) -> ssl.SSLContext:
    """Raises ``OSError``, or ``ValueError`` with what to mend. Reads files and computes: not for the main loop.

    A client may stay without a certificate, since the kubelet's probes have none; one that is shown must be good.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Every connection shows its certificate anew; with no session to be kept for later, none takes memory.
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_NO_TICKET
    context.num_tickets = 0
    context.set_alpn_protocols(["http/1.1"])
    _load_pair(context, tls)
    if client_ca is not None:
        context.verify_mode = ssl.CERT_OPTIONAL
        _load_authorities(context, client_ca)
    return context


def _load_pair(context: ssl.SSLContext, tls: TlsConfig) -> None:
    for path in (tls.cert_file, tls.key_file):
        read_small(path)  # OpenSSL would wait for a named pipe, and names no file in its errors
    try:
        context.load_cert_chain(tls.cert_file, tls.key_file, password=_no_passphrase)
    except ssl.SSLError as error:
        if error.reason == _MISMATCH:
            raise ValueError(f"the key in {tls.key_file} does not belong to the certificate in {tls.cert_file}") from None
        raise ValueError(f"{tls.cert_file} and {tls.key_file} are no certificate and key in PEM: {_words(error)}") from None


def _no_passphrase() -> str:
    raise ValueError("the key has a passphrase: give one without")


def _load_authorities(context: ssl.SSLContext, path: str) -> None:
    text = read_small(path).decode("ascii", "ignore")  # between certificates there may be names in any language
    if not text.strip():
        raise ValueError(f"{path} is empty")
    try:
        context.load_verify_locations(cadata=text)
    except ssl.SSLError as error:
        raise ValueError(f"{path} holds no certificates in PEM: {_words(error)}") from None
    if not context.cert_store_stats()["x509_ca"]:
        raise ValueError(f"{path} holds no certificate of an authority")


def _words(error: ssl.SSLError) -> str:
    return (error.reason or "unreadable").replace("_", " ").lower()
