"""NVIDIA's own two files for vLLM, built from a tiny checkpoint; vLLM's proof is a stand-in's."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from google.protobuf import text_format
from tiny import Workshop, tree
from tritonclient.grpc.model_config_pb2 import ModelConfig

from builder.check import check
from builder.cli import main
from builder.errors import ServeError, UsageError
from builder.rule import Host
from builder.serve import boot
from builder.targets import vllm

HOST = Host("26.08", completes=False)
ASKED = {"target": "vllm", "gpu": "h200", "contract": "vllm_backend", "concurrency": 2, "max_context": 64}


@pytest.fixture
def built(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    monkeypatch.setattr(vllm, "REQUIREMENTS", {"json": "json"})
    workshop.build(**ASKED)
    return workshop


def told(workshop: Workshop, version: int) -> dict[str, Any]:
    content = (workshop.output / "tiny" / str(version) / "model.json").read_text()
    return dict(json.loads(content))


def test_the_repository_is_config_and_arguments_and_the_checkpoint(built: Workshop) -> None:
    assert [path.name for path in built.output.iterdir()] == ["tiny"]
    files = set(tree(built.output / "tiny"))
    assert files == {
        "1",
        *(f"1/{name}" for name in ("build.json", "golden.json", "manifest.json", "model.json")),
        *(f"1/{name}" for name in ("config.json", "generation_config.json", "model.safetensors")),
        *("1/tokenizer", "1/tokenizer/tokenizer.json", "1/tokenizer/tokenizer_config.json"),
        "1/tokenizer/chat_template.jinja",
        "config.pbtxt",
    }
    config = text_format.Parse((built.output / "tiny" / "config.pbtxt").read_text(), ModelConfig())
    assert (config.backend, config.max_batch_size) == ("vllm", 0)
    assert config.model_transaction_policy.decoupled
    assert not config.parameters
    arguments = told(built, 1)
    assert (arguments["model"], arguments["tokenizer"]) == ("/models/tiny/1", "/models/tiny/1/tokenizer")
    assert (arguments["max_model_len"], arguments["max_num_seqs"]) == (64, 2)
    assert arguments["kv_cache_memory_bytes"] > 0


def test_it_has_no_findings_for_the_container_that_serves_it(built: Workshop) -> None:
    assert check(built.output, host=HOST) == []


def test_the_same_again_is_no_new_version_and_another_names_its_own_folder(built: Workshop) -> None:
    again = built.build(**ASKED)
    assert (again.published.version, again.published.fresh) == (1, False)
    more = built.build(**{**ASKED, "concurrency": 4})
    assert (more.published.version, more.published.fresh) == (2, True)
    assert told(built, 2)["model"] == "/models/tiny/2"


def test_a_build_that_would_verify_says_what_serves_it(workshop: Workshop, built: Workshop) -> None:
    with pytest.raises(UsageError) as refused:
        workshop.build(**ASKED, verifying=True)
    assert "does not serve contract vllm_backend" in refused.value.found
    assert refused.value.expected == "nvcr.io/nvidia/tritonserver:26.08-vllm-python-py3"
    assert "--no-verify" in str(refused.value.remedy)


def test_the_embedded_server_is_known_to_lack_the_backend(built: Workshop) -> None:
    host = Host("24.10", gpus=0, backends=frozenset({"python"}), completes=False)
    (fault,) = [one for one in check(built.output, host=host) if one.code == "TRN411"]
    assert "the server has python" in fault.message
    image = "nvcr.io/nvidia/tritonserver:26.08-vllm-python-py3"
    assert f"container of NVIDIA's that has the vllm backend, {image}" in fault.remedy


def test_a_server_that_lacks_the_backend_names_what_serves_it_and_nothing_else(built: Workshop) -> None:
    # on a machine without a GPU its instance group is wrong too, which is not what to mend
    with pytest.raises(ServeError) as refused:
        boot(built.output)
    assert "unable to find backend library for backend 'vllm'" in refused.value.found
    assert "TRN403" not in refused.value.found
    assert "tritonserver:26.08-vllm-python-py3" in refused.value.remedy
    assert "KIND_CPU" not in refused.value.remedy


def test_verify_says_before_a_boot_what_it_cannot_ask(built: Workshop) -> None:
    code, said = run("verify", str(built.output))
    assert code == 2 and "these speak another: tiny (vllm_backend)" in said


def test_a_copied_version_that_names_the_old_one(built: Workshop) -> None:
    home = built.output / "tiny"
    shutil.copytree(home / "1", home / "2")
    codes = [(one.code, one.path) for one in check(built.output, host=HOST)]
    assert codes == [("TRN653", "tiny/2/model.json")] * 2
    (home / "2" / "model.json").write_text(
        json.dumps({**told(built, 1), "model": "/models/tiny/2/tokenizer"})
    )
    messages = [one.message for one in check(built.output, host=HOST) if one.code == "TRN653"]
    assert "there is no config.json" in messages[0]


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer/tokenizer.json"])
def test_files_of_the_checkpoint_are_those_that_were_proven(built: Workshop, name: str) -> None:
    file = built.output / "tiny" / "1" / name
    content = file.read_bytes()
    file.unlink()
    file.write_bytes(content + b" ")
    assert [(one.code, one.path) for one in check(built.output, host=HOST)] == [("TRN633", f"tiny/1/{name}")]


def run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, words)
    return result.exit_code, result.stdout + result.stderr


def test_a_deployment_is_of_the_image_that_has_the_backend(built: Workshop, tmp_path: Path) -> None:
    output = tmp_path / "deployed"
    words = ["deploy", "compose", str(built.output), "--output", str(output)]
    assert run(*words)[0] == 0
    assert "tritonserver:26.08-vllm-python-py3" in (output / "Dockerfile").read_text()
    assert "target: /models" in (output / "compose.yaml").read_text()
    assert run(*words, "--triton", "25.12")[0] == 2
    built.build(served_name="other")
    code, said = run(*words)
    assert code == 2 and "tiny is served by an image of its own" in said


def test_verify_says_what_it_cannot_ask(built: Workshop) -> None:
    code, said = run("verify", str(built.output), "--url", "http://127.0.0.1:1")
    assert code == 2 and "these speak another: tiny (vllm_backend)" in said


def test_a_build_says_what_serves_it(built: Workshop) -> None:
    image = "nvcr.io/nvidia/tritonserver:26.08-vllm-python-py3"
    words = ["tiny", "--checkpoint", str(built.checkpoint), "--concurrency", "2", "--max-context", "64"]
    words += ["--target", "vllm", "--gpu", "h200", "--contract", "vllm_backend"]
    code, said = run("build", *words, "--no-verify", "--output", str(built.output))
    assert code == 0
    assert "not verified: `builder verify` asks models of contract builder alone, not of vllm_backend" in said
    assert "`builder verify` does it" not in said
    assert f"serve it in {image}: builder deploy compose {built.output}" in said
    assert f"served by {image} alone" in run("plan", *words)[1]
