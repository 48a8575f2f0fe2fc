"""Rows of llama.cpp: read in pieces as in one, and as large as the plan says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tiny_decoders

pytest.importorskip("gguf")
pytest.importorskip("cyllama")
torch = pytest.importorskip("torch")

from backends.engine import llamacpp_rows  # noqa: E402
from backends.engine.llamacpp_rows import LlamacppRows  # noqa: E402
from builder.gguf import writing  # noqa: E402
from builder.proving import llamacpp as witness  # noqa: E402
from builder.targets import llamacpp as target  # noqa: E402

# more than a run computes, and no whole number of pieces
IDS = [int(one) for one in np.random.default_rng(2).integers(3, 90, 2 * llamacpp_rows.MOST_TOKENS + 7)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rows")
    asked = tiny_decoders.config("llama", rms_norm_eps=1e-5, max_position_embeddings=1024)
    tensors = {name: torch.from_numpy(one) / 8 for name, one in tiny_decoders.weights(asked).items()}
    source = tiny_decoders.write(folder / "source", asked, tensors)
    writing.write(source, folder / "model.gguf", lambda done, total: None)
    return folder


@pytest.fixture
def rows(folder: Path) -> Iterator[LlamacppRows]:
    found = LlamacppRows(folder / "model.gguf", rows=2, capacity=1024, threads=1, cache_type="f32")
    yield found
    found.close()


def test_every_logit_is_that_of_the_raw_model(rows: LlamacppRows, folder: Path) -> None:
    expected = witness.load(folder, {"threads": 1, "cache_type": "f32"}).read(IDS)
    found = rows.read(0, IDS[:-1], every=True)
    assert found.shape == expected.shape
    assert np.allclose(found, expected, atol=1e-3)


def test_the_last_alone_is_the_last_of_all(rows: LlamacppRows) -> None:
    every = rows.read(0, IDS, every=True)
    (last,) = rows.read(1, IDS, every=False)
    assert np.allclose(last, every[-1], atol=1e-3)
    # and both go on alike
    one, other = rows.step([5, 5])
    assert np.allclose(one, other, atol=1e-3)


def test_the_plan_knows_how_much_one_run_computes() -> None:
    assert target.MOST_TOKENS == llamacpp_rows.MOST_TOKENS
    assert target.MOST_SCORED == llamacpp_rows.MOST_WANTED
