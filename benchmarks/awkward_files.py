"""What becomes of the awkward files, one by one: status, code, pages, characters, processor time and peak memory of its children.

    python -m benchmarks.awkward_files [FOLDER] [--without-ocr]

``FOLDER`` holds ``files.expect.json`` and ``files/`` (default: ``../shared/eval``). Files with a known password are
read with it. The table goes to ``benchmarks/results/awkward_files.md``. Ends with 1 where a file ends otherwise than is
expected of it, or where a child needed more memory than its limit.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ingestion.guards import Limits

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "awkward_files.md"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One file. ``peak_mb`` is that of the largest child that read it (resident); ``seconds`` are processor time of all of them."""

    file: str
    status: str
    code: str
    pages: int
    characters: int
    blank: int
    by_ocr: int
    seconds: float
    peak_mb: int
    as_expected: bool


def read(case: dict[str, Any], folder: Path, limits: Limits) -> Outcome:
    """Reads one file in a process of its own, since the peak of a process's children never falls."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read_end)
        with os.fdopen(write_end, "w") as out:
            json.dump(_outcome(case, folder, limits), out)
        os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end) as answered:
        answer = answered.read()
    os.waitpid(child, 0)
    return Outcome(**json.loads(answer))


def _outcome(case: dict[str, Any], folder: Path, limits: Limits) -> dict[str, Any]:
    from ingestion.child import parse_file
    from ingestion.guards import IngestionFailure

    path, password, expected = folder / "files" / case["file"], case["password"], case["expect"]
    found: dict[str, Any] = {"file": case["file"], "pages": 0, "characters": 0, "blank": 0, "by_ocr": 0}
    try:
        document = parse_file(path, filename=case["file"], limits=limits, password=password)
    except IngestionFailure as failure:
        fits = "failed" in expected["status"] and failure.code in expected["codes"]
        found |= {"status": "failed", "code": failure.code, "as_expected": fits}
    else:
        text = "\n".join(page.text for page in document.pages)
        whole = all(word in text for word in case["must_contain"])
        found |= {
            "status": "ready",
            "code": "",
            "pages": len(document.pages),
            "characters": len(text),
            "blank": len(document.pages_without_text),
            "by_ocr": len(document.pages_by_ocr),
            "as_expected": whole and ("ready" in expected["status"] or bool(password)),
        }
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    found |= {"seconds": used.ru_utime + used.ru_stime, "peak_mb": used.ru_maxrss // 1024}
    return found


def table(outcomes: list[Outcome], limits: Limits) -> str:
    """The outcomes as Markdown, the summary first."""
    ready = [each for each in outcomes if each.status == "ready"]
    seconds = sorted(each.seconds for each in outcomes)
    lines = [
        "# The awkward files",
        "",
        f"`python -m benchmarks.awkward_files`: {len(outcomes)} files, {len(ready)} ready, "
        f"{len(outcomes) - len(ready)} failed with a type, "
        f"{sum(not each.as_expected for each in outcomes)} otherwise than expected.",
        f"Processor seconds of the children of a file: median {seconds[len(seconds) // 2]:.2f}, longest {seconds[-1]:.2f}. Largest child "
        f"{max(each.peak_mb for each in outcomes)} MB resident; the limits are {limits.memory_mb} MB of address space "
        f"for a parser and {limits.ocr_memory_mb} MB for text recognition.",
        "",
        "| file | status | code | pages | without text | by OCR | characters | seconds | peak MB |",
        "| --- | --- | --- | --: | --: | --: | --: | --: | --: |",
    ]
    for each in outcomes:
        mark = "" if each.as_expected else " (unexpected)"
        lines.append(
            f"| {each.file} | {each.status}{mark} | {each.code} | {each.pages} | {each.blank} | {each.by_ocr} "
            f"| {each.characters} | {each.seconds:.2f} | {each.peak_mb} |"
        )
    return "\n".join(lines) + "\n"


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("folder", nargs="?", type=Path, default=ROOT.parent / "shared" / "eval")
    asked.add_argument("--without-ocr", action="store_true")
    options = asked.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    limits = Limits(ocr_max_pages=0) if options.without_ocr else Limits()
    cases = json.loads((options.folder / "files.expect.json").read_text())
    outcomes = []
    for case in cases:
        outcomes.append(read(case, options.folder, limits))
        print(outcomes[-1], flush=True)
    RESULT.write_text(table(outcomes, limits))
    worst = max(each.peak_mb for each in outcomes)
    return int(worst > limits.ocr_memory_mb or not all(each.as_expected for each in outcomes))


if __name__ == "__main__":
    sys.exit(main())
