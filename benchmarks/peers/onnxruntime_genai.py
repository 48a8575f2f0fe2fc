"""onnxruntime-genai on the very artifact that we serve: one batched Generator, or one for each row."""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
import onnxruntime_genai

from peers import Generate, Generation, Settings, generation


def raw(settings: Settings) -> Generate:
    config = onnxruntime_genai.Config(settings["model"])
    config.clear_providers()
    threads = {"intra_op_num_threads": settings["threads"]}
    config.overlay(json.dumps({"model": {"decoder": {"session_options": threads}}}))
    model = onnxruntime_genai.Model(config)

    def generator(rows: int, length: int, shortest: int) -> Any:
        parameters = onnxruntime_genai.GeneratorParams(model)
        # min_length keeps the end-of-text token from being chosen
        parameters.set_search_options(
            batch_size=rows, max_length=length, min_length=shortest, do_sample=False
        )
        return onnxruntime_genai.Generator(model, parameters)

    def together(prompts: list[list[int]], tokens: int) -> Generation:
        longest = max(map(len, prompts))
        # its batches are rectangles: shorter prompts repeat their first id, which costs what any id costs
        padded = [prompt[:1] * (longest - len(prompt)) + prompt for prompt in prompts]
        batch = generator(len(prompts), longest + tokens, longest + tokens)
        batch.append_tokens(np.array(padded, dtype=np.int32))
        steps = []
        first = 0.0
        for _ in range(tokens):
            batch.generate_next_token()
            steps.append(batch.get_next_tokens().tolist())
            first = first or time.perf_counter()
        return generation(first, [list(row) for row in zip(*steps, strict=True)])

    def apart(prompts: list[list[int]], tokens: int) -> Generation:
        every = []
        ids: list[list[int]] = [[] for _ in prompts]
        first = 0.0
        for prompt in prompts:
            every.append(generator(1, len(prompt) + tokens, len(prompt) + tokens))
            every[-1].append_tokens(np.array(prompt, dtype=np.int32))
        for _ in range(tokens):
            for one, row in zip(every, ids, strict=True):
                one.generate_next_token()
                row.append(int(one.get_next_tokens()[0]))
                first = first or time.perf_counter()
        return generation(first, ids)

    return together if settings["batched"] else apart
