"""The server that tutorials build: FastAPI under uvicorn, `workers` processes that each hold the model.

https://fastapi.tiangolo.com/async/ says that a `def` endpoint runs in a pool of threads.
"""

from __future__ import annotations

import json
import os
from typing import Any

from encoder.peers import Settings, engines

_SETTINGS = "ENCODER_PEER_SETTINGS"


def serve(settings: Settings, port: int) -> None:
    import uvicorn

    # uvicorn's workers import the application anew
    os.environ[_SETTINGS] = json.dumps(settings)
    uvicorn.run(
        "encoder.peers.fastapi:application",
        factory=True,
        host="127.0.0.1",
        port=port,
        workers=settings["workers"],
        log_level="warning",
        access_log=False,
    )


def application() -> Any:
    """Return the application of one worker; POST /embed {"text": ...} answers {"embedding": [...]}."""
    from fastapi import Body, FastAPI

    embed = engines.engine(json.loads(os.environ[_SETTINGS]))
    made = FastAPI()

    def answer(text: str = Body(embed=True)) -> dict[str, list[float]]:
        return {"embedding": embed([text])[0].tolist()}

    made.post("/embed")(answer)
    return made
