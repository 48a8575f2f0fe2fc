"""`builder chat` at a terminal: keys, Ctrl-C, colours and hints."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from chat_command import COMMAND, environment
from terminal import CONTROL_C, CONTROL_D, Terminal

from builder.server import Server
from builder.triton_client import Client

pytestmark = pytest.mark.triton
GREETING = "/help lists the commands, Ctrl-D leaves"
HINT = "first after "


def counter(server: Server, name: str) -> float:
    samples = Client(server.http, server.grpc, server.metrics, {}).metrics()
    return sum(value for (family, _), value in samples.items() if family == f"builder_engine_{name}")


def cancelled(server: Server) -> float:
    return counter(server, "cancelled_total")


def until(server: Server, name: str, value: float) -> None:
    client = Client(server.http, server.grpc, server.metrics, {})
    assert client.until(lambda: counter(server, name) == value, 30), f"{name}: {counter(server, name)}"


@pytest.fixture
def terminal(server: Server) -> Iterator[Terminal]:
    with Terminal([*COMMAND, "--grpc-url", server.grpc], environment()) as made:
        made.expect(GREETING)
        made.expect("> ")
        yield made


def say(terminal: Terminal, message: str) -> str:
    """Type a message and return its answer."""
    terminal.type(f"{message}\n")
    terminal.expect(f"{message}\n")
    answer = terminal.expect(HINT)
    terminal.expect("> ")
    return answer


def test_two_turns_then_leave(terminal: Terminal) -> None:
    assert say(terminal, "Hello").startswith("user\nHello\nassistant\n")
    assert say(terminal, "Where to?").startswith(
        "user\nHello\nassistant\nuser\nHello\nassistant\n\nuser\nWhere"
    )
    terminal.type(CONTROL_D)
    assert terminal.end() == 0
    assert "tokens/s" in terminal.seen
    assert "error" not in terminal.seen


def test_control_c_stops_the_answer_and_not_the_program(terminal: Terminal, server: Server) -> None:
    before = cancelled(server)
    terminal.type("Go on for ever\n")
    terminal.expect("Go on for ever\n")
    terminal.expect("user\n")
    terminal.type(CONTROL_C)
    terminal.expect("stopped")
    terminal.expect("> ")
    until(server, "cancelled_total", before + 1)
    until(server, "active_requests", 0)
    terminal.type("Hello\n")
    terminal.expect("user\nGo on for ever\nassistant\nuser\n")  # what had come is remembered
    terminal.type(CONTROL_C)
    terminal.expect("stopped")
    terminal.expect("> ")
    assert terminal.press_until_end(CONTROL_C) == 0
    assert "error" not in terminal.seen


def test_control_c_clears_a_half_typed_line(terminal: Terminal) -> None:
    terminal.type("never said")
    terminal.expect("never said")
    terminal.press_until(CONTROL_C, "> ")
    assert "never" not in say(terminal, "Hello")
    assert terminal.press_until_end(CONTROL_C) == 0


def test_up_brings_the_last_message_back(terminal: Terminal) -> None:
    say(terminal, "Hello")
    terminal.type("\x1b[A!\n")
    terminal.expect("Hello!")
    assert "Hello!" in terminal.expect(HINT)


def test_commands(terminal: Terminal) -> None:
    terminal.type("/help\n")
    terminal.expect("/system TEXT  set the system prompt")
    terminal.type("/system Be brief\n")
    terminal.expect("the system prompt is set")
    terminal.expect("> ")
    assert say(terminal, "Hello").startswith("system\nBe brief\nuser\nHello\n")
    terminal.type("/reset\n")
    terminal.expect("begins anew")
    terminal.type("/system\n")
    terminal.expect("there is no system prompt now")
    terminal.expect("> ")
    assert say(terminal, "Hello").startswith("user\nHello\nassistant\n")
    terminal.type("/quit\n")
    assert terminal.end() == 0


def test_a_full_context(terminal: Terminal) -> None:
    terminal.type("Go on for ever\n")
    terminal.expect("the context of 400 tokens is full (")
    terminal.expect("): /reset begins anew")
    terminal.expect("> ")
    terminal.type(f"{'zqxj' * 15}\n")
    terminal.expect("tokens, the context holds 400: the message was not kept")
    terminal.expect("begin anew with /reset")
    terminal.type("/reset\nHello\n")
    terminal.expect("user\nHello\nassistant\n")
    terminal.expect(HINT)


def test_an_error_of_the_server_does_not_end_it(terminal: Terminal) -> None:
    terminal.type("you offend\n")
    terminal.expect("error: this engine takes offence\n")
    terminal.expect("> ")
    assert say(terminal, "Hello").startswith("user\nHello\n")


def test_reasoning_is_dim_and_apart(terminal: Terminal) -> None:
    assert say(terminal, "(( hm ))Hello").startswith("user\n hm \nHello\nassistant\n")
    assert "".join(re.findall("\x1b\\[2m(.*?)\x1b\\[0m", terminal.raw)).count(" hm ") == 1


def test_control_characters_of_an_answer_are_not_obeyed(terminal: Terminal) -> None:
    terminal.type("clear\x16\x1b[2J\n")  # readline takes what follows \x16 as it is
    terminal.expect("user\nclear\ufffd[2J\nassistant\n")


def test_control_c_on_once(server: Server) -> None:
    before = cancelled(server)
    words = [*COMMAND, "--grpc-url", server.grpc, "--once", "Go on for ever"]
    with Terminal(words, environment()) as terminal:
        terminal.expect("user\n")
        terminal.type(CONTROL_C)
        assert terminal.end() == 130
    until(server, "cancelled_total", before + 1)
    assert "error: interrupted: the server was told to stop the answer" in terminal.seen
    assert HINT not in terminal.seen


def test_the_boot_is_shown_and_leaves_nothing(tmp_path: Path) -> None:
    from echoing_repository import write

    repository = write(tmp_path / "repository")
    (tmp_path / "temporary").mkdir()
    words = [*COMMAND, "--directory", str(repository)]
    with Terminal(words, environment(TMPDIR=str(tmp_path / "temporary"))) as terminal:
        terminal.expect("booting Triton")
        terminal.expect(GREETING)
        terminal.expect("> ")
        assert say(terminal, "Hello").startswith("user\nHello\n")
        assert terminal.press_until_end(CONTROL_C) == 0
    assert list((tmp_path / "temporary").iterdir()) == []
