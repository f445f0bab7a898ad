"""What all photos say of a surface: rays that meet it, and depths that come together."""

import numpy as np
import pytest
import synthetic
import torch
from three_views import CAMERAS, SCENE, SIZE, inverse

from engine import camera as cams
from engine.geometry import accord, consistency, matching, patchmatch
from engine.records import View

SURE = torch.ones(SIZE)


def known(index, w=None, confidence=SURE, given=False):
    return accord.DepthMap(CAMERAS[index], inverse(index) if w is None else w, confidence, given)


def wrong(index, share, seed=0):
    """(H, W) a photo's inverse depth with errors of so many standard deviations, alike over blocks of 8 pixels."""
    rng = np.random.default_rng(seed)
    error = rng.normal(scale=share, size=(SIZE[0] // 8, SIZE[1] // 8)).repeat(8, 0).repeat(8, 1)
    return inverse(index) * torch.from_numpy(1 + error).float()


def off(w, index):
    """(H, W) relative error of inverse depth."""
    return (w / inverse(index) - 1).abs()


def scanned(one, other, row, column, count=4001):
    """The inverse depth, nearest to a pixel's own, at which its ray meets the other's surface: by looking everywhere near."""
    own = float(one.w[row, column])
    x = own * np.linspace(1 - accord.SAME, 1 + accord.SAME, count)
    ray = np.linalg.inv(cams.intrinsics(one.camera)) @ [column + 0.5, row + 0.5, 1]
    points = cams.world_from_camera(one.camera) @ np.vstack([ray[:, None] / x, np.ones((1, count))])
    seen = cams.camera_from_world(other.camera) @ points
    u, v, _ = cams.intrinsics(other.camera) @ seen[:3] / seen[2]
    height, width = SIZE
    grid = torch.from_numpy(np.stack([u, v])).float()
    away = matching.sample(other.w[None], grid[0][None], grid[1][None])[0, 0].numpy() * seen[2] - 1
    away[(u <= 0) | (u >= width) | (v <= 0) | (v >= height)] = np.nan
    crossed = (np.sign(away[1:]) != np.sign(away[:-1])) & np.isfinite(away[1:] + away[:-1])
    roots = x[1:][crossed]
    return roots[np.abs(roots - own).argmin()] if len(roots) else None


def test_rays_meet_surfaces_where_a_search_finds_them():
    one, other = known(1, wrong(1, 0.008)), known(0)
    met, sure = accord.meeting(one, other)
    rng = np.random.default_rng(1)
    agreed = 0
    for row, column in zip(rng.integers(0, SIZE[0], 400), rng.integers(0, SIZE[1], 400)):
        root = scanned(one, other, row, column)
        if root is None:
            agreed += float(sure[row, column]) == 0
        else:
            agreed += float(sure[row, column]) == 1 and abs(float(met[row, column]) / root - 1) < 2e-3
    assert agreed > 0.96 * 400
    assert 0.4 < float(sure.mean()) < 0.99, "some is hidden from the other photo, or outside of it"


def test_what_is_right_stays():
    found = accord.reconciled([known(i) for i in range(3)])
    for index, w in enumerate(found):
        inside = consistency.support(matching.Planes(w, *patchmatch.slopes(w))) >= 1
        assert float((off(w, index)[inside] < 5e-4).float().mean()) > 0.97


def test_unsure_photos_follow_the_sure_one():
    maps = [known(0), known(1, wrong(1, 0.006), 0.05 * SURE), known(2)]
    before, after = off(maps[1].w, 1), off(accord.reconciled(maps)[1], 1)
    _, seen = accord.meeting(maps[1], maps[0])
    assert float(after[seen > 0].median()) < 0.1 * float(before[seen > 0].median())


def test_errors_that_photos_do_not_share_shrink():
    maps = [known(i, wrong(i, 0.006, i)) for i in range(3)]
    found = accord.reconciled(maps)
    for index in range(3):
        assert float(off(found[index], index).median()) < 0.8 * float(off(maps[index].w, index).median())


def test_other_surfaces_are_left_apart():
    """A photo that is sure of something in front of all, far from what the others know, neither follows nor leads."""
    maps = [known(0), known(1, 1.2 * inverse(1)), known(2)]
    found = accord.reconciled(maps)
    assert float(((found[1] / maps[1].w - 1).abs() < 1e-6).float().mean()) > 0.9
    assert float((off(found[0], 0) < 2e-3).float().mean()) > 0.95


def test_small_steps_stay():
    """A card lies two hundredths of its distance before a wall: beside its border no surface lies between the two."""
    cameras = synthetic.arc(3, SIZE[1], SIZE[0], spread=40)
    first = cams.world_from_camera(cameras[0])
    normal, middle = first[:3, 2], first[:3, 3] + 3 * first[:3, 2]
    across = np.cross(normal, [0, 0, 1.0])
    maps, cards = [], []
    for camera in cameras:
        pose = cams.world_from_camera(camera)
        centre, rays = pose[:3, 3], cams.pixel_rays(camera) @ pose[:3, :3].T
        wall, front = (((middle - back * normal - centre) @ normal) / (rays @ normal) for back in (0, 0.06))
        away = centre + rays * front[..., None] - middle
        card = (np.abs(away @ across) < 0.5) & (np.abs(away @ np.cross(across, normal)) < 0.4)
        maps.append(accord.DepthMap(camera, torch.from_numpy(1 / np.where(card, front, wall)).float(), SURE))
        cards.append(card.mean())
    assert min(cards) > 0.02 and max(cards) < 0.5
    for one, found in zip(maps, accord.reconciled(maps)):
        assert float(((found / one.w - 1).abs() > 1e-3).float().mean()) < 0.003


def test_given_depth_leads_and_stays():
    maps = [known(0, given=True), known(1, wrong(1, 0.006), 0.05 * SURE)]
    found = accord.reconciled(maps)
    assert found[0] is maps[0].w
    assert float(off(found[1], 1).median()) < float(off(maps[1].w, 1).median())


def test_only_partners_have_a_say():
    maps = [known(0), known(1, wrong(1, 0.006), 0.05 * SURE), known(2)]
    alone, led = (accord.reconciled(maps, [[], partners, []])[1] for partners in ([], [0]))
    assert torch.equal(alone, maps[1].w)
    assert float(off(led, 1).median()) < float(off(maps[1].w, 1).median())


def test_it_can_be_stopped():
    calls = []

    def check():
        calls.append(1)
        if len(calls) == 4:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        accord.reconciled([known(i) for i in range(3)], check=check)
    assert len(calls) == 4, "once a photo and round"


@pytest.mark.parametrize("count", [0, 1])
def test_alone(count):
    maps = [known(1, wrong(1, 0.01))][:count]
    assert all(torch.equal(found, one.w) for found, one in zip(accord.reconciled(maps), maps, strict=True))


def test_sky_stays_sky():
    w = inverse(1)
    w[:30] = 0
    for index, found in enumerate(accord.reconciled([known(0), known(1, w), known(2)])):
        assert bool(((found == 0) == ((w if index == 1 else inverse(index)) == 0)).all())
        assert bool(torch.isfinite(found).all())


def test_sizes_may_differ():
    small = cams.resized(CAMERAS[0], SIZE[1] // 2, SIZE[0] // 2)
    half = accord.DepthMap(small, torch.nn.functional.avg_pool2d(inverse(0)[None, None], 2)[0, 0], SURE[::2, ::2])
    found = accord.reconciled([half, known(1, wrong(1, 0.006), 0.05 * SURE)])
    assert found[0].shape == half.w.shape
    _, seen = accord.meeting(known(1), half)
    assert float(off(found[1], 1)[seen > 0].median()) < 0.3 * float(off(wrong(1, 0.006), 1)[seen > 0].median())


def test_views_come_together_and_keep_what_is_no_surface():
    exact = SCENE[1][1].astype(np.float32)
    wrongly = (1 / wrong(1, 0.006)).numpy()
    wrongly[:10], wrongly[10:20] = np.inf, 0
    views = []
    for index, depth in ((0, SCENE[0][1]), (1, wrongly), (2, SCENE[2][1])):
        confidence = np.full(SIZE, 0.05 if index == 1 else 1, np.float32)
        image = SCENE[index][0]
        views.append(View(str(index), image, CAMERAS[index], np.ones(SIZE, bool), depth.astype(np.float32), confidence))
    found = accord.reconciled_views(views)[1]
    assert np.isinf(found.depth[:10]).all() and (found.depth[10:20] == 0).all()
    before, after = (np.median(np.abs(depth[20:] / exact[20:] - 1)) for depth in (wrongly, found.depth))
    assert after < 0.3 * before
    assert np.isinf(views[1].depth[:10]).all() and np.array_equal(views[1].depth, wrongly), "what was given stays as it is"
