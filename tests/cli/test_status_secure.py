"""``status`` and a protected supervisor: who vouches for it, what is shown to it, and to whom nothing is shown."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.cli.door import Door, url_of
from supervisor.config import API_VERSION, KIND
from tests.cli.canned import Canned, Certificate, Handler, canned, edited
from tests.cli.conftest import Run

TOKEN = "s3cr3t"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture(scope="module")
def named(folder: Path) -> Certificate:
    """For the address that the tests ask."""
    return Certificate(folder, "named", "IP:127.0.0.1")


@pytest.fixture(scope="module")
def elsewhere(folder: Path) -> Certificate:
    """For another name, as a node's certificate is on the node itself."""
    return Certificate(folder, "elsewhere", "DNS:node-1.example")


@pytest.fixture
def guarded() -> Iterator[Canned]:
    """Answers those who know the token."""

    def answer(handler: Handler) -> None:
        if handler.headers.get("authorization") == f"Bearer {TOKEN}":
            handler.send(edited())
        else:
            handler.send(b"", 401, www_authenticate="Bearer")

    with canned(answer) as server:
        yield server


def _config(file: Path, **http: Any) -> tuple[str, str]:
    file.write_text(json.dumps({"apiVersion": API_VERSION, "kind": KIND, "http": http}))
    return "--config", str(file)


def _tls(server: Canned, certificate: Certificate) -> dict[str, Any]:
    files = {"certFile": str(certificate.cert), "keyFile": str(certificate.key)}
    return {"listen": f":{server.port}", "tls": files}


# --- tokens -----------------------------------------------------------------------------------------------------------


def test_a_token_opens(status: Run, guarded: Canned, tmp_path: Path) -> None:
    """The first line of the file, without the blanks around it; without one the cure is told."""
    file = tmp_path / "tokens"
    file.write_text(f"\n {TOKEN} \nanother\n")
    assert status("--address", guarded.url).err.endswith(
        "--token-file FILE sends a token, --cert FILE shows a client certificate\n"
    )
    assert status("--address", guarded.url, "--token-file", str(file)).code == 0
    file.write_text("wrong\n")
    assert "another token, with --token-file" in status("--address", guarded.url, "--token-file", str(file)).err


def test_the_token_of_the_configuration_is_sent_to_its_own_supervisor_alone(
    status: Run, guarded: Canned, tmp_path: Path
) -> None:
    """Another that ``--address`` names never gets it."""
    file = tmp_path / "tokens"
    file.write_text(TOKEN)
    auth = {"bearerTokenFile": str(file)}
    config = _config(tmp_path / "config.yaml", listen=f"127.0.0.1:{guarded.port}", auth=auth)
    assert status(*config).code == 0
    assert status(*config, "--address", guarded.url).code == 1
    assert "authorization" not in guarded.seen[-1]


@pytest.mark.parametrize("text", ["", "\n \n", "two words\x00", "tökén"])
def test_what_is_no_token_is_told(status: Run, tmp_path: Path, text: str) -> None:
    """An empty file, control characters, letters that no header takes."""
    file = tmp_path / "tokens"
    file.write_text(text)
    said = status("--address", ":1", "--token-file", str(file))
    assert (said.code, said.err) == (2, f"{file}: its first line must be a token, of printable ASCII characters\n")


def test_a_token_is_not_sent_where_anybody_could_read_it(status: Run, tmp_path: Path) -> None:
    """Plain HTTP is for this machine alone."""
    file = tmp_path / "tokens"
    file.write_text(TOKEN)
    said = status("--address", "192.0.2.1:9410", "--token-file", str(file))
    assert (said.code, said.err) == (
        2,
        "http://192.0.2.1:9410: a token is not sent over plain HTTP; is there no https:// address?\n",
    )


# --- certificates -----------------------------------------------------------------------------------------------------

tls = pytest.mark.requires("openssl")


@tls
def test_who_vouches_is_named(status: Run, named: Certificate, elsewhere: Certificate) -> None:
    """``--ca``, which may be the certificate itself; without it, or with another's, the server is not trusted."""
    with canned(edited(), named.context()) as server:
        assert status("--address", server.url, "--ca", str(named.cert)).code == 0
        assert status("--address", f"127.0.0.1:{server.port}", "--ca", str(named.cert)).code == 0
        for more in ([], ["--ca", str(elsewhere.cert)]):
            said = status("--address", server.url, *more)
            assert said.code == 1
            assert "certificate verify failed: self-signed certificate; --ca FILE names who vouches for it" in said.err
        assert len(server.seen) == 2


@tls
def test_a_certificate_for_another_name_is_refused(status: Run, elsewhere: Certificate) -> None:
    """The name to ask for is told."""
    with canned(edited(), elsewhere.context()) as server:
        said = status("--address", server.url, "--ca", str(elsewhere.cert))
    assert said.code == 1
    assert "certificate is not valid for '127.0.0.1'" in said.err
    assert "--address the name in its certificate" in said.err
    assert server.seen == []


