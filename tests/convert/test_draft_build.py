"""A draft on its way into a repository: laid beside the model, told to vLLM, kept in the manifest.

vLLM is not run: the proof is the workshop's stand-in.
"""

from __future__ import annotations

import json

import pytest
import tiny

from builder import speculation
from builder.errors import SourceError
from builder.source import read_json
from builder.targets import vllm

ASKED = {"target": "vllm", "gpu": "h200", "max_context": 64}


@pytest.fixture
def draft(workshop, monkeypatch):
    monkeypatch.setattr(vllm, "REQUIREMENTS", {"json": "json"})
    return tiny.checkpoint(workshop.folder / "small")


def test_the_repository_holds_the_draft_and_names_no_other_place(workshop, draft):
    workshop.build(**ASKED, draft=str(draft), speculate=2)
    front = workshop.output / "tiny" / "1"
    assert (front / "draft" / "model.safetensors").samefile(draft / "model.safetensors")
    assert sorted(file.name for file in (front / "draft").iterdir()) == [
        "config.json",
        "generation_config.json",
        "model.safetensors",
    ]
    told = read_json(front / "settings.json")["engine_arguments"]["speculative_config"]
    assert (told["model"], told["num_speculative_tokens"]) == ("draft", 2)
    text = (front / "manifest.json").read_text()
    assert str(workshop.folder) not in text
    manifest = read_json(front / "manifest.json")
    assert manifest["plan"]["speculation"]["draft"]["origin"] == "small"
    assert set(manifest["draft"]["sha256"]) >= {"model.safetensors", "config.json", "tokenizer.json"}
    assert "draft/model.safetensors" in manifest["artifact"]["sha256"]


def test_another_draft_is_another_version_and_the_same_one_is_not(workshop, draft):
    workshop.build(**ASKED, draft=str(draft))
    assert not workshop.build(**ASKED, draft=str(draft)).published.fresh
    config = read_json(draft / "config.json")
    (draft / "config.json").write_text(json.dumps({**config, "rope_theta": 5000.0}))
    assert workshop.build(**ASKED, draft=str(draft)).published.version == 2


def test_passages_of_the_text_need_no_second_checkpoint(workshop, draft):
    workshop.build(**ASKED, speculate=4)
    front = workshop.output / "tiny" / "1"
    assert not (front / "draft").exists()
    assert read_json(front / "settings.json")["engine_arguments"]["speculative_config"]["method"] == "ngram"


def test_tokenizers_are_compared_again_where_only_the_build_sees_both(workshop, draft, monkeypatch):
    other = tiny.checkpoint(workshop.folder / "other", words="one two drei vier")
    seen = []
    compare = speculation.require_same_tokens

    def once(*arguments):
        seen.append(arguments)
        if len(seen) > 1:
            compare(*arguments)

    monkeypatch.setattr(speculation, "require_same_tokens", once)
    with pytest.raises(SourceError, match="has another tokenizer than tiny"):
        workshop.build(**ASKED, draft=str(other))
    assert workshop.runs("golden") == 0
    assert not workshop.output.exists()


def test_nvidia_s_own_form_is_told_the_place_that_the_draft_will_have(workshop, draft):
    workshop.build(**ASKED, draft=str(draft), contract="vllm_backend")
    front = workshop.output / "tiny" / "1"
    told = read_json(front / "model.json")
    assert told["speculative_config"]["model"] == f"{told['model']}/draft"
    assert (front / "draft" / "config.json").is_file()
