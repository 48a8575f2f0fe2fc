"""transformers: `generate` on one left-padded batch, and the server that tutorials build around it.

The server is FastAPI, a TextIteratorStreamer for each request and a StreamingResponse of
OpenAI-shaped events: https://huggingface.co/docs/transformers/internal/generation_utils#transformers.TextIteratorStreamer
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import transformers

from peers import Generate, Generation, Settings, generation


def _model(settings: Settings) -> Any:
    torch.set_num_threads(settings["threads"])
    path = Path(settings["gguf"])
    transformers.utils.logging.disable_progress_bar()
    model = transformers.AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=getattr(torch, settings["precision"])
    )
    return model.eval()


def raw(settings: Settings) -> Generate:
    model = _model(settings)

    class First(transformers.generation.LogitsProcessor):  # type: ignore[misc]
        """Notes when the first logits came."""

        moment = 0.0

        def __call__(self, input_ids: Any, scores: Any) -> Any:
            self.moment = self.moment or time.perf_counter()
            return scores

    def generate(prompts: list[list[int]], tokens: int) -> Generation:
        longest = max(map(len, prompts))
        ids = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in prompts])
        mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        first = First()
        with torch.inference_mode():
            made = model.generate(
                ids,
                attention_mask=mask,
                do_sample=False,
                max_new_tokens=tokens,
                min_new_tokens=tokens,
                pad_token_id=0,
                logits_processor=[first],
            )
        return generation(first.moment, made[:, longest:].tolist())

    return generate


def serve(settings: Settings) -> tuple[str, dict[str, Any]]:
    import uvicorn

    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(_application(settings), log_level="warning"))
    threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True).start()
    while not server.started:
        time.sleep(0.05)
    return f"http://127.0.0.1:{listening.getsockname()[1]}", {"ignore_eos": True}


def _application(settings: Settings) -> Any:
    from fastapi import Body, FastAPI
    from fastapi.responses import StreamingResponse

    model = _model(settings)
    tokenizer = transformers.AutoTokenizer.from_pretrained(settings["tokenizer"])
    application = FastAPI()

    def events(body: dict[str, Any]) -> Iterator[str]:
        inputs = tokenizer.apply_chat_template(
            body["messages"], add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        tokens = body.get("max_tokens", 128)
        streamer = transformers.TextIteratorStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
        options = {"max_new_tokens": tokens, "do_sample": False, "streamer": streamer}
        options["min_new_tokens"] = tokens if body.get("ignore_eos") else 0
        thread = threading.Thread(target=model.generate, kwargs=dict(**inputs, **options))
        thread.start()
        for text in streamer:
            yield _event({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]})
        thread.join()
        yield _event({"choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]})
        asked = int(inputs["input_ids"].shape[1])
        usage = {"prompt_tokens": asked, "completion_tokens": tokens, "total_tokens": asked + tokens}
        yield _event({"choices": [], "usage": usage})
        yield "data: [DONE]\n\n"

    def complete(body: dict[str, Any] = Body(...)) -> StreamingResponse:  # noqa: B008 - FastAPI's way
        return StreamingResponse(events(body), media_type="text/event-stream")

    application.post("/v1/chat/completions", response_class=StreamingResponse)(complete)
    return application


def _event(fields: dict[str, Any]) -> str:
    return f"data: {json.dumps({'object': 'chat.completion.chunk', **fields})}\n\n"
