"""`builder import`: a stock repository becomes one that serves, or is refused with the numbers."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import stock_repository
from click.testing import CliRunner, Result
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc.model_config_pb2 import ModelConfig

from backends.engine import tensorrt_llm as llmapi_engine
from backends.engine import vllm as vllm_engine
from backends.nvidia import streaming
from builder import engine_file, house
from builder.check import Choice, check
from builder.cli import main
from builder.errors import BuilderError, SourceError, UsageError
from builder.importers import inflight_batcher_llm as importer
from builder.inflight_batcher import build_line, engine_folder, migration, rewriting, tables, templates
from builder.inflight_batcher.imported import MODELS, Answers
from builder.planning import placement
from builder.rule import Host
from builder.targets import llmapi, tensorrtllm, vllm

DECOUPLED = {"decoupled_mode": "true"}
SET = {
    "batch_scheduler_policy": "max_utilization",
    "enable_kv_cache_reuse": "True",
    "kv_cache_free_gpu_mem_fraction": "0.85",
    "kv_cache_host_memory_bytes": "0",
    "enable_chunked_context": "true",
}
"""What NVIDIA's pages have people fill in."""


@pytest.fixture
def stock(tmp_path: Path) -> Path:
    return stock_repository.write(tmp_path / "stock")


@pytest.fixture
def answers(tmp_path: Path) -> Answers:
    tokenizer = tmp_path / "tokenizer"
    tokenizer.mkdir()
    (tokenizer / "tokenizer.json").write_text("{}")
    return Answers(DECOUPLED, stock_repository.engine(tmp_path / "engine"), tokenizer)


def config(repository: Path, model: str) -> ModelConfig:
    text = (repository / model / "config.pbtxt").read_text(encoding="utf-8")
    return text_format.Parse(text, ModelConfig())


def shapes(tensors: Any) -> list[tuple[str, str, str]]:
    names = ModelConfig.DESCRIPTOR.fields_by_name["input"].message_type.fields_by_name["data_type"].enum_type
    return [
        (one.name, names.values_by_number[one.data_type].name, ",".join(map(str, one.dims)))
        for one in tensors
    ]


def test_a_stock_repository_is_imported_and_clean(stock: Path, answers: Answers, tmp_path: Path) -> None:
    found = importer.read(stock, dataclasses.replace(answers, values=DECOUPLED | {"bls_instance_count": "2"}))
    assert (found.problems, found.version) == ((), "1.2.1")
    assert found.container is not None
    assert found.container.image.endswith(":26.07-trtllm-python-py3")
    written = rewriting.write(found, tmp_path / "models")
    assert written.warnings == ()
    assert check(tmp_path / "models", host=Host("26.07", completes=False)) == []
    assert "${" not in "".join(path.read_text() for path in (tmp_path / "models").glob("*/config.pbtxt"))
    assert [one.name for one in tmp_path.iterdir() if one.name.startswith(".")] == []


@pytest.mark.parametrize("model", MODELS)
def test_its_tensors_are_nvidia_s(model: str, stock: Path, answers: Answers, tmp_path: Path) -> None:
    rewriting.write(importer.read(stock, answers), tmp_path / "models")
    written = config(tmp_path / "models", model)
    of_the_engine = {"encoder_input_features": "BF16"}
    for side, found in (("inputs", written.input), ("outputs", written.output)):
        own = of_the_engine if model == "tensorrt_llm" else {}
        assert shapes(found) == [
            (name, f"TYPE_{own.get(name, kind)}", dims)
            for name, kind, dims, _ in stock_repository.tensors(f"{model} {side}")
        ]


def test_what_stands_there_twice_is_said_and_written_once(stock: Path, answers: Answers) -> None:
    assert importer.read(stock, answers).differences == (
        "ensemble: output kv_cache_alloc_total_blocks stands there twice; once is written",
    )


def test_values_come_from_the_engine_and_say_so(stock: Path, answers: Answers, tmp_path: Path) -> None:
    found = importer.read(stock, answers)
    assert found.values["triton_max_batch_size"] == ("64", "build_config.max_batch_size")
    assert found.values["decoupled_mode"] == ("true", "--fill")
    assert "kv_cache_free_gpu_mem_fraction" in found.unset
    assert "commented_out" not in found.unset
    written = rewriting.write(found, tmp_path / "models")
    made = config(tmp_path / "models", "tensorrt_llm")
    told = {name: made.parameters[name].string_value for name in made.parameters}
    assert (made.backend, made.max_batch_size, made.model_transaction_policy.decoupled) == (
        "tensorrtllm", 64, True,
    )  # fmt: skip
    assert told["gpt_model_path"] == "/models/tensorrt_llm/1"
    assert (told["gpt_model_type"], told["max_beam_width"]) == ("inflight_fused_batching", "1")
    assert "decoding_mode" not in told
    assert written.dropped["tensorrt_llm: decoding_mode"].startswith("not set")
    before = config(tmp_path / "models", "preprocessing").parameters
    assert {name: before[name].string_value for name in before} == {
        "tokenizer_dir": "/models/preprocessing/1/tokenizer",
        "gpt_model_path": "/models/tensorrt_llm/1",
        # NVIDIA's code looks for it by name
        "multimodal_model_path": "",
        "add_special_tokens": "",
    }
    assert (tmp_path / "models/preprocessing/1/tokenizer/tokenizer.json").is_file()
    assert (tmp_path / "models/tensorrt_llm/1/rank0.engine").read_bytes() == b"engine"


