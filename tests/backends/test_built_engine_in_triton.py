"""What `builder build --target tensorrtllm` wrote, on a real Triton: its engine is a stand-in."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import executor_stand_in as facts
import numpy as np
import pytest
import tiny_adapter
import tiny_decoders
import trtllm_build
from google.protobuf import text_format
from tiny import Workshop
from tritonclient.grpc import model_config_pb2

from builder import architecture
from builder.architecture import Dimensions, linear_layers
from builder.errors import ServeError
from builder.server import Server
from builder.triton_client import client as clients


def ones(sizes: Dimensions) -> dict[str, np.ndarray]:
    """Return A of ones and B of quarters for each layer's query."""
    out, into = linear_layers(sizes)["query"]
    found = {}
    for layer in range(sizes.layers):
        name = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
        found[f"{name}.lora_A.weight"] = np.ones((1, into), "f4")
        found[f"{name}.lora_B.weight"] = np.full((out, 1), 0.25, "f4")
    return found


pytestmark = [pytest.mark.triton, pytest.mark.slow]


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sentence_piece_folder: Path) -> Path:
    """Return one whose engine has not been built; its model is Python's, with all tensors and parameters."""
    workshop = Workshop(tmp_path, monkeypatch)
    told = tiny_decoders.config("llama", vocab_size=facts.VOCABULARY, eos_token_id=2, bos_token_id=1)
    source = tiny_decoders.write(tmp_path / "source", told, tiny_decoders.weights(told))
    shutil.copytree(sentence_piece_folder, source, dirs_exist_ok=True)
    sizes = architecture.load("llama").dimensions(told)
    trained = tiny_adapter.write(tmp_path / "trained", sizes, 1, ("q_proj",), ones(sizes))
    workshop.build(
        target="tensorrtllm", gpu="h100", tensor_parallel=2, max_context=64, concurrency=4,
        checkpoint=str(source), adapters=(f"terse={trained}",),
    )  # fmt: skip
    home = workshop.output / "tiny_engine"
    config = text_format.Parse((home / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())
    config.backend = "python"
    (home / "config.pbtxt").write_text(text_format.MessageToString(config))
    shutil.copy(Path(facts.__file__), home / "1" / "model.py")
    return workshop.output


def test_the_front_says_that_the_engine_is_not_built(boot: Callable[..., Server], repository: Path) -> None:
    with pytest.raises(ServeError, match=r"tiny_engine/1/engine holds no engine yet: run .*build-engine\.sh"):
        boot(repository, timeout=60.0)


def test_the_front_asks_the_engine(boot: Callable[..., Server], repository: Path) -> None:
    folder = repository / "tiny_engine" / "1"
    words = json.loads((folder / "engine.json").read_text())["arguments"]
    subprocess.run([sys.executable, trtllm_build.__file__, *words], cwd=folder, env=os.environ, check=True)
    (folder / "engine.part").rename(folder / "engine")
    server = boot(repository, timeout=60.0)
    configs = {
        file.parent.name: text_format.Parse(file.read_text(), model_config_pb2.ModelConfig())
        for file in repository.glob("*/config.pbtxt")
    }
    client = clients.Client(server.http, server.grpc, server.metrics, configs)
    answer = client.stream("tiny", {"input_ids": [20, 21], "max_tokens": 3})
    assert answer.ids() == [facts.FIRST + place for place in range(3)]
    assert answer.finish_reason() == "length"
    terse = client.stream("tiny", {"input_ids": [20, 21], "max_tokens": 3, "lora_name": "terse"})
    assert terse.finish_reason() == "length"
    lines = (folder / "asked.jsonl").read_text().splitlines()[-2:]
    plain, adapted = (json.loads(line)["inputs"] for line in lines)
    assert not any("lora" in name for name in plain)
    types = {one.name: one.data_type for one in configs["tiny_engine"].input}
    assert model_config_pb2.DataType.Name(types["lora_weights"]) == "TYPE_BF16"
    # A, 32 ones, and B, of quarters by an alpha of 8 and a rank of 1
    assert adapted["lora_weights"][1:] == [[1, 2, 64], ([1.0] * 32 + [2.0] * 32) * 2]
    assert adapted["lora_config"][1:] == [[1, 2, 3], [1, 0, 1, 1, 1, 1]]
    unknown = client.stream("tiny", {"input_ids": [20], "max_tokens": 3, "lora_name": "formal"})
    assert "lora_name is 'formal': it is one of terse" in str(unknown.error)
