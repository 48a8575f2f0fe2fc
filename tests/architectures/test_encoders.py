"""Text encoders: their dimensions as transformers counts them, their texts' lengths, what they are for."""

import pytest
import single_pass
from hypothesis import given
from hypothesis import strategies as st

from builder import architecture, encoder
from builder.errors import SourceError

SEQUENCE, TOKENS = "ForSequenceClassification", "ForTokenClassification"
DEBERTA_3 = {
    "relative_attention": True,
    "position_buckets": 8,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "pos_att_type": "p2c|c2p",
    "position_biased_input": False,
}
DEBERTA_2_LARGE = {
    **DEBERTA_3,
    "share_att_key": False,
    "pos_att_type": ["p2c", "c2p"],
    "conv_kernel_size": 3,
    "conv_groups": 2,
    "embedding_size": 24,
    "type_vocab_size": 2,
}
VARIANTS = [
    *((name, {}) for name in single_pass.ENCODERS),
    ("bert", {"type_vocab_size": 3, "num_hidden_layers": 1}),
    ("xlm-roberta", {"type_vocab_size": 1}),
    ("mpnet", {"relative_attention_num_buckets": 16}),
    ("deberta-v2", DEBERTA_3),
    ("deberta-v2", DEBERTA_2_LARGE),
    ("deberta-v2", {"relative_attention": True, "pos_att_type": ["c2p"], "max_relative_positions": 20}),
    ("deberta-v2", {"relative_attention": True, "pos_att_type": [], "max_relative_positions": -1}),
    ("modernbert", {"norm_bias": True, "attention_bias": True, "mlp_bias": True, "classifier_bias": True}),
    ("modernbert", {"num_hidden_layers": 1}),
]


@pytest.mark.parametrize("model_type", single_pass.ENCODERS)
def test_every_encoder_keeps_the_protocol(model_type):
    family = architecture.load(model_type)
    assert family.HUGGING_FACE_CLASS.endswith("Model")
    assert family.PIPELINES == ("embedding", "classification", "token_classification", "reranking")
    assert family.EXPORTER == "text_encoder"
    assert not architecture.generates_text(family)
    found = family.dimensions(single_pass.config(model_type))
    assert (found.vocabulary_size, found.hidden_size, found.layers, found.heads) == (96, 32, 2, 4)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("end", ["", SEQUENCE, TOKENS])
@pytest.mark.parametrize(("model_type", "extra"), VARIANTS)
def test_tensors_and_count_as_in_transformers(model_type, extra, end, tmp_path):
    import transformers
    from safetensors import safe_open

    kind = getattr(transformers, f"AutoModel{end}")
    small = single_pass.ENCODERS[model_type] | extra
    options = transformers.AutoConfig.for_model(model_type, **small, num_labels=3)
    model = kind.from_config(options)
    model.save_pretrained(tmp_path)
    with safe_open(tmp_path / "model.safetensors", "numpy") as file:
        held = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    own = set() if end else {name for name in held if name.startswith("pooler.")}
    saved = options.to_dict() | {"architectures": [type(model).__name__]}
    family = architecture.load(model_type)
    expected = architecture.expected_tensors(family, saved, "safetensors", held)
    assert expected == {name: shape for name, shape in held.items() if name not in own}
    pooler = sum(one.numel() for name, one in model.named_parameters() if name in own)
    found = family.dimensions(saved)
    assert found.parameters == sum(one.numel() for one in model.parameters()) - pooler
    given = single_pass.config(model_type, end or "Model", num_labels=3, **extra)
    assert family.dimensions(given) == found


def test_parameters_by_hand():
    found = architecture.load("bert").dimensions(single_pass.config("bert"))
    embeddings = (96 + 64 + 2) * 32 + 2 * 32
    attention = 4 * (32 * 32 + 32) + 2 * 32
    feed_forward = (48 * 32 + 48) + (32 * 48 + 32) + 2 * 32
    assert found.parameters == embeddings + 2 * (attention + feed_forward)
    headed = architecture.load("bert").dimensions(single_pass.config("bert", SEQUENCE, num_labels=3))
    assert headed.parameters == found.parameters + (32 * 32 + 32) + (3 * 32 + 3)
    tokens = architecture.load("bert").dimensions(single_pass.config("bert", TOKENS, num_labels=3))
    assert tokens.parameters == found.parameters + (3 * 32 + 3)


