"""A deployment whose engine is a script: the real Python models, a small real tokenizer, no weights."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from jinja2 import Environment
from scripted_engine import Script, golden_answer
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from backends.engine.sampling import log_probability
from builder import files, house, model_config, modules
from builder.planning.models import ModelPlan

NAME = "scripted"
PLAN: Any = SimpleNamespace(name=NAME, models=())
"""As much of a plan as a config.pbtxt of Python models needs."""
BOS, START, END, PAD = "<s>", "<|start|>", "<|end|>", "<|pad|>"
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)
SPEECH = (
    "The quick brown fox jumps over a lazy dog, and then it says hello to every friend nearby. "
    "def add(left, right):\n    return  left + right\n\n\tprint(add(1, 22))\n"
    "\U0001f389 \U0001f680 日本語 中文 한국 e\u0301 हिन्दी"
)
PROMPTS = (
    "Hello",
    "Tell me a story",
    "What is the time?",
    "count: 1 2 3",
    "日本語で",
    "Say \U0001f389",
    "def f(x):\n    return",
    "A list of birds",
    "Once upon",
    "the end of the",
    "Good morning",
    "Where to?",
)
CHATS = ("What is two and two?", "Write a poem", "Name a city \U0001f680", "Sort this list, please")
MOST = 32


def write(repository: Path, engine: str = "scripted") -> None:
    """Write the deployment `scripted` as `builder build` would, and golden answers from the same script.

    Its engine is `scripted`, or `hosted_script`: the same in a process of its own.
    """
    tokenizer = trained_tokenizer()
    script = Script(tokenizer.get_vocab_size(), _spoken(tokenizer), tokenizer.token_to_id(END))
    pipeline = house.load_file(house.folder("ensembles") / "text_generation.py").PIPELINE
    ids = {
        "bos_id": tokenizer.token_to_id(BOS),
        "end_ids": [script.end_id],
        "pad_id": tokenizer.token_to_id(PAD),
    }
    for member in pipeline.members:
        model = ModelPlan(NAME + member.suffix, member, None)
        folder = repository / model.name / "1"
        folder.mkdir(parents=True)
        (repository / model.name / "config.pbtxt").write_text(model_config.text(model, PLAN))
        if member.steps:
            (folder / ".keep").touch()
            continue
        copy_code(member.code, folder, with_engine=not member.suffix)
        write_tokenizer(tokenizer, folder / "tokenizer")
        files.write_json(folder / "settings.json", ids if member.suffix else _settings(script, ids, engine))
    front = repository / NAME / "1"
    (front / "model").touch()
    files.write_json(front / "manifest.json", {"name": NAME, "artifact": {"sha256": {}}})
    files.write_json(front / "golden.json", _golden(tokenizer, script))


def _settings(script: Script, ids: dict[str, Any], engine: str) -> dict[str, Any]:
    return {
        **ids,
        "engine": engine,
        "engine_arguments": {
            "vocabulary": script.vocabulary,
            "spoken": script.spoken.tolist(),
            "step_seconds": 0.004,
        },
        "model": "model",
        "context_length": 400,
        "max_active": 4,
        "max_waiting": 60,
        "default_deadline_seconds": 30,
        "reasoning": None,
        "adapters": {"parrot": "adapters/parrot"},
    }


def copy_code(code: str, folder: Path, *, with_engine: bool = False) -> None:
    """Copy a Python model and what it imports into a version folder; with the script, which is an engine."""
    backends = house.folder("backends")
    main = backends / code / "model.py"
    roots = [main]
    if with_engine:
        # what the script imports; the script itself is not of the program
        roots += [
            backends / "engine" / name for name in ("scheduler.py", "sampling.py", "guides.py", "hosted.py")
        ]
    shutil.copyfile(main, folder / "model.py")
    for file in modules.reached(backends, roots):
        if file != main:
            copy = folder / modules.PACKAGE / file.relative_to(backends)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
    if with_engine:
        for name, engine in (("scripted_engine", "scripted"), ("hosted_script", "hosted_script")):
            script = Path(__file__).parent / f"{name}.py"
            shutil.copyfile(script, folder / modules.PACKAGE / "engine" / f"{engine}.py")


def trained_tokenizer() -> Tokenizer:
    """Train byte-level BPE on a few lines: words are tokens, characters beyond ASCII are pieces."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = [AddedToken(text, special=True) for text in (BOS, START, END, PAD)]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([SPEECH.encode("ascii", "ignore").decode(), *PROMPTS, *CHATS] * 3, trainer)
    bos = tokenizer.token_to_id(BOS)
    end = tokenizer.token_to_id(END)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A",
        pair=f"{BOS} $A {END} $B:1 {END}:1",
        special_tokens=[(BOS, bos), (END, end)],
    )
    return tokenizer


def _spoken(tokenizer: Tokenizer) -> list[int]:
    return list(tokenizer.encode(SPEECH, add_special_tokens=False).ids)


def write_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write a tokenizer's folder."""
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    files.write_json(folder / "tokenizer_config.json", {"bos_token": BOS, "eos_token": END, "pad_token": PAD})
    (folder / "chat_template.jinja").write_text(TEMPLATE)


def _golden(tokenizer: Tokenizer, script: Script) -> dict[str, Any]:
    prompts = [_prompt(tokenizer, script, f"text-{place}", text) for place, text in enumerate(PROMPTS)]
    template = Environment().from_string(TEMPLATE)
    for place, content in enumerate(CHATS):
        messages = [{"role": "user", "content": content}]
        text = template.render(messages=messages, bos_token=BOS, add_generation_prompt=True)
        prompts.append(_prompt(tokenizer, script, f"chat-{place}", text, messages))
    read = [_read(tokenizer, script, number) for number in (1, 2)]
    return {"format": 1, "model": NAME, "epsilon": 0.01, "prompts": prompts, "texts": read}


def _read(tokenizer: Tokenizer, script: Script, number: int) -> dict[str, Any]:
    """Return a text of which every word was read, none of them chosen."""
    ids = tokenizer.encode(SPEECH).ids[: 20 * number]
    found = [log_probability(script.logits(ids[:place]), ids[place]) for place in range(1, len(ids))]
    return {"number": number, "input_ids": ids, "loss": round(-sum(found), 4)}


def _prompt(
    tokenizer: Tokenizer, script: Script, name: str, text: str, messages: list[dict[str, str]] | None = None
) -> dict[str, Any]:
    ids = tokenizer.encode(text, add_special_tokens=messages is None).ids
    answer = golden_answer(script, ids, MOST)
    spoken = tokenizer.decode(answer["output_ids"]).rstrip("\ufffd")
    return {
        "id": name,
        "text": text,
        "messages": messages,
        "input_ids": ids,
        "output_text": spoken,
        "max_tokens": MOST,
        **answer,
    }
