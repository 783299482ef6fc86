"""Videos of a data set, by PyAV: frame k of a file is shown at k / fps seconds."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from robots.datasets.layout import DatasetError
from robots.datasets.tables import INSTALL
from robots.host.reading import brief

CODEC, QUALITY, KEYFRAMES = "h264", "18", 2
"""Every second frame stands alone, as LeRobot's do: training reads frames in any order."""
MOST_PIXELS = 1 << 25
"""Pixels of a frame."""


def pyav() -> ModuleType:
    """Return PyAV.

    Raises:
        DatasetError: naming the extra, if it is not installed.
    """
    try:
        import av
    except ImportError:
        raise DatasetError(f"videos need av, which is not installed; {INSTALL}") from None
    av.logging.set_level(av.logging.PANIC)  # what is wrong is raised
    return av


class VideoWriter:
    """Writes frames of one camera to an mp4 file."""

    def __init__(self, path: Path, fps: int, height: int, width: int):
        """Begin a file of frames (height, width, 3)."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self.frames = path, 0
        self._av = pyav()
        self._container = self._av.open(str(path), "w")
        self.pixels = "yuv420p" if height % 2 == width % 2 == 0 else "yuv444p"  # the former halves both sides
        options = {"crf": QUALITY, "preset": "veryfast", "bf": "0", "g": str(KEYFRAMES)}
        stream: Any = self._container.add_stream("libx264", rate=fps, options=options)
        stream.height, stream.width, stream.pix_fmt = height, width, self.pixels
        stream.codec_context.thread_count = 1  # cameras and physics share the cores
        self._stream, self._tick = stream, Fraction(1, fps)

    def add(self, picture: np.ndarray) -> None:
        """Append a frame (height, width, 3) uint8 RGB."""
        frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), "rgb24")
        frame.pts, frame.time_base = self.frames, self._tick
        self.frames += 1
        self._container.mux(self._stream.encode(frame))

    @property
    def size(self) -> int:
        """Bytes written so far, roughly."""
        return self.path.stat().st_size if self.path.exists() else 0

    def close(self) -> None:
        """Write what is left, and the file's index."""
        self._container.mux(self._stream.encode())
        self._container.close()

    def describe(self, fps: int, height: int, width: int) -> dict[str, object]:
        """Return what meta/info.json says of the feature's videos."""
        return {
            "video.height": height,
            "video.width": width,
            "video.channels": 3,
            "video.codec": CODEC,
            "video.pix_fmt": self.pixels,
            "video.fps": fps,
            "is_depth_map": False,
            "has_audio": False,
        }


class VideoFile:
    """One mp4 file that is read."""

    def __init__(self, path: Path, height: int, width: int):
        """Look at the file; height and width are those that it must have.

        Raises:
            DatasetError: if it is missing, damaged, or its frames have another size.
        """
        self.path = path
        self._av = pyav()
        self._damage = (self._av.FFmpegError, OSError, ValueError, IndexError, MemoryError)
        try:
            if not stat.S_ISREG(path.stat().st_mode):
                raise DatasetError(f"video '{path}' is no ordinary file; copy the data set again")
            with self._av.open(str(path)) as container:
                stream = container.streams.video[0]
                found = stream.height, stream.width
                times = [float(p.pts * stream.time_base) for p in container.demux(stream) if p.pts is not None]
        except FileNotFoundError:
            raise DatasetError(f"video '{path}' is missing; copy the data set again") from None
        except DatasetError:
            raise
        except self._damage as error:
            raise self._refusal(error) from None
        if found != (height, width) or height * width > MOST_PIXELS:
            raise DatasetError(f"video '{path}' has frames of {found}, expected {(height, width)} (height, width)")
        self.times = np.sort(times)
        """When each frame is shown (N,) [s]."""

    def rows(self, start: float, count: int, fps: float) -> np.ndarray:
        """Return the numbers (count,) of the frames that are shown from `start` [s] on, `fps` a second.

        Raises:
            DatasetError: if one of them is missing.
        """
        wanted = start + np.arange(count) / fps
        rows = np.searchsorted(self.times, wanted - 0.25 / fps)
        there = rows < len(self.times)
        there[there] = np.abs(self.times[rows[there]] - wanted[there]) < 0.25 / fps
        if not there.all():
            row = int(np.argmin(there))
            raise DatasetError(
                f"video '{self.path}': {count - int(there.sum())} of {count} frames are missing, the first at "
                f"{wanted[row]:.3f} s; it has {len(self.times)}. Record the episode again"
            )
        return rows

    def frames(self, start: float, count: int, fps: float) -> Iterator[np.ndarray]:
        """Decode frames (height, width, 3) uint8 RGB from `start` [s] on.

        Raises:
            DatasetError: if one of them is missing or damaged.
        """
        rows = self.rows(start, count, fps)
        wanted, given = self.times[rows], 0
        try:
            with self._av.open(str(self.path)) as container:
                stream = container.streams.video[0]
                container.seek(int(wanted[0] / stream.time_base), stream=stream)  # the keyframe before
                for frame in container.decode(stream):
                    while given < count and frame.pts * stream.time_base > wanted[given] - 0.25 / fps:
                        yield frame.to_ndarray(format="rgb24")
                        given += 1
                    if given == count:
                        return
        except self._damage as error:
            raise self._refusal(error) from None
        raise DatasetError(f"video '{self.path}': {count - given} of {count} frames cannot be decoded; copy it again")

    def _refusal(self, error: BaseException) -> DatasetError:
        return DatasetError(
            f"video '{self.path}' cannot be read: {brief(str(error))}; was its recorder killed? Copy or record it again"
        )
