"""The embedded generator in the classes of diffusers: for those who know them, and for other models in its place.

The engine itself runs :mod:`.model` without them: importing diffusers takes seconds, loading the weights a tenth of one. The
networks are the same, weight by weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import ConfigMixin, DiffusionPipeline, ModelMixin, SchedulerMixin
from diffusers.configuration_utils import register_to_config
from diffusers.utils import BaseOutput
from torch import Tensor

from ..records import Condition
from .embedded import WEIGHTS, captured_tensor, condition_tensors, load_network, padded
from .interface import put_back
from .model import HOLE_NOISE, BridgeUNet, bridge_start, network_inputs, predicted


class BridgeModel(ModelMixin, BridgeUNet, ConfigMixin):
    """:class:`.model.BridgeUNet`, with save_pretrained and from_pretrained."""

    @register_to_config
    def __init__(self, widths: Sequence[int] = (64, 96, 128), blocks: int = 1):
        BridgeUNet.__init__(self, tuple(widths), blocks)


@dataclass
class BridgeSchedulerOutput(BaseOutput):
    """prev_sample: (N, 3, H, W), the bridge's state at the next time."""

    prev_sample: Tensor


class BridgeScheduler(SchedulerMixin, ConfigMixin):
    """The bridge from the filled condition (time 1) to the clean frame (time 0), walked in equal steps; x0-prediction."""

    order = 1

    @register_to_config
    def __init__(self, hole_noise: float = HOLE_NOISE):
        self.timesteps = torch.ones(1)

    def set_timesteps(self, num_inference_steps: int, device: str | torch.device | None = None) -> None:
        """``timesteps``: 1 and then ever less, ``num_inference_steps`` of them; what follows the last is 0."""
        self.timesteps = torch.arange(num_inference_steps, 0, -1, device=device) / num_inference_steps

    def start(self, condition: Tensor, noise: Tensor) -> Tensor:
        """The state at time 1, of the network's ``condition`` and unit normal ``noise`` (N, 3, H, W): noise in the holes only."""
        return bridge_start(condition, noise, self.config.hole_noise)

    def add_noise(self, original_samples: Tensor, start: Tensor, timesteps: Tensor) -> Tensor:
        """The state between the clean frames and their bridge's ``start`` at ``timesteps`` (N,)."""
        return torch.lerp(original_samples, start, timesteps.reshape(-1, 1, 1, 1))

    def step(
        self, model_output: Tensor, timestep: float | Tensor, sample: Tensor, return_dict: bool = True
    ) -> BridgeSchedulerOutput | tuple[Tensor]:
        """From ``sample`` at ``timestep`` to the next time, where ``model_output`` is the clean frame the network sees in it."""
        later = self.timesteps[self.timesteps < float(timestep) - 1e-6]
        share = float(later.max()) / float(timestep) if len(later) else 0.0
        previous = torch.lerp(model_output, sample, share)
        return BridgeSchedulerOutput(previous) if return_dict else (previous,)


@dataclass
class FramesOutput(BaseOutput):
    """frames: (H, W, 3) float32, sRGB-coded, 0..1, one a condition."""

    frames: list[np.ndarray]


class CloseUpPipeline(DiffusionPipeline):
    """Condition frames in, finished frames out. ``CloseUpPipeline.shipped()`` is the embedded generator."""

    def __init__(self, denoiser: BridgeModel, scheduler: BridgeScheduler):
        super().__init__()
        self.register_modules(denoiser=denoiser, scheduler=scheduler)

    @classmethod
    def shipped(cls, weights: Path = WEIGHTS) -> CloseUpPipeline:
        """The pipeline with the extension's own weights, in float32."""
        net = load_network(weights)
        denoiser = BridgeModel(**net.size)
        denoiser.load_state_dict(net.state_dict())
        return cls(denoiser.eval(), BridgeScheduler())

    @torch.no_grad()
    def __call__(
        self,
        conditions: Sequence[Condition],
        num_inference_steps: int = 1,
        looks: int = 4,
        generator: torch.Generator | None = None,
    ) -> FramesOutput:
        """One frame a condition, the photos' sure pixels put back.

        num_inference_steps: of the bridge; more than one did not prove better. looks: every step is the mean of so many answers,
        1 to 8, to the picture laid down another way. generator: of the noise in holes, on the CPU.
        """
        return FramesOutput([self._frame(condition, num_inference_steps, looks, generator) for condition in conditions])

    def _frame(self, condition: Condition, steps: int, looks: int, generator: torch.Generator | None) -> np.ndarray:
        height, width = condition.level.shape
        pictures = [padded(x, self.device) for x in (*condition_tensors(condition), captured_tensor(condition))]
        known = (*network_inputs(*pictures[:-1]), pictures[-1])
        noise = torch.randn(known[0][:, :3].shape, generator=generator).to(self.device)
        state = self.scheduler.start(known[0], noise)
        self.scheduler.set_timesteps(steps)
        for time in self.scheduler.timesteps:
            clean = predicted(self.denoiser, state, time.reshape(1).to(self.device), known, looks)
            state = self.scheduler.step(clean, time, state).prev_sample
        return put_back(state[0, :, :height, :width].permute(1, 2, 0).float().cpu().numpy(), condition)
