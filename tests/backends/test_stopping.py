"""Stop strings, however the text arrives."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from backends.text.stopping import Stopper

PIECES = st.lists(st.text("ab\n", max_size=4), max_size=12)
STOPS = st.lists(st.text("ab\n", max_size=4), max_size=4)


def cut(text: str, stops: list[str]) -> str:
    """Read a letter at a time until one of the stops is whole."""
    for end in range(len(text) + 1):
        whole = [stop for stop in stops if stop and text[:end].endswith(stop)]
        if whole:
            return text[: end - max(map(len, whole))]
    return text


@given(pieces=PIECES, stops=STOPS)
@example(pieces=["aba", "b"], stops=["b", "abab"])
@example(pieces=["abab"], stops=["b", "abab"])
def test_shown_text_is_the_text_before_the_first_stop(pieces: list[str], stops: list[str]) -> None:
    stopper = Stopper(stops)
    shown, stopped, seen = "", False, ""
    longest = max(map(len, stops), default=0)
    for piece in pieces:
        seen += piece
        text, stopped = stopper.push(piece)
        shown += text
        assert cut("".join(pieces), stops).startswith(shown)
        if stopped:
            break
        held = seen[len(shown) :]
        assert len(held) <= max(0, longest - 1)
        assert not held or any(stop.startswith(held) for stop in stops)
    if not stopped:
        shown += stopper.flush()
    assert shown == cut("".join(pieces), stops)
    assert stopped == any(stop and stop in "".join(pieces) for stop in stops)


def test_without_stops_nothing_is_held() -> None:
    assert Stopper([]).push("abc") == ("abc", False)
    assert Stopper([""]).push("abc") == ("abc", False)


def test_flush_gives_the_held_text_once() -> None:
    stopper = Stopper(["END"])
    assert stopper.push("the EN") == ("the ", False)
    assert stopper.flush() == "EN"
    assert stopper.flush() == ""
