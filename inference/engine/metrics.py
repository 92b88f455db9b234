"""What the engine counts, under vLLM's names where vLLM has one, so that its dashboards fit."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from inference.request import FinishReason


@dataclass(slots=True)
class EngineCounters:
    """Totals since the start; only the engine's thread writes them."""

    prompt_tokens_total: int = 0
    generation_tokens_total: int = 0
    requests_finished_total: int = 0
    requests_aborted_total: int = 0
    requests_failed_total: int = 0
    steps_total: int = 0
    steps_with_multiple_decodes_total: int = 0
    max_decodes_in_a_step: int = 0
    step_seconds_total: float = 0.0

    def record_step(self, *, decodes: int, seconds: float) -> None:
        self.steps_total += 1
        self.step_seconds_total += seconds
        self.steps_with_multiple_decodes_total += decodes > 1
        self.max_decodes_in_a_step = max(self.max_decodes_in_a_step, decodes)

    def record_end(self, reason: FinishReason) -> None:
        self.requests_finished_total += 1
        self.requests_aborted_total += reason == "aborted"
        self.requests_failed_total += reason == "error"

    def as_dict(self) -> dict[str, float]:
        return {name: float(value) for name, value in asdict(self).items()}
