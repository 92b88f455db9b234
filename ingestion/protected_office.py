"""Word, PowerPoint and Excel files under a password: OLE2 containers around the encrypted file.

What always holds: without the right password nothing is read; the decrypted copy lies in the child's own folder for
temporary files and goes with it.
"""

from __future__ import annotations

import hashlib
import hmac
import tempfile
from pathlib import Path
from typing import Any, Final

from ingestion.guards import IngestionFailure, wrong_password

OLE2: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_VERIFIER_INPUT: Final = bytes.fromhex("fea7d2763b4b9e79")
_VERIFIER_VALUE: Final = bytes.fromhex("d7aa0f6d3061344e")
_KEY_VALUE: Final = bytes.fromhex("146e0be7abacd0d6")
_PACKAGE: Final = "EncryptedPackage".encode("utf-16-le")


def is_protected(path: Path) -> bool:
    """Whether the file is a container of a protected one: OLE2 with a stream named EncryptedPackage."""
    with path.open("rb") as file:
        if file.read(len(OLE2)) != OLE2:
            return False
        tail = b""
        while block := file.read(1 << 20):
            if _PACKAGE in tail + block:
                return True
            tail = block[-len(_PACKAGE) :]
    return False


def failure(path: Path) -> IngestionFailure:
    """Why an OLE2 container is not read as it is."""
    if is_protected(path):
        return IngestionFailure("encrypted")
    return IngestionFailure(
        "unsupported",
        "The file is in an old office format that cannot be read.",
        remedy="Save it as docx, pptx, xlsx or PDF and upload that copy.",
    )


def unlocked(path: Path, password: str) -> Path:
    """A decrypted copy of the protected file at ``path``. Raises ``encrypted`` for a wrong password, or anything for a
    broken container."""
    from msoffcrypto.exceptions import DecryptionError, InvalidKeyError
    from msoffcrypto.format.ooxml import OOXMLFile

    with path.open("rb") as source:
        office = OOXMLFile(source)
        try:
            if office.type == "agile":
                office.load_key(secret_key=_agile_key(office.info, password))
            else:
                office.load_key(password=password, verify_password=True)
            with tempfile.NamedTemporaryFile(delete=False) as copy:
                office.decrypt(copy)
        except InvalidKeyError:
            raise wrong_password() from None
        except DecryptionError as error:  # keys kept by a rights server, most of all
            raise IngestionFailure(
                "encrypted",
                "The file is protected in a way that a password does not open.",
                remedy="Upload a copy without protection.",
            ) from error
    return Path(copy.name)


def _agile_key(info: dict[str, Any], password: str) -> bytes:
    """The key of the package (MS-OFFCRYPTO 2.3.4.11 to 2.3.4.13). Raises ``encrypted`` for a wrong password.

    msoffcrypto derives it twice, and not at all where the hash is shorter than the key (SHA-1 with AES-256).
    """
    algorithm = str(info["passwordHashAlgorithm"]).lower().replace("-", "")
    salt, size = info["passwordSalt"], info["passwordKeyBits"] // 8
    digest = hashlib.new(algorithm, salt + password.encode("utf-16-le")).digest()
    for turn in range(info["spinValue"]):
        digest = hashlib.new(algorithm, turn.to_bytes(4, "little") + digest).digest()

    def opened(block: bytes, value: bytes) -> bytes:
        key = hashlib.new(algorithm, digest + block).digest()[:size].ljust(size, b"\x36")
        return _aes_cbc(key, salt[:16], value)

    told = opened(_VERIFIER_INPUT, info["encryptedVerifierHashInput"])
    expected = opened(_VERIFIER_VALUE, info["encryptedVerifierHashValue"])
    actual = hashlib.new(algorithm, told).digest()
    if not hmac.compare_digest(actual, expected[: len(actual)]):
        raise wrong_password()
    return opened(_KEY_VALUE, info["encryptedKeyValue"])[:size]


def _aes_cbc(key: bytes, start: bytes, value: bytes) -> bytes:
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    decryptor = Cipher(algorithms.AES(key), modes.CBC(start)).decryptor()
    return decryptor.update(value) + decryptor.finalize()
