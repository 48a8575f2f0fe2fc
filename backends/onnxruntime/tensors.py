"""Whether the tensors of a config are those of its graph, in the words of NVIDIA's onnxruntime_backend."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from backends.onnxruntime.batch import dims
from backends.onnxruntime.values import Refused

TRITON_TYPES = {
    "tensor(bool)": "TYPE_BOOL",
    "tensor(uint8)": "TYPE_UINT8",
    "tensor(uint16)": "TYPE_UINT16",
    "tensor(uint32)": "TYPE_UINT32",
    "tensor(uint64)": "TYPE_UINT64",
    "tensor(int8)": "TYPE_INT8",
    "tensor(int16)": "TYPE_INT16",
    "tensor(int32)": "TYPE_INT32",
    "tensor(int64)": "TYPE_INT64",
    "tensor(float16)": "TYPE_FP16",
    "tensor(float)": "TYPE_FP32",
    "tensor(double)": "TYPE_FP64",
    "tensor(string)": "TYPE_STRING",
}
"""What the Python backend can carry; it has no numpy type for BF16."""

_CONTAINERS = {"seq": "SEQUENCE", "map": "MAP", "sparse_tensor": "SPARSETENSOR", "opaque": "OPAQUE"}


class Tensor(NamedTuple):
    """A graph's input or output: ONNX Runtime's name of its type, -1 for an open dim."""

    name: str
    type: str
    shape: tuple[int, ...]


class Graph(NamedTuple):
    """What a graph takes and gives; `defaults` are the inputs that have a value of their own."""

    inputs: tuple[Tensor, ...]
    defaults: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


def graph(session: Any) -> Graph:
    """Read what a session's graph takes and gives; raise Refused where that is no tensor."""
    return Graph(
        tuple(_tensors(session.get_inputs())),
        tuple(_tensors(session.get_overridable_initializers())),
        tuple(_tensors(session.get_outputs())),
    )


def require_same(config: Mapping[str, Any], graph: Graph) -> None:
    """Raise Refused where number, names, types or shapes of the config's tensors are not the graph's."""
    _refuse_unsupported(config)
    _require_controls(config, graph)
    _require_number(config, graph)
    _require_inputs(config, graph)
    _require_outputs(config, graph)


def _tensors(found: Sequence[Any]) -> Iterator[Tensor]:
    for one in found:
        container = one.type.partition("(")[0]
        if container != "tensor":
            raise Refused(
                f"Unsupported ONNX Type 'ONNX_TYPE_{_CONTAINERS.get(container, 'UNKNOWN')}' for I/O "
                f"'{one.name}', expected 'ONNX_TYPE_TENSOR'."
            )
        # an open dim has a name, or None; a tensor of unknown rank looks like a scalar, as it does in C++
        shape = tuple(dim if isinstance(dim, int) else -1 for dim in one.shape or ())
        yield Tensor(one.name, one.type, shape)


def _refuse_unsupported(config: Mapping[str, Any]) -> None:
    states = (config.get("sequence_batching") or {}).get("state") or ()
    if states:
        raise Refused(
            f"unable to load model '{config['name']}', state '{states[0]['input_name']}': Triton keeps no "
            "implicit state for a backend in Python; serve it by a container"
        )
    if (config.get("model_transaction_policy") or {}).get("decoupled"):
        raise Refused(f"unable to load model '{config['name']}', a graph answers once: it is not decoupled")


def _require_controls(config: Mapping[str, Any], graph: Graph) -> None:
    named = {tensor.name: tensor for tensor in graph.inputs}
    for name, data_type in _controls(config):
        theirs = named.get(name)
        if theirs is None:
            raise Refused(
                f"configuration specified sequence control '{name}', but model does not provide that input"
            )
        shape = theirs.shape[1:] if config.get("max_batch_size", 0) else theirs.shape
        if shape != (1,):
            raise Refused(
                f"unable to load model '{config['name']}', sequence control '{name}' in model has dims "
                f"{_spelled(shape)} but dims [1] is expected"
            )
        if TRITON_TYPES.get(theirs.type) != data_type:
            raise Refused(
                f"unable to load model '{config['name']}', sequence control '{name}', the model expects "
                f"data-type {_provided(theirs).removeprefix('TYPE_')} but the model configuration specifies "
                f"data-type {data_type}"
            )


