"""Bitstreams: which files are taken, and which are refused with what words."""

import base64
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from supervisor_fpga.operating import gbs
from supervisor_fpga.operating.bitstreams import MOST, Bitstreams, Checked
from supervisor_fpga.operating.messages import Bitstream
from supervisor_fpga.operating.outcome import Clock, Stopped
from supervisor_fpga.operating.signatures import public_key
from supervisor_fpga.operating.simulated import bitstream
from supervisor_fpga.simulate.intel import A10_INTERFACE, NLB0, NLB3
from tests.plugins.fpga.operating.yard import PATIENCE, Yard

Plant = Callable[..., Yard]

# RFC 8032, section 7.1, TEST 2 and 3.
KEY = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
MESSAGE = b"\x72"
SIGNATURE = (
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
)
OTHER_KEY = "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025"


def clock() -> Clock:
    return Clock(time.monotonic() + PATIENCE)


def check(yard: Yard, wanted: Bitstream) -> Checked:
    return yard.tools.bitstreams.check(wanted, clock())


def refusal(yard: Yard, wanted: Bitstream) -> str:
    with pytest.raises(Stopped) as stopped:
        check(yard, wanted)
    assert stopped.value.outcome == "refused"
    return stopped.value.text


def pem(key: str) -> bytes:
    der = base64.b64encode(bytes.fromhex("302a300506032b6570032100" + key))
    return b"-----BEGIN PUBLIC KEY-----\n" + der + b"\n-----END PUBLIC KEY-----\n"


def test_the_header_says_what_it_is(plant: Plant) -> None:
    """A file in a directory below is found, and its header counts where the configuration says nothing."""
    yard = plant()
    found = check(yard, yard.file("a10/nlb3.gbs"))
    assert (found.interface_id, found.afu_id) == (A10_INTERFACE, NLB3)
    assert found.path == str(yard.folder / "a10/nlb3.gbs")


def test_the_configuration_says_it_without_a_header(plant: Plant) -> None:
    """Of raw data nothing else is known."""
    yard = plant()
    found = check(yard, yard.file("raw.rbf", b"raw", interface_id=A10_INTERFACE.upper(), afu_id=NLB0))
    assert (found.interface_id, found.afu_id, found.header) == (A10_INTERFACE, NLB0, 0)


def test_header_and_configuration_have_to_agree(plant: Plant) -> None:
    """One of the two is wrong, and nobody knows which."""
    yard = plant()
    assert "makes" in refusal(yard, yard.file(afu_id=NLB0))
    assert "fits" in refusal(yard, yard.file(interface_id=NLB0))


def test_another_checksum_is_refused(plant: Plant) -> None:
    """The file is not the one that was meant."""
    yard = plant()
    assert "has the SHA-256" in refusal(yard, structs.replace(yard.file(), sha256="0" * 64))


def test_a_file_that_changed_is_read_again(plant: Plant) -> None:
    """One that is as it was is not, which makes a start without programming quick."""
    yard = plant()
    wanted = yard.file()
    first = check(yard, wanted)
    assert check(yard, wanted) is first
    (yard.folder / "nlb3.gbs").write_bytes(bitstream(A10_INTERFACE, NLB0))
    assert "has the SHA-256" in refusal(yard, wanted)


def test_what_is_loaded_is_what_was_checked(plant: Plant) -> None:
    """A file that is exchanged in between is seen, and the last word is filled up."""
    yard = plant()
    checked = check(yard, yard.file("raw.rbf", b"12345"))
    with yard.tools.bitstreams.loaded(checked, clock()) as content:
        assert bytes(content) == b"12345\0\0\0\0"
    (yard.folder / "raw.rbf").write_bytes(b"54321")
    with pytest.raises(Stopped, match="has the SHA-256"), yard.tools.bitstreams.loaded(checked, clock()):
        pass


@pytest.mark.parametrize(
    "name", ["../x", "/etc/passwd", "a/../../x", "", ".", "a//b", "a/", ".hidden", "x\0y", "a/./b", "x" * 5000]
)
def test_names_stay_in_the_directory(plant: Plant, name: str) -> None:
    """Whatever a name says, nothing outside is opened."""
    yard = plant()
    assert refusal(yard, Bitstream(name, "0" * 64))


@given(st.text(max_size=40))
def test_no_name_leads_out(name: str) -> None:
    """Any text is refused as a name, or looked for below the directory."""
    with pytest.raises(Stopped, match=r"is no name of a bitstream|cannot be read") as stopped:
        Bitstreams("/nonexistent").check(Bitstream(name, "0" * 64), clock())
    assert stopped.value.outcome == "refused"


def test_links_lead_nowhere(plant: Plant, tmp_path: Path) -> None:
    """Neither a file nor a directory on its way may be a symbolic link."""
    yard = plant()
    wanted = yard.file("real/a.gbs")
    (yard.folder / "link.gbs").symlink_to(yard.folder / "real/a.gbs")
    (yard.folder / "linked").symlink_to(yard.folder / "real")
    for name in ("link.gbs", "linked/a.gbs"):
        assert "cannot be read" in refusal(yard, structs.replace(wanted, name=name))


