"""Text recognition (OCR): a page of a PDF is drawn by pdfium and read by rapidocr, whose models lie in its wheel.

Runs only inside the limited child process, which has no network; rapidocr and onnxruntime are the optional extra
``ocr``. What always holds: a page of one colour is not given to the models, and lines come in the order of reading.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ingestion.text import clean

if TYPE_CHECKING:
    from PIL.Image import Image

_LONGEST_SIDE: Final = 1600
"""Pixels: letters of 9 points on a page of A4 are 17 pixels high, of which recognition needs about 12."""
_LARGEST_SCALE: Final = 3.0
_SURE: Final = 0.5


def texts(path: Path, pages: Iterable[int], password: str | None) -> Iterator[tuple[int, str]]:
    """Number and recognised text of each of ``pages`` (from 1); empty where there is none or the page cannot be drawn."""
    import pypdfium2 as pdfium

    document = pdfium.PdfDocument(path, password=password)
    engine: Any = None
    for number in pages:
        try:
            picture = _drawn(document[number - 1])
        except (pdfium.PdfiumError, IndexError, ValueError, MemoryError):
            yield number, ""
            continue
        if len(picture.getcolors(1) or ()) == 1:
            yield number, ""
            continue
        engine = engine or _engine()
        yield number, _recognised(engine, picture)


def _drawn(page: Any) -> Image:
    width, height = page.get_size()
    scale = min(_LARGEST_SCALE, _LONGEST_SIDE / max(width, height, 1.0))
    image: Image = page.render(scale=scale).to_pil().convert("RGB")
    return image


def _engine() -> Any:
    from rapidocr import RapidOCR

    return RapidOCR(
        params={
            "Global.log_level": "critical",
            "Global.text_score": _SURE,
            "Rec.rec_batch_num": 1,  # six at once: 400 MB more (bad_alloc at the limit), a third slower
            "EngineConfig.onnxruntime.intra_op_num_threads": 1,
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
            "EngineConfig.onnxruntime.enable_cpu_mem_arena": False,
        }
    )


def _recognised(engine: Any, picture: Image) -> str:
    import numpy as np

    found = engine(np.asarray(picture))
    return clean("\n".join(found.txts or ())).strip()
