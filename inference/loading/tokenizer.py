"""Text to tokens and back, for byte-level BPE vocabularies (GPT-2's scheme: SmolLM, Qwen, Llama 3).

What always holds: text that came from a person or a document never becomes a control token. ``encode``
knows no special tokens at all; only :meth:`Tokenizer.render_chat` emits them, and only where the
checkpoint's template wrote them."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, partial
from itertools import groupby
from pathlib import Path
from typing import Any

from tokenizers import Regex, normalizers, pre_tokenizers
from tokenizers import Tokenizer as FastTokenizer
from tokenizers.models import BPE

from inference.errors import InvalidRequest, WeightsCorrupt
from inference.loading.chat_template import ChatTemplate, Piece
from inference.loading.gguf import GgufFile
from inference.request import ChatMessage, PromptTokens

_CONTROL, _USER_DEFINED = 3, 4
_END_OF_TURN = ("<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end_of_text|>", "<|eom_id|>")

_QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_PATTERNS = {"qwen2": _QWEN2, "llama-bpe": _QWEN2.replace(r"|\p{N}|", r"|\p{N}{1,3}|", 1)}


@cache
def _byte_of_character() -> dict[str, int]:
    """GPT-2's printable alphabet: the character that stands for each byte, inverted."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    alphabet = {chr(byte): byte for byte in printable}
    alphabet.update({chr(0x100 + position): byte for position, byte in enumerate(others)})
    return alphabet


def _token_bytes(token: str) -> bytes:
    alphabet = _byte_of_character()
    try:
        return bytes(alphabet[character] for character in token)
    except KeyError:
        return token.encode()


def _pre_tokenizer(scheme: str) -> pre_tokenizers.PreTokenizer:
    """The text rules behind the name that GGUF gives a byte-level scheme. Raises ``WeightsCorrupt`` if
    unknown."""
    byte_level = partial(pre_tokenizers.ByteLevel, add_prefix_space=False)
    if scheme == "gpt-2":
        return byte_level(use_regex=True)
    if scheme == "smollm":
        digits = pre_tokenizers.Digits(individual_digits=True)
        return pre_tokenizers.Sequence([digits, byte_level(use_regex=True)])
    if scheme not in _PATTERNS:
        raise WeightsCorrupt(f"The checkpoint's pre-tokenizer {scheme!r} is not supported.")
    split = pre_tokenizers.Split(Regex(_PATTERNS[scheme]), behavior="isolated")
    return pre_tokenizers.Sequence([split, byte_level(use_regex=False)])


class TokenStream:
    """Turns tokens into text as they come: only whole characters leave, the rest waits for its next
    bytes."""

    def __init__(self, token_bytes: Sequence[bytes]) -> None:
        self._token_bytes = token_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, token_id: int) -> str:
        """The text that became complete with this token; often empty. A model may have more tokens than its
        tokenizer: those say nothing."""
        return self._decoder.decode(b"".join(self._token_bytes[token_id : token_id + 1]))

    def flush(self) -> str:
        """What is left of an unfinished character, as U+FFFD; the stream then starts afresh."""
        return self._decoder.decode(b"", final=True)


