"""Rotary scalings: those that engines compute are written out, of all others nothing is planned."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import tiny_decoders

from builder.errors import SourceError
from builder.plan import Options, plan
from builder.ranks import rotary
from builder.subjects import read

YARN = {"rope_type": "yarn", "factor": 4.0}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}


def plans(folder: Path, target: str, family: str = "llama", **changed: Any) -> None:
    told = tiny_decoders.config(family, **changed)
    tiny_decoders.write(folder, told, tiny_decoders.weights(told))
    plan(read("tiny", str(folder), None)[0], Options(target=target, gpu="h100"))


@pytest.mark.parametrize(
    ("scaling", "reason"),
    [
        ({"rope_type": "longrope", "short_factor": [1.0], "long_factor": [1.0]}, "'longrope': its factors"),
        ({"type": "dynamic", "factor": 2.0}, "'dynamic': it reads an `alpha`"),
        ({"rope_type": "other"}, "type 'other'"),
    ],
)
def test_what_engines_do_not_compute_is_not_planned(
    tmp_path: Path, scaling: dict[str, Any], reason: str
) -> None:
    with pytest.raises(SourceError, match=reason) as refused:
        plans(tmp_path, "tensorrtllm", rope_scaling=scaling)
    assert refused.value.remedy == "run it by another target: --target vllm, or llmapi"
    for target in ("vllm", "llmapi"):
        plans(tmp_path, target, rope_scaling=scaling)


@pytest.mark.parametrize(
    ("config", "length"),
    [
        ({"rope_scaling": YARN}, 64),
        ({"rope_parameters": {**YARN, "rope_theta": 1e6}}, 64),
        ({"rope_scaling": {**YARN, "original_max_position_embeddings": 16}}, 16),
        ({"rope_scaling": YARN, "original_max_position_embeddings": 8}, 8),
    ],
)
def test_yarn_says_the_length_that_transformers_takes(config: dict[str, Any], length: int) -> None:
    assert rotary.scaling(config, 64) == {**YARN, "original_max_position_embeddings": length}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        # of both TensorRT-LLM prefers the old name, transformers the new one
        ({"type": "linear", "rope_type": "yarn", "factor": 4.0, "beta_fast": None}, YARN),
        ({**YARN, "attention_factor": 1 + 0.1 * math.log(4)}, None),
        ({**YARN, "truncate": True, "mscale": 1.0}, None),
    ],
)
def test_what_makes_no_difference_is_taken(given: dict[str, Any], told: dict[str, Any] | None) -> None:
    length = {"original_max_position_embeddings": 64}
    assert rotary.scaling({"rope_scaling": given}, 64) == {**(told or given), **length}


@pytest.mark.parametrize(
    ("scaling", "found"),
    [
        ({**YARN, "attention_factor": 1.0}, "attention_factor 1.0"),
        ({**YARN, "mscale": 0.707, "mscale_all_dim": 0.707}, "mscale 0.707"),
        ({**YARN, "mscale_all_dim": 1.0}, "mscale_all_dim 1.0"),
        ({**YARN, "truncate": False}, "truncate False"),
        ({"rope_type": "linear", "factor": 2.0, "partial_rotary_factor": 0.5}, "partial_rotary_factor 0.5"),
        ({"rope_type": "linear"}, "factor None"),
        ({**YARN, "factor": "4"}, "factor '4'"),
        ({**LLAMA3, "high_freq_factor": True}, "high_freq_factor True"),
        ({**LLAMA3, "low_freq_factor": math.nan}, "low_freq_factor nan"),
    ],
)
def test_what_would_be_computed_otherwise_is_refused(scaling: dict[str, Any], found: str) -> None:
    with pytest.raises(SourceError, match=f"of type '{scaling['rope_type']}' has {found}"):
        rotary.scaling({"rope_scaling": scaling}, 64)


@pytest.mark.parametrize(
    "config", [{}, {"rope_scaling": None}, {"rope_parameters": {"rope_type": "default"}}]
)
def test_there_may_be_none(config: dict[str, Any]) -> None:
    assert rotary.scaling(config, 64) is None


def test_a_family_that_engines_lack_is_not_planned(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="attention_bias is true") as refused:
        plans(tmp_path, "tensorrtllm", "qwen3", attention_bias=True)
    assert "vllm" in refused.value.remedy
