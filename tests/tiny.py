"""A checkpoint of a few kilobytes, and a workshop in which stand-ins convert and prove it in no time."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from builder import child, pipeline
from builder.plan import Options
from builder.target import Job
from builder.targets import onnx

HERE = Path(__file__).parent
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 16,
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
    "torch_dtype": "float32",
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 2,
}
LAYER = {
    "input_layernorm": (8,),
    "post_attention_layernorm": (8,),
    "self_attn.q_proj": (8, 8),
    "self_attn.k_proj": (4, 8),
    "self_attn.v_proj": (4, 8),
    "self_attn.o_proj": (8, 8),
    "mlp.gate_proj": (12, 8),
    "mlp.up_proj": (12, 8),
    "mlp.down_proj": (8, 12),
}


def checkpoint(folder: Path, words: str = "one two three four") -> Path:
    """Write a whole Hugging Face folder of a Llama with two layers of 8."""
    from safetensors.numpy import save_file
    from tokenizers import Tokenizer, models, pre_tokenizers

    folder.mkdir(parents=True)
    shapes = {"model.embed_tokens": (16, 8), "model.norm": (8,)}
    for layer in range(2):
        shapes |= {f"model.layers.{layer}.{name}": shape for name, shape in LAYER.items()}
    random = np.random.default_rng(0)
    weights = {
        f"{name}.weight": random.normal(size=shape).astype("float32") for name, shape in shapes.items()
    }
    save_file(weights, folder / "model.safetensors")
    vocabulary = {word: number for number, word in enumerate(["<unk>", "<s>", "</s>", *words.split()])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "chat_template": "{{ messages[0].content }}"}
    for name, value in (("config", CONFIG), ("tokenizer_config", settings), ("generation_config", {})):
        (folder / f"{name}.json").write_text(json.dumps(value))
    return folder


def tree(folder: Path) -> dict[str, bytes | None]:
    """Return every path below a folder with its bytes; None for folders."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def hidden(folder: Path) -> list[str]:
    """Return what a stage leaves behind when it is not swept; the lock may stay."""
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob(".*")
        if not path.name.endswith(".lock") and path.name != ".keep"
    )


class Workshop:
    """A cache, a checkpoint and a repository of their own; builds take the real way through every stage."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.monkeypatch = monkeypatch
        self.checkpoint = checkpoint(folder / "checkpoint")
        self.output = folder / "out" / "repository"
        self._runs = folder / "runs.txt"
        self.cache = folder / "cache"
        self.use_cache(self.cache)
        self.set(FAKE_RUNS=str(self._runs), FAKE_CONVERTER="ok", FAKE_PROOF="ok", FAKE_BYTES="64")
        monkeypatch.setattr(onnx, "convert", self._command)
        monkeypatch.setattr(onnx, "REQUIREMENTS", {"json": "json"})
        monkeypatch.setattr(child, "SECONDS_BETWEEN_LOOKS", 0.02)
        witness = folder / "witness"
        witness.write_text(f"#!/bin/sh\nexec '{sys.executable}' '{HERE / 'fake_proof.py'}' \"$@\"\n")
        witness.chmod(0o755)
        prove = importlib.import_module("builder.proving.child")
        monkeypatch.setattr(prove, "sys", SimpleNamespace(executable=str(witness)))

    def use_cache(self, folder: Path) -> None:
        self.cache = folder
        self.set(BUILDER_CACHE=str(folder))

    def set(self, **variables: str) -> None:
        """Set environment variables, which the stand-ins read."""
        for name, value in variables.items():
            self.monkeypatch.setenv(name, value)

    def runs(self, what: str = "convert") -> int:
        """Return how often a stand-in was started."""
        return self._runs.read_text().split().count(what) if self._runs.exists() else 0

    def build(self, output: Path | None = None, **arguments: Any) -> pipeline.Built:
        """Run the whole line but the boot; options of the plan and of `pipeline.build` by name."""
        known = {
            *("max_context", "quantize", "concurrency", "accelerate", "target", "gpu", "triton"),
            *("cache_type", "contract", "speculate", "ngram", "draft", "adapters"),
            *("tensor_parallel", "pipeline_parallel", "expert_parallel", "hosts", "settings"),
            *("calibration", "workload"),
        }
        options = Options(**{name: arguments.pop(name) for name in known & arguments.keys()})
        arguments = {"checkpoint": str(self.checkpoint), "verifying": False, **arguments}
        return pipeline.build("tiny", output or self.output, options, **arguments)

    def _command(self, job: Job) -> list[str]:
        return [
            sys.executable,
            str(HERE / "fake_converter.py"),
            str(job.checkpoint),
            str(job.out),
            job.quantization,
        ]


@pytest.fixture
def workshop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    return Workshop(tmp_path, monkeypatch)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mount small disks of their own: `disk("name", "1m")`; skipped where that is not permitted."""
    mounted: list[Path] = []

    def mount(name: str, size: str = "1m") -> Path:
        folder = tmp_path / name
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            pytest.skip("needs `mount`")
        if done.returncode:
            pytest.skip(f"needs the right to mount a small disk: {done.stderr.strip()}")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", str(folder)], check=True)
