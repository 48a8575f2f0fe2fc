"""What the executor of TensorRT-LLM refuses when it loads an engine: numbers, GPUs, and what no engine has.

Source: TensorRT-LLM 1.2, cpp/tensorrt_llm: executor/kvCacheConfig.cpp, executor/executorImpl.cpp and
runtime/gptJsonConfig.cpp.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from builder.errors import UsageError
from builder.inflight_batcher.engine_folder import EngineFolder

_WITHIN_ONE = ("kv_cache_free_gpu_mem_fraction", "cross_kv_cache_fraction")
_POSITIVE = ("max_beam_width", "max_tokens_in_paged_kv_cache", "max_attention_window_size")
_DRAFTING = {
    "medusa": "medusa",
    "lookahead": "lookahead_decoding",
    "redrafter": "explicit_draft_tokens",
    "eagle": "eagle",
}
"""decoding_mode -> the speculative_decoding_mode that an engine must have been built with."""


def require_numbers(given: Mapping[str, Any]) -> None:
    """Raise UsageError for a number that is read and then refused."""
    for name in _WITHIN_ONE:
        if name in given and not 0 < given[name] < 1:
            raise UsageError(f"parameter {name} is {given[name]}", expected="a share above 0 and below 1")
    for name in _POSITIVE:
        value = given.get(name, 1)
        if min(value if isinstance(value, list | tuple) else [value]) < 1:
            raise UsageError(f"parameter {name} is {value}", expected="at least 1")


def require_devices(text: str, ranks: int) -> None:
    """Raise UsageError for gpu_device_ids that name no GPUs, or not one for each rank.

    Args:
        text: numbers between commas; ";" is between instances of the model.
        ranks: of the engine, 0 where that is not known.
    """
    for instance in text.split(";") if text else []:
        found = [word.strip() for word in instance.split(",")]
        numbers = all(word.isascii() and word.isdigit() for word in found)
        named = {int(word) for word in found} if numbers else set()
        if not numbers or len(named) < len(found) or len(found) != (ranks or len(found)):
            count = f"{ranks} different numbers" if ranks else "different numbers"
            raise UsageError(
                f"parameter gpu_device_ids is {text!r}",
                expected=f"{'one number' if ranks == 1 else count} of GPUs between commas, one for each rank",
            )


def require_built(given: Mapping[str, Any], engine: EngineFolder) -> None:
    """Raise UsageError for what an engine would have to be built for, and is not."""
    beams = given.get("max_beam_width", 1)
    if engine.max_beam_width and beams > engine.max_beam_width:
        raise UsageError(
            f"parameter max_beam_width is {beams}, and {engine.path} was built for {engine.max_beam_width}",
            expected=f"1 to {engine.max_beam_width}",
            remedy="fill in no more, or build an engine with a larger --max_beam_width",
        )
    mode = given.get("decoding_mode", "")
    needed = _DRAFTING.get(mode, "")
    if needed and needed != engine.drafting:
        raise UsageError(
            f"parameter decoding_mode is {mode}, and {engine.path} was built with "
            f"speculative_decoding_mode {engine.drafting or 'none'}",
            expected=f"an engine built with speculative_decoding_mode {needed}",
            remedy="leave decoding_mode empty, or build such an engine",
        )
