"""Checkpoints of a few kilobytes that answer in one pass, and the workshop in which stand-ins build them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_graphs
from tiny import HERE, Workshop

from builder import architecture
from builder.target import Job
from builder.targets import onnxruntime

BERT = {
    "model_type": "bert",
    "vocab_size": 16,
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 32,
    "type_vocab_size": 2,
    "pad_token_id": 1,
}
VIT = {
    "model_type": "vit",
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 4,
    "patch_size": 2,
}
CLASSES = {
    "embedding": "BertModel",
    "classification": "BertForSequenceClassification",
    "token_classification": "BertForTokenClassification",
    "reranking": "BertForSequenceClassification",
    "image_classification": "ViTForImageClassification",
}
LABELS = {
    "classification": ["bad", "good"],
    "token_classification": ["O", "B-PER", "I-PER"],
    "reranking": ["LABEL_0"],
    "image_classification": ["cat", "dog"],
}
PREPROCESSOR = {"size": {"height": 4, "width": 4}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
PIPELINES = (*CLASSES, "tensors")


def checkpoint(
    folder: Path, pipeline: str, words: str = "one two", labels: Any = None, seed: int = 0
) -> Path:
    """Write what a model of a pipeline is made of: a Hugging Face folder, of `tensors` an .onnx file."""
    folder.mkdir(parents=True)
    if pipeline == "tensors":
        return tiny_graphs.double(folder / "bare.onnx", 2.0 + seed)
    config: dict[str, Any] = {**(VIT if pipeline.startswith("image") else BERT)}
    config["architectures"] = [CLASSES[pipeline]]
    names = labels or LABELS.get(pipeline)
    if names:
        config["id2label"] = {str(number): name for number, name in enumerate(names)}
    _write_weights(folder / "model.safetensors", config, seed)
    (folder / "config.json").write_text(json.dumps(config))
    if pipeline.startswith("image"):
        (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR))
    else:
        _write_tokenizer(folder, words)
    return folder


def _write_weights(path: Path, config: dict[str, Any], seed: int) -> None:
    from safetensors.numpy import save_file

    family = architecture.load(config["model_type"])
    shapes = architecture.expected_tensors(family, config, "safetensors", ())
    random = np.random.default_rng(seed)
    save_file(
        {name: random.normal(size=shape).astype("float32") for name, shape in shapes.items() if shape}, path
    )


def _write_tokenizer(folder: Path, words: str) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    vocabulary = {word: number for number, word in enumerate(["[UNK]", "[PAD]", *words.split()])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 24}))


class EncoderWorkshop(Workshop):
    """A workshop for the model of one pipeline, which is called `tiny`."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, pipeline: str) -> None:
        super().__init__(folder, monkeypatch)
        self.pipeline = pipeline
        self.checkpoint = checkpoint(folder / "of one pass", pipeline)
        monkeypatch.setattr(onnxruntime, "convert", self.exported)
        monkeypatch.setattr(onnxruntime, "REQUIREMENTS", {"json": "json"})

    def remake(self, **changes: Any) -> None:
        """Replace the checkpoint by another one of the same pipeline."""
        self.checkpoint = checkpoint(
            self.folder / f"another {len(changes)} {changes}", self.pipeline, **changes
        )

    def exported(self, job: Job) -> list[str]:
        """Return the command of a stand-in for the exporter."""
        command = _real_convert(job)
        assert command[1:3] == ["-m", f"builder.exporting.{job.exporter}"]
        graph = job.checkpoint
        if self.pipeline != "tensors":
            graph = self.folder / "graph.onnx"
            # here and not in the child, which would load the library anew each time
            tiny_graphs.write(json.loads(Path(command[3]).read_text()), graph)
        return [sys.executable, str(HERE / "fake_exporter.py"), command[3], str(graph)]


_real_convert = onnxruntime.convert
