"""llama.cpp's server by xllamacpp, with flash attention off, which is faster on the processors measured.

``python -m benchmarks.engine.peers.llamacpp MODEL.gguf REQUESTS PRECISION`` (the precision is that of the file)
"""

from __future__ import annotations

import json
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import xllamacpp

from benchmarks.engine.record import Timeline, clock, emit, process_age_s, summary
from benchmarks.engine.workloads import Request, read

SLOTS = 32


def main(model: str, file: str, precision: str) -> None:
    requests = read(Path(file))
    longest = max(len(r.prompt_token_ids) + r.max_tokens for r in requests) + 8
    slots = min(SLOTS, len(requests))
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.n_parallel = slots
    params.n_ctx = slots * longest
    params.n_batch = params.n_ubatch = 512
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 2
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.cache_prompt = True
    params.kv_unified = False
    params.port = 0
    server = xllamacpp.Server(params)
    _ask(server.listening_address, Request([1, 2, 3], 4), Timeline(0.0))
    load_s = process_age_s()
    started = clock()
    timelines, threads = [], []
    for request in sorted(requests, key=lambda r: r.arrival_s):
        time.sleep(max(0.0, started + request.arrival_s - clock()))
        timelines.append(Timeline(clock()))
        thread = threading.Thread(target=_ask, args=(server.listening_address, request, timelines[-1]))
        thread.start()
        threads.append(thread)
    for thread in threads:
        thread.join()
    ended = max(line.tokens[-1] for line in timelines)
    emit(summary(timelines, started=started, ended=ended, load_s=load_s, extra={"file": Path(model).name}))
    sys.stdout.flush()


def _ask(address: str, request: Request, timeline: Timeline) -> None:
    body: dict[str, Any] = {
        "prompt": request.prompt_token_ids,
        "n_predict": request.max_tokens,
        "ignore_eos": True,
        "temperature": 0,
        "cache_prompt": True,
        "stream": True,
        "return_tokens": True,
    }
    asked = urllib.request.Request(
        address + "/completion", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(asked, timeout=1800) as answer:
        for line in answer:
            if line.startswith(b"data: "):
                event = json.loads(line[6:])
                timeline.tokens += [clock()] * len(event.get("tokens", ()))


if __name__ == "__main__":
    main(*sys.argv[1:])
