"""What a converter makes of a model of a table -> the graph that its config promises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from builder.errors import ConversionError
from builder.exporting import wiring
from builder.tabular.describing import FEATURES, PREDICTION, PROBABILITIES

_NUMBERS = ("FP32", "FP64")
_CLIP_BY_INPUTS = 11
"""The opset from which Clip takes its ends as inputs."""


def finish(model: Any, config: Mapping[str, Any], *, merged: bool) -> Any:
    """Return a graph with the inputs and outputs of the config.

    Args:
        model: a converter's onnx.ModelProto. Its inputs are all columns in one when `merged`, else one for
            each of the config's, in their order; its first output is the answer, its second, of a
            classifier, the probabilities.
        config: what `sources/tabular.py` wrote.
        merged: whether the columns have yet to be laid side by side.
    """
    graph = model.graph
    # converters name their graphs at random
    graph.name = str(config["model_type"])
    _drop_dictionaries(graph)
    answers = [one.name for one in graph.output]
    element = _numbers_of(graph.input)
    columns = [one.name for one in graph.input]
    free = [one["name"] for one in (*config["inputs"], *config["outputs"])]
    wiring.inward(graph, {*free, *answers, *columns})
    _replace(graph.input, [_end(one) for one in config["inputs"]])
    _replace(graph.output, [_end(one) for one in config["outputs"]])
    before = _take(config["inputs"], [wiring.INNER + name for name in columns], merged, element)
    after = _answer(model, config, [wiring.INNER + name for name in answers])
    _replace(graph.node, [*before, *graph.node, *after])
    _state_opsets(model)
    return model


def _drop_dictionaries(graph: Any) -> None:
    """Take the probabilities as a tensor where a converter ends with a list of dictionaries."""
    for node in [one for one in graph.node if one.op_type == "ZipMap"]:
        for output in graph.output:
            if output.name == node.output[0]:
                output.name = node.input[0]
        graph.node.remove(node)


def _end(entry: Mapping[str, Any]) -> Any:
    return wiring.end(entry["name"], entry["data_type"], entry["dims"], batches=True)


def _numbers_of(columns: Sequence[Any]) -> int:
    """Return the element type in which a converter's graph reads numbers."""
    from onnx import TensorProto

    kinds = {one.type.tensor_type.elem_type for one in columns}
    return int(TensorProto.DOUBLE if TensorProto.DOUBLE in kinds else TensorProto.FLOAT)


def _take(inputs: Sequence[Mapping[str, Any]], columns: list[str], merged: bool, element: int) -> list[Any]:
    from onnx import helper

    names = [one["name"] for one in inputs]
    beside = merged and names != [FEATURES]
    taken = [f"{wiring.INNER}column {name}" for name in names] if beside else columns
    nodes = []
    for entry, name in zip(inputs, taken, strict=True):
        kind = wiring.ELEMENT_TYPES[entry["data_type"]]
        more = {} if kind == element or entry["data_type"] not in _NUMBERS else {"to": element}
        nodes.append(
            helper.make_node(
                "Cast" if more else "Identity",
                [entry["name"]],
                [name],
                name=f"{wiring.INNER}take {entry['name']}",
                **more,
            )
        )
    if beside:
        nodes.append(helper.make_node("Concat", taken, columns, axis=1, name=f"{wiring.INNER}columns"))
    return nodes


def _answer(model: Any, config: Mapping[str, Any], found: list[str]) -> list[Any]:
    graph = model.graph
    prediction, *more = config["outputs"]
    if len(found) <= len(more):
        raise ConversionError(
            f"the converter's graph gives {', '.join(found)}",
            expected=f"{PREDICTION} and {PROBABILITIES}",
            remedy="end the pipeline with another classifier",
        )
    nodes = []
    answer = found[0]
    if config["kind"] == "classifier" and config["model_type"] == "lightgbm":
        answer = f"{wiring.INNER}class"
        nodes.append(_named_class(graph, config, found[0], answer))
    if prediction["data_type"] == "FP32":
        nodes.append(_rounded(answer, f"{wiring.INNER}number"))
        answer = f"{wiring.INNER}number"
    nodes.append(wiring.reshape(graph, answer, PREDICTION, [-1, prediction["dims"][0]]))
    if more:
        nodes += _within(model, found[1], f"{wiring.INNER}shares")
        nodes.append(wiring.reshape(graph, f"{wiring.INNER}shares", PROBABILITIES, [-1, more[0]["dims"][0]]))
    return nodes


def _rounded(source: str, target: str) -> Any:
    from onnx import TensorProto, helper

    return helper.make_node("Cast", [source], [target], to=TensorProto.FLOAT, name=f"{target} as float32")


def _within(model: Any, source: str, target: str) -> list[Any]:
    """Return nodes that keep probabilities between 0 and 1, which sums in float32 miss by a rounding."""
    import numpy as np
    from onnx import helper, numpy_helper

    wide, name = f"{target} before", f"{wiring.INNER}clip"
    if 0 < _opset(model) < _CLIP_BY_INPUTS:
        clip = helper.make_node("Clip", [wide], [target], name=name, min=0.0, max=1.0)
    else:
        ends = [f"{wiring.INNER}least share", f"{wiring.INNER}largest share"]
        for end, value in zip(ends, (0.0, 1.0), strict=True):
            model.graph.initializer.append(numpy_helper.from_array(np.array(value, np.float32), end))
        clip = helper.make_node("Clip", [wide, *ends], [target], name=name)
    return [_rounded(source, wide), clip]


def _opset(model: Any) -> int:
    return max((one.version for one in model.opset_import if not one.domain), default=0)


def _named_class(graph: Any, config: Mapping[str, Any], number: str, name: str) -> Any:
    """Return the node that gives a class, by its number, the name that it had in training."""
    import numpy as np
    from onnx import helper, numpy_helper

    labels: Sequence[str] = config["labels"]
    of_text = config["outputs"][0]["data_type"] == "STRING"
    values = np.array(labels, object) if of_text else np.array([_number(one) for one in labels], np.int64)
    table = f"{wiring.INNER}classes"
    graph.initializer.append(numpy_helper.from_array(values, table))
    return helper.make_node("Gather", [table, number], [name], name=f"{wiring.INNER}name the class")


def _number(label: str) -> int:
    return int(label == "True") if label in ("True", "False") else int(label)


def _state_opsets(model: Any) -> None:
    """State each domain once; what the ends are made of needs an opset of ONNX's own domain."""
    from onnx import helper

    from builder.exporting import graph_file

    versions: dict[str, int] = {}
    for one in model.opset_import:
        versions[one.domain] = max(one.version, versions.get(one.domain, 0))
    versions.setdefault("", graph_file.OPSET)
    _replace(model.opset_import, [helper.make_opsetid(*one) for one in sorted(versions.items())])


def _replace(field: Any, values: Sequence[Any]) -> None:
    kept = list(values)
    del field[:]
    field.extend(kept)
