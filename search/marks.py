"""The marks ``[n]`` of an answer that is finished: each names its citation ``n``, and stands nowhere else by chance.

What a model writes on its way there is looser and read by :mod:`search.citations`, which leaves only these.
"""

from __future__ import annotations

import re

MARK = re.compile(r"\[(\d{1,4})\]")
"""One mark; its group is the number."""
