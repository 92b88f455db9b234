"""A process may end, or fork, while its engine computes: nothing is torn down under a step, and nothing waits."""

from __future__ import annotations

import subprocess
import sys

START = """
import atexit, os, sys, threading, time
from inference.attention.base import Segment
from inference.engine.engine import Engine
from inference.kernels.library import Team
from inference.model.native import NativeDecoder
from tests.engine.test_compiled_kernels_compute_the_decoder import WIDE
from tests.engine.tiny import greedy, make_checkpoint, make_config, make_prompts, submit

checkpoint = make_checkpoint("llama", **WIDE)
"""


def outcome(program: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-c", START + program], capture_output=True, text=True, timeout=120, check=False
    )
    return done.returncode, done.stdout, done.stderr


def test_the_engine_has_ended_before_the_interpreter_does() -> None:
    program = """
def after() -> None:
    print("running" if engine._thread.is_alive() else "ended", handle.finished.error)

atexit.register(after)
engine = Engine.start(make_config(weight_format="int8"), checkpoint)
handle = submit(engine, make_prompts(1)[0], greedy(390))
while engine.metrics()["steps_total"] < 3:
    time.sleep(0.001)
"""
    assert outcome(program) == (0, "ended The engine was stopped.\n", "")


def test_a_process_that_ends_during_a_step_does_not_free_its_memory() -> None:
    program = """
decoder = NativeDecoder(checkpoint, "bf16", num_blocks=64, max_positions=1024, num_threads=2)
computing = threading.Event()
step = decoder._team.forward

def again_and_again(*arguments) -> None:  # in the kernels: torch's own frames do not outlive the interpreter
    computing.set()
    while True:
        step(*arguments)

decoder._team.forward = again_and_again
compute = lambda: decoder.forward([1] * 900, [0], [Segment(0, 900, list(range(57)))])
threading.Thread(target=compute, daemon=True).start()
computing.wait()
time.sleep(0.01)
"""
    assert outcome(program) == (0, "", "")


def test_a_stopped_engine_is_not_kept_until_the_end_of_the_process() -> None:
    program = """
import gc, weakref
engine = Engine.start(make_config(weight_format="int8"), checkpoint)
engine.stop()
kept = weakref.ref(engine)
del engine
gc.collect()
print(kept())
"""
    assert outcome(program) == (0, "None\n", "")


def test_a_forked_child_ends_without_the_threads_of_its_parent() -> None:
    program = """
import warnings
warnings.simplefilter("ignore")
engine = Engine.start(make_config(weight_format="int8"), checkpoint)
team = Team(2)
child = os.fork()
if not child:
    del team
    sys.exit(7)
deadline = time.monotonic() + 20
while time.monotonic() < deadline:
    ended, status = os.waitpid(child, os.WNOHANG)
    if ended:
        print(os.waitstatus_to_exitcode(status))
        break
    time.sleep(0.05)
else:
    os.kill(child, 9)
    print("it hangs")
"""
    assert outcome(program) == (0, "7\n", "")
