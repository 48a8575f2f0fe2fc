"""Text generation: one front that owns the request, and a tokenizer and detokenizer anyone may call.

The front is no ensemble because Triton 2.51 carries neither a cancel nor a disconnect into a running
step, and because a step cannot stop the one before it when a stop string appears. The ensemble
stands beside it for clients of that shape.
"""

from __future__ import annotations

from builder.ensemble import Batching, Facts, Member, Pipeline, Step, Tensor

CONTEXT = Tensor("context_ids", "INT32", (-1,))

SAMPLING = tuple(
    Tensor(name, data_type, optional=True)
    for name, data_type in (
        ("max_tokens", "INT32"),
        ("stream", "BOOL"),
        ("temperature", "FP32"),
        ("top_k", "INT32"),
        ("top_p", "FP32"),
        ("min_p", "FP32"),
        ("repetition_penalty", "FP32"),
        ("presence_penalty", "FP32"),
        ("frequency_penalty", "FP32"),
        ("min_tokens", "INT32"),
        ("seed", "UINT64"),
        ("logit_bias", "STRING"),
    )
)

FRONT = Member(
    suffix="",
    code="front",
    tokenizes=True,
    max_batch_size=1,
    decoupled=True,
    on_engine_device=True,
    why="the engine batches: it takes every request at once and interleaves their steps",
    inputs=(
        Tensor("text_input", "STRING", optional=True),
        Tensor("messages", "STRING", optional=True),
        Tensor("input_ids", "INT32", (-1,), optional=True),
        *SAMPLING,
        Tensor("length_penalty", "FP32", optional=True),
        Tensor("end_id", "INT32", optional=True),
        Tensor("pad_id", "INT32", optional=True),
        Tensor("beam_width", "INT32", optional=True),
        Tensor("num_return_sequences", "INT32", optional=True),
        Tensor("stop_words", "STRING", (-1,), optional=True),
        Tensor("bad_words", "STRING", (-1,), optional=True),
        Tensor("add_special_tokens", "BOOL", optional=True),
        Tensor("exclude_input_in_output", "BOOL", optional=True),
        Tensor("return_log_probs", "BOOL", optional=True),
        Tensor("top_logprobs", "INT32", optional=True),
        Tensor("prompt_logprobs", "BOOL", optional=True),
        Tensor("return_num_input_tokens", "BOOL", optional=True),
        Tensor("return_num_output_tokens", "BOOL", optional=True),
        Tensor("guided_decoding_guide_type", "STRING", optional=True),
        Tensor("guided_decoding_guide", "STRING", optional=True),
        Tensor("priority", "INT32", optional=True),
        Tensor("lora_name", "STRING", optional=True),
    ),
    outputs=(
        Tensor("text_output", "STRING"),
        Tensor("output_ids", "INT32", (-1,)),
        CONTEXT,
        Tensor("sequence_index", "INT32"),
        Tensor("finish_reason", "STRING"),
        Tensor("num_input_tokens", "INT32"),
        Tensor("num_output_tokens", "INT32"),
        Tensor("cum_log_probs", "FP32"),
        Tensor("output_log_probs", "FP32", (-1,)),
        Tensor("output_top_ids", "INT32", (-1, -1)),
        Tensor("output_top_log_probs", "FP32", (-1, -1)),
        Tensor("prompt_log_probs", "FP32", (-1,)),
        Tensor("reasoning_output", "STRING"),
    ),
)

TOKENIZER = Member(
    suffix="_tokenizer",
    code="tokenizer",
    tokenizes=True,
    max_batch_size=64,
    batching=Batching(max_queue_delay_microseconds=200, max_queue_size=0),
    why="one encode_batch over all waiting texts costs little more than one text",
    inputs=(Tensor("text_input", "STRING"),),
    outputs=(Tensor("input_ids", "INT32", (-1,)), Tensor("input_lengths", "INT32")),
)

DETOKENIZER = Member(
    suffix="_detokenizer",
    code="detokenizer",
    tokenizes=True,
    max_batch_size=64,
    batching=Batching(max_queue_delay_microseconds=0, max_queue_size=0),
    why="whatever waits goes along, but no step of a stream waits for company; no queue limit, "
    "because a limit after a decoupled step would silence its stream",
    inputs=(
        Tensor("output_ids", "INT32", (-1,), ragged=True),
        Tensor("context_ids", "INT32", (-1,), optional=True, ragged=True),
    ),
    outputs=(Tensor("text_output", "STRING"),),
)

_PASSED_ON = ("sequence_index", "finish_reason", "num_input_tokens", "num_output_tokens")

ENSEMBLE = Member(
    suffix="_ensemble",
    max_batch_size=1,
    decoupled=True,
    why="an ensemble has no queue of its own: its steps batch",
    accepted=("TRN729: clients that cancel ask the front",),
    inputs=(Tensor("text_input", "STRING"), *SAMPLING),
    outputs=(
        Tensor("text_output", "STRING"),
        *(tensor for tensor in FRONT.outputs if tensor.name in _PASSED_ON),
    ),
    steps=(
        Step("_tokenizer", {"text_input": "text_input"}, {"input_ids": "prompt_ids"}),
        Step(
            "",
            {"input_ids": "prompt_ids", **{tensor.name: tensor.name for tensor in SAMPLING}},
            {
                "output_ids": "generated_ids",
                "context_ids": "left_context_ids",
                **{name: name for name in _PASSED_ON},
            },
        ),
        Step(
            "_detokenizer",
            {"output_ids": "generated_ids", "context_ids": "left_context_ids"},
            {"text_output": "text_output"},
        ),
    ),
)

PIPELINE = Pipeline(
    description="text or chat messages in, streamed text out",
    members=(TOKENIZER, DETOKENIZER, FRONT, ENSEMBLE),
    kind="generation",
)


def pipeline(facts: Facts) -> Pipeline:
    """Return the same for every model: its tensors hold text and token ids."""
    return PIPELINE
