"""Chat templates of published models, as llama.cpp's repository keeps them for its own tests.

The source distribution of llama-cpp-python on PyPI carries them; none is copied into this repository.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import pytest

from builder import house

PACKAGE = "llama-cpp-python==0.3.16"

FORMS = {
    "NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use": "hermes",
    "NousResearch-Hermes-3-Llama-3.1-8B-tool_use": "hermes",
    "Qwen-QwQ-32B": "hermes",
    "Qwen-Qwen2.5-7B-Instruct": "hermes",
    "Qwen-Qwen3-0.6B": "hermes",
    "meta-llama-Llama-3.1-8B-Instruct": "llama3",
    "meta-llama-Llama-3.2-3B-Instruct": "llama3",
    "meta-llama-Llama-3.3-70B-Instruct": "llama3",
    "mistralai-Mistral-Nemo-Instruct-2407": "mistral",
}
"""Template -> its format; every other one there takes no tools, or writes calls in a form of its own."""


def folder() -> Path:
    """Return the folder of the templates, downloaded once; skip the test where that cannot be."""
    home = house.cache_folder() / "chat-templates" / PACKAGE
    if not home.is_dir():
        home.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(dir=home.parent))
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", ":all:", PACKAGE]
        done = subprocess.run([*command, "--dest", str(part)], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"{PACKAGE} cannot be downloaded: {done.stderr[-200:]}")
        _unpack(next(part.glob("*.tar.gz")), part)
        with contextlib.suppress(OSError):  # another process was faster
            part.rename(home)
    return home


def _unpack(archive: Path, home: Path) -> None:
    with tarfile.open(archive) as opened:
        for member in opened:
            if "/models/templates/" in member.name and member.name.endswith(".jinja"):
                content = opened.extractfile(member)
                assert content is not None
                (home / Path(member.name).name).write_bytes(content.read())
    archive.unlink()


def read(name: str) -> str:
    """Return the text of a template."""
    return (folder() / f"{name}.jinja").read_text(encoding="utf-8")
