"""Condition frames in, frames out: backends behind one small interface."""

from .interface import Backend, NoneBackend, evidence, open_backend, put_back

__all__ = ["Backend", "NoneBackend", "evidence", "open_backend", "put_back"]
