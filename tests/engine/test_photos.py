"""Photos as people have them: every kind of file gives the right picture or one sentence that names it."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

import numpy as np
import OpenEXR
import pytest
from PIL import Image, ImageCms

from engine import photos
from engine.geometry import depth_files
from engine.image_files import MAX_PIXELS, read_picture
from engine.job import Camera, GeometrySettings, Job, Source, sha256_of
from engine.progress import EngineError, Progress

EYE = ((1.0, 0.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0), (0.0, 0.0, 0.0, 1.0))


def load(folder: Path, *sources: Source, max_size: int = 1600):
    return photos.load(Job(sources, (), geometry=GeometrySettings(max_size=max_size)), folder, Progress())


def one(folder: Path, name: str, max_size: int = 1600, **source):
    return load(folder, Source(name, **source), max_size=max_size)[0]


def camera(width: int, height: int) -> Camera:
    return Camera(width, height, 100.0, 100.0, width / 2, height / 2, EYE)


def gradient(width: int = 48, height: int = 32) -> np.ndarray:
    """Red grows to the right, green downward, blue is a quarter."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return np.stack([x, y, np.full_like(x, 64)], axis=-1).astype(np.uint8)


def sentence(caught, *words: str) -> None:
    text = str(caught.value)
    assert "\n" not in text and text.endswith(".") and len(text) < 300
    for word in words:
        assert word in text, text


@pytest.mark.parametrize(
    "name, mode",
    [
        ("a.png", "RGB"),
        ("a.tif", "RGB"),
        ("a.bmp", "RGB"),
        ("a.webp", "RGB"),
        ("a.jpg", "RGB"),
        ("a.jpg", "CMYK"),
        ("a.tif", "CMYK"),
    ],
)
def test_formats_agree(tmp_path, name, mode):
    image = gradient()
    options = {"lossless": True} if name.endswith("webp") else {"quality": 100, "subsampling": 0} if name.endswith("jpg") else {}
    Image.fromarray(image).convert(mode).save(tmp_path / name, **options)
    photo = one(tmp_path, name)
    assert photo.image.dtype == np.float32 and photo.image.shape == image.shape
    assert photo.mask.all() and photo.camera is None and photo.focal_35mm is None and photo.depth is None
    assert np.abs(photo.image * 255 - image).mean() < (2 if name.endswith("jpg") else 0.5)


@pytest.mark.parametrize("mode", ["L", "1", "LA", "P", "I;16", "F"])
def test_grey_and_palette(tmp_path, mode):
    grey = gradient()[..., 0]
    made = {
        "L": lambda: Image.fromarray(grey),
        "1": lambda: Image.fromarray(((grey > 127) * 255).astype(np.uint8)).convert("1"),
        "LA": lambda: Image.merge("LA", [Image.fromarray(grey), Image.new("L", (48, 32), 255)]),
        "P": lambda: Image.fromarray(grey).convert("P"),
        "I;16": lambda: Image.fromarray(grey.astype(np.uint16) * 257),
        "F": lambda: Image.fromarray(grey.astype(np.float32) / 255),
    }[mode]()
    made.save(tmp_path / "a.tif")
    photo = one(tmp_path, "a.tif")
    expected = (grey > 127) * 255.0 if mode == "1" else grey
    assert np.abs(photo.image * 255 - np.repeat(np.asarray(expected, float)[..., None], 3, 2)).max() < 1.01


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("alpha", [False, True])
def test_sixteen_bits_are_kept(tmp_path, suffix, alpha):
    import cv2

    deep = np.random.default_rng(1).integers(0, 65536, (32, 48, 4 if alpha else 3)).astype(np.uint16)
    deep[..., 3:] = 65535
    channels = deep[..., [2, 1, 0, 3][: deep.shape[2]]]
    assert cv2.imwrite(str(tmp_path / f"a{suffix}"), channels)
    photo = one(tmp_path, f"a{suffix}")
    assert np.abs(photo.image - deep[..., :3] / 65535).max() < 1e-4


def test_transparent_pixels_are_not_usable(tmp_path):
    alpha = np.zeros((32, 48), np.uint8)
    alpha[:, 24:] = 200
    Image.fromarray(np.dstack([gradient(), alpha])).save(tmp_path / "a.png")
    mask = one(tmp_path, "a.png").mask
    assert not mask[:, :24].any() and mask[:, 24:].all()


