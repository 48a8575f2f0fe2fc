"""TensorRT-LLM as a witness, against a stand-in with the signatures of its LLM API."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorrt_llm_stand_in as stand_in

from builder.proving import tensorrt_llm

PLANNED = {
    "backend": "pytorch", "max_seq_len": 8192, "max_batch_size": 64, "dtype": "bfloat16",
    "kv_cache_config": {"max_tokens": 900_000, "enable_block_reuse": True}, "cuda_graph_config": {},
}  # fmt: skip


def test_logits_of_each_token_come_from_the_library_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in.install(monkeypatch)
    model = tensorrt_llm.load(tmp_path / "model", PLANNED)
    values = np.arange(20, dtype=np.float32).reshape(1, 20)
    model._llm.logits = stand_in.Logits(values)
    assert np.array_equal(model.start([4, 5], 9), values[0])
    assert np.array_equal(model.append(7), values[0])
    first, second = model._llm.asked
    assert (first.ids, second.ids) == ([4, 5], [4, 5, 7])
    asked = second.params
    assert (asked.max_tokens, asked.end_id, asked.ignore_eos, asked.detokenize) == (1, -1, True, False)


@pytest.mark.parametrize("known", [(), ("gather_generation_logits",)])
def test_it_runs_as_planned_but_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: tuple[str, ...]
) -> None:
    stand_in.install(monkeypatch, known=known)
    llm = tensorrt_llm.load(tmp_path / "model", PLANNED)._llm
    assert (llm.model, llm.tokenizer) == (str(tmp_path / "model"), str(tmp_path / "tokenizer"))
    assert llm.told == {
        "backend": "pytorch", "dtype": "bfloat16", "max_seq_len": 2048, "max_batch_size": 1,
        "kv_cache_config": {"max_tokens": 4096, "enable_block_reuse": True}, "cuda_graph_config": None,
        **dict.fromkeys(known, True),
    }  # fmt: skip
