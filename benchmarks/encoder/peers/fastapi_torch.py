"""FastAPI before sentence-transformers on PyTorch: one request, one text, in FastAPI's thread pool."""

from __future__ import annotations

from encoder.peers import Settings, fastapi


def serve(settings: Settings, port: int) -> None:
    fastapi.serve(settings | {"engine": "sentence_transformers"}, port)
