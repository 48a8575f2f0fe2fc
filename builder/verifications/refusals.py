"""What is wrong is refused with a reason, and the next request is answered as if nothing had been."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from builder.subject import Mismatch, Subject, expect, numbers, shortened, together
from builder.triton_client import Answer, Raw, TritonError

ORDER = 100
SCOPE = "generation"


def _short(subject: Subject, **more: Any) -> dict[str, Any]:
    return subject.inputs(subject.prompt(), **{"max_tokens": 2, **more})


def wrong_dtype(subject: Subject) -> str:
    """Every kind of input in a wrong dtype is refused."""
    wrong = {
        "text_input": Raw("INT32", (1, 1), [7]),
        "input_ids": Raw("FP32", (1, 3), [1.0, 2.0, 3.0]),
        "max_tokens": Raw("FP32", (1, 1), [4.0]),
        "temperature": Raw("INT32", (1, 1), [1]),
        "stream": Raw("INT32", (1, 1), [1]),
        "seed": Raw("INT32", (1, 1), [1]),
        "stop_words": Raw("INT32", (1, 1), [1]),
    }
    return _each_alone(subject, wrong, "dtype")


def wrong_shape(subject: Subject) -> str:
    """Every kind of input in a wrong shape is refused."""
    text = [b"one", b"two"]
    wrong = {
        "text_input": Raw("BYTES", (1, 2), text),
        "input_ids": Raw("INT32", (1, 2, 2), [1, 2, 3, 4]),
        "max_tokens": Raw("INT32", (1, 2), [4, 4]),
        "temperature": Raw("FP32", (1, 2), [1.0, 1.0]),
        "stream": Raw("BOOL", (1, 1, 1), [True]),
        "seed": Raw("UINT64", (1, 2), [1, 2]),
        "stop_words": Raw("BYTES", (1, 1, 2), text),
    }
    return _each_alone(subject, wrong, "shape")


def _each_alone(subject: Subject, wrong: Mapping[str, Raw], what: str) -> str:
    cases = {}
    for name, raw in wrong.items():
        others = {} if name in ("text_input", "input_ids") else _short(subject)
        cases[f"{name} of {what} {raw.datatype} {raw.shape}"] = ({**others, name: raw}, ())
    return subject.refuses(cases)


def batch_of_two(subject: Subject) -> str:
    """A batch above max_batch_size is refused."""
    batch = {"text_input": Raw("BYTES", (2, 1), [b"one", b"two"]), "max_tokens": Raw("INT32", (2, 1), [2, 2])}
    return subject.refuses({"a batch of two": (batch, ())})


def missing_prompt(subject: Subject) -> str:
    """A request without text_input, messages or input_ids is refused, and the error names the three."""
    names = ("text_input", "messages", "input_ids")
    return subject.refuses({"no prompt": ({"max_tokens": 2}, names)})


def two_prompts(subject: Subject) -> str:
    """A request with two prompts is refused, naming both."""
    text, messages, ids = "hello", '[{"role": "user", "content": "hello"}]', [5, 6]
    return subject.refuses(
        {
            "text and messages": ({"text_input": text, "messages": messages}, ("text_input", "messages")),
            "text and ids": ({"text_input": text, "input_ids": ids}, ("text_input", "input_ids")),
        }
    )


def overlong_prompt(subject: Subject) -> str:
    """A prompt beyond the context is refused with its own length and the context's."""
    context = int(subject.settings["context_length"])
    token = subject.encode("a")[0]
    for length in (context + 1, context + 5000):
        answer = subject.client.stream(subject.name, {"input_ids": [token] * length, "max_tokens": 2})
        error = subject.refused(answer, f"{length} tokens")
        missing = {length, context} - numbers(error)
        expect(not missing, f"the error does not say {sorted(missing)}: {error}")
        subject.still_works()
    return shortened(error)


def unknown_parameter(subject: Subject) -> str:
    """A misspelt input is refused by name, over generate (where Triton makes it a parameter) and gRPC."""
    fields = {**_short(subject), "max_token": 5}
    for answer in (
        subject.client.generate(subject.name, fields),
        subject.client.generate_stream(subject.name, fields),
        subject.client.stream(subject.name, _short(subject), parameters={"max_token": 5}),
    ):
        subject.refused(answer, "max_token", "max_token")
        subject.still_works()
    return shortened(str(answer.error))


def negative_values(subject: Subject) -> str:
    """Values below their range are refused, naming the parameter."""
    return _values(
        subject,
        max_tokens=-1,
        temperature=-0.5,
        top_p=-0.1,
        min_p=-0.1,
        repetition_penalty=-1.0,
        min_tokens=-3,
        num_return_sequences=0,
    )


def absurd_values(subject: Subject) -> str:
    """Values beyond their range, and those that are no numbers, are refused, naming the parameter."""
    return _values(
        subject,
        temperature=float("nan"),
        top_p=1.5,
        min_p=2.0,
        repetition_penalty=float("inf"),
        presence_penalty=float("nan"),
        num_return_sequences=1_000_000,
        logit_bias="[not json",
    )


