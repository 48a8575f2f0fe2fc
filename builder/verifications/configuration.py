"""The server runs what was written: every field of every config, every tensor, every version."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from builder.subject import Whole, expect
from builder.triton_client import TritonError

ORDER = 10
SCOPE = "repository"


def config_over_http(whole: Whole) -> str:
    """The config served over HTTP holds every field of every config.pbtxt."""
    from google.protobuf import json_format
    from tritonclient.grpc import model_config_pb2

    def served(name: str) -> Any:
        fields = whole.client.call("http", "get_model_config", name)
        return json_format.ParseDict(fields, model_config_pb2.ModelConfig(), ignore_unknown_fields=True)

    return _compare_configs(whole, served)


def config_over_grpc(whole: Whole) -> str:
    """The config served over gRPC holds every field of every config.pbtxt."""
    return _compare_configs(whole, lambda name: whole.client.call("grpc", "get_model_config", name).config)


def _compare_configs(whole: Whole, served: Any) -> str:
    fields = 0
    for name, written in whole.repository.configs.items():
        answer = served(name)
        differences = list(_differences(written, answer, name))
        expect(not differences, "; ".join(differences[:4]))
        fields += sum(1 for _ in _leaves(written))
    return f"{len(whole.repository.configs)} models, {fields} fields"


def _differences(written: Any, served: Any, path: str) -> Iterator[str]:
    """Yield each field that was written and is served otherwise; what the server adds is its own affair."""
    for descriptor, value in written.ListFields():
        here, other = f"{path}.{descriptor.name}", getattr(served, descriptor.name)
        if _is_map(descriptor):
            for key, item in value.items():
                if key not in other:
                    yield f"{here}[{key!r}] is not served"
                else:
                    yield from _value_differences(item, other[key], f"{here}[{key!r}]")
        elif _is_repeated(descriptor):
            if len(value) != len(other):
                yield f"{here} has {len(value)} entries written and {len(other)} served"
            for index, (item, seen) in enumerate(zip(value, other, strict=False)):
                yield from _value_differences(item, seen, f"{here}[{index}]")
        elif descriptor.message_type and not served.HasField(descriptor.name):
            # dynamic_batching { } holds nothing and changes everything
            yield f"{here} is not served"
        else:
            yield from _value_differences(value, other, here)


def _value_differences(written: Any, served: Any, path: str) -> Iterator[str]:
    if hasattr(written, "ListFields"):
        yield from _differences(written, served, path)
    elif written != served:
        yield f"{path} is {written!r} written and {served!r} served"


def _leaves(message: Any) -> Iterator[Any]:
    for descriptor, value in message.ListFields():
        if _is_map(descriptor):
            yield from value.items()
            continue
        for item in value if _is_repeated(descriptor) else [value]:
            if hasattr(item, "ListFields") and item.ListFields():
                yield from _leaves(item)
            else:
                yield item


def _is_map(descriptor: Any) -> bool:
    return bool(descriptor.message_type and descriptor.message_type.GetOptions().map_entry)


def _is_repeated(descriptor: Any) -> bool:
    # protobuf 6 replaced `label` by `is_repeated`
    repeated = getattr(descriptor, "is_repeated", None)
    return bool(descriptor.label == descriptor.LABEL_REPEATED if repeated is None else repeated)


def metadata_over_http(whole: Whole) -> str:
    """Metadata over HTTP names every tensor with its dtype and shape, and the version served."""
    return _compare_metadata(
        whole, lambda name: _Metadata.of_json(whole.client.call("http", "get_model_metadata", name))
    )


def metadata_over_grpc(whole: Whole) -> str:
    """Metadata over gRPC names every tensor with its dtype and shape, and the version served."""
    return _compare_metadata(
        whole, lambda name: _Metadata.of_message(whole.client.call("grpc", "get_model_metadata", name))
    )


Tensors = dict[str, tuple[str, tuple[int, ...]]]


class _Metadata:
    def __init__(self, versions: list[str], inputs: Tensors, outputs: Tensors) -> None:
        self.versions, self.inputs, self.outputs = versions, inputs, outputs

    @staticmethod
    def of_json(fields: dict[str, Any]) -> _Metadata:
        def tensors(kind: str) -> Tensors:
            return {
                item["name"]: (item["datatype"], tuple(int(size) for size in item["shape"]))
                for item in fields[kind]
            }

        return _Metadata(list(fields["versions"]), tensors("inputs"), tensors("outputs"))

    @staticmethod
    def of_message(message: Any) -> _Metadata:
        def tensors(items: Any) -> Tensors:
            return {item.name: (item.datatype, tuple(item.shape)) for item in items}

        return _Metadata(list(message.versions), tensors(message.inputs), tensors(message.outputs))


def _compare_metadata(whole: Whole, served: Any) -> str:
    tensors = 0
    for name, config in whole.repository.configs.items():
        metadata = served(name)
        batch = (-1,) if config.max_batch_size > 0 else ()
        for kind, written, seen in (
            ("input", config.input, metadata.inputs),
            ("output", config.output, metadata.outputs),
        ):
            expected = {tensor.name: (_wire_type(tensor), batch + tuple(tensor.dims)) for tensor in written}
            for tensor, form in expected.items():
                expect(
                    seen.get(tensor) == form,
                    f"{name}: {kind} {tensor!r} is {seen.get(tensor)}, expected {form}",
                )
            expect(
                set(seen) == set(expected),
                f"{name}: unexpected {kind}s {sorted(set(seen) - set(expected))}",
            )
            tensors += len(expected)
        version = str(whole.repository.versions[name])
        expect(version in metadata.versions, f"{name}: versions {metadata.versions}, expected {version}")
    return f"{len(whole.repository.configs)} models, {tensors} tensors"


def _wire_type(tensor: Any) -> str:
    from tritonclient.grpc import model_config_pb2

    kind = str(model_config_pb2.DataType.Name(tensor.data_type)).removeprefix("TYPE_")
    return "BYTES" if kind == "STRING" else kind


def repository_index(whole: Whole) -> str:
    """The server's index is the folder's listing, every model READY in its newest version."""
    index = whole.client.call("http", "get_model_repository_index")
    seen = {entry["name"] for entry in index}
    written = set(whole.repository.configs)
    expect(written <= seen, f"not in the server's index: {sorted(written - seen)}")
    for name, version in whole.repository.versions.items():
        states = {entry.get("version"): entry.get("state") for entry in index if entry["name"] == name}
        expect(states.get(str(version)) == "READY", f"{name}: {states}, expected version {version} READY")
    return f"{len(written)} models READY"


def readiness_is_per_model(whole: Whole) -> str:
    """Every model is ready over HTTP and gRPC, and a model or version that does not exist is not."""
    for over in ("http", "grpc"):
        for name, version in whole.repository.versions.items():
            ready = whole.client.call(over, "is_model_ready", name, str(version))
            expect(ready, f"{name} version {version} is not ready over {over}")
        expect(not _ready(whole, over, "no_such_model", ""), f"an absent model is ready over {over}")
        name, version = next(iter(whole.repository.versions.items()))
        expect(not _ready(whole, over, name, str(version + 1000)), f"an absent version is ready over {over}")
    return f"{len(whole.repository.versions)} models over both protocols"


def _ready(whole: Whole, over: str, name: str, version: str) -> bool:
    try:
        return bool(whole.client.call(over, "is_model_ready", name, version))
    except TritonError:
        return False
