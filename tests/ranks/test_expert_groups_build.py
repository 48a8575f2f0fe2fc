"""A mixture from its folder to the repository, its experts shared out between groups of ranks."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import tiny_decoders
from safetensors.numpy import load_file
from tiny import Workshop

from builder.safetensors_file import read_header
from builder.source import read_json

WIDTH, HIDDEN = tiny_decoders.SMALL["intermediate_size"], tiny_decoders.SMALL["hidden_size"]
EXPERT = "model.layers.0.block_sparse_moe.experts.{}.{}.weight"


@pytest.fixture
def workshop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    made = Workshop(tmp_path, monkeypatch)
    for file in made.checkpoint.glob("*.safetensors"):
        file.unlink()
    told = tiny_decoders.config("mixtral", num_local_experts=4, num_experts_per_tok=2)
    kept = shutil.copyfile(made.checkpoint / "tokenizer.json", tmp_path / "tokenizer.json")
    ids = {name: tiny.CONFIG[name] for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    tiny_decoders.write(made.checkpoint, {**told, **ids}, tiny_decoders.weights(told))
    shutil.copyfile(kept, made.checkpoint / "tokenizer.json")
    return made


def build(workshop: Workshop, **more: Any) -> Path:
    told = {"target": "tensorrtllm", "gpu": "h100", "max_context": 64, "concurrency": 4}
    workshop.build(**{**told, **more})
    return workshop.output / "tiny_engine" / "1"


def numbers(values: Any) -> Any:
    """Return bfloat16 as float32, whose upper half it is."""
    return (values.view(np.uint16).astype(np.uint32) << 16).view(np.float32)


def test_two_groups_of_one_rank_each(workshop: Workshop) -> None:
    """Rank 0 has experts 0 and 1 whole, rank 1 the others; attention is split between both."""
    engine = build(workshop, tensor_parallel=2, expert_parallel=2)
    mapping = read_json(engine / "checkpoint" / "config.json")["mapping"]
    assert mapping == {
        "world_size": 2,
        "gpus_per_node": 8,
        "cp_size": 1,
        "tp_size": 2,
        "pp_size": 1,
        "moe_tp_size": 1,
        "moe_ep_size": 2,
    }
    source = load_file(workshop.checkpoint / "model.safetensors")
    for rank, mine in enumerate([(0, 1), (2, 3)]):
        path = engine / "checkpoint" / f"rank{rank}.safetensors"
        held = read_header(path).tensors
        layer = "transformer.layers.0"
        assert held[f"{layer}.mlp.fc.weight"].shape == (2, 2 * WIDTH, HIDDEN)
        assert held[f"{layer}.mlp.proj.weight"].shape == (2, HIDDEN, WIDTH)
        assert held[f"{layer}.mlp.router.weight"].shape == (4, HIDDEN)
        # 4 of the 8 query heads, one of the 2 key heads and one of values, of 4 each
        assert held[f"{layer}.attention.qkv.weight"].shape == ((4 + 1 + 1) * 4, HIDDEN)
        kept = load_file(path)[f"{layer}.mlp.proj.weight"]
        for place, expert in enumerate(mine):
            expected = source[EXPERT.format(expert, "w2")]
            np.testing.assert_allclose(numbers(kept[place]), expected, rtol=2**-8)
    plan = read_json(workshop.output / "tiny" / "1" / "manifest.json")["plan"]
    assert plan["split"] == {"tensor": 2, "pipeline": 1, "experts": 2}
    script = (engine / "build-engine.sh").read_text()
    assert "--workers 2" in script and read_json(engine / "engine.json")["ranks"] == 2
    # what the plan counts, and on each rank all of the norms and of the routers, which have four bytes
    tables = sum(path.stat().st_size for path in (engine / "checkpoint").glob("rank*.safetensors"))
    norms, routers = 5 * HIDDEN * 2, 2 * 4 * HIDDEN
    headers = sum(8 + len(read_header(path).raw) for path in (engine / "checkpoint").glob("rank*"))
    assert tables - headers == 2 * plan["memory"]["weights"] + norms + routers * (2 * 4 - 2)


def test_other_groups_are_another_artifact(workshop: Workshop) -> None:
    """Of four ranks the first and the third have halves of the same two experts."""
    build(workshop, tensor_parallel=4)
    build(workshop, tensor_parallel=4, expert_parallel=2, output=workshop.folder / "other")
    assert len([one for one in (workshop.cache / "artifacts").iterdir() if one.is_dir()]) == 2
    checkpoint = workshop.folder / "other" / "tiny_engine" / "1" / "checkpoint"
    mapping = read_json(checkpoint / "config.json")["mapping"]
    assert (mapping["moe_tp_size"], mapping["moe_ep_size"]) == (2, 2)
    source = load_file(workshop.checkpoint / "model.safetensors")[EXPERT.format(0, "w2")]
    for rank, half in ((0, slice(0, WIDTH // 2)), (2, slice(WIDTH // 2, WIDTH))):
        kept = load_file(checkpoint / f"rank{rank}.safetensors")["transformer.layers.0.mlp.proj.weight"]
        np.testing.assert_allclose(numbers(kept[0]), source[:, half], rtol=2**-8)
