"""llama.cpp by xllamacpp: its server's own continuous batching, called in the process or over HTTP."""

from __future__ import annotations

import threading
import time
from typing import Any

import xllamacpp

from peers import Generate, Generation, Settings

SLOTS = 16
TOKENS_A_SLOT = 512
# The prompts of a benchmark repeat; an answer out of the prompt cache would not measure the model.
BODY = {"cache_prompt": False, "ignore_eos": True}


def raw(settings: Settings) -> Generate:
    server = _server(settings)

    def generate(prompts: list[list[int]], tokens: int) -> Generation:
        firsts: list[float] = []
        counts: list[int] = []

        def ask(prompt: list[int]) -> None:
            heard = False

            def hear(reply: dict[str, Any]) -> bool:
                nonlocal heard
                if not heard:
                    firsts.append(time.perf_counter())
                    heard = True
                if "usage" in reply:
                    counts.append(reply["usage"]["completion_tokens"])
                return False

            body = {"prompt": prompt, "n_predict": tokens, "temperature": 0, "stream": True}
            server.handle_completions(body | BODY | {"stream_options": {"include_usage": True}}, hear)

        threads = [threading.Thread(target=ask, args=(prompt,)) for prompt in prompts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return Generation(min(firsts), sum(counts), [])

    return generate


def serve(settings: Settings) -> tuple[str, dict[str, Any]]:
    server = _server(settings)
    _KEPT.append(server)
    return str(server.listening_address), BODY


_KEPT: list[Any] = []


def _server(settings: Settings) -> Any:
    parameters = xllamacpp.CommonParams()
    parameters.model.path = settings["gguf"]
    parameters.n_parallel = SLOTS
    parameters.n_ctx = SLOTS * TOKENS_A_SLOT
    parameters.cpuparams.n_threads = settings["threads"]
    parameters.cpuparams_batch.n_threads = settings["threads"]
    parameters.verbosity = -1
    return xllamacpp.Server(parameters)
