"""What each rule says of its bad example, word for word: `golden/` has one file per code.

python tests/check/test_golden.py      write them anew, to be read before they are committed
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import pytest
from workbench import examples

from builder.check import check, rules
from builder.rule import Host, Rule

FOLDER = Path(__file__).parent / "golden"
EXAMPLES = {one.code: one for one in rules() if one.bad}
RELEASE = {"TRN64": "26.07"}


def said(one: Rule, text: str, repository: Path) -> str:
    """Return every finding of the rule on an example, as lines."""
    examples.write(text, repository)
    host = Host(RELEASE.get(one.code[:5], "24.10"), gpus=0, backends=frozenset({"python", "tensorrtllm"}))
    found = [finding for finding in check(repository, host=host) if finding.code == one.code]
    return "".join(
        f"{finding.where}: {finding.severity} {finding.rule}\n  {finding.message}\n  -> {finding.remedy}\n"
        for finding in found
    )


def test_there_is_a_file_for_every_example() -> None:
    assert {path.stem for path in FOLDER.glob("*.txt")} == set(EXAMPLES)


@pytest.mark.parametrize("code", EXAMPLES)
def test_the_findings_of_a_bad_example(code: str, tmp_path: Path) -> None:
    one = EXAMPLES[code]
    assert said(one, one.bad, tmp_path) == (FOLDER / f"{code}.txt").read_text(encoding="utf-8")


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for one in EXAMPLES.values():
        with tempfile.TemporaryDirectory() as folder:
            text = said(one, one.bad, Path(folder))
            assert folder not in text, one.code
            (FOLDER / f"{one.code}.txt").write_text(text, encoding="utf-8")
    sys.exit(0)
