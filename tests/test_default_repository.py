"""The default build, once for all: it verifies, answers, and equals the committed model_repository/."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest

from builder import pipeline, verifying
from builder.pipeline import Built
from builder.plan import Options
from builder.proving.prompts import EPSILON
from builder.server import Server
from builder.serving import rest

ROOT = Path(__file__).parent.parent

PROVEN = {"smollm2/1/golden.json", "smollm2/1/manifest.json"}
"""What the proof wrote: int4 answers and their gaps are those of the processor's own kernels."""

PROCESSOR = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()

pytestmark = pytest.mark.triton


@pytest.fixture(scope="session")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Build smollm2 into a new repository; its artifact may come from the cache."""
    output = tmp_path_factory.mktemp("default") / "model_repository"
    return pipeline.build("smollm2", output, Options(), verifying=False)


@pytest.fixture(scope="session")
def server(smollm2: Built, boot: Callable[..., Server]) -> Server:
    return boot(smollm2.published.repository)


def committed() -> dict[str, bytes]:
    """Return the text files that git holds of the default repository."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "model_repository"], cwd=ROOT, capture_output=True, check=True
    ).stdout.decode()
    names = [name for name in listed.split("\0") if name]
    return {name.removeprefix("model_repository/"): (ROOT / name).read_bytes() for name in names}


def test_committed_repository_regenerates_byte_for_byte(smollm2: Built) -> None:
    repository = smollm2.published.repository
    held = committed()
    differing = [
        name
        for name, content in held.items()
        if name not in PROVEN
        and (not (repository / name).is_file() or (repository / name).read_bytes() != content)
    ]
    assert not differing, "run `builder build smollm2` and commit model_repository/"
    assert set(held) > PROVEN and "smollm2_ensemble/config.pbtxt" in held


def test_committed_manifest_differs_in_nothing_but_the_proof(smollm2: Built) -> None:
    held = json.loads(committed()["smollm2/1/manifest.json"])
    made = json.loads((smollm2.published.repository / "smollm2/1/manifest.json").read_text())
    assert held.pop("evidence").keys() == made.pop("evidence").keys()
    assert held == made


@pytest.mark.skipif("avx512_vnni" in PROCESSOR, reason="recorded by ONNX Runtime's kernels for AVX2")
def test_committed_answers_are_those_of_this_build(smollm2: Built) -> None:
    """Answers and gaps; how near a tie is, is measured by each build on its own machine."""
    held = json.loads(committed()["smollm2/1/golden.json"])
    made = json.loads((smollm2.published.repository / "smollm2/1/golden.json").read_text())
    assert min(held.pop("epsilon"), made.pop("epsilon")) >= EPSILON
    assert held == made


def test_every_text_file_of_the_build_is_committed(smollm2: Built) -> None:
    repository = smollm2.published.repository
    unlisted = {"model", "tokenizer.json", "build.json"}
    written = {
        str(file.relative_to(repository))
        for file in repository.rglob("*")
        if file.is_file() and not unlisted & set(file.parts)
    }
    assert written == set(committed())


def test_building_again_changes_nothing(smollm2: Built) -> None:
    again = pipeline.build("smollm2", smollm2.published.repository, Options(), verifying=False)
    assert not again.published.fresh
    assert again.published.version == smollm2.published.version


def test_a_clone_is_completed_by_the_same_build(smollm2: Built, tmp_path: Path) -> None:
    """git holds the text only; building in a clone brings the artifact and the tokenizers back."""
    repository = tmp_path / "model_repository"
    for name in committed():
        (repository / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(smollm2.published.repository / name, repository / name)
    completed = pipeline.build("smollm2", repository, Options(), verifying=False)
    assert (completed.published.version, completed.published.fresh) == (1, False)
    whole = smollm2.published.repository
    names = {str(file.relative_to(whole)) for file in whole.rglob("*") if file.is_file()}
    assert names == {str(file.relative_to(repository)) for file in repository.rglob("*") if file.is_file()}


def test_default_deployment_passes_every_check_and_names_paris(smollm2: Built, server: Server) -> None:
    body = {
        "messages": json.dumps([{"role": "user", "content": "What is the capital of France?"}]),
        "max_tokens": 32,
    }
    status, answer = rest.call(server.http, "POST", "/v2/models/smollm2/generate", body=body, timeout=60)
    assert status == 200
    assert "Paris" in answer["text_output"]
    report = verifying.run(
        smollm2.published.repository,
        f"http://{server.http}",
        server.grpc,
        server.metrics,
        progress=lambda doing, share: None,
    )
    assert [row.name for row in report.failures] == []
    assert report.count("passed") >= 40


CITY = {
    "type": "object",
    "properties": {
        "city": {"enum": ["Berlin", "Paris", "Rome"]},
        "population": {"type": "integer", "minimum": 1, "maximum": 99_999_999},
        "famous for": {"type": "array", "items": {"type": "string", "maxLength": 20}, "maxItems": 2},
    },
    "required": ["city", "population", "famous for"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_real_model_answers_as_a_schema_says(server: Server, temperature: float) -> None:
    body = {
        "messages": json.dumps(
            [{"role": "user", "content": "Tell me about the capital of France, as JSON."}]
        ),
        "max_tokens": 300,
        "temperature": temperature,
        "seed": 1,
        "guided_decoding_guide_type": "json_schema",
        "guided_decoding_guide": json.dumps(CITY),
    }
    status, answer = rest.call(server.http, "POST", "/v2/models/smollm2/generate", body=body, timeout=60)
    assert (status, answer["finish_reason"]) == (200, "stop"), answer
    found = json.loads(answer["text_output"])
    jsonschema.validate(found, CITY)
    if not temperature:
        assert found["city"] == "Paris"


def test_a_real_model_answers_with_an_object(server: Server) -> None:
    asked = 'Answer with a JSON object like {"name": "Ada", "age": 36} about a person, and with nothing else.'
    body = {
        "messages": json.dumps([{"role": "user", "content": asked}]),
        "max_tokens": 300,
        "guided_decoding_guide_type": "json",
    }
    status, answer = rest.call(server.http, "POST", "/v2/models/smollm2/generate", body=body, timeout=60)
    assert (status, answer["finish_reason"]) == (200, "stop"), answer
    assert isinstance(json.loads(answer["text_output"]), dict)


@pytest.mark.slow
def test_float32_build_agrees_with_its_source_and_passes_every_check(tmp_path: Path) -> None:
    built = pipeline.build("smollm2", tmp_path / "repository", Options(quantize="fp32"))
    assert built.evidence.agreed == built.evidence.tokens
    assert built.evidence.prompts == 20
    assert built.report is not None and built.report.passed
    assert built.report.count("passed") >= 40
