"""LLMs on one GPU: our server beside the raw engine and vLLM's own server, in calls of under ten minutes.

    python benchmarks/llm_gpu.py --parts
    python benchmarks/llm_gpu.py --work FOLDER --part build-smollm2
    python benchmarks/llm_gpu.py --work FOLDER --part smollm2-raw [--minutes 9]
    python benchmarks/llm_gpu.py --work FOLDER --merge

Every part writes FOLDER/records/PART.json and may be repeated, after an interruption too. What is built and
compiled stays in FOLDER. --merge makes one record, with plots, of all parts that were run.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

from llm import keeping, merging
from llm.parts import PARTS
from llm.stage import Stage
from workbench import children, record

NAMES = [part.name for part in PARTS]


def main() -> int:
    arguments = _arguments()
    children.end_like_a_person()
    if arguments.parts:
        for part in PARTS:
            print(
                f"{part.name:24} {part.about}" + (f" (after {', '.join(part.needs)})" if part.needs else "")
            )
        return 0
    stage = _stage(arguments)
    stage.prepare()
    for name in arguments.part:
        (part,) = (part for part in PARTS if part.name == name)
        print(f"{name}: {part.about}", file=sys.stderr, flush=True)
        keeping.run(part, stage)
        print(f"part {name} is in {keeping.path(stage, name)}")
    if arguments.merge:
        return merging.merge(keeping.read(stage.records), arguments)
    return 0


def _stage(arguments: argparse.Namespace) -> Stage:
    deadline = time.monotonic() + 60 * arguments.minutes
    work = arguments.work.resolve()
    tokenizer = arguments.tokenizer and arguments.tokenizer.resolve()
    if arguments.rehearse:
        return Stage(work, "onnx", None, deadline, tokenizer)
    return Stage(work, "vllm", arguments.gpu, deadline, tokenizer)


def _known_part(text: str) -> str:
    if text not in NAMES:
        raise argparse.ArgumentTypeError(f"no part is {text}; there are {', '.join(NAMES)}")
    return text


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--parts", action="store_true", help="list them, in the order to run them in")
    parser.add_argument("--work", type=Path, metavar="FOLDER", help="what calls share; any empty folder")
    parser.add_argument(
        "--part", action="append", default=[], type=_known_part, metavar="NAME", help="run it (repeatable)"
    )
    parser.add_argument("--merge", action="store_true", help="make one record of those in FOLDER")
    parser.add_argument("--minutes", type=float, default=9.0, help="after which a call should have ended")
    parser.add_argument(
        "--tokenizer", type=Path, metavar="FOLDER", help="SmolLM2's, where build-smollm2 was not run"
    )
    parser.add_argument("--gpu", default="h200", help="what to build for, as `builder plan` knows it")
    parser.add_argument(
        "--rehearse", action="store_true", help="small loads on the CPU, target onnx: does it run?"
    )
    parser.add_argument("--output", type=Path, help=record.WHERE.partition(",")[0])
    arguments = parser.parse_args()
    arguments.quick = False
    if not (arguments.parts or arguments.merge or arguments.part):
        parser.error("nothing to do: --parts lists what there is, --part NAME runs one, --merge ends a run")
    if not arguments.parts and arguments.work is None:
        parser.error("--work FOLDER is needed: parts leave there what the next ones find")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