def test_only_regular_files_are_read(plant: Plant) -> None:
    """A pipe would hang, a directory says nothing."""
    yard = plant()
    wanted = yard.file("real/a.gbs")
    os.mkfifo(yard.folder / "pipe", 0o644)
    assert "is no regular file" in refusal(yard, structs.replace(wanted, name="pipe"))
    assert "is no regular file" in refusal(yard, structs.replace(wanted, name="real"))
    assert "cannot be read" in refusal(yard, structs.replace(wanted, name="missing"))


@pytest.mark.parametrize("name", ["", "real", "real/a.gbs"])
@pytest.mark.parametrize("mode", [0o020, 0o002])
def test_what_others_can_change_is_refused(plant: Plant, name: str, mode: int) -> None:
    """The file, its directory, and all directories above up to the one of bitstreams."""
    yard = plant()
    wanted = yard.file("real/a.gbs")
    check(yard, wanted)
    path = yard.folder / name
    path.chmod(path.stat().st_mode | mode)
    assert "can be changed by others than root" in refusal(yard, wanted)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_what_belongs_to_others_is_refused(plant: Plant) -> None:
    """Its owner could change it at any time."""
    yard = plant()
    wanted = yard.file()
    os.chown(yard.folder / "nlb3.gbs", 1000, -1)
    assert "can be changed by others than root" in refusal(yard, wanted)


def test_too_large_a_file_is_refused_unread(plant: Plant) -> None:
    """Its size says enough."""
    yard = plant()
    wanted = yard.file()
    os.truncate(yard.folder / "nlb3.gbs", MOST + 1)
    assert "the most is 512" in refusal(yard, wanted)


@pytest.mark.parametrize("content", [b"", gbs.MAGIC + b"\x10\0\0\0" + b'{"afu-image": {}}'[:16]])
def test_a_file_without_data_is_refused(plant: Plant, content: bytes) -> None:
    """Nothing, or no more than a header."""
    yard = plant()
    assert refusal(yard, yard.file(content=content))


def test_a_deadline_ends_the_reading(plant: Plant) -> None:
    """A large file on a slow disk takes no more than its time."""
    yard = plant()
    wanted = yard.file()
    with pytest.raises(Stopped) as stopped:
        yard.tools.bitstreams.check(wanted, Clock(time.monotonic()))
    assert stopped.value.outcome == "late"


class TestSignatures:
    """Detached Ed25519 signatures by the key in the directory."""

    def signed(self, plant: Plant, key: bytes, signature: str = SIGNATURE) -> tuple[Yard, Bitstream]:
        yard = plant()
        yard.file("key.pem", key)
        yard.file("a.sig", bytes.fromhex(signature))
        return yard, yard.file("a.bin", MESSAGE, signature="a.sig")

    def test_a_good_one_is_taken(self, plant: Plant) -> None:
        """By the key that made it."""
        yard, wanted = self.signed(plant, pem(KEY))
        assert check(yard, wanted).size == 1

    @pytest.mark.parametrize(
        ("key", "signature"),
        [(OTHER_KEY, SIGNATURE), (KEY, SIGNATURE[:-2] + "01"), (KEY, ""), (KEY, SIGNATURE + "00"), ("00" * 32, SIGNATURE)],
    )
    def test_any_other_is_refused(self, plant: Plant, key: str, signature: str) -> None:
        """Another key's, another text's, half of one, and more than one."""
        yard, wanted = self.signed(plant, pem(key), signature)
        assert "is not what a.sig signs" in refusal(yard, wanted)

    def test_another_text_is_refused(self, plant: Plant) -> None:
        """The checksum is right, and the signature is of something else."""
        yard, wanted = self.signed(plant, pem(KEY))
        assert "is not what a.sig signs" in refusal(yard, yard.file("b.bin", b"\x73", signature="a.sig"))
        assert check(yard, wanted).size == 1

    def test_with_a_key_nothing_goes_unsigned(self, plant: Plant) -> None:
        """Who asks cannot leave the signature out."""
        yard, wanted = self.signed(plant, pem(KEY))
        assert "has no signature" in refusal(yard, structs.replace(wanted, signature=""))

    def test_what_was_taken_without_a_key_is_checked_with_one(self, plant: Plant) -> None:
        """A key that is put there later counts from then on."""
        yard = plant()
        wanted = yard.file("a.bin", MESSAGE)
        check(yard, wanted)
        yard.file("key.pem", pem(KEY))
        assert "has no signature" in refusal(yard, wanted)

    def test_a_signature_without_a_key_is_refused(self, plant: Plant) -> None:
        """It was asked for, and cannot be had."""
        yard = plant()
        yard.file("a.sig", bytes.fromhex(SIGNATURE))
        assert "key.pem cannot be read" in refusal(yard, yard.file("a.bin", MESSAGE, signature="a.sig"))

    @pytest.mark.parametrize("key", [b"", b"nonsense", pem(KEY + "00"), pem(KEY).replace(b"MCow", b"MDow"), pem(KEY)[:60]])
    def test_a_broken_key_is_refused(self, plant: Plant, key: bytes) -> None:
        """With words for whoever put it there."""
        yard, wanted = self.signed(plant, key)
        assert "the bitstream key.pem is no" in refusal(yard, wanted)

    def test_a_key_is_read_as_openssl_writes_it(self) -> None:
        """In PEM."""
        assert public_key(pem(KEY)).hex() == KEY
