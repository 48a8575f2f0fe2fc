"""Report: what verify saw, for people (rows), for programs (JSON) and for CI (JUnit XML)."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from xml.etree import ElementTree


@dataclass(frozen=True)
class Comparison:
    """One promise compared with what the server did.

    `model` is the front, empty for what concerns the whole repository. A skipped comparison counts
    as passed and says in `skipped` what it lacked.
    """

    name: str
    group: str
    model: str
    description: str
    passed: bool
    detail: str
    seconds: float
    skipped: str | None = None

    @property
    def state(self) -> str:
        """Return passed, failed or skipped."""
        if self.skipped is not None:
            return "skipped"
        return "passed" if self.passed else "failed"


@dataclass(frozen=True)
class Report:
    """All comparisons in the order in which they were made, and the seconds they took together."""

    comparisons: tuple[Comparison, ...]
    seconds: float

    @property
    def passed(self) -> bool:
        """Return whether something was compared and nothing failed."""
        return bool(self.comparisons) and all(comparison.passed for comparison in self.comparisons)

    @property
    def failures(self) -> tuple[Comparison, ...]:
        return tuple(comparison for comparison in self.comparisons if not comparison.passed)

    def count(self, state: str) -> int:
        """Return how many comparisons are in a state: passed, failed or skipped."""
        return sum(comparison.state == state for comparison in self.comparisons)

    def rows(self) -> list[tuple[str, str, str, str, str]]:
        """Return (model, group, name, state, detail) for a table; the detail of a skip is its reason."""
        return [
            (made.model, made.group, made.name, made.state, made.skipped or made.detail)
            for made in self.comparisons
        ]

    def summary(self) -> str:
        """Return one line: how many passed, failed, were skipped, in how many seconds."""
        counts = [f"{self.count(state)} {state}" for state in ("passed", "failed", "skipped")]
        return f"{', '.join(counts)} in {self.seconds:.1f} s"

    def to_json(self) -> str:
        """Return the report as JSON text: passed, the three counts, seconds, comparisons."""
        fields = {
            "passed": self.passed,
            "counts": {state: self.count(state) for state in ("passed", "failed", "skipped")},
            "seconds": round(self.seconds, 3),
            "comparisons": [
                {**asdict(made), "state": made.state, "seconds": round(made.seconds, 3)}
                for made in self.comparisons
            ],
        }
        return json.dumps(fields, indent=2, ensure_ascii=False) + "\n"

    def to_junit(self) -> str:
        """Return the report as JUnit XML, one suite per group."""
        root = ElementTree.Element(
            "testsuites",
            name="builder verify",
            tests=str(len(self.comparisons)),
            failures=str(self.count("failed")),
            skipped=str(self.count("skipped")),
            time=f"{self.seconds:.3f}",
        )
        suites: dict[tuple[str, str], list[Comparison]] = {}
        for made in self.comparisons:
            suites.setdefault((made.model, made.group), []).append(made)
        for (model, group), members in suites.items():
            root.append(_suite(f"{model}.{group}" if model else group, members))
        ElementTree.indent(root)
        return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _suite(name: str, members: list[Comparison]) -> ElementTree.Element:
    suite = ElementTree.Element(
        "testsuite",
        name=name,
        tests=str(len(members)),
        failures=str(sum(made.state == "failed" for made in members)),
        skipped=str(sum(made.state == "skipped" for made in members)),
        time=f"{sum(made.seconds for made in members):.3f}",
    )
    for made in members:
        case = ElementTree.SubElement(
            suite, "testcase", classname=name, name=made.name, time=f"{made.seconds:.3f}"
        )
        if made.state == "skipped":
            ElementTree.SubElement(case, "skipped", message=printable(made.skipped or ""))
        elif made.state == "failed":
            ElementTree.SubElement(case, "failure", message=printable(made.detail)).text = made.description
    return suite


def printable(text: str) -> str:
    """Return text with the characters replaced that XML cannot hold, such as NUL and lone surrogates."""
    return (
        "".join(
            character
            if character in "\t\n" or (character >= " " and not "\ud800" <= character <= "\udfff")
            else "\ufffd"
            for character in text
        )
        .replace("\ufffe", "\ufffd")
        .replace("\uffff", "\ufffd")
    )
