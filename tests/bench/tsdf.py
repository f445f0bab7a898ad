"""A coloured TSDF mesh of photos with depth, by Open3D, and its renders. Runs in an environment of its own: FOLDER holds
views.npz, frames.npz is written beside it (see renders.tsdf)."""

import sys
from pathlib import Path

import numpy as np
import open3d as o3d
from open3d import core

BLOCKS = 15_000
"""Blocks of 16³ voxels: what 6 GB hold, meshed."""
COARSEST = 200
"""Voxels over the photos' median depth, where the search for the finest that fit begins."""
TRUNCATION = 4.0
"""How far from a surface voxels know of it, voxels."""


def volume_of(voxel: float) -> o3d.t.geometry.VoxelBlockGrid:
    """An empty volume."""
    return o3d.t.geometry.VoxelBlockGrid(("tsdf", "weight", "color"), (core.float32,) * 3, ((1), (1), (3)), voxel, block_count=1)


def photos_of(data: dict) -> list[tuple]:
    """Of each photo: depth and colour, intrinsics and pose."""
    photos = []
    for image, depth, intrinsics, pose in zip(data["images"], data["depths"], data["intrinsics"], data["poses"]):
        depth = core.Tensor(np.where(np.isfinite(depth), depth, 0).astype(np.float32))
        pictures = o3d.t.geometry.Image(depth), o3d.t.geometry.Image(core.Tensor(image.astype(np.float32) / 255))
        photos.append((*pictures, core.Tensor(intrinsics), core.Tensor(pose)))
    return photos


def finest(photos: list[tuple], near: float, limits: tuple) -> float:
    """The side of voxels whose blocks are about BLOCKS."""
    voxel = near / COARSEST
    for _ in range(3):  # their number grows with the square of the fineness, about
        volume = volume_of(voxel)
        found = [volume.compute_unique_block_coordinates(depth, k, pose, *limits) for depth, _, k, pose in photos]
        count = len(np.unique(np.concatenate([blocks.numpy() for blocks in found]), axis=0))
        voxel *= (count / BLOCKS) ** 0.5
    return voxel


def main(folder: Path) -> None:
    """Fuse, mesh, render."""
    data = np.load(folder / "views.npz")
    photos = photos_of(data)
    near = float(np.median([np.median(depth[np.isfinite(depth) & (depth > 0)]) for depth in data["depths"]]))
    limits = (1.0, 20 * near, TRUNCATION)
    voxel = finest(photos, near, limits)
    volume = volume_of(voxel)
    for depth, colour, k, pose in photos:
        blocks = volume.compute_unique_block_coordinates(depth, k, pose, *limits)
        volume.integrate(blocks, depth, colour, k, k, pose, *limits)
    mesh = volume.extract_triangle_mesh(weight_threshold=0.0)
    scene = o3d.t.geometry.RaycastingScene()
    scene.add_triangles(mesh)
    triangles, colours = mesh.triangle.indices.numpy(), mesh.vertex.colors.numpy()
    frames = [
        render(scene, triangles, colours, k, pose, data["size"])
        for k, pose in zip(data["target_intrinsics"], data["target_poses"])
    ]
    np.savez(folder / "frames.npz", rgb=np.stack([rgb for rgb, _ in frames]), mask=np.stack([mask for _, mask in frames]))
    print(f"TSDF: voxels of {voxel:.4g} ({near / voxel:.0f} over the median depth), {len(triangles)} triangles", file=sys.stderr)


def render(scene, triangles, colours, intrinsics, pose, size) -> tuple[np.ndarray, np.ndarray]:
    """Vertex colours interpolated where each pixel's ray meets the mesh."""
    rays = o3d.t.geometry.RaycastingScene.create_rays_pinhole(intrinsics, pose, int(size[0]), int(size[1]))
    hit = scene.cast_rays(rays)
    mask = np.isfinite(hit["t_hit"].numpy())
    corner = triangles[np.where(mask, hit["primitive_ids"].numpy().astype(np.int64), 0)]
    u, v = np.moveaxis(hit["primitive_uvs"].numpy(), 2, 0)[..., None]
    rgb = colours[corner[..., 0]] * (1 - u - v) + colours[corner[..., 1]] * u + colours[corner[..., 2]] * v
    return np.where(mask[..., None], rgb, 0).astype(np.float32), mask


if __name__ == "__main__":
    main(Path(sys.argv[1]))
