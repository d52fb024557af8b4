"""What makes a CDI spec valid: every rule that runtimes have."""

import json

import msgspec
import pytest

from supervisor import CdiDevice, CdiEdits, CdiHook, CdiMount, CdiNode, cdi_spec
from supervisor.cdi.schema import decode, encode, host_paths

DEVICE = CdiDevice("a", CdiEdits(device_nodes=(CdiNode("/dev/null"),)))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"devices": ()}, "length >= 1"),
        ({"devices": (DEVICE, DEVICE)}, "defined twice"),
        ({"devices": (CdiDevice("a", CdiEdits()),)}, "edits nothing"),
        ({"devices": (msgspec.structs.replace(DEVICE, name="0"),)}, "needs 0.5.0"),
        ({"devices": (msgspec.structs.replace(DEVICE, name="a="),)}, "regex"),
        ({"kind": "v/gpu"}, "regex"),
        ({"kind": "vendor/g"}, "regex"),
        ({"kind": "vendor/gpu.x"}, "needs 0.6.0"),
        ({"cdi_version": "new"}, "invalid literal"),
        ({"container_edits": CdiEdits(env=("A",))}, "regex"),
        ({"container_edits": CdiEdits(device_nodes=(CdiNode("dev/null"),))}, "regex"),
    ],
)
def test_an_invalid_spec_is_told(change: dict[str, object], problem: str) -> None:
    """Each rule that runtimes have is checked by our own reader, before they read it."""
    good = cdi_spec("vendor.example/gpu", (DEVICE,))
    assert decode(encode(good)) == good
    with pytest.raises(ValueError, match=problem):
        decode(encode(msgspec.structs.replace(good, **change)))


def test_unknown_fields_are_refused() -> None:
    """Runtimes refuse them, so does our check."""
    raw = json.loads(encode(cdi_spec("vendor.example/gpu", (DEVICE,))))
    with pytest.raises(ValueError, match="unknown field"):
        decode(json.dumps(raw | {"extra": 1}).encode())


def test_everything_that_the_host_must_have() -> None:
    """Where a container starts, whatever it gets: nodes, by the host's name for them, files and programs, of all devices and of each."""
    other = CdiDevice("b", CdiEdits(device_nodes=(CdiNode("/dev/b", "/run/dev/b"),), mounts=(CdiMount("/etc/b", "/b"),)))
    common = CdiEdits(hooks=(CdiHook("createContainer", "/usr/bin/hook"),))
    assert host_paths(cdi_spec("vendor.example/gpu", (DEVICE, other), common)) == {
        "/dev/null",
        "/run/dev/b",
        "/etc/b",
        "/usr/bin/hook",
    }


def test_the_file_is_json_as_runtimes_read_it() -> None:
    """Names as the specification has them, and nothing that says nothing."""
    assert json.loads(encode(cdi_spec("vendor.example/gpu", (DEVICE,)))) == {
        "cdiVersion": "0.3.0",
        "kind": "vendor.example/gpu",
        "devices": [{"name": "a", "containerEdits": {"deviceNodes": [{"path": "/dev/null"}]}}],
    }
