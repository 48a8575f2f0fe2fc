"""Servers of one pass that are wrong in one way each, and the checks that must notice; see mutants.py."""

from __future__ import annotations

from mutants import Mutant, Patch


def _mutant(deployment: str, name: str, kills: str, *patches: Patch, fast: bool = False) -> Mutant:
    return Mutant(name, patches, frozenset(kills.split()), fast, deployment)


def _graph(deployment: str, old: str, new: str) -> Patch:
    return Patch(f"{deployment}/1/scripted_graph.py", old, new)


def _model(deployment: str, old: str, new: str) -> Patch:
    return Patch(f"{deployment}/1/model.py", old, new)


def _config(deployment: str, old: str, new: str) -> Patch:
    return Patch(f"{deployment}/config.pbtxt", old, new)


def _text(deployment: str, name: str, old: str, new: str) -> Patch:
    return Patch(f"{deployment}_tokenizer/1/backends/text/{name}.py", old, new)


_IDS = '  name: "input_ids"\n  data_type: TYPE_INT32\n  dims: -1\n'
_SCORES = "scores = np.stack([text_scores(ids) for ids in texts(requests)])"

MUTANTS = (
    _mutant(
        "moods",
        "a number is off by a hundredth",
        "golden_outputs_over_grpc golden_outputs_over_http golden_outputs_as_json",
        _graph("moods_encoder", _SCORES, f"{_SCORES} + np.array([0, 0.01, -0.01], np.float32)"),
    ),
    _mutant(
        "moods",
        "the last bits are noise",
        "same_question_same_bits",
        _graph("moods_encoder", _SCORES, f"{_SCORES} * np.float32(1 + 1e-5 * np.random.random())"),
    ),
    _mutant(
        "table",
        "as many outputs as were asked for, but the first",
        "each_output_alone",
        _model(
            "table",
            "[_response(found) for found in self._graph(arrays)]",
            "[\n"
            "            _response(dict(list(found.items())[: len(request.requested_output_names())]))\n"
            "            for request, found in zip(requests, self._graph(arrays), strict=True)\n"
            "        ]",
        ),
    ),
    _mutant(
        "moods",
        "the file of labels is in another order",
        "labels_by_classification",
        Patch("moods/labels.txt", "calm\nglad", "glad\ncalm"),
    ),
    _mutant(
        "moods",
        "the label is the second best",
        "label_has_the_best_score golden_outputs_over_grpc",
        _graph("moods_encoder", "scores.argmax(axis=1)", "scores.argsort(axis=1)[:, -2]"),
    ),
    _mutant(
        "names",
        "places are counted in bytes",
        "entities_name_their_text golden_outputs_over_grpc",
        Patch(
            "names_entities/1/backends/entities/spans.py",
            '"start": begin, "end": end,',
            '"start": len(text[:begin].encode()), "end": len(text[:end].encode()),',
        ),
    ),
    _mutant(
        "ranks",
        "scores are relative to those beside them",
        "documents_are_scored_alone golden_outputs_over_grpc",
        _graph(
            "ranks_encoder",
            'return shared(requests, "rows", scores=scores)\n\n\ndef tabular',
            'return shared(requests, "rows", scores=softmax(scores.T).T)\n\n\ndef tabular',
        ),
    ),
    _mutant(
        "moods",
        "the rows of a request come back in reverse",
        "rows_of_one_request",
        _graph("moods_encoder", "part[place] for", "part[place][::-1] for"),
    ),
    _mutant(
        "moods",
        "a batch is divided evenly",
        "requests_of_many_rows_at_once",
        _graph("moods_encoder", "np.split(values, ends)", "np.array_split(values, len(requests))"),
    ),
    _mutant(
        "moods",
        "answers depend on their neighbours",
        "alone_equals_among_many requests_of_many_rows_at_once",
        _graph("moods_encoder", _SCORES, f"{_SCORES}\n    scores = 0.9 * scores + 0.1 * scores.mean(axis=0)"),
        fast=True,
    ),
    _mutant(
        "moods",
        "only two may wait",
        "many_clients_at_once",
        _config(
            "moods_encoder",
            "dynamic_batching {",
            "dynamic_batching {\n  default_queue_policy {\n    max_queue_size: 2\n  }",
        ),
    ),
    _mutant(
        "moods",
        "every request is computed alone",
        "requests_share_batches config_over_http config_over_grpc",
        _config("moods_encoder", "dynamic_batching {\n}\n", ""),
    ),
    _mutant(
        "moods",
        "only texts of one length share a batch",
        "requests_share_batches config_over_http config_over_grpc",
        _config("moods_encoder", f"{_IDS}  allow_ragged_batch: true\n", _IDS),
    ),
    _mutant(
        "moods",
        "there is no memory for a full batch of long texts",
        "full_batch_of_the_longest",
        _graph(
            "moods_encoder",
            _SCORES,
            "if sum(map(len, texts(requests))) > 2000:\n"
            "        raise MemoryError('out of memory')\n"
            f"    {_SCORES}",
        ),
    ),
    _mutant(
        "moods",
        "errors say nothing of numbers",
        "recorded_refusals limit_is_exact",
        _text(
            "moods",
            "limits",
            "{tokens} tokens, the model reads at most {self.max_tokens}; shorten",
            "it is too long; shorten",
        ),
    ),
    _mutant(
        "moods",
        "a refusal looks like a broken server",
        "refusals_are_client_errors unusual_texts",
        _model("moods_tokenizer", "str(found), pb_utils.TritonError.INVALID_ARG", "str(found)"),
    ),
    _mutant(
        "moods",
        "one bad request fails its whole batch",
        "a_bad_request_fails_alone",
        _model(
            "moods_tokenizer",
            "return [_response(found) for found in self._rows.answer(asked)]",
            "answers = self._rows.answer(asked)\n"
            "        bad = [found for found in answers if isinstance(found, ValueError)]\n"
            "        return [_response(bad[0] if bad else found) for found in answers]",
        ),
        fast=True,
    ),
    _mutant(
        "moods",
        "a text of the most tokens is refused",
        "limit_is_exact",
        _text("moods", "limits", "tokens > self.max_tokens", "tokens >= self.max_tokens"),
    ),
    _mutant(
        "moods",
        "a token more than the most is let through",
        "limit_is_exact",
        _text("moods", "limits", "tokens > self.max_tokens", "tokens > self.max_tokens + 1"),
    ),
    _mutant(
        "ranks",
        "what is too long is refused where it should be cut",
        "limit_is_exact",
        Patch("ranks_tokenizer/1/settings.json", '"truncate": true', '"truncate": false'),
    ),
    _mutant(
        "table",
        "a column has another type",
        "another_type golden_outputs_over_grpc config_over_http config_over_grpc metadata_over_grpc",
        _config("table", 'name: "visits"\n  data_type: TYPE_INT64', 'name: "visits"\n  data_type: TYPE_FP32'),
    ),
    _mutant(
        "table",
        "a column takes several values",
        "another_shape config_over_http config_over_grpc metadata_over_grpc",
        _config(
            "table",
            'name: "visits"\n  data_type: TYPE_INT64\n  dims: 1',
            'name: "visits"\n  data_type: TYPE_INT64\n  dims: -1',
        ),
    ),
    _mutant(
        "table",
        "a column that is missing is made up",
        "an_input_missing",
        _config(
            "table",
            'name: "city"\n  data_type: TYPE_STRING\n  dims: 1',
            'name: "city"\n  data_type: TYPE_STRING\n  dims: 1\n  optional: true',
        ),
        _model(
            "table",
            "pb_utils.get_input_tensor_by_name(request, name).as_numpy()",
            "_read(pb_utils.get_input_tensor_by_name(request, name))",
        ),
        _model(
            "table",
            "def _response(",
            "def _read(tensor):\n"
            "    return [[b'?']] if tensor is None else tensor.as_numpy()\n\n\n"
            "def _response(",
        ),
    ),
    _mutant(
        "table",
        "there is no limit to the rows",
        "too_many_rows config_over_http config_over_grpc",
        _config("table", "max_batch_size: 64", "max_batch_size: 128"),
    ),
    _mutant(
        "moods",
        "any bytes are a text",
        "bytes_that_are_no_text",
        _text(
            "moods",
            "elements",
            "found = [value.decode() for value in values]",
            'found = [value.decode("utf-8", "replace") for value in values]',
        ),
    ),
    _mutant(
        "moods",
        "a text without a word has no numbers",
        "unusual_texts",
        _graph(
            "moods_encoder",
            "return softmax(4 * drawn(_bytes(ids), len(LABELS)))",
            "return softmax(4 * drawn(_bytes(ids), len(LABELS)) / (0.0 if len(ids) < 2 else 1.0))",
        ),
    ),
)
