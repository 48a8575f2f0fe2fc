"""TRN32x: label files, which name the classes of an output. Triton: core/src/label_provider.cc."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from builder import reading
from builder.layout import Model
from builder.rule import Fault, Host, rule


@rule("TRN321")
def label_file_missing(model: Model, config: Any) -> Iterator[Fault]:
    """A label_filename is a file in the model's folder, beside config.pbtxt.

    Triton: failed to open text file for read m/labels.txt: No such file or directory
    Bad:
        output { name: "Y" data_type: TYPE_FP32 dims: [ 2 ] label_filename: "labels.txt" }
    Good:
        output { name: "Y" data_type: TYPE_FP32 dims: [ 2 ] label_filename: "labels.txt" }
        == m/labels.txt
        cat
        dog
    """
    for place, tensor in enumerate(config.output):
        if tensor.label_filename and not (model.path / tensor.label_filename).is_file():
            yield Fault(
                ("output", place, "label_filename"),
                f"failed to open text file for read {model.name}/{tensor.label_filename}: "
                "No such file or directory",
                f"put {tensor.label_filename} beside {model.name}/config.pbtxt: one label a line, "
                f"as many as '{tensor.name}' has classes",
            )


@rule("TRN322")
def label_file_outside(model: Model, config: Any, host: Host) -> Iterator[Fault]:
    """A label_filename stays within the model's folder (26.02 and later refuse it).

    Triton: label file path 'P' for output 'Y' in model 'm' is outside model directory
    """
    for place, tensor in enumerate(config.output):
        file = model.path / tensor.label_filename
        if tensor.label_filename and file.is_file() and not _is_within(file, model.path):
            yield Fault(
                ("output", place, "label_filename"),
                f"label file path '{tensor.label_filename}' for output '{tensor.name}' in model "
                f"'{model.name}' is outside model directory",
                f"copy it beside {model.name}/config.pbtxt",
                severity=None if host.has("26.02") else "warning",
            )


@rule("TRN323", "warning")
def labels_fewer_than_classes(model: Model, config: Any) -> Iterator[Fault]:
    """A label file has a line for each class: Triton leaves the others without a name and says nothing.

    Bad:
        output { name: "Y" data_type: TYPE_FP32 dims: [ 3 ] label_filename: "labels.txt" }
        == m/labels.txt
        cat
        dog
    Good:
        output { name: "Y" data_type: TYPE_FP32 dims: [ 2 ] label_filename: "labels.txt" }
        == m/labels.txt
        cat
        dog
    """
    for place, tensor in enumerate(config.output):
        file = _file(model, tensor.label_filename)
        if file is None or len(tensor.dims) != 1 or tensor.dims[0] < 1:
            continue
        count = reading.lines(file)
        if count != tensor.dims[0]:
            yield Fault(
                ("output", place, "label_filename"),
                f"{tensor.label_filename} has {count} labels "
                f"for the {tensor.dims[0]} classes of '{tensor.name}'",
                "write one label a line, in the order of the classes",
            )


@rule("TRN324")
def label_file_twice(model: Model, config: Any) -> Iterator[Fault]:
    """An output has one label file, also where it is declared twice.

    Triton: multiple label files for 'Y'
    Bad:
        output { name: "Y" data_type: TYPE_FP32 dims: [ 2 ] label_filename: "labels.txt" }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 2 ] label_filename: "labels.txt" }
        == m/labels.txt
        cat
        dog
    Good:
        output { name: "Y" data_type: TYPE_FP32 dims: [ 2 ] label_filename: "labels.txt" }
        == m/labels.txt
        cat
        dog
    """
    seen: set[str] = set()
    for place, tensor in enumerate(config.output):
        if tensor.label_filename and tensor.name in seen:
            yield Fault(
                ("output", place, "label_filename"),
                f"multiple label files for '{tensor.name}' of {model.name}",
                f"declare '{tensor.name}' once",
            )
        if tensor.label_filename:
            seen.add(tensor.name)


def _is_within(file: Path, folder: Path) -> bool:
    return Path(os.path.realpath(file)).is_relative_to(os.path.realpath(folder))


def _file(model: Model, name: str) -> Path | None:
    try:
        return model.file(name)
    except reading.LeadsOut:
        # label_file_outside tells it
        return None
