"""Servers that are wrong in one way each, and the checks that must notice.

A mutant is a few textual patches to files of a scripted deployment. It is served mutated and
verified against the folder as it was written. A patch whose text is not there fails loudly. These are of the
deployment that generates; those of one pass are in single_pass_mutants.py.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path

from scripted_repository import NAME

ROOT = Path(__file__).parents[2]
FRONT = f"{NAME}/1"
CODE = f"{FRONT}/backends"


@dataclass(frozen=True)
class Patch:
    """Replace `old`, which must be there, by `new` in a file; without `old`, remove a folder."""

    file: str
    old: str | None
    new: str = ""

    def apply(self, repository: Path) -> None:
        path = repository / self.file
        if self.old is None:
            assert path.is_dir(), f"{path} is not there to be removed"
            shutil.rmtree(path)
            return
        text = path.read_text()
        count = text.count(self.old)
        assert count == 1, f"{self.file} holds {self.old!r} {count} times, expected once: adapt this mutant"
        path.write_text(text.replace(self.old, self.new))


@dataclass(frozen=True)
class Mutant:
    """One wrong server of a deployment; `kills` are the checks that must fail on it.

    `fast` mutants run in the fast tier too.
    """

    name: str
    patches: tuple[Patch, ...]
    kills: frozenset[str]
    fast: bool = field(default=False)
    deployment: str = NAME


def _mutant(name: str, kills: str, *patches: Patch, fast: bool = False) -> Mutant:
    return Mutant(name, patches, frozenset(kills.split()), fast)


def _generation(old: str, new: str) -> Patch:
    return Patch(f"{CODE}/front/generation.py", old, new)


def _request(old: str, new: str) -> Patch:
    """Patch whichever of the files that read a request has the text."""
    files = ("request", "values", "sampling", "limits")
    here = (name for name in files if old in (ROOT / "backends" / "front" / f"{name}.py").read_text())
    return Patch(f"{CODE}/front/{next(here, files[0])}.py", old, new)


def _model(old: str, new: str) -> Patch:
    return Patch(f"{FRONT}/model.py", old, new)


def _outputs(old: str, new: str) -> Patch:
    return Patch(f"{CODE}/front/outputs.py", old, new)


def _answer(old: str, new: str) -> Patch:
    return Patch(f"{CODE}/front/answer.py", old, new)


_NAMED_BY_CLIENTS = (
    _model("outputs, number, arrived)", "outputs, (number, request.request_id()), arrived)"),
    _answer("self._number = number", "self._number, name = number"),
    _answer('self.name = f"{number}"', "self.name = name"),
)
"""What makes requests known by the ids that clients give them."""


def _scheduler(old: str, new: str) -> Patch:
    return Patch(f"{CODE}/engine/scheduler.py", old, new)


def _sampling(old: str, new: str) -> Patch:
    return Patch(f"{CODE}/engine/sampling.py", old, new)


def _chat(old: str, new: str) -> Patch:
    return Patch(f"{CODE}/text/chat.py", old, new)


TOKENIZER = f"{NAME}_tokenizer/1"
DETOKENIZER = f"{NAME}_detokenizer/1"

MUTANTS = (
    _mutant(
        "a model of the folder is not served",
        "repository_index readiness_is_per_model",
        Patch(f"{NAME}_ensemble", None),
        Patch(f"{NAME}_detokenizer", None),
    ),
    _mutant(
        "an input has another type",
        "config_over_http config_over_grpc metadata_over_http metadata_over_grpc wrong_dtype",
        Patch(
            f"{NAME}/config.pbtxt",
            'name: "max_tokens"\n  data_type: TYPE_INT32',
            'name: "max_tokens"\n  data_type: TYPE_FP32',
        ),
        # the ensemble would not load beside it
        Patch(f"{NAME}_ensemble", None),
    ),
    _mutant(
        "batches and shapes are not looked at",
        "wrong_shape batch_of_two",
        Patch(f"{NAME}/config.pbtxt", "max_batch_size: 1", "max_batch_size: 4"),
        Patch(
            f"{NAME}/config.pbtxt",
            'name: "text_input"\n  data_type: TYPE_STRING\n  dims: 1',
            'name: "text_input"\n  data_type: TYPE_STRING\n  dims: -1',
        ),
        _request("if elements.size != 1:", "if elements.size < 1:"),
    ),
    _mutant(
        "the model is not decoupled",
        "unary_call_is_refused",
        Patch(f"{NAME}/config.pbtxt", "decoupled: true", "decoupled: false"),
    ),
    _mutant(
        "the engine takes the second best token",
        "golden_ids alone_equals_among_sixteen",
        _sampling("chosen = int(logits.argmax())", "chosen = int(logits.argsort()[-2])"),
        fast=True,
    ),
    _mutant(
        "every token is decoded alone",
        "golden_text characters_stream_unbroken",
        _generation("self._decoder.push((token,))", "Decoder(self._vocabulary).push((token,))"),
        _generation(
            "self._decoder.push(step.ids)",
            '"".join(Decoder(self._vocabulary).push((token,)) for token in step.ids)',
        ),
        _generation(
            "self._decoder = Decoder(vocabulary)",
            "self._vocabulary, self._decoder = vocabulary, Decoder(vocabulary)",
        ),
        fast=True,
    ),
    _mutant(
        "half a character is shown",
        "unfinished_character_is_dropped",
        Patch(
            f"{CODE}/text/decoding.py",
            "return self._utf8.decode(data)",
            'return data.decode("utf-8", "replace")',
        ),
    ),
    _mutant(
        "streamed text loses its spaces",
        "spaces_are_kept grpc_stream_equals_whole generate_stream_equals_whole golden_text",
        _generation("self._sequence = sequence", "self._sequence, self._streams = sequence, request.stream"),
        _generation("text=echo + text", "text=echo + (text.strip() if self._streams else text)"),
        fast=True,
    ),
    _mutant(
        "everything is streamed",
        "whole_is_one_response generate_equals_whole",
        _request('values.flag("stream", False)', "True"),
    ),
    _mutant(
        "nothing is streamed",
        "stream_is_many_responses",
        _request('values.flag("stream", False)', "False"),
    ),
    _mutant(
        "responses forget their context",
        "responses_carry_context",
        _generation("context_ids=context,", "context_ids=context[-1:],"),
    ),
    _mutant(
        "the detokenizer strips",
        "detokenizer_text detokenizer_follows_stream ensemble_stream_equals_front code_survives",
        Patch(f"{DETOKENIZER}/model.py", "context.tolist()).encode()", "context.tolist()).strip().encode()"),
        fast=True,
    ),
    _mutant(
        "the tokenizer tidies the text",
        "tokenizer_ids ensemble_equals_front code_survives",
        Patch(f"{TOKENIZER}/backends/batches.py", "return [value.decode() if", "return [tidy(value) if"),
        Patch(
            f"{TOKENIZER}/backends/batches.py",
            "def texts(",
            'def tidy(value):\n    return " ".join(value.decode().lower().split())\n\n\ndef texts(',
        ),
    ),
    _mutant(
        "the tokenizer knows ASCII only",
        "emoji_survive cjk_survives combining_characters_survive",
        Patch(
            f"{TOKENIZER}/backends/batches.py",
            "value.decode() if",
            'value.decode().encode("ascii", "ignore").decode() if',
        ),
    ),
    _mutant(
        "the tokenizer composes characters",
        "combining_characters_survive",
        Patch(
            f"{TOKENIZER}/backends/batches.py",
            "return [value.decode() if",
            'return [__import__("unicodedata").normalize("NFC", value.decode()) if',
        ),
    ),
    _mutant(
        "the tokenizer takes any bytes",
        "companions_go_on",
        Patch(f"{TOKENIZER}/backends/batches.py", "value.decode() if", 'value.decode("utf-8", "replace") if'),
    ),
    _mutant(
        "the tokenizer mixes up requests and pads with anything",
        "tokenizer_at_once tokenizer_pads_rows",
        Patch(f"{TOKENIZER}/model.py", "return responses", "return responses[::-1]"),
        Patch(f"{TOKENIZER}/model.py", "padded(rows, self._pad)", "padded(rows, 7)"),
    ),
    _mutant(
        "the chat has no turn for the assistant",
        "golden_messages",
        _chat("add_generation_prompt=True", "add_generation_prompt=False"),
    ),
    _mutant(
        "control tokens in a message are control tokens",
        "control_tokens_are_not_injected",
        _chat("if not disguise:", "if disguise or not disguise:"),
        fast=True,
    ),
    _mutant(
        "messages may be anything",
        "invalid_messages invalid_json_body",
        _chat("value = json.loads(messages)", "value = [{'role': 'user', 'content': messages}]"),
    ),
    _mutant(
        "BOS is doubled",
        "bos_is_not_doubled",
        Patch(
            f"{CODE}/text/encoding.py",
            "return asked and not (self._bos and text.startswith(self._bos))",
            "return asked",
        ),
    ),
    _mutant(
        "input_ids lose their first",
        "input_ids_equal_text",
        _request('return tuple(ids), ""', 'return tuple(ids[1:]) or tuple(ids), ""'),
    ),
    _mutant(
        "zero is no temperature",
        "temperature_zero_is_greedy",
        _request(
            'temperature = values.number("temperature")', 'temperature = values.number("temperature") or 1.0'
        ),
    ),
    _mutant(
        "top_k, top_p and min_p are ignored",
        "top_k_one_is_greedy tiny_top_p_is_greedy min_p_one_is_greedy",
        _request('top_k=int(values.number("top_k") or 0)', "top_k=0"),
        _request("top_p=1.0 if top_p is None else top_p", "top_p=1.0"),
        _request('min_p=values.number("min_p") or 0.0', "min_p=0.0"),
    ),
    _mutant(
        "guides are ignored",
        "json_schema_is_followed json_is_an_object regex_is_followed grammar_is_followed"
        " guides_spare_neighbours impossible_guide_is_refused",
        _request("guide=_guide(values)", "guide=None"),
        fast=True,
    ),
    _mutant(
        "adapters are not asked",
        "adapters_answer_by_name",
        _request("adapter=_adapter(values, limits)", 'adapter=_adapter(values, limits) and ""'),
    ),
    _mutant(
        "the model answers for adapters that are not there",
        "unknown_adapter_is_refused",
        _request("    if name not in limits.adapters:", "    if False:"),
    ),
    _mutant(
        "the seed is ignored",
        "same_seed_same_text",
        _request("seed=None if seed is None else int(seed)", "seed=None"),
    ),
    _mutant(
        "there is one seed",
        "different_seeds_differ several_sequences",
        _sampling("default_rng(sampling.seed)", "default_rng(1)"),
    ),
    _mutant(
        "bias, bans and penalties are ignored",
        "logit_bias_forces_token logit_bias_forbids_token greedy_tokens_are_likeliest"
        " bad_words_never_appear repetition_penalty_is_applied",
        _sampling("changed = self._penalised(logits)", "changed = logits"),
        _sampling("banned = self._banned()", "banned = []"),
    ),
    _mutant(
        "stop words are ignored",
        "stop_word_cuts_text stop_word_across_tokens stop_word_is_never_streamed",
        _request('stops=values.words("stop_words")', "stops=()"),
        fast=True,
    ),
    _mutant(
        "stop words are looked for in single tokens",
        "stop_word_across_tokens stop_word_is_never_streamed",
        Patch(
            f"{CODE}/text/stopping.py",
            "text = self._held + text",
            "return text, any(stop in text for stop in self._stops)",
        ),
    ),
    _mutant(
        "stop words get out before they are whole",
        "stop_word_is_never_streamed stop_word_across_tokens",
        Patch(f"{CODE}/text/stopping.py", "return text[: len(text) - keep], False", "return text, False"),
    ),
    _mutant(
        "the first stop word is the only one",
        "earliest_of_several_stop_words",
        Patch(f"{CODE}/text/stopping.py", "for stop in stops if stop)", "for stop in stops[:1] if stop)"),
    ),
    _mutant(
        "text that was held back is lost",
        "absent_stop_word_changes_nothing",
        _generation("shown += self._stopper.flush()", "self._stopper.flush()"),
    ),
    _mutant(
        "the reason is always stop",
        "finish_reason_length golden_finish_reasons",
        _outputs("scores: chunk.finish_reason, _text", 'scores: chunk.finish_reason and "stop", _text'),
    ),
    _mutant(
        "max_tokens is off by one",
        "max_tokens_is_exact",
        _request(
            "max_tokens = room if asked is None else int(asked)",
            "max_tokens = room if asked is None else int(asked) + 1",
        ),
        fast=True,
    ),
    _mutant(
        "end_id and min_tokens are ignored",
        "end_id_stops",
        _request('own = values.one("end_id")', "own = None"),
    ),
    _mutant(
        "min_tokens is ignored",
        "min_tokens_is_kept",
        _sampling("if len(self._ids) < sampling.min_tokens", "if False"),
    ),
    _mutant(
        "counts are wrong",
        "input_tokens_are_counted output_tokens_are_counted",
        _outputs("scores: tokens, _integer", "scores: tokens + 1, _integer"),
        _generation("output_tokens=self._tokens", "output_tokens=len(step.ids)"),
    ),
    _mutant(
        "log probabilities lose their sign",
        "log_probs_are_probabilities prompt_log_probs held_out_texts "
        "top_log_probs_lead_with_the_greedy_token",
        _outputs("scores: chunk.log_probs, _floats", "scores: tuple(map(abs, chunk.log_probs)), _floats"),
        _outputs("scores: scores, _floats", "scores: tuple(map(abs, scores)), _floats"),
        _sampling("best = places[np.argsort(-logits", "best = places[np.argsort(logits"),
    ),
    _mutant(
        "the weights are not those that were proven",
        "held_out_texts",
        _outputs("scores: scores, _floats", "scores: tuple(1.02 * score for score in scores), _floats"),
    ),
    _mutant(
        "nothing is echoed",
        "prompt_is_echoed",
        _request('echo=not values.flag("exclude_input_in_output", True)', "echo=False"),
    ),
    _mutant(
        "text is kept per request id",
        "same_request_id_twice no_request_id answers_at_once_keep_their_characters",
        *_NAMED_BY_CLIENTS,
        # the writer is made before anything is awaited, so nobody else comes between
        _model(
            "made = generation.generate(",
            "generation.named = answer.name\n        made = generation.generate(",
        ),
        _generation("class _Writer:", "_KEPT = {}\n\n\nclass _Writer:"),
        _generation(
            "    writer = _Writer(request, sequence, vocabulary, reasoning)",
            "    writer = _Writer(request, sequence, vocabulary, reasoning)\n"
            "    writer._decoder = _KEPT.setdefault(named, writer)._decoder\n"
            "    kept = _KEPT[named]\n"
            "    writer.write, own = (lambda step: kept_write(kept, writer, step, own)), writer.write",
        ),
        _generation(
            "def join(",
            "def kept_write(kept, writer, step, own):\n"
            "    chunk = own(step)\n"
            "    before = getattr(kept, 'said', '')\n"
            "    kept.said = chunk.text\n"
            "    return chunk._replace(text=before)\n\n\ndef join(",
        ),
        fast=True,
    ),
    _mutant(
        "requests are known by their id",
        "cancel_spares_neighbours",
        *_NAMED_BY_CLIENTS,
    ),
    _mutant(
        "every thirtieth request breaks",
        "fifty_in_a_row",
        _model(
            "parsed = self._parse(request)",
            "parsed = self._parse(request)\n"
            "                self._broken = getattr(self, '_broken', 0) + 1\n"
            "                assert self._broken % 30",
        ),
    ),
    _mutant(
        "nobody may wait",
        "thirty_two_at_once waiting_requests_are_answered",
        _scheduler(">= self._max_active + self._max_waiting:", ">= self._max_active:"),
    ),
    _mutant(
        "everybody is admitted",
        "overload_is_refused",
        _scheduler(">= self._max_active + self._max_waiting:", ">= 100000:"),
    ),
    _mutant(
        "cancellation is ignored",
        "grpc_cancel_stops_engine http_disconnect_stops_engine cancelled_requests_are_counted"
        " waiting_request_can_be_cancelled",
        _answer("return bool(self._sender.is_cancelled())", "return False"),
    ),
    _mutant(
        "the timeout is ignored",
        "timeout_is_honoured",
        _request("timeout_microseconds / 1e6 or limits.deadline_seconds", "limits.deadline_seconds"),
    ),
    _mutant(
        "counters count twice",
        "engine_counters",
        _scheduler("self._tokens += sum(len(outcome.ids)", "self._tokens += sum(2 * len(outcome.ids)"),
    ),
    _mutant(
        "prompts are taken as they come",
        "missing_prompt two_prompts",
        _request("if len(given) != 1:", "if False:"),
    ),
    _mutant(
        "the empty prompt is answered",
        "empty_prompt",
        _request("if not ids:", "ids = ids or (5,)\n    if False:"),
    ),
    _mutant(
        "the context says nothing of numbers",
        "overlong_prompt",
        _request(
            'f"prompt has {len(ids)} tokens, the context holds {limits.context} "', '"the prompt is too long"'
        ),
    ),
    _mutant(
        "misspelt inputs are dropped",
        "unknown_parameter",
        _request("    if unknown:", "    if False:"),
        fast=True,
    ),
    _mutant(
        "values have no range",
        "negative_values absurd_values",
        _request("if not lowest <= number <= highest:", "if False:"),
    ),
    _mutant(
        "ids have no range",
        "impossible_ids",
        _request("if not 0 <= token < limits.vocabulary:", "if False:"),
    ),
    _mutant(
        "any bytes are text",
        "invalid_utf8",
        _request("return data.decode()", 'return data.decode("utf-8", "replace")'),
    ),
    _mutant(
        "what is not supported is ignored",
        "unsupported_input",
        _request("if value != _HARMLESS.get(name):", "if False:"),
    ),
    _mutant(
        "an error ends everybody's request",
        "error_spares_neighbours",
        _model(
            "                send_error(pb_utils, sender, error)\n",
            "                for number in range(next(self._numbers)):\n"
            "                    self._engine.abort(str(number))\n"
            "                send_error(pb_utils, sender, error)\n",
        ),
    ),
)
