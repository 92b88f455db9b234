"""vLLM on the processor, in its own process. ``python -m benchmarks.engine.peers.vllm FOLDER REQUESTS PRECISION``"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "4")
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
# Each thread on a processor of its own: where it was measured, a fifth to a third faster than vLLM's own choice.
os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", ",".join(map(str, sorted(os.sched_getaffinity(0)))))

from vllm import AsyncEngineArgs, SamplingParams
from vllm.inputs import TokensPrompt
from vllm.sampling_params import RequestOutputKind
from vllm.v1.engine.async_llm import AsyncLLM

from benchmarks.engine.record import Timeline, clock, emit, process_age_s, summary
from benchmarks.engine.workloads import Request, read

DTYPES = {"int8": "bfloat16", "bf16": "bfloat16", "fp32": "float32"}


async def run(model: str, file: str, precision: str) -> None:
    requests = read(Path(file))
    longest = max(len(r.prompt_token_ids) + r.max_tokens for r in requests)
    engine = AsyncLLM.from_engine_args(
        AsyncEngineArgs(
            model=model,
            dtype=DTYPES[precision],
            skip_tokenizer_init=True,
            max_model_len=max(2048, longest),
            max_num_seqs=64,
            enable_prefix_caching=True,
            disable_log_stats=True,
        )
    )
    await _ask(engine, -1, Request([1, 2, 3], 4), Timeline(0.0))
    load_s = process_age_s()
    started = clock()

    async def later(index: int, request: Request) -> Timeline:
        await asyncio.sleep(max(0.0, started + request.arrival_s - clock()))
        timeline = Timeline(clock())
        await _ask(engine, index, request, timeline)
        return timeline

    timelines = list(await asyncio.gather(*(later(i, r) for i, r in enumerate(requests))))
    ended = max(line.tokens[-1] for line in timelines)
    emit(summary(timelines, started=started, ended=ended, load_s=load_s, extra={}))
    engine.shutdown()


async def _ask(engine: Any, index: int, request: Request, timeline: Timeline) -> None:
    params = SamplingParams(
        temperature=0,
        max_tokens=request.max_tokens,
        ignore_eos=True,
        detokenize=False,
        output_kind=RequestOutputKind.DELTA,
    )
    prompt = TokensPrompt(prompt_token_ids=request.prompt_token_ids)
    async for output in engine.generate(prompt, params, request_id=str(index)):
        timeline.tokens += [clock()] * len(output.outputs[0].token_ids)


if __name__ == "__main__":
    asyncio.run(run(*sys.argv[1:]))
