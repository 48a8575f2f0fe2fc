"""Adapters as TensorRT-LLM's runtime takes them: numbers by hand, and what each GPU makes of its part.

TensorRT-LLM is not installed: `parts` reads a row as its C++ runtime does (cpp/tensorrt_llm/runtime/
loraCache.cpp, copyToPages; modules as of loraModule.cpp), written after its source.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_adapter

from builder import adapter as adapters
from builder.adapter import Adapter
from builder.architecture import Dimensions, linear_layers
from builder.errors import SourceError
from builder.inflight_batcher import adapter_tensors
from builder.inflight_batcher.adapters import MODULES

# heads of 2, one of keys and values
DIMENSIONS = Dimensions(16, 4, 6, 2, 2, 1, 2, 64, True)
NUMBERS = {one.number: name for name, one in MODULES.items()}


def trained(folder: Path, given: dict[str, np.ndarray], dimensions: Dimensions, **config: Any) -> Adapter:
    """Return an adapter that holds these numbers in the places of its own."""
    rank = next(iter(given.values())).shape[0]
    modules = tuple(dict.fromkeys(name.split(".")[-3] for name in given))
    tiny_adapter.write(folder, dimensions, rank, modules, given, **config)
    (found,) = adapters.read([f"one={folder}"], "llama", dimensions)
    return found


def named(layer: int, module: str, part: str) -> str:
    block = tiny_adapter.MODULES[module][1]
    return f"base_model.model.model.layers.{layer}.{block}.{module}.lora_{part}.weight"


def random(dimensions: Dimensions, rank: int, modules: tuple[str, ...]) -> dict[str, np.ndarray]:
    made, found = np.random.default_rng(0), {}
    for layer in range(dimensions.layers):
        for module in modules:
            out, into = linear_layers(dimensions)[tiny_adapter.MODULES[module][0]]
            # sixteenths of whole numbers: no kind of 16 bits rounds them, nor their double
            found[named(layer, module, "A")] = (made.integers(-32, 33, (rank, into)) / 16).astype(np.float32)
            found[named(layer, module, "B")] = (made.integers(-32, 33, (out, rank)) / 16).astype(np.float32)
    return found


def written(one: Adapter, dimensions: Dimensions, tensor: int, kind: str, folder: Path) -> tuple[Any, Any]:
    """Return the weights as float32, and the config, of the files that a build lays down."""
    folder.mkdir(exist_ok=True)
    adapter_tensors.write(one, dimensions, tensor, kind, folder)
    weights = np.load(folder / "model.lora_weights.npy")
    config = np.load(folder / "model.lora_config.npy")
    assert weights.dtype == ("<f2" if kind == "FP16" else "V2")
    wide = weights.view("<u2").astype("<u4") << 16
    return (weights.astype(np.float32) if kind == "FP16" else wide.view("<f4")), config


def parts(row: Any, told: Any, dimensions: Dimensions, tensor: int, rank: int) -> tuple[Any, Any]:
    """Return A and B that GPU `rank` of `tensor` keeps of a row, as the runtime cuts them out."""
    name, size = NUMBERS[int(told[0])], int(told[2])
    hidden, middle = dimensions.hidden_size, dimensions.intermediate_size
    # what it reckons with is of one GPU, times their number
    queries = dimensions.heads // tensor * tensor * dimensions.head_size
    shared = max(dimensions.key_value_heads // tensor, 1) * tensor * dimensions.head_size
    into, out, splits_in = {
        "q_proj": (hidden, queries, False),
        "k_proj": (hidden, shared, False),
        "v_proj": (hidden, shared, False),
        "o_proj": (hidden, hidden, True),
        "gate_proj": (hidden, middle, False),
        "up_proj": (hidden, middle, False),
        "down_proj": (middle, hidden, True),
    }[name]
    assert size * (into + out) <= len(row)
    a = row[: size * into].reshape(size, into)
    b = row[size * into : size * (into + out)].reshape(out, size)
    if splits_in:
        return np.split(a, tensor, axis=1)[rank], b
    return a, b.reshape(tensor, out // tensor, size)[rank]


def test_a_row_by_hand(tmp_path: Path) -> None:
    """Rank 2, alpha 3: B times one and a half. Down reads 6 and writes 4, query reads 4 and writes 4."""
    a, b = np.arange(8.0).reshape(2, 4), np.arange(8.0).reshape(4, 2)
    given = {
        named(1, "q_proj", "A"): a,
        named(1, "q_proj", "B"): b,
        named(0, "down_proj", "A"): np.arange(12.0).reshape(2, 6),
        named(0, "down_proj", "B"): -b,
    }
    given = {name: array.astype(np.float32) for name, array in given.items()}
    # the other two layers' modules are zeros
    one = trained(tmp_path / "one", given, DIMENSIONS, lora_alpha=3)
    weights, config = written(one, DIMENSIONS, 1, "FP16", tmp_path / "out")
    # module, layer, rank; attn_q is 1, mlp_4h_to_h is 6
    assert config.dtype == np.int32
    assert config.tolist() == [[[1, 0, 2], [6, 0, 2], [1, 1, 2], [6, 1, 2]]]
    nothing = [0.0] * 20
    halves = [1.5 * value for value in range(8)]
    assert weights.tolist() == [
        [
            nothing,
            [*range(12), *(-value for value in halves)],
            # filled up to the longest row
            [*range(8), *halves, 0, 0, 0, 0],
            nothing,
        ]
    ]


@pytest.mark.parametrize("kind", ["FP16", "BF16"])
@pytest.mark.parametrize(
    ("heads", "shared", "tensor"), [(4, 2, 1), (4, 2, 2), (4, 2, 4), (8, 1, 4), (4, 4, 4)]
)
def test_the_gpus_parts_make_up_what_was_trained(
    tmp_path: Path, heads: int, shared: int, tensor: int, kind: str
) -> None:
    dimensions = Dimensions(16, heads * 2, 12, 2, heads, shared, 2, 64, True)
    modules = tuple(tiny_adapter.MODULES)
    given = random(dimensions, 4, modules)
    one = trained(tmp_path / "one", given, dimensions)
    weights, config = written(one, dimensions, tensor, kind, tmp_path / "out")
    rows = {
        (int(told[0]), int(told[1])): (row, told) for row, told in zip(weights[0], config[0], strict=True)
    }
    assert len(rows) == 2 * len(modules)
    for (number, layer), (row, told) in rows.items():
        name = NUMBERS[number]
        a, b = given[named(layer, name, "A")], given[named(layer, name, "B")]
        # alpha 8 by rank 4
        change = 2.0 * b @ a
        found = [parts(row, told, dimensions, tensor, rank) for rank in range(tensor)]
        if name in ("o_proj", "down_proj"):
            # each adds what its part of the inputs makes
            np.testing.assert_array_equal(np.concatenate([y @ x for x, y in found], axis=1), change)
            continue
        made = np.concatenate([y @ x for x, y in found])
        if name in ("k_proj", "v_proj"):
            # a GPU's KV head is the one that its queries read
            times = max(1, tensor // shared)
            change = np.repeat(change.reshape(shared, 2, -1), times, axis=0).reshape(times * shared * 2, -1)
        np.testing.assert_array_equal(made, change)


def test_rank_stabilised_ones_are_scaled_as_they_were_trained(tmp_path: Path) -> None:
    given = {named(0, "q_proj", "A"): np.ones((4, 4), "f4"), named(0, "q_proj", "B"): np.ones((4, 4), "f4")}
    for layer in (0, 1):
        given |= {named(layer, "q_proj", part): np.ones((4, 4), "f4") for part in "AB"}
    one = trained(tmp_path / "one", given, DIMENSIONS, use_rslora=True)
    weights, _ = written(one, DIMENSIONS, 1, "FP16", tmp_path / "out")
    assert set(weights[0, 0, 16:].tolist()) == {8 / math.sqrt(4)}


@pytest.mark.parametrize(
    ("value", "kind", "words"),
    [
        (np.inf, "BF16", "attn_q of layer 1 holds numbers that are none"),
        (np.nan, "FP16", "attn_q of layer 1 holds numbers that are none"),
        # twice as much is beyond 65504
        (4e4, "FP16", "attn_q of layer 1 holds numbers beyond 65504"),
    ],
)
def test_what_16_bits_do_not_hold_is_refused(tmp_path: Path, value: float, kind: str, words: str) -> None:
    given = random(DIMENSIONS, 4, ("q_proj",))
    given[named(1, "q_proj", "B")][2, 1] = value
    one = trained(tmp_path / "one", given, DIMENSIONS)
    with pytest.raises(SourceError, match=words):
        written(one, DIMENSIONS, 1, kind, tmp_path / "out")
    assert not any((tmp_path / "out").iterdir())


def test_bfloat16_reaches_what_float16_does_not(tmp_path: Path) -> None:
    given = random(DIMENSIONS, 4, ("q_proj",))
    given[named(1, "q_proj", "B")][:] = 2.0**17
    one = trained(tmp_path / "one", given, DIMENSIONS)
    weights, _ = written(one, DIMENSIONS, 1, "BF16", tmp_path / "out")
    assert set(weights[0, 1, 16:].tolist()) == {2.0**18}


def test_ranks_of_other_16_bits_than_planned_are_refused() -> None:
    adapter_tensors.require_kind({"dtype": "bfloat16"}, "BF16")
    with pytest.raises(SourceError, match=r"ranks are of float16, and adapters are planned as BF16"):
        adapter_tensors.require_kind({"dtype": "float16"}, "BF16")


def test_layers_that_an_adapter_leaves_alone_have_no_rows(tmp_path: Path) -> None:
    given = random(replace(DIMENSIONS, layers=1), 2, ("v_proj",))
    folder = tiny_adapter.write(tmp_path / "one", replace(DIMENSIONS, layers=1), 2, ("v_proj",), given)
    (one,) = adapters.read([f"one={folder}"], "llama", DIMENSIONS)
    _, config = written(one, DIMENSIONS, 1, "BF16", tmp_path / "out")
    assert config.tolist() == [[[3, 0, 2]]]
