"""Engines of TensorRT-LLM: whole builds with our converter and a stand-in for trtllm-build."""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import tiny_adapter
import trtllm_build
import yaml
from google.protobuf import text_format
from tiny import Workshop
from tokenizers import Tokenizer
from tritonclient.grpc.model_config_pb2 import DataType, ModelConfig

from backends.engine import bfloat16, executor_tensors
from builder import architecture, compiling, files, pipeline, serve
from builder.check import check
from builder.compiling import Machine
from builder.deploy import compose
from builder.deploying.engine_gpus import ranks
from builder.deployment import Options as DeployOptions
from builder.deployment import deployment
from builder.errors import ConversionError, RepositoryError, ServeError, UsageError
from builder.inflight_batcher import engine_folder
from builder.layout import read
from builder.printing import outcomes
from builder.ranks.convert import Ranks, convert
from builder.ranks.division import Division
from builder.rule import Host
from builder.server import Options as ServerOptions
from builder.servers import docker

PROGRAM = Path(trtllm_build.__file__)
SERVER = Host("26.07", completes=False, compute=("9.0",))
ENGINE = ["config.json", "rank0.engine", "rank1.engine"]
DOCKER = f"""#!{sys.executable}
import subprocess, sys
words = sys.argv[1:]
assert words[:2] == ["run", "--rm"], words
image = next(place for place, word in enumerate(words) if word.startswith("nvcr.io/"))
told = dict(zip(words[2:image:2], words[3:image:2]))
outside, inside = told["--volume"].rsplit(":", 1)
assert (told["--workdir"], told["--entrypoint"], told["--env"]) == (inside, "trtllm-build", "HOME=/tmp"), told
sys.exit(subprocess.run([{sys.executable!r}, {str(PROGRAM)!r}, *words[image + 1:]], cwd=outside).returncode)
"""
"""Runs our `docker run` alone, as a container of the image would."""


@pytest.fixture
def workshop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    return Workshop(tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pipeline.Built]:
    """Return a build without its engine and a whole one, for tests that build nothing themselves."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        made = Workshop(tmp_path_factory.mktemp("engines"), monkeypatch)
        without = build(made, output=made.folder / "without")
        with_tool(monkeypatch, made.folder)
        whole = build(made, output=made.folder / "whole")
    # the machine with the GPU is gone for the tests that follow
    return {"without": without, "whole": whole}


@pytest.fixture
def without(built: dict[str, pipeline.Built], tmp_path: Path) -> Path:
    """Return a repository of one's own whose engine has not been built yet."""
    return Path(shutil.copytree(built["without"].published.repository, tmp_path / "repository"))


@pytest.fixture
def whole(built: dict[str, pipeline.Built], tmp_path: Path) -> Path:
    """Return a repository of one's own with its engine."""
    return Path(shutil.copytree(built["whole"].published.repository, tmp_path / "repository"))


