"""Tiny random models, the same in transformers and in the engine, and what it takes to run them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from inference.config import EngineConfig, ModelConfig, RopeScaling
from inference.engine.engine import Engine
from inference.engine.handle import RequestHandle
from inference.request import ChatMessage, Delta, Priority, PromptTokens, SamplingParams, Share
from inference.scheduling.sequence import Sequence as TokenSequence

VOCAB = 199
EOS = 198
ACME = Share("acme", cache_salt=b"salt-a")
GLOBEX = Share("globex", cache_salt=b"salt-g")
_SHAPE: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
    "initializer_range": 0.25,
    "eos_token_id": EOS,
    "bos_token_id": None,
}
_LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


class LetterStream:
    def push(self, token_id: int) -> str:
        return letters([token_id])

    def flush(self) -> str:
        return ""


class LetterTokenizer:
    """Each token is one printable character, so that outputs can be read as text."""

    eos_token_ids = (EOS,)

    def encode(self, text: str) -> list[int]:
        return [ord(character) - 0x100 for character in text]

    def render_chat(self, messages: Sequence[ChatMessage]) -> PromptTokens:
        return PromptTokens(tuple(self.encode("".join(message.content for message in messages))))

    def token_bytes(self, token_id: int) -> bytes:
        return letters([token_id]).encode()

    def stream(self) -> LetterStream:
        return LetterStream()


class TinyCheckpoint:
    """A transformers model seen as the engine sees a checkpoint."""

    def __init__(self, model: Any, config: ModelConfig) -> None:
        self.config = config
        self.tokenizer = LetterTokenizer()
        self.reference = model
        tied = "lm_head.weight" if config.tie_word_embeddings else ""
        self._tensors: dict[str, torch.Tensor] = {
            name: tensor.detach().clone() for name, tensor in model.state_dict().items() if name != tied
        }

    def names(self) -> list[str]:
        return list(self._tensors)

    def tensor(self, name: str) -> torch.Tensor:
        return self._tensors[name]

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._tensors[name].shape)

    def rows(self, name: str, first: int, last: int) -> torch.Tensor:
        return self._tensors[name][first:last]

    def grouped(self, name: str) -> None:
        """No matrix is in 4 bits."""


def letters(token_ids: Sequence[int]) -> str:
    return "".join(chr(0x100 + token) for token in token_ids)


def make_checkpoint(family: str, **changes: Any) -> TinyCheckpoint:
    """``llama`` (scaled rotary frequencies, untied) or ``qwen2`` (biases, tied embeddings), in a shape that
    ``changes`` may alter."""
    torch.manual_seed(7)
    shape = _SHAPE | changes
    model: Any
    if family == "llama":
        model = LlamaForCausalLM(LlamaConfig(**shape, tie_word_embeddings=False, rope_parameters=_LLAMA3))
    else:
        model = Qwen2ForCausalLM(Qwen2Config(**shape, tie_word_embeddings=True))
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                torch.nn.init.normal_(parameter, std=0.5)
    model.eval()
    model.generation_config.eos_token_id = None
    settings = model.config
    config = ModelConfig(
        architecture="llama" if family == "llama" else "qwen2",
        vocab_size=VOCAB,
        hidden_size=settings.hidden_size,
        intermediate_size=settings.intermediate_size,
        num_hidden_layers=settings.num_hidden_layers,
        num_attention_heads=settings.num_attention_heads,
        num_key_value_heads=settings.num_key_value_heads,
        head_dim=shape.get("head_dim", settings.hidden_size // settings.num_attention_heads),
        rms_norm_eps=settings.rms_norm_eps,
        rope_theta=settings.rope_parameters["rope_theta"],
        max_position_embeddings=settings.max_position_embeddings,
        tie_word_embeddings=settings.tie_word_embeddings,
        rope_scaling=RopeScaling(4.0, 1.0, 4.0, 64) if family == "llama" else None,
        eos_token_ids=(EOS,),
    )
    return TinyCheckpoint(model, config)


def make_config(**changes: Any) -> EngineConfig:
    settings: dict[str, Any] = {
        "model_path": Path("unused"),
        "model_name": "tiny",
        "block_size": 16,
        "kv_cache_tokens": 4096,
        "max_model_len": 512,
        "max_batched_tokens": 256,
        "max_running_requests": 16,
        "max_queued_requests": 64,
    }
    return EngineConfig(**(settings | changes))


def make_prompts(count: int, *, seed: int = 0, shortest: int = 3, longest: int = 120) -> list[PromptTokens]:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(shortest, longest, (count,), generator=generator).tolist()
    return [
        PromptTokens(tuple(torch.randint(0, EOS, (length,), generator=generator).tolist()))
        for length in lengths
    ]


def greedy(max_tokens: int = 24, **changes: Any) -> SamplingParams:
    return SamplingParams(max_tokens=max_tokens, **({"ignore_eos": True} | changes))


def submit(
    engine: Engine,
    prompt: PromptTokens,
    params: SamplingParams | None = None,
    *,
    share: Share = ACME,
    priority: Priority = Priority.INTERACTIVE,
) -> RequestHandle:
    return engine.submit(prompt, params or greedy(), share=share, priority=priority)


def waiting(share: Share, prompt: int, output: int = 0) -> TokenSequence:
    """A request of so many tokens, as the queue counts it."""
    return TokenSequence("r", [7] * prompt, prompt, greedy(output), share, Priority.INTERACTIVE, 0.0, 0)


def drive(engine: Engine, limit: int = 5_000) -> int:
    """Steps until nothing is left, checking the books after each; returns the number of steps."""
    steps = 0
    while engine.has_work:
        engine.step()
        engine.check_integrity()
        steps += 1
        assert steps < limit, "the engine does not come to an end"
    return steps


def tokens_of(handle: RequestHandle) -> list[int]:
    """The output of a finished request."""
    return [token for event in handle if isinstance(event, Delta) for token in event.token_ids]


def run(
    engine: Engine, prompts: Sequence[PromptTokens], params: SamplingParams | None = None
) -> list[list[int]]:
    """Runs all prompts together to their end."""
    handles = [submit(engine, prompt, params) for prompt in prompts]
    drive(engine)
    return [tokens_of(handle) for handle in handles]


def assert_same_tokens(
    reference: Any, prompt: PromptTokens, got: Sequence[int], wanted: Sequence[int]
) -> None:
    """Equal outputs; a first difference is forgiven only at a tie of the reference (top-2 within 1e-3)."""
    assert len(got) == len(wanted)
    for position, (mine, theirs) in enumerate(zip(got, wanted, strict=True)):
        if mine != theirs:
            context = torch.tensor([[*prompt.token_ids, *wanted[:position]]])
            with torch.inference_mode():
                top = reference(context).logits[0, -1].float().topk(2).values
            assert float(top[0] - top[1]) <= 1e-3, f"token {position} is {mine}, not {theirs}: no tie"
            return


def reference_tokens(reference: Any, prompt: PromptTokens, count: int) -> list[int]:
    """Greedy tokens of transformers."""
    with torch.inference_mode():
        output = reference.generate(
            torch.tensor([prompt.token_ids]),
            attention_mask=torch.ones(1, len(prompt.token_ids), dtype=torch.int64),
            max_new_tokens=count,
            min_new_tokens=count,
            do_sample=False,
            pad_token_id=0,
        )
    return [int(token) for token in output[0, len(prompt.token_ids) :]]


def assert_greedy_choices(reference: Any, prompt: PromptTokens, output: Sequence[int]) -> None:
    """Every token is the reference's own greedy choice after those before it, so that by induction the
    outputs are equal; a token counts unless the reference's top-2 logits lie within 1e-3."""
    context = torch.tensor([[*prompt.token_ids, *output[:-1]]])
    with torch.inference_mode():
        logits = reference(context).logits[0, len(prompt.token_ids) - 1 :].float()
    best = logits.topk(2)
    for position, token in enumerate(output):
        gap = float(best.values[position, 0] - best.values[position, 1])
        assert token == int(best.indices[position, 0]) or gap <= 1e-3, f"token {position} is another"


def logits_of(engine: Engine, prompts: Sequence[PromptTokens], count: int = 12) -> list[list[bytes]]:
    """Runs all prompts together; the bytes of every row of logits that each request was sampled from."""
    rows: dict[str, list[bytes]] = {}
    execute = engine._runner.execute

    def recording(step: Any) -> Any:
        sequences, logits = execute(step)
        for sequence, row in zip(sequences, logits, strict=True):
            rows.setdefault(sequence.request_id, []).append(row.numpy().tobytes())
        return sequences, logits

    engine._runner.execute = recording  # type: ignore[method-assign]
    handles = [submit(engine, prompt, greedy(count)) for prompt in prompts]
    drive(engine)
    return [rows[handle.request_id] for handle in handles]
