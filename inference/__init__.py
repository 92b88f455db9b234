"""Text in, text and vectors out: the engine, the embedder and the weights they run on.

A library of its own. It imports neither Django nor Celery nor Qdrant; it knows a *share* of the machine,
never a tenant, and raises only the errors of :mod:`inference.errors`.
"""
