"""The promise of the int8 format on real weights: no neighbour changes a request's logits by one bit."""

from __future__ import annotations

import pytest
import torch

from inference import catalog
from inference.config import EngineConfig
from inference.engine.engine import Engine
from inference.loading.checkpoint import load_checkpoint
from inference.request import PromptTokens
from tests.engine.tiny import logits_of


@pytest.mark.slow
def test_smollm2_in_int8_gives_the_same_bits_alone_and_in_company() -> None:
    path = catalog.fetch("smollm2-135m-instruct")
    checkpoint = load_checkpoint(path)
    config = EngineConfig(
        model_path=path,
        model_name="smollm2",
        weight_format="int8",
        kv_cache_tokens=4096,
        max_model_len=1024,
        max_batched_tokens=256,
        prefix_caching=False,
    )
    generator = torch.Generator().manual_seed(1)
    prompts = [
        PromptTokens(tuple(torch.randint(0, 40_000, (length,), generator=generator).tolist()))
        for length in (3, 40, 65, 131, 257, 555)
    ]
    engine = Engine(config, checkpoint)
    alone = [logits_of(engine, [prompt], 6)[0] for prompt in prompts]
    together = logits_of(engine, prompts, 6)
    assert engine.metrics()["max_decodes_in_a_step"] == len(prompts)
    for prompt, mine, theirs in zip(prompts, together, alone, strict=True):
        assert mine == theirs, f"the logits of the prompt of {len(prompt.token_ids)} tokens differ"