@tls
def test_the_own_supervisor_is_known_by_its_file(
    status: Run, tmp_path: Path, named: Certificate, elsewhere: Certificate
) -> None:
    """On the node itself its certificate is trusted, whatever names are in it, and no other's."""
    with canned(edited(), elsewhere.context()) as server:
        assert status(*_config(tmp_path / "a.yaml", **_tls(server, elsewhere))).code == 0
        said = status(*_config(tmp_path / "b.yaml", **_tls(server, named)))
    assert said.code == 1
    assert "certificate verify failed" in said.err
    assert len(server.seen) == 1


@tls
def test_those_who_vouch_for_the_own_certificate_vouch_for_no_other(
    status: Run, tmp_path: Path, named: Certificate, elsewhere: Certificate
) -> None:
    """A file holds the server's certificate first; what follows is not taken for the server."""
    chain = tmp_path / "chain.pem"
    chain.write_text(named.cert.read_text() + elsewhere.cert.read_text())
    with canned(edited(), elsewhere.context()) as server:
        http = _tls(server, named)
        said = status(*_config(tmp_path / "a.yaml", **{**http, "tls": {**http["tls"], "certFile": str(chain)}}))
    assert said.code == 1
    assert server.seen == []


@tls
def test_a_client_certificate_is_shown(status: Run, named: Certificate, elsewhere: Certificate) -> None:
    """Where the server wants one; without it the cure is told."""
    with canned(edited(), named.context(clients=elsewhere)) as server:
        asked = ("--address", server.url, "--ca", str(named.cert))
        assert status(*asked, "--cert", str(elsewhere.cert), "--key", str(elsewhere.key)).code == 0
        said = status(*asked)
    assert said.code == 1
    assert "client certificate (--cert FILE)" in said.err


@tls
def test_a_key_of_another_certificate_is_told(status: Run, named: Certificate, elsewhere: Certificate) -> None:
    """Before anybody is asked."""
    said = status("--address", "https://127.0.0.1:1", "--cert", str(named.cert), "--key", str(elsewhere.key))
    assert said.code == 2
    assert said.err.startswith(f"{named.cert}: cannot be shown to the server: ")


@tls
def test_the_wrong_scheme_is_told(status: Run, named: Certificate) -> None:
    """TLS where plain HTTP is spoken, and the other way round."""
    with canned(edited(), named.context()) as server:
        said = status("--address", f"http://127.0.0.1:{server.port}")
        assert said.code == 1
        assert "https:// address" in said.err
    with canned(edited()) as server:
        said = status("--address", f"https://127.0.0.1:{server.port}")
        assert said.code == 1
        assert "begin the address with http://" in said.err


def test_a_configured_certificate_that_is_none_is_told(status: Run, tmp_path: Path) -> None:
    """With the key of the configuration that names it."""
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing")
    said = status(*_config(tmp_path / "a.yaml", listen=":1", tls={"certFile": str(empty), "keyFile": str(empty)}))
    assert said.code == 2
    assert said.err.startswith("http.tls.certFile: no certificate can be read from it: ")


# --- addresses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "url"),
    [
        (":9410", "http://127.0.0.1:9410"),
        ("0.0.0.0:9410", "http://127.0.0.1:9410"),
        ("[::]:9410", "http://[::1]:9410"),
        ("[fd00::7]:80", "http://[fd00::7]:80"),
        ("node-1.example:9410", "http://node-1.example:9410"),
        ("https://node-1.example", "https://node-1.example"),
        (
            "http://127.0.0.1:8001/api/v1/namespaces/n/pods/p:9410/proxy/",
            "http://127.0.0.1:8001/api/v1/namespaces/n/pods/p:9410/proxy",
        ),
        ("http://[::1]:9410/status", "http://[::1]:9410"),
        ("http://node/?q#f", "http://node"),
    ],
)
def test_addresses(address: str, url: str) -> None:
    """What is listened on, and what proxies make of it, is an address to ask."""
    assert url_of(address) == url


@given(st.text(max_size=40) | st.text(max_size=30).map("http://{}".format))
def test_any_text_is_an_address_or_told(text: str) -> None:
    """Nothing else than ``ValueError`` comes of it, and a URL has a host."""
    try:
        url = url_of(text)
    except ValueError:
        return
    assert url.startswith(("http://", "https://"))
    assert url.partition("://")[2].partition("/")[0]


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        ("http://127.0.0.1:9410", True),
        ("http://127.9.9.9:9410", True),
        ("http://[::1]:9410", True),
        ("http://localhost:9410", True),
        ("https://node-1.example", True),
        ("http://node-1.example", False),
        ("http://127.0.0.1.example", False),
        ("http://192.0.2.1", False),
    ],
)
def test_where_a_token_may_be_sent(url: str, *, safe: bool) -> None:
    """Over TLS, or to this machine."""
    assert Door(url).safe is safe
