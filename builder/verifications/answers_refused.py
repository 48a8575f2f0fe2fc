"""What a front of one pass cannot answer is refused with a reason, and the next request is answered."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from builder.longest import Longest
from builder.recorded import DOCUMENTS, Refusal, Row
from builder.single_pass import Outputs, SinglePass
from builder.subject import Mismatch, Skipped, expect, numbers, shortened
from builder.triton_client import Raw, TritonError

ORDER = 220
SCOPE = "single_pass"
PATIENCE = 4

BESIDE = 16
FAR_BEYOND = 20_000
"""Words of a text that no model reads whole."""

_OTHER = {"BYTES": ("INT32", 7), "FP32": ("INT64", 7), "INT64": ("FP32", 7.0), "INT32": ("FP32", 7.0)}
_ASKERS_FAULT = {"grpc": "StatusCode.INVALID_ARGUMENT", "http": "400"}

_ODD = (
    "",
    " ",
    "\n\t\r",
    "\0",
    "a\0b",
    "\u202e\u200b\ufeff",
    "\U0001f469\u200d\U0001f680" * 4,
    "e" + "\u0301" * 16,
    "[SEP] </s> <|end|> [MASK]",
    "\U0010ffff\ufdd0",
)


def recorded_refusals(subject: SinglePass) -> str:
    """Every recorded input that cannot be answered is refused, in words that name what is wrong."""
    said = [subject.refused(refusal) for refusal in _refusals(subject)]
    return f"{len(said)} refused, the last with: {shortened(str(said[-1]))}"


def _refusals(subject: SinglePass) -> tuple[Refusal, ...]:
    if not subject.refusals:
        raise Skipped("nothing that it must refuse was recorded")
    return subject.refusals


def refusals_are_client_errors(subject: SinglePass) -> str:
    """A refusal is HTTP's 400 and gRPC's INVALID_ARGUMENT, so that nobody takes it for a broken server."""
    for refusal in _refusals(subject):
        for over, code in _ASKERS_FAULT.items():
            said = subject.refused(refusal, over=over)
            expect(str(said.code) == code, f"{refusal.id} over {over}: {said.code}, expected {code}")
    return f"{len(subject.refusals)} over both doors"


def a_bad_request_fails_alone(subject: SinglePass) -> str:
    """A request that is refused takes none of those along that are computed with it."""
    bad = _refusals(subject)[0].inputs
    asks = [ask.trimmed(2) for ask in subject.asks]
    good = [asks[place % len(asks)] for place in range(BESIDE)]
    # while the first is looked at, the others gather in one batch
    requests: list[list[Row]] = [[bad] * subject.fitting(bad)]
    for ask in good:
        requests += [[ask.inputs], [bad]]
    answers = subject.burst(requests)
    for place, seen in enumerate(answers[::2]):
        expect(isinstance(seen, TritonError), f"bad request {place + 1} of {BESIDE + 1} was answered")
    for ask, seen in zip(good, answers[1::2], strict=True):
        if isinstance(seen, TritonError):
            raise Mismatch(f"{ask.id!r} beside bad requests: {shortened(str(seen), 200)}")
        subject.alike(f"{ask.id!r} beside bad requests", ask.outputs, subject.row(seen))
    return f"{BESIDE + 1} refused, {BESIDE} answered beside them"


def limit_is_exact(subject: SinglePass) -> str:
    """A text of the most tokens is answered; one more token is refused with both numbers, or cut off."""
    longest = Longest(subject)
    most = longest.most
    whole = _answer(subject, longest, most)
    count = whole.get("num_input_tokens", np.array([most])).item()
    expect(count == most, f"num_input_tokens of a text of {most} tokens is {count}")
    if longest.truncates:
        for tokens in (most + 1, 2 * most):
            subject.alike(f"{tokens} tokens, cut to {most}", whole, _answer(subject, longest, tokens))
        return f"{most} tokens answered, what is longer is cut to it"
    said = subject.refused(Refusal(f"{most + 1} tokens", longest.row(most + 1), ()))
    missing = {most, most + 1} - numbers(str(said))
    expect(not missing, f"the error does not say {sorted(missing)}: {shortened(str(said), 200)}")
    return f"{most} tokens answered, {most + 1} refused"


def _answer(subject: SinglePass, longest: Longest, tokens: int) -> Outputs:
    try:
        return subject.row(subject.ask(longest.row(tokens)))
    except TritonError as error:
        raise Mismatch(f"{tokens} tokens, of {longest.most}: {shortened(str(error), 200)}") from error


def another_type(subject: SinglePass) -> str:
    """An input of another data type is refused."""
    wrong = {}
    for name, raw in subject.tensors(subject.asks[0].trimmed(1).inputs).items():
        kind, value = _OTHER.get(raw.datatype, ("BYTES", b"7"))
        wrong[f"{name} of type {kind}"] = (name, Raw(kind, raw.shape, [value] * len(raw.values)))
    return _expect_refused(subject, wrong)


def another_shape(subject: SinglePass) -> str:
    """An input with a dimension too many, or with two values where one belongs, is refused."""
    wrong = {}
    for name, raw in subject.tensors(subject.asks[0].trimmed(1).inputs).items():
        deep = Raw(raw.datatype, (*raw.shape, 1), raw.values)
        wrong[f"{name} of shape {[*deep.shape]}"] = (name, deep)
        if name != DOCUMENTS and raw.shape == (1, 1):
            two = Raw(raw.datatype, (1, 2), [*raw.values] * 2)
            wrong[f"{name} of shape {[*two.shape]}"] = (name, two)
    return _expect_refused(subject, wrong)


def an_input_missing(subject: SinglePass) -> str:
    """A request that lacks an input is refused."""
    return _expect_refused(subject, {f"no {name}": (name, None) for name in subject.inputs})


def _expect_refused(subject: SinglePass, wrong: Mapping[str, tuple[str, Raw | None]]) -> str:
    whole = subject.tensors(subject.asks[0].trimmed(1).inputs)
    for what, (name, raw) in wrong.items():
        others = {other: tensor for other, tensor in whole.items() if other != name}
        try:
            subject.client.infer(subject.name, others if raw is None else {**others, name: raw})
        except TritonError:
            continue
        raise Mismatch(f"{what}: answered, expected an error")
    subject.still_works()
    return f"{len(wrong)} refused"


def too_many_rows(subject: SinglePass) -> str:
    """As many rows as the config says are answered, one more is refused."""
    most = subject.rows()
    row = min((ask.trimmed(1).inputs for ask in subject.asks), key=lambda inputs: len(str(inputs)))
    seen = subject.ask(*[row] * most)
    short = {name: len(values) for name, values in seen.items() if len(values) != most}
    expect(not short, f"{most} rows were answered with {short}")
    try:
        subject.ask(*[row] * (most + 1))
    except TritonError:
        subject.still_works()
        return f"{most} rows answered, {most + 1} refused"
    raise Mismatch(f"{most + 1} rows were answered, the most there may be are {most}")


def bytes_that_are_no_text(subject: SinglePass) -> str:
    """Text that is not UTF-8 is refused, and the error says so."""
    inputs = subject.asks[0].trimmed(2).inputs
    names = subject.texts()
    for name in names:
        broken = {**inputs, name: [*inputs[name][1:], b"caf\xe9"]}
        subject.refused(Refusal(f"{name} that is not UTF-8", broken, ("UTF-8", name)))
    return f"{len(names)} refused"


def unusual_texts(subject: SinglePass) -> str:
    """Empty, blank, unprintable, odd and endless texts are answered with numbers, or refused as theirs."""
    answered = refused = 0
    inputs = subject.asks[0].trimmed(1).inputs
    for name in subject.texts():
        for text in (*_ODD, "word " * FAR_BEYOND):
            what = f"{name} {shortened(ascii(text), 40)}"
            try:
                seen = subject.ask({**inputs, name: [text]})
            except TritonError as error:
                is_refusal = str(error.code) == _ASKERS_FAULT["grpc"]
                expect(is_refusal, f"{what}: {error.code}, expected a refusal: {shortened(str(error), 200)}")
                refused += 1
            else:
                _expect_numbers(what, seen)
                answered += 1
    subject.still_works()
    return f"{answered} answered, {refused} refused"


def _expect_numbers(what: str, seen: Outputs) -> None:
    for name, values in seen.items():
        if values.dtype.kind == "f":
            expect(bool(np.isfinite(values).all()), f"{what}: {name} holds what is no number: {values}")
