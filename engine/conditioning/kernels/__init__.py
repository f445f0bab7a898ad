"""The warp on the processor: numba kernels with the meaning of the torch modules of the same names, which are their reference."""

from .cleaning import drop_speckles, smooth
from .lookup import votes
from .warp import condition, visible

__all__ = ["condition", "drop_speckles", "smooth", "visible", "votes"]