@pytest.mark.parametrize(
    ("model_type", "extra", "tokens"),
    [
        ("bert", {"pad_token_id": 7}, 64),
        ("distilbert", {}, 64),
        ("roberta", {}, 62),
        ("roberta", {"pad_token_id": 1}, 62),
        ("roberta", {"pad_token_id": 0}, 63),
        ("xlm-roberta", {"pad_token_id": 5}, 58),
        ("mpnet", {"pad_token_id": 0}, 62),
        ("deberta-v2", {"relative_attention": True, "max_relative_positions": 20}, 64),
        ("modernbert", {"pad_token_id": 50}, 64),
    ],
)
def test_longest_text(model_type, extra, tokens):
    family = architecture.load(model_type)
    assert family.dimensions(single_pass.config(model_type, **extra)).context_length == tokens


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("model_type", ["bert", "distilbert", "roberta", "mpnet"])
def test_the_longest_text_is_read_and_one_token_more_is_not(model_type):
    import torch
    import transformers

    options = transformers.AutoConfig.for_model(model_type, **single_pass.ENCODERS[model_type])
    model = transformers.AutoModel.from_config(options).eval()
    longest = architecture.load(model_type).dimensions(single_pass.config(model_type)).context_length
    with torch.no_grad():
        assert model(torch.full((1, longest), 9)).last_hidden_state.shape[1] == longest
        with pytest.raises((IndexError, RuntimeError)):
            model(torch.full((1, longest + 1), 9))


def test_activations_by_hand():
    found = architecture.load("bert").dimensions(single_pass.config("bert"))
    # the feed-forward network, 32 + 2 x 48, is as wide as query, key, value and input; the scores decide
    assert found.activation_elements(1) == 4 * 32 + 2 * 4
    assert found.activation_elements(10) == 4 * 10 * 32 + 2 * 4 * 100
    wide = architecture.load("bert").dimensions(single_pass.config("bert", intermediate_size=512))
    assert wide.activation_elements(10) == 10 * (32 + 2 * 512)
    gated = architecture.load("modernbert").dimensions(
        single_pass.config("modernbert", intermediate_size=512)
    )
    assert gated.activation_elements(10) == 10 * (32 + 3 * 512)
    relative = architecture.load("deberta-v2").dimensions(single_pass.config("deberta-v2", **DEBERTA_3))
    assert relative.activation_elements(10) == 4 * 10 * 32 + 4 * 4 * 100


@given(st.sampled_from(sorted(single_pass.ENCODERS)), st.integers(1, 63))
def test_a_longer_text_needs_more(model_type, tokens):
    found = architecture.load(model_type).dimensions(single_pass.config(model_type))
    assert found.activation_elements(tokens) < found.activation_elements(tokens + 1)


@pytest.mark.parametrize("model_type", single_pass.ENCODERS)
def test_missing_fields_are_all_named(model_type):
    given = dict.fromkeys(single_pass.ENCODERS[model_type]) | {"model_type": model_type}
    with pytest.raises(SourceError) as caught:
        architecture.load(model_type).dimensions(given)
    layers = "n_layers" if model_type == "distilbert" else "num_hidden_layers"
    assert all(name in caught.value.found for name in ("vocab_size", layers, "max_position_embeddings"))


@pytest.mark.parametrize(
    ("model_type", "extra", "said"),
    [
        ("bert", {"hidden_size": 33}, "4 attention heads in 33"),
        ("bert", {"type_vocab_size": 0}, "type_vocab_size is 0"),
        ("bert", {"num_hidden_layers": "2"}, "num_hidden_layers is '2'"),
        ("roberta", {"pad_token_id": -1}, "pad_token_id is -1"),
        ("roberta", {"pad_token_id": 63}, "after padding token 63"),
        ("mpnet", {"max_position_embeddings": 2}, "after padding token 1"),
        ("mpnet", {"relative_attention_num_buckets": 0}, "relative_attention_num_buckets is 0"),
        ("deberta-v2", {"position_buckets": "many"}, "position_buckets is 'many'"),
        ("distilbert", {"dim": True}, "dim is True"),
    ],
)
def test_impossible_values(model_type, extra, said):
    with pytest.raises(SourceError) as caught:
        architecture.load(model_type).dimensions(single_pass.config(model_type, **extra))
    assert said in caught.value.found