class Tokenizer:
    """A vocabulary with its text rules, its special tokens and its chat template. Thread-safe."""

    def __init__(
        self,
        plain: FastTokenizer,
        *,
        tokens: Mapping[int, str],
        special: Mapping[str, int],
        control_ids: Iterable[int],
        eos_token_ids: Sequence[int],
        chat_template: str | None = None,
        template_variables: Mapping[str, str] | None = None,
    ) -> None:
        """``plain`` must know no added tokens. ``special`` are the strings that a template may turn into
        one token; ``control_ids`` are those among them that have no text."""
        self._plain = plain
        self._special = dict(special)
        self.vocab_size = max(tokens) + 1
        self.eos_token_ids = tuple(dict.fromkeys(eos_token_ids))
        hidden, literal = set(control_ids), set(special.values())
        self._token_bytes = [b""] * self.vocab_size
        for token_id, token in tokens.items():
            if token_id not in hidden:
                self._token_bytes[token_id] = token.encode() if token_id in literal else _token_bytes(token)
        longest_first = "|".join(map(re.escape, sorted(self._special, key=len, reverse=True)))
        self._split = re.compile(f"({longest_first or '(?!)'})")
        self._template = (
            ChatTemplate(chat_template, dict(template_variables or {})) if chat_template else None
        )

    def encode(self, text: str) -> list[int]:
        """Tokens of plain text. The string of a special token inside ``text`` is text like any other."""
        return list(self._plain.encode(text, add_special_tokens=False).ids)

    def token_bytes(self, token_id: int) -> bytes:
        """The token's text in UTF-8, perhaps half a character; nothing for control tokens."""
        return b"".join(self._token_bytes[token_id : token_id + 1])

    def decode(self, token_ids: Iterable[int]) -> str:
        """Text of tokens; control tokens have none, bytes that are no UTF-8 become U+FFFD."""
        known = (self._token_bytes[token_id] for token_id in token_ids if token_id < self.vocab_size)
        return b"".join(known).decode("utf-8", errors="replace")

    def as_text(self, token_ids: Sequence[int]) -> str:
        """A prompt as one text with its control tokens spelled out, for servers that take no tokens.

        Raises ``InvalidRequest`` where reading it back gives other tokens, as when a document spells one."""
        names = {token_id: name.encode() for name, token_id in self._special.items()}
        text = b"".join(names.get(token) or self._token_bytes[token] for token in token_ids).decode(
            errors="replace"
        )
        read: list[int] = []
        for position, part in enumerate(self._split.split(text)):
            read += [self._special[part]] if position % 2 else self.encode(part)
        if read != list(token_ids):
            raise InvalidRequest("The text spells a control token, and this server would obey it.")
        return text

    def stream(self) -> TokenStream:
        """A decoder for one output."""
        return TokenStream(self._token_bytes)

    def render_chat(self, messages: Sequence[ChatMessage]) -> PromptTokens:
        """The conversation as tokens under the checkpoint's template, with the assistant's turn opened.

        Template and contents between two special tokens are encoded together, so the tokens equal those
        of the whole text. The public prefix ends at the last special token before the first content that
        is not public. Raises ``InvalidRequest`` when there is no template, no message, or the template
        refuses the conversation."""
        if self._template is None:
            raise InvalidRequest("This model has no chat template.", hint="Use an instruct model.")
        if not messages:
            raise InvalidRequest("A conversation needs at least one message.")
        leading = next((i for i, message in enumerate(messages) if not message.public), len(messages))
        token_ids: list[int] = []
        public_prefix: int | None = None
        segments = self._segments(self._template.render(messages), leading)
        for special, run in groupby(segments, key=lambda segment: segment[0]):
            if special is not None:
                token_ids += [special for _ in run]
                continue
            texts = [(text, public) for _, text, public in run]
            if public_prefix is None and not all(public for _, public in texts):
                public_prefix = len(token_ids)
            token_ids += self.encode("".join(text for text, _ in texts))
        return PromptTokens(tuple(token_ids), len(token_ids) if public_prefix is None else public_prefix)

    def _segments(self, pieces: Sequence[Piece], leading: int) -> Iterable[tuple[int | None, str, bool]]:
        """``(special token or None, text, is public)`` for each stretch of the rendered conversation."""
        for piece in pieces:
            if piece.message is not None:
                yield None, piece.text, piece.message < leading
                continue
            for position, text in enumerate(self._split.split(piece.text)):
                if position % 2:
                    yield self._special[text], "", True
                elif text:
                    yield None, text, True


def _end_tokens(special: Mapping[str, int], named: Iterable[int | None]) -> list[int]:
    ids = [token_id for token_id in named if token_id is not None]
    return ids + [special[token] for token in _END_OF_TURN if token in special]


