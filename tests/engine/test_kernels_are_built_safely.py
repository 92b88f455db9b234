"""Building the kernels: once, in a folder of the user's own, and never a reason not to start."""

from __future__ import annotations

from pathlib import Path

import pytest

from inference.engine.engine import Engine
from inference.kernels import build
from inference.kernels.build import KernelsUnavailable
from inference.model.decoder import Decoder
from inference.model.native import NativeDecoder
from tests.engine.test_compiled_kernels_compute_the_decoder import WIDE
from tests.engine.tiny import make_checkpoint, make_config, make_prompts, run


def test_the_second_build_compiles_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "kernels"
    first = build.build(folder)
    assert [path.name for path in folder.iterdir()] == [first.name]
    monkeypatch.setattr(build, "_compile", lambda *_: pytest.fail("compiled again"))
    assert build.build(folder) == first


def test_a_change_of_the_sources_makes_another_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = build._fingerprint(["cc"])
    for source in build.SOURCES.glob("*.[ch]"):
        (tmp_path / source.name).write_bytes(source.read_bytes())
    monkeypatch.setattr(build, "SOURCES", tmp_path)
    assert build._fingerprint(["cc"]) == before
    (tmp_path / "body.h").write_bytes((tmp_path / "body.h").read_bytes() + b"\n")
    assert build._fingerprint(["cc"]) != before


def test_a_library_that_others_may_write_is_not_loaded(tmp_path: Path) -> None:
    library = build.build(tmp_path / "kernels")
    library.chmod(0o777)
    with pytest.raises(KernelsUnavailable, match="others may write"):
        build.build(tmp_path / "kernels")
    library.chmod(0o700)
    library.parent.chmod(0o777)
    with pytest.raises(KernelsUnavailable, match="others may write"):
        build.build(tmp_path / "kernels")


def test_sources_that_do_not_compile_leave_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "cpu.c"
    broken.write_text("this is no C", encoding="utf-8")
    monkeypatch.setattr(build, "ENTRY", broken)
    with pytest.raises(KernelsUnavailable, match="compiler failed"):
        build.build(tmp_path / "kernels")
    assert list((tmp_path / "kernels").iterdir()) == []


def test_without_a_compiler_the_engine_computes_with_torch(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint = make_checkpoint("llama", **WIDE)
    prompts = make_prompts(2, longest=20)
    fast = Engine(make_config(weight_format="int8"), checkpoint)
    assert isinstance(fast._runner._model, NativeDecoder)
    assert len(run(fast, prompts)) == 2

    def unavailable() -> None:
        raise KernelsUnavailable("There is no C compiler.")

    monkeypatch.setattr("inference.kernels.library.load_library", unavailable)
    slow = Engine(make_config(weight_format="int8"), checkpoint)
    assert isinstance(slow._runner._model, Decoder)
    assert "no C compiler" in caplog.text
    assert len(run(slow, prompts)) == 2
    with pytest.raises(KernelsUnavailable):
        Engine(make_config(weight_format="int8", kernels="avx2"), checkpoint)


def test_fp32_is_torchs_own_and_kernels_can_be_switched_off() -> None:
    checkpoint = make_checkpoint("llama", **WIDE)
    assert isinstance(Engine(make_config(weight_format="fp32"), checkpoint)._runner._model, Decoder)
    off = Engine(make_config(weight_format="int8", kernels="off"), checkpoint)
    assert isinstance(off._runner._model, Decoder)


def test_no_compiler_at_all_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inference.kernels.build.shutil.which", lambda name: None)
    monkeypatch.setattr("inference.kernels.build.importlib.util.find_spec", lambda name: None)
    with pytest.raises(KernelsUnavailable, match="no C compiler"):
        build.find_compiler()
