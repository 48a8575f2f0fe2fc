"""Engines that are yet to be built, and the image that builder.lock pins, in the files that are rendered.

The golden file is the service for llama-8b on two H100, whole: nothing of it may change unnoticed.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from importers import stock_repository
from rendered import instructions, run, service, tool

from builder import compiling, deploy
from builder.cli import main
from builder.deployment import Options, deployment
from builder.errors import LockError, RepositoryError, UsageError
from builder.plan import Options as PlanOptions
from builder.plan import plan
from builder.subjects import read
from builder.target import Compilation

USUAL = ["triton", "gateway", "tls"]
GOLDEN = Path(__file__).with_name("golden") / "engine-build.yaml"
IMAGE = "nvcr.io/nvidia/tritonserver:26.07-trtllm-python-py3"
BEGINS = "  # once, on a GPU"
DIGEST = f"sha256:{'4' * 64}"
CONFIG = """
backend: "tensorrtllm"
parameters {{ key: "gpt_model_path" value {{ string_value: "/models/{name}/1/engine" }} }}
"""
PYTHON = """class TritonPythonModel:
    def execute(self, requests):
        return []
"""


@pytest.fixture(scope="module")
def compilation() -> Compilation:
    asked = PlanOptions(
        target="tensorrtllm", gpu="h100", tensor_parallel=2, max_context=8192, concurrency=64, triton="26.07"
    )
    found = plan(read("llama-8b", None, None)[0], asked).compilation
    assert found is not None
    return found


Unbuilt = Callable[..., Path]


@pytest.fixture
def unbuilt(tmp_path: Path, compilation: Compilation) -> Unbuilt:
    """Write a model whose engine is not there, as a build leaves it where no GPU is; gives its repository."""

    def make(name: str = "llama-8b_engine", more: Any = None) -> Path:
        version = tmp_path / "engines" / name / "1"
        (version / "checkpoint").mkdir(parents=True)
        (version / "checkpoint" / "config.json").write_text("{}")
        (version.parent / "config.pbtxt").write_text(CONFIG.format(name=name))
        record = {**compiling.record(compilation, "0" * 64), **(more or {})}
        (version / "engine.json").write_text(json.dumps(record))
        # the front's plan
        told = {"plan": {"name": name.removesuffix("_engine"), "target": "tensorrtllm"}}
        (version / "manifest.json").write_text(json.dumps(told))
        return version.parent.parent

    return make


@pytest.fixture
def lock(tmp_path: Path) -> Callable[..., Path]:
    def make(*names: str, **way: str) -> Path:
        path = tmp_path / "builder.lock"
        source = {"origin": "acme/it", "revision": "", "sha256": {}}
        pinned = {"triton": "26.07", "image": IMAGE, "digest": DIGEST, **way}
        models = {name: {"source": source, "targets": {"tensorrtllm": pinned}} for name in names}
        path.write_text(json.dumps({"format": 1, "models": models}))
        return path

    return make


def rendered(repository: Path, **options: Any) -> dict[str, str]:
    # one that stands where the repository does, as the golden file says
    return deploy.compose(deployment(repository, Options(**options)), repository.parent / "deploy")


def test_the_service_is_the_golden_one(unbuilt: Unbuilt) -> None:
    text = rendered(unbuilt())["compose.yaml"]
    assert yaml.safe_load(text)["services"].keys() == {*USUAL, "engine-build"}
    assert text[text.index(BEGINS) :] == GOLDEN.read_text()


def test_it_runs_the_planned_command_and_up_does_not_start_it(
    unbuilt: Unbuilt, compilation: Compilation
) -> None:
    found = service(rendered(unbuilt())["compose.yaml"], "engine-build")
    assert found["command"] == [compilation.tool, *compilation.arguments]
    assert (found["image"], found["profiles"]) == (IMAGE, ["engine-build"])
    (devices,) = found["deploy"]["resources"]["reservations"]["devices"]
    assert devices["count"] == compilation.ranks == 2
    (mount,) = found["volumes"]
    assert (mount["source"], mount["target"]) == ("../engines/llama-8b_engine/1", found["working_dir"])
    assert not mount.get("read_only")


def test_the_schema_takes_it(unbuilt: Unbuilt, tmp_path: Path) -> None:
    file = tmp_path / "compose.yaml"
    file.write_text(rendered(unbuilt())["compose.yaml"])
    done = run(tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(file))
    assert done.returncode == 0, done.stdout


@pytest.fixture
def engine(unbuilt: Unbuilt) -> Path:
    """Write an engine of two ranks where the service puts it; gives its folder."""
    return stock_repository.engine(unbuilt() / "llama-8b_engine" / "1" / "engine", ranks=2)


def services(engine: Path) -> list[str]:
    return list(yaml.safe_load(rendered(engine.parents[2])["compose.yaml"])["services"])


@pytest.mark.parametrize("checkpoint", [True, False])
def test_no_service_builds_what_is_there(engine: Path, checkpoint: bool) -> None:
    if not checkpoint:
        shutil.rmtree(engine.parent / "checkpoint")
    assert services(engine) == USUAL


SPOILT: Mapping[str, Callable[[Path], object]] = {
    "none": shutil.rmtree,
    "empty": lambda engine: [file.unlink() for file in engine.iterdir()],
    "empty rank0": lambda engine: (engine / "rank0.engine").write_bytes(b""),
    "no rank1": lambda engine: (engine / "rank1.engine").unlink(),
    "no config": lambda engine: (engine / "config.json").unlink(),
}


@pytest.mark.parametrize("spoilt", SPOILT)
def test_an_engine_that_is_not_whole_is_built_or_refused(engine: Path, spoilt: str) -> None:
    SPOILT[spoilt](engine)
    assert services(engine) == [*USUAL, "engine-build"]
    (engine.parent / "checkpoint" / "config.json").unlink()
    for _ in range(2):
        with pytest.raises(RepositoryError, match="holds neither engine, whole, nor checkpoint"):
            services(engine)
        shutil.rmtree(engine.parent / "checkpoint", ignore_errors=True)


def test_an_engine_of_another_version_is_not_deployed(engine: Path, tmp_path: Path) -> None:
    file = engine / "config.json"
    file.write_text(file.read_text().replace("1.2.1", "1.1.0"))
    words = ["deploy", "compose", str(engine.parents[2]), "--output", str(tmp_path / "out"), "--lock", "none"]
    done = CliRunner().invoke(main, words)
    assert (done.exit_code, (tmp_path / "out").exists()) == (1, False)
    assert "the engine is of TensorRT-LLM 1.1.0, and 26.07 runs 1.2.1" in done.output


@pytest.fixture
def nvidia(unbuilt: Unbuilt) -> Path:
    """Write NVIDIA's models as `--contract nvidia` has them: one of them alone has the front's plan."""
    repository = unbuilt("tensorrt_llm")
    (repository / "tensorrt_llm" / "1" / "manifest.json").unlink()
    for name in ("preprocessing", "postprocessing", "tensorrt_llm_bls", "ensemble"):
        (repository / name / "1").mkdir(parents=True)
        (repository / name / "config.pbtxt").write_text('backend: "python"\n')
        (repository / name / "1" / "model.py").write_text(PYTHON)
    told = {"name": "llama-8b", "target": "tensorrtllm", "contract": "nvidia"}
    (repository / "ensemble" / "1" / "manifest.json").write_text(json.dumps({"plan": told}))
    return repository


def test_nvidia_s_models_are_one_front_and_its_steps(nvidia: Path) -> None:
    texts = rendered(nvidia)
    assert ("FROM", IMAGE) in instructions(texts["Dockerfile"])
    assert yaml.safe_load(texts["compose.yaml"])["services"].keys() == {*USUAL, "engine-build"}


def test_a_step_of_no_front_still_has_to_run_in_the_image(nvidia: Path) -> None:
    (nvidia / "postprocessing" / "config.pbtxt").write_text('backend: "openvino"\n')
    with pytest.raises(UsageError, match="backend openvino, which the image with tensorrt_llm has not"):
        deployment(nvidia, Options())


def test_several_engines_have_a_service_each(unbuilt: Unbuilt) -> None:
    unbuilt("a_engine")
    text = rendered(unbuilt("b c_engine"))["compose.yaml"]
    services = yaml.safe_load(text)["services"]
    assert list(services) == [*USUAL, "engine-build-a_engine", "engine-build-b-c_engine"]
    assert services["engine-build-b-c_engine"]["volumes"][0]["source"] == "../engines/b c_engine/1"


@pytest.mark.parametrize(
    "more",
    [{"arguments": ["--workers", 2]}, {"tool": None}, {"ranks": "2"}, {"environment": [1]}, {"compute": 9.0}],
    ids=str,
)
def test_a_record_that_is_none_is_refused(unbuilt: Unbuilt, more: dict[str, Any]) -> None:
    with pytest.raises(RepositoryError, match=r"engine\.json is not as a build writes it"):
        rendered(unbuilt(more=more))


def test_words_of_a_record_stay_words(unbuilt: Unbuilt) -> None:
    odd = 'a "b"\n  evil: true # $HOME ${X}'
    text = rendered(unbuilt(more={"arguments": [odd], "compute": odd}))["compose.yaml"]
    found = service(text, "engine-build")
    assert [word.replace("$$", "$") for word in found["command"]] == ["trtllm-build", odd]
    assert "evil" not in found


OWNED = 'BUILDER_USER="$(id -u):$(id -g)" ' if os.getuid() != 1000 else ""
"""What is said of folders that belong to whoever runs the tests."""


@pytest.mark.parametrize("user", [1000, 1001])
def test_whose_the_folder_is_runs_the_service(unbuilt: Unbuilt, user: int) -> None:
    if os.getuid() not in (0, user):
        pytest.skip("only root gives folders away")
    repository = unbuilt()
    os.chown(repository / "llama-8b_engine" / "1", user, user)
    (found,) = deployment(repository, Options()).unbuilt
    assert found.setting == ("" if user == 1000 else 'BUILDER_USER="$(id -u):$(id -g)" ')


def test_the_command_says_how_it_is_built(unbuilt: Unbuilt, tmp_path: Path) -> None:
    words = ["deploy", "compose", str(unbuilt()), "--output", str(tmp_path / "out"), "--lock", "none"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    command = f"docker compose --file {tmp_path}/out/compose.yaml run --rm engine-build"
    assert f"{tmp_path}/engines/llama-8b_engine/1/engine first: {OWNED}{command}\n" in done.stdout
    told = json.loads(CliRunner().invoke(main, [*words, "--json"]).stdout)
    assert told["unbuilt"] == {"engine-build": f"{tmp_path}/engines/llama-8b_engine/1"}


def test_a_locked_image_is_the_digest_that_is_locked(unbuilt: Unbuilt, lock: Callable[..., Path]) -> None:
    texts = rendered(unbuilt(), lock=lock("llama-8b"))
    assert ("FROM", f"{IMAGE}@{DIGEST}") in instructions(texts["Dockerfile"])
    assert service(texts["compose.yaml"], "engine-build")["image"] == f"{IMAGE}@{DIGEST}"


@pytest.mark.parametrize("names", [(), ("another",)])
def test_what_no_lock_pins_has_its_tag_alone(
    unbuilt: Unbuilt, lock: Callable[..., Path], names: tuple[str, ...]
) -> None:
    repository = unbuilt()
    for path in (lock(*names), Path("not there"), lock("llama-8b", digest="")):
        assert ("FROM", IMAGE) in instructions(rendered(repository, lock=path)["Dockerfile"])


def test_the_release_of_the_lock_is_taken_where_none_is_asked_for(
    unbuilt: Unbuilt, lock: Callable[..., Path]
) -> None:
    older = IMAGE.replace("26.07", "26.05")
    pins = lock("llama-8b", triton="26.05", image=older)
    repository = unbuilt()
    found = deployment(repository, Options(lock=pins))
    assert (found.container.tag, found.base) == ("26.05", f"{older}@{DIGEST}")
    with pytest.raises(LockError, match=r"--triton 26\.07, and .* pins 26\.05") as refused:
        deployment(repository, Options("26.07", lock=pins))
    assert "--lock none" in refused.value.remedy


def test_two_images_are_no_one_server(unbuilt: Unbuilt, lock: Callable[..., Path], tmp_path: Path) -> None:
    unbuilt("a_engine")
    pins = lock("a", "b")
    told = json.loads(pins.read_text())
    told["models"]["b"]["targets"]["tensorrtllm"]["digest"] = f"sha256:{'5' * 64}"
    pins.write_text(json.dumps(told))
    with pytest.raises(UsageError, match=r"pins images that are not one: a .*4444, b .*5555"):
        deployment(unbuilt("b_engine"), Options(lock=pins))


def test_a_digest_that_is_none_reaches_no_dockerfile(
    unbuilt: Unbuilt, lock: Callable[..., Path], tmp_path: Path
) -> None:
    pins = lock("llama-8b", digest="sha256:abc\nRUN evil")
    output = tmp_path / "out"
    words = ["deploy", "compose", str(unbuilt()), "--output", str(output), "--lock", str(pins)]
    done = CliRunner().invoke(main, words)
    assert (done.exit_code, output.exists()) == (1, False)
    assert "expected: sha256: and 64 hexadecimal digits" in done.output


def test_a_changed_compilation_is_read_back(compilation: Compilation, tmp_path: Path) -> None:
    told = replace(compilation, profile={"ids": {"least": (1, 1), "usual": (2, 2), "most": (4, 4)}})
    (tmp_path / "engine.json").write_text(json.dumps(compiling.record(told, "0" * 64)))
    found = compiling.recorded(tmp_path)
    assert found is not None
    assert compiling.script(found) == compiling.script(told)
    assert compiling.recorded(tmp_path / "none") is None