def tokenizer_from_gguf(metadata: Mapping[str, Any]) -> Tokenizer:
    """Builds the tokenizer from a GGUF's ``tokenizer.*`` keys. Raises ``WeightsCorrupt`` for an unknown
    scheme."""
    model = metadata.get("tokenizer.ggml.model")
    if model != "gpt2":
        raise WeightsCorrupt(
            f"The checkpoint's tokenizer {model!r} is not byte-level BPE, the only kind supported."
        )
    tokens: list[str] = metadata["tokenizer.ggml.tokens"]
    kinds: list[int] = metadata.get("tokenizer.ggml.token_type") or [1] * len(tokens)
    merges = [tuple(merge.split(" ", 1)) for merge in metadata.get("tokenizer.ggml.merges", [])]
    scheme = metadata.get("tokenizer.ggml.pre", "gpt-2")
    vocabulary = {token: token_id for token_id, token in enumerate(tokens)}
    plain = FastTokenizer(BPE(vocab=vocabulary, merges=merges, ignore_merges=scheme == "llama-bpe"))
    plain.pre_tokenizer = _pre_tokenizer(scheme)
    if scheme == "qwen2":
        plain.normalizer = normalizers.NFC()
    special = {tokens[i]: i for i, kind in enumerate(kinds) if kind in (_CONTROL, _USER_DEFINED)}
    eos, bos = metadata.get("tokenizer.ggml.eos_token_id"), metadata.get("tokenizer.ggml.bos_token_id")
    variables = {"eos_token": tokens[eos]} if eos is not None else {}
    if bos is not None:
        variables["bos_token"] = tokens[bos]
    return Tokenizer(
        plain,
        tokens=dict(enumerate(tokens)),
        special=special,
        control_ids=[i for i, kind in enumerate(kinds) if kind == _CONTROL],
        eos_token_ids=_end_tokens(special, [eos, metadata.get("tokenizer.ggml.eot_token_id")]),
        chat_template=metadata.get("tokenizer.chat_template"),
        template_variables=variables,
    )


def _text_of(token: Any) -> str | None:
    return token.get("content") if isinstance(token, dict) else token


def tokenizer_from_folder(folder: Path, eos_token_ids: Sequence[int] = ()) -> Tokenizer:
    """Builds the tokenizer from ``tokenizer.json`` and ``tokenizer_config.json``.

    Raises ``WeightsCorrupt`` when they are missing, malformed or not byte-level BPE.
    """
    try:
        description = json.loads((folder / "tokenizer.json").read_text("utf-8"))
        settings_file = folder / "tokenizer_config.json"
        settings = json.loads(settings_file.read_text("utf-8")) if settings_file.exists() else {}
    except (OSError, ValueError) as error:
        raise WeightsCorrupt(f"The tokenizer of {folder.name} cannot be read: {error}.") from error
    if (
        description["model"].get("type", "BPE") != "BPE"
        or (description.get("decoder") or {}).get("type") != "ByteLevel"
    ):
        raise WeightsCorrupt(
            f"The tokenizer of {folder.name} is not byte-level BPE, the only kind supported."
        )
    added: list[dict[str, Any]] = description.pop("added_tokens", None) or []
    vocabulary: dict[str, int] = description["model"]["vocab"]
    description.update(added_tokens=[], post_processor=None)
    special = {token["content"]: int(token["id"]) for token in added}
    template_file = folder / "chat_template.jinja"
    template = template_file.read_text("utf-8") if template_file.exists() else settings.get("chat_template")
    bos, eos = _text_of(settings.get("bos_token")), _text_of(settings.get("eos_token"))
    known = {**vocabulary, **special}
    return Tokenizer(
        FastTokenizer.from_str(json.dumps(description)),
        tokens={token_id: token for token, token_id in known.items()},
        special=special,
        control_ids=[int(token["id"]) for token in added if token.get("special")],
        eos_token_ids=_end_tokens(special, [*eos_token_ids, known.get(eos or "")]),
        chat_template=template,
        template_variables={k: v for k, v in (("bos_token", bos), ("eos_token", eos)) if v is not None},
    )


def load_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer of a GGUF file or a folder; weights are not read. Raises ``WeightsCorrupt``."""
    if path.is_dir():
        return tokenizer_from_folder(path)
    try:
        return tokenizer_from_gguf(GgufFile(path).metadata)
    except KeyError as error:
        raise WeightsCorrupt(f"{path.name} lacks {error} in its metadata.") from error