def test_a_repository_that_was_filled_keeps_what_it_was_told(
    stock: Path, answers: Answers, tmp_path: Path
) -> None:
    values = DECOUPLED | {
        "triton_max_batch_size": "8",
        "kv_cache_free_gpu_mem_fraction": "0.85",
        "enable_chunked_context": "True",
        "max_attention_window_size": "1024,2048",
        "enable_trt_overlap": "false",
        "tokenizer_dir": str(answers.tokenizer),
    }
    once = importer.read(stock, Answers(values, answers.engine))
    rewriting.write(once, tmp_path / "once")
    again = importer.read(tmp_path / "once", Answers({}, answers.engine, answers.tokenizer))
    assert (again.problems, again.values, again.unset) == ((), {}, ())
    rewriting.write(again, tmp_path / "twice")
    for model in MODELS:
        assert config(tmp_path / "once", model) == config(tmp_path / "twice", model)
    made = config(tmp_path / "once", "tensorrt_llm")
    assert made.max_batch_size == 8
    assert made.parameters["enable_chunked_context"].string_value == "true"
    assert made.parameters["max_attention_window_size"].string_value == "1024,2048"
    assert "enable_trt_overlap" not in made.parameters


def test_an_unfilled_place_that_nothing_tells_is_refused_and_nothing_written(
    stock: Path, answers: Answers, tmp_path: Path
) -> None:
    found = importer.read(stock, Answers({}, answers.engine, answers.tokenizer))
    assert [one.remedy for one in found.problems] == ["--fill decoupled_mode=VALUE"] * 2
    with pytest.raises(BuilderError, match=r"tensorrt_llm/config.pbtxt leaves \$\{decoupled_mode\} unfilled"):
        rewriting.write(found, tmp_path / "models")
    assert not (tmp_path / "models").exists()


def _lacking(folder: Path) -> None:
    (folder / "rank1.engine").unlink()


def _empty(folder: Path) -> None:
    (folder / "rank1.engine").write_bytes(b"")


def _more(folder: Path) -> None:
    (folder / "rank2.engine").write_bytes(b"engine")


def _no_engine(folder: Path) -> None:
    (folder / "config.json").write_text('{"architecture": "LlamaForCausalLM"}')


def _gone(folder: Path) -> None:
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_lacking, ["2 ranks", "1 missing: rank1.engine"]),
        (_empty, ["2 ranks", "1 empty: rank1.engine"]),
        (_more, ["2 ranks", "1 of another engine: rank2.engine"]),
        (_no_engine, ["lacks version, pretrained_config, build_config"]),
        (_gone, ["does not exist"]),
    ],
)
def test_an_engine_that_is_not_whole(
    spoil: Callable[[Path], None], words: list[str], stock: Path, answers: Answers, tmp_path: Path
) -> None:
    folder = stock_repository.engine(tmp_path / "two", ranks=2)
    spoil(folder)
    found = importer.read(stock, Answers({}, folder))
    # the rest is what no engine tells
    assert [one.remedy for one in found.problems[1:]] == [
        *["--fill decoupled_mode=VALUE"] * 2,
        "name it with --tokenizer FOLDER",
    ]
    with pytest.raises(SourceError) as refused:
        rewriting.write(found, tmp_path / "models")
    assert all(word in refused.value.found for word in words), refused.value
    assert not (tmp_path / "models").exists()


def test_what_several_things_need_is_said_once(stock: Path, answers: Answers, tmp_path: Path) -> None:
    found = importer.read(stock, Answers({}, answers.engine))
    with pytest.raises(BuilderError, match="3 things keep") as refused:
        rewriting.write(found, tmp_path / "models")
    assert refused.value.expected == "a value for each; the folder with the checkpoint's tokenizer"
    assert refused.value.remedy == "--fill decoupled_mode=VALUE; name it with --tokenizer FOLDER"


def test_an_empty_engine_dir(stock: Path, answers: Answers) -> None:
    values = DECOUPLED | {"engine_dir": ""}
    (first, *_) = importer.read(stock, Answers(values, None, answers.tokenizer)).problems
    assert "names no engine: gpt_model_path is empty" in first.found
    assert first.remedy == "name it with --engine FOLDER"


def test_an_engine_of_another_version_than_the_container(stock: Path, answers: Answers) -> None:
    asked = Answers(DECOUPLED, answers.engine, answers.tokenizer, triton="25.12")
    (refused,) = importer.read(stock, asked).problems
    assert "--triton 25.12: 25.12-trtllm-python-py3 holds TensorRT-LLM 1.1.0" in refused.found
    assert refused.expected == "one of 26.03, 26.04, 26.05, 26.06, 26.07"
    assert "--to llmapi" in refused.remedy


def test_an_engine_of_no_container(stock: Path, answers: Answers, tmp_path: Path) -> None:
    folder = stock_repository.engine(tmp_path / "new", version="1.3.0rc25")
    (refused,) = importer.read(stock, Answers(DECOUPLED, folder, answers.tokenizer)).problems
    assert refused.found == (
        "no container can run the engine of 1.3.0rc25: of TensorRT-LLM those known here begin at 0.11.0 "
        "(24.07-trtllm-python-py3) and end at 1.2.1 (26.07-trtllm-python-py3)"
    )
    assert (refused.expected, refused.remedy) == ("TensorRT-LLM >= 1.3, < 1.4", "use `--to llmapi`")


