"""trtllm-build's command line, as parse_arguments of TensorRT-LLM 1.0 to 1.2 has it; no TensorRT-LLM in it.

Run as a program it checks its arguments and the checkpoint, then writes engines of a header and nothing else.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

VERSION = "1.2.1"
SWITCH = ("enable", "disable")
NUMBERS = (
    "max_batch_size", "max_input_len", "max_seq_len", "max_beam_width", "max_num_tokens", "opt_num_tokens",
    "workers", "max_draft_len", "tokens_per_block", "max_lora_rank",
)  # fmt: skip
WORDS: dict[str, tuple[str, ...]] = {
    "kv_cache_type": ("continuous", "paged", "disabled"),
    "gemm_plugin": ("auto", "float16", "float32", "bfloat16", "int32", "fp8", "nvfp4", "disable"),
    "gpt_attention_plugin": ("auto", "float16", "float32", "bfloat16", "int32", "disable"),
    "gemm_swiglu_plugin": ("fp8", "disable"),
    "lora_plugin": ("auto", "float16", "float32", "bfloat16", "int32", "disable"),
    "low_latency_gemm_plugin": ("fp8", "disable"),
    "use_paged_context_fmha": SWITCH,
    "use_fp8_context_fmha": SWITCH,
    "use_fused_mlp": SWITCH,
    "multiple_profiles": SWITCH,
    "reduce_fusion": SWITCH,
    "user_buffer": SWITCH,
    "profiling_verbosity": ("layer_names_only", "detailed", "none"),
    "speculative_decoding_mode": (
        "draft_tokens_external", "lookahead_decoding", "medusa", "explicit_draft_tokens", "eagle",
    ),
}  # fmt: skip
LORA_MODULES = (
    "attn_qkv", "attn_q", "attn_k", "attn_v", "attn_dense", "mlp_h_to_4h", "mlp_gate", "mlp_4h_to_h",
)  # fmt: skip
SWITCHES = (
    "gather_context_logits",
    "gather_generation_logits",
    "fast_build",
    "strip_plan",
    "weight_sparsity",
)


def read(arguments: list[str]) -> argparse.Namespace:
    """Return what is asked for; SystemExit for what the grammar does not have."""
    parser = argparse.ArgumentParser(prog="trtllm-build", allow_abbrev=False)
    for name in ("checkpoint_dir", "output_dir", "input_timing_cache", "output_timing_cache"):
        parser.add_argument(f"--{name}", type=Path)
    for name in NUMBERS:
        parser.add_argument(f"--{name}", type=int, default=0)
    for name, words in WORDS.items():
        parser.add_argument(f"--{name}", choices=words)
    parser.add_argument("--lora_target_modules", nargs="+", choices=LORA_MODULES)
    for name in SWITCHES:
        parser.add_argument(f"--{name}", action="store_true")
    asked = parser.parse_args(arguments)
    if asked.gather_context_logits and asked.max_draft_len > 0:
        raise RuntimeError("Gather context logits is not support with draft len > 0.")
    return asked


def engine(version: tuple[int, int, int, int] = (10, 14, 1, 48)) -> bytes:
    """Return the header of a plan of TensorRT, with which the file of a real one begins."""
    return b"ftrt" + bytes(20) + bytes(version)


def build(asked: argparse.Namespace) -> None:
    """Write one engine for each rank and config.json, as Engine.save does."""
    config: dict[str, Any] = json.loads((asked.checkpoint_dir / "config.json").read_text())
    asked.output_dir.mkdir(exist_ok=True)
    for rank in range(config["mapping"]["world_size"]):
        if not (asked.checkpoint_dir / f"rank{rank}.safetensors").stat().st_size:
            raise RuntimeError(f"rank{rank}.safetensors is empty")
        (asked.output_dir / f"rank{rank}.engine").write_bytes(engine())
    told = {name: getattr(asked, name) for name in (*NUMBERS, *WORDS)}
    written = {"version": VERSION, "pretrained_config": config, "build_config": told}
    (asked.output_dir / "config.json").write_text(json.dumps(written))
    asked.output_timing_cache.write_text("timings")


if __name__ == "__main__":
    build(read(sys.argv[1:]))
