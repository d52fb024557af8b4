"""Certificates, keys and authorities as files: what is of use, and what is said of the rest."""

import ssl
import subprocess
from pathlib import Path

import pytest

from supervisor.config import TlsConfig
from supervisor.observe.tls import server_context
from tests.observe.certificates import Authority

pytestmark = pytest.mark.requires("openssl")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Who signs."""
    return Authority(tmp_path)


def test_a_context_asks_for_what_is_configured(authority: Authority) -> None:
    """At least TLS 1.2; a certificate of the client is asked for only where somebody signs them, and never demanded."""
    pair = authority.sign("server")
    plain = server_context(pair.config, None)
    assert (plain.minimum_version, plain.verify_mode) == (ssl.TLSVersion.TLSv1_2, ssl.CERT_NONE)
    asking = server_context(pair.config, str(authority.certificate))
    assert (asking.minimum_version, asking.verify_mode) == (ssl.TLSVersion.TLSv1_2, ssl.CERT_OPTIONAL)


def test_a_bundle_may_hold_words_between_its_certificates(authority: Authority, tmp_path: Path) -> None:
    """As the bundles of distributions do."""
    bundle = tmp_path / "bundle"
    other = Authority(tmp_path, "other")
    bundle.write_bytes("# Stückle é\n".encode().join(made.certificate.read_bytes() for made in (authority, other)))
    context = server_context(authority.sign("server").config, str(bundle))
    assert context.cert_store_stats()["x509_ca"] == 2


def test_a_key_with_a_passphrase_is_refused(authority: Authority, tmp_path: Path) -> None:
    """Nobody is there who could be asked for it."""
    pair, locked = authority.sign("server"), tmp_path / "locked.key"
    command = f"openssl pkey -in {pair.key} -out {locked} -aes256 -passout pass:secret"
    subprocess.run(command.split(), check=True, capture_output=True, timeout=30)
    with pytest.raises(ValueError, match="the key has a passphrase: give one without"):
        server_context(TlsConfig(str(pair.certificate), str(locked)), None)


def test_each_file_that_is_of_no_use_is_named(authority: Authority, tmp_path: Path) -> None:
    """With what is wrong with it."""
    pair, junk, leaf = authority.sign("server"), tmp_path / "junk", authority.sign("client").certificate
    junk.write_bytes(b"\xff junk")
    with pytest.raises(ValueError, match=f"{junk} and {pair.key} are no certificate and key in PEM"):
        server_context(TlsConfig(str(junk), str(pair.key)), None)
    with pytest.raises(ValueError, match=f"{junk} holds no certificates in PEM"):
        server_context(pair.config, str(junk))
    for empty in (b"", b"\n\xff"):
        junk.write_bytes(empty)
        with pytest.raises(ValueError, match=f"{junk} is empty"):
            server_context(pair.config, str(junk))
    with pytest.raises(ValueError, match=f"{leaf} holds no certificate of an authority"):
        server_context(pair.config, str(leaf))
    with pytest.raises(FileNotFoundError, match="missing"):
        server_context(TlsConfig(str(pair.certificate), str(tmp_path / "missing")), None)