def test_an_engine_of_another_tensorrt(stock: Path, answers: Answers, tmp_path: Path) -> None:
    folder = stock_repository.engine(tmp_path / "old")
    header = engine_file.TAGS[0] + bytes(20) + bytes([10, 13, 3, 9])
    (folder / "rank0.engine").write_bytes(header + b"rest")
    (refused,) = importer.read(stock, Answers(DECOUPLED, folder, answers.tokenizer)).problems
    assert "was built by TensorRT 10.13.3.9, and 26.07 has 10.14.1.48" in refused.found


def test_an_engine_of_another_gpu(stock: Path, answers: Answers) -> None:
    assert answers.engine is not None
    (answers.engine / "engine.json").write_text(json.dumps({"compute": "8.0"}))
    where = Answers(DECOUPLED, answers.engine, answers.tokenizer, card=placement.gpu("h100"))
    (refused,) = importer.read(stock, where).problems
    assert "was built for compute capability 8.0, and NVIDIA H100 80 GB has 9.0" in refused.found
    fits = Answers(DECOUPLED, answers.engine, answers.tokenizer, card=placement.gpu("a100-80"))
    assert importer.read(stock, fits).problems == ()


def older(tmp_path: Path, answers: Answers) -> Answers:
    return dataclasses.replace(answers, engine=stock_repository.engine(tmp_path / "old", version="0.19.0"))


def step_of(ensemble: ModelConfig, model: str) -> Any:
    return next(one for one in ensemble.ensemble_scheduling.step if one.model_name == model)


def test_tensors_are_written_as_the_engine_s_backend_calls_them(
    stock: Path, answers: Answers, tmp_path: Path
) -> None:
    found = importer.read(stock, older(tmp_path, answers))
    assert found.container is not None
    assert (found.container.container.tag, found.version, found.problems) == ("25.05", "1.2", ())
    # by the templates' own version nothing is strange
    assert [one for one in found.differences if "twice" not in one] == []
    assert "tensorrt_llm: input min_tokens is written as min_length, its name in 0.19.0" in found.changes
    assert "ensemble: output num_input_tokens is left out: 0.19.0 has none" in found.changes
    rewriting.write(found, tmp_path / "models")
    for model in ("tensorrt_llm", "tensorrt_llm_bls"):
        made = config(tmp_path / "models", model)
        for side, told in zip(("input", "output"), tables.tensors(model, "0.19"), strict=True):
            assert {one.name for one in getattr(made, side)} == {one.name for one in told}
    ensemble = config(tmp_path / "models", "ensemble")
    step = step_of(ensemble, "tensorrt_llm")
    # who asks the ensemble sends what was sent before, and it arrives
    assert (step.input_map["min_length"], step.input_map["random_seed"]) == ("min_tokens", "seed")
    named = {one.name for one in (*ensemble.input, *ensemble.output)}
    assert {"min_tokens", "seed"} <= named
    lost = {"return_num_input_tokens", "return_num_output_tokens", "num_input_tokens", "num_output_tokens"}
    assert not lost & (named | set(step.input_map) | set(step.output_map))
    assert check(tmp_path / "models", host=Host("25.05", completes=False), choice=Choice(("TRN5",))) == []


def test_whose_the_tensors_are_is_printed(stock: Path, answers: Answers, tmp_path: Path) -> None:
    old = older(tmp_path, answers)
    line = ("import", stock, "--engine", old.engine or "", "--tokenizer", old.tokenizer or "")
    looked = run(*line, "--fill", "decoupled_mode=true")
    assert looked.exit_code == 0
    assert "tensors    of TensorRT-LLM 1.2, of which the engine's calls some otherwise\n" in looked.stdout
    assert "rewrites: tensorrt_llm: input seed is written as random_seed" in looked.stdout
    moved = run(*line, "--to", "tensorrtllm")
    assert "rewrites: " not in moved.stdout
    rows = [row.split() for row in moved.stdout.splitlines() if row.split()[:2] == ["input", "seed"]]
    assert [row[2:] for row in rows] == [
        [model, "as", "it", "is"] for model in ("ensemble", "tensorrt_llm_bls", "tensorrt_llm")
    ]


def test_older_tensors_are_written_for_a_newer_engine(stock: Path, answers: Answers, tmp_path: Path) -> None:
    rewriting.write(importer.read(stock, older(tmp_path, answers)), tmp_path / "models")
    again = importer.read(tmp_path / "models", dataclasses.replace(answers, values={}))
    assert (again.version, again.problems) == ("0.19", ())
    assert "tensorrt_llm: input random_seed is written as seed, its name in 1.2.1" in again.changes
    rewriting.write(again, tmp_path / "newer")
    step = step_of(config(tmp_path / "newer", "ensemble"), "tensorrt_llm")
    assert (step.input_map["min_tokens"], step.input_map["seed"]) == ("min_tokens", "seed")


def test_what_both_versions_call_alike_is_not_touched(stock: Path, answers: Answers) -> None:
    found = importer.read(stock, answers)
    assert (found.version, found.changes) == ("1.2.1", ())


