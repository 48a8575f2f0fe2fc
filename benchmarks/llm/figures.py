"""What the partial records say: ratios of rows that stood side by side, and the bars for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import median
from typing import Any

from workbench import numbers
from workbench.bars import Bar

Record = Mapping[str, Any]
Rows = Mapping[tuple[str, str, int, str], Mapping[str, Any]]
"""(row, shape, concurrency, prompts) -> that row of one part."""

MODELS = ("smollm2", "8b")
LEVELS = (1, 8, 32, 256)
DOCUMENTED = ("vllm_serve", "vllm_serve_wide")
"""Ways to run vLLM's own server that its documentation recommends: we are held against the best of them."""

BARS = (
    # `served_over_raw` is of tokens/s through gRPC, the worst of one batch and of a load that goes on
    Bar("served_over_raw_8b_c32", ">=", 0.97),
    Bar("served_over_raw_8b_c256", ">=", 0.97),
    Bar("served_over_vllm_serve_8b_c32", ">=", 1.0),
    Bar("served_over_vllm_serve_8b_c256", ">=", 1.0),
    Bar("ttft_added_ms_8b_c1", "<=", 5),
    Bar("itl_over_raw_8b_c1", "<=", 1.02),
    Bar("itl_p95_over_vllm_serve_8b_c32", "<=", 1.25),
    Bar("itl_p95_over_vllm_serve_8b_c256", "<=", 1.25),
    Bar("tokens_per_response_p50_c32", "<=", 4),
    Bar("tokens_per_response_p50_c256", "<=", 4),
    Bar("served_over_raw_smollm2_c256", ">=", 0.60),
    Bar("served_over_raw_smollm2_c1", ">=", 0.95),
    Bar("prefix_speedup_8b", ">=", 3),
    Bar("prefix_hit_share_8b", ">=", 0.8, "900 of 1,000 tokens were the same"),
    *(Bar(f"ids_equal_alone_{model}", "==", 1) for model in MODELS),
    # bfloat16 keeps logits of 16 to 32 to an eighth: single tokens lie further apart than this, as do those
    # of transformers in bfloat16 from its own in float32. Scores are for means, and for being no further off
    *(Bar(f"score_difference_{model}", "<=", 0.01, "of the mean, both in bfloat16") for model in MODELS),
    *(
        Bar(f"score_error_over_transformers_{model}", "<=", 1, "of single tokens, from float32")
        for model in MODELS
    ),
    *(Bar(f"verify_failed_{name}", "==", 0) for name in (*MODELS, "onnx")),
    Bar("soak_chats", "==", 10_000),
    Bar("soak_errors", "==", 0),
    Bar("soak_wrong_lengths", "==", 0),
    Bar("soak_active_at_end", "==", 0),
    Bar("soak_waiting_at_end", "==", 0),
    Bar("soak_cache_used_at_end", "==", 0, "share of the KV cache"),
    # one request of 1,280 tokens holds 1 of 256 parts
    Bar("soak_cache_used_by_one", "<=", 1 / 256, "beside one request others still hold cache"),
    Bar("soak_cancelled_uncounted", "==", 0),
    Bar("soak_memory_growth_mb", "<=", 16),
    Bar("soak_memory_growth_share", "<=", 0.02),
    Bar("soak_shared_memory_growth_mb", "<=", 1),
    Bar("generator_cpu_share", "<=", 0.85, "the load generator was the limit"),
    Bar("ceiling_over_served", ">=", 1.5, "the load generator was near its limit"),
)


def of(parts: Sequence[Record]) -> dict[str, float]:
    """Return every figure that the parts have; what is missing was not measured."""
    found: dict[str, float] = {}
    by_name = {part["part"]: part for part in parts}
    for model in MODELS:
        for name, tell in (("raw", _against_raw), ("checks", _checks), ("prefix", _prefixes)):
            if f"{model}-{name}" in by_name:
                found |= tell(model, by_name[f"{model}-{name}"])
        found |= _against_serve(model, [part for part in parts if part["part"].startswith(f"{model}-serve")])
    found |= _verified("onnx", by_name.get("smollm2-onnx", {}))
    soak = by_name.get("smollm2-soak", {}).get("soak", {})
    return found | {f"soak_{name}": value for name, value in soak.items()} | _generator(parts)


def values(row: Mapping[str, Any], what: str, statistic: str = "") -> dict[int, float]:
    """Return a figure of a row by repeat, of those samples that have it."""
    found = {}
    for sample in row["samples"]:
        value = sample.get(what)
        value = value.get(statistic) if statistic and value else value
        if value is not None:
            found[sample["repeat"]] = value
    return found


def middle(row: Mapping[str, Any], what: str, statistic: str = "") -> float | None:
    """Return the median of a figure over the samples of a row, None where it has none."""
    found = values(row, what, statistic)
    return median(found.values()) if found else None


def keyed(part: Record) -> Rows:
    """Return the rows of a part that have a sample."""
    return {
        (row["row"], row["shape"], row["concurrency"], row["prompts"]): row
        for row in part.get("rows", [])
        if row["samples"]
    }


def _rates(row: Mapping[str, Any]) -> dict[int, float]:
    return values(row, "tokens_per_second")


def _against_raw(model: str, part: Record) -> dict[str, float]:
    rows = keyed(part)
    found: dict[str, float] = {}
    for level in LEVELS:
        for door, figure in (("grpc", "served"), ("http", "http")):
            pairs = [(_rates(ours), _rates(raw)) for ours, raw in _pairs(rows, door, level)]
            ratios = [numbers.paired_ratio(ours, raw) for ours, raw in pairs if ours.keys() & raw.keys()]
            if ratios:
                # the strictest: whichever way the raw engine is faster
                found[f"{figure}_over_raw_{model}_c{level}"] = min(ratios)
        grpc = rows.get(("grpc", "closed", level, "chats"))
        if grpc and model == "8b":
            found[f"tokens_per_response_p50_c{level}"] = middle(grpc, "tokens_per_response") or 0.0
    found |= _alone(model, rows)
    return found


