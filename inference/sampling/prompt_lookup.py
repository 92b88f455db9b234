"""Drafts the next tokens of an output from the text at hand, since answers quote their passages.

Prompt-lookup decoding: what followed the latest tokens where they stood before is a guess at what follows now (Saxena,
https://github.com/apoorvumang/prompt-lookup-decoding, 2023). A draft costs no model; whoever verifies it decides."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

LONGEST, SHORTEST = 4, 2
"""The longest match is preferred; of equally long ones the latest. A match needs at least ``SHORTEST`` tokens."""
MAX_DRAFT = 10
PAYS_UP_TO = 8
"""Requests that decode at once up to which drafts were measured to pay (``benchmarks.speculation``)."""
MAX_CANDIDATES = 16
"""So many earlier places of a pair of tokens are looked at, the latest first."""
DOUBT = 0.5
"""With fewer tokens accepted on average only a match of ``LONGEST`` tokens is worth a row of the step."""


class PromptLookup:
    """The index of one sequence, whose tokens only grow, and how well its drafts did.

    Each pair of adjacent tokens leads to its latest place and every place to the one before it, so a new token costs
    one entry and a look-up is bounded, however long the text is."""

    def __init__(self) -> None:
        self._latest: dict[int, int] = {}
        self._earlier = array("i", [-1])
        self._average = 2.0

    def propose(self, token_ids: Sequence[int], most: int) -> list[int]:
        """At most ``most`` tokens that may follow ``token_ids``; none where nothing matches."""
        self._extend(token_ids)
        wanted = min(most, MAX_DRAFT, 1 + round(1.5 * self._average))
        place = self._match(token_ids) if wanted > 0 and len(token_ids) > SHORTEST else -1
        draft: list[int] = []
        if place >= 0:
            # Beyond the end it goes on with itself: a text that repeats is its own continuation.
            for source in range(place + 1, place + 1 + wanted):
                beyond = source - len(token_ids)
                draft.append(token_ids[source] if beyond < 0 else draft[beyond])
        return draft

    def record(self, drafted: int, accepted: int) -> None:
        """Learns from a draft. One that was right to its end might have been longer."""
        self._average += 0.4 * (accepted + (accepted == drafted) - self._average)

    def _extend(self, token_ids: Sequence[int]) -> None:
        """Takes in every pair that has a successor."""
        for end in range(len(self._earlier), len(token_ids) - 1):
            pair = token_ids[end - 1] << 32 | token_ids[end]
            self._earlier.append(self._latest.get(pair, -1))
            self._latest[pair] = end

    def _match(self, token_ids: Sequence[int]) -> int:
        """The position of the last token of the best match, -1 without one."""
        last = len(token_ids) - 1
        place = self._latest.get(token_ids[last - 1] << 32 | token_ids[last], -1)
        best, longest = -1, (SHORTEST if self._average >= DOUBT else LONGEST) - 1
        for _ in range(MAX_CANDIDATES):
            if place < 0 or longest == LONGEST:
                break
            length = SHORTEST
            while length < min(LONGEST, place + 1) and token_ids[place - length] == token_ids[last - length]:
                length += 1
            if length > longest:
                best, longest = place, length
            place = self._earlier[place]
        return best
