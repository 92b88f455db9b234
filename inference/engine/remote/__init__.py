"""The models of another process, behind the interfaces of those in this one."""

from __future__ import annotations

from inference.engine.remote.embedder import RemoteEmbedder
from inference.engine.remote.generator import RemoteGenerator

__all__ = ["RemoteEmbedder", "RemoteGenerator"]