def test_an_input_that_no_backend_reads_is_a_problem(stock: Path, answers: Answers) -> None:
    path = stock / "tensorrt_llm" / "config.pbtxt"
    path.write_text(path.read_text() + 'input { name: "mood" data_type: TYPE_INT32 dims: [ 1 ] }\n')
    (refused,) = importer.read(stock, answers).problems
    assert "TensorRT-LLM 1.2.1 reads no input mood: what is sent in it would be lost" in refused.found
    # a Python model of one's own under that name reads what it likes
    python = dataclasses.replace(answers, values=DECOUPLED | {"triton_backend": "python"})
    assert importer.read(stock, python).problems == ()


def test_code_that_asks_for_names_of_another_release_is_a_problem(
    stock: Path, answers: Answers, tmp_path: Path
) -> None:
    code = stock / "tensorrt_llm_bls" / "1" / "lib"
    code.mkdir()
    (code / "decoder.py").write_text("NAMES = {'min_tokens': 1, 'temperature': 2}\nmin_tokens = 3\n")
    assert importer.read(stock, answers).problems == ()
    (refused,) = importer.read(stock, older(tmp_path, answers)).problems
    assert refused.found == (
        "tensorrt_llm_bls/1/lib/decoder.py is of another TensorRT-LLM than the engine: it asks for "
        "min_tokens, which 0.19.0 calls min_length"
    )
    assert "release 0.19.0, or leave its folder out" in refused.remedy


@pytest.mark.parametrize(
    ("fill", "said"),
    [
        ({"kv_cache_free_gpu_mem_fraction": "much"}, "kv_cache_free_gpu_mem_fraction is 'much'"),
        ({"enable_chunked_context": "perhaps"}, "enable_chunked_context is 'perhaps'"),
        ({"batch_scheduler_policy": "best"}, "batch_scheduler_policy is 'best'"),
        ({"max_beam_width": "4"}, r"max_beam_width is 4, and \S+ was built for 1"),
        ({"kv_cache_free_gpu_mem_fraction": "2"}, "kv_cache_free_gpu_mem_fraction is 2.0"),
        ({"gpu_device_ids": "0,1"}, "gpu_device_ids is '0,1'"),
        ({"decoding_mode": "medusa"}, r"decoding_mode is medusa, and \S+ was built with \w+ none"),
    ],
)
def test_a_value_that_the_backend_could_not_read(
    fill: dict[str, str], said: str, stock: Path, answers: Answers, tmp_path: Path
) -> None:
    found = importer.read(stock, Answers(DECOUPLED | fill, answers.engine, answers.tokenizer))
    with pytest.raises(UsageError, match=said):
        rewriting.write(found, tmp_path / "models")
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    ("built", "mode", "fits"),
    [
        ({"speculative_decoding_mode": 1 << 2}, "medusa", True),
        ({"speculative_decoding_mode": 1 << 2}, "eagle", False),
        ({"speculative_decoding_mode": 1 << 5}, "eagle", True),
        ({"speculative_decoding_mode": "SpeculativeDecodingMode.EXPLICIT_DRAFT_TOKENS"}, "redrafter", True),
        ({"speculative_decoding_mode": 1}, "redrafter", False),
        ({"speculative_decoding_mode": 1}, "top_k", True),
    ],
)
def test_a_mode_needs_an_engine_with_its_heads(
    built: dict[str, Any], mode: str, fits: bool, stock: Path, answers: Answers, tmp_path: Path
) -> None:
    folder = stock_repository.engine(tmp_path / "drafting", **built)
    found = importer.read(stock, Answers(DECOUPLED | {"decoding_mode": mode}, folder, answers.tokenizer))
    if fits:
        rewriting.write(found, tmp_path / "models")
        told = config(tmp_path / "models", "tensorrt_llm").parameters
        assert told["decoding_mode"].string_value == mode
    else:
        with pytest.raises(UsageError, match=f"decoding_mode is {mode}, and"):
            rewriting.write(found, tmp_path / "models")


def test_a_repository_that_may_only_be_read_is_copied_writable(
    stock: Path, answers: Answers, tmp_path: Path
) -> None:
    inner = stock / "preprocessing" / "1" / "inner"
    inner.mkdir()
    (inner / "run.sh").write_text("true")
    (inner / "run.sh").chmod(0o755)
    (inner / "__pycache__").mkdir()
    found = importer.read(stock, answers)
    everything = [stock, *stock.rglob("*")]
    for path in everything:
        path.chmod(path.stat().st_mode & ~0o222)
    try:
        rewriting.write(found, tmp_path / "models")
    finally:
        for path in everything:
            path.chmod(path.stat().st_mode | stat.S_IWUSR)
    written = list((tmp_path / "models").rglob("*"))
    assert [path for path in written if not path.stat().st_mode & stat.S_IWUSR] == []
    copied = tmp_path / "models" / "preprocessing" / "1" / "inner"
    assert [path.name for path in copied.iterdir()] == ["run.sh"]
    assert (copied / "run.sh").stat().st_mode & stat.S_IXUSR


def test_a_place_that_no_likely_value_fits_leaves_its_model_unread(stock: Path) -> None:
    path = stock / "postprocessing" / "config.pbtxt"
    path.write_text(path.read_text() + "${more_fields}\n")
    found = importer.read(stock, Answers({}))
    assert set(found.names) - set(found.models) == {"postprocessing"}
    assert found.version == "1.2"
    assert any("postprocessing/config.pbtxt leaves" in one.found for one in found.problems)


