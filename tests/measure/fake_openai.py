"""A small OpenAI endpoint that says the same words to everybody and misbehaves as it is told."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


@dataclass
class Manners:
    """How to answer: `words` deltas, `pause` seconds before each; the rest is what goes wrong."""

    words: int = 5
    pause: float = 0.01
    tokens: int | None = None
    knows_usage: bool = True
    status: int = 200
    silent_after: int | None = None
    broken_after: int | None = None
    error_after: int | None = None
    fails_from: int | None = None
    at_once: int | None = None
    key: str = ""
    refusal: str = "out of order"
    raw: bytes | None = None
    """The whole body of an answer, instead of all that else is said."""
    uses: int | None = None
    """So many requests are answered on a connection; the next one finds it closed."""


@dataclass
class FakeOpenAi:
    """Use it as a context manager; `bodies` are the requests in the order in which they came."""

    manners: Manners = field(default_factory=Manners)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)

    def __enter__(self) -> Self:
        fake = self
        self.ending = threading.Event()
        self.room = threading.Semaphore(self.manners.at_once or 10_000)

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            used = 0

            def do_POST(self) -> None:
                self.used += 1
                if fake.manners.uses is not None and self.used > fake.manners.uses:
                    self.close_connection = True
                    return
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                fake.bodies.append(body)
                fake.paths.append(self.path)
                with fake.room:
                    _answer(self, fake, body)

            def log_message(self, format: str, *arguments: Any) -> None:
                """Say nothing."""

        self.server = _Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def __exit__(self, *_: object) -> None:
        self.ending.set()
        self.server.shutdown()
        self.server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    # the usual 5 would leave connections of a hundred workers unanswered
    request_queue_size = 1024

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients may leave whenever they like."""


def _answer(handler: BaseHTTPRequestHandler, fake: FakeOpenAi, body: dict[str, Any]) -> None:
    manners = fake.manners
    if manners.key and handler.headers.get("Authorization") != f"Bearer {manners.key}":
        return _refuse(handler, 401, {"error": {"message": "wrong key", "type": "auth"}})
    if not manners.knows_usage and "stream_options" in body:
        return _refuse(handler, 400, {"error": {"message": "unknown field stream_options"}})
    fails = manners.fails_from is not None and len(fake.bodies) > manners.fails_from
    if manners.status != 200 or fails:
        return _refuse(handler, manners.status if manners.status != 200 else 503, {"error": manners.refusal})
    handler.send_response(200)
    handler.send_header("Content-Type", "text/event-stream")
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    try:
        _stream(handler, fake, "stream_options" in body)
    except OSError:
        handler.close_connection = True
    return None


def _stream(handler: BaseHTTPRequestHandler, fake: FakeOpenAi, usage: bool) -> None:
    manners = fake.manners
    if manners.raw is not None:
        _send(handler, manners.raw)
        handler.wfile.write(b"0\r\n\r\n")
        return
    _event(handler, _delta({"role": "assistant", "content": ""}))
    for word in range(manners.words):
        if word == manners.silent_after:
            fake.ending.wait()
            return
        if word == manners.broken_after:
            handler.close_connection = True
            return
        if word == manners.error_after:
            _event(handler, {"error": {"message": "the engine died"}})
            break
        time.sleep(manners.pause)
        _event(handler, _delta({"content": f"word{word} "}))
    else:
        _event(handler, _delta({}, "stop"))
    if usage:
        counts = {"prompt_tokens": 7, "completion_tokens": manners.tokens or manners.words}
        _event(handler, {"choices": [], "usage": counts})
    _send(handler, b"data: [DONE]\n\n")
    handler.wfile.write(b"0\r\n\r\n")


def _delta(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}


def _event(handler: BaseHTTPRequestHandler, value: dict[str, Any]) -> None:
    _send(handler, f"data: {json.dumps(value)}\n\n".encode())


def _send(handler: BaseHTTPRequestHandler, data: bytes) -> None:
    handler.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
    handler.wfile.flush()


def _refuse(handler: BaseHTTPRequestHandler, status: int, body: dict[str, Any]) -> None:
    data = json.dumps(body).encode()
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data)
