"""LoRA adapters on their way into a repository; vLLM is not run: its proof is the workshop's stand-in."""

from __future__ import annotations

import pytest
import tiny
import tiny_adapter

from builder import architecture
from builder.check import check
from builder.source import read_json
from builder.targets import vllm

DIMENSIONS = architecture.load("llama").dimensions(tiny.CONFIG)


@pytest.fixture
def build(workshop, monkeypatch):
    """Return what builds the tiny model for vLLM with adapters, and gives the newest version's folder."""
    monkeypatch.setattr(vllm, "REQUIREMENTS", {"json": "json"})

    def run(version=1, **folders):
        given = tuple(f"{name}={folder}" for name, folder in folders.items())
        workshop.build(target="vllm", gpu="h200", max_context=64, adapters=given)
        return workshop.output / "tiny" / str(version)

    return run


def test_the_repository_holds_its_adapters_and_the_manifest_their_digests(workshop, build, tmp_path):
    folder = tiny_adapter.write(tmp_path / "trained", DIMENSIONS)
    front = build(support=folder)
    there = front / "adapters" / "support"
    assert sorted(file.name for file in there.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    for file in there.iterdir():
        assert file.read_bytes() == (folder / file.name).read_bytes()
        assert not file.samefile(folder / file.name)
    assert read_json(front / "settings.json")["adapters"] == {"support": "adapters/support"}
    manifest = read_json(front / "manifest.json")
    assert "adapters/support/adapter_model.safetensors" in manifest["artifact"]["sha256"]
    assert manifest["plan"]["adapters"] == [{"name": "support", "rank": 4, "modules": ["q_proj", "v_proj"]}]
    assert str(tmp_path) not in (front / "manifest.json").read_text()


def test_a_changed_adapter_is_seen_and_is_another_version(workshop, build, tmp_path):
    folder = tiny_adapter.write(tmp_path / "trained", DIMENSIONS)
    front = build(support=folder)
    assert build(support=folder) == front and not (workshop.output / "tiny" / "2").exists()
    config = folder / "adapter_config.json"
    config.write_text(config.read_text().replace('"lora_alpha": 8', '"lora_alpha": 16'))
    newer = build(2, support=folder)
    assert read_json(newer / "adapters" / "support" / "adapter_config.json")["lora_alpha"] == 16
    assert read_json(front / "adapters" / "support" / "adapter_config.json")["lora_alpha"] == 8
    (newer / "adapters" / "support" / "adapter_config.json").write_text("{}")
    assert "TRN633" in {finding.code for finding in check(workshop.output)}


def test_without_adapters_the_front_is_told_of_none(build):
    assert "adapters" not in read_json(build() / "settings.json")
