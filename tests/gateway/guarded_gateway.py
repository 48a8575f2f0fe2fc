"""A gateway that asks for keys, and the database that it keeps them in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gateway_process
from echoing_repository import NAME
from gateway_process import JSON, Gateway

from builder.gateway.keys import clerk, database, ledger
from builder.gateway.keys.database import Row
from builder.gateway.keys.key import Terms
from builder.server import Server

CHAT = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "hello"}]
PRICES = f"[{NAME}]\nprompt = 1\ncompletion = 2\n"


@dataclass(frozen=True)
class Guarded:
    """A gateway with keys, and the database that it keeps them in."""

    gateway: Gateway
    path: Path | str

    def key(self, name: str, **terms: Any) -> str:
        with closing(database.connect(str(self.path))) as opened:
            return ledger.create(opened, name, Terms(**terms), clerk.clock())[1]

    def rows(self, name: str) -> list[Row]:
        """Return model, tokens, cost, status of what a key asked, in order."""
        with closing(database.connect(str(self.path))) as opened:
            return opened.rows(
                "SELECT model, prompt_tokens, completion_tokens, cost, status FROM requests"
                " JOIN keys ON keys.id = requests.key WHERE name = ? ORDER BY at",
                (name,),
            )

    def ask(self, key: str, path: str = CHAT, **fields: Any) -> tuple[int, dict[str, str], Any]:
        body = json.dumps({"model": NAME, "messages": HELLO} | fields).encode()
        status, headers, told = self.gateway.request("POST", path, body, bearer(key))
        return status, headers, json.loads(told)


def bearer(key: str) -> dict[str, str]:
    return {**JSON, "Authorization": f"Bearer {key}"}


@contextmanager
def running(echoing: Server, folder: Path) -> Iterator[Guarded]:
    """Run one with two workers and prices."""
    path, prices = folder / "keys.db", folder / "prices.toml"
    prices.write_text(PRICES)
    with closing(database.connect(str(path), creating=True)) as opened:
        database.prepare(opened)
    words = ("--keys", f"sqlite:///{path}", "--prices", str(prices), "--workers", "2")
    with gateway_process.running(echoing.grpc, *words) as gateway:
        yield Guarded(gateway, path)
