"""The frames of a job as a movie file: H.264 that every player shows, colours marked as what they are (BT.709)."""

from __future__ import annotations

import contextlib
import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace

from . import artifacts
from .artifacts import file_error, to_uint8
from .progress import EngineError

QUALITY = {"crf": "16", "preset": "medium"}
"""Next to lossless for the eye."""
MAX_FPS = 1000.0


def write(folder: str | os.PathLike, target: str | os.PathLike, fps: float) -> int:
    """The frames of the job in ``folder`` into ``target`` (.mp4, .mov or .mkv), whole or not at all; returns how many there are.

    A frame that the job leaves out, because of its step, is held from the one before it. Odd sizes lose a row or a column.
    Raises EngineError with a sentence for the user.
    """
    folder, target = Path(folder), Path(target)
    if not 0 < fps <= MAX_FPS:
        raise EngineError(f"{fps} frames per second is no rate of a movie; choose one up to {MAX_FPS:.0f}.", "failed")
    found = (path for path in (folder / "frames").glob("[0-9]*.*") if path.stem.isdigit() and path.suffix in {".png", ".exr"})
    files = {int(path.stem): path for path in sorted(found)}
    if not files:
        raise EngineError(f"{folder.name} has no finished frame yet; run the job first.", "missing")
    temporary = target.with_name(f".{os.getpid()}.{target.name}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        count = _encode(temporary, files, fps)
        os.replace(temporary, target)
    except (OSError, ValueError) as error:
        raise file_error(error, target) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    return count


def _encode(path: Path, files: dict[int, Path], fps: float) -> int:
    first = artifacts.read_frame(files[min(files)])
    height, width = (max(2, side // 2 * 2) for side in first.shape[:2])
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001), options=QUALITY)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.colorspace, stream.codec_context.color_range = Colorspace.ITU709, ColorRange.MPEG
        stream.codec_context.color_primaries = stream.codec_context.color_trc = 1  # BT.709
        shown = None
        for number in range(min(files), max(files) + 1):
            if shown is None or number in files:
                shown = _picture(files[number], width, height)
            for packet in stream.encode(shown):
                container.mux(packet)
            shown.pts = None
        for packet in stream.encode():
            container.mux(packet)
    return max(files) - min(files) + 1


def _picture(path: Path, width: int, height: int) -> av.VideoFrame:
    pixels = to_uint8(artifacts.read_frame(path))[:height, :width]
    pixels = np.pad(pixels, ((0, height - pixels.shape[0]), (0, width - pixels.shape[1]), (0, 0)), mode="edge")
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
    return frame.reformat(format="yuv420p", src_colorspace=Colorspace.ITU709, dst_colorspace=Colorspace.ITU709)
