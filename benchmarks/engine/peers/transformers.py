"""transformers with static batches of 8. ``python -m benchmarks.engine.peers.transformers FOLDER REQUESTS PRECISION``"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from benchmarks.engine.record import Timeline, clock, emit, process_age_s, summary
from benchmarks.engine.workloads import read

BATCH = 8
DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


def main(model: str, file: str, precision: str) -> None:
    requests = read(Path(file))
    loaded: Any = AutoModelForCausalLM.from_pretrained(model, dtype=DTYPES[precision], local_files_only=True)
    loaded.generation_config.eos_token_id = None
    with torch.inference_mode():
        loaded(torch.tensor([[1, 2, 3]]))
        load_s = process_age_s()
        started = clock()
        timelines = []
        for first in range(0, len(requests), BATCH):
            batch = requests[first : first + BATCH]
            width = max(len(r.prompt_token_ids) for r in batch)
            ids = torch.tensor([[0] * (width - len(r.prompt_token_ids)) + r.prompt_token_ids for r in batch])
            mask = torch.tensor(
                [[0] * (width - len(r.prompt_token_ids)) + [1] * len(r.prompt_token_ids) for r in batch]
            )
            count = max(r.max_tokens for r in batch)
            loaded.generate(
                ids,
                attention_mask=mask,
                max_new_tokens=count,
                min_new_tokens=count,
                do_sample=False,
                pad_token_id=0,
            )
            timelines += [Timeline(started, [clock()] * r.max_tokens) for r in batch]
    emit(summary(timelines, started=started, ended=clock(), load_s=load_s, extra={}))


if __name__ == "__main__":
    main(*sys.argv[1:])
