"""Small GGUF files written by the gguf package, the format's reference."""

from pathlib import Path

import gguf
import numpy as np

LLAMA_TOKENS = ["<unk>", "<s>", "</s>", *[f"<0x{byte:02X}>" for byte in range(256)]]
PIECES = [
    "▁",
    "h",
    "e",
    "l",
    "o",
    "w",
    "r",
    "d",
    "▁h",
    "el",
    "lo",
    "▁hel",
    "▁hello",
    "▁w",
    "or",
    "ld",
    "<tool>",
]
"""The longer pieces in the order of their scores, the best first."""

SHAPES = {
    "token_embd.weight": (None, 64),
    "blk.0.attn_norm.weight": (64,),
    "blk.0.attn_q.weight": (64, 64),
    "blk.0.attn_k.weight": (32, 64),
    "blk.0.attn_v.weight": (32, 64),
    "blk.0.attn_output.weight": (64, 64),
    "blk.0.ffn_norm.weight": (64,),
    "blk.0.ffn_gate.weight": (96, 64),
    "blk.0.ffn_up.weight": (96, 64),
    "blk.0.ffn_down.weight": (64, 96),
    "output_norm.weight": (64,),
}


def sentencepiece(writer: gguf.GGUFWriter) -> int:
    """Add a Llama 2 style vocabulary; return its size."""
    tokens = LLAMA_TOKENS + PIECES
    types = [2, 3, 3] + [6] * 256 + [1] * (len(PIECES) - 1) + [4]
    scores = [0.0] * len(LLAMA_TOKENS) + [-1000.0] * 8 + [-float(rank) for rank in range(len(PIECES) - 8)]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores(scores)
    writer.add_token_types(types)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    return len(tokens)


def byte_level(writer: gguf.GGUFWriter, pre: str = "llama-bpe", **ids: int) -> int:
    """Add a byte-level vocabulary with one merge per pair of digits and letters; return its size."""
    from tokenizers.pre_tokenizers import ByteLevel

    alphabet = sorted(ByteLevel.alphabet())
    merged = ["12", "123", "ab", "abc"]
    tokens = [*alphabet, *merged, "<|begin|>", "<|end|>", "<|eot|>", "<tool>"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_merges(["1 2", "12 3", "a b", "ab c"])
    writer.add_token_types([1] * 260 + [3, 3, 3, 4])
    writer.add_bos_token_id(260)
    writer.add_eos_token_id(261)
    writer.add_eot_token_id(262)
    return len(tokens)


def write(
    path: Path,
    *,
    architecture: str = "llama",
    vocabulary=sentencepiece,
    change=None,
    kind: gguf.GGMLQuantizationType = gguf.GGMLQuantizationType.F32,
    extra: dict[str, np.ndarray] | None = None,
    without: tuple[str, ...] = (),
) -> dict[str, np.ndarray]:
    """Write a model of one layer; return its weights as float32 in llama.cpp's order.

    `change(writer)` may add settings; matrices are stored as `kind`; `extra` adds tensors.
    """
    writer = gguf.GGUFWriter(path, architecture)
    settings = {
        "block_count": 1,
        "context_length": 128,
        "embedding_length": 64,
        "feed_forward_length": 96,
        "attention.head_count": 4,
        "attention.head_count_kv": 2,
    }
    for key, value in settings.items():
        if key not in without:
            writer.add_uint32(f"{architecture}.{key}", value)
    writer.add_float32(f"{architecture}.attention.layer_norm_rms_epsilon", 1e-5)
    writer.add_float32(f"{architecture}.rope.freq_base", 500000.0)
    size = vocabulary(writer) if vocabulary else 16
    if change:
        change(writer)
    random = np.random.default_rng(0)
    tensors = {
        name: random.standard_normal([extent or size for extent in shape], dtype=np.float32)
        for name, shape in SHAPES.items()
        if name not in without
    }
    tensors |= extra or {}
    for name, value in tensors.items():
        if value.ndim == 2 and kind != gguf.GGMLQuantizationType.F32:
            packed = gguf.quants.quantize(value, kind)
            writer.add_tensor(name, packed, raw_dtype=kind)
            tensors[name] = gguf.quants.dequantize(packed, kind)
        else:
            writer.add_tensor(name, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tensors