def test_palette_transparency_is_not_usable(tmp_path):
    image = Image.fromarray((np.arange(48 * 32).reshape(32, 48) % 2).astype(np.uint8), mode="P")
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.save(tmp_path / "a.png", transparency=1)
    photo = one(tmp_path, "a.png")
    assert photo.mask[:, ::2].all() and not photo.mask[:, 1::2].any()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path, orientation):
    image = Image.fromarray(gradient())
    exif = image.getexif()
    exif[0x0112] = orientation
    image.save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as opened:
        from PIL import ImageOps

        truth = np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
    upright = one(tmp_path, "a.png")
    assert upright.image.shape == truth.shape and np.abs(upright.image * 255 - truth).max() < 0.6
    stored = one(tmp_path, "a.png", camera=camera(48, 32))
    assert np.abs(stored.image * 255 - gradient()).max() < 0.6  # Blender shows the file as it is stored
    if orientation >= 5:
        turned = one(tmp_path, "a.png", camera=camera(32, 48))
        assert np.abs(turned.image * 255 - truth).max() < 0.6


def test_colours_of_another_profile_become_srgb(tmp_path):
    image = Image.fromarray(np.full((32, 48, 3), (200, 80, 60), np.uint8))
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    image.save(tmp_path / "plain.png", icc_profile=lab.tobytes())
    assert np.abs(one(tmp_path, "plain.png").image * 255 - np.asarray(image)).max() < 1.01
    image.save(tmp_path / "broken.png", icc_profile=b"no profile at all")
    assert np.abs(one(tmp_path, "broken.png").image * 255 - np.asarray(image)).max() < 0.6


