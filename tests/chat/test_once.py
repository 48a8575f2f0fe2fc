"""`builder chat --once` and messages that are piped in: for scripts."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable

import pytest
from chat_command import COMMAND, environment

from builder import serve

pytestmark = pytest.mark.triton
Chat = Callable[..., subprocess.CompletedProcess[bytes]]


def echo(*turns: tuple[str, str]) -> str:
    """Return what the engine answers to these turns: the prompt as the template renders it."""
    return "".join(f"{role}\n{said}\n" for role, said in turns) + "assistant\n"


def test_prints_the_answer_only(chat: Chat) -> None:
    done = chat("--once", "Hello")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode() == echo(("user", "Hello"))


def test_message_on_standard_input(chat: Chat) -> None:
    done = chat("--once", "-", stdin="one line\nand 日本語 \N{PARTY POPPER}\n".encode())
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode() == echo(("user", "one line\nand 日本語 \N{PARTY POPPER}"))


def test_system_prompt_comes_first(chat: Chat) -> None:
    done = chat("--system", "Be brief", "--once", "Hello")
    assert done.stdout.decode() == echo(("system", "Be brief"), ("user", "Hello"))


def test_name_and_address_may_be_given(chat: Chat) -> None:
    assert chat("scripted", "--once", "Hello").stdout.decode() == echo(("user", "Hello"))


def test_as_json(chat: Chat) -> None:
    done = chat("--once", "(( thinking )) Hello there", "--json", "--max-tokens", "40", "--seed", "7")
    assert (done.returncode, done.stderr) == (0, b"")
    answer = json.loads(done.stdout)
    assert answer["name"] == "scripted"
    assert answer["text"] == "user\n Hello there\nassistant\n"
    assert answer["reasoning"] == " thinking "
    assert answer["finish_reason"] == "stop"
    assert answer["output_tokens"] == answer["input_tokens"] > 10
    assert answer["first_token_seconds"] < answer["seconds"]
    assert answer["tokens_per_second"] > 0


def test_reasoning_is_no_part_of_the_answer(chat: Chat) -> None:
    assert chat("--once", "(( thinking ))Hello").stdout == b"user\nHello\nassistant\n"


def test_an_answer_without_a_line_end_gets_one(chat: Chat) -> None:
    answer = chat("--once", "Hello", "--max-tokens", "3").stdout
    assert answer.startswith(b"u") and answer.index(b"\n") == len(answer) - 1
    assert chat("--once", "Hello", "--max-tokens", "1").stdout == b"\n"


def test_refused_by_the_server(chat: Chat) -> None:
    done = chat("--once", "you offend")
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr == b"error: this engine takes offence\n"


def test_longer_than_the_context(chat: Chat) -> None:
    done = chat("--once", "a " * 500)
    assert (done.returncode, done.stdout) == (1, b"")
    assert re.fullmatch(
        r"error: the message has \d{3,} tokens, the context holds 400: the message was not kept\n"
        r"  to mend it: shorten it\n",
        done.stderr.decode(),
    )


def test_too_many_tokens_asked_for(chat: Chat) -> None:
    done = chat("--once", "Hello", "--max-tokens", "400")
    assert done.returncode == 1
    assert "tokens and the answer may have 400, the context holds 400" in done.stderr.decode()
    assert "ask for fewer with --max-tokens" in done.stderr.decode()


def test_two_turns_remember(chat: Chat) -> None:
    done = chat(stdin=b"Hello\nWhere to?\n")
    first = echo(("user", "Hello"))
    second = echo(("user", "Hello"), ("assistant", first), ("user", "Where to?"))
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode() == first + second


def test_reset_and_system_in_a_pipe(chat: Chat) -> None:
    done = chat(stdin=b"Hello\n/reset\n\n/system Be brief\nWhere to?\n/quit\nnever said\n")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode() == echo(("user", "Hello")) + echo(
        ("system", "Be brief"), ("user", "Where to?")
    )


def test_several_lines_between_fences(chat: Chat) -> None:
    done = chat(stdin=b'"""one\n/reset\n\ntwo"""\n/etc/hosts is a path\n')
    first = echo(("user", "one\n/reset\n\ntwo"))
    assert done.stdout.decode().startswith(first)
    assert "/etc/hosts is a path" in done.stdout.decode()


def test_goes_on_after_a_refusal(chat: Chat) -> None:
    done = chat(stdin=b"you offend\n/nonsense\nHello\n")
    assert done.returncode == 1
    assert done.stdout.decode() == echo(("user", "Hello"))
    assert "error: this engine takes offence\nerror: /nonsense is no command" in done.stderr.decode()


def test_a_full_context_says_so_and_reset_helps(chat: Chat) -> None:
    done = chat(stdin=f"Go on for ever\n{'zqxj' * 15}\n/reset\nHello\n".encode())
    assert done.returncode == 1
    assert re.search(r"the conversation has \d+ tokens, the context holds 400", done.stderr.decode())
    assert "begin anew with /reset" in done.stderr.decode()
    assert done.stdout.decode().endswith(echo(("user", "Hello")))


def test_nobody_reads_to_the_end(server: serve.Server) -> None:
    """A pipe that closes early ends the program, and the server stops."""
    command = [*COMMAND, "--grpc-url", server.grpc, "--once", "Go on for ever"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()) as run:
        assert run.stdout is not None and run.stderr is not None
        run.stdout.readline()
        run.stdout.close()
        assert run.wait(60) == 1
        assert run.stderr.read() == b""


@pytest.mark.parametrize(
    ("words", "stdin", "code", "said"),
    [
        (
            ("nobody", "--once", "x"),
            b"",
            2,
            "holds no model 'nobody' to chat with\n  expected: one of: scripted",
        ),
        (("scripted_ensemble", "--once", "x"), b"", 2, "expected: one of: scripted"),
        (("--json",), b"", 2, "--json prints one answer"),
        (("--once", ""), b"", 2, "is empty"),
        (("--once", "-"), b" \n", 2, "standard input is empty"),
        (("--once", "-"), b"\xff\xfe", 2, "standard input is not UTF-8 text"),
        (("--grpc-url", "127.0.0.1:1", "--once", "x"), b"", 1, "no server answers at grpc://127.0.0.1:1"),
        (("--grpc-url", "nowhere", "--once", "x"), b"", 2, "--grpc-url nowhere\n  expected: HOST:PORT"),
        (("--temperature", "101"), b"", 2, "--temperature"),
        (("--temperature", "nan"), b"", 2, "nan is no finite number"),
        (("--max-tokens", "0"), b"", 2, "--max-tokens"),
    ],
)
def test_misuse(chat: Chat, words: tuple[str, ...], stdin: bytes, code: int, said: str) -> None:
    done = chat(*words, stdin=stdin)
    assert (done.returncode, done.stdout) == (code, b"")
    assert said in done.stderr.decode()


@pytest.mark.parametrize(
    ("words", "closed", "code", "said"),
    [
        ((), 0, 2, "standard input is closed"),
        (("--once", "-"), 0, 2, "standard input is closed"),
        (("--once", "x"), 1, 1, "No space left on device"),
    ],
)
def test_streams_that_are_closed_or_full(
    chat: Chat, words: tuple[str, ...], closed: int, code: int, said: str
) -> None:
    def spoil() -> None:
        if closed == 0:
            os.close(0)
        else:
            os.dup2(os.open("/dev/full", os.O_WRONLY), 1)

    done = chat(*words, preexec_fn=spoil)
    assert (done.returncode, b"Traceback" in done.stderr) == (code, False)
    assert said in done.stderr.decode()
