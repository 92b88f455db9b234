"""The engine benchmark measures what it says: the workloads' shapes, exact weights for peers, ratios pair by pair."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from benchmarks import products
from benchmarks.engine import record, weights, workloads
from benchmarks.engine.__main__ import table
from tests.engine.tiny import make_checkpoint


def test_workloads_have_the_stated_shapes_and_repeat(tmp_path: Path) -> None:
    (one,) = workloads.generate("W1")
    assert (len(one.prompt_token_ids), one.max_tokens) == (512, 128)
    rag = workloads.generate("W2")
    assert len(rag) == 32
    assert len({tuple(request.prompt_token_ids[:200]) for request in rag}) == 1
    assert len({tuple(request.prompt_token_ids[:208]) for request in rag}) == 32
    assert 1100 < sum(len(request.prompt_token_ids) for request in rag) / 32 < 1200
    groups = workloads.generate("W3")
    assert len({tuple(request.prompt_token_ids[:900]) for request in groups}) == 8
    uneven = workloads.generate("W4")
    assert len(uneven) == 64
    assert max(request.max_tokens for request in uneven) <= 384
    assert 70 < sum(request.max_tokens for request in uneven) / 64 < 125
    workloads.write(uneven, tmp_path / "w4.jsonl")
    assert workloads.read(tmp_path / "w4.jsonl") == uneven == workloads.generate("W4")


def test_a_line_that_is_no_request_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text('{"prompt": "text"}\n', encoding="utf-8")
    with pytest.raises(TypeError):
        workloads.read(tmp_path / "bad.jsonl")


def test_the_peers_int8_checkpoint_holds_the_same_weights(tmp_path: Path) -> None:
    source: Any = make_checkpoint("llama")
    folder = weights.w8a8_folder(source, tmp_path / "w8a8")
    stored = load_file(folder / "model.safetensors")
    name = "model.layers.1.mlp.up_proj.weight"
    assert stored[name].dtype == torch.int8
    restored = stored[name].float() * stored[name + "_scale"].float()
    largest = source.tensor(name).abs().amax(dim=1, keepdim=True)
    assert bool(((restored - source.tensor(name)).abs() <= largest * (0.5 / 127 + 2**-8)).all())
    assert stored["model.norm.weight"].dtype == torch.bfloat16


@pytest.mark.parametrize(("form", "within"), [("Q8_0", 0.5 / 127), ("Q4_0", 1.0 / 8), ("BF16", 2**-8)])
def test_the_peers_gguf_files_hold_the_same_weights(tmp_path: Path, form: str, within: float) -> None:
    values = np.random.default_rng(0).normal(size=(64, 96)).astype(np.float32)
    writer = gguf.GGUFWriter(tmp_path / "source.gguf", "llama")
    writer.add_uint32("llama.block_count", 2)
    writer.add_tensor("token_embd.weight", values)
    writer.add_tensor("output_norm.weight", values[0])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    made = gguf.GGUFReader(weights.gguf_file(tmp_path / "source.gguf", tmp_path / "made.gguf", form))
    matrix, norm = made.tensors
    assert matrix.tensor_type == gguf.GGMLQuantizationType[form]
    restored = gguf.quants.dequantize(matrix.data, matrix.tensor_type)
    assert float(np.abs(restored - values).max()) <= float(np.abs(values).max()) * within * 1.01
    assert np.array_equal(norm.data, values[0])
    assert made.fields["llama.block_count"].contents() == 2


def test_products_are_measured_for_every_number_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "CACHE_BYTES", 0)
    found = products.measure(64, 32, seconds=0.0)
    assert [row["rows"] for row in found] == list(products.ROWS)
    assert all(row[f"{form}_us"] > 0 for row in found for form in products.FORMATS)


def test_ratios_are_taken_pair_by_pair() -> None:
    runs = [
        {"engine": engine, "precision": "int8", "wall_s": wall, "output_tokens_per_s": 1.0, "load_s": 1.0}
        for engine, wall in (("tessera", 1.0), ("vllm", 2.0), ("tessera", 4.0), ("vllm", 12.0))
    ]
    ours, theirs = table(runs)
    assert ours["ours_is_faster_by"] == 1.0
    assert theirs["ours_is_faster_by"] == 2.5
    assert theirs["wall_s"] == 7.0


def test_two_precisions_of_ours_are_compared_with_the_first() -> None:
    runs = [
        {"engine": "tessera", "precision": precision, "wall_s": wall}
        for precision, wall in (("int8", 1.0), ("int8+kv8", 2.0), ("int8", 4.0), ("int8+kv8", 12.0))
    ]
    assert [row["ours_is_faster_by"] for row in table(runs)] == [1.0, 2.5]


def test_a_summary_counts_tokens_and_waits() -> None:
    lines = [record.Timeline(0.0, [1.0, 1.5]), record.Timeline(0.5, [1.0, 1.1, 3.0])]
    result = record.summary(lines, started=0.0, ended=4.0, load_s=2.0, extra={"cached_tokens": 7})
    assert result["output_tokens"] == 5
    assert result["output_tokens_per_s"] == 1.2
    assert result["ttft_p95_s"] == 1.0
    assert result["inter_token_p95_ms"] == 1900.0
    assert result["cached_tokens"] == 7
    assert result["resident_mb"] > 10
