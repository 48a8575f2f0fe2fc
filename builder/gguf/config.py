"""Say what a GGUF header says in the words of Hugging Face's config.json and generation_config.json."""

from __future__ import annotations

import math
import struct
from typing import Any

from builder.errors import SourceError
from builder.gguf.header import Header

REQUIRED = {
    "hidden_size": "embedding_length",
    "intermediate_size": "feed_forward_length",
    "num_hidden_layers": "block_count",
    "num_attention_heads": "attention.head_count",
    "max_position_embeddings": "context_length",
}
"""Hugging Face's field -> llama.cpp's key, less the architecture's name in front."""

END_TOKENS = ("eos_token_id", "eot_token_id", "eom_token_id")

LOW_FREQUENCY, HIGH_FREQUENCY, ORIGINAL_CONTEXT = 1.0, 4.0, 8192
"""The constants that every published Llama 3.x has; the file holds only what follows from them."""


def config(header: Header) -> dict[str, Any]:
    """Translate the header; raise SourceError naming every key that is missing."""
    name = _architecture(header)
    settings = header.settings
    _refuse(header, name)
    missing = [f"{name}.{key}" for key in REQUIRED.values() if f"{name}.{key}" not in settings]
    if "token_embd.weight" not in header.tensors:
        missing.append("token_embd.weight")
    if missing:
        raise SourceError(
            f"{header.path} lacks {', '.join(missing)}",
            expected="every key that decides the model's shape, as one number",
            remedy="convert the model to GGUF again with a current llama.cpp",
        )
    translated: dict[str, Any] = {field: settings[f"{name}.{key}"] for field, key in REQUIRED.items()}
    heads = translated["num_attention_heads"]
    translated |= {
        "model_type": _model_type(header, name),
        "vocab_size": header.tensors["token_embd.weight"].shape[0],
        "num_key_value_heads": settings.get(f"{name}.attention.head_count_kv", heads),
        "head_dim": settings.get(f"{name}.attention.key_length"),
        "hidden_act": "silu",
        "rms_norm_eps": shortest(settings.get(f"{name}.attention.layer_norm_rms_epsilon", 1e-5)),
        "rope_theta": shortest(settings.get(f"{name}.rope.freq_base", 10000.0)),
        "tie_word_embeddings": "output.weight" not in header.tensors,
        "attention_bias": "blk.0.attn_q.bias" in header.tensors,
        "mlp_bias": "blk.0.ffn_gate.bias" in header.tensors,
    }
    translated |= _tokens(header)
    window = settings.get(f"{name}.attention.sliding_window")
    if window:
        translated |= {"sliding_window": window, "use_sliding_window": True}
    scaling = _rope_scaling(header, name, translated)
    if scaling:
        translated["rope_scaling"] = scaling
    return translated


def generation(header: Header) -> dict[str, Any]:
    """Return the ids that begin, end and pad a sequence; a chat model may have several that end it."""
    ends = [header.settings.get(f"tokenizer.ggml.{name}") for name in END_TOKENS]
    distinct = list(dict.fromkeys(end for end in ends if end is not None))
    return _tokens(header) | ({"eos_token_id": distinct} if len(distinct) > 1 else {})


LARGEST_FLOAT32 = 3.4028234663852886e38


def shortest(value: float) -> float:
    """Return the shortest decimal that is the same float32: 9.999999747378752e-06 is 1e-05."""
    if not math.isfinite(value):
        return value
    packed = struct.pack("<f", value)
    for digits in range(1, 10):
        rounded = float(f"{value:.{digits}g}")
        if abs(rounded) <= LARGEST_FLOAT32 and struct.pack("<f", rounded) == packed:
            return rounded
    return value


def _architecture(header: Header) -> str:
    name = header.settings.get("general.architecture")
    if not isinstance(name, str):
        raise SourceError(
            f"{header.path} lacks general.architecture",
            expected="the architecture's name",
            remedy="convert the model to GGUF again with a current llama.cpp",
        )
    return name


