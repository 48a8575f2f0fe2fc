"""What a front's config.pbtxt tells clients that have no tokenizer and no template."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from builder import client_facts, subjects
from builder.adapter import Adapter
from builder.errors import RepositoryError
from builder.plan import Options, plan

HERMES = (
    "{% for tool in tools or [] %}{{ tool.function.name }}\n{% endfor %}"
    "{% for m in messages %}{{ m.role }}: {{ m.content }}"
    "{% for c in m.tool_calls or [] %}<tool_call>\n"
    '{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}'
    "\n</tool_call>{% endfor %}{% endfor %}"
)


def parameters(repository: Path, name: str = "tiny") -> dict[str, str]:
    config = text_format.Parse((repository / name / "config.pbtxt").read_text(), ModelConfig())
    return {key: config.parameters[key].string_value for key in config.parameters}


def test_a_model_without_a_template(workshop):
    (workshop.checkpoint / "tokenizer_config.json").write_text("{}")
    (workshop.checkpoint / "chat_template.jinja").unlink(missing_ok=True)
    workshop.build()
    told = {"task": "text_generation", "chat": "false", "context_length": "4096"}
    assert parameters(workshop.output) == told
    for part in ("tiny_tokenizer", "tiny_detokenizer", "tiny_ensemble"):
        assert parameters(workshop.output, part) == {}


@pytest.mark.parametrize(("template", "form"), [(HERMES, "hermes"), ("{{ messages[0].content }}", None)])
def test_a_model_with_a_template(workshop, template, form):
    (workshop.checkpoint / "chat_template.jinja").write_text(template)
    workshop.build(max_context=512)
    told = parameters(workshop.output)
    assert (told["chat"], told["context_length"], told.get("tool_format")) == ("true", "512", form)


def test_another_context_is_refused_with_both(workshop):
    workshop.build()
    with pytest.raises(RepositoryError, match="context_length is 4096 there and 512 here") as caught:
        workshop.build(max_context=512)
    assert "--name" in caught.value.remedy
    assert workshop.build(max_context=512, served_name="shorter").published.fresh


def test_a_config_that_told_clients_nothing_is_named_as_such(workshop):
    workshop.build()
    home = workshop.output / "tiny"
    config = text_format.Parse((home / "config.pbtxt").read_text(), ModelConfig())
    config.ClearField("parameters")
    (home / "config.pbtxt").write_text(text_format.MessageToString(config))
    with pytest.raises(RepositoryError, match="context_length is not told there and 4096 here"):
        workshop.build(concurrency=2)


def test_adapters_are_told_by_their_names(tmp_path):
    planned = plan(subjects.read("smollm2", None, None)[0], Options())
    assert "adapters" not in client_facts.of(planned, tmp_path)
    two = tuple(Adapter(name, 8, ("q_proj",), tmp_path) for name in ("law", "support"))
    assert client_facts.of(replace(planned, adapters=two), tmp_path)["adapters"] == "law,support"


@pytest.mark.parametrize("name", ["minilm", "bge-reranker", "bert-ner", "vit-base"])
def test_an_ensemble_tells_its_task(name, tmp_path):
    planned = plan(subjects.read(name, None, None)[0], Options())
    assert client_facts.of(planned, tmp_path) == {"task": planned.pipeline}


def test_the_forms_of_nvidia_have_none_of_ours(tmp_path):
    asked = Options(target="vllm", gpu="h200", contract="vllm_backend", max_context=64)
    assert client_facts.of(plan(subjects.read("smollm2", None, None)[0], asked), tmp_path) == {}


def test_a_template_is_read_from_where_the_front_reads_it(workshop):
    """What a checkpoint may hold in other forms is not what the front renders."""
    (workshop.checkpoint / "chat_template.jinja").write_text(HERMES)
    workshop.build()
    shutil.copytree(workshop.output / "tiny" / "1" / "tokenizer", workshop.folder / "seen")
    planned = plan(subjects.read("tiny", str(workshop.checkpoint), None)[0], Options())
    assert client_facts.of(planned, workshop.folder / "seen") == parameters(workshop.output)
