"""Bytes worked out by hand, and what must hold for every model and GPU."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st
from planning import planned, subject

from builder.architecture import Dimensions
from builder.planning import memory
from builder.planning.placement import Gpu, Split, fill
from builder.quantizations import bf16, fp32, int4, int8

GIB = 1 << 30


@pytest.mark.parametrize(
    ("name", "element", "tensor_parallel", "expected"),
    [
        ("llama-8b", 2, 1, 131_072),  # 2 x 32 x 8 x 128 x 2
        ("llama-8b", 2, 2, 65_536),
        ("llama-8b", 2, 8, 16_384),
        ("llama-8b", 2, 16, 16_384),  # two copies of each KV head
        ("llama-8b", 4, 1, 262_144),
        ("smollm2", 4, 1, 46_080),  # 2 x 30 x 3 x 64 x 4
        ("smollm2", 4, 3, 15_360),
        ("smollm2", 4, 9, 15_360),  # three copies
        ("llama-70b", 2, 1, 327_680),  # 2 x 80 x 8 x 128 x 2
        ("llama-70b", 2, 8, 40_960),
        ("qwen-7b", 2, 1, 57_344),  # 2 x 28 x 4 x 128 x 2
        ("qwen-7b", 2, 4, 14_336),
        ("mistral-7b", 2, 1, 131_072),
    ],
)
def test_cache_bytes_per_token(name, element, tensor_parallel, expected):
    assert memory.cache_bytes_per_token(subject(name).dimensions, element, tensor_parallel) == expected


@pytest.mark.parametrize(
    ("name", "quantization", "expected"),
    [
        ("llama-8b", bf16, 8_030_261_248 * 2),
        ("llama-70b", bf16, 70_553_706_496 * 2),
        ("qwen-7b", bf16, 7_615_616_512 * 2),
        ("mistral-7b", bf16, 7_248_023_552 * 2),
        ("smollm2", fp32, 134_515_008 * 4),
        # all but 49,152 x 576 of the embedding, then the embedding; both 5 bits; the head shares it
        ("smollm2", int4, (106_203_456 + 28_311_552) * 5 // 8),
        # the head is a matrix of its own (9.25 bits), the embedding stays float32
        ("smollm2", int8, 155_532_978 + 113_246_208),
    ],
)
def test_weight_bytes(name, quantization, expected):
    assert memory.weight_bytes(subject(name).dimensions, quantization.QUANTIZATION) == expected


def test_the_plan_of_llama_8b_on_an_h200():
    found = planned("llama-8b", "--gpu h200").memory
    total = int(139.7 * GIB)
    room = total * 92 // 100 - 16_060_522_496 - 3 * GIB // 2
    assert (found.total, found.weights, found.cache_per_token) == (total, 16_060_522_496, 131_072)
    assert (found.tokens, found.sequences) == (room // 131_072, room // 131_072 // 131_072)
    assert found.sequences == 7


def test_a_cpu_is_told_its_needs_without_a_limit():
    found = planned("smollm2", "--quantize fp32 --max-context 1000 --concurrency 3").memory
    assert (found.total, found.runtime, found.sequences, found.tokens) == (None, 0, 3, 3000)
    assert found.used == 538_060_032 + 3000 * 46_080


def test_tensor_parallel_halves_the_weights():
    one = planned("llama-8b", "--gpu h100 --max-context 4096").memory
    two = planned("llama-8b", "--gpu h100 --max-context 4096 --tp 2").memory
    assert one.weights == 2 * two.weights
    assert one.cache_per_token == 2 * two.cache_per_token
    assert two.tokens > 2 * one.tokens


def test_pipeline_parallel_divides_weights_and_cache():
    # half of the layers, and the embedding or the head, which are equally large
    found = planned("llama-8b", "--gpu a10 --pp 2 --max-context 4096").memory
    assert (found.weights, found.cache_per_token) == (16_060_522_496 // 2, 65_536)


def test_the_fullest_stage_of_a_pipeline_holds_a_whole_table():
    # 32 layers and the last norm in 4 parts, 128,256 x 4096 of the embedding in one
    layers, table = 32 * 218_112_000 + 4096, 128_256 * 4096
    found = planned("llama-8b", "--gpu h100 --pp 4 --max-context 4096").memory
    assert found.weights == 2 * (layers // 4 + table) == 4_540_467_200
    both = planned("llama-8b", "--gpu a10 --tp 2 --pp 4").memory
    assert (both.weights, both.cache_per_token) == (4_540_467_200 // 2, 131_072 // 8)


def test_a_tied_head_is_a_copy_on_the_last_stage():
    # 134,515,008 less 49,152 x 576, in halves, and those on both
    found = planned("smollm2", "--gpu h100 --pp 2 --quantize bf16 --target vllm").memory
    assert found.weights == 2 * (106_203_456 // 2 + 28_311_552)


@st.composite
def models(draw):
    shared = draw(st.sampled_from([1, 2, 4, 8]))
    return Dimensions(
        vocabulary_size=draw(st.integers(100, 300_000)),
        hidden_size=draw(st.sampled_from([64, 576, 4096, 8192])),
        intermediate_size=draw(st.integers(64, 30_000)),
        layers=draw(st.integers(1, 100)),
        heads=shared * draw(st.integers(1, 8)),
        key_value_heads=shared,
        head_size=draw(st.sampled_from([32, 64, 128])),
        context_length=draw(st.integers(128, 200_000)),
        tied_embeddings=draw(st.booleans()),
    )


GIGABYTES = st.integers(1, 300)
QUANTIZATIONS = st.sampled_from([each.QUANTIZATION for each in (bf16, fp32, int4, int8)])


def card(gigabytes):
    return Gpu("some", "Some GPU", gigabytes * GIB, "9.0", True)


@given(models(), QUANTIZATIONS, GIGABYTES, st.integers(0, 100), st.none() | st.integers(1, 500))
def test_more_memory_never_fits_less(dimensions, quantization, gigabytes, more, concurrency):
    context = dimensions.context_length
    small = fill(dimensions, quantization, Split(), card(gigabytes), context, concurrency)
    large = fill(dimensions, quantization, Split(), card(gigabytes + more), context, concurrency)
    assert large.tokens >= small.tokens
    assert large.sequences >= small.sequences


@given(
    models(), QUANTIZATIONS, GIGABYTES, st.integers(1, 8), st.integers(1, 4), st.none() | st.integers(1, 99)
)
def test_never_more_than_the_card(dimensions, quantization, gigabytes, tensor, pipeline, concurrency):
    context = dimensions.context_length
    found = fill(dimensions, quantization, Split(tensor, pipeline), card(gigabytes), context, concurrency)
    if found.sequences:
        assert found.used <= found.total
        assert found.sequences * context <= found.tokens
    if concurrency:
        assert found.sequences <= concurrency


@given(models(), QUANTIZATIONS, st.integers(1, 6))
def test_all_parts_hold_the_whole(dimensions, quantization, power):
    whole = memory.weight_bytes(dimensions, quantization)
    parts = 2**power
    found = fill(dimensions, quantization, Split(parts), card(80), 128, None)
    assert whole <= found.weights * parts < whole + parts


@given(models(), st.integers(1, 64))
def test_no_gpu_caches_less_than_its_share(dimensions, tensor_parallel):
    """Copies of a head may be more than a share, never less; beyond the KV heads it stops shrinking."""
    whole = memory.cache_bytes_per_token(dimensions, 2)
    part = memory.cache_bytes_per_token(dimensions, 2, tensor_parallel)
    assert whole <= part * tensor_parallel
    if tensor_parallel >= dimensions.key_value_heads:
        assert part * dimensions.key_value_heads == whole


@given(models())
def test_fewer_bits_weigh_less(dimensions):
    weights = [memory.weight_bytes(dimensions, each.QUANTIZATION) for each in (int4, bf16, fp32)]
    assert weights == sorted(weights)
    assert memory.weight_bytes(dimensions, fp32.QUANTIZATION) == 4 * dimensions.parameters
    untied = dataclasses.replace(dimensions, tied_embeddings=False)
    assert memory.weight_bytes(untied, bf16.QUANTIZATION) == 2 * untied.parameters
