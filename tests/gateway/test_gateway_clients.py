"""Clients of others at the real models: the openai package for Node.js, LangChain, LlamaIndex.

`scripts/clients` makes the environment that they run in: what they need excludes what is here.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from gateway_process import Gateway

from builder.server import Server

pytestmark = [pytest.mark.triton, pytest.mark.slow]
HERE = Path(__file__).parent
ENVIRONMENT = Path(sys.prefix) / "clients"
NODE = HERE / "node" / "openai_journeys.test.mjs"
LANGCHAIN = HERE / "frameworks" / "langchain_journeys.py"
LLAMA_INDEX = HERE / "frameworks" / "llama_index_journeys.py"
FILES = (NODE, LANGCHAIN, LLAMA_INDEX)
# the last thing that the script writes
MARK = ENVIRONMENT / "installed"
MODULES = HERE / "node" / "node_modules"


def journeys(file: Path) -> list[str]:
    """Return the names of a file's journeys: its tests, or its functions from nothing to nothing."""
    told = re.findall(
        r'^test\("([^"]+)"' if file.suffix == ".mjs" else r"^def (\w+)\(\) -> None:",
        file.read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    assert told and len(told) == len(set(told)), file
    return told


@pytest.fixture(scope="module")
def addresses(real: Gateway, real_server: Server, tools: Gateway) -> dict[str, str]:
    """What a journey reads of its environment."""
    return {"GATEWAY": real.url, "TOOLS": tools.url, "METRICS": f"http://{real_server.metrics}/metrics"}


@pytest.mark.parametrize(
    ("file", "journey"),
    [pytest.param(file, name, id=f"{file.stem}: {name}") for file in FILES for name in journeys(file)],
)
def test_journey(file: Path, journey: str, request: pytest.FixtureRequest) -> None:
    missing = [path for path in (MARK, *([MODULES] if file is NODE else [])) if not path.exists()]
    if missing:
        pytest.skip(f"there is no {missing[0]}: run scripts/clients {ENVIRONMENT}")
    if file is NODE:
        words = ["node", "--test", "--test-reporter=tap", "--test-name-pattern", f"/^{journey}$/", str(file)]
    else:
        words = ["python", str(file), journey]
    # nothing of this environment but where the servers are
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [str(ENVIRONMENT / "bin" / words[0]), *words[1:]],
        env={**own, **request.getfixturevalue("addresses")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert file is not NODE or "# pass 1\n" in done.stdout, done.stdout
