"""Engines of another build at the place of the planned one: what refuses, and what only warns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from importers import stock_repository

from builder.check import check
from builder.rule import Host

CONFIG = """backend: "tensorrtllm"
max_batch_size: 64
parameters { key: "gpt_model_path" value { string_value: "/models/m_engine/1/engine" } }
"""
PLANNED: dict[str, Any] = {
    "ranks": 2,
    "arguments": ["--max_seq_len", "512", "--max_input_len", "512", "--max_num_tokens", "4096"],
}
CHECKPOINT: dict[str, Any] = {
    "dtype": "bfloat16",
    "quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8"},
    "mapping": {"tp_size": 2, "pp_size": 1},
}


def write(repository: Path, planned: object, ranks: int = 2, **built: Any) -> Path:
    """Write an engine of a model that was planned so; gives the engine's folder."""
    version = repository / "m_engine" / "1"
    engine = stock_repository.engine(version / "engine", ranks, **built)
    (version.parent / "config.pbtxt").write_text(CONFIG)
    (version / "engine.json").write_text(json.dumps(planned))
    return engine


def pretrained(engine: Path, **told: Any) -> None:
    config = json.loads((engine / "config.json").read_text())
    config["pretrained_config"].update(told)
    (engine / "config.json").write_text(json.dumps(config))


def found(repository: Path) -> list[tuple[str, str, str]]:
    """Return code, severity and the differences of every finding."""
    told = [one for one in check(repository, host=Host("26.07")) if one.code.startswith("TRN64")]
    return [(one.code, one.severity, one.message.partition(": ")[2]) for one in told]


@pytest.mark.parametrize(
    ("ranks", "built", "said"),
    [
        (2, {}, []),
        (2, {"max_seq_len": 512, "max_input_len": 512}, []),
        (1, {}, [("TRN648", "error", "it has 1 rank, not 2")]),
        (3, {}, [("TRN648", "error", "it has 3 ranks, not 2")]),
        (2, {"max_seq_len": 128}, [("TRN648", "error", "max_seq_len is 128, not 512")]),
        (2, {"max_input_len": 511}, [("TRN648", "error", "max_input_len is 511, not 512")]),
        (
            1,
            {"max_seq_len": 128, "max_num_tokens": 128},
            [("TRN648", "error", "it has 1 rank, not 2; max_seq_len is 128, not 512")],
        ),
        (2, {"max_num_tokens": 2048}, [("TRN648", "warning", "max_num_tokens is 2048, not 4096")]),
        (2, {"max_batch_size": 4}, [("TRN645", "warning", "")]),
        # an engine that is no matter which: what it takes at once is not said beside
        (1, {"max_batch_size": 4}, [("TRN648", "error", "it has 1 rank, not 2")]),
    ],
)
def test_ranks_and_limits(tmp_path: Path, ranks: int, built: dict[str, Any], said: list[Any]) -> None:
    write(tmp_path, PLANNED, ranks, **built)
    assert found(tmp_path) == said


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"dtype": "float16"}, ("error", "dtype is float16, not bfloat16")),
        ({"quantization": {"quant_algo": None}}, ("error", "quant_algo is none, not FP8")),
        (
            {"quantization": {"quant_algo": "W4A16_AWQ", "kv_cache_quant_algo": "INT8"}},
            ("error", "quant_algo is W4A16_AWQ, not FP8; kv_cache_quant_algo is INT8, not FP8"),
        ),
        (
            {"mapping": {"world_size": 2, "tp_size": 1, "pp_size": 2}},
            ("warning", "tp_size is 1, not 2; pp_size is 2, not 1"),
        ),
        (
            {"mapping": {"world_size": 2, "tp_size": 2, "gpus_per_node": 1}},
            ("error", "its ranks are on 2 hosts, not on 1"),
        ),
    ],
)
@pytest.mark.parametrize("place", ["record", "checkpoint"])
def test_what_the_checkpoint_said(tmp_path: Path, told: dict[str, Any], said: Any, place: str) -> None:
    kept = {"config": CHECKPOINT} if place == "record" else {"source": "checkpoint"}
    engine = write(tmp_path, {**PLANNED, **kept})
    if place == "checkpoint":
        (engine.parent / "checkpoint").mkdir()
        (engine.parent / "checkpoint" / "config.json").write_text(json.dumps(CHECKPOINT))
    assert found(tmp_path) == []
    pretrained(engine, **told)
    assert found(tmp_path) == [("TRN648", *said)]


@pytest.mark.parametrize("spoilt", ["rank", "version"])
def test_of_an_engine_that_does_not_load_nothing_else_is_said(tmp_path: Path, spoilt: str) -> None:
    engine = write(tmp_path, PLANNED, max_batch_size=4)
    assert [code for code, *_ in found(tmp_path)] == ["TRN645"]
    if spoilt == "rank":
        (engine / "rank1.engine").unlink()
    else:
        (engine / "config.json").write_text((engine / "config.json").read_text().replace("1.2.1", "1.1.0"))
    assert [code for code, *_ in found(tmp_path)] == ["TRN643" if spoilt == "rank" else "TRN644"]


@pytest.mark.parametrize("front", ["m", "ensemble"])
def test_the_manifest_counts_where_an_engine_brought_its_own_record(tmp_path: Path, front: str) -> None:
    write(tmp_path, {**PLANNED, "ranks": 1}, ranks=1)
    assert found(tmp_path) == []
    version = tmp_path / front / "1"
    version.mkdir(parents=True)
    (version.parent / "config.pbtxt").write_text('backend: "python"\n')
    plan = {"models": [{"name": front}, {"name": "m_engine"}], "compilation": PLANNED}
    (version / "manifest.json").write_text(json.dumps({"plan": plan}))
    assert found(tmp_path) == [("TRN648", "error", "it has 1 rank, not 2")]


@pytest.mark.parametrize(
    "record",
    [
        [],
        {"ranks": "2", "arguments": "--max_seq_len 512"},
        {"ranks": -1, "hosts": [], "arguments": [["--max_seq_len"], "x", "--max_seq_len"]},
        {"ranks": True, "config": [], "arguments": [{}, "--max_seq_len", "many"]},
        {"config": {"quantization": 1, "mapping": [], "dtype": {}}, "source": 7},
    ],
)
def test_a_record_that_is_none_tells_nothing(tmp_path: Path, record: object) -> None:
    write(tmp_path, record)
    assert {severity for _, severity, _ in found(tmp_path)} <= {"error"}
