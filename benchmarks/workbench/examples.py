"""The examples in the docstrings of the rules, as repositories on disk."""

from __future__ import annotations

import base64
import re
from pathlib import Path

from builder.rule import files_of

TENSORS = """
input { name: "X" data_type: TYPE_FP32 dims: [ 4 ] }
output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
"""
IDENTITY = """\
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [pb_utils.InferenceResponse([]) for _ in requests]
"""
STREAM = """\
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            request.get_response_sender().send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
"""
ONNX = base64.b64decode(
    "CAgSADo3ChAKAVgSAVkiCElkZW50aXR5EgFnWg8KAVgSCgoICAESBAoCCARiDwoBWRIKCggIARIECgIIBEIECgAQEQ=="
)
"""A graph that hands X on as Y, both FP32 [4]."""
_TENSOR = re.compile(r"^(in|out)put\b", re.MULTILINE)
PARTS = ("first", "second")
PART = f'backend: "python"\nmax_batch_size: 8\n{TENSORS}'


def write(example: str, repository: Path) -> None:
    """Write an example with what it leaves out: backend, tensors, a version, parts `first` and `second`."""
    files = files_of(example)
    text = "".join(files.values())
    for part in PARTS:
        if f'"{part}"' in text:
            files.setdefault(f"{part}/config.pbtxt", PART)
    for path in [path for path in files if path.endswith("config.pbtxt")]:
        files[path] = _completed(files[path])
        model = path.split("/")[0]
        if not any(_is_version(other, model) for other in files):
            files[f"{model}/1/{_version_file(files[path])}"] = _code(files[path])
    for path, content in files.items():
        file = repository / path
        if path.endswith("/"):
            file.mkdir(parents=True)
            continue
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() or _usual(file.name))


def _usual(name: str) -> bytes:
    """Return what a file holds of which an example tells only the name."""
    return {"model.py": IDENTITY.encode(), "model.onnx": ONNX}.get(name, b"")


def _is_version(path: str, model: str) -> bool:
    parts = path.split("/")
    return parts[0] == model and parts[1][:1].isdigit()


def _completed(config: str) -> str:
    if "backend:" not in config and "platform:" not in config and "no backend" not in config:
        config += '\nbackend: "python"\n'
    if "platform:" in config and "ensemble" in config:
        return config
    return config if _TENSOR.search(config) else config + TENSORS


def _version_file(config: str) -> str:
    if 'platform: "ensemble"' in config:
        return ".keep"
    return "model.onnx" if 'backend: "onnxruntime"' in config else "model.py"


def _code(config: str) -> str:
    if 'platform: "ensemble"' in config or 'backend: "onnxruntime"' in config:
        return ""
    return STREAM if "decoupled: true" in config else IDENTITY