def test_what_is_asked_wrongly(stock: Path, answers: Answers, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no template has \$\{decouple\}"):
        importer.read(stock, Answers({"decouple": "true"}))
    for name, option in (("engine_dir", "--engine"), ("tokenizer_dir", "--tokenizer")):
        with pytest.raises(UsageError, match=f"--fill {name}=/x beside {option} /"):
            importer.read(stock, dataclasses.replace(answers, values=DECOUPLED | {name: "/x"}))
    with pytest.raises(SourceError, match="is no repository of NVIDIA's"):
        importer.read(tmp_path / "tokenizer", answers)
    with pytest.raises(SourceError, match=r"tensorrt_llm/config\.pbtxt is no ModelConfig"):
        importer.read(stock, Answers({"decoupled_mode": "maybe"}, answers.engine, answers.tokenizer))
    (tmp_path / "there").mkdir()
    with pytest.raises(BuilderError, match="is there already"):
        rewriting.write(importer.read(stock, answers), tmp_path / "there")


def test_a_result_that_triton_would_refuse_is_not_written(
    stock: Path, answers: Answers, tmp_path: Path
) -> None:
    (stock / "preprocessing" / "1" / "model.py").unlink()
    with pytest.raises(BuilderError, match=r"would have 1 finding in Triton 26\.07"):
        rewriting.write(importer.read(stock, answers), tmp_path / "models")
    assert [one.name for one in tmp_path.iterdir() if "models" in one.name] == []


@pytest.mark.parametrize(
    ("lost", "code"), [("preprocessing/1/model.py", "TRN621"), ("postprocessing", "TRN521")]
)
def test_what_triton_would_refuse_is_told_where_nothing_is_written_too(
    lost: str, code: str, stock: Path, answers: Answers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    line = ("import", stock, "--engine", answers.engine or "", "--tokenizer", answers.tokenizer or "")
    line += ("--fill", "decoupled_mode=true")
    whole = run(*line)
    assert (whole.exit_code, "problem: " in whole.stdout) == (0, False)
    path = stock / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    looked, refused = run(*line), run(*line, "--output", tmp_path / "models")
    assert (looked.exit_code, refused.exit_code) == (1, 1)
    said = next(one for one in looked.stdout.split("problem: ") if code in one)
    assert said.startswith("the repository would have ")
    # word for word what keeps it from being written
    assert said.splitlines()[1] in refused.stderr.splitlines()[1]
    assert (answers.engine or Path()).joinpath("rank0.engine").is_file()
    assert list((tmp_path / "temporary").iterdir()) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "input { dims: 1 } " * 500 + 'name: "OUTPU',
            r"""1:9007 : '\.\.\..{60}"OUTPU': .*missing ending quote: '"OUTPU'""",
        ),
        ('name: "' + "x" * 5000, r"""1:7 : 'name: "x{59}\.\.\.': .*missing ending quote: '"x+\.\.\."""),
        ("input { dims: [ " + "1 " * 3000, r"1:19 : 'input .*\.\.\.': Expected"),
        ("x" * 5000 + ": 1", r'1:1 : Message type "inference.ModelConfig" has no field named "x+\.\.\.'),
        ('name: "x', r"""1:7 : 'name: "x': String missing ending quote: '"x'"""),
    ],
)
def test_a_mistake_in_a_long_line_is_shown_with_what_is_around_it(text: str, said: str) -> None:
    with pytest.raises(SourceError) as refused:
        templates.parse(text, "it")
    assert re.match(f"it is no ModelConfig: {said}", refused.value.found), refused.value.found
    assert len(refused.value.found) < 320


@given(st.dictionaries(st.from_regex(r"[a-z]{1,5}", fullmatch=True), st.text(max_size=12), min_size=1))
def test_what_is_filled_into_a_string_is_read_back(values: dict[str, str]) -> None:
    lines = [
        f'parameters {{ key: "{name}" value {{ string_value: "${{{name}}}" }} }} # ${{{name}}} "x'
        for name in values
    ]
    made = templates.fill(templates.read("\n".join(lines)), values)
    told = templates.parse(made, "it").parameters
    assert {name: told[name].string_value for name in told} == values


@pytest.mark.parametrize("version", ["abc", "1", "", "v1.2", "1.2 "])
def test_a_version_that_is_none(version: str, stock: Path, answers: Answers, tmp_path: Path) -> None:
    folder = stock_repository.engine(tmp_path / "other", version=version)
    found = importer.read(stock, Answers(DECOUPLED, folder, answers.tokenizer))
    assert f"says version {version!r}" in found.problems[0].found
    assert "it is not that of an engine" in found.problems[0].found


@pytest.mark.parametrize(
    "version", ["0.19.0", "1.2.1", "1.2.0rc6.post1", "1.3.0.dev2025101000", "1.1.0+cu130"]
)
def test_a_version_that_is_one(version: str, tmp_path: Path) -> None:
    folder = stock_repository.engine(tmp_path / "other", version=version)
    assert engine_folder.read(folder).version == version


