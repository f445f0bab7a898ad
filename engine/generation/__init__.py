"""Condition frames in, frames out: backends behind one small interface."""

from .interface import Backend, NoneBackend, open_backend, put_back, restored

__all__ = ["Backend", "NoneBackend", "open_backend", "put_back", "restored"]
