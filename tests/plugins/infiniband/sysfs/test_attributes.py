"""What attributes may say: the kernel's texts are understood, all others are nonsense of one device."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor_infiniband.report import PhysState, PortState
from supervisor_infiniband.sysfs import attributes, ports
from supervisor_infiniband.sysfs.attributes import Attributes, Nonsense

PARSERS: tuple[Callable[[str], object], ...] = (
    attributes.printable,
    attributes.guid,
    attributes.gid,
    attributes.port_state,
    attributes.phys_state,
    attributes.link_layer,
    attributes.rate,
    attributes.link_speed,
    attributes.number,
)


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (attributes.port_state, "4: ACTIVE", PortState.ACTIVE),
        (attributes.port_state, "9: UNKNOWN", PortState.NOP),
        (attributes.phys_state, "5: LinkUp", PhysState.LINK_UP),
        (attributes.phys_state, "0: <unknown>", PhysState.UNKNOWN),
        (attributes.rate, "400 Gb/sec (4X NDR)", 400.0),
        (attributes.rate, "2.5 Gb/sec (1X SDR)", 2.5),
        (attributes.link_speed, "16.0 GT/s PCIe", 16.0),
        (attributes.link_speed, "2.5 GT/s", 2.5),
        (attributes.link_speed, "Unknown", None),
        (attributes.number, "0x2651e848", 0x2651E848),
        (attributes.number, "-1", -1),
        (attributes.guid, "B83F:D200:03B0:0000", "b83f:d200:03b0:0000"),
    ],
)
def test_the_kernels_texts_are_understood(parse: Callable[[str], object], text: str, value: object) -> None:
    """As the functions that print them in the kernel write them."""
    assert parse(text) == value


@pytest.mark.parametrize("parse", PARSERS, ids=lambda parse: parse.__name__)
@given(st.text())
def test_other_texts_are_refused_with_a_word(parse: Callable[[str], object], text: str) -> None:
    """With nothing but ``ValueError``, whatever they are."""
    assert complaint(lambda: parse(text), ValueError).partition(" ")[0] in {"", "no"}


@given(st.binary(max_size=300))
def test_nonsense_is_told_in_one_readable_line(found: bytes) -> None:
    """With the name of the attribute, and cut."""
    told = complaint(lambda: Attributes("/nowhere", "ports/1/").parsed("gids/0", found, attributes.gid), Nonsense)
    assert told.isprintable()
    assert told == "" or told.startswith("ports/1/gids/0 says ")
    assert len(told) < 500


def complaint(action: Callable[[], object], kind: type[Exception]) -> str:
    """What it raises; empty where it does not."""
    try:
        action()
    except kind as error:
        return str(error)
    return ""


def test_what_is_absent_is_no_nonsense(tmp_path: Path) -> None:
    """Neither a file nor a directory that is not there."""
    attribute = Attributes(str(tmp_path))
    assert attribute.value("rate", attributes.rate) is None
    assert attribute.text("fw_ver") == ""
    assert attributes.names(f"{tmp_path}/ports") == []


def test_what_opens_and_cannot_be_read_is_absent(tmp_path: Path) -> None:
    """As the kernel's empty slots are, whose type and interface answer EINVAL; in this tree they are directories."""
    (tmp_path / "gids").mkdir()
    for index, gid in enumerate((1, 0, 2)):
        (tmp_path / f"gids/{index}").write_text(
            f"fe80:0000:0000:0000:0000:0000:0000:000{gid}\n" if gid else f"{'0000:' * 7}0000\n"
        )
        (tmp_path / f"gid_attrs/types/{index}").mkdir(parents=True)
        (tmp_path / f"gid_attrs/ndevs/{index}").mkdir(parents=True)
    (tmp_path / "gid_attrs/types/2").rmdir()
    (tmp_path / "gid_attrs/types/2").write_text("RoCE v2\n")
    assert [(gid.index, gid.kind, gid.netdev) for gid in ports.facts(1, str(tmp_path), None, None).gids] == [
        (0, "", ""),
        (2, "RoCE v2", ""),
    ]
    assert list(attributes.raws(f"{tmp_path}/gid_attrs/types", ["0", "1", "2", "3"])) == [("2", b"RoCE v2\n")]


def test_why_a_needed_attribute_cannot_be_read(tmp_path: Path) -> None:
    """The kernel's reason; none where it works again."""
    attribute = Attributes(str(tmp_path))
    assert str(attribute.unreadable("state")) == "state cannot be read: no such file or directory"
    (tmp_path / "state").write_text("4: ACTIVE\n")
    assert str(attribute.unreadable("state")) == "state could not be read for a moment"
