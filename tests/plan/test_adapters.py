"""LoRA adapters: what is read of them, what is refused, what room they take."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_adapter
from planning import options, planned, subject

from builder.adapter import Adapter
from builder.errors import SourceError, UsageError
from builder.plan import plan
from builder.planning import adapters
from builder.planning.placement import Split

GPU = "--gpu h200"
DIMENSIONS = subject("smollm2").dimensions


def line(**folders: Path) -> str:
    return " ".join([GPU, *(f"--lora {name}={folder}" for name, folder in folders.items())])


def test_what_vllm_is_told_of_adapters(tmp_path: Path) -> None:
    small = tiny_adapter.write(tmp_path / "small", DIMENSIONS, 4)
    large = tiny_adapter.write(tmp_path / "large", DIMENSIONS, 20, ("down_proj",))
    found = planned("smollm2", line(support=small, law=large))
    told = {name: value for name, value in found.engine_arguments.items() if "lora" in name}
    assert told == {
        "enable_lora": True, "max_loras": 2, "max_cpu_loras": 2, "max_lora_rank": 32,
        "lora_target_modules": ["down_proj", "q_proj", "v_proj"],
    }  # fmt: skip
    assert found.to_json()["adapters"] == [
        {"name": "law", "rank": 20, "modules": ["down_proj"]},
        {"name": "support", "rank": 4, "modules": ["q_proj", "v_proj"]},
    ]


def test_without_adapters_nothing_is_said(tmp_path: Path) -> None:
    found = planned("smollm2", GPU)
    assert not any("lora" in name for name in found.engine_arguments)
    assert "adapters" not in found.to_json() and "adapters" not in found.to_json()["memory"]


@pytest.mark.parametrize(
    ("modules", "split", "each"),
    [
        # SmolLM2: hidden 576, 9 heads of 64, 3 KV heads, middle 1536; q, k and v are one layer to vLLM
        (("q_proj",), "", (576 + 576) + 2 * (192 + 576)),
        (("q_proj", "k_proj", "v_proj"), "", (576 + 576) + 2 * (192 + 576)),
        (("down_proj",), "", 576 + 1536),
        (("up_proj", "o_proj"), "", 2 * (1536 + 576) + (576 + 576)),
        # A of what reads a part is divided, else B
        (("q_proj", "down_proj"), "--tp 3", (192 + 576) + 2 * (64 + 576) + (512 + 576)),
    ],
)
def test_the_room_of_adapters_is_taken_from_the_cache(
    tmp_path: Path, modules: tuple[str, ...], split: str, each: int
) -> None:
    folders = {name: tiny_adapter.write(tmp_path / name, DIMENSIONS, 8, modules) for name in ("a", "b", "c")}
    plain, found = planned("smollm2", f"{GPU} {split}"), planned("smollm2", f"{line(**folders)} {split}")
    assert found.memory.adapters == 3 * 8 * each * DIMENSIONS.layers * 2
    assert 0 <= plain.memory.used - found.memory.used < plain.memory.cache_per_token
    assert found.memory.tokens < plain.memory.tokens


def test_a_copied_head_has_its_room_on_every_gpu() -> None:
    one = Adapter("one", 8, ("k_proj",), Path())
    shared = replace(DIMENSIONS, key_value_heads=1)
    each = (192 + 576) + 2 * (64 + 576)
    assert adapters.bytes_on_gpu([one], shared, Split(3)) == 8 * each * DIMENSIONS.layers * 2


def test_more_adapters_than_a_step_may_use_wait_in_the_host_s_memory(tmp_path: Path) -> None:
    folders = {f"a{n}": tiny_adapter.write(tmp_path / f"{n}", DIMENSIONS) for n in range(10)}
    told = planned("smollm2", line(**folders)).engine_arguments
    assert (told["max_loras"], told["max_cpu_loras"]) == (8, 10)


WRONG = [
    ({"peft_type": "IA3"}, "peft_type is 'IA3'", "LORA"),
    ({"use_dora": True}, "use_dora is True", "without it"),
    ({"modules_to_save": ["lm_head"]}, r"modules_to_save is \['lm_head'\]", "without it"),
    ({"bias": "all"}, "bias is 'all'", "without it"),
    ({"rank_pattern": {"q_proj": 2}}, "rank_pattern is", "without it"),
    ({"r": 513}, "r is 513", "1 to 512"),
    ({"r": "4"}, "r is '4'", "1 to 512"),
    ({"r": True}, "r is True", "1 to 512"),
    ({"lora_alpha": None}, "lora_alpha is None", "a finite number"),
    ({"lora_alpha": True}, "lora_alpha is True", "a finite number"),
    ({"lora_alpha": 0}, "lora_alpha is 0: it is scaled by 0, and changes nothing", "other than 0"),
    ({"lora_alpha": 0.0}, "lora_alpha is 0.0: it is scaled by 0", "other than 0"),
    ({"lora_alpha": math.nan}, "lora_alpha is nan", "a finite number"),
    ({"lora_alpha": math.inf}, "lora_alpha is inf", "a finite number"),
    ({"target_modules": None}, "target_modules is None", "names of layers"),
    ({"alora_invocation_tokens": [1, 2]}, r"alora_invocation_tokens is \[1, 2\]", "without it"),
    (
        {"init_lora_weights": "pissa_niter_16"},
        "init_lora_weights is 'pissa_niter_16'",
        "converts it, or merge",
    ),
    ({"init_lora_weights": "olora"}, "init_lora_weights is 'olora'", "to the model as it is"),
    # the matrices have rank 4
    ({"r": 8}, r"lora_A.weight is \[4, 576\]", r"\[8, 576\]"),
]


MENDED = [
    ({"peft_type": "IA3"}, r"train a LoRA, or merge it into the checkpoint \(PEFT's `merge_and_unload`\)"),
    ({"peft_type": "PROMPT_TUNING"}, "train a LoRA$"),
    ({"peft_type": None}, "the file is damaged"),
    *(
        ({field: value}, f"train it without {field}, or merge it into the checkpoint")
        for field, value in (
            ("use_dora", True),
            ("bias", "all"),
            ("modules_to_save", ["lm_head"]),
            ("rank_pattern", {"q_proj": 2}),
            ("alpha_pattern", {"q_proj": 2}),
        )
    ),
    ({"r": 513}, "train it with a lower rank, or merge"),
    ({"r": 0}, "the file is damaged"),
    ({"lora_alpha": "x"}, "the file is damaged"),
    ({"lora_alpha": 0}, "lora_alpha there that it was trained with"),
    ({"target_modules": 3}, "the file is damaged"),
    ({"r": 8}, "take adapter_config.json and adapter_model.safetensors of one training"),
]


@pytest.mark.parametrize(("config", "remedy"), MENDED)
def test_each_has_its_own_remedy(tmp_path: Path, config: dict[str, Any], remedy: str) -> None:
    folder = tiny_adapter.write(tmp_path / "wrong", DIMENSIONS, **config)
    with pytest.raises(SourceError) as refused:
        planned("smollm2", line(wrong=folder))
    assert re.search(remedy, refused.value.remedy)


def test_what_peft_takes_for_false_is_served(tmp_path: Path) -> None:
    """PEFT sets fan_in_fan_out to false where layers are torch.nn.Linear, and A and B lie alike."""
    folder = tiny_adapter.write(
        tmp_path / "one", DIMENSIONS, fan_in_fan_out=True, init_lora_weights="gaussian"
    )
    assert planned("smollm2", line(one=folder)).to_json()["adapters"][0]["rank"] == 4


@pytest.mark.parametrize(("config", "seen", "wanted"), WRONG)
def test_adapters_that_would_not_be_served_as_trained_are_refused(
    tmp_path: Path, config: dict[str, Any], seen: str, wanted: str
) -> None:
    folder = tiny_adapter.write(tmp_path / "wrong", DIMENSIONS, **config)
    with pytest.raises(SourceError, match=f"(?s){seen}.*{wanted}"):
        planned("smollm2", line(wrong=folder))


MATRIX = np.zeros((4, 576), dtype=np.float16)


@pytest.mark.parametrize(
    ("name", "seen", "remedy"),
    [
        ("lm_head.lora_A.weight", "it changes lm_head", "on such layers alone, or merge it into"),
        (
            "model.layers.30.mlp.up_proj.lora_A.weight",
            "it changes model.layers.30.mlp.up_proj",
            "that was trained on this very model$",
        ),
        (
            "model.embed_tokens.lora_embedding_A",
            "it holds base_model.model.model.embed",
            "train it on linear layers alone, or merge it into",
        ),
        ("model.layers.0.mlp.up_proj.lora_A.weight", "up_proj has no lora_B", "the file is damaged"),
    ],
)
def test_tensors_that_fit_no_layer_are_refused(tmp_path: Path, name: str, seen: str, remedy: str) -> None:
    folder = tiny_adapter.write(tmp_path / "wrong", DIMENSIONS, more={f"base_model.model.{name}": MATRIX})
    with pytest.raises(SourceError, match=seen) as refused:
        planned("smollm2", line(wrong=folder))
    assert re.search(remedy, refused.value.remedy)


def test_numbers_that_are_no_floats_are_refused_by_the_header(tmp_path: Path) -> None:
    name = "base_model.model.model.layers.1.self_attn.q_proj.lora_B.weight"
    whole = {name: np.zeros((576, 4), dtype=np.int32)}
    folder = tiny_adapter.write(tmp_path / "wrong", DIMENSIONS, more=whole)
    with pytest.raises(SourceError, match=r"lora_B\.weight is I32") as refused:
        planned("smollm2", line(wrong=folder))
    assert refused.value.expected == "one of BF16, F16, F32, F64"
    assert "damaged" in refused.value.remedy


def test_an_adapter_of_another_model_says_both_shapes(tmp_path: Path) -> None:
    other = replace(DIMENSIONS, hidden_size=640)
    folder = tiny_adapter.write(tmp_path / "other", other)
    with pytest.raises(SourceError, match=r"(?s)is \[4, 640\].*\[4, 576\], by rank 4 and this model"):
        planned("smollm2", line(other=folder))


@pytest.mark.parametrize("given", ["support", "=x", "a/b=x", "support="])
def test_what_is_no_name_and_folder_is_refused(given: str) -> None:
    with pytest.raises(UsageError, match="NAME=FOLDER"):
        planned("smollm2", f"{GPU} --lora {given}")


def test_a_folder_without_an_adapter_and_a_name_twice_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds no adapter_config\.json"):
        planned("smollm2", line(empty=tmp_path))
    folder = tiny_adapter.write(tmp_path / "one", DIMENSIONS)
    with pytest.raises(UsageError, match="--lora a is given twice"):
        planned("smollm2", f"{line(a=folder)} --lora a={folder}")


@pytest.mark.parametrize("other", ["", "--gpu h200 --target onnx", "--gpu h200 --target llmapi"])
def test_targets_without_adapters_refuse_them_by_name(tmp_path: Path, other: str) -> None:
    folder = tiny_adapter.write(tmp_path / "one", DIMENSIONS)
    with pytest.raises(UsageError, match=r"(?s)target .* serves no adapters.*--target tensorrtllm or vllm"):
        planned("smollm2", f"{other} --lora a={folder}")


def test_a_contract_without_adapters_refuses_them(tmp_path: Path) -> None:
    folder = tiny_adapter.write(tmp_path / "one", DIMENSIONS)
    with pytest.raises(UsageError, match="contract vllm_backend has no adapters"):
        plan(subject("smollm2"), replace(options(line(a=folder)), contract="vllm_backend"))


def test_what_adapters_decide_is_not_set_by_hand() -> None:
    with pytest.raises(UsageError, match="use --lora"):
        planned("smollm2", f"{GPU} --set engine.max_loras=3")