def _pairs(rows: Rows, door: str, level: int) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Yield our row and the raw one of the same load; one at a time is the same load in either shape."""
    for shape in ("closed", "batch"):
        raw = rows.get(("raw", shape, level, "chats"))
        ours = rows.get((door, "closed" if level == 1 else shape, level, "chats"))
        if raw and ours:
            yield ours, raw


def _alone(model: str, rows: Rows) -> dict[str, float]:
    grpc = rows.get(("grpc", "closed", 1, "chats"))
    raws = [raw for shape in ("closed", "batch") if (raw := rows.get(("raw", shape, 1, "chats")))]
    if not grpc or not raws:
        return {}
    first = values(grpc, "ttft_ms", "p50")
    added = [numbers.paired_difference(first, values(raw, "ttft_ms", "p50")) for raw in raws]
    gaps = numbers.paired_ratio(values(grpc, "itl_ms", "p50"), values(raws[0], "itl_ms", "p50"))
    return {f"ttft_added_ms_{model}_c1": max(added), f"itl_over_raw_{model}_c1": gaps}


def _against_serve(model: str, parts: Sequence[Record]) -> dict[str, float]:
    """Return our ratios to each way to run vLLM's server, and to the best of those it documents."""
    found: dict[str, float] = {}

    def ratio(name: str, what: Callable[[Mapping[str, Any]], dict[int, float]], worst: Any) -> None:
        for level in LEVELS:
            ratios = {}
            for rows in map(keyed, parts):
                grpc = rows.get(("grpc", "closed", level, "chats"))
                for (row, shape, at_once, _), theirs in rows.items():
                    if not grpc or not row.startswith("vllm_serve") or (shape, at_once) != ("closed", level):
                        continue
                    if what(grpc).keys() & what(theirs).keys():
                        ratios[row] = numbers.paired_ratio(what(grpc), what(theirs))
            found.update({f"{name}_over_{row}_{model}_c{level}": value for row, value in ratios.items()})
            held = [value for row, value in ratios.items() if row in DOCUMENTED]
            if held:
                found[f"{name}_over_vllm_serve_{model}_c{level}"] = worst(held)

    ratio("served", _rates, min)
    ratio("itl_p95", lambda row: values(row, "itl_ms", "p95"), max)
    ratio("ttft_p50", lambda row: values(row, "ttft_ms", "p50"), max)
    return found


def _prefixes(model: str, part: Record) -> dict[str, float]:
    found: dict[str, float] = {}
    rows = keyed(part)
    for row in dict.fromkeys(name for name, *_ in rows):
        same = {kind: one for (name, _, _, kind), one in rows.items() if name == row}
        if {"shared", "distinct"} <= same.keys():
            name = f"prefix_speedup_{model}" if row == "grpc" else f"prefix_speedup_{row}_{model}"
            found[name] = numbers.paired_ratio(_rates(same["shared"]), _rates(same["distinct"]))
            if (share := middle(same["shared"], "prefix_hit_share")) is not None:
                found[f"prefix_hit_share_{model}"] = share
    return found


def _checks(model: str, part: Record) -> dict[str, float]:
    found = dict(_verified(model, part))
    if ids := part.get("ids"):
        found[f"ids_equal_alone_{model}"] = ids["alone"]["share"]
        found[f"ids_agreement_together_{model}"] = ids["together"]["share"]
        found[f"ids_agreement_raw_together_{model}"] = ids["raw_together"]["share"]
        found[f"ids_agreement_raw_arriving_{model}"] = ids["raw_arriving"]["share"]
    if scores := part.get("scores"):
        found[f"score_difference_{model}"] = scores["bfloat16"]["of_all"]
        found[f"score_difference_prompt_{model}"] = scores["bfloat16"]["worst_prompt"]
        found[f"score_difference_token_{model}"] = scores["bfloat16"]["mean"]
        found[f"score_difference_token_float32_{model}"] = scores["float32"]["mean"]
        found[f"score_difference_token_of_transformers_{model}"] = scores["transformers"]["mean"]
        found[f"score_error_over_transformers_{model}"] = round(
            scores["float32"]["mean"] / scores["transformers"]["mean"], 4
        )
    return found


def _verified(name: str, part: Record) -> dict[str, float]:
    if "verify" not in part:
        return {}
    counts = part["verify"]["counts"]
    return {f"verify_{state}_{name}": float(counts[state]) for state in ("passed", "failed", "skipped")}


def _generator(parts: Sequence[Record]) -> dict[str, float]:
    """Return the busiest generator's share of a core, and how much more they could hear than they did."""
    busiest: list[float] = []
    served: dict[str, list[float]] = {"grpc": [], "http": []}
    ceilings: dict[str, float] = {}
    for part in parts:
        for row in part.get("rows", []):
            rate = middle(row, "responses_per_second")
            if part["part"] == "ceiling" and rate is not None:
                ceilings[row["row"]] = rate
            elif row["row"] != "raw" and rate is not None:
                busiest.append(middle(row, "generator_cpu_share") or 0.0)
                served["grpc" if row["row"] == "grpc" else "http"].append(rate)
    found = {f"ceiling_responses_per_second_{door}": rate for door, rate in ceilings.items()}
    if busiest:
        found["generator_cpu_share"] = max(busiest)
    over = [rate / max(served[door]) for door, rate in ceilings.items() if served[door]]
    return found | ({"ceiling_over_served": min(over)} if over else {})
