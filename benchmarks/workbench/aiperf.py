"""aiperf, NVIDIA's own load generator, asking Triton's generate_stream: https://github.com/ai-dynamo/aiperf"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Found:
    """The four figures that both clients tell, of one run."""

    requests_per_second: float
    tokens_per_second: float
    ttft_p50: float
    latency_p50: float


@dataclass(frozen=True)
class Load:
    """What both clients ask: the same texts, so often, so many at once, so many tokens each."""

    model: str
    url: str
    texts: Sequence[str]
    requests: int
    concurrency: int
    tokens: int


def tokenizer(folder: Path, copy: Path) -> Path:
    """Copy a tokenizer's folder and add the config.json without which aiperf would ask a hub."""
    shutil.copytree(folder, copy)
    (copy / "config.json").write_text('{"model_type": "llama"}\n', encoding="utf-8")
    return copy


def run(python: Path, load: Load, tokens_of: Path, folder: Path) -> Found:
    """Run aiperf with the interpreter that has it; `tokens_of` is the tokenizer, `folder` takes its files."""
    folder.mkdir(parents=True)
    texts = folder / "texts.jsonl"
    texts.write_text("".join(json.dumps({"text": text}) + "\n" for text in load.texts), encoding="utf-8")
    command = [str(python.parent / "aiperf"), *_arguments(load, texts, tokens_of, folder / "found")]
    # with this variable set it does not read a tokenizer from a folder
    variables = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    done = subprocess.run(command, env=variables, cwd=folder, capture_output=True, text=True)
    report = folder / "found" / "profile_export_aiperf.json"
    if done.returncode or not report.is_file():
        raise SystemExit(f"aiperf failed ({done.returncode}):\n{(done.stdout + done.stderr)[-3000:]}")
    return read(report.read_text(encoding="utf-8"), load.requests)


def read(text: str, requests: int) -> Found:
    """Return the figures of an export; an answer that failed ends the script."""
    fields = json.loads(text)
    if fields["request_count"]["avg"] != requests or fields.get("error_request_count"):
        raise SystemExit(f"aiperf had errors: {fields['error_summary']}")
    return Found(
        fields["request_throughput"]["avg"],
        fields["output_token_throughput"]["avg"],
        fields["time_to_first_token"]["p50"],
        fields["request_latency"]["p50"],
    )


def _arguments(load: Load, texts: Path, tokens_of: Path, out: Path) -> list[str]:
    limits = f'"max_tokens": {load.tokens}, "min_tokens": {load.tokens}, "stream": true'
    if load.model == "paced":
        limits = f'"max_tokens": {load.tokens}'
    template = f'{{"text_input": {{{{ text|tojson }}}}, {limits}}}'
    extra = {"payload_template": template, "response_field": "text_output"}
    return [
        *("profile", "-m", load.model, "--tokenizer", str(tokens_of), "--url", load.url),
        *("--endpoint-type", "template", "--streaming"),
        *("--custom-endpoint", f"/v2/models/{load.model}/generate_stream"),
        *("--extra-inputs", json.dumps(extra)),
        *("--input-file", str(texts), "--custom-dataset-type", "single_turn"),
        *("--dataset-sampling-strategy", "sequential"),
        *("--request-count", str(load.requests), "--concurrency", str(load.concurrency)),
        *("--warmup-request-count", "2", "--workers-max", "1", "--record-processors", "1"),
        *("--no-server-metrics", "--no-gpu-telemetry", "--ui", "none", "--artifact-dir", str(out)),
    ]
