"""`--contract nvidia` of target llmapi: NVIDIA's config.pbtxt and model.yaml, which say the same."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import text_format
from test_inflight_batcher import expected, written
from tritonclient.grpc.model_config_pb2 import ModelConfig

from builder import contract, house, model_config, modules, repository, yaml_text
from builder.check import check
from builder.deployment import Options as DeployOptions
from builder.deployment import deployment
from builder.plan import Options, Plan, plan
from builder.rule import Host
from builder.subjects import read

HOST = Host("26.07", completes=False)


@pytest.fixture(scope="module")
def planned() -> Plan:
    asked = Options(
        target="llmapi", contract="nvidia", gpu="h200", max_context=8192, concurrency=64,
        tensor_parallel=2, settings=("engine.stream_interval=4",),
    )  # fmt: skip
    return plan(read("llama-8b", None, None)[0], asked)


@pytest.fixture
def folder(planned: Plan, tmp_path: Path) -> Path:
    """Write the model as a build does, but for the checkpoint; gives its version folder."""
    (model,) = planned.models
    version = tmp_path / "models" / model.name / "1"
    (version / "tokenizer").mkdir(parents=True)
    (version.parent / "config.pbtxt").write_text(model_config.text(model, planned))
    backends = house.folder("backends")
    main = backends / model.member.code / "model.py"
    for file in modules.reached(backends, [main, backends / "engine" / f"{planned.engine}.py"]):
        copy = version / ("model.py" if file == main else f"backends/{file.relative_to(backends)}")
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(file.read_bytes())
    repository._write_promised(planned, version)
    (version / "manifest.json").write_text(json.dumps({"plan": planned.to_json()}, default=str))
    return version


def test_names_and_tensors_are_nvidia_s(folder: Path) -> None:
    config = text_format.Parse((folder.parent / "config.pbtxt").read_text(), ModelConfig())
    assert (config.name, config.backend, config.max_batch_size) == ("tensorrt_llm", "python", 0)
    assert written(config.input) == expected("llmapi inputs")
    assert written(config.output) == expected("llmapi outputs")


def test_model_yaml_is_nvidia_s_form(folder: Path, planned: Plan) -> None:
    told = yaml.safe_load((folder / "model.yaml").read_text())
    assert told.pop("triton_config") == {"max_batch_size": 0, "decoupled": True}
    assert (told.pop("model"), told.pop("tokenizer")) == (
        "/models/tensorrt_llm/1/model",
        "/models/tensorrt_llm/1/tokenizer",
    )
    # all else goes to LLM(**arguments) as it stands
    assert told == dict(planned.engine_arguments)
    assert (told["tensor_parallel_size"], told["stream_interval"]) == (2, 4)


def test_both_files_say_that_it_is_decoupled(folder: Path) -> None:
    config = text_format.Parse((folder.parent / "config.pbtxt").read_text(), ModelConfig())
    assert config.model_transaction_policy.decoupled
    assert check(folder.parent.parent, host=HOST) == []


@pytest.mark.parametrize(
    ("name", "old", "new", "words"),
    [
        ("1/model.yaml", "decoupled: true", "decoupled: false", "true here and false in 1/model.yaml"),
        ("1/model.yaml", "decoupled: true", "other: true", "true here and false"),
        ("config.pbtxt", "decoupled: true", "decoupled: false", "false here and true"),
        ("config.pbtxt", "model_transaction_policy {\n  decoupled: true\n}", "", "false here and true"),
        ("1/model.yaml", "max_batch_size: 0", "max_batch_size: 8", "is 0 here and 8 in"),
    ],
)
def test_a_difference_is_found(folder: Path, name: str, old: str, new: str, words: str) -> None:
    path = folder.parent / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    found = [one for one in check(folder.parent.parent, host=HOST) if one.code == "TRN647"]
    assert len(found) == 1 and words in found[0].message


def test_what_the_server_may_complete_is_no_difference(tmp_path: Path) -> None:
    """NVIDIA's own pair: config.pbtxt leaves both to model.yaml, and model.py completes them."""
    version = tmp_path / "tensorrt_llm" / "1"
    version.mkdir(parents=True)
    (version.parent / "config.pbtxt").write_text('backend: "python"\n')
    (version / "model.yaml").write_text("model: x\ntriton_config:\n    decoupled: True\n")
    code = "class TritonPythonModel:\n    def execute(self, requests): return []\n"
    (version / "model.py").write_text(f"{code}    def auto_complete_config(config): return config\n")
    for completes, codes in ((True, []), (False, ["TRN647"])):
        found = check(tmp_path, host=Host("26.07", completes=completes))
        assert [one.code for one in found if one.code == "TRN647"] == codes


def test_it_is_deployed_in_the_image_with_the_library(folder: Path) -> None:
    found = deployment(folder.parent.parent, DeployOptions())
    assert found.image == "nvcr.io/nvidia/tritonserver:26.07-trtllm-python-py3"
    assert (found.gpus, found.packages) == ("2", ())
    (probe,) = found.fronts
    assert probe.path == "/v2/models/tensorrt_llm/generate"
    assert probe.body == {"text_input": "Hello", "sampling_param_max_tokens": 1}


def test_settings_do_not_say_it_again(planned: Plan) -> None:
    assert repository._front_arguments(planned) == {}


def test_each_target_has_its_form() -> None:
    llmapi, engines = (contract.load("nvidia", target) for target in ("llmapi", "tensorrtllm"))
    assert "model.yaml" in llmapi.files({}, "/models/tensorrt_llm/1")
    assert engines.files({}, "/models/ensemble/1") == {}
    assert llmapi.CONTAINERS[-1] == "26.07" and "25.08" not in llmapi.CONTAINERS


@pytest.mark.parametrize(
    "content",
    [
        {"a": {"b": {"c": [1, 2.5, "x: y", None, True]}, "d": {}}, "e": "#no comment"},
        {"yes": 1, "null": "null", "a b": "true", "n": "12", "_x": -1},
        {"small": 1e-05, "large": 1e30, "precise": 0.1 + 0.2, "signed": -2e-07},
        {"word": 'ü "quoted" \\ \n line', "empty": ""},
    ],
    ids=["nested", "names", "numbers", "words"],
)
def test_what_is_written_is_what_a_yaml_library_reads(content: dict[str, Any]) -> None:
    assert yaml.safe_load(yaml_text.dump(content)) == content
    assert not any(math.isnan(one) for one in content.values() if isinstance(one, float))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("triton_config:\n  decoupled: True\n", True),
        ("triton_config:\n\n  # decoupled: true\n  decoupled: false # or true\n", False),
        ("triton_config: {max_batch_size: 0, decoupled: on}\nmodel: x\n", True),
        ('{\n"triton_config": {\n "decoupled": true}}', True),
        ("triton_config:\n  other: 1\nmine:\n  decoupled: true\n", None),
        ("decoupled: true\n", None),
        ("triton_config:\n  decoupled: maybe\n", None),
        ("triton_config: 3\n", None),
        (": : :\n\t- [", None),
        pytest.param("[" * 100_000, None, id="nested too deeply"),
        ("", None),
    ],
)
def test_one_word_is_found_in_what_others_wrote(text: str, value: bool | None) -> None:
    assert yaml_text.of_section(text, "triton_config", "decoupled") is value
