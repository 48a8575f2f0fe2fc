"""Deployments whose template takes tools: the echoing one, and smollm2 with another template."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import echoing_repository
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

TEMPLATE = (Path(__file__).parent / "hermes.jinja").read_text(encoding="utf-8")
SMOLLM2 = "smollm2_tools"


def echoing(repository: Path) -> Path:
    """Write the deployment that answers with its prompt: its format is hermes, and its reasoning is told.

    Its template is nothing but the texts of the messages, and what was called between them.
    """
    echoing_repository.write(repository)
    front = repository / echoing_repository.NAME
    (front / "1" / "tokenizer" / "chat_template.jinja").write_text(ECHO, encoding="utf-8")
    tell(repository, tool_format="hermes", reasoning="true")
    return repository


def tell(repository: Path, **parameters: str) -> None:
    """Have the front's config say something to clients."""
    file = repository / echoing_repository.NAME / "config.pbtxt"
    config = text_format.Parse(file.read_text(), ModelConfig())
    for name, value in parameters.items():
        config.parameters[name].string_value = value
    file.write_text(text_format.MessageToString(config))


ECHO = (
    "{% for tool in tools or [] %}[{{ tool.function.name }}]{% endfor %}"
    "{% for message in messages %}{{ message.content }}"
    "{% for call in message.tool_calls or [] %}<{{ call.function.name }} {{ call.function.arguments.city }}>"
    "{% endfor %}{% endfor %}"
)


def smollm2(checkpoint: Path) -> Path:
    """Write the checkpoint of smollm2 with a template of hermes to `checkpoint`, a .gguf file."""
    from builder import recipe
    from builder.source import open_checkpoint

    original = open_checkpoint(recipe.load("smollm2").checkpoint).path
    words = ["--chat-template", TEMPLATE, str(original), str(checkpoint)]
    done = subprocess.run(
        [sys.executable, "-m", "gguf.scripts.gguf_new_metadata", *words],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return checkpoint