def _controls(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (name, data type) of the inputs in which Triton tells about a sequence."""
    kinds = {"int32_false_true": "TYPE_INT32", "fp32_false_true": "TYPE_FP32", "bool_false_true": "TYPE_BOOL"}
    for tensor in (config.get("sequence_batching") or {}).get("control_input", ()):
        for control in tensor["control"]:
            told = [data_type for values, data_type in kinds.items() if control.get(values)]
            yield tensor["name"], told[0] if told else control["data_type"]


def _require_number(config: Mapping[str, Any], graph: Graph) -> None:
    told = [tensor for tensor in config.get("input", ()) if not tensor.get("optional")]
    made = [name for tensor in config.get("batch_input", ()) for name in tensor["target_name"]]
    expected = len(told) + len(made) + len(dict(_controls(config)))
    if expected != len(graph.inputs):
        raise Refused(
            f"unable to load model '{config['name']}', configuration expects {expected} inputs, "
            f"model provides {len(graph.inputs)}"
        )


def _require_inputs(config: Mapping[str, Any], graph: Graph) -> None:
    named = {tensor.name: tensor for tensor in (*graph.inputs, *graph.defaults)}
    model = config["name"]
    for mine in config.get("input", ()):
        name = mine["name"]
        if mine.get("optional") and config.get("max_batch_size", 0):
            raise Refused(
                f"unable to load model '{model}', optional input '{name}' is not supported for models that "
                "support batching"
            )
        theirs = _named(mine, named, "input")
        _require_type(model, mine, theirs, "input")
        if not mine.get("allow_ragged_batch"):
            _require_shape(config, mine, theirs, exact=False)
        elif mine.get("optional"):
            raise Refused(
                f"unable to load model '{model}', configuration expects model provides input with shape [-1] "
                f"for ragged input '{name}', which is not supported for optional input"
            )
        elif theirs.shape != (-1,):
            raise Refused(
                f"unable to load model '{model}', configuration expects model provides input with shape [-1]"
                f"  for ragged input '{name}', model provides {_spelled(theirs.shape)}"
            )


def _require_outputs(config: Mapping[str, Any], graph: Graph) -> None:
    named = {tensor.name: tensor for tensor in graph.outputs}
    scattered = {name for tensor in config.get("batch_output", ()) for name in tensor["target_name"]}
    for mine in config.get("output", ()):
        theirs = _named(mine, named, "output")
        _require_type(config["name"], mine, theirs, "output")
        if mine["name"] not in scattered:
            _require_shape(config, mine, theirs, exact=True)


def _named(mine: Mapping[str, Any], named: Mapping[str, Tensor], kind: str) -> Tensor:
    if mine["name"] not in named:
        raise Refused(
            f"unexpected inference {kind} '{mine['name']}', allowed {kind}s are: {', '.join(sorted(named))}"
        )
    return named[mine["name"]]


def _require_type(model: str, mine: Mapping[str, Any], theirs: Tensor, kind: str) -> None:
    told = mine["data_type"]
    if told not in TRITON_TYPES.values():
        raise Refused(f"unsupported datatype {told} for {kind} '{mine['name']}' for model '{model}'")
    if TRITON_TYPES.get(theirs.type) != told:
        raise Refused(
            f"unable to load model '{model}', configuration expects datatype {told} for {kind} "
            f"'{mine['name']}', model provides {_provided(theirs)}"
        )


def _provided(tensor: Tensor) -> str:
    """Return the type as the C++ backend spells it: the protocol's name of it behind TYPE_."""
    found = TRITON_TYPES.get(tensor.type, tensor.type)
    return "TYPE_BYTES" if found == "TYPE_STRING" else found


def _require_shape(config: Mapping[str, Any], mine: Mapping[str, Any], theirs: Tensor, exact: bool) -> None:
    """Compare dims; an open one of an input takes any size, one of an output must be open in both."""
    if not theirs.shape:
        _require_scalar(config["name"], mine)
        return
    batches = config.get("max_batch_size", 0) > 0
    begin = f"model '{config['name']}', tensor '{mine['name']}': "
    if batches and theirs.shape[0] != -1:
        raise Refused(
            f"{begin}for the model to support batching the shape should have at least 1 dimension and the "
            f"first dimension must be -1; but shape expected by the model is {_spelled(theirs.shape)}"
        )
    told = (-1, *dims(mine)) if batches else tuple(dims(mine))
    if len(told) != len(theirs.shape) or not all(
        their == my or (their == -1 and not exact) for my, their in zip(told, theirs.shape, strict=True)
    ):
        how = (
            "an initial batch dimension because max_batch_size > 0 followed by the explicit tensor shape, "
            "making complete shape"
            if batches
            else "shape"
        )
        raise Refused(
            f"{begin}the model expects {len(theirs.shape)} dimensions (shape {_spelled(theirs.shape)}) but "
            f"the model configuration specifies {len(told)} dimensions ({how} {_spelled(told)})"
        )


def _require_scalar(model: str, mine: Mapping[str, Any]) -> None:
    if any(dim != 1 for dim in dims(mine)):
        raise Refused(
            f"unable to load model '{model}', scalar tensor '{mine['name']}', should only provide 1 in the "
            "model configuration when the model doesn't support batching. Model configuration provided: "
            f"{_spelled(dims(mine))}."
        )


def _spelled(shape: Sequence[int]) -> str:
    return f"[{','.join(str(dim) for dim in shape)}]"
