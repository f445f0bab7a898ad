"""Photos with depth to condition frames: hierarchical warping with occlusion-aware suppression."""

from .baselines import naive, telea
from .cloud import Cloud
from .source import Source
from .warp import Warper, condition_tensors, prepare_all

__all__ = ["Cloud", "Source", "Warper", "condition_tensors", "naive", "prepare_all", "telea"]
