"""Metrics against their papers' reference values, and tables of folders."""

from itertools import pairwise

import cv2
import numpy as np
import pytest

from engine import evaluation
from engine.evaluation import compare, evaluate_folders, gmsd, haarpsi, mean, psnr, ssim
from engine.progress import EngineError


def pictures(height=96, width=128):
    """A smooth colourful picture, and the same with less contrast and a fine ripple."""
    y, x = np.mgrid[0:height, 0:width] / 64
    a = np.stack([0.5 + 0.4 * np.sin(9 * x + 3 * y * y), 0.5 + 0.4 * np.sin(7 * y - 5 * x), 0.5 + 0.3 * np.cos(11 * x * y)], -1)
    b = np.clip(0.9 * a + 0.05 + 0.08 * np.sin(40 * x)[..., None] * np.cos(31 * y)[..., None], 0, 1)
    return a, b


def test_haarpsi_and_gmsd_give_the_numbers_of_piq():
    # piq 0.8.0 in float64 on the very same arrays.
    a, b = pictures()
    assert haarpsi(a, b) == pytest.approx(0.7717377519935085, abs=1e-9)
    assert gmsd(a, b) == pytest.approx(0.10233861295660739, abs=1e-9)
    a, b = pictures(64, 64)
    assert haarpsi(a, b) == pytest.approx(0.7647406730264282, abs=1e-9)
    assert gmsd(a, b) == pytest.approx(0.1010757468309881, abs=1e-9)


def test_psnr_is_its_formula():
    a = np.full((32, 32, 3), 0.5)
    assert psnr(a, a + 0.1) == pytest.approx(20.0)
    assert psnr(a, a + 0.01) == pytest.approx(40.0)


@pytest.mark.parametrize("shape", [(96, 128), (33, 57), (16, 16)])
def test_equal_pictures_are_perfect(shape):
    a, _ = pictures(*shape)
    assert (psnr(a, a), gmsd(a, a)) == (100.0, 0.0)
    assert ssim(a, a) == pytest.approx(1) and haarpsi(a, a) == pytest.approx(1)


def test_flat_pictures_have_defined_metrics():
    black = np.zeros((32, 32, 3))
    assert haarpsi(black, black) == pytest.approx(1) and gmsd(black, black) == 0
    assert haarpsi(black, black + 1) < 0.5


def test_more_noise_is_worse_by_every_metric():
    a, _ = pictures()
    noise = np.random.default_rng(0).normal(size=a.shape)
    rows = compare([np.clip(a + s * noise, 0, 1) for s in (0.01, 0.03, 0.1, 0.3)], [a] * 4)
    for better, worse in pairwise(rows):
        assert better.psnr > worse.psnr and better.ssim > worse.ssim
        assert better.haarpsi > worse.haarpsi and better.gmsd < worse.gmsd


@pytest.mark.parametrize("metric", [psnr, ssim, haarpsi, gmsd])
def test_metrics_are_symmetric(metric):
    a, b = pictures()
    assert metric(a, b) == pytest.approx(metric(b, a), abs=1e-12)


@pytest.mark.parametrize("metric", [psnr, ssim, haarpsi, gmsd])
def test_what_the_mask_leaves_out_does_not_matter(metric):
    a, b = pictures()
    mask = np.zeros(a.shape[:2], bool)
    mask[16:80, 20:100] = True
    spoilt = np.where(mask[..., None], b, 1 - b)
    assert metric(spoilt, a, mask) == pytest.approx(metric(b, a, mask), abs=1e-12)
    assert metric(spoilt, a) != pytest.approx(metric(b, a), abs=1e-3)
    assert metric(b, a, np.ones_like(mask)) == pytest.approx(metric(b, a), abs=1e-12)


def test_what_cannot_be_compared_is_refused():
    a, b = pictures()
    with pytest.raises(EngineError, match="one size"):
        psnr(a, b[1:])
    with pytest.raises(EngineError, match="too small"):
        haarpsi(a[:8], b[:8])
    with pytest.raises(EngineError, match="mask"):
        gmsd(a, b, np.zeros(a.shape[:2], bool))
    with pytest.raises(EngineError, match="no frames"):
        mean([])


def write(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    ok, data = cv2.imencode(path.suffix, np.round(image[..., ::-1] * 65535).astype(np.uint16))
    assert ok
    path.write_bytes(data.tobytes())


def test_folders_are_compared_by_name(tmp_path):
    a, b = pictures()
    result, truth = tmp_path / "jöb 1", tmp_path / "truth"
    for number in (1, 2):
        write(result / "frames" / f"{number:04d}.png", b)
        write(truth / f"{number}.tif", a)
    write(truth / "3.png", a)
    rows = evaluate_folders(result, truth)
    assert [row.name for row in rows] == ["0001", "0002", "mean"]
    assert rows[-1].psnr == pytest.approx(psnr(b, a), abs=1e-2)
    text = str(rows)
    assert len({len(line) for line in text.splitlines()}) == 1 and "HaarPSI" in text and "mean" in text


def test_exr_is_linear(tmp_path):
    import OpenEXR as openexr

    a, _ = pictures()
    linear = np.where(a <= 0.04045, a / 12.92, ((a + 0.055) / 1.055) ** 2.4).astype(np.float16)
    header = {"compression": openexr.ZIP_COMPRESSION, "type": openexr.scanlineimage}
    openexr.File(header, {"RGB": linear}).write(str(tmp_path / "a.exr"))
    assert np.abs(evaluation.read_picture(tmp_path / "a.exr") - a).max() < 2e-3


def test_folders_that_cannot_be_compared_say_why(tmp_path):
    a, _ = pictures()
    with pytest.raises(EngineError, match="no folder"):
        evaluate_folders(tmp_path / "none", tmp_path)
    write(tmp_path / "a" / "1.png", a)
    write(tmp_path / "b" / "2.png", a)
    with pytest.raises(EngineError, match="share no"):
        evaluate_folders(tmp_path / "a", tmp_path / "b")
    write(tmp_path / "b" / "1.png", a[1:])
    with pytest.raises(EngineError, match="128×96 and 128×95"):
        evaluate_folders(tmp_path / "a", tmp_path / "b")
    (tmp_path / "b" / "1.png").write_bytes(b"no picture")
    with pytest.raises(EngineError, match="not a picture"):
        evaluate_folders(tmp_path / "a", tmp_path / "b")
