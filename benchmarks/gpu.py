"""The engine's checks on a CUDA device: greedy output equals the processor's, token for token.

`python -m benchmarks.gpu` ends with 2 and one sentence where torch sees no CUDA device.
"""

from __future__ import annotations

import sys

import torch

from inference import catalog
from inference.config import EngineConfig
from inference.engine.engine import Engine
from inference.request import ChatMessage, SamplingParams, Share

MODEL = "smollm2-135m-instruct"
PROMPTS = ("Name three colours.", "What is a paged KV cache?", "Write a sentence about the sea.")


def outputs(device: str) -> list[str]:
    """The greedy answers to ``PROMPTS``, 48 tokens each, in fp32."""
    engine = Engine.start(EngineConfig(model_path=catalog.fetch(MODEL), model_name=MODEL, device=device))
    try:
        handles = [
            engine.submit(
                engine.render_chat([ChatMessage("user", prompt)]),
                SamplingParams(max_tokens=48),
                share=Share("gpu"),
            )
            for prompt in PROMPTS
        ]
        return [handle.result(timeout_s=120)[0] for handle in handles]
    finally:
        engine.stop()


def main() -> int:
    if not torch.cuda.is_available():
        print("There is no CUDA device here: the GPU checks were not run.", file=sys.stderr)
        return 2
    different = [p for p, a, b in zip(PROMPTS, outputs("cpu"), outputs("cuda"), strict=True) if a != b]
    print(
        f"{len(PROMPTS) - len(different)} of {len(PROMPTS)} prompts equal on {torch.cuda.get_device_name()}"
    )
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
