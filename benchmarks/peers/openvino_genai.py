"""OpenVINO GenAI: its continuous batching pipeline reads the GGUF itself."""

from __future__ import annotations

import itertools
import time

import numpy as np
import openvino
import openvino_genai

from peers import Generate, Generation, Settings, generation


def raw(settings: Settings) -> Generate:
    scheduling = openvino_genai.SchedulerConfig()
    scheduling.cache_size = 1  # GB
    scheduling.max_num_batched_tokens = 512
    scheduling.max_num_seqs = 32
    scheduling.enable_prefix_caching = False
    properties = {
        "INFERENCE_PRECISION_HINT": settings["precision"],
        "INFERENCE_NUM_THREADS": settings["threads"],
    }
    pipeline = openvino_genai.ContinuousBatchingPipeline(settings["gguf"], scheduling, "CPU", properties)
    numbers = itertools.count()

    def generate(prompts: list[list[int]], tokens: int) -> Generation:
        wanted = openvino_genai.GenerationConfig()
        wanted.max_new_tokens = tokens
        wanted.ignore_eos = True
        wanted.do_sample = False
        handles = []
        for prompt in prompts:
            ids = openvino.Tensor(np.array([prompt], dtype=np.int64))
            handles.append(pipeline.add_request(next(numbers), ids, wanted))
        first = 0.0
        while pipeline.has_non_finished_requests():
            pipeline.step()
            first = first or time.perf_counter()
        return generation(first, [list(handle.read_all()[0].generated_ids) for handle in handles])

    return generate