def _refuse(header: Header, name: str) -> None:
    if header.settings.get("split.count", 0) > 1:
        raise SourceError(
            f"{header.path} is one of {header.settings['split.count']} parts",
            expected="a GGUF file in one piece",
            remedy="join the parts with llama-gguf-split --merge",
        )
    if header.settings.get(f"{name}.expert_count", 0):
        raise SourceError(
            f"{header.path} is a mixture of {header.settings[f'{name}.expert_count']} experts",
            expected="a dense model",
            remedy="pass a checkpoint of a dense model",
        )


def _model_type(header: Header, name: str) -> str:
    # llama.cpp calls both of them llama; without a window their graphs are the same
    if name == "llama" and header.settings.get("llama.attention.sliding_window"):
        return "mistral"
    return name


def _tokens(header: Header) -> dict[str, Any]:
    names = {"bos_token_id": "bos", "eos_token_id": "eos", "pad_token_id": "padding"}
    found = {field: header.settings.get(f"tokenizer.ggml.{key}_token_id") for field, key in names.items()}
    return {field: value for field, value in found.items() if value is not None}


def _rope_scaling(header: Header, name: str, translated: dict[str, Any]) -> dict[str, Any] | None:
    if "rope_freqs.weight" in header.tensors:
        return _llama3_scaling(header, translated)
    kind = header.settings.get(f"{name}.rope.scaling.type", "none")
    if kind == "none":
        return None
    if kind not in ("linear", "yarn"):
        raise SourceError(
            f"{header.path}: {name}.rope.scaling.type is {kind!r}",
            expected="none, linear or yarn, or a rope_freqs.weight tensor",
            remedy="pass the Hugging Face checkpoint of this model instead",
        )
    scaling = {"rope_type": kind, "factor": shortest(header.settings.get(f"{name}.rope.scaling.factor", 1.0))}
    original = header.settings.get(f"{name}.rope.scaling.original_context_length")
    if original:
        scaling["original_max_position_embeddings"] = original
    return scaling


def _llama3_scaling(header: Header, translated: dict[str, Any]) -> dict[str, Any]:
    tensor = header.tensors["rope_freqs.weight"]
    raw = header.bytes_of(header.places["rope_freqs.weight"].offset, tensor.nbytes)
    if tensor.dtype != "F32":
        raise _unknown_scaling(header)
    stored = struct.unpack(f"<{len(raw) // 4}f", raw)
    factor = shortest(max(stored, default=1.0))
    expected = llama3_factors(len(stored), translated["rope_theta"], factor)
    if not all(math.isclose(one, other, rel_tol=1e-4) for one, other in zip(stored, expected, strict=True)):
        raise _unknown_scaling(header)
    return {
        "rope_type": "llama3",
        "factor": factor,
        "low_freq_factor": LOW_FREQUENCY,
        "high_freq_factor": HIGH_FREQUENCY,
        "original_max_position_embeddings": ORIGINAL_CONTEXT,
    }


def llama3_factors(count: int, theta: float, factor: float) -> list[float]:
    """Return what Llama 3's scaling divides each of `count` rotary frequencies by."""
    factors = []
    for index in range(count):
        turns = ORIGINAL_CONTEXT / (2 * math.pi * theta ** (index / count))
        share = (turns - LOW_FREQUENCY) / (HIGH_FREQUENCY - LOW_FREQUENCY)
        share = min(max(share, 0.0), 1.0)
        factors.append(1 / ((1 - share) / factor + share))
    return factors


def _unknown_scaling(header: Header) -> SourceError:
    return SourceError(
        f"{header.path}: rope_freqs.weight does not follow Llama 3's scaling",
        expected=f"low {LOW_FREQUENCY}, high {HIGH_FREQUENCY}, original context {ORIGINAL_CONTEXT}",
        remedy="pass the Hugging Face checkpoint of this model instead",
    )