def _values(subject: Subject, **values: Any) -> str:
    return subject.refuses(
        {f"{name} {value}": (_short(subject, **{name: value}), (name,)) for name, value in values.items()}
    )


def impossible_ids(subject: Subject) -> str:
    """Token ids outside the vocabulary are refused: in the prompt and in logit_bias."""
    huge = 2**31 - 1
    return subject.refuses(
        {
            "a huge id": ({"input_ids": [5, huge], "max_tokens": 2}, (str(huge),)),
            "a negative id": ({"input_ids": [5, -7], "max_tokens": 2}, ("-7",)),
            "a huge id in logit_bias": (_short(subject, logit_bias=f'{{"{huge}": 1}}'), ("logit_bias",)),
        }
    )


def invalid_messages(subject: Subject) -> str:
    """Messages that are no JSON, or not a list of role and content, are refused."""
    wrong = ["[{", '"hello"', "[]", '[{"content": "no role"}]', "[1, 2]", "null", '{"messages": 5}']
    return subject.refuses(
        {f"messages {text}": ({"messages": text, "max_tokens": 2}, ("messages",)) for text in wrong}
    )


def empty_prompt(subject: Subject) -> str:
    """A prompt without a single token is refused, as ids and (where no BOS makes it one token) as text."""
    cases = {"no ids": ({"input_ids": Raw("INT32", (1, 0), []), "max_tokens": 2}, ())}
    if not subject.tokenizer.encode("").ids:
        cases["empty text"] = ({"text_input": "", "max_tokens": 2}, ())
    return subject.refuses(cases)


def invalid_utf8(subject: Subject) -> str:
    """Bytes that are not UTF-8 are refused, in the prompt, in messages and in stop words."""
    broken = b"caf\xe9 \xff\xfe"
    return subject.refuses(
        {
            "text_input": ({"text_input": broken, "max_tokens": 2}, ("text_input",)),
            "messages": ({"messages": b'[{"role": "user", "content": "\xff"}]'}, ("messages",)),
            "stop_words": (_short(subject, stop_words=[broken]), ("stop_words",)),
        }
    )


def unsupported_input(subject: Subject) -> str:
    """An input that the engine cannot honour is refused by name instead of being ignored."""
    return subject.refuses({"beam_width 4": (_short(subject, beam_width=4), ("beam_width",))})


def unary_call_is_refused(subject: Subject) -> str:
    """A plain infer, which a decoupled model cannot answer, is refused over HTTP and gRPC."""
    for over in ("http", "grpc"):
        answer = Answer()
        try:
            subject.client.infer(subject.name, _short(subject), over=over)
        except TritonError as error:
            answer = Answer(error=str(error), code=error.code)
        subject.refused(answer, f"infer over {over}", "decoupled")
        subject.still_works()
    return "refused over both protocols"


def invalid_json_body(subject: Subject) -> str:
    """A generate body that is no JSON, or holds none where it should, is refused with an HTTP error."""
    for body in (b"{", b'"text"', b'{"text_input": {"nested": 1}}', b'{"messages": "[{"}'):
        for ask in (subject.client.generate, subject.client.generate_stream):
            answer = ask(subject.name, body)
            subject.refused(answer, f"body {body!r}")
            expect(answer.code not in (None, 200), f"body {body!r}: an error under HTTP {answer.code}")
        subject.still_works()
    return "4 bodies over both calls"


def error_spares_neighbours(subject: Subject) -> str:
    """Requests that fail leave those beside them their whole answers."""
    prompt = subject.prompt()
    whole = subject.whole(prompt, 8)

    def ask(index: int) -> Answer:
        if index % 2:
            return subject.client.stream(subject.name, _short(subject, temperature=-1.0))
        return subject.client.stream(subject.name, subject.inputs(prompt, max_tokens=8, stream=True))

    for index, answer in enumerate(together(ask, range(12))):
        if index % 2:
            subject.refused(answer, "temperature -1", "temperature")
        else:
            seen = subject.good(answer).ids()
            told = f"{seen} beside errors, {whole.ids()} alone"
            if subject.agree(prompt, subject.decode(seen), subject.decode(whole.ids()), told):
                expect(seen == whole.ids(), told)
    return "6 answers beside 6 errors"


def companions_go_on(subject: Subject) -> str:
    """NAME_tokenizer refuses bad bytes, NAME_detokenizer outlives impossible ids, and both then answer."""
    tokenizer, detokenizer = subject.companion("tokenizer"), subject.companion("detokenizer")
    try:
        subject.client.infer(tokenizer, {"text_input": b"\xff\xfe"})
    except TritonError as error:
        message = str(error)
    else:
        raise Mismatch(f"{tokenizer} answered bytes that are not UTF-8")
    try:
        subject.client.infer(detokenizer, {"output_ids": [-5, 2**31 - 1]})
    except TritonError:
        pass  # refused or without text: both are clean
    ids = subject.client.infer(tokenizer, {"text_input": "fine"})["input_ids"].reshape(-1).tolist()
    text = subject.client.infer(detokenizer, {"output_ids": ids})["text_output"].item()
    expect(text == b"fine", f"afterwards 'fine' came back as {text!r}")
    return shortened(message)
