"""What benchmarks/encoder_gpu.py serves: two models in two precisions, built for the GPU of the machine."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from workbench import deployment
from workbench.children import BENCHMARKS

from encoder import ours

MODELS = ("minilm", "bert-base")
PRECISIONS = ("fp32", "fp16")

_OF_SENTENCES = ("modules.json", "1_Pooling/config.json")
_OF_WORDS = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")


@dataclass(frozen=True)
class Case:
    """A model in one precision."""

    model: str
    precision: str

    @property
    def name(self) -> str:
        return f"{self.model.replace('-', '_')}_{self.precision}"


CASES = tuple(Case(model, precision) for model in MODELS for precision in PRECISIONS)


@dataclass(frozen=True)
class Built:
    """A case as a repository, with the ordinary export of the same weights beside it."""

    case: Case
    repository: Path
    padded: Path

    @property
    def encoder(self) -> str:
        return f"{self.case.model}_encoder"

    @property
    def files(self) -> dict[str, str]:
        """Return what the raw row is told: both graphs and the tokenizer."""
        return {
            "packed": str(self.repository / self.encoder / "1" / "model.onnx"),
            "padded": str(self.padded),
            "tokenizer": str(self.tokenizer),
        }

    @property
    def tokenizer(self) -> Path:
        return self.repository / f"{self.case.model}_tokenizer" / "1" / "tokenizer" / "tokenizer.json"


def built(case: Case, folder: Path, gpu: str | None) -> Built:
    """Build what is missing in a folder: checkpoint, repository and ordinary export.

    Without a `gpu` all is for the CPU, as a rehearsal.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found = Built(case, folder / case.name, folder / f"{case.name}.onnx")
    if not found.repository.is_dir():
        _run(
            "build", deployment.builder(*_build(case, found.repository, checkpoint(case.model, folder), gpu))
        )
    if not found.padded.is_file():
        source = _in_precision(case, checkpoint(case.model, folder), folder)
        partial = found.padded.with_suffix(".partial")
        command = [sys.executable, "-m", "encoder.padded", str(source), str(partial)]
        _run("the ordinary export", command, cwd=BENCHMARKS)
        partial.rename(found.padded)
    return found


def checkpoint(model: str, folder: Path) -> Path:
    """Return a model's checkpoint; that of bert-base has random weights, for only its shape counts here."""
    return ours.source() if model == "minilm" else _random_bert(folder / "checkpoint-bert-base")


def _build(case: Case, repository: Path, source: Path, gpu: str | None) -> list[str]:
    given = [] if case.model == "minilm" else ["--checkpoint", str(source)]
    device = ["--gpu", gpu] if gpu else []
    return [
        "build",
        case.model,
        *given,
        *device,
        "--quantize",
        case.precision,
        *("--lock", "none"),
        "--output",
        str(repository),
    ]


def _random_bert(folder: Path) -> Path:
    """Write a model of bert-base-uncased's published shape, which is transformers' default for BERT."""
    if folder.is_dir():
        return folder
    import torch
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    partial = folder.with_suffix(".partial")
    model = BertModel(BertConfig(), add_pooling_layer=False)
    model.save_pretrained(partial)
    _copy(_OF_WORDS, partial)
    (partial / "1_Pooling").mkdir(exist_ok=True)
    _copy(_OF_SENTENCES, partial)
    pooling = partial / "1_Pooling" / "config.json"
    # MiniLM's pooling, of vectors twice as wide
    pooling.write_text(pooling.read_text().replace("384", str(model.config.hidden_size)))
    partial.rename(folder)
    return folder


def _copy(names: tuple[str, ...], folder: Path) -> None:
    for name in names:
        shutil.copyfile(ours.source() / name, folder / name)


def _in_precision(case: Case, source: Path, folder: Path) -> Path:
    """Return a checkpoint whose tensors have the precision: an export keeps what it finds."""
    if case.precision == "fp32":
        return source
    kept = folder / f"checkpoint-{case.name}"
    if not kept.is_dir():
        import torch
        from transformers import AutoModel

        partial = kept.with_suffix(".partial")
        AutoModel.from_pretrained(source, dtype=torch.float16).save_pretrained(partial)
        partial.rename(kept)
    return kept


def _run(what: str, command: list[str], *, cwd: Path = deployment.ROOT) -> None:
    print(f"{what}: {' '.join(command)}", file=sys.stderr, flush=True)
    done = subprocess.run(command, cwd=cwd, stdout=sys.stderr)
    if done.returncode:
        raise SystemExit(f"{what} ended with code {done.returncode}")
