"""The flags of `trtllm-build` (tensorrt_llm/commands/build.py, 1.0 to 1.2.1), of what a plan decided."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from builder import house
from builder.errors import UsageError

TOOL = "trtllm-build"

LOOKAHEAD = tuple(f"lookahead_{name}" for name in ("window_size", "ngram_size", "verification_set_size"))
"""Window, length of a passage, and how many passages are checked at once, by the backend's names."""

_PARALLEL = "lookahead_decoding"


@cache
def kinds() -> Mapping[str, Mapping[str, str]]:
    """Return data/tensorrtllm_arguments.toml: `build` (flags), `backend` (parameters) and `ours`."""
    path = house.folder("data") / "tensorrtllm_arguments.toml"
    return tomllib.loads(path.read_text(encoding="utf-8"))


def settable() -> dict[str, str]:
    """Return what a user may set, name -> kind of value; `kinds` in one."""
    return {name: kind for table in kinds().values() for name, kind in table.items()}


def flags(told: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the flags with their values, by name.

    Args:
        told: what was planned and set, flags and parameters of the backend by their names.

    Raises:
        UsageError: they do not go together.
    """
    every = {**told, **_lookahead(told)}
    _require_together(every)
    return tuple(_words({name: every[name] for name in sorted(kinds()["build"]) if name in every}))


def _words(told: Mapping[str, Any]) -> Iterator[str]:
    for name, value in told.items():
        if isinstance(value, bool):
            yield from [f"--{name}"] if value else []
        elif isinstance(value, list):
            yield from (f"--{name}", *value)
        else:
            yield from (f"--{name}", str(value))


def _lookahead(told: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the engine must know of lookahead decoding, where the backend is told of it.

    A step checks (window - 1 + passages) x (length - 1) tokens and, of passages longer than one, length - 2
    more (docs/source/legacy/advanced/lookahead.md: 83 of 7, 7, 7).
    """
    if told.get("decoding_mode") != "lookahead" or not all(name in told for name in LOOKAHEAD):
        return {}
    window, length, passages = (told[name] for name in LOOKAHEAD)
    most = (window - 1 + passages) * (length - 1) + max(0, length - 2)
    return {"speculative_decoding_mode": _PARALLEL, "max_draft_len": most}


def _require_together(told: Mapping[str, Any]) -> None:
    if told.get("speculative_decoding_mode") == _PARALLEL and told.get("decoding_mode") != "lookahead":
        raise UsageError(
            f"speculative_decoding_mode is {_PARALLEL}, and the backend is not told of it",
            expected=f"engine.decoding_mode=lookahead and {', '.join(LOOKAHEAD)}, which decide both",
        )
    drafted = told.get("max_draft_len", 0)
    if ("speculative_decoding_mode" in told) != (drafted > 0):
        raise UsageError("speculative_decoding_mode and max_draft_len", expected="both, or neither")
    if drafted and told.get("gather_context_logits"):
        raise UsageError(
            "gather_context_logits with tokens that are guessed ahead: trtllm-build refuses it",
            expected="one of them",
        )
    if told["use_paged_context_fmha"] != "enable":
        needing = [name for name in ("enable_kv_cache_reuse", "enable_chunked_context") if told.get(name)]
        if needing:
            raise UsageError(
                f"use_paged_context_fmha is {told['use_paged_context_fmha']} beside {' and '.join(needing)}",
                expected="enable: the cache is read in pages where a prompt begins in it",
                remedy=f"set engine.{needing[0]}=false as well, or leave both",
            )
    if "mlp_gate" in told.get("lora_target_modules", ()) and told.get("gemm_swiglu_plugin") == "fp8":
        raise UsageError(
            "gemm_swiglu_plugin is fp8, and a --lora changes gate_proj or up_proj: it adds no adapters",
            expected="one of them",
        )
    _require_room(told, drafted)
    block = told.get("tokens_per_block", 1)
    if block & (block - 1):
        raise UsageError(f"tokens_per_block is {block}", expected="a power of 2, such as 32 or 64")


def _require_room(told: Mapping[str, Any], drafted: int) -> None:
    """Raise UsageError where a step has no room for a token of each sequence, or a prompt none in a text."""
    least = told["max_batch_size"] * (1 + drafted)
    if told["max_num_tokens"] < least:
        raise UsageError(
            f"max_num_tokens is {told['max_num_tokens']}, and {told['max_batch_size']} sequences take "
            f"{1 + drafted} of a step each",
            expected=f"at least {least}",
            remedy=f"set engine.max_num_tokens={least}, or a smaller --concurrency",
        )
    if told["max_input_len"] > told["max_seq_len"]:
        raise UsageError(
            f"max_input_len is {told['max_input_len']}, and a text has at most {told['max_seq_len']} tokens",
            expected=f"1 to {told['max_seq_len']}",
        )
