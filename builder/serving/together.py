"""What `builder serve` runs together, Triton and perhaps a gateway: how all of it ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from builder.server import Options, Server
from builder.serving import triton_log
from builder.serving.gateway import GatewayProcess

Part: TypeAlias = Server | GatewayProcess
"""They end in the order in which they are listed: the gateway first, as what it still streams is Triton's."""


def stop(parts: Sequence[Part], options: Options, say: Callable[[str], None]) -> int:
    """Let requests in flight finish; return 1 where something did not end cleanly, else 0."""
    say(
        f"stopping: requests in flight have {options.exit_timeout} s to finish "
        "(open connections count), a second Ctrl-C ends them"
    )
    for part in parts:
        part.stop()
    codes = {_title(part): part.exit_code() for part in parts}
    for title, code in codes.items():
        if code:
            say(f"{title} did not end cleanly (exit code {code}): requests may have been cut off")
    return 1 if any(codes.values()) else 0


def mourn(parts: Sequence[Part], say: Callable[[str], None]) -> int:
    """Tell of the parts that ended by themselves, and stop the others; return 1."""
    for part in [part for part in parts if not part.alive()]:
        if isinstance(part, GatewayProcess):
            say(f"the gateway ended by itself (exit code {part.exit_code()}), and Triton is stopped with it")
        else:
            _tell_last_words(part, say)
    for part in parts:
        part.stop()
    return 1


def _tell_last_words(server: Server, say: Callable[[str], None]) -> None:
    server.keep_log()
    code = server.exit_code()
    server.stop()
    last = triton_log.last_lines(server.log())
    say(f"Triton ended by itself (exit code {code}); its last words:\n{last}")
    if server.log_path() is not None:
        say(f"Triton's whole log: {server.log_path()}")


def _title(part: Part) -> str:
    return "the gateway" if isinstance(part, GatewayProcess) else "Triton"