@pytest.mark.parametrize(
    ("config", "is_sentence_transformer", "pipeline"),
    [
        ({"architectures": ["BertModel"]}, True, "embedding"),
        ({"architectures": ["BertModel"]}, False, "embedding"),
        ({"architectures": ["XLMRobertaForMaskedLM"]}, False, "embedding"),
        ({"architectures": ["BertForPreTraining"]}, False, "embedding"),
        ({}, True, "embedding"),
        ({"architectures": ["T5EncoderSomething"]}, True, "embedding"),
        ({"architectures": ["BertForSequenceClassification"], "num_labels": 1}, False, "reranking"),
        ({"architectures": ["A" + SEQUENCE], "id2label": {"0": "LABEL_0"}}, False, "reranking"),
        ({"architectures": ["A" + SEQUENCE], "id2label": {"0": "no", "1": "yes"}}, False, "classification"),
        ({"architectures": ["A" + SEQUENCE]}, False, "classification"),
        # a cross-encoder of sentence-transformers has its modules.json too
        ({"architectures": ["A" + SEQUENCE], "num_labels": 1}, True, "reranking"),
        ({"architectures": ["DistilBertForTokenClassification"]}, False, "token_classification"),
        ({"architectures": ["ViTForImageClassification"]}, False, "image_classification"),
    ],
)
def test_pipeline(config, is_sentence_transformer, pipeline):
    assert encoder.pipeline(config, is_sentence_transformer) == pipeline


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"architectures": None},
        {"architectures": []},
        {"architectures": ["BertForQuestionAnswering"]},
        {"architectures": ["LlamaForCausalLM"]},
    ],
)
def test_no_pipeline(config):
    with pytest.raises(SourceError) as caught:
        encoder.pipeline(config, is_sentence_transformer=False)
    assert "ForTokenClassification" in caught.value.expected
    assert "recipe" in caught.value.remedy


def test_labels_in_the_order_of_their_numbers():
    given = {str(number): f"name {number}" for number in reversed(range(12))}
    assert encoder.labels({"id2label": given}) == tuple(f"name {number}" for number in range(12))
    assert encoder.labels({"id2label": {1: "b", 0: "a"}}) == ("a", "b")


def test_labels_that_transformers_leaves_out():
    assert encoder.labels({"num_labels": 3}) == ("LABEL_0", "LABEL_1", "LABEL_2")
    assert encoder.labels({}) == ("LABEL_0", "LABEL_1")


def test_two_classes_of_one_name():
    # ImageNet has two cranes, the bird and the machine
    assert encoder.labels({"id2label": {"0": "crane", "1": "crane"}}) == ("crane", "crane")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"1": "a", "2": "b"}, "has no label 0"),
        ({"0": "a", "2": "b"}, "has no label 1"),
        ({"0": "a", "one": "b"}, "has no label 1"),
        ({"0": "two\nlines"}, "'two\\nlines'"),
        ({"0": "two\u2028lines"}, "lines'"),
        ({"0": ""}, "holds ''"),
        ({"0": 5}, "holds 5"),
        (["a", "b"], "id2label is ['a', 'b']"),
    ],
)
def test_labels_that_cannot_be(given, said):
    with pytest.raises(SourceError) as caught:
        encoder.labels({"id2label": given})
    assert said in caught.value.found


@given(st.lists(st.text("abc -", min_size=1).filter(str.strip), min_size=1, max_size=40), st.randoms())
def test_labels_come_back_whatever_their_order_in_the_file(labels, random):
    entries = [(str(number), label) for number, label in enumerate(labels)]
    random.shuffle(entries)
    assert encoder.labels({"id2label": dict(entries)}) == tuple(labels)
