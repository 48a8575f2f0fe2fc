"""LitServe with its batching: https://lightning.ai/docs/litserve/features/batching"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import litserve

from encoder.peers import Settings, engines


class Embedder(litserve.LitAPI):  # type: ignore[misc]  # only its own environment has it
    """POST /predict {"text": ...} answers {"embedding": [...]}."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(max_batch_size=settings["max_batch_size"], batch_timeout=settings["batch_timeout_s"])
        self._settings = settings

    def setup(self, device: str) -> None:
        self._embed = engines.engine(self._settings)

    def decode_request(self, request: dict[str, str]) -> str:
        return request["text"]

    def batch(self, inputs: Sequence[str]) -> list[str]:
        return list(inputs)

    def predict(self, texts: list[str]) -> Any:
        return self._embed(texts)

    def unbatch(self, output: Any) -> list[Any]:
        return list(output)

    def encode_response(self, output: Any) -> dict[str, list[float]]:
        return {"embedding": output.tolist()}


def serve(settings: Settings, port: int) -> None:
    server = litserve.LitServer(Embedder(settings), accelerator="cpu", workers_per_device=settings["workers"])
    server.run(
        host="127.0.0.1",
        port=port,
        num_api_servers=1,
        log_level="warning",
        generate_client_file=False,
    )
