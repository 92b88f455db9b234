"""How good the answers are: questions with known answers, asked as a user asks them, and what came of it.

Read in this order: :mod:`suites` (what is asked), :mod:`corpora` (of which documents), :mod:`asking` (one question),
:mod:`metrics` (how good), :mod:`run` (all of it), :mod:`jobs` (in the background).
"""
