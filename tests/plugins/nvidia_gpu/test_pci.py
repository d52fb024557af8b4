import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor_nvidia_gpu.pci import normal


@given(
    st.integers(0, 0xFFFFFFFF),
    st.integers(0, 255),
    st.integers(0, 31),
    st.integers(0, 7),
    st.booleans(),
    st.sampled_from((4, 8)),
)
def test_every_spelling_is_one_address(domain: int, bus: int, device: int, function: int, upper: bool, digits: int) -> None:
    """However many digits and whichever case: the address is the one that sysfs has."""
    text = f"{domain:0{digits}x}:{bus:02x}:{device:02x}.{function}"
    assert normal(text.upper() if upper else text) == f"{domain:04x}:{bus:02x}:{device:02x}.{function}"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("00000000:3B:00.0", "0000:3b:00.0"),
        ("3b:00.0", "0000:3b:00.0"),
        (" 0000:3b:00 ", "0000:3b:00.0"),
        ("10000:E1:00.0", "10000:e1:00.0"),
    ],
)
def test_usual_spellings(text: str, address: str) -> None:
    """NVML's, lspci's, one without a function, and a domain that needs five digits."""
    assert normal(text) == address


@given(st.text(max_size=20))
def test_anything_else_is_no_address(text: str) -> None:
    """Any text is an address that stays as it is, or none at all."""
    assert normal(normal(text)) == normal(text)


@pytest.mark.parametrize("text", ["", "GPU-1", "0", "0000:3b:20.0", "0000:3b:00.8", "0000:3b:00.0.0", "0000:3b:00.0/x"])
def test_what_is_no_address(text: str) -> None:
    """A device has 5 bits and a function 3, and nothing may follow."""
    assert not normal(text)
