"""A decoder that a build takes the whole real way in a minute or two: random weights, and few words.

It has layers enough that a token takes its time: what answers at once cannot be cancelled, nor be overloaded.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import tiny_decoders

from builder.calibration import texts

VOCABULARY = 512
ENDS = 2
SIZES: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": VOCABULARY,
    "hidden_size": 384,
    "intermediate_size": 1056,
    "num_hidden_layers": 16,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
    "bos_token_id": 1,
    "eos_token_id": ENDS,
    "pad_token_id": ENDS,
    "torch_dtype": "float32",
}
TEMPLATE = (
    "{% for message in messages %}<s>{{ message['role'] }}\n{{ message['content'] }}</s>\n{% endfor %}"
    # it says again what it read last, which is to be a word
    "{% if add_generation_prompt %}<s>assistant{% endif %}"
)


def checkpoint(folder: Path) -> Path:
    """Write a Hugging Face folder of a Llama with sixteen layers of 384."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    told = tiny_decoders.config("llama", **SIZES)
    # it expects some tokens far more than others: of what is all alike the least rounding chooses another
    weights = {
        name: np.ones_like(values) if values.ndim == 1 else values / (6 if "embed" in name else 32)
        for name, values in tiny_decoders.weights(told).items()
    }
    tiny_decoders.write(folder, told, weights)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<unk>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts.SHIPPED.read_text(encoding="utf-8").splitlines(), trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "chat_template": TEMPLATE,
        "bos_token": "<s>",
        "eos_token": "</s>",
        "pad_token": "</s>",
        "unk_token": "<unk>",
    }
    for name, value in (("tokenizer_config", settings), ("generation_config", {"eos_token_id": ENDS})):
        (folder / f"{name}.json").write_text(json.dumps(value))
    return folder
