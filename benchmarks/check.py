"""`builder check` against the real Triton on thousands of repositories that are nearly right, and its speed.

    python benchmarks/check.py [--cases 2000] [--first 0] [--quick]

Every case is drawn from its number: an example of a rule with up to three changes. The embedded Triton loads
its models; whatever it refuses must have an error of ours (else it is missed), whatever it loads must have
none (else it is a false alarm). The speed is that of `builder check` on 1,000 models, 200 of them ensembles.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

from workbench import bars, children, differential, record
from workbench.bars import Bar
from workbench.differential import Row
from workbench.thousand import measure

QUICK_CASES = 40

BARS = (
    Bar("missed", "==", 0),
    Bar("false_alarm_share", "<=", 0.01),
    Bar("refused_share", ">=", 0.3, "too few cases that Triton refuses"),
    Bar("rarest_rule", ">=", 5, "a rule was hit too seldom to be proven"),
    Bar("seconds_1000_models", "<=", 5),
    Bar("peak_mb_1000_models", "<=", 300),
)


def main() -> int:
    arguments = _arguments()
    children.end_like_a_person()
    cases = QUICK_CASES if arguments.quick else arguments.cases
    with tempfile.TemporaryDirectory(prefix="check-") as folder:
        rows = _told(differential.run(range(arguments.first, arguments.first + cases), Path(folder)))
        speed = measure(Path(folder) / "thousand")
    hits = Counter(code for row in rows for code in row.codes)
    refused = {row.case.number for row in rows if row.refused}
    false_alarms = sum(row.outcome == "false alarm" for row in rows)
    wanted = differential.provable()
    figures = {
        "differential_cases": cases,
        "models": len(rows),
        "missed": sum(row.outcome == "missed" for row in rows),
        "false_alarms": false_alarms,
        "false_alarm_share": false_alarms / cases,
        "refused_share": len(refused) / cases,
        "rarest_rule": min(hits[code] for code in wanted),
        **speed,
    }
    told = [row.to_json() for row in rows if row.outcome != "agreed"]
    settings = {"first": arguments.first, "hits": {code: hits[code] for code in sorted(wanted | set(hits))}}
    record.write("check", figures, told, arguments, settings=settings)
    for row in told:
        print(row)
    record.print_figures(figures)
    return bars.tell(BARS[:2] if arguments.quick else BARS, figures)


def _told(rows: Iterable[Row]) -> list[Row]:
    """Take the rows, telling those that disagree as they come, and now and then how far it is."""
    taken: list[Row] = []
    for row in rows:
        if row.outcome != "agreed":
            print(f"{row.outcome}: {row}", file=sys.stderr, flush=True)
        if row.case.number % 100 == 99 and (not taken or taken[-1].case != row.case):
            print(f"case {row.case.number}", file=sys.stderr, flush=True)
        taken.append(row)
    return taken


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cases", type=int, default=2000, help="default 2000")
    parser.add_argument("--first", type=int, default=0, help="the first case's number")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_CASES} cases")
    parser.add_argument("--output", type=Path, help=record.WHERE)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
