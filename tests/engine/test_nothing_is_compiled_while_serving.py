"""No ``torch.compile`` and no tuning by trial: the first request is as fast as the thousandth, and starts are short."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import inference

COMPILING = re.compile(r"torch\.compile|torch\._dynamo|torch\._inductor|triton\.autotune|cudnn\.benchmark")
PROGRAM = """
import sys
from tests.engine.tiny import make_checkpoint, make_config, make_prompts, run
from inference.engine.engine import Engine

before = {name for name in sys.modules if name.startswith(("torch._dynamo", "torch._inductor"))}
run(Engine(make_config(weight_format="WEIGHTS"), make_checkpoint("llama")), make_prompts(3))
print({name for name in sys.modules if name.startswith(("torch._dynamo", "torch._inductor"))} - before)
"""


def test_the_source_compiles_and_tunes_nothing() -> None:
    files = list(Path(inference.__path__[0]).rglob("*.py"))
    assert len(files) > 30
    assert [file.name for file in files if COMPILING.search(file.read_text("utf-8"))] == []


def test_a_step_loads_no_compiler_of_torch() -> None:
    program = PROGRAM.replace("WEIGHTS", "int8")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.returncode) == ("set()\n", 0), done.stderr
