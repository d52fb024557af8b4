"""The configuration's values, and what a difference between two of them means."""

from typing import Any

import msgspec
import pytest

from supervisor.config import (
    DEFAULTS,
    OPTION_KEYS,
    AuthConfig,
    Change,
    HttpConfig,
    KubeletConfig,
    LogConfig,
    PluginOptions,
    PluginSection,
    SupervisorConfig,
    TlsConfig,
    diff,
)


@pytest.mark.parametrize(
    ("listen", "address"),
    [
        (":9410", ("", 9410)),
        ("127.0.0.1:0", ("127.0.0.1", 0)),
        ("[::1]:80", ("::1", 80)),
        ("localhost:65535", ("localhost", 65535)),
        ("[fe80::1%eth0]:0", ("fe80::1%eth0", 0)),
    ],
)
def test_an_address_to_listen_on_is_taken_apart(listen: str, address: tuple[str, int]) -> None:
    """Host and port, for IPv6 and for all addresses too."""
    assert HttpConfig(listen).address == address


@pytest.mark.parametrize("listen", ["", "9410", "1.2.3.4", ":65536", "::1:80", "a b:80", "http://x:80", ":-1", ":٣"])
def test_an_impossible_address_is_refused(listen: str) -> None:
    """The error shows what was given and what is wanted."""
    with pytest.raises(ValueError, match=r"listen: Expected address:port"):
        HttpConfig(listen)


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "127.1.2.3:80", "localhost:80", "[::1]:80"])
def test_a_token_needs_no_tls_within_one_machine(listen: str) -> None:
    """Nobody is on the way from a loopback address to itself."""
    config = HttpConfig(listen, auth=AuthConfig("/token"))
    assert config.auth == AuthConfig("/token", None)


@pytest.mark.parametrize(
    "listen", [":9410", "0.0.0.0:9410", "[::]:9410", "10.0.0.1:80", "[fe80::1%lo]:80", "localhost.example:80"]
)
def test_a_token_over_plain_http_is_refused(listen: str) -> None:
    """With both cures; with TLS any address is fine."""
    with pytest.raises(ValueError, match=r"^auth.bearerTokenFile: .*: give tls.certFile and tls.keyFile too, or listen on 127"):
        HttpConfig(listen, auth=AuthConfig("/token"))
    assert HttpConfig(listen, TlsConfig("/cert", "/key"), AuthConfig("/token", "/ca")).tls == TlsConfig("/cert", "/key")


@pytest.mark.parametrize(
    ("size", "count"), [(1 << 20, 1 << 20), ("512Mi", 512 << 20), ("1Gi", 1 << 30), ("2G", 2 * 10**9), ("70k", 70_000)]
)
def test_a_memory_size_is_a_number_of_bytes(size: int | str, count: int) -> None:
    """Kubernetes' units, decimal and binary, and plain numbers."""
    options = msgspec.convert({"memoryLimit": size}, PluginOptions)
    assert options.memory_limit_bytes == count


@pytest.mark.parametrize(
    "section",
    [
        {"memoryLimit": "1 Gi"},
        {"memoryLimit": 5},
        {"memoryLimit": "0Gi"},
        {"allocateTimeout": 10.1},
        {"allocateTimeout": 0},
        {"preStartTimeout": 28.5},
        {"rpcSlots": 0},
        {"lookInterval": -1},
        {"isolation": "container"},
        {"enabled": "yes"},
        {"look_interval": 1},
    ],
)
def test_impossible_options_are_refused(section: dict[str, Any]) -> None:
    """The kubelet's own deadlines bound ours."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(section, PluginOptions)


def test_the_option_keys_are_those_of_the_file() -> None:
    """Camel case, as people write them."""
    assert {"enabled", "isolation", "lookInterval", "preferredAllocationTimeout", "memoryLimit"} <= OPTION_KEYS


def test_a_plugin_without_a_section_has_the_defaults() -> None:
    """Installed is on."""
    assert DEFAULTS.section("anything") == PluginSection()
    assert DEFAULTS.section("anything").options.enabled


def _with(**sections: Any) -> SupervisorConfig:
    return msgspec.structs.replace(DEFAULTS, **sections)


def test_no_difference_is_no_change() -> None:
    """Equal values, however they came about."""
    change = diff(_with(plugins={"a": PluginSection(own={"x": [1]})}), _with(plugins={"a": PluginSection(own={"x": [1]})}))
    assert change == Change()
    assert change.plugins == ()


def test_only_the_plugins_that_differ_are_named() -> None:
    """Sections that come, go, change their own keys or their options, apart from those that stay."""
    old = {"stays": PluginSection(), "goes": PluginSection(), "own": PluginSection(own={"x": 1}), "options": PluginSection()}
    new = {
        "stays": PluginSection(),
        "comes": PluginSection(),
        "own": PluginSection(own={"x": 2}),
        "options": PluginSection(PluginOptions(rpc_slots=2)),
    }
    change = diff(_with(plugins=old), _with(plugins=new))
    assert change == Change(added=("comes",), removed=("goes",), touched=("options", "own"))
    assert change.plugins == ("comes", "goes", "options", "own")


def test_what_waits_for_a_restart_is_pending() -> None:
    """The log follows at once; the kubelet's directory does not."""
    new = _with(kubelet=KubeletConfig("/other"), log=LogConfig("debug"))
    assert diff(DEFAULTS, new) == Change(sections=("log",), pending=("kubelet",))


def test_pending_is_measured_from_the_start() -> None:
    """An edit that is taken back is no longer pending, one that stays still is."""
    edited = _with(http=HttpConfig(":1"))
    assert diff(edited, DEFAULTS, started=DEFAULTS).pending == ()
    assert diff(edited, edited, started=DEFAULTS).pending == ("http",)
