"""Names KV blocks by their content and by who may find them.

A name is a SHA-256 chain: it covers the block's tokens, every token before them, and from the first block
that is not wholly public the share's salt. Two requests find each other's block only if all of these are
equal, so one share's cache can neither be read nor probed by another's."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence as Row

from inference.scheduling.sequence import Sequence

ROOT = hashlib.sha256(b"tessera kv block chain").digest()


def chain_hash(parent: bytes, token_ids: Row[int], salt: bytes) -> bytes:
    """The 32-byte name of the block that follows ``parent``; an empty ``salt`` makes it public."""
    digest = hashlib.sha256(parent)
    digest.update(len(salt).to_bytes(4, "little"))
    digest.update(salt)
    digest.update(array("q", token_ids).tobytes())
    return digest.digest()


def name_blocks(sequence: Sequence, block_size: int) -> list[bytes]:
    """The names of all full blocks of a sequence, which it keeps."""
    names = sequence.block_hashes
    for start in range(len(names) * block_size, sequence.num_tokens - block_size + 1, block_size):
        end = start + block_size
        salt = b"" if end <= sequence.public_prefix else sequence.share.cache_salt
        names.append(chain_hash(names[-1] if names else ROOT, sequence.token_ids[start:end], salt))
    return names
