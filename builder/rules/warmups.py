"""TRN42x: warm-up samples, which Triton runs before a model is ready.

Triton: ModelInstance warm-up in core/src/backend_model_instance.cc; data are read from the folder warmup/.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from builder.completion import completes
from builder.data_types import BYTES, elements, spelled
from builder.layout import Model
from builder.rule import Fault, Host, rule
from builder.textproto import Key, Path


@rule("TRN421")
def warmup_dims_known(model: Model, config: Any) -> Iterator[Fault]:
    """A warm-up input says every dimension.

    Triton: warmup setting expects all variable-size dimensions are specified for input 'X'
    Bad:
        model_warmup {
          name: "w" batch_size: 1
          inputs { key: "X" value { data_type: TYPE_FP32 dims: [ -1 ] zero_data: true } }
        }
    Good:
        model_warmup {
          name: "w" batch_size: 1
          inputs { key: "X" value { data_type: TYPE_FP32 dims: [ 4 ] zero_data: true } }
        }
    """
    for path, name, given in _inputs(config):
        if any(size < 0 for size in given.dims):
            yield Fault(
                (*path, "dims"),
                f"warmup setting expects all variable-size dimensions are specified for input '{name}'",
                "write a size that requests will have",
            )


@rule("TRN422")
def warmup_data_given(model: Model, config: Any) -> Iterator[Fault]:
    """A warm-up input says what it is filled with.

    Triton: warmup setting expects input 'X' to have input_data_type set
    Bad:
        model_warmup {
          name: "w" batch_size: 1
          inputs { key: "X" value { data_type: TYPE_FP32 dims: [ 4 ] } }
        }
    Good:
        model_warmup {
          name: "w" batch_size: 1
          inputs { key: "X" value { data_type: TYPE_FP32 dims: [ 4 ] random_data: true } }
        }
    """
    for path, name, given in _inputs(config):
        if given.WhichOneof("input_data_type") is None:
            yield Fault(
                path,
                f"warmup setting expects input '{name}' to have input_data_type set",
                "write zero_data: true, random_data: true, or input_data_file with a file of warmup/",
            )


@rule("TRN423")
def warmup_file(model: Model, config: Any) -> Iterator[Fault]:
    """An input_data_file is in the folder warmup/ of the model and holds the whole input.

    Triton: failed to open text file for read m/warmup/x: No such file or directory
    Bad:
        model_warmup {
          name: "w" batch_size: 1
          inputs { key: "X" value { data_type: TYPE_FP32 dims: [ 4 ] input_data_file: "x" } }
        }
    Good:
        model_warmup {
          name: "w" batch_size: 1
          inputs { key: "X" value { data_type: TYPE_FP32 dims: [ 4 ] input_data_file: "x" } }
        }
        == m/warmup/x
        0123456789abcdef
    """
    for path, _name, given in _inputs(config):
        if given.WhichOneof("input_data_type") != "input_data_file":
            continue
        file = model.path / "warmup" / given.input_data_file
        wanted = BYTES.get(given.data_type, 0) * elements(given.dims)
        if not file.is_file():
            message = f"failed to open text file for read {model.name}/warmup/{given.input_data_file}"
            yield Fault((*path, "input_data_file"), message, "put the file there, or write zero_data: true")
        elif (held := file.stat().st_size) < wanted:
            yield Fault(
                (*path, "input_data_file"),
                f"warmup setting expects {wanted} bytes, but the data provided from "
                f"{given.input_data_file} only has {held} bytes.",
                f"write {wanted} bytes: {elements(given.dims)} elements of {spelled(given.data_type)}",
            )


@rule("TRN424")
def warmup_batch_fits(model: Model, config: Any) -> Iterator[Fault]:
    """A warm-up batch is no larger than max_batch_size.

    Triton: failed to run warmup sample 'w': batch size 4 for 'm_0', max allowed is 2
    Bad:
        max_batch_size: 2
        model_warmup {
          name: "w" batch_size: 4
          inputs { key: "X" value { data_type: TYPE_FP32 dims: [ 4 ] zero_data: true } }
        }
    Good:
        max_batch_size: 4
        model_warmup {
          name: "w" batch_size: 4
          inputs { key: "X" value { data_type: TYPE_FP32 dims: [ 4 ] zero_data: true } }
        }
    """
    for place, sample in enumerate(config.model_warmup):
        if sample.batch_size > max(1, config.max_batch_size):
            yield Fault(
                ("model_warmup", place, "batch_size"),
                f"failed to run warmup sample '{sample.name}': batch size {sample.batch_size} for "
                f"'{model.name}_0', max allowed is {config.max_batch_size}",
                f"write batch_size: {max(1, config.max_batch_size)}",
            )


@rule("TRN425")
def warmup_inputs_complete(model: Model, config: Any) -> Iterator[Fault]:
    """A warm-up sample gives every input that is not optional; of a model that batches at least one.

    Triton: expected 1 inputs but got 0 inputs for model 'm'
    Bad:
        model_warmup {
          name: "w" batch_size: 1
          inputs { key: "Z" value { data_type: TYPE_FP32 dims: [ 4 ] zero_data: true } }
        }
    Good:
        model_warmup {
          name: "w" batch_size: 1
          inputs { key: "X" value { data_type: TYPE_FP32 dims: [ 4 ] zero_data: true } }
        }
    """
    needed = [tensor.name for tensor in config.input if not tensor.optional]
    for place, sample in enumerate(config.model_warmup):
        given = [name for name in sample.inputs if name in needed]
        # an input that the config has twice is counted twice, and can be given once
        if sample.batch_size and len(given) < len(needed):
            missing = [name for name in needed if name not in given] or ["one that the config has twice"]
            yield Fault(
                ("model_warmup", place),
                f"expected {len(needed)} inputs but got {len(given)} inputs for model '{model.name}': "
                f"warm-up sample '{sample.name}' lacks {', '.join(missing)}",
                f"give it the inputs {', '.join(dict.fromkeys(needed))}",
            )
        elif sample.batch_size and config.max_batch_size and not sample.inputs:
            yield Fault(
                ("model_warmup", place),
                f"failed to run warmup sample '{sample.name}': out of bounds index 0: request has 0 inputs",
                "give it an input: the batch is that of the first",
            )


@rule("TRN429", "warning")
def warmup_input_unknown(model: Model, config: Any, host: Host) -> Iterator[Fault]:
    """A warm-up sample gives no input that the model does not have: Triton leaves it out.

    Bad:
        model_warmup {
          name: "w" batch_size: 1
          inputs { key: "X" value { data_type: TYPE_FP32 dims: [ 4 ] zero_data: true } }
          inputs { key: "Z" value { data_type: TYPE_FP32 dims: [ 4 ] zero_data: true } }
        }
    Good:
        model_warmup {
          name: "w" batch_size: 1
          inputs { key: "X" value { data_type: TYPE_FP32 dims: [ 4 ] zero_data: true } }
        }
    """
    controls = {tensor.name for tensor in config.sequence_batching.control_input}
    for path, name, _ in _inputs(config):
        others = set(model.inputs()) - set(config.model_warmup[path[1]].inputs)
        is_open = not model.inputs() and completes(model, host)
        if name not in model.inputs() and name not in controls and not is_open:
            yield Fault(
                path[:-1],
                f"a warm-up sample of {model.name} gives input '{name}', which the model does not have",
                f"name one of {', '.join(sorted(others))}" if others else "remove it",
            )


@rule("TRN426")
def warmup_data_type(model: Model, config: Any) -> Iterator[Fault]:
    """A warm-up input has the data type of the model's input.

    Triton: inference input 'X' data-type is 'INT32', but model 'm' expects 'FP32'
    Bad:
        model_warmup {
          name: "w" batch_size: 1
          inputs { key: "X" value { data_type: TYPE_INT32 dims: [ 4 ] zero_data: true } }
        }
    Good:
        model_warmup {
          name: "w" batch_size: 1
          inputs { key: "X" value { data_type: TYPE_FP32 dims: [ 4 ] zero_data: true } }
        }
    """
    for path, name, given in _inputs(config):
        tensor = model.inputs().get(name)
        if tensor is not None and given.data_type != tensor.data_type:
            yield Fault(
                (*path, "data_type"),
                f"inference input '{name}' data-type is '{spelled(given.data_type)}', but model "
                f"'{model.name}' expects '{spelled(tensor.data_type)}'",
                f"write data_type: {spelled(tensor.data_type)}",
            )


@rule("TRN427")
def warmup_shape(model: Model, config: Any) -> Iterator[Fault]:
    """A warm-up input has the shape of the model's input, without the batch.

    Triton: unexpected shape for input 'X' for model 'm'. Expected [4], got [5]
    Bad:
        model_warmup {
          name: "w" batch_size: 1
          inputs { key: "X" value { data_type: TYPE_FP32 dims: [ 5 ] zero_data: true } }
        }
    Good:
        model_warmup {
          name: "w" batch_size: 1
          inputs { key: "X" value { data_type: TYPE_FP32 dims: [ 4 ] zero_data: true } }
        }
    """
    for path, name, given in _inputs(config):
        tensor = model.inputs().get(name)
        if tensor is None or any(size < 0 for size in given.dims):
            continue
        fits = len(given.dims) == len(tensor.dims) and all(
            size in (-1, mine) for size, mine in zip(tensor.dims, given.dims, strict=True)
        )
        if not fits:
            yield Fault(
                (*path, "dims"),
                f"unexpected shape for input '{name}' for model '{model.name}'. "
                f"Expected {list(tensor.dims)}, got {list(given.dims)}",
                f"write dims that fit {list(tensor.dims)}",
            )


@rule("TRN428", "warning")
def warmup_skipped(model: Model, config: Any) -> Iterator[Fault]:
    """A warm-up sample has a batch_size: left out it is 0, and Triton skips the sample without a word.

    Bad:
        model_warmup {
          name: "w"
          inputs { key: "X" value { data_type: TYPE_FP32 dims: [ 4 ] zero_data: true } }
        }
    Good:
        model_warmup {
          name: "w" batch_size: 1
          inputs { key: "X" value { data_type: TYPE_FP32 dims: [ 4 ] zero_data: true } }
        }
    """
    for place, sample in enumerate(config.model_warmup):
        if not sample.batch_size:
            yield Fault(
                ("model_warmup", place),
                f"warm-up sample '{sample.name}' has no batch_size, so Triton skips it",
                "write batch_size: 1",
            )


def _inputs(config: Any) -> Iterator[tuple[Path, str, Any]]:
    for place, sample in enumerate(config.model_warmup):
        for name, given in sorted(sample.inputs.items()) if sample.batch_size else ():
            yield ("model_warmup", place, "inputs", Key(name), "value"), name, given
