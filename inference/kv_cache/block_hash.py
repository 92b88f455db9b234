"""Names KV blocks by their content and by who may find them.

A name is a SHA-256 chain: it covers the block's tokens, every token before them, and from the first block
that is not wholly public the share's salt. Two requests find each other's block only if all of these are
equal, so one share's cache can neither be read nor probed by another's.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence

ROOT = hashlib.sha256(b"tessera kv block chain").digest()


def chain_hash(parent: bytes, token_ids: Sequence[int], salt: bytes) -> bytes:
    """The 32-byte name of the block that follows ``parent``; an empty ``salt`` makes it public."""
    digest = hashlib.sha256(parent)
    digest.update(len(salt).to_bytes(4, "little"))
    digest.update(salt)
    digest.update(array("q", token_ids).tobytes())
    return digest.digest()


def extend_chain(
    hashes: list[bytes], token_ids: Sequence[int], *, block_size: int, public_prefix: int, salt: bytes
) -> None:
    """Appends to ``hashes`` the names of all full blocks of ``token_ids`` that it lacks."""
    for index in range(len(hashes), len(token_ids) // block_size):
        start, end = index * block_size, (index + 1) * block_size
        parent = hashes[-1] if hashes else ROOT
        hashes.append(chain_hash(parent, token_ids[start:end], b"" if end <= public_prefix else salt))
