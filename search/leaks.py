"""The words of our own prompt do not stand in an answer, whoever asked the model for them.

The instructions are no secret, but an answer made of them answers nothing, and an installation may have put more into them.
What always holds: no answer has :data:`RUN` words of the instructions in a row; other sentences stay as they are.
"""

from __future__ import annotations

import re
from functools import cache

from search.prompting import INSTRUCTIONS, REMINDERS
from search.sentences import sentence_spans
from search.unsupported import leave_out

RUN = 8
"""Words. Shorter runs ("in the language of the question") stand in honest documents as well."""

_PROMPT = (INSTRUCTIONS, *REMINDERS.values())


def leave_out_prompt(answer: str) -> str:
    """The answer without the sentences that repeat the prompt."""
    if not _repeats(answer, *_PROMPT):
        return answer
    rest = leave_out(answer, [span for span in sentence_spans(answer) if _is_prompt(answer[slice(*span)])])
    return "" if _repeats(rest, *_PROMPT) else rest  # a run over two sentences


def _is_prompt(sentence: str) -> bool:
    """Whether a sentence has a run of the prompt, or is part of it as a whole."""
    whole = f" {' '.join(_words(sentence))} "
    given = f" {' '.join(_words(' '.join(_PROMPT)))} "
    return whole in given or _repeats(sentence, *_PROMPT)


def _repeats(text: str, *prompts: str) -> bool:
    said = f" {' '.join(_words(text))} "
    return any(f" {run} " in said for prompt in prompts for run in _runs(prompt))


@cache
def _runs(prompt: str) -> tuple[str, ...]:
    given = _words(prompt)
    return tuple(" ".join(given[i : i + RUN]) for i in range(len(given) - RUN + 1))


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())
