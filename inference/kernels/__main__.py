"""``python -m inference.kernels`` builds the kernels ahead of the first start and prints where they lie."""

from __future__ import annotations

import sys

from inference.kernels.build import KernelsUnavailable, build, cache_dir

try:
    sys.stdout.write(f"{build(cache_dir())}\n")
except KernelsUnavailable as error:
    sys.exit(str(error))
