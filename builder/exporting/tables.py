"""What a converter makes of a model of a table -> the graph that its config promises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from builder.errors import ConversionError
from builder.exporting import wiring
from builder.tabular.describing import FEATURES, PREDICTION, PROBABILITIES


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
    columns = [one.name for one in graph.input]
    free = [one["name"] for one in (*config["inputs"], *config["outputs"])]
    wiring.inward(graph, {*free, *answers, *columns})
    _replace(graph.input, [_end(one) for one in config["inputs"]])
    _replace(graph.output, [_end(one) for one in config["outputs"]])
    before = _take(config["inputs"], [wiring.INNER + name for name in columns], merged)
    after = _answer(graph, config, [wiring.INNER + name for name in answers])
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


def _take(inputs: Sequence[Mapping[str, Any]], columns: list[str], merged: bool) -> list[Any]:
    from onnx import helper

    names = [one["name"] for one in inputs]
    if merged and names != [FEATURES]:
        return [helper.make_node("Concat", names, columns, axis=1, name=f"{wiring.INNER}columns")]
    return [
        helper.make_node("Identity", [name], [inner], name=f"{wiring.INNER}take {name}")
        for name, inner in zip(names, columns, strict=True)
    ]


def _answer(graph: Any, config: Mapping[str, Any], found: list[str]) -> list[Any]:
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
    nodes.append(wiring.reshape(graph, answer, PREDICTION, [-1, prediction["dims"][0]]))
    if more:
        nodes.append(wiring.reshape(graph, found[1], PROBABILITIES, [-1, more[0]["dims"][0]]))
    return nodes


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
