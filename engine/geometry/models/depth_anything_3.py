"""Depth Anything 3: depth of any number of photos at once, given their cameras.

A DINOv2 vision transformer whose later blocks look at one photo and at all photos in turn, a token per photo that tells its
camera, and a DPT head that makes depth and confidence of four of its layers. Only what that takes is here (the published
checkpoints also estimate cameras, and rays); names of modules are those of the checkpoints.

Source: H. Lin et al., "Depth Anything 3: Recovering the Visual Space from Any Views", arXiv 2511.10647; DINOv2: arXiv 2304.07193;
DPT: R. Ranftl et al., ICCV 2021; rotary embedding: arXiv 2104.09864. Checked against the authors' implementation
(package depth-anything-3 0.1.1, Apache-2.0) on random weights.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PATCH = 14
"""Pixels a side that become one token; sides of pictures are multiples of it."""
ALTERNATES = 4
"""The block from which on photos know their cameras, and every second block looks at all photos."""
TAPS = (-7, -5, -3, -1)
"""Blocks, from the last, whose output the head sees."""
CAMERA_HEADS = 16
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of sRGB-coded pictures, as they are given to the network."""
_ROPE_BASE, _GRID_BASE, _GRID_SHARE = 100.0, 100.0, 0.1


class Attention(nn.Module):
    """Self-attention of tokens (B, N, C); ``normed``: queries and keys are normalised; ``turns``: rotary embedding."""

    def __init__(self, width: int, heads: int, normed: bool = False):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        if normed:
            self.q_norm, self.k_norm = nn.LayerNorm(width // heads), nn.LayerNorm(width // heads)
        else:
            self.q_norm, self.k_norm = nn.Identity(), nn.Identity()
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, turns: tuple[Tensor, Tensor] | None) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        q, k = self.q_norm(q), self.k_norm(k)
        if turns is not None:
            q, k = rotated(q, *turns), rotated(k, *turns)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class LayerScale(nn.Module):
    """A factor a channel."""

    def __init__(self, width: int):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class Mlp(nn.Module):
    """Two linear layers."""

    def __init__(self, width: int, hidden: int, out: int):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, out)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """A transformer block, normalised first, its residuals scaled."""

    def __init__(self, width: int, heads: int, normed: bool = False, eps: float = 1e-5):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps), nn.LayerNorm(width, eps)
        self.attn, self.mlp = Attention(width, heads, normed), Mlp(width, 4 * width, width)
        self.ls1, self.ls2 = LayerScale(width), LayerScale(width)

    def forward(self, x: Tensor, turns: tuple[Tensor, Tensor] | None = None) -> Tensor:
        x = x + self.ls1(self.attn(self.norm1(x), turns))
        return x + self.ls2(self.mlp(self.norm2(x)))