@pytest.mark.parametrize(
    "content", [b"", b"hello, I am a text", b"\x89PNG\r\n\x1a\n" + b"\0" * 40, b"\xff\xd8\xff\xe0" + b"\0" * 40, b"GIF89a\x01"]
)
@pytest.mark.parametrize("suffix", ["jpg", "exr"])
def test_what_is_no_image_is_named(tmp_path, content, suffix):
    (tmp_path / f"broken.{suffix}").write_bytes(content)
    with pytest.raises(EngineError) as caught:
        one(tmp_path, f"broken.{suffix}")
    sentence(caught, f"broken.{suffix}")


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.webp", "a.exr"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_truncated_files_are_named(tmp_path, name, share):
    noise = np.random.default_rng(0).integers(0, 255, (64, 80, 3)).astype(np.uint8)
    if name.endswith("exr"):
        OpenEXR.File({}, {c: noise[..., i].astype(np.float32) for i, c in enumerate("RGB")}).write(str(tmp_path / name))
    else:
        Image.fromarray(noise).save(tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(EngineError) as caught:
        one(tmp_path, name)
    sentence(caught, name)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(EngineError) as caught:
        one(tmp_path, "gone.png")
    sentence(caught, "gone.png")


@pytest.mark.parametrize("size", [(1, 1), (15, 400), (5000, 16)])
def test_tiny_photos_are_refused(tmp_path, size):
    Image.new("RGB", size).save(tmp_path / "tiny.png")
    with pytest.raises(EngineError) as caught:
        one(tmp_path, "tiny.png")
    sentence(caught, "tiny.png", f"{size[0]} × {size[1]}")


def test_more_than_the_most_pixels_are_refused_before_decoding(tmp_path):
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    (tmp_path / "bomb.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"x") + chunk(b"IEND", b"")
    )
    assert MAX_PIXELS < 40_000**2
    with pytest.raises(EngineError) as caught:
        one(tmp_path, "bomb.png")
    sentence(caught, "bomb.png", "1600 megapixels")


HUGE = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from engine.image_files import read_picture
picture = read_picture(Path(sys.argv[1]), "huge", 1600)
status = Path("/proc/self/status")
if status.exists():  # ru_maxrss would also count the process that started this one
    peak = int(status.read_text().split("VmHWM:")[1].split()[0]) * 1024
else:
    import resource
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
print(picture.rgb.shape, round(float(picture.rgb.mean()), 2), peak)
"""


@pytest.mark.parametrize("name", ["huge.jpg", "huge.png"])
def test_a_hundred_megapixels_fit_into_memory(tmp_path, name):
    import subprocess

    Image.new("RGB", (12_000, 8_400), (128, 128, 128)).save(tmp_path / name, compress_level=1)
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", HUGE, str(tmp_path / name), str(root)], capture_output=True, text=True, check=True
    )
    shape, mean, peak = re.fullmatch(r"(\(.*\)) (\S+) (\d+)\n", done.stdout).groups()
    assert shape == "(1120, 1600, 3)" and mean == "0.5"
    assert int(peak) < 1.5e9


def test_large_photos_are_averaged_and_their_cameras_follow(tmp_path):
    image = np.kron(np.random.default_rng(0).integers(0, 2, (60, 80)), np.ones((2, 2)))
    Image.fromarray(np.repeat((image * 255).astype(np.uint8)[..., None], 3, 2)).save(tmp_path / "a.png")
    photo = one(tmp_path, "a.png", max_size=80, camera=camera(160, 120))
    assert photo.image.shape == (60, 80, 3)
    assert np.abs(photo.image[..., 0] - image[::2, ::2]).max() < 1e-6
    assert (photo.camera.width, photo.camera.height, photo.camera.fx, photo.camera.cx) == (80, 60, 50.0, 40.0)


def test_a_camera_of_another_size_is_rescaled_and_of_another_shape_refused(tmp_path):
    Image.fromarray(gradient()).save(tmp_path / "a.png")
    photo = one(tmp_path, "a.png", camera=camera(480, 320))
    assert (photo.camera.width, photo.camera.fy) == (48, 10.0)
    with pytest.raises(EngineError) as caught:
        one(tmp_path, "a.png", camera=camera(480, 480))
    sentence(caught, "a.png", "480 × 480", "48 × 32")


def test_exr_photos_are_linear(tmp_path):
    linear = np.linspace(0, 2, 48 * 32, dtype=np.float32).reshape(32, 48)
    OpenEXR.File({}, {f"ViewLayer.Combined.{c}": linear * s for c, s in zip("RGB", (1, 0.5, 0.25))}).write(
        str(tmp_path / "a.exr")
    )
    photo = one(tmp_path, "a.exr")
    at = photo.image[5, 20]
    expected = 1.055 * (linear[5, 20] * np.array([1, 0.5, 0.25])) ** (1 / 2.4) - 0.055
    assert np.allclose(at, expected, atol=1e-4) and photo.image.max() == pytest.approx(1)


def test_masks_of_any_size_and_kind(tmp_path):
    Image.fromarray(gradient()).save(tmp_path / "a.png")
    half = np.zeros((64, 96), np.uint8)
    half[:, 48:] = 255
    Image.fromarray(half).save(tmp_path / "grey.png")
    Image.fromarray(np.dstack([np.full((64, 96, 3), 255, np.uint8), half])).save(tmp_path / "alpha.png")
    for name in ("grey.png", "alpha.png"):
        mask = one(tmp_path, "a.png", mask=name).mask
        assert mask.shape == (32, 48) and not mask[:, :24].any() and mask[:, 24:].all()
    (tmp_path / "no.png").write_bytes(b"no")
    with pytest.raises(EngineError) as caught:
        one(tmp_path, "a.png", mask="no.png")
    sentence(caught, "mask", "no.png")


def test_a_changed_photo_is_named(tmp_path):
    Image.fromarray(gradient()).save(tmp_path / "a.png")
    digest = sha256_of(tmp_path / "a.png")
    assert one(tmp_path, "a.png", sha256=digest).name == "a.png"
    Image.fromarray(gradient()[::-1]).save(tmp_path / "a.png")
    with pytest.raises(EngineError) as caught:
        one(tmp_path, "a.png", sha256=digest)
    sentence(caught, "a.png", "changed")


def test_odd_paths_and_names_are_unique(tmp_path):
    names = ['it\'s "so" 1/été 写真.png', "b b/été 写真.png", "plain.png"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        Image.fromarray(gradient().astype(np.uint16)[..., 0] * 257).save(tmp_path / name)
    loaded = load(tmp_path, *(Source(name) for name in names), Source(names[2]), Source(str(tmp_path / names[1])))
    found = [photo.name for photo in loaded]
    assert len(set(found)) == 5 and found[2] == "plain.png" and found[1].endswith("b b/été 写真.png")
    assert photos.unique_names(["a/x.png", "b/x.png", "y.png"]) == ["a/x.png", "b/x.png", "y.png"]
    assert photos.unique_names(["x.png", "x.png", "x.png"]) == ["x.png", "x.png (2)", "x.png (3)"]


def exif_photo(path: Path, **tags) -> None:
    image = Image.fromarray(gradient())
    exif = image.getexif()
    exif.get_ifd(0x8769).update({int(key[1:], 16): value for key, value in tags.items()})
    image.save(path, exif=exif)


def test_focal_length_of_exif(tmp_path):
    exif_photo(tmp_path / "a.jpg", xA405=35, x920A=4.3)
    assert one(tmp_path, "a.jpg").focal_35mm == 35
    assert one(tmp_path, "a.jpg", focal_35mm=50.0).focal_35mm == 50
    # 6000 pixels at 6000/36 per mm across: a full-frame sensor, so that the lens's own number is the equivalent.
    exif_photo(tmp_path / "b.jpg", x920A=50.0, xA20E=6000 / 3.6, xA210=3, xA002=6000)
    assert one(tmp_path, "b.jpg").focal_35mm == pytest.approx(50, rel=1e-3)
    for odd in ({"xA405": 0}, {"x920A": 50.0, "xA20E": 0.0}, {"x920A": 0.0, "xA20E": 10.0}):
        exif_photo(tmp_path / "c.jpg", **odd)
        assert one(tmp_path, "c.jpg").focal_35mm is None


# --- depth -------------------------------------------------------------------

ODD_DEPTH = np.array([[1.5, np.nan, -2.0, 0.0], [np.inf, 1e10, 1e9, -np.inf], [3.0, 4.0, 5.0, 6.0]], np.float32)
CLEAN_DEPTH = np.array([[1.5, 0, 0, 0], [np.inf, np.inf, np.inf, 0], [3.0, 4.0, 5.0, 6.0]], np.float32)


@pytest.mark.parametrize("channel", ["Z", "V", "Y", "R", "Depth.Z", "ViewLayer.Depth.Z"])
def test_depth_of_exr(tmp_path, channel):
    planes = {channel: ODD_DEPTH}
    if "." in channel:
        planes |= {"ViewLayer.Combined.R": CLEAN_DEPTH + 1, "ViewLayer.Normal.Z": CLEAN_DEPTH + 1}
    OpenEXR.File({}, planes).write(str(tmp_path / "d.exr"))
    assert np.array_equal(depth_files.read(tmp_path / "d.exr"), CLEAN_DEPTH)


@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 1), (1, 3, 4)])
@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_depth_of_npy(tmp_path, shape, kind):
    np.save(tmp_path / "d.npy", ODD_DEPTH.astype(kind).reshape(shape))
    depth = depth_files.read(tmp_path / "d.npy")
    assert depth.dtype == np.float32 and np.array_equal(depth, CLEAN_DEPTH)


@pytest.mark.parametrize(
    "values",
    [np.zeros((3, 4, 3)), np.zeros(7), np.float32(3), np.zeros((0, 4)), np.array([["a"]]), np.array([[1j]]), np.array([{}])],
)
def test_depth_of_a_wrong_kind_is_named(tmp_path, values):
    np.save(tmp_path / "d.npy", values, allow_pickle=True)
    with pytest.raises(EngineError) as caught:
        depth_files.read(tmp_path / "d.npy")
    sentence(caught, "d.npy")


@pytest.mark.parametrize("name", ["d.npy", "d.exr", "d.txt"])
@pytest.mark.parametrize("content", [b"", b"nothing", b"\x93NUMPY\x01\x00"])
def test_damaged_depth_is_named(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(EngineError) as caught:
        depth_files.read(tmp_path / name)
    sentence(caught, name)


def test_depth_is_fitted_without_mixing_surfaces(tmp_path):
    Image.fromarray(gradient()).save(tmp_path / "a.png")
    np.save(tmp_path / "d.npy", np.kron([[1.0, 9.0]], np.ones((64, 48))))
    depth = one(tmp_path, "a.png", depth="d.npy", camera=camera(48, 32)).depth
    assert depth.shape == (32, 48) and set(np.unique(depth)) == {1, 9} and (depth[:, :24] == 1).all()
    np.save(tmp_path / "d.npy", np.ones((48, 48)))
    with pytest.raises(EngineError) as caught:
        one(tmp_path, "a.png", depth="d.npy")
    sentence(caught, "d.npy", "48 × 48", "48 × 32")


def test_exr_without_depth_says_what_it_holds(tmp_path):
    OpenEXR.File({}, {"Normal.Z": ODD_DEPTH, "B": ODD_DEPTH}).write(str(tmp_path / "d.exr"))
    with pytest.raises(EngineError) as caught:
        depth_files.read(tmp_path / "d.exr")
    sentence(caught, "d.exr", "Normal.Z")


def test_reading_leaves_pillows_own_limit_alone(tmp_path):
    before = Image.MAX_IMAGE_PIXELS
    stream = io.BytesIO()
    Image.fromarray(gradient()).save(stream, "PNG")
    (tmp_path / "a.png").write_bytes(stream.getvalue())
    read_picture(tmp_path / "a.png", "a.png", None)
    assert before == Image.MAX_IMAGE_PIXELS
