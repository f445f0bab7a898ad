"""Movies of a job's frames."""

from __future__ import annotations

import av
import numpy as np
import pytest

from engine import artifacts, movie
from engine.progress import EngineError


def make(folder, numbers, size=(47, 64), output="png"):
    """A job's folder whose frames are one colour each."""
    for number in numbers:
        frame = np.full((*size, 3), (0.9, number / 20, 0.2), np.float32)
        artifacts.write_frame(folder / "frames" / f"{number:04d}.{output}", frame)


def frames_of(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return stream.average_rate, [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]


@pytest.mark.parametrize("output", ["png", "exr"])
def test_a_movie_has_the_frames_in_their_colours_and_holds_what_is_left_out(tmp_path, output):
    make(tmp_path, [2, 4, 6], output=output)
    assert movie.write(tmp_path, tmp_path / "film ü.mp4", 12.5) == 5
    rate, pictures = frames_of(tmp_path / "film ü.mp4")
    assert rate == 12.5
    assert [picture.shape for picture in pictures] == [(46, 64, 3)] * 5
    for picture, number in zip(pictures, (2, 2, 4, 4, 6)):
        assert np.abs(picture.mean((0, 1)) / 255 - (0.9, number / 20, 0.2)).max() < 0.02
    assert not list(tmp_path.glob(".*.mp4"))


def test_what_cannot_be_a_movie_is_a_sentence(tmp_path):
    make(tmp_path, [1])
    with pytest.raises(EngineError, match="is no rate of a movie"):
        movie.write(tmp_path, tmp_path / "film.mp4", 0)
    (tmp_path / "file").write_text("")
    with pytest.raises(EngineError, match=r"film\.mp4"):
        movie.write(tmp_path, tmp_path / "file" / "film.mp4", 24)
    with pytest.raises(EngineError, match=r"film\.nothing"):
        movie.write(tmp_path, tmp_path / "film.nothing", 24)
    (tmp_path / "frames" / "0001.png").unlink()
    with pytest.raises(EngineError, match="has no finished frame yet"):
        movie.write(tmp_path, tmp_path / "film.mp4", 24)
