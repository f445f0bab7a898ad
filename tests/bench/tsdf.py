"""A coloured TSDF mesh of photos with depth, by Open3D, and its renders. Runs in an environment of its own: FOLDER holds
views.npz, frames.npz is written beside it (see renders.tsdf)."""

import sys
from pathlib import Path

import numpy as np
import open3d as o3d

VOXELS = 400
"""Voxels across the scene's middle (the 10th to the 90th percentile of its points)."""


def main(folder: Path) -> None:
    """Fuse, mesh, render."""
    data = np.load(folder / "views.npz")
    near = np.median([np.median(depth[np.isfinite(depth) & (depth > 0)]) for depth in data["depths"]])
    voxel = float(near / VOXELS)
    volume = o3d.pipelines.integration.ScalableTSDFVolume(
        voxel, 4 * voxel, o3d.pipelines.integration.TSDFVolumeColorType.RGB8, depth_sampling_stride=2
    )
    height, width = data["depths"].shape[1:]
    for image, depth, intrinsics, pose in zip(data["images"], data["depths"], data["intrinsics"], data["poses"]):
        depth = np.where(np.isfinite(depth), depth, 0).astype(np.float32)
        rgbd = o3d.geometry.RGBDImage.create_from_color_and_depth(
            o3d.geometry.Image(np.ascontiguousarray(image)), o3d.geometry.Image(depth), 1.0, 20 * near, False
        )
        k = o3d.camera.PinholeCameraIntrinsic(
            width, height, intrinsics[0, 0], intrinsics[1, 1], intrinsics[0, 2], intrinsics[1, 2]
        )
        volume.integrate(rgbd, k, pose)
    mesh = volume.extract_triangle_mesh()
    scene = o3d.t.geometry.RaycastingScene()
    scene.add_triangles(o3d.t.geometry.TriangleMesh.from_legacy(mesh))
    triangles, colours = np.asarray(mesh.triangles), np.asarray(mesh.vertex_colors)
    frames = [
        render(scene, triangles, colours, k, pose, data["size"])
        for k, pose in zip(data["target_intrinsics"], data["target_poses"])
    ]
    np.savez(folder / "frames.npz", rgb=np.stack([rgb for rgb, _ in frames]), mask=np.stack([mask for _, mask in frames]))
    print(f"TSDF: voxels of {voxel:.4g}, {len(triangles)} triangles", file=sys.stderr)


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
