"""NVIDIA's llmapi model in our hands: its inputs, its outputs, and its model.yaml."""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import tensorrt_llm_stand_in as stand_in

from backends.engine import model_yaml, tensorrt_llm
from backends.engine.protocol import EngineError, InvalidRequest
from backends.front.generation import Chunk
from backends.nvidia import llmapi
from builder import house
from builder.inflight_batcher import tables

CHUNK = Chunk("text", "", (1, 2), (), (-0.5, -1.0), -1.5, 2, sequence=0, finish_reason="stop")
YAML = """
# as NVIDIA's own, by hand
model: /models/tensorrt_llm/1/model
tokenizer: /models/tensorrt_llm/1/tokenizer
backend: "pytorch"
kv_cache_config:
  free_gpu_memory_fraction: 0.5
triton_config:
  max_batch_size: 0
  decoupled: True
"""


def array(*values: Any) -> Any:
    kind = np.object_ if isinstance(values[0], bytes) else None
    return np.array(values, dtype=kind)


def test_every_input_of_nvidia_s_is_read_or_refused_by_name() -> None:
    inputs, outputs = tables.tensors("llmapi", "1.2")
    read = {*llmapi.INPUTS, *llmapi._HARMLESS, *llmapi._FLAGS.values(), "stop"}
    assert {one.name for one in inputs} == read
    assert set(llmapi._READ) < {one.name for one in outputs}
    front = house.load_file(house.folder("ensembles") / "text_generation.py").FRONT
    assert set(llmapi.INPUTS.values()) <= {one.name for one in front.inputs}


def test_inputs_are_the_front_s_under_other_names() -> None:
    told = llmapi.tensors(
        {
            "text_input": array(b"Hello"),
            "streaming": array(True),
            "sampling_param_max_tokens": array(7),
            "sampling_param_stop": array(b"a", b"b"),
            "sampling_param_best_of": array(1),
            "return_finish_reason": array(True),
        }
    )
    assert {name: value.tolist() for name, value in told.items()} == {
        "text_input": [b"Hello"],
        "stream": [True],
        "max_tokens": [7],
        "stop_words": [b"a", b"b"],
    }
    # what the library's SamplingParams has
    default = inspect.signature(stand_in.SamplingParams).parameters["max_tokens"].default
    assert llmapi.tensors({"text_input": array(b"Hello")})["max_tokens"].tolist() == [default] == [32]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sampling_param_best_of", 2),
        ("sampling_param_return_perf_metrics", True),
        ("return_stop_reason", True),
    ],
)
def test_what_there_is_nothing_for_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(InvalidRequest, match=f"nothing for {name}"):
        llmapi.tensors({"text_input": array(b"Hello"), name: array(value)})
    assert llmapi.tensors({"text_input": array(b"Hello"), name: array(type(value)(value == 2))})


def test_outputs_come_where_they_are_asked_for() -> None:
    _, outputs = tables.tensors("llmapi", "1.2")
    names = [one.name for one in outputs]

    def told(**inputs: bool) -> dict[str, Any]:
        given = {name: array(value) for name, value in inputs.items()}
        made = llmapi.Outputs(lambda name, value: (name, value), names, given).of(CHUNK, 3, ())
        return {name: (value.shape, value.tolist()) for name, value in made}

    assert told() == {"text_output": ((1,), [b"text"])}
    assert told(return_finish_reason=True, return_cumulative_logprob=False)["finish_reason"] == (
        (1,),
        [b"stop"],
    )
    assert told(return_cumulative_logprob=True)["cumulative_logprob"] == ((1,), [-1.5])


def test_a_stop_is_told_from_a_request() -> None:
    assert llmapi.is_stop({"stop": array(True)})
    assert not llmapi.is_stop({"stop": array(False)})
    assert not llmapi.is_stop({"text_input": array(b"Hello")})
    with pytest.raises(InvalidRequest, match="stop has 2 elements"):
        llmapi.is_stop({"stop": array(True, False)})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A version folder as Triton finds it, its repository somewhere else than in a container."""
    version = tmp_path / "tensorrt_llm" / "1"
    (version / "model").mkdir(parents=True)
    (version / "model" / "config.json").write_text('{"vocab_size": 16}')
    (version / "model.yaml").write_text(YAML)
    return version


def test_the_file_says_what_the_library_is_told(folder: Path) -> None:
    told = {"backend": "pytorch", "kv_cache_config": {"free_gpu_memory_fraction": 0.5}}
    assert model_yaml.llm(folder) == (folder / "model", folder / "tokenizer", told)
    assert model_yaml.is_decoupled(folder)
    (folder / "model.yaml").write_text("model: model\n")
    assert model_yaml.llm(folder) == (folder / "model", folder / "tokenizer", {})
    assert not model_yaml.is_decoupled(folder)
    (folder / "model.yaml").unlink()
    assert model_yaml.llm(folder) is None


def test_the_engine_is_told_by_the_file_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in.install(monkeypatch)
    settings = {"model": "elsewhere", "engine_arguments": {}, "max_active": 4}
    engine = tensorrt_llm.stepper(settings, folder)
    try:
        assert (engine._llm.model, engine._llm.tokenizer) == (
            str(folder / "model"),
            str(folder / "tokenizer"),
        )
        assert engine._llm.told == {
            "backend": "pytorch",
            "kv_cache_config": {"free_gpu_memory_fraction": 0.5},
        }
    finally:
        engine.close()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model: [", "cannot be read"),
        ("- model", "is no mapping"),
        ("triton_config: 1", "is no mapping"),
        ("model: TinyLlama/TinyLlama-1.1B", "names the model .*TinyLlama-1.1B, which holds no config.json"),
        ("model: /models/another/1/model", "names the model /models/another/1/model"),
    ],
)
def test_a_file_that_names_no_checkpoint_is_refused(folder: Path, text: str, words: str) -> None:
    (folder / "model.yaml").write_text(text)
    with pytest.raises(EngineError, match=words):
        model_yaml.llm(folder)


@pytest.mark.parametrize(("here", "there"), [(True, False), (False, True), (False, False)])
def test_a_model_that_is_told_two_things_does_not_load(
    folder: Path, monkeypatch: pytest.MonkeyPatch, here: bool, there: bool
) -> None:
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", ModuleType("triton_python_backend_utils"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    if not there:
        (folder / "model.yaml").write_text(YAML.replace("decoupled: True", "decoupled: False"))
    model = house.load_file(house.folder("backends") / "nvidia_llmapi" / "model.py").TritonPythonModel()
    config = {"model_transaction_policy": {"decoupled": here}} if here else {}
    told = f"decoupled is {str(here).lower()} in config.pbtxt and {str(there).lower()} in model.yaml"
    with pytest.raises(EngineError, match=told):
        model.initialize(
            {
                "model_repository": str(folder.parent),
                "model_version": "1",
                "model_config": json.dumps(config),
            }
        )
