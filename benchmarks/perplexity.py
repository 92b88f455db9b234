"""What each number format costs on a text: perplexity, and how often the likeliest token is that of fp32.

    python -m benchmarks.perplexity --text ../shared/eval/qa/squad2/corpus.jsonl

Lines of ``.jsonl`` files give their ``text``; other files are text. The first ``--tokens`` tokens are read in windows that
know nothing of each other. ``FORMAT:off`` computes a format by torch: int8 then has one activation scale per token, which
is the scheme of W8A8 elsewhere. ``FORMAT+kv8`` keeps keys and values in int8. Prints a JSON line per run and keeps all of them under ``benchmarks/results/``.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from benchmarks.report import config, keep
from inference.attention.base import Segment
from inference.loading.checkpoint import load_checkpoint
from inference.model.build import build_model
from inference.model.native import NativeDecoder
from inference.model.runner import StepModel

MODELS = "smollm2-135m-instruct,qwen2.5-coder-0.5b-instruct"
FORMATS = "fp32,bf16,int8,int8+kv8,int8:off,int4"


def read(files: Sequence[Path]) -> str:
    """All text of the files, passages apart by a line."""
    passages: list[str] = []
    for file in files:
        text = file.read_text(encoding="utf-8")
        lines = text.splitlines() if file.suffix == ".jsonl" else []
        passages += [json.loads(line)["text"] for line in lines if line] if lines else [text]
    return "\n".join(passages)


def score(model: StepModel, ids: Sequence[int], window: int) -> tuple[float, Tensor]:
    """The mean of ``-log p`` over all tokens but the first of each window, and the likeliest token at each position."""
    total, scored, likeliest = 0.0, 0, []
    for start in range(0, len(ids), window):
        part = ids[start : start + window]
        segment = Segment(0, len(part), range(-(-window // 16)))
        with torch.inference_mode():
            logits = model.forward(part, range(len(part)), [segment])
        total += float(cross_entropy(logits[:-1].double(), torch.tensor(part[1:]), reduction="sum"))
        scored += len(part) - 1
        likeliest.append(logits.argmax(-1))
    return total / scored, torch.cat(likeliest)


def compare(name: str, formats: Sequence[str], text: str, tokens: int, window: int) -> list[dict[str, Any]]:
    """One row per format; the first format is what the others are compared with."""
    rows: list[dict[str, Any]] = []
    base: tuple[float, Tensor] | None = None
    for spelled in formats:
        numbers, _, kernels = spelled.partition(":")
        weight_format, _, kv = numbers.partition("+")
        kv_format = {"": "auto", "kv8": "int8"}[kv]
        changes = {"weight_format": weight_format, "kernels": kernels or "auto", "kv_cache_format": kv_format}
        settings = config(name, kv_cache_tokens=-(-window // 16) * 16, **changes)
        source = load_checkpoint(settings.model_path)
        ids = source.tokenizer.encode(text)[:tokens]
        model = build_model(source, settings, max_positions=window)
        loss, likeliest = score(model, ids, window)
        base = base or (loss, likeliest)
        rows.append(
            {
                "model": name,
                "format": spelled,
                "computed_by": type(model).__name__,
                "keys_and_values": "int8" if kv else "bf16" if isinstance(model, NativeDecoder) else "fp32",
                "tokens": len(ids),
                "perplexity": round(math.exp(loss), 4),
                "times_the_first": round(math.exp(loss - base[0]), 4),
                "same_likeliest_percent": round(100 * float((likeliest == base[1]).float().mean()), 2),
            }
        )
        print(json.dumps(rows[-1]), flush=True)
        del model
        gc.collect()
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.perplexity", description=__doc__)
    parser.add_argument("--text", nargs="+", type=Path, required=True)
    parser.add_argument("--models", default=MODELS, help="names of the catalogue, parted by commas")
    parser.add_argument("--formats", default=FORMATS, help="parted by commas; the first is the reference")
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--window", type=int, default=512)
    parser.add_argument("--no-keep", action="store_true", help="print only")
    asked = parser.parse_args()
    text = read(asked.text)[: asked.tokens * 20]
    rows = [
        row
        for name in asked.models.split(",")
        for row in compare(name, asked.formats.split(","), text, asked.tokens, asked.window)
    ]
    if not asked.no_keep:
        files = ["/".join(file.parts[-3:]) for file in asked.text]
        print(keep("perplexity", {"text": files, "window": asked.window, "formats": rows}))


if __name__ == "__main__":
    main()