def build(workshop: Workshop, **more: Any) -> pipeline.Built:
    told = {"target": "tensorrtllm", "gpu": "h100", "tensor_parallel": 2, "max_context": 64, "concurrency": 4}
    return workshop.build(**{**told, **more})


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def with_tool(monkeypatch: pytest.MonkeyPatch, folder: Path, text: str = "") -> None:
    """Put a trtllm-build into PATH on a machine with the GPU, inside NVIDIA's image."""
    tool = text or f'#!/bin/sh\nexec {sys.executable} {PROGRAM} "$@"\n'
    program(folder / "bin" / "trtllm-build", tool)
    program(folder / "bin" / "nvidia-smi", "#!/bin/sh\necho 9.0\necho 9.0\n")
    monkeypatch.setenv("PATH", f"{folder / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("NVIDIA_TRITON_SERVER_VERSION", "26.07")


def found(repository: Path, host: Host = SERVER) -> list[tuple[str, str]]:
    return [(one.code, one.message) for one in check(repository, host=host)]


KILLED = """
import os, signal, sys
if "builder.exporting.tensorrt_llm" in sys.orig_argv:
    from builder.ranks import blocks, journal
    blocks.THREADS = journal.STEP = 1
    add = journal.Journal.add
    def killed(self, done):
        add(self, done)
        os.kill(os.getpid(), signal.SIGKILL)
    journal.Journal.add = killed
"""
"""A sitecustomize.py that kills the converter when something is done for sure."""


def interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def fill(*_: Any) -> None:
    raise OSError(errno.ENOSPC, "no space left")


def test_a_build_that_fails_after_its_conversion_leaves_nothing(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "digests", fill)
    with pytest.raises(ConversionError, match="no space left"):
        build(workshop)
    assert not list((workshop.cache / "artifacts").iterdir())


def test_a_build_whose_converter_was_killed_goes_on_where_it_was(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifacts = workshop.cache / "artifacts"
    program(workshop.folder / "killed" / "sitecustomize.py", KILLED)
    with monkeypatch.context() as killing:
        killing.setenv("PYTHONPATH", f"{workshop.folder / 'killed'}:{os.environ.get('PYTHONPATH', '')}")
        with pytest.raises(ConversionError, match="ended with code -9"):
            build(workshop)
    (left,) = artifacts.iterdir()
    assert sorted(one.name for one in left.iterdir()) == ["journal", "lock", "ranks"]
    # interrupted once more, while what was converted is hashed
    with monkeypatch.context() as interrupting:
        interrupting.setattr(files, "digests", interrupt)
        with pytest.raises(KeyboardInterrupt):
            build(workshop)
    assert list(artifacts.iterdir()) == [left]
    (log,) = (workshop.cache / "logs").glob("convert-*.log")
    first, *_ = log.read_text().splitlines()
    assert re.fullmatch(r"going on at \d+ %", first) and first not in ("going on at 0 %", "going on at 100 %")
    told: list[str] = []
    build(workshop, progress=lambda doing, share: told.append(doing))
    doing = "converting to tensorrtllm bf16"
    assert told.index(doing) < told.index(f"{doing}, going on at 100 %")
    (artifact,) = artifacts.iterdir()
    source = workshop.folder / "checkpoint"
    convert(source, workshop.folder / "ranks", Ranks(Division(2), "bf16", parallel_embedding=True))
    for one in (workshop.folder / "ranks").iterdir():
        assert (artifact / "model" / "checkpoint" / one.name).read_bytes() == one.read_bytes()


def test_without_a_gpu_the_ranks_and_the_script_are_published(workshop: Workshop) -> None:
    assert build(workshop).engine is None
    folder = workshop.output / "tiny_engine" / "1"
    held = [name for name, content in tiny.tree(folder).items() if content is not None]
    ranked = ["checkpoint/config.json", "checkpoint/rank0.safetensors", "checkpoint/rank1.safetensors"]
    assert held == ["build-engine.sh", *ranked, "engine.json", "tokenizer_info.json"]
    told = json.loads((folder / "engine.json").read_text())
    assert (told["compute"], told["triton"], told["ranks"]) == ("9.0", "26.07", 2)
    assert told["libraries"] == {"tensorrt_llm": "1.2.1", "tensorrt": "10.14.1.48"}
    manifest = json.loads((workshop.output / "tiny" / "1" / "manifest.json").read_text())
    assert manifest["plan"]["compilation"]["libraries"] == told["libraries"]
    assert {f"model/{name}" for name in ranked} < set(manifest["artifact"]["sha256"])
    missing = check(workshop.output, host=SERVER)
    assert [(one.code, one.message) for one in missing] == [
        ("TRN641", "/models/tiny_engine/1/engine does not exist")
    ]
    assert "`sh tiny_engine/1/build-engine.sh`" in missing[0].remedy


def test_the_script_makes_it_whole(workshop: Workshop) -> None:
    build(workshop)
    folder = workshop.output / "tiny_engine" / "1"
    client = program(workshop.folder / "bin" / "docker", DOCKER)
    environment = {**os.environ, "PATH": f"{client.parent}:{os.environ['PATH']}"}
    subprocess.run([folder / "build-engine.sh"], env=environment, check=True, capture_output=True)
    assert sorted(path.name for path in (folder / "engine").iterdir()) == ENGINE
    assert found(workshop.output) == []
    assert not build(workshop).published.fresh
    read_back = engine_folder.read(folder / "engine")
    assert (read_back.tensorrt, read_back.compute, read_back.ranks) == ("10.14.1.48", "9.0", 2)
    assert (read_back.max_batch_size, read_back.max_seq_len, read_back.max_num_tokens) == (4, 64, 256)


def test_where_the_tool_is_the_engine_is_published_without_what_it_was_made_of(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_tool(monkeypatch, workshop.folder)
    built = build(workshop)
    folder = workshop.output / "tiny_engine" / "1"
    assert sorted(path.name for path in folder.iterdir()) == [
        *("build-engine.sh", "engine", "engine.json", "tokenizer_info.json")
    ]
    assert sorted(path.name for path in (folder / "engine").iterdir()) == ENGINE
    assert built.engine is not None and sorted(one.name for one in built.engine.iterdir()) == ENGINE
    assert found(workshop.output) == []
    # it is in the cache: nothing is built again
    with_tool(monkeypatch, workshop.folder, "#!/bin/sh\nexit 1\n")
    assert not build(workshop).published.fresh


def test_the_engine_comes_to_a_version_that_was_published_without(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(workshop)
    with_tool(monkeypatch, workshop.folder)
    assert not build(workshop).published.fresh
    assert sorted(one.name for one in (workshop.output / "tiny_engine" / "1" / "engine").iterdir()) == ENGINE
    assert found(workshop.output) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("#!/bin/sh\necho no memory\nexit 1\n", ["ended with code 1", "no memory"]),
        ("#!/bin/sh\nmkdir engine.part\n", ["trtllm-build ended well and wrote no engine.part"]),
    ],
)
def test_a_tool_that_fails_publishes_nothing(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, text: str, words: list[str]
) -> None:
    with_tool(monkeypatch, workshop.folder, text)
    with pytest.raises(ConversionError) as failed:
        build(workshop)
    assert all(word in str(failed.value) for word in words), failed.value
    assert not workshop.output.exists()


def test_the_configs_and_the_front(without: Path) -> None:
    config = text_format.Parse((without / "tiny_engine" / "config.pbtxt").read_text(), ModelConfig())
    told = {name: value.string_value for name, value in config.parameters.items()}
    assert (config.backend, config.max_batch_size) == ("tensorrtllm", 4)
    assert config.model_transaction_policy.decoupled
    assert told["gpt_model_path"] == "/models/tiny_engine/1/engine"
    assert told["xgrammar_tokenizer_info_path"] == "/models/tiny_engine/1/tokenizer_info.json"
    assert (told["guided_decoding_backend"], told["tokenizer_dir"]) == ("xgrammar", "")
    assert told["max_tokens_in_paged_kv_cache"] == "256"
    assert len(config.input), len(config.output) == (62, 21)
    front = json.loads((without / "tiny" / "1" / "settings.json").read_text())
    assert (front["engine"], front["engine_model"]) == ("tensorrt_llm_executor", "tiny_engine")
    assert front["engine_arguments"] == {
        "version": "1.2.1", "vocabulary": 16, "context_logits": False, "guided": True,
        "compute": "9.0", "ranks": 2,
    }  # fmt: skip
    guide = json.loads((without / "tiny_engine" / "1" / "tokenizer_info.json").read_text())
    assert guide["encoded_vocab"][:5] == ["<unk>", "<s>", "</s>", "one", "two"]
    assert guide["stop_token_ids"] == [2]
    assert Tokenizer.from_str(guide["tokenizer_str"]).encode("two one").ids == [4, 3]
    assert not (without / "tiny" / "1" / "model").exists()


@pytest.mark.parametrize(
    ("host", "words"),
    [
        (Host("26.02", completes=False), "of TensorRT-LLM 1.2.1, and 26.02 runs 1.1.0"),
        (Host("26.08", completes=False), "of TensorRT-LLM 1.2.1, and 26.08 runs no engines"),
        (
            Host("26.07", completes=False, compute=("8.9",)),
            "for GPUs of compute capability 9.0, and there are those of 8.9",
        ),
    ],
)
def test_a_server_that_cannot_run_the_engine(whole: Path, host: Host, words: str) -> None:
    assert ("TRN644", f"the engine is {words}") in found(whole, host)


def spoilt(folder: Path) -> list[tuple[Any, str, str]]:
    """Return what may happen to an engine's folder: how, the rule that tells, and its words."""
    other = trtllm_build.engine((10, 13, 3, 9))
    broken = '{"version": "1.2.1"}'
    return [
        ((folder / "rank1.engine").unlink, "TRN643", "built for 2 ranks: rank1.engine is missing"),
        (lambda: (folder / "config.json").unlink(), "TRN641", "engine holds no config.json"),
        (lambda: (shutil.rmtree(folder), folder.touch()), "TRN641", "engine is a file, and no folder"),
        (lambda: (folder / "config.json").write_text(broken), "TRN642", "lacks pretrained_config"),
        (lambda: (folder / "rank2.engine").write_bytes(other), "TRN643", "rank2.engine is of another engine"),
        (
            lambda: (folder / "rank0.engine").write_bytes(other),
            "TRN644",
            "of TensorRT 10.13.3.9, and 26.07 has 10.14.1.48",
        ),
    ]


@pytest.mark.parametrize("case", range(6))
def test_a_folder_that_is_no_whole_engine_is_refused(whole: Path, case: int) -> None:
    spoil, code, words = spoilt(whole / "tiny_engine" / "1" / "engine")[case]
    spoil()
    assert [(one, words in message) for one, message in found(whole)] == [(code, True)]


def change(folder: Path, part: str, told: dict[str, Any]) -> None:
    """Make an engine's config.json that of another engine."""
    config = json.loads((folder / "config.json").read_text())
    held = config["build_config"] if part == "build_config" else config["pretrained_config"]
    held.update({part: {**held[part], **told}} if part in held else told)
    (folder / "config.json").write_text(json.dumps(config))


def test_the_record_keeps_what_the_ranks_said_also_where_they_are_gone(whole: Path) -> None:
    told = json.loads((whole / "tiny_engine" / "1" / "engine.json").read_text())["config"]
    assert (told["dtype"], told["vocab_size"], told["architecture"]) == ("bfloat16", 16, "LlamaForCausalLM")
    assert told["mapping"] == {"tp_size": 2, "pp_size": 1}
    assert told["quantization"] == {"quant_algo": None, "kv_cache_quant_algo": None}


OTHERS = [
    ("quantization", {"quant_algo": "FP8"}, "quant_algo is FP8, not none"),
    ("pretrained_config", {"dtype": "float16"}, "dtype is float16, not bfloat16"),
    ("build_config", {"max_seq_len": 32}, "max_seq_len is 32, not 64"),
]


@pytest.mark.parametrize(("part", "told", "words"), OTHERS)
def test_an_engine_of_another_build_is_neither_checked_nor_deployed_nor_served(
    whole: Path, part: str, told: dict[str, Any], words: str
) -> None:
    change(whole / "tiny_engine" / "1" / "engine", part, told)
    said = f"the engine is not the one that tiny_engine was built for: {words}"
    assert found(whole) == [("TRN648", said)]
    with pytest.raises(RepositoryError, match=words):
        deployment(whole, DeployOptions())
    image = "nvcr.io/nvidia/tritonserver:26.07-trtllm-python-py3"
    with pytest.raises(ServeError, match=words):
        serve.boot(whole, using="docker", options=ServerOptions(image=image, gpus="all"))


def test_nvidia_s_contract(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    with_tool(monkeypatch, workshop.folder)
    build(workshop, contract="nvidia")
    names = ["ensemble", "postprocessing", "preprocessing", "tensorrt_llm", "tensorrt_llm_bls"]
    assert sorted(path.name for path in workshop.output.iterdir()) == names
    folder = workshop.output / "tensorrt_llm" / "1"
    assert sorted(path.name for path in (folder / "engine").iterdir()) == ENGINE
    config = text_format.Parse((workshop.output / "tensorrt_llm" / "config.pbtxt").read_text(), ModelConfig())
    assert config.parameters["gpt_model_path"].string_value == "/models/tensorrt_llm/1/engine"
    assert found(workshop.output) == []
    # the manifest tells of the ranks also where the record is that of the other engine
    record = folder / "engine.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "ranks": 1}))
    (folder / "engine" / "rank1.engine").unlink()
    change(folder / "engine", "mapping", {"world_size": 1, "tp_size": 1})
    ((code, message),) = found(workshop.output)
    assert (code, message.partition(": ")[2]) == ("TRN648", "it has 1 rank, not 2")
    with pytest.raises(RepositoryError, match="it has 1 rank, not 2"):
        deployment(workshop.output, DeployOptions())


def adapted(workshop: Workshop) -> tuple[str, ...]:
    dimensions = architecture.load("llama").dimensions(tiny.CONFIG)
    folder = tiny_adapter.write(workshop.folder / "trained", dimensions, modules=("q_proj", "k_proj"))
    return (f"support={folder}",)


def test_adapters_lie_beside_the_front_as_the_engine_takes_them(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_tool(monkeypatch, workshop.folder)
    build(workshop, adapters=adapted(workshop))
    front = workshop.output / "tiny" / "1"
    assert json.loads((front / "settings.json").read_text())["adapters"] == {"support": "adapters/support"}
    sent = executor_tensors.adapter(front / "adapters" / "support")
    # query of 8, and key of 4, twice for two GPUs of one KV head: rank 4, two layers
    assert (sent["lora_weights"].dtype, sent["lora_weights"].shape) == (bfloat16.KIND, (1, 4, 4 * 16))
    assert sent["lora_config"].tolist() == [[[1, 0, 4], [2, 0, 4], [1, 1, 4], [2, 1, 4]]]
    engines = workshop.output / "tiny_engine"
    config = text_format.Parse((engines / "config.pbtxt").read_text(), ModelConfig())
    types = {one.name: DataType.Name(one.data_type) for one in config.input}
    assert types["lora_weights"] == "TYPE_BF16"
    assert config.parameters["lora_cache_max_adapter_size"].string_value == "4"
    built = json.loads((engines / "1" / "engine" / "config.json").read_text())["build_config"]
    assert (built["lora_plugin"], built["max_lora_rank"]) == ("auto", 4)
    manifest = json.loads((front / "manifest.json").read_text())
    assert "adapters/support/model.lora_weights.npy" in manifest["artifact"]["sha256"]
    assert found(workshop.output) == []
    # the front hands it over through shared memory
    file = front / "adapters" / "support" / "model.lora_weights.npy"
    assert deployment(workshop.output, DeployOptions()).adapters == file.stat().st_size


def test_nvidia_s_clients_find_adapters_as_its_own_tool_writes_them(workshop: Workshop) -> None:
    build(workshop, adapters=adapted(workshop), contract="nvidia", quantize="fp16", tensor_parallel=1)
    folder = workshop.output / "ensemble" / "1" / "adapters" / "support"
    weights = np.load(folder / "model.lora_weights.npy")
    assert (weights.dtype, weights.shape) == (np.float16, (1, 4, 4 * 16))
    for name in ("ensemble", "tensorrt_llm", "tensorrt_llm_bls"):
        config = text_format.Parse((workshop.output / name / "config.pbtxt").read_text(), ModelConfig())
        (one,) = [one for one in config.input if one.name == "lora_weights"]
        assert DataType.Name(one.data_type) == "TYPE_FP16"


@pytest.mark.parametrize("state", ["without", "whole"])
def test_a_deployment_starts_a_server_for_each_rank(
    built: dict[str, pipeline.Built], state: str, tmp_path: Path
) -> None:
    repository = built[state].published.repository
    made = deployment(repository, DeployOptions())
    assert made.image == "nvcr.io/nvidia/tritonserver:26.07-trtllm-python-py3"
    assert (made.gpus, made.ranks.count, made.ranks.engines) == ("2", 2, ("tiny_engine",))
    server = [
        *("tritonserver", "--model-repository=/models", "--disable-auto-complete-config"),
        *("--exit-on-error=true", "--exit-timeout-secs=30"),
    ]
    assert made.command == [
        *("mpirun", "--allow-run-as-root", "-n", "1", *server),
        "--backend-config=python,shm-region-prefix-name=prefix0_",
        *(":", "-n", "1", *server, "--backend-config=python,shm-region-prefix-name=prefix1_"),
        *("--model-control-mode=explicit", "--load-model=tiny_engine"),
    ]
    text = compose(made, tmp_path)["compose.yaml"]
    assert '- "mpirun"' in text and '- "--load-model=tiny_engine"' in text and "count: 2" in text
    with pytest.raises(UsageError, match=r"tiny for 26\.07, not 26\.03"):
        deployment(repository, DeployOptions(triton="26.03"))


def test_the_service_of_compose_makes_it_whole_also_over_an_older_one(without: Path, tmp_path: Path) -> None:
    text = compose(deployment(without, DeployOptions()), tmp_path / "deploy")["compose.yaml"]
    service = yaml.safe_load(text)["services"]["engine-build"]
    program(tmp_path / "bin" / "trtllm-build", f'#!/bin/sh\nexec {sys.executable} {PROGRAM} "$@"\n')
    environment = {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    (folder,) = [(tmp_path / "deploy" / mount["source"]).resolve() for mount in service["volumes"]]
    words = [word.replace("$$", "$") for word in (*service["entrypoint"], *service["command"])]
    for _ in range(2):
        subprocess.run(words, cwd=folder, env=environment, check=True, capture_output=True)
        assert sorted(path.name for path in (folder / "engine").iterdir()) == ENGINE
    assert found(without) == []
    later = compose(deployment(without, DeployOptions()), tmp_path / "deploy")["compose.yaml"]
    assert "engine-build" not in yaml.safe_load(later)["services"]
    # one that fails leaves what was there
    program(tmp_path / "bin" / "trtllm-build", "#!/bin/sh\nmkdir -p engine.part\nexit 1\n")
    done = subprocess.run(words, cwd=folder, env=environment, check=False)
    assert done.returncode == 1 and found(without) == []


def test_one_rank_needs_no_mpi(workshop: Workshop) -> None:
    build(workshop, tensor_parallel=1)
    made = deployment(workshop.output, DeployOptions())
    assert (made.gpus, made.command[0]) == ("1", "tritonserver")


def test_engines_of_different_ranks_are_no_one_server(workshop: Workshop) -> None:
    build(workshop, tensor_parallel=1)
    build(workshop, served_name="other")
    with pytest.raises(UsageError, match="other_engine has 2, tiny_engine has 1"):
        ranks(read(workshop.output))


def test_what_a_quantisation_lacks_is_said_before_anything_is_read(workshop: Workshop) -> None:
    if importlib.util.find_spec("modelopt"):
        pytest.skip("nothing is lacking")
    with pytest.raises(ConversionError, match=r"target tensorrtllm needs builder\[tensorrtllm\]"):
        build(workshop, quantize="fp8")
    assert not (workshop.cache / "artifacts").exists() and not workshop.output.exists()


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("modelopt") is None,
    reason="what calibrates is nvidia-modelopt==0.47.0: pip install -e .[tensorrtllm]",
)
def test_float8_is_calibrated_proven_and_built(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = workshop.folder / "asked.jsonl"
    asked.write_text("\n".join(json.dumps({"prompt": "def area(radius): return radius"}) for _ in range(200)))
    built = build(workshop, quantize="fp8", workload=str(asked))
    home = workshop.output / "tiny_engine" / "1" / "checkpoint"
    quantised = json.loads((home / "config.json").read_text())["quantization"]
    assert (quantised["quant_algo"], quantised["kv_cache_quant_algo"]) == ("FP8", "FP8")
    data = json.loads((home / "calibration.json").read_text())
    manifest = json.loads((workshop.output / "tiny" / "1" / "manifest.json").read_text())
    compared = manifest["calibration"].pop("workload")
    assert manifest["calibration"] == data and len(data["sha256"]) == 64
    assert (compared["file"], compared["texts"]) == ("asked.jsonl", 200) and compared["unlike"] > 0.5
    assert compared["warning"] in outcomes.warnings(built)
    # what will be asked makes no other version, and stays known
    asked.write_text(json.dumps({"prompt": "One two three"}))
    assert not build(workshop, quantize="fp8", workload=str(asked)).published.fresh
    manifest = json.loads((workshop.output / "tiny" / "1" / "manifest.json").read_text())
    assert manifest["calibration"]["workload"]["texts"] == 1
    with_tool(monkeypatch, workshop.folder)
    again = build(workshop, quantize="fp8")
    assert again.engine is not None and not again.published.fresh
    assert json.loads((workshop.output / "tiny" / "1" / "manifest.json").read_text()) == manifest


def test_a_build_cannot_verify_an_engine_and_says_so_before_it_works(workshop: Workshop) -> None:
    with pytest.raises(UsageError, match="runs no engines") as refused:
        build(workshop, verifying=True)
    assert "--no-verify" in refused.value.remedy


@pytest.mark.parametrize(
    ("installed", "obstacle"),
    [
        ({"tensorrt_llm": "1.2.1", "tensorrt": "10.14.1.48"}, ""),
        ({"tensorrt_llm": "1.2.1", "tensorrt": "10.14.1.48.post1"}, "this is not"),
        ({"tensorrt_llm": "1.2.0", "tensorrt": "10.14.1.48"}, "this is not"),
        ({"tensorrt_llm": "1.2.1"}, "this is not"),
    ],
)
def test_outside_of_the_image_the_same_libraries_will_do(
    built: dict[str, pipeline.Built], installed: dict[str, str], obstacle: str
) -> None:
    compilation = built["without"].plan.compilation
    assert compilation is not None
    here = Machine(("9.0",), "", "/usr/bin/trtllm-build", "there is no docker", installed)
    found = compiling.obstacle(compilation, here)
    assert found.startswith(obstacle) and bool(found) == bool(obstacle)


def test_a_container_of_ours_is_started_with_a_server_for_each_rank(without: Path) -> None:
    options = ServerOptions(image="nvcr.io/nvidia/tritonserver:26.07-trtllm-python-py3", gpus="all")
    words = docker.command(without, options, name="n", published=(1, 2, 3))
    inside = words[words.index(options.image) + 1 :]
    assert inside[:5] == ["mpirun", "--allow-run-as-root", "-n", "1", "tritonserver"]
    assert inside.count("tritonserver") == 2 and inside[-1] == "--load-model=tiny_engine"


@pytest.mark.parametrize(
    ("tag", "card", "words"),
    [
        ("26.02", "9.0", "of TensorRT-LLM 1.2.1, and 26.02 runs 1.1.0"),
        ("26.07", "8.9", "compute capability 9.0, and there are those of 8.9"),
    ],
)
def test_a_server_of_another_version_or_gpu_does_not_boot(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tag: str, card: str, words: str
) -> None:
    program(tmp_path / "bin" / "nvidia-smi", f"#!/bin/sh\necho {card}\n")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    image = f"nvcr.io/nvidia/tritonserver:{tag}-trtllm-python-py3"
    with pytest.raises(ServeError, match=words):
        serve.boot(whole, using="docker", options=ServerOptions(image=image, gpus="all"))