@pytest.mark.parametrize(
    ("mapping", "said"),
    [
        (None, "says mapping None"),
        ([], "says mapping []"),
        ({"world_size": 0}, "says world_size 0 in mapping"),
        ({"world_size": "1"}, "says world_size '1' in mapping"),
        ({"world_size": True}, "says world_size True in mapping"),
        ({"world_size": 1, "tp_size": None}, "says tp_size None in mapping"),
        ({"world_size": 1, "tp_size": -1, "pp_size": -1}, "says tp_size -1, pp_size -1 in mapping"),
        ({"world_size": 4, "tp_size": 2, "pp_size": 1}, "says world_size 4 in mapping, and 2 x 1 x 1 ranks"),
    ],
)
def test_ranks_that_are_no_number(mapping: Any, said: str, tmp_path: Path) -> None:
    folder = stock_repository.engine(tmp_path / "other")
    told = json.loads((folder / "config.json").read_text())
    told["pretrained_config"]["mapping"] = mapping
    (folder / "config.json").write_text(json.dumps(told))
    with pytest.raises(SourceError) as refused:
        engine_folder.read(folder)
    assert said in refused.value.found
    assert refused.value.found.endswith("it is not that of an engine")


def test_ranks_without_number_are_not_counted_for_ever(tmp_path: Path) -> None:
    folder = stock_repository.engine(tmp_path / "many")
    told = json.loads((folder / "config.json").read_text())
    told["pretrained_config"]["mapping"] = {"world_size": 10**12, "tp_size": 10**12}
    (folder / "config.json").write_text(json.dumps(told))
    with pytest.raises(SourceError, match="names 1000000000000 ranks"):
        engine_folder.read(folder)


