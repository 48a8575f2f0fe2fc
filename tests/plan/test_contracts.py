"""What `--contract` changes of a plan, and what it does not."""

from __future__ import annotations

import pytest
from planning import planned

from builder import contract, house
from builder.deploying import images
from builder.errors import UsageError

LINE = "--gpu h200 --target vllm --concurrency 64 --max-context 4096"


def test_the_model_is_planned_alike_whatever_clients_see() -> None:
    ours, nvidia = planned("llama-8b", LINE), planned("llama-8b", f"{LINE} --contract vllm_backend")
    assert (ours.memory, ours.split, ours.concurrency) == (nvidia.memory, nvidia.split, nvidia.concurrency)
    # vLLM ends texts by itself there; our front tells it where
    assert dict(nvidia.engine_arguments) == {**ours.engine_arguments, "generation_config": "auto"}


def test_nvidia_s_form_is_one_model_of_the_newest_container_that_can_serve_it() -> None:
    found = planned("llama-8b", f"{LINE} --contract vllm_backend")
    (model,) = found.models
    assert (model.name, model.member.backend, model.member.max_batch_size) == ("llama-8b", "vllm", 0)
    assert [tensor.name for tensor in model.inputs if not tensor.optional] == ["text_input"]
    assert model.member.decoupled
    assert found.container.tag == "26.08"
    assert planned("llama-8b", f"{LINE} --contract vllm_backend --triton 26.07").container.tag == "26.07"
    kinds = {
        gpus: planned("llama-8b", f"{LINE} --contract vllm_backend --tp {gpus}").models[0].instances
        for gpus in (1, 2)
    }
    assert kinds[1] is not None and kinds[1].kind == "KIND_GPU"
    assert kinds[2] is not None and kinds[2].kind == "KIND_MODEL"


def test_what_is_planned_for_is_what_a_deployment_takes() -> None:
    assert planned("llama-8b", LINE).container.tag == images.needs("vllm").releases[-1] == "26.06"
    for tag in ("24.10", "26.08"):
        with pytest.raises(UsageError, match="and target vllm needs vLLM") as refused:
            planned("llama-8b", f"{LINE} --triton {tag}")
        assert refused.value.expected == "one of 26.06"


def test_settings_are_of_the_target_whatever_the_contract() -> None:
    line = f"{LINE} --contract vllm_backend --set engine.max_num_batched_tokens=4096"
    assert planned("llama-8b", line).engine_arguments["max_num_batched_tokens"] == 4096


@pytest.mark.parametrize(
    ("name", "line", "words"),
    [
        ("llama-8b", "--contract nonsense", ["'nonsense' does not exist", "builder, nvidia, vllm_backend"]),
        (
            "llama-8b",
            "--contract vllm_backend",
            ["target onnx has no contract vllm_backend", "--target vllm"],
        ),
        ("llama-8b", "--gpu h200 --target llmapi --contract vllm_backend", ["--target vllm"]),
        ("minilm", "--contract vllm_backend", ["target onnxruntime has no contract"]),
        (
            "llama-8b",
            f"{LINE} --contract vllm_backend --triton 26.03",
            ["one of 26.06, 26.07, 26.08", "--contract builder"],
        ),
    ],
)
def test_a_contract_that_is_not_there(name: str, line: str, words: list[str]) -> None:
    with pytest.raises(UsageError) as refused:
        planned(name, line)
    assert all(word in str(refused.value) for word in words), refused.value


def test_ours_is_the_usual_one_and_every_target_has_it() -> None:
    plain, asked = planned("llama-8b", LINE), planned("llama-8b", f"{LINE} --contract builder")
    assert plain == asked
    assert "contract" not in plain.to_json()
    assert planned("llama-8b", f"{LINE} --contract vllm_backend").to_json()["contract"] == "vllm_backend"
    for target in house.plugin_names("targets"):
        assert contract.load(contract.USUAL, target).IMAGE == ""
