"""Sizes on the command line."""

import pytest

from builder.errors import UsageError
from builder.planning import byte_sizes

SIZES = {
    "120MB": 120_000_000,
    "6GB": 6_000_000_000,
    "1.5GiB": 1_610_612_736,
    "512kib": 524_288,
    " 3 mb ": 3_000_000,
    "70000000": 70_000_000,
    "12B": 12,
    "1TB": 10**12,
}


@pytest.mark.parametrize("text", SIZES)
def test_units(text: str) -> None:
    assert byte_sizes.read("--fit", text) == SIZES[text]


@pytest.mark.parametrize(
    "text", ["", "nonsense", "GB", "6 G B", "-1GB", "1e9", "nan", "6GB!", "1,5GB", "inf"]
)
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(UsageError, match=r"--fit .* is no size") as caught:
        byte_sizes.read("--fit", text)
    assert "500MB, 6GB or 1.5GiB" in str(caught.value)


@pytest.mark.parametrize("text", ["0", "0GB", "0.0001KB"])
def test_nothing_is_no_room(text: str) -> None:
    with pytest.raises(UsageError, match="more than 0 bytes"):
        byte_sizes.read("--fit", text)