class TestMigration:
    def test_every_parameter_and_tensor_has_a_place_or_a_reason(self) -> None:
        told = migration._read()
        settable = {one.__name__.rpartition(".")[2]: one.SETTABLE for one in (llmapi, tensorrtllm, vllm)}
        assert set(settable) == set(migration.TARGETS)
        for target, known in settable.items():
            for name, place in migration.places(target).items():
                assert name in tables.parameters(), name
                if place.startswith("engine."):
                    assert place.split(".")[1] in known, (name, place)
                else:
                    assert place.startswith(("=: ", "no: ", "--")), (name, place)
        front = migration.house.load_file(migration.house.folder("ensembles") / "text_generation.py").FRONT
        for side in ("inputs", "outputs"):
            ours = {one.name for one in getattr(front, side)}
            wanted = {row[0] for row in stock_repository.tensors(f"ensemble {side}")} - ours
            wanted |= {row[0] for row in stock_repository.tensors(f"tensorrt_llm_bls {side}")} - ours
            renamed = {"min_length", "random_seed"} if side == "inputs" else set()
            assert set(told[side]) == wanted | renamed
            assert all(place in ours or place.startswith("no: ") for place in told[side].values())

    @pytest.mark.parametrize(("target", "engine"), [("llmapi", llmapi_engine), ("vllm", vllm_engine)])
    def test_what_an_engine_lacks_is_promised_nowhere(
        self, target: str, engine: ModuleType, stock: Path, answers: Answers
    ) -> None:
        told = migration.migrate(importer.read(stock, answers), target, "mine", None).rows
        rows = {row.what: row for row in told}
        lacking = {f"input {name}" for name in engine.UNSUPPORTED} & set(rows)
        assert {"input beam_width", "input length_penalty"} <= lacking
        assert [name for name in lacking if rows[name].becomes or not rows[name].why] == []
        promised = {word for row in told for word in row.why.split()}
        assert promised & engine.UNSUPPORTED == set()
        assert ("not served" in rows["input lora_task_id"].why) == (target == "llmapi")
        written = migration._read()
        sides = ("inputs", "outputs")
        names = {row[0] for one in sides for row in stock_repository.tensors(f"tensorrt_llm_bls {one}")}
        for heading in ("llmapi_inputs", "llmapi_outputs", "vllm_inputs"):
            assert set(written[heading]) <= names

    def test_what_was_told_becomes_options_and_settings(self, stock: Path, answers: Answers) -> None:
        values = DECOUPLED | {"enable_kv_cache_reuse": "true", "max_tokens_in_paged_kv_cache": "5000"}
        values |= {"batch_scheduler_policy": "max_utilization", "enable_chunked_context": "false"}
        found = importer.read(stock, Answers(values, answers.engine, answers.tokenizer))
        moved = migration.migrate(found, "llmapi", "mine", "org/name")
        assert moved.command == (
            *("builder", "build", "mine", "--checkpoint", "org/name", "--target", "llmapi", "--gpu", "GPU"),
            *("--tp", "1"),
            *("--max-context", "8192", "--concurrency", "64", "--kv-cache", "fp8"),
            '--set=engine.scheduler_config={"capacity_scheduler_policy": "MAX_UTILIZATION"}',
            "--set=engine.enable_chunked_prefill=false",
            '--set=engine.kv_cache_config={"enable_block_reuse": true}',
        )
        rows = {row.what: row for row in moved.rows}
        assert rows["max_beam_width"].becomes == ""
        assert rows["input stop_words"].becomes == "as it is"
        assert rows["input embedding_bias_words"].becomes == "logit_bias"
        assert "prompt_logprobs" in rows["input return_context_logits"].why

    @pytest.mark.parametrize("target", migration.TARGETS)
    def test_what_the_command_sets_may_be_set(self, target: str) -> None:
        known = house.plugin("targets", target, option="--target").SETTABLE
        places = [place for place in migration.places(target).values() if place.startswith("engine.")]
        assert places
        for place in places:
            name, _, field = place.removeprefix("engine.").partition(".")
            kinds = (known[name], known.get(f"{name}.{field}", ""))
            assert not any(kind.startswith(("--", "no: ")) for kind in kinds), place

    @pytest.mark.parametrize(
        ("target", "words"),
        [
            ("tensorrtllm", ("--ep", "2")),
            ("llmapi", ("--set=engine.moe_expert_parallel_size=2",)),
            ("vllm", ("--set=engine.enable_expert_parallel=true",)),
        ],
    )
    def test_experts_are_shared_out_as_they_were(
        self, target: str, words: tuple[str, ...], stock: Path, answers: Answers, tmp_path: Path
    ) -> None:
        folder = stock_repository.engine(tmp_path / "mixture", ranks=4, groups=2)
        found = importer.read(stock, Answers(DECOUPLED, folder, answers.tokenizer))
        command = migration.migrate(found, target, "mine", "org/name").command
        after = command.index("4") + 1
        assert command[after - 2 : after] == ("--tp", "4")
        assert command[after : after + len(words)] == words

    @pytest.mark.parametrize(
        ("each", "hosts"), [(None, ("--hosts", "2")), (8, ("--hosts", "2")), (4, ("--hosts", "4")), (16, ())]
    )
    def test_ranks_on_several_hosts(
        self, each: int | None, hosts: tuple[str, ...], stock: Path, answers: Answers, tmp_path: Path
    ) -> None:
        folder = stock_repository.engine(tmp_path / "many", ranks=16)
        told = json.loads((folder / "config.json").read_text())
        told["pretrained_config"]["mapping"] |= {"gpus_per_node": each} if each else {}
        (folder / "config.json").write_text(json.dumps(told))
        found = importer.read(stock, Answers(DECOUPLED, folder, answers.tokenizer))
        words = migration.migrate(found, "tensorrtllm", "mine", None).command
        assert words[words.index("--tp") :][: 2 + len(hosts)] == ("--tp", "16", *hosts)
        assert "--hosts" not in migration.migrate(found, "vllm", "mine", None).command

    def test_as_an_engine_again_clients_change_nothing(self, stock: Path, answers: Answers) -> None:
        values = DECOUPLED | {"enable_chunked_context": "false", "decoding_mode": "medusa"}
        found = importer.read(stock, Answers(values, answers.engine, answers.tokenizer))
        moved = migration.migrate(found, "tensorrtllm", "mine", "org/name")
        assert moved.command == (
            *("builder", "build", "mine", "--checkpoint", "org/name", "--target", "tensorrtllm"),
            *(
                "--contract",
                "nvidia",
                "--no-verify",
                "--gpu",
                "GPU",
                "--tp",
                "1",
                "--max-context",
                "8192",
                "--concurrency",
                "64",
            ),
            *("--quantize", "fp8", "--kv-cache", "fp8", "--set=engine.enable_chunked_context=false"),
            "--set=engine.max_beam_width=1",
        )
        rows = {(row.was, row.what): row for row in moved.rows}
        assert "lookahead" in rows["medusa", "decoding_mode"].why
        for model in ("ensemble", "tensorrt_llm_bls"):
            for side in ("input", "output"):
                kept = [name for name, *_ in stock_repository.tensors(f"{model} {side}s")]
                refused = {name for name in kept if not rows[model, f"{side} {name}"].becomes}
                assert refused == (
                    migration._REFUSED if (model, side) == ("tensorrt_llm_bls", "input") else set()
                )
                assert {rows[model, f"{side} {name}"].becomes for name in kept} <= {"as it is", ""}

    @pytest.mark.parametrize("target", migration.TARGETS)
    @pytest.mark.parametrize(("decoupled", "told"), [("false", ["true"]), ("true", [])])
    def test_clients_that_are_answered_once_for_all_are_told(
        self, target: str, decoupled: str, told: list[str], stock: Path, answers: Answers
    ) -> None:
        values = {"decoupled_mode": decoupled}
        found = importer.read(stock, Answers(values, answers.engine, answers.tokenizer))
        rows = migration.migrate(found, target, "mine", None).rows
        assert [row.becomes for row in rows if row.what == "decoupled"] == told

    def test_what_is_refused_is_what_the_model_refuses(self) -> None:
        assert migration._REFUSED == streaming.REFUSED

    def test_older_names_are_told(self, stock: Path, answers: Answers) -> None:
        path = stock / "ensemble" / "config.pbtxt"
        path.write_text(
            path.read_text().replace('"min_tokens"', '"min_length"').replace('"seed"', '"random_seed"')
        )
        engine = stock_repository.engine(stock.parent / "older", version="0.19.0")
        found = importer.read(stock, Answers(DECOUPLED, engine, answers.tokenizer))
        moved = migration.migrate(found, "tensorrtllm", "mine", None)
        rows = {row.what: row.becomes for row in moved.rows if row.was == "ensemble"}
        assert (rows["input min_length"], rows["input random_seed"]) == ("min_tokens", "seed")

    @pytest.mark.parametrize("quantization", ["", *build_line.QUANTIZATIONS])
    def test_a_new_engine_is_quantised_as_the_old_one(
        self, stock: Path, answers: Answers, quantization: str
    ) -> None:
        engine = answers.engine
        assert engine is not None
        told = json.loads((engine / "config.json").read_text())
        told["pretrained_config"]["quantization"]["quant_algo"] = quantization or None
        (engine / "config.json").write_text(json.dumps(told))
        command = migration.migrate(importer.read(stock, answers), "tensorrtllm", "llama-8b", None).command
        assert ("--quantize" in command) == bool(quantization)
        # the cache is FP8: weights that are rounded alone have no scales for it
        assert ("--kv-cache" in command) == (quantization not in ("", "W8A16", "W4A16"))
        planned = plan_of(command, "--gpu", "h200")
        assert planned.exit_code == 0, planned.stderr
        assert json.loads(planned.stdout)["contract"] == "nvidia"

    @pytest.mark.parametrize("target", migration.TARGETS)
    @pytest.mark.parametrize("fill", [{}, {"max_attention_window_size": "8192"} | SET])
    def test_its_command_is_one_that_plans(
        self, target: str, fill: dict[str, str], stock: Path, answers: Answers
    ) -> None:
        values = answers.values | fill
        where = dataclasses.replace(answers, values=values, card=placement.gpu("h100"))
        command = migration.migrate(importer.read(stock, where), target, "llama-8b", None).command
        planned = plan_of(command)
        assert planned.exit_code == 0, planned.stderr
        told = json.loads(planned.stdout)
        assert (told["target"], told["concurrency"], told["memory"]["context"]) == (target, 64, 8192)
        assert told["gpu"]["name"] == "h100"
        # the server that verifies a build runs no engines
        assert ("--no-verify" in command) == (target == "tensorrtllm")

    @pytest.mark.parametrize(
        ("compute", "word"), [("", "GPU"), ("9.0", "GPU"), ("8.6", "a10"), ("10.0", "b200")]
    )
    def test_the_gpu_is_the_engine_s_or_a_word_that_is_refused(
        self, compute: str, word: str, stock: Path, answers: Answers
    ) -> None:
        assert answers.engine is not None
        (answers.engine / "engine.json").write_text(json.dumps({"compute": compute}))
        moved = migration.migrate(importer.read(stock, answers), "llmapi", "llama-8b", None)
        assert moved.command[moved.command.index("--gpu") + 1] == word
        assert ("GPU" in moved.unknown) == (word == "GPU")
        if word == "GPU":
            assert "t4" not in moved.unknown["GPU"]
            assert ("a100-40" in moved.unknown["GPU"]) == (compute == "")
            assert "--gpu 'GPU' is not in the table" in plan_of(moved.command).stderr

    @pytest.mark.parametrize("name", ["a b", "-x", "a/b", "mine.toml"])
    def test_a_name_that_could_not_be_built(self, name: str, stock: Path, answers: Answers) -> None:
        with pytest.raises(UsageError, match=r"cannot name a model|would read that file"):
            migration.migrate(importer.read(stock, answers), "vllm", name, None)


