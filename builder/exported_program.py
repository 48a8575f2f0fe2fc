"""What a serialised program of torch.export says of its inputs and outputs.

Fields as in torch/_export/serde/schema.py, version 8.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from builder import graph
from builder.graph import Unsuitable

DATA_TYPES = {
    1: "UINT8", 2: "INT8", 3: "INT16", 4: "INT32", 5: "INT64", 6: "FP16", 7: "FP32", 8: "FP64", 12: "BOOL",
    28: "UINT16", 34: "UINT32", 35: "UINT64",
}  # fmt: skip
"""Triton's names by the schema's ScalarType."""

_EMPTY = ("as_none",)
_KEYED = ("builtins.dict", "collections.OrderedDict")


def config(program: Mapping[str, Any]) -> dict[str, Any]:
    """Return inputs, outputs, batches and torch_version of a program.

    Raises:
        Unsuitable: an input or output that is no tensor, or of a type that Triton cannot carry; a GPU's.
        KeyError, TypeError, AttributeError, ValueError, IndexError: the JSON is not what torch writes.
    """
    module = program["graph_module"]
    values = module["graph"]["tensor_values"]
    _require_cpu(values)
    inputs = [_user_input(one) for one in module["signature"]["input_specs"]]
    outputs = [_user_output(one) for one in module["signature"]["output_specs"]]
    inputs, outputs = [name for name in inputs if name], [name for name in outputs if name]
    if not inputs or not outputs:
        raise Unsuitable(
            f"it takes {len(inputs)} tensors and gives {len(outputs)}",
            expected="at least one of each",
            remedy="export the model with its inputs as arguments and its outputs as results",
        )
    spec = module["module_call_graph"][0]["signature"]["out_spec"]
    batch = _batch([values[name]["sizes"] for name in [*inputs, *outputs]])
    return {
        **graph.without_batch(
            [_tensor(name, values[name]) for name in inputs],
            [
                _tensor(public, values[name])
                for public, name in zip(output_names(spec, len(outputs)), outputs, strict=True)
            ],
            batch is not None,
        ),
        "torch_version": str(program.get("torch_version", "")),
    }


def output_names(spec: str, count: int) -> list[str]:
    """Return what the outputs are called: the keys of a returned dict, else `output`, or `output_0` and on.

    Args:
        spec: the pytree of the result as torch serialises it, `[version, {type, context, children_spec}]`.
        count: how many tensors there are.
    """
    tree = json.loads(spec)[1]
    if tree["type"] in _KEYED and all(not child["children_spec"] for child in tree["children_spec"]):
        keys = json.loads(tree["context"])
        if len(keys) == count and all(isinstance(key, str) for key in keys):
            return list(keys)
    return ["output"] if count == 1 else [f"output_{place}" for place in range(count)]


def _require_cpu(values: Mapping[str, Any]) -> None:
    devices = {value["device"]["type"] for value in values.values()} - {"cpu"}
    if devices:
        raise Unsuitable(
            f"it was exported on {', '.join(sorted(devices))}",
            expected="a program on the CPU",
            remedy="move it before it is saved: torch.export.passes.move_to_device_pass(PROGRAM, 'cpu')",
        )


def _user_input(spec: Mapping[str, Any]) -> str:
    """Return the name of a tensor that the caller gives; empty for weights and for arguments left at None."""
    if "constant_input" in spec:
        told = spec["constant_input"]
        return _tensor_name(f"the argument {told['name']!r}", told["value"])
    return _tensor_name("an argument", spec["user_input"]["arg"]) if "user_input" in spec else ""


def _user_output(spec: Mapping[str, Any]) -> str:
    if "user_output" not in spec:
        # a buffer that the model changes: state, which no batch of strangers may share
        raise Unsuitable(
            f"it changes a tensor of its own ({', '.join(spec)})",
            expected="a model without state",
            remedy="export it in inference mode, without buffers that change: model.eval()",
        )
    return _tensor_name("a result", spec["user_output"]["arg"])


def _tensor_name(what: str, argument: Mapping[str, Any]) -> str:
    kind = next(iter(argument))
    if kind == "as_tensor":
        return str(argument[kind]["name"])
    if kind in _EMPTY:
        return ""
    raise Unsuitable(
        f"{what} is no tensor ({kind.removeprefix('as_')})",
        expected="tensors only",
        remedy="export a module that takes and returns tensors, the rest fixed inside of it",
    )


def _tensor(name: str, value: Mapping[str, Any]) -> dict[str, Any]:
    if value["dtype"] not in DATA_TYPES:
        raise Unsuitable(
            f"{name} has torch's scalar type {value['dtype']}",
            expected=f"one of {', '.join(DATA_TYPES.values())}, which Triton carries",
            remedy="cast it inside of the model",
        )
    return graph.tensor(name, DATA_TYPES[value["dtype"]], [_size(one) for one in value["sizes"]])


def _size(told: Mapping[str, Any]) -> int:
    return int(told["as_int"]) if "as_int" in told else -1


def _batch(shapes: Sequence[Sequence[Mapping[str, Any]]]) -> str | None:
    """Return the symbol with which every shape begins, and which none has a second time; None for no such."""
    first = {_symbol(sizes[0]) if sizes else None for sizes in shapes}
    symbol = first.pop()
    if first or symbol is None:
        return None
    others = [size["as_expr"]["expr_str"] for sizes in shapes for size in sizes[1:] if "as_expr" in size]
    return None if any(f"'{symbol}'" in one for one in others) else symbol


def _symbol(told: Mapping[str, Any]) -> str | None:
    """Return the name of a size that is one symbol and no more, such as 's37'."""
    text = told.get("as_expr", {}).get("expr_str", "")
    found = re.fullmatch(r"Symbol\('(\w+)'[^()]*\)", text)
    return found.group(1) if found else None
