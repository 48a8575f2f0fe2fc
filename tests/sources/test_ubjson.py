"""Universal Binary JSON: values worked by hand from its definition, and whatever else bytes may be."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder import ubjson


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"Z", None),
        (b"NNT", True),
        (b"i\xff", -1),
        (b"U\xff", 255),
        (b"I\x01\x00", 256),
        (b"l\x00\x01\x00\x00", 65536),
        (b"L" + bytes(7) + b"\x02", 2),
        (b"d\x3f\xc0\x00\x00", 1.5),
        (b"D\x3f\xf8" + bytes(6), 1.5),
        (b"SU\x02\xc3\xbc", "ü"),
        (b"Cx", "x"),
        (b"Hi\x0212", "12"),
        (b"[]", []),
        (b"[i\x01N[i\x02]]", [1, [2]]),
        (b"[#i\x02i\x01T", [1, True]),
        (b"[$S#i\x02i\x01ai\x01b", ["a", "b"]),
        (b"{}", {}),
        (b"{i\x01ai\x05i\x01bF}", {"a": 5, "b": False}),
        (b"{#i\x01i\x01aZ", {"a": None}),
        (b"{$i#i\x02i\x01a\x01i\x01b\x02", {"a": 1, "b": 2}),
    ],
)
def test_ubjson_by_hand(data, value):
    assert ubjson.loads(data) == value


def test_ubjson_arrays_of_numbers():
    assert ubjson.loads(b"[$I#i\x02\x00\x01\xff\xff").tolist() == [1, -1]
    assert ubjson.loads(b"[$d#U\x02" + struct.pack(">2f", 0.5, -2)).tolist() == [0.5, -2.0]


@pytest.mark.parametrize(
    "data",
    [b"", b"x", b"[", b"{i", b"SU\x05ab", b"Si\xff", b"[$i]", b"[$Z#L" + b"\x7f" * 8, b"[$i#L" + b"\x7f" * 8,
     b"[#L" + b"\x7f" * 8 + b"i\x01", b"SU\x01\xff", b"[" * 100_000],
)  # fmt: skip
def test_ubjson_that_is_none(data):
    with pytest.raises(ubjson.Broken):
        ubjson.loads(data)


@given(st.binary(max_size=60))
def test_ubjson_never_fails_otherwise(data):
    for head in (b"", b"[", b"{", b"[$", b"[#"):
        try:
            ubjson.loads(head + data)
        except ubjson.Broken:
            pass