def plan_of(command: tuple[str, ...], *more: str) -> Result:
    """Run `builder plan` with the words of a printed line but those that only a build has."""
    builds_only = ("--checkpoint", build_line.CHECKPOINT, "--no-verify")
    return run("plan", *(word for word in command[2:] if word not in builds_only), *more, "--json")


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def test_the_command_line(stock: Path, answers: Answers, tmp_path: Path) -> None:
    told = ("--engine", answers.engine or "", "--tokenizer", answers.tokenizer or "")
    looked = run("import", stock)
    assert looked.exit_code == 1
    assert "problem: tensorrt_llm/config.pbtxt names no engine" in looked.stdout
    every = "ensemble, postprocessing, preprocessing, tensorrt_llm, tensorrt_llm_bls"
    assert f"{stock}: {every}\n  tensors    of TensorRT-LLM 1.2\n" in looked.stdout
    assert looked.stdout.count("differs: ") == 1  # the tensor that NVIDIA has twice
    named = run("import", stock, *told)
    assert f"{stock}: {every}\n  tensors    of TensorRT-LLM 1.2.1\n" in named.stdout
    output = tmp_path / "models"
    made = run("import", stock, *told, "--fill", "decoupled_mode=true", "--output", output)
    assert (made.exit_code, made.stderr) == (0, "")
    assert "26.07-trtllm-python-py3: the newest that has TensorRT-LLM >= 1.2, < 1.3" in made.stdout
    assert f"written to {output}, checked: no errors" in made.stdout
    wrong = ("--fill", "decoupled_mode=true", "--fill", "kv_cache_free_gpu_mem_fraction=2")
    looked = run("import", stock, *told, *wrong)
    said = "kv_cache_free_gpu_mem_fraction is 2.0\n  expected: a share above 0 and below 1\n"
    assert looked.exit_code == 1 and looked.stdout.endswith(f"problem: parameter {said}")
    assert run("import", stock, *told, *wrong, "--output", tmp_path / "other").exit_code == 2
    refused = run("import", stock, *told, "--output", tmp_path / "other")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "--fill decoupled_mode=VALUE" in refused.stderr
    moved = run("import", stock, "--to", "vllm", "--checkpoint", "org/name")
    assert moved.exit_code == 0
    assert "build it: builder build llm --checkpoint org/name --target vllm --gpu GPU" in moved.stdout
    assert "put in for GPU: what it is to run on, one of a10, " in moved.stdout
    assert "put in for CHECKPOINT" not in moved.stdout
    assert "input embedding_bias_words" in moved.stdout
    found = json.loads(run("import", stock, *told, "--json").stdout)
    assert (found["version"], found["engine"]["ranks"]) == ("1.2.1", 1)
    assert run("import", stock, "--fill", "x").exit_code == 2
