"""Whatever lies in the folder: findings, never a traceback, a hang, or a read outside."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import watchdog
from hypothesis import given, settings
from hypothesis import strategies as st
from workbench import examples, mutations

from builder import layout
from builder.check import check
from builder.finding import Finding

CONFIG = 'backend: "python"\n' + examples.TENSORS
DEEP = "input { " * 20_000


def model(folder: Path, text: str | bytes = CONFIG, name: str = "m") -> Path:
    path = folder / name
    (path / "1").mkdir(parents=True)
    data = text if isinstance(text, bytes) else text.encode()
    (path / "config.pbtxt").write_bytes(data)
    (path / "1" / "model.py").write_text(examples.IDENTITY)
    return path


def codes(findings: list[Finding]) -> list[str]:
    return [one.code for one in findings]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (os.urandom(4096), "TRN101"),
        (b"\x00" * 4096, "TRN101"),
        (b"\xff\xfe" + CONFIG.encode("utf-16-le"), "TRN101"),
        (DEEP, "TRN102"),
        ("input: [" * 20_000, "TRN101"),
        ('name: "' + "a" * 1_000_000, "TRN101"),
    ],
    ids=["random", "zeros", "UTF-16", "deep", "deep lists", "no end"],
)
def test_a_config_that_is_none(tmp_path: Path, text: str | bytes, code: str) -> None:
    path = model(tmp_path)
    (path / "config.pbtxt").write_bytes(text if isinstance(text, bytes) else text.encode())
    assert code in codes(check(tmp_path))


def _loop(path: Path) -> None:
    (path / "2").symlink_to("2")
    (path / "3").symlink_to("..")


def _fifo_config(path: Path) -> None:
    (path / "config.pbtxt").unlink()
    os.mkfifo(path / "config.pbtxt")


def _fifo_code(path: Path) -> None:
    (path / "1" / "model.py").unlink()
    os.mkfifo(path / "1" / "model.py")


def _fifo_beside(path: Path) -> None:
    for name in ("model.onnx", "settings.json", "manifest.json", "config.json", "labels.txt"):
        os.mkfifo(path / "1" / name)
        os.mkfifo(path / name)
    (path / "1" / "backends").mkdir()
    text = (path / "config.pbtxt").read_text()
    (path / "config.pbtxt").write_text(text.replace("[ 4 ] }\n", '[ 4 ] label_filename: "labels.txt" }\n'))


def _folders_for_files(path: Path) -> None:
    for name in ("model.onnx", "settings.json", "manifest.json"):
        (path / "1" / name).mkdir()
    (path / "1" / "model.py").unlink()
    (path / "1" / "model.py").mkdir()


def _folder_for_config(path: Path) -> None:
    (path / "config.pbtxt").unlink()
    (path / "config.pbtxt").mkdir()


def _dangling(path: Path) -> None:
    (path / "1" / "model.py").unlink()
    (path / "1" / "model.py").symlink_to("nowhere")


def _device(path: Path) -> None:
    (path / "config.pbtxt").unlink()
    (path / "config.pbtxt").symlink_to("/dev/zero")


def _labels_of_themselves(path: Path) -> None:
    name_labels(path, "labels.txt")
    (path / "labels.txt").symlink_to("labels.txt")


def _labels_with_a_null_byte(path: Path) -> None:
    name_labels(path, "a\\000b")


def name_labels(path: Path, name: str) -> None:
    config = path / "config.pbtxt"
    config.write_text(config.read_text().replace('"Y"', f'"Y" label_filename: "{name}"'))


def _code_without_end(path: Path) -> None:
    (path / "1" / "model.py").write_text("(" * 100_000)


def _code_that_nests(path: Path) -> None:
    (path / "1" / "model.py").write_text("x = " + "-" * 50_000 + "1")


def _code_with_zeros(path: Path) -> None:
    (path / "1" / "model.py").write_bytes(b"\x00" * 100)


@pytest.mark.parametrize(
    "spoil",
    [
        _loop,
        _fifo_config,
        _fifo_code,
        _fifo_beside,
        _folders_for_files,
        _folder_for_config,
        _dangling,
        _device,
        _labels_of_themselves,
        _labels_with_a_null_byte,
        _code_without_end,
        _code_that_nests,
        _code_with_zeros,
    ],
)
def test_what_is_no_plain_file(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    spoil(model(tmp_path))
    found = check(tmp_path)
    assert all(one.message and one.remedy for one in found)
    assert found or spoil in (_loop, _fifo_beside)


def test_names_that_no_shell_likes(tmp_path: Path) -> None:
    for name in ("a b", "...", "-rf", "emoji\U0001f389", "new\nline", "x" * 200, os.fsdecode(b"\xff")):
        model(tmp_path, name=name)
    assert {one.severity for one in check(tmp_path)} <= {"warning", "error"}


def test_a_file_outside_is_never_read(tmp_path: Path) -> None:
    outside = tmp_path / "secret.txt"
    outside.write_text("cat\n" * 9)
    text = CONFIG.replace("Y", 'Y" label_filename: "../../secret.txt')
    model(tmp_path / "repository", text)
    read = watchdog.check(tmp_path / "repository").read
    assert str(tmp_path / "repository" / "m" / "config.pbtxt") in read
    assert str(outside) not in read


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.sampled_from(mutations.SEEDS), st.integers(0, 2_000), st.integers(0, 40))
def test_no_bytes_stop_it(noise: bytes, seed: str, place: int, lost: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        examples.write(seed, Path(folder))
        config = Path(folder) / "m" / "config.pbtxt"
        text = config.read_bytes()
        config.write_bytes(text[:place] + noise + text[place + lost :])
        assert all(one.message and one.remedy for one in check(Path(folder)))


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=300))
def test_no_code_stops_it(code: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = model(Path(folder))
        (path / "1" / "model.py").write_text(code, encoding="utf-8", errors="surrogatepass")
        assert all(one.message and one.remedy for one in check(Path(folder)))


NULL = "a\\000b"
NULLS = {
    "default_model_filename": f'{CONFIG}default_model_filename: "{NULL}"',
    "runtime": f'backend: "mine" runtime: "{NULL}"{examples.TENSORS}',
    "EXECUTION_ENV_PATH": f'{CONFIG}parameters {{ key: "EXECUTION_ENV_PATH" '
    f'value {{ string_value: "$$TRITON_MODEL_DIRECTORY/{NULL}" }} }}',
    "gpt_model_path": f'backend: "tensorrtllm" parameters {{ key: "gpt_model_path" '
    f'value {{ string_value: "/models/m/1/{NULL}" }} }}{examples.TENSORS}',
    "tokenizer_dir": f'{CONFIG}parameters {{ key: "tokenizer_dir" '
    f'value {{ string_value: "/models/m/1/{NULL}" }} }}',
    "input_data_file": f'{CONFIG}model_warmup {{ name: "w" batch_size: 1 inputs {{ key: "X" '
    f'value {{ data_type: TYPE_FP32 dims: [ 4 ] input_data_file: "{NULL}" }} }} }}',
    "data_file": f'{CONFIG}sequence_batching {{ state {{ input_name: "I" output_name: "O" '
    'data_type: TYPE_FP32 dims: [ 1 ] initial_state { name: "i" data_type: TYPE_FP32 dims: [ 1 ] '
    f'data_file: "{NULL}" }} }} }}',
}


@pytest.mark.parametrize("field", NULLS)
def test_a_null_byte_in_a_path(field: str, tmp_path: Path) -> None:
    model(tmp_path, NULLS[field])
    found = check(tmp_path)
    assert found
    assert {"TRN101", "TRN102", "TRN013"}.isdisjoint(codes(found))


@pytest.mark.parametrize(
    "text",
    [
        CONFIG.replace("TYPE_FP32", "99"),
        CONFIG + "sequence_batching { control_input { name: 'A' control { kind: 99 data_type: 99 } } }",
        CONFIG + "sequence_batching { control_input { name: 'A' control { "
        "kind: CONTROL_SEQUENCE_CORRID data_type: 99 } } }",
        CONFIG + "max_batch_size: 4 batch_input { kind: 99 target_name: 'B' data_type: 99 }",
        CONFIG + "max_batch_size: 4 batch_output { kind: 99 target_name: 'Y' }",
        CONFIG + "instance_group { kind: 99 gpus: [ 0 ] }",
        CONFIG.replace("dims", "format: 99 dims", 1),
        CONFIG
        + "model_warmup { name: 'w' batch_size: 1 inputs { key: 'X' value { data_type: 99 dims: [ 4 ] } } }",
        CONFIG + "sequence_batching { state { input_name: 'I' output_name: 'O' data_type: 99 dims: [ 1 ] "
        "initial_state { name: 'i' data_type: 98 dims: [ 1 ] zero_data: true } } }",
        CONFIG + "dynamic_batching { default_queue_policy { timeout_action: 99 } }",
        CONFIG + "optimization { priority: 99 }",
        examples.PART.replace("TYPE_FP32", "99"),
    ],
)
def test_numbers_that_no_enum_has(text: str, tmp_path: Path) -> None:
    """Protobuf's text format takes them, and so does Triton."""
    model(tmp_path, text)
    examples.write(mutations.SEEDS[2], tmp_path / "ensemble")
    (tmp_path / "ensemble" / "m").rename(tmp_path / "e")
    for part in examples.PARTS:
        model(tmp_path, text, name=part)
    repository = layout.read(tmp_path)
    assert repository.models["m"].config is not None
    assert all(one.message and one.remedy for one in check(tmp_path))


def built(repository: Path) -> Path:
    version = model(repository) / "1"
    (version / "backends").mkdir()
    (version / "tokenizer").mkdir()
    (version / "tokenizer" / "tokenizer.json").write_text("{}")
    (version / "settings.json").write_text("{}")
    return version


@pytest.mark.parametrize(
    "text", ['{"model": 5}', "[" * 100_000, "5", "null", '{"model": "a\\u0000b"}', "\xff"]
)
def test_settings_that_are_none(text: str, tmp_path: Path) -> None:
    (built(tmp_path) / "settings.json").write_text(text, encoding="latin-1")
    assert codes(check(tmp_path)) == ["TRN631"]


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, "5", '{"artifact": 5}', '{"artifact": {"sha256": []}}', '{"artifact": {}}', "\xff"],
)
def test_a_manifest_that_is_none(text: str, tmp_path: Path) -> None:
    (built(tmp_path) / "manifest.json").write_text(text, encoding="latin-1")
    assert codes(check(tmp_path)) == ["TRN632"]
