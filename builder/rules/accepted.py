"""TRN70x: what Triton accepts without a word, and its users regret: tensors, instances, caches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from builder.layout import Layout, Model
from builder.rule import Fault, Host, rule
from builder.textproto import Key

_DOCKER_SHARED_MEMORY_MB = 64
_SENDER = "get_response_sender"
_MOST_FILES, _LARGEST_FILE = 200, 1 << 20


@rule("TRN701", "warning")
def tensor_twice(model: Model, config: Any, host: Host) -> Iterator[Fault]:
    """An input or output has a name of its own: of two with one name Triton keeps one.

    From 26.05 on it refuses two outputs of one name.

    Bad:
        input { name: "X" data_type: TYPE_FP32 dims: [ 4 ] }
        input { name: "X" data_type: TYPE_FP32 dims: [ 4 ] }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
    Good:
        input { name: "X" data_type: TYPE_FP32 dims: [ 4 ] }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
    """
    for kind in ("input", "output"):
        seen: Counter[str] = Counter()
        for place, tensor in enumerate(getattr(config, kind)):
            seen[tensor.name] += 1
            if tensor.name and seen[tensor.name] == 2:
                yield Fault(
                    (kind, place),
                    f"{model.name} has {kind} '{tensor.name}' twice",
                    "keep one",
                    severity="error" if kind == "output" and host.has("26.05") else None,
                )


@rule("TRN702", "warning")
def tensors_missing(model: Model, config: Any) -> Iterator[Fault]:
    """A Python model or an ensemble has inputs and outputs: Triton loads it without, and nobody can ask it.

    Bad:
        backend: "python"
        output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
        == m/1/model.py
    Good:
        backend: "python"
        input { name: "X" data_type: TYPE_FP32 dims: [ 4 ] }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
        == m/1/model.py
    """
    if model.backend not in ("python", "ensemble") or model.completes_itself:
        return
    for kind in ("input", "output"):
        if not getattr(config, kind):
            yield Fault((), f"{model.name} has no {kind}", f"write its {kind}s")


@rule("TRN703", "warning")
def instance_count_negative(model: Model, config: Any) -> Iterator[Fault]:
    """An instance group's count is 1 or more: Triton takes a negative one for the backend's default.

    Bad:
        instance_group { kind: KIND_CPU count: -1 }
    Good:
        instance_group { kind: KIND_CPU count: 2 }
    """
    for place, group in enumerate(config.instance_group):
        if group.count < 0:
            yield Fault(
                ("instance_group", place, "count"),
                f"{model.name} asks for {group.count} instances, which Triton reads as the backend's default",
                "write how many instances there are to be",
            )


@rule("TRN704", "warning")
def gpu_not_heeded(model: Model, config: Any) -> Iterator[Fault]:
    """A Python model on KIND_GPU looks at the device given to it: Triton does not choose it for the code.

    Bad:
        backend: "python"
        instance_group { kind: KIND_GPU gpus: [ 1 ] }
        == m/1/model.py
        class TritonPythonModel:
            def initialize(self, args): self.device = "cuda"
            def execute(self, requests): return []
    Good:
        backend: "python"
        instance_group { kind: KIND_GPU gpus: [ 1 ] }
        == m/1/model.py
        class TritonPythonModel:
            def initialize(self, args): self.device = "cuda:" + args["model_instance_device_id"]
            def execute(self, requests): return []
    """
    on_gpu = [
        place
        for place, group in enumerate(config.instance_group)
        # of the first GPU alone nothing else was asked
        if group.kind == group.KIND_GPU and list(group.gpus) != [0]
    ]
    if on_gpu and model.backend == "python" and not model.code_mentions("model_instance_device_id"):
        yield Fault(
            ("instance_group", on_gpu[0], "kind"),
            f"{model.name} runs on KIND_GPU, but its model.py never reads model_instance_device_id: all "
            "instances use the first GPU",
            'take the device from args["model_instance_device_id"] in initialize',
        )


@rule("TRN705", "warning")
def cache_of_what_can_fail(model: Model, config: Any) -> Iterator[Fault]:
    """A Python model with a response cache neither raises nor reads request parameters.

    Triton caches the answer of a failed request too: the second identical request gets 200 and no outputs.
    Request parameters are no part of the cache's key.

    Bad:
        backend: "python"
        response_cache { enable: true }
        == m/1/model.py
        class TritonPythonModel:
            def execute(self, requests): raise ValueError("no")
    Good:
        backend: "python"
        == m/1/model.py
        class TritonPythonModel:
            def execute(self, requests): raise ValueError("no")
    """
    if not config.response_cache.enable or model.backend != "python":
        return
    for word, why in (
        (
            "raise",
            "raises, and Triton caches an error's answer: the same request then gets 200 and no outputs",
        ),
        (
            "TritonError",
            "answers errors, and Triton caches them: the same request then gets 200 and no outputs",
        ),
        (".parameters()", "reads request parameters, which are no part of the cache's key"),
    ):
        if model.code_mentions(word):
            yield Fault(("response_cache",), f"{model.name} {why}", "remove response_cache")
            return


@rule("TRN707", "warning")
def shared_memory_short(repository: Layout) -> Iterator[Fault]:
    """All Python instances together fit into /dev/shm, which Docker makes 64 MB unless it is told otherwise.

    Each instance takes 1 MB of it before its first request, and keeps what its largest tensors needed.
    """
    processes = sum(model.processes for model in repository.models.values())
    if processes > _DOCKER_SHARED_MEMORY_MB // 2:
        yield Fault(
            (),
            f"the repository starts {processes} Python processes, which share /dev/shm: "
            f"{_DOCKER_SHARED_MEMORY_MB} MB in a container unless it is told otherwise",
            "start the container with --shm-size=1g or more, or lower the counts of instance groups",
            file=".",
        )


@rule("TRN708", "warning")
def parameter_of_one_version(model: Model, config: Any) -> Iterator[Fault]:
    """A parameter that names a file of one version stays in that version: config.pbtxt is of all of them.

    Bad:
        backend: "python"
        parameters { key: "weights" value { string_value: "m/1/weights.bin" } }
        == m/1/model.py
        == m/2/model.py
    Good:
        backend: "python"
        parameters { key: "weights" value { string_value: "weights.bin" } }
        == m/1/model.py
        == m/2/model.py
    """
    for name, value in sorted(config.parameters.items()) if len(model.versions) > 1 else ():
        for version in model.versions:
            folders = (f"{model.name}/{version}/", f"MODEL_DIRECTORY/{version}/")
            if any(folder in value.string_value for folder in folders):
                yield Fault(
                    ("parameters", Key(name)),
                    f"parameter '{name}' of {model.name} names a file of version {version}, and all "
                    f"{len(model.versions)} versions read it",
                    "keep it in a file of the version folder, and the file's name here",
                )


@rule("TRN709", "warning")
def version_folder_empty(model: Model) -> Iterator[Fault]:
    """A version folder holds a file, an ensemble's a placeholder: git and object stores drop empty folders.

    Bad:
        backend: "identity"
        == m/1/
    Good:
        backend: "identity"
        == m/1/.keep
    """
    for folder in model.folders:
        # a Python model without its model.py is model_file_missing's to tell
        is_lasting = model.backend == "python" or any(folder.path.iterdir())
        if folder.is_exact and folder.number in model.served and not is_lasting:
            yield Fault(
                (),
                f"{model.name}/{folder.path.name} is empty: git and object stores drop it, "
                "and the model with it",
                f"put a placeholder file there, such as {model.name}/{folder.path.name}/.keep",
                file=folder.path.name,
            )


@rule("TRN710", "warning")
def stream_over_plain_calls(model: Model, config: Any) -> Iterator[Fault]:
    """A decoupled model is asked by gRPC streams or `generate_stream`: `infer` and unary gRPC refuse it.

    Models that `builder build` wrote are verified by these very calls, and left in peace. So are backends
    other than Python's, most of which can do nothing else.

    Triton: HTTP end point doesn't support models with decoupled transaction policy
    Bad:
        model_transaction_policy { decoupled: true }
        == m/1/model.py
        class TritonPythonModel:
            def execute(self, requests):
                for request in requests:
                    request.get_response_sender().send(flags=1)
    Good:
        # check: ignore TRN710: its clients stream
        model_transaction_policy { decoupled: true }
        == m/1/model.py
        class TritonPythonModel:
            def execute(self, requests):
                for request in requests:
                    request.get_response_sender().send(flags=1)
    """
    if _streams(model) and any(_SENDER in text for text in _python_of(model)):
        yield Fault(
            ("model_transaction_policy", "decoupled"),
            f"{model.name} is decoupled: HTTP infer and unary gRPC calls of it are refused",
            "have clients use generate_stream or gRPC streams, and say so by a comment "
            "`# check: ignore TRN710: ...`",
        )


@rule("TRN711", "warning")
def stream_without_sender(model: Model, config: Any) -> Iterator[Fault]:
    """A decoupled Python model answers through `request.get_response_sender()`.

    What its `execute` returns is dropped: the requests are never answered.

    Bad:
        model_transaction_policy { decoupled: true }
        == m/1/model.py
        class TritonPythonModel:
            def execute(self, requests): return []
    Good:
        == m/1/model.py
        class TritonPythonModel:
            def execute(self, requests): return []
    """
    if _streams(model) and not any(_SENDER in text for text in _python_of(model)):
        yield Fault(
            ("model_transaction_policy", "decoupled"),
            f"{model.name} is decoupled, but its model.py never takes a response sender: its requests hang",
            "remove decoupled if it sends one response for each request, else send them by "
            "request.get_response_sender() and end with the final flag",
        )


def _python_of(model: Model) -> Iterator[str]:
    """Yield the text of all Python files of the served versions: a class may come from beside model.py."""
    for version in model.served:
        for path in sorted((model.path / str(version)).rglob("*.py"))[:_MOST_FILES]:
            if path.is_file() and path.stat().st_size < _LARGEST_FILE:
                yield path.read_text(encoding="utf-8", errors="replace")


def _streams(model: Model) -> bool:
    is_decoupled = model.config.model_transaction_policy.decoupled
    return bool(is_decoupled) and model.backend == "python" and not model.has_manifest
