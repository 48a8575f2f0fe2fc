"""How the peers compute a vector: by the library that people install, or by a padded ONNX graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from encoder.peers import Embed, Settings


def engine(settings: Settings) -> Embed:
    """Return the engine that the settings name, "sentence_transformers" or "onnxruntime"."""
    return {"sentence_transformers": sentence_transformers, "onnxruntime": onnxruntime}[settings["engine"]](
        settings
    )


def sentence_transformers(settings: Settings) -> Embed:
    """Return SentenceTransformer.encode, which sorts by length and pads within a batch."""
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(settings["threads"])
    model = SentenceTransformer(settings["source"], device="cpu")
    batch = settings.get("batch", 64)

    def embed(texts: Sequence[str]) -> Any:
        return model.encode(list(texts), batch_size=batch, show_progress_bar=False)

    return embed


def onnxruntime(settings: Settings) -> Embed:
    """Return the padded graph with the tokenizer before it; several threads may call it."""
    import numpy as np
    from tokenizers import Tokenizer

    session = load(settings["padded"], settings)
    tokenizer = Tokenizer.from_file(settings["tokenizer"])
    tokenizer.enable_truncation(256)
    tokenizer.enable_padding()

    def embed(texts: Sequence[str]) -> Any:
        encoded = tokenizer.encode_batch(list(texts))
        given = {
            "input_ids": np.array([one.ids for one in encoded], dtype=np.int64),
            "attention_mask": np.array([one.attention_mask for one in encoded], dtype=np.int64),
        }
        return session.run(None, given)[0]

    return embed


def load(graph: str, settings: Settings) -> Any:
    """Return an InferenceSession with the threads of the settings."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = settings["threads"]
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
