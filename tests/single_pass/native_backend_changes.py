"""Faults in folders that the builder wrote, one and more for each rule on NVIDIA's onnxruntime backend."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from builder.finding import Severity
from builder.rule import Host

OLD, NEW = Host("24.10", completes=False), Host("26.08", completes=False)
HERE = "# here"
"""Stands in a changed config at the end of the line that a finding must name; without it none is named."""


@dataclass(frozen=True)
class Change:
    """One fault of the model that holds a pipeline's graph.

    `patches` replace texts of its config, "" being its end; `graph` changes the graph, `lost` is a file that
    goes. `words` are in the finding; `said` is what our own backend says of it in Triton, None for the same
    words, "" where it takes the model. `beside` are the codes of what else is found.
    """

    code: str
    words: str
    patches: tuple[tuple[str, str], ...] = ()
    graph: Callable[[Any], None] | None = None
    lost: str = ""
    cut: bool = False
    file: str = "config.pbtxt"
    pipeline: str = "tensors"
    severity: Severity = "error"
    said: str | None = None
    host: Host = NEW
    beside: tuple[str, ...] = ()

    def apply(self, model: Path) -> None:
        """Change the folder of a model; a text that is not there, or more than once, is a mistake."""
        config = model / "config.pbtxt"
        text = config.read_text()
        for old, new in self.patches:
            assert not old or text.count(old) == 1, f"{old!r} is there {text.count(old)} times: adapt it"
            text = text.replace(old, new) if old else text + new
        config.write_text(text)
        file = model / "1" / "model.onnx"
        if self.graph is not None:
            whole = onnx.load(file)
            self.graph(whole)
            file.write_bytes(whole.SerializeToString())
        if self.cut:
            file.write_bytes(file.read_bytes()[:-9])
        if self.lost:
            (model / self.lost).unlink()


def parameter(name: str, value: str) -> tuple[str, str]:
    """Return the patch that tells the backend something."""
    return "", f'parameters {{ key: "{name}" value {{ string_value: "{value}" }} }} {HERE}\n'


GPU = ("kind: KIND_CPU", "kind: KIND_GPU\n  gpus: 0")


def accelerator(told: str, kind: str = "gpu") -> tuple[str, str]:
    """Return the patch that asks for an accelerator."""
    begin = f"optimization {{ execution_accelerators {{ {kind}_execution_accelerator {{"
    return "", f"{begin}\n{told} {HERE}\n}} }} }}\n"


def option(name: str, key: str, value: str) -> tuple[str, str]:
    """Return the patch that tells an accelerator of a GPU something."""
    return accelerator(f'name: "{name}"\nparameters {{ key: "{key}" value: "{value}" }}')


def fix_the_rows(model: Any) -> None:
    for one in (*model.graph.input, *model.graph.output):
        one.type.tensor_type.shape.dim[0].dim_value = 2


def forget_the_shape(model: Any) -> None:
    model.graph.input[0].type.tensor_type.ClearField("shape")


def give_a_value(model: Any) -> None:
    model.graph.initializer.append(onnx.helper.make_tensor("times", onnx.TensorProto.INT64, [1, 1], [2]))


def use_an_opset_of_tomorrow(model: Any) -> None:
    model.opset_import[0].version = 99


def keep_weights_elsewhere(model: Any) -> None:
    (weights,) = model.graph.initializer
    weights.CopyFrom(onnx.TensorProto(name=weights.name, data_type=weights.data_type, dims=weights.dims))
    weights.data_location = onnx.TensorProto.EXTERNAL
    weights.external_data.add(key="location", value="model.onnx.data")


ROWS = ("max_batch_size: 8", f"max_batch_size: 8 {HERE}")
X = 'name: "x"\n  data_type: TYPE_FP32\n  dims: 3\n'
TOTAL = 'name: "total"\n  data_type: TYPE_FP32\n'
OUTPUTS = (
    f'output {{\n  {TOTAL}  dims: 1\n}}\noutput {{\n  name: "most"\n  data_type: TYPE_INT64\n  dims: 1\n}}\n'
)
SHRINKAGE = "memory.enable_memory_arena_shrinkage"
ON_GPU = "gpu_execution_accelerator"
UNUSED = "is skipped without a word: no instance is on a GPU"

PARAMETERS = {
    "a name that nobody reads": Change(
        "TRN706", "'intra_op_threads'", (parameter("intra_op_threads", "4"),), severity="warning"
    ),
    "no number": Change(
        "TRN661",
        "failed to convert 'many' to integral number",
        (parameter("intra_op_thread_count", "many"),),
    ),
    "nothing for a number": Change(
        "TRN661",
        "failed to convert '' to integral number",
        (parameter("inter_op_thread_count", ""),),
        pipeline="tabular",
    ),
    "no truth": Change(
        "TRN661", "failed to convert 'yes' to boolean", (parameter("enable_mem_arena", "yes"),)
    ),
    "no pattern": Change(
        "TRN661", "failed to convert '2' to boolean", (parameter("enable_mem_pattern", "2"),)
    ),
    "more than 32 bits": Change(
        "TRN661", "ends the server", (parameter("intra_op_thread_count", "4294967296"),), severity="fatal"
    ),
    "a third mode": Change(
        "TRN662",
        "Expected values for  execution_mode are 0 or 1 but got 2 .",
        (parameter("execution_mode", "2"),),
    ),
    "no such search": Change(
        "TRN662",
        "unsupported cudnn_conv_algo_search value '3' is requested",
        (GPU, parameter("cudnn_conv_algo_search", "3")),
        said="",
    ),
    "an arena that is not there": Change(
        "TRN663", "shrink list: gpu:0", (parameter(SHRINKAGE, "gpu:0"),), severity="fatal"
    ),
    "no such level": Change(
        "TRN664",
        "knows no level 9",
        (("", f"optimization {{ graph {{ level: 9 }} }} {HERE}\n"),),
        severity="warning",
    ),
    "a limit for a GPU on a CPU": Change(
        "TRN669", UNUSED, (parameter("gpu_mem_limit", "1"),), severity="warning"
    ),
}
ACCELERATORS = {
    "of a GPU for a CPU": Change(
        "TRN665",
        "unknown Execution Accelerator 'tensorrt' is requested",
        (accelerator('name: "tensorrt"', "cpu"),),
    ),
    "none of a GPU": Change(
        "TRN665",
        "unknown Execution Accelerator 'trt' is requested",
        (GPU, accelerator('name: "trt"')),
        said="",
    ),
    "a name of ONNX Runtime": Change(
        "TRN666",
        "unknown parameter 'trt_fp16_enable' is provided for TensorRT Execution Accelerator",
        (GPU, option("tensorrt", "trt_fp16_enable", "1")),
        said="",
    ),
    "no such precision": Change(
        "TRN667",
        "unsupported precision mode 'FP8' is requested",
        (GPU, option("tensorrt", "precision_mode", "FP8")),
        said="",
    ),
    "a precision of tomorrow": Change(
        "TRN667",
        "24.10 does not know it",
        (GPU, option("tensorrt", "precision_mode", "BF16")),
        said="",
        host=OLD,
    ),
    "no such option of CUDA": Change(
        "TRN668", '"use_cuda_graph"', (GPU, option("cuda", "use_cuda_graph", "1")), said=""
    ),
    "skipped on a CPU": Change(
        "TRN669",
        UNUSED,
        (("", f'optimization {{ execution_accelerators {{ {ON_GPU} {{ name: "cuda" }} }} }} {HERE}\n'),),
        severity="warning",
    ),
    "set over": Change(
        "TRN670", "never counts", (GPU, option("cuda", "gpu_mem_limit", "1")), severity="warning"
    ),
    "neither on nor off": Change(
        "TRN671",
        "failed to convert 'both' to boolean",
        (GPU, option("cuda", "do_copy_in_default_stream", "both")),
        said="",
        beside=("TRN670",),
    ),
}
TENSORS = {
    "half a graph": Change(
        "TRN611", "breaks off", cut=True, file="1/model.onnx", said="Protobuf parsing failed"
    ),
    "no graph": Change(
        "TRN651", "model.onnx", lost="1/model.onnx", file="1/model.onnx", said="unable to find"
    ),
    "another name": Change(
        "TRN612",
        "unexpected inference output 'sum', allowed outputs are: most, total",
        ((f"output {{\n  {TOTAL}", f'output {{ {HERE}\n  name: "sum"\n  data_type: TYPE_FP32\n'),),
    ),
    "an input less": Change(
        "TRN612",
        "configuration expects 1 inputs, model provides 2",
        ((f"input {{\n  {X}}}\n", ""), ("input {", f"input {{ {HERE}")),
    ),
    "another type": Change(
        "TRN613",
        "configuration expects datatype TYPE_INT32 for input 'x', model provides TYPE_FP32",
        ((X, X.replace("TYPE_FP32", f"TYPE_INT32 {HERE}")),),
    ),
    "the rows among the dims": Change(
        "TRN614",
        "the model expects 2 dimensions",
        ((X, X.replace("dims: 3", f"dims: [ -1, 3 ] {HERE}")),),
        beside=("TRN725",),
    ),
    "two rows and no others": Change(
        "TRN615",
        "for the model to support batching the shape should have at least 1 dimension",
        (ROWS,),
        fix_the_rows,
    ),
    "an opset of tomorrow": Change(
        "TRN616", "has opset 99", graph=use_an_opset_of_tomorrow, file="1/model.onnx", said="Opset 99"
    ),
    "optional among rows": Change(
        "TRN617",
        "optional input 'x' is not supported for models that support batching",
        ((X, f"{X}  optional: true {HERE}\n"),),
        # it counts first
        said="configuration expects 1 inputs, model provides 2",
    ),
    "weights that are gone": Change(
        "TRN618",
        "keeps weights in model.onnx.data",
        graph=keep_weights_elsewhere,
        file="1/model.onnx.data",
        said="external data",
    ),
    "ragged in rows": Change(
        "TRN672",
        "for ragged input 'rows', model provides [-1,2]",
        (
            (
                'name: "rows"\n  data_type: TYPE_INT32\n',
                f'name: "rows"\n  data_type: TYPE_INT32\n  allow_ragged_batch: true {HERE}\n',
            ),
        ),
        pipeline="embedding",
    ),
    "an input with a value": Change(
        "TRN673",
        "configuration expects 2 inputs, model provides 1",
        (('input {\n  name: "times', f'input {{ {HERE}\n  name: "times'),),
        give_a_value,
    ),
    "a tensor without a shape": Change(
        "TRN674",
        "scalar tensor 'x', should only provide 1",
        ((X, X.replace("dims: 3", f"dims: 3 {HERE}")),),
        forget_the_shape,
    ),
    "completed for rows": Change(
        "TRN675",
        "model does not support batching while non-zero max_batch_size is specified",
        ((OUTPUTS, ""), ROWS),
        fix_the_rows,
        said="",
        host=Host("26.08"),
        beside=("TRN615",),
    ),
    "bf16 too early": Change(
        "TRN676",
        "unsupported datatype TYPE_BF16 for input 'x'",
        ((X, X.replace("TYPE_FP32", f"TYPE_BF16 {HERE}")),),
        host=OLD,
        beside=("TRN613",),
    ),
}
CHANGES = {**PARAMETERS, **ACCELERATORS, **TENSORS}