def rope(places: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Cosine and sine (N, size) of the rotary embedding of places (N, 2): rows turn a head's first half, columns its second."""
    rates = _ROPE_BASE ** -(torch.arange(0, size // 2, 2, device=places.device) / (size // 2))
    angles = places[..., None].float() * rates
    angles = torch.cat([angles, angles], -1).flatten(-2)
    return angles.cos(), angles.sin()


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Heads (B, heads, N, size) turned by :func:`rope`'s angles."""
    a, b = x.unflatten(-1, (2, 2, -1)).unbind(-2)
    return x * cos + torch.stack([-b, a], -2).flatten(-3) * sin


class VisionTransformer(nn.Module):
    """Tokens of photos (S, 3, H, W) after the blocks ``TAPS``: four of (S, tokens, 2 · width)."""

    def __init__(self, width: int, depth: int, heads: int, grid: int):
        super().__init__()
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(3, width, PATCH, PATCH)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.camera_token = nn.Parameter(torch.zeros(1, 2, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, grid * grid + 1, width))
        self.blocks = nn.ModuleList(Block(width, heads, normed=i >= ALTERNATES, eps=1e-6) for i in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, images: Tensor, cameras: Tensor) -> list[Tensor]:
        """cameras: (S, width), what each photo's own token becomes when the photos begin to look at each other."""
        count, _, height, width = images.shape
        rows, columns = height // PATCH, width // PATCH
        x = self.patch_embed.proj(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(count, -1, -1), x], 1) + self._places(rows, columns)
        own, shared = self._turns(rows, columns, count)
        tapped, alone = [], x
        taps = {len(self.blocks) + tap for tap in TAPS}
        for number, block in enumerate(self.blocks):
            if number == ALTERNATES:
                x = torch.cat([cameras[:, None], x[:, 1:]], 1)
            if number >= ALTERNATES and number % 2:
                x = block(x.flatten(0, 1)[None], shared)[0].unflatten(0, (count, -1))
            else:
                x = alone = block(x, own if number >= ALTERNATES else None)
            if number in taps:
                tapped.append(torch.cat([alone, self.norm(x)], -1)[:, 1:])
        return tapped

    def _places(self, rows: int, columns: int) -> Tensor:
        """(1, 1 + rows · columns, width): where in the picture each token stands."""
        table = self.pos_embed[:, 1:]
        side = int(table.shape[1] ** 0.5)
        if (rows, columns) != (side, side):
            table = table.transpose(1, 2).unflatten(2, (side, side))
            # as DINOv2 was trained: the factors, not the sizes, and a little more than the sizes
            factors = ((rows + 0.1) / side, (columns + 0.1) / side)
            table = F.interpolate(table, scale_factor=factors, mode="bicubic").flatten(2).transpose(1, 2)
        return torch.cat([self.pos_embed[:, :1], table], 1)

    def _turns(self, rows: int, columns: int, count: int):
        """Rotary embeddings within a photo (camera's token at 0, patches from 1), and between photos (patches all at 1)."""
        device, size = self.pos_embed.device, self.blocks[0].norm1.normalized_shape[0] // self.blocks[0].attn.heads
        patches = torch.cartesian_prod(torch.arange(rows, device=device), torch.arange(columns, device=device)) + 1
        own = torch.cat([patches.new_zeros(1, 2), patches])
        return rope(own, size), rope(own.clamp_max(1).repeat(count, 1), size)


class CameraEncoder(nn.Module):
    """A token (S, width) of each camera: where it stands (3), its turn (quaternion, real part last), its fields of view (2)."""

    def __init__(self, width: int, depth: int):
        super().__init__()
        self.trunk = nn.Sequential(*(Block(width, CAMERA_HEADS) for _ in range(depth)))
        self.token_norm, self.trunk_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.pose_branch = Mlp(9, width // 2, width)

    def forward(self, cameras: Tensor) -> Tensor:
        return self.trunk_norm(self.trunk(self.token_norm(self.pose_branch(cameras))[None]))[0]


class Residual(nn.Module):
    """Two convolutions beside a way past them."""

    def __init__(self, width: int):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(width, width, 3, 1, 1), nn.Conv2d(width, width, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.relu(self.conv1(F.relu(x))))


class Fusion(nn.Module):
    """What came from the coarser level, with this level's features added, enlarged."""

    def __init__(self, width: int, beside: bool):
        super().__init__()
        if beside:
            self.resConfUnit1 = Residual(width)
        self.resConfUnit2 = Residual(width)
        self.out_conv = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor, size: tuple[int, int], beside: Tensor | None = None) -> Tensor:
        x = x if beside is None else x + self.resConfUnit1(beside)
        return self.out_conv(F.interpolate(self.resConfUnit2(x), size, mode="bilinear", align_corners=True))


class Head(nn.Module):
    """Depth and confidence (S, H, W) of four layers of tokens."""

    def __init__(self, width: int, channels: list[int], features: int):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.projects = nn.ModuleList(nn.Conv2d(width, c, 1) for c in channels)
        self.resize_layers = nn.ModuleList(
            [
                nn.ConvTranspose2d(channels[0], channels[0], 4, 4),
                nn.ConvTranspose2d(channels[1], channels[1], 2, 2),
                nn.Identity(),
                nn.Conv2d(channels[3], channels[3], 3, 2, 1),
            ]
        )
        self.scratch = nn.Module()
        for level, c in enumerate(channels, 1):
            setattr(self.scratch, f"layer{level}_rn", nn.Conv2d(c, features, 3, 1, 1, bias=False))
            setattr(self.scratch, f"refinenet{level}", Fusion(features, beside=level < 4))
        self.scratch.output_conv1 = nn.Conv2d(features, features // 2, 3, 1, 1)
        self.scratch.output_conv2 = nn.Sequential(nn.Conv2d(features // 2, 32, 3, 1, 1), nn.ReLU(), nn.Conv2d(32, 2, 1))

    def forward(self, tokens: list[Tensor], height: int, width: int) -> tuple[Tensor, Tensor]:
        aspect, scratch = width / height, self.scratch
        levels = []
        for number, (x, project, resize) in enumerate(zip(tokens, self.projects, self.resize_layers), 1):
            x = self.norm(x).transpose(1, 2).unflatten(2, (height // PATCH, width // PATCH))
            levels.append(getattr(scratch, f"layer{number}_rn")(resize(_placed(project(x), aspect))))
        x = scratch.refinenet4(levels[3], levels[2].shape[2:])
        x = scratch.refinenet3(x, levels[1].shape[2:], levels[2])
        x = scratch.refinenet2(x, levels[0].shape[2:], levels[1])
        x = scratch.refinenet1(x, [2 * side for side in levels[0].shape[2:]], levels[0])
        x = F.interpolate(scratch.output_conv1(x), (height, width), mode="bilinear", align_corners=True)
        depth, confidence = scratch.output_conv2(_placed(x, aspect)).unbind(1)
        return depth.exp(), 1 + confidence.exp()


def _placed(x: Tensor, aspect: float) -> Tensor:
    """Features (S, C, h, w) with sines and cosines of where they stand; corners lie on a circle."""
    _, channels, h, w = x.shape
    diagonal = (aspect**2 + 1) ** 0.5
    rates = _GRID_BASE ** -(torch.arange(channels // 4, device=x.device) / (channels // 4))
    axes = []
    for side, span in ((w, aspect / diagonal), (h, 1 / diagonal)):
        angles = torch.linspace(-1, 1, side, device=x.device)[:, None] * (span * (side - 1) / side) * rates
        axes.append(torch.cat([angles.sin(), angles.cos()], 1).T)  # (channels / 2, side)
    across, down = axes[0][:, None].expand(-1, h, -1), axes[1][:, :, None].expand(-1, -1, w)
    return x + _GRID_SHARE * torch.cat([across, down])


class DepthAnything3(nn.Module):
    """The network. Its sizes are read off a checkpoint: see :meth:`from_state`."""

    def __init__(self, width: int, depth: int, heads: int, grid: int, channels: list[int], features: int, camera_depth: int):
        super().__init__()
        self.backbone = nn.Module()
        self.backbone.pretrained = VisionTransformer(width, depth, heads, grid)
        self.head = Head(2 * width, channels, features)
        self.cam_enc = CameraEncoder(width, camera_depth)

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> DepthAnything3:
        """The network of a published checkpoint's tensors; those for what it does not do are left aside.

        Raises KeyError or RuntimeError when a tensor is missing or of another shape.
        """
        state = {name.removeprefix("model."): value for name, value in state.items()}
        trunk = "backbone.pretrained."
        width = state[f"{trunk}cls_token"].shape[-1]
        depth = 1 + max(int(name.split(".")[3]) for name in state if name.startswith(f"{trunk}blocks."))
        with torch.device("meta"):
            net = cls(
                width=width,
                depth=depth,
                heads=width // state[f"{trunk}blocks.{depth - 1}.attn.q_norm.weight"].shape[0],
                grid=int((state[f"{trunk}pos_embed"].shape[1] - 1) ** 0.5),
                channels=[state[f"head.projects.{level}.weight"].shape[0] for level in range(4)],
                features=state["head.scratch.layer1_rn.weight"].shape[0],
                camera_depth=1 + max(int(name.split(".")[2]) for name in state if name.startswith("cam_enc.trunk.")),
            )
        net.load_state_dict({name: state[name].float() for name in net.state_dict()}, assign=True)
        return net.eval().requires_grad_(False)

    def forward(self, images: Tensor, cameras: Tensor) -> tuple[Tensor, Tensor]:
        """z-depth and confidence (S, H, W), both of unknown scale (confidence from 1 up), of photos of one scene.

        images: (S, 3, H, W), normalised by MEAN and STD, sides multiples of PATCH. cameras: (S, 9), see CameraEncoder, the first
        photo's at the origin, the median of their distances from it 1.
        """
        tokens = self.backbone.pretrained(images, self.cam_enc(cameras))
        return self.head(tokens, *images.shape[-2:])
