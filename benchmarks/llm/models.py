"""The models that are raced, and how each is built: SmolLM2-135M, and an 8B of random weights."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench import deployment
from workbench.children import BENCHMARKS

from llm.stage import LONGEST, MOST_AT_ONCE, SHARE_OF_GPU, Stage

ONLY_OURS = ("scheduling_policy",)
"""Engine arguments that would slow the raw engine and peers, if anything."""

OTHERS_AT_ONCE = 32
"""Requests that other engines than vLLM are planned for: onnxruntime-genai is not raced, only verified."""


@dataclass(frozen=True)
class Model:
    """A name in repositories and figures; `shape` is that of random weights, None of a recipe.

    `quantize` is how `builder build` rounds the weights of the model `of`, None the model's own type.
    """

    name: str
    shape: str | None = None
    quantize: str | None = None
    of: str | None = None

    @property
    def weights(self) -> str:
        """Whose weights it has."""
        return self.of or self.name


SMOLLM2 = Model(deployment.NAME)
RANDOM_8B = Model("8b", shape="8b")
PLAIN = (SMOLLM2, RANDOM_8B)
QUANTIZED = tuple(
    Model(f"{model.name}-{quantize}", model.shape, quantize, model.name)
    for model in PLAIN
    for quantize in ("fp8", "awq")
)
MODELS = {model.name: model for model in (*PLAIN, *QUANTIZED)}


@dataclass(frozen=True)
class Built:
    """A model's repository."""

    model: Model
    repository: Path

    @property
    def folder(self) -> Path:
        return self.repository / self.model.name / "1"

    @property
    def artifact(self) -> Path:
        return self.folder / "model"

    @property
    def tokenizer(self) -> Path:
        return self.folder / "tokenizer"

    @property
    def arguments(self) -> dict[str, Any]:
        """Return what the repository tells its engine."""
        settings = json.loads((self.folder / "settings.json").read_text(encoding="utf-8"))
        arguments: dict[str, Any] = settings["engine_arguments"]
        return arguments

    @property
    def peers_arguments(self) -> dict[str, Any]:
        """Return what the raw engine and peers are told: the same, less what only we make use of."""
        return {name: value for name, value in self.arguments.items() if name not in ONLY_OURS}


def where(stage: Stage, model: Model, target: str | None = None) -> Built:
    """Return a model's repository of a target, built or not."""
    return Built(model, stage.work / "repositories" / f"{model.name}-{target or stage.target}")


def built(stage: Stage, model: Model) -> Built:
    """Return what an earlier part has built; raise SystemExit where it has not."""
    found = where(stage, model)
    if not (found.folder / "settings.json").is_file():
        raise SystemExit(f"{found.repository} is not built yet: run --part build-{model.name} before")
    return found


def checkpoint(stage: Stage, model: Model) -> Path:
    """Return where the random weights of a model are."""
    return stage.work / "checkpoints" / model.weights


def build(stage: Stage, model: Model, target: str | None = None) -> Built:
    """Run `builder build` unless that was done; a build that was interrupted has published nothing."""
    found = where(stage, model, target)
    if not (found.folder / "settings.json").is_file():
        run("builder build", deployment.builder(*command(stage, found, target or stage.target)))
    return found


def command(stage: Stage, wanted: Built, target: str) -> list[str]:
    """Return the arguments of `builder build`."""
    model = wanted.model
    given = ["--checkpoint", str(checkpoint(stage, model))] if model.shape else []
    device = ["--gpu", stage.gpu] if stage.gpu else []
    sizes = ["--max-context", str(LONGEST), "--concurrency", str(_at_once(stage, target))]
    # int4, what a CPU is planned for, loses all of weights that are random and few
    given += ["--quantize", "fp32"] if model.shape and stage.rehearses and not model.quantize else []
    given += _rounded(stage, model) if model.quantize else []
    told = ["--set", f"engine.gpu_memory_utilization={SHARE_OF_GPU}"] if target == "vllm" else []
    out = ["--lock", "none", "--no-verify", "--output", str(wanted.repository)]
    return ["build", model.weights, *given, "--target", target, *device, *sizes, *told, *out]


def _rounded(stage: Stage, model: Model) -> list[str]:
    """Return what `builder build` is told of a quantization; a CPU has one of 8 bits to rehearse with."""
    return ["--quantize", "int8" if stage.rehearses else str(model.quantize), "--name", model.name]


def _at_once(stage: Stage, target: str) -> int:
    if stage.rehearses:
        return 8
    return MOST_AT_ONCE if target == "vllm" else OTHERS_AT_ONCE


def make_checkpoint(stage: Stage, model: Model) -> Path:
    """Make the random weights of a model, with SmolLM2's tokenizer, unless they are there."""
    folder = checkpoint(stage, model)
    if not folder.is_dir():
        told = {
            "folder": str(folder),
            "tokenizer": str(stage.tokenizer or built(stage, SMOLLM2).tokenizer),
            "shape": "tiny" if stage.rehearses else model.shape,
            "device": "cpu" if stage.rehearses else "cuda",
        }
        run("random weights", [sys.executable, "-m", "llm.random_llama", json.dumps(told)], cwd=BENCHMARKS)
    return folder


def run(what: str, line: list[str], *, cwd: Path = deployment.ROOT) -> None:
    """Run a command, its words on stderr; raise SystemExit when it fails."""
    print(f"{what}: {' '.join(line)}", file=sys.stderr, flush=True)
    done = subprocess.run(line, cwd=cwd, stdout=sys.stderr)
    if done.returncode:
        raise SystemExit(f"{what} ended with code {done.returncode}")
