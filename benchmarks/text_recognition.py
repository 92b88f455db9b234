"""How well and how fast pages are read from their pictures: word recall, processor seconds a page, the child's peak memory.

    python -m benchmarks.text_recognition [FOLDER]

Text PDFs of ``FOLDER/files`` (default: ``../shared/eval``) are drawn at 150 dpi, turned into PDFs of pictures alone, and
read with the limits of the settings. Recall: the share of the words of the text layer (two letters or digits at least,
without case) that are among the words recognised, counted as often as they stand there. The table goes to
``benchmarks/results/text_recognition.md``.
"""

from __future__ import annotations

import os
import re
import resource
import sys
import tempfile
from collections import Counter
from pathlib import Path

import pypdfium2 as pdfium

from ingestion.guards import Limits

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "text_recognition.md"
FILES = {
    "Seige_of_Vicksburg_Sample_OCR.pdf": 2,
    "pdflatex-4-pages.pdf": 1,
    "multicolumn.pdf": 1,
    "google-doc-document.pdf": 1,
    "160F-2019.pdf": 1,
    "testPDF_bad_page_303226.pdf": 1,
    "GeoTopo-komprimiert.pdf": 1,
}
"""How many pages of each, from the first with much text."""


def words(text: str) -> Counter[str]:
    return Counter(re.findall(r"\w{2,}", text.casefold()))


def _seconds() -> float:
    """Processor time of the children so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> int:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT.parent / "shared" / "eval"
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    from ingestion.child import parse_file

    lines = [
        "# Text recognition",
        "",
        "`python -m benchmarks.text_recognition`: pages drawn at 150 dpi and read from their pictures alone, one thread.",
        "",
        "| file | pages | words | recall | processor seconds a page |",
        "| --- | --: | --: | --: | --: |",
    ]
    for name, most in FILES.items():
        source = pdfium.PdfDocument(folder / "files" / name)
        texts = [page.get_textpage().get_text_bounded() for page in source]
        chosen = [place for place, text in enumerate(texts) if len(text) > 900][:most]
        pictures = [source[place].render(scale=150 / 72).to_pil().convert("RGB") for place in chosen]
        with tempfile.NamedTemporaryFile(suffix=".pdf") as scan:
            pictures[0].save(scan.name, "PDF", save_all=True, append_images=pictures[1:], resolution=150)
            begun = _seconds()
            document = parse_file(Path(scan.name), filename="scan.pdf", limits=Limits())
            seconds = _seconds() - begun
        wanted = words("\n".join(texts[place] for place in chosen))
        found = words("\n".join(page.text for page in document.pages))
        recall = (wanted & found).total() / wanted.total()
        lines.append(
            f"| {name} | {len(chosen)} | {wanted.total()} | {recall:.3f} | {seconds / len(chosen):.1f} |"
        )
        print(lines[-1], flush=True)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
    lines += [
        "",
        f"Largest child: {peak} MB resident; its limit: {Limits().ocr_memory_mb} MB of address space.",
    ]
    RESULT.write_text("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
