"""A checkpoint on its way into NVIDIA's own model for the LLM API.

TensorRT-LLM is not run: its proof is the workshop's stand-in.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny import Workshop

from backends.engine import model_yaml
from builder.check import check
from builder.errors import UsageError
from builder.rule import Host
from builder.source import read_json
from builder.targets import llmapi

ASKED = {"target": "llmapi", "gpu": "h200", "max_context": 64, "contract": "nvidia"}
SERVER = Host("26.07", completes=False)


@pytest.fixture
def shop(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    monkeypatch.setattr(llmapi, "REQUIREMENTS", {"json": "json"})
    return workshop


def names(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir())


def test_the_repository_is_one_model_that_finds_its_checkpoint(shop: Workshop) -> None:
    shop.build(**ASKED)
    assert names(shop.output) == ["tensorrt_llm"]
    folder = shop.output / "tensorrt_llm" / "1"
    assert {"model.py", "model.yaml", "model", "tokenizer", "golden.json", "manifest.json"} < set(
        names(folder)
    )
    # what runs there reads the places that the build wrote
    found = model_yaml.llm(folder)
    assert found is not None
    model, tokenizer, told = found
    assert (model / "model.safetensors").samefile(shop.checkpoint / "model.safetensors")
    assert (tokenizer / "tokenizer.json").is_file()
    assert told == read_json(folder / "manifest.json")["plan"]["engine_arguments"]
    assert read_json(folder / "settings.json")["engine_arguments"] == {}
    assert (folder / "backends" / "engine" / "tensorrt_llm.py").is_file()
    assert check(shop.output, host=SERVER) == []


def test_the_same_build_publishes_nothing_and_another_one_a_version(shop: Workshop) -> None:
    shop.build(**ASKED)
    assert not shop.build(**ASKED).published.fresh
    more: dict[str, Any] = {**ASKED, "settings": ("engine.stream_interval=4",)}
    assert shop.build(**more).published.version == 2
    second = yaml.safe_load((shop.output / "tensorrt_llm" / "2" / "model.yaml").read_text())
    assert (second["stream_interval"], second["model"]) == (4, "/models/tensorrt_llm/2/model")
    assert check(shop.output, host=SERVER) == []


def test_the_server_that_verifies_here_does_not_have_it(shop: Workshop) -> None:
    with pytest.raises(UsageError, match="does not serve contract nvidia") as refused:
        shop.build(**ASKED, verifying=True)
    assert "--no-verify" in str(refused.value)
    assert not shop.output.exists()
