"""transformers with static batches of 8, or with its continuous batching.

``python -m benchmarks.engine.peers.transformers FOLDER REQUESTS PRECISION``, where ``fp32+continuous`` is the latter.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from benchmarks.engine.record import Timeline, clock, emit, process_age_s, summary
from benchmarks.engine.workloads import Request, read

BATCH = 8
DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


def main(model: str, file: str, precision: str) -> None:
    precision, _, option = precision.partition("+")
    requests = read(Path(file))
    loaded: Any = AutoModelForCausalLM.from_pretrained(model, dtype=DTYPES[precision], local_files_only=True)
    loaded.generation_config.eos_token_id = None
    # its continuous batching changes tensors of its own in another thread, which inference mode forbids
    with torch.no_grad() if option == "continuous" else torch.inference_mode():
        loaded(torch.tensor([[1, 2, 3]]))
        load_s = process_age_s()
        started = clock()
        timelines = (_continuous if option == "continuous" else _static)(loaded, requests)
    ended = max(line.tokens[-1] for line in timelines)
    emit(summary(timelines, started=started, ended=ended, load_s=load_s, extra={}))


def _static(model: Any, requests: list[Request]) -> list[Timeline]:
    started = clock()
    timelines: list[Timeline] = []
    for first in range(0, len(requests), BATCH):
        batch = requests[first : first + BATCH]
        width = max(len(r.prompt_token_ids) for r in batch)
        ids = torch.tensor([[0] * (width - len(r.prompt_token_ids)) + r.prompt_token_ids for r in batch])
        mask = torch.tensor(
            [[0] * (width - len(r.prompt_token_ids)) + [1] * len(r.prompt_token_ids) for r in batch]
        )
        count = max(r.max_tokens for r in batch)
        model.generate(
            ids,
            attention_mask=mask,
            max_new_tokens=count,
            min_new_tokens=count,
            do_sample=False,
            pad_token_id=0,
        )
        timelines += [Timeline(started, [clock()] * r.max_tokens) for r in batch]
    return timelines


def _continuous(model: Any, requests: list[Request]) -> list[Timeline]:
    config = type(model.generation_config)(do_sample=False, eos_token_id=-1, pad_token_id=0)
    timelines: dict[str, Timeline] = {}
    with model.continuous_batching_context_manager(generation_config=config, timeout=5) as manager:
        for request in requests:
            name = manager.add_request(
                request.prompt_token_ids, max_new_tokens=request.max_tokens, streaming=True, eos_token_id=-1
            )
            timelines[name] = Timeline(clock())
        left = set(timelines)
        while left:
            result = manager.get_result(timeout=1)
            if result is None:
                if not manager.is_running():
                    raise RuntimeError("continuous batching ended early")
                continue
            line = timelines[result.request_id]
            line.tokens += [clock()] * (len(result.generated_tokens) - len(line.tokens))
            if result.error:
                raise RuntimeError(f"continuous batching: {result.error}")
            if result.is_finished():
                left.discard(result.request_id)
    return list(timelines.values())


if __name__ == "__main__":
    main(*sys.argv[1:])
