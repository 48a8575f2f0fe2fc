"""A Llama of random weights and SmolLM2's tokenizer: `python -m llm.random_llama TOLD`.

Its layers add to its embeddings as much as trained ones do, so that what rounding to bfloat16 changes stays
as small as there: with every matrix drawn alike 32 of them would blur the choice of one token in seventeen.
Every token that it can choose is text by itself: rows of the last matrix that belong to special tokens and to
pieces of characters are 0, below the best of 49,000 others. So each makes a server say something at once.
Most tokens have one that likely follows, as in texts: of 49,000 logits drawn alike the best two are so near
that any rounding changes their order, and no gate could tell a good quantization of such a model from a bad
one.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

SEED = 0
FOLLOWER = (4.0, 16.0)
"""Logits of what likely follows, least and most; the best of all others has about 5.6 of an 8B."""

_COMMON = {"vocab_size": 49152, "rms_norm_eps": 1e-5, "rope_theta": 500000.0, "max_position_embeddings": 8192}

# https://huggingface.co/meta-llama/Llama-3.1-8B/blob/main/config.json, but for the vocabulary
_8B = {
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
}
SHAPES: dict[str, dict[str, int]] = {
    "8b": _8B,
    "8b_two_layers": {**_8B, "num_hidden_layers": 2},
    "tiny": {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    },
}


def silent(tokenizer: Path, vocabulary: int) -> list[int]:
    """Return the ids that are no text by themselves."""
    from tokenizers import Tokenizer

    known = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    texts = known.decode_batch([[token] for token in range(vocabulary)], skip_special_tokens=True)
    return [token for token, text in enumerate(texts) if not text or "\ufffd" in text]


def make(folder: Path, tokenizer: Path, shape: str, device: str) -> None:
    """Write the checkpoint in bfloat16; the same seed on the same device gives the same weights."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        **_COMMON,
        **SHAPES[shape],
        tie_word_embeddings=False,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
        dtype="bfloat16",
    )
    torch.manual_seed(SEED)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device(device):
        model = LlamaForCausalLM(config)
    with torch.no_grad():
        model.model.embed_tokens.weight.div_(config.initializer_range)
        for layer in model.model.layers:
            for matrix in (layer.self_attn.o_proj, layer.mlp.down_proj):
                # as GPT-2 begins (Radford et al. 2019, 2.3): two of these a layer are added up
                matrix.weight.mul_((2 * config.num_hidden_layers) ** -0.5)
        without_text = silent(tokenizer, _COMMON["vocab_size"])
        model.lm_head.weight[without_text] = 0  # type: ignore[arg-type]
        _let_follow(model, without_text)
    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    model.save_pretrained(partial)
    for file in tokenizer.iterdir():
        shutil.copyfile(file, partial / file.name)
    partial.rename(folder)


def _let_follow(model: Any, without_text: list[int]) -> None:
    """Add to the last matrix, in a row for each token that is text, the embedding of the one before it.

    They follow one another in one circle, so that no answer repeats itself before it has told all of them.
    """
    import torch

    embeddings, last = model.model.embed_tokens.weight, model.lm_head.weight
    texts = torch.ones(len(last), dtype=torch.bool, device=last.device)
    texts[without_text] = False
    circle = texts.nonzero().flatten()
    circle = circle[torch.randperm(len(circle), device=last.device)]
    heard = circle[:256]
    states = model.model(heard[None]).last_hidden_state[0]
    share = (states.float() * embeddings[heard].float()).sum(-1).mean()
    logits = torch.empty(len(circle), 1, dtype=torch.float32, device=last.device).uniform_(*FOLLOWER)
    last[circle.roll(-1)] += (logits / share * embeddings[circle]).to(last.dtype)


def main(told: dict[str, Any]) -> None:
    folder = Path(told["folder"])
    folder.parent.mkdir(parents=True, exist_ok=True)
    make(folder, Path(told["tokenizer"]), told["shape"], told["device"])


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
