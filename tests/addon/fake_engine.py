"""An engine without mathematics: the protocol and the files of a job, and every fault a test asks for.

Started like the real one (``PYTHON -m engine serve``, which it ignores). CLOSEUP_FAULT names what goes wrong, in a job
(:data:`FAULTS`) or before it: silent, dies, old-protocol, no-packages (an error instead of hello), tires (ends after a moment
without work, as an idle engine does), deaf (ignores cancel), reads-nothing (its stdin stays full), slow, rests (after one frame),
warns, no-frames, no-preview (refuses it), preview-dies (instead of an answer).
"""

from __future__ import annotations

import json
import os
import struct
import sys
import threading
import time
import zlib
from pathlib import Path

sys.path.append(os.getcwd())  # it is started in the extension's folder, as the real one is
from engine import protocol

FAULT = os.environ.get("CLOSEUP_FAULT", "")
FRAME_SECONDS = float(os.environ.get("CLOSEUP_FAKE_SECONDS", "1" if FAULT in {"slow", "deaf"} else "0.01"))
POINTS = int(os.environ.get("CLOSEUP_FAKE_POINTS", "500"))
cancelled: set = set()
requests: list[dict] = []
arrived = threading.Condition()


def send(**event) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def listen() -> None:
    """Requests into the list; the end of stdin ends the process."""
    while chunk := sys.stdin.readline():
        request = json.loads(chunk)
        if request["request"] == "quit":
            break
        with arrived:
            if request["request"] == "cancel":
                cancelled.add(request["id"])
            else:
                requests.append(request)
            arrived.notify()
    os._exit(0)


def png(path: Path, width: int, height: int, color: tuple[int, int, int]) -> None:
    """One colour with a lighter diagonal, so that a wrong size or frame shows."""
    rows = b""
    for y in range(height):
        line = bytearray(bytes(color) * width)
        x = y * width // height
        line[3 * x : 3 * x + 3] = b"\xff\xff\xff"
        rows += b"\0" + bytes(line)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def cloud(path: Path) -> None:
    """A coloured unit sphere of points."""
    import math

    header = ["ply", "format binary_little_endian 1.0", f"element vertex {POINTS}"]
    header += [f"property float {name}" for name in ("x", "y", "z", "nx", "ny", "nz")]
    header += [f"property uchar {name}" for name in ("red", "green", "blue")]
    header += ["property float confidence", "property short source", "end_header"]
    body = bytearray()
    for i in range(POINTS):
        z = 1 - 2 * (i + 0.5) / POINTS
        r, a = math.sqrt(1 - z * z), i * 2.399963
        x, y = r * math.cos(a), r * math.sin(a)
        red, green, blue = (int(127.5 * (1 + value)) for value in (x, y, z))
        body += struct.pack("<6f3Bfh", x, y, z, x, y, z, red, green, blue, 0.9, i % 3)
    path.write_bytes("\n".join(header).encode() + b"\n" + bytes(body))


def cameras(folder: Path, job: dict) -> None:
    """Given cameras as they are; unknown ones on a circle, looking at the origin."""
    rows = []
    for index, source in enumerate(job["sources"]):
        camera = source["camera"] or {
            "width": 40, "height": 30, "fx": 50.0, "fy": 50.0, "cx": 21.0, "cy": 14.0,
            "world_from_camera": [[1, 0, 0, index - 1.0], [0, 0, 1, -4.0], [0, -1, 0, 0], [0, 0, 0, 1]],
        }  # fmt: skip
        rows.append({"image": source["image"], "name": Path(source["image"]).name, "source": index, "camera": camera})
    (folder / "cameras.json").write_text(json.dumps(rows))


def run(request: dict) -> None:
    number, folder = request["id"], Path(request["job"])
    started = time.monotonic()
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    send(event="stage", stage="cameras", message="Solving cameras", id=number)
    print("a library prints this", file=sys.stderr)
    if FAULT in FAULTS:
        FAULTS[FAULT](number)
        if FAULT == "error":
            return
    if FAULT == "warns":
        send(event="warning", message="The photo b.jpg is blurred.", id=number)
    cameras(folder, job)
    cloud(folder / "cloud.ply")
    send(event="stage", stage="frames", message="Making frames", id=number)
    for index, item in enumerate(job["path"]):
        until = time.monotonic() + (3600.0 if FAULT == "rests" and index else FRAME_SECONDS)
        while time.monotonic() < until:
            time.sleep(0.005)
            if number in cancelled and FAULT != "deaf":
                send(event="cancelled", folder=str(folder), id=number)
                return
        if FAULT == "dies-mid-job" and index == 1:
            os._exit(7)
        name = f"{item['frame']:04d}.png"
        if FAULT == "dies-mid-frame" and index == 1:
            (folder / "frames" / f".{os.getpid()}.{name}").write_bytes(b"\x89PNG half a frame")
            os._exit(7)
        shade = (40 + 160 * index // len(job["path"]), 90, 160)
        if FAULT != "no-frames":
            png(folder / "frames" / name, item["camera"]["width"], item["camera"]["height"], shade)
        send(event="frame", frame=item["frame"], path=f"frames/{name}", id=number)
        left = (len(job["path"]) - index - 1) * FRAME_SECONDS
        total = len(job["path"])
        send(event="progress", stage="frames", done=index + 1, total=total, seconds_left=left, id=number)
    (folder / "report.json").write_text(json.dumps({"seconds": time.monotonic() - started}))
    send(event="done", folder=str(folder), seconds=time.monotonic() - started, id=number)


def preview(request: dict) -> None:
    """A coarse picture, then the final one, as red as the request's number; older requests are answered too."""
    if FAULT == "no-preview":
        send(event="no_preview", code="missing", message="The folder of the job is gone: a; build it again.", id=request["id"])
        return
    if FAULT == "preview-dies":
        os._exit(7)
    for final in (False, True):
        width, height = (request["camera"][side] // (1 if final else 4) for side in ("width", "height"))
        path = Path(request["pictures"]) / protocol.preview_file(request["id"], final)
        path.write_bytes(struct.pack("4f", request["id"] / 255, 0.5, 0.5, 1.0) * (width * height))
        send(event="preview", width=width, height=height, final=final, seconds=0.01, id=request["id"])


def say(line: str) -> None:
    """Whatever it is, on stdout."""
    sys.stdout.write(line)
    sys.stdout.flush()


def flood(number: int) -> None:
    """Events without end, as fast as the pipe takes them."""
    line = json.dumps({"event": "frame", "frame": 1, "path": "frames/0001.png", "id": number}) + "\n"
    while True:
        say(line * 200)


def chatter(number: int) -> None:
    """A library that prints to stderr without end, beside a job that works."""
    threading.Thread(target=lambda: [sys.stderr.write("x" * 5000 + "\n") for _ in range(20_000)], daemon=True).start()


def stand_still(number: int) -> None:
    """Alive, but its job waits for something for ever."""
    for quiet in range(100_000):
        send(event="heartbeat", quiet=quiet * 40.0, cpu=3.0, id=number)
        time.sleep(0.05)


FAULTS = {
    "error": lambda number: send(
        event="error", code="bad-photo", message="The photo a.jpg cannot be read; save it again.", fix="photos", id=number
    ),
    "garbage": lambda number: say("Warning: a library prints to stdout\n"),
    "bytes": lambda number: os.write(1, bytes(range(256)) * 40 + b"\n"),
    "huge-line": lambda number: say("x" * (3 << 20) + "\n"),
    "endless-line": lambda number: [say("x" * (1 << 16)) for _ in range(1 << 12)],
    "deep": lambda number: say("[" * 200_000 + "\n"),
    "lies": lambda number: send(event="progress", stage=["frames"], done="many", total=None, seconds_left=0, id=number),
    "nan": lambda number: say('{"event": "progress", "stage": "a", "done": NaN, "total": 1, "seconds_left": null}\n'),
    "odd-id": lambda number: send(event="frame", frame=1, path="frames/0001.png", id={"not": "a number"}),
    "strange-numbers": lambda number: send(event="progress", stage="x", done=-1e300, total=0, seconds_left=-1, id=number),
    "floods": flood,
    "chatters": chatter,
    "hangs": lambda number: time.sleep(600),
    "stands-still": stand_still,
    "killed": lambda number: os.kill(os.getpid(), 9),
    "closes-stdout": lambda number: (os.close(1), time.sleep(600)),
}
"""What goes wrong at the start of a job, by name."""


def main() -> None:
    if FAULT == "dies":
        print("no torch here", file=sys.stderr)
        sys.exit(3)
    if FAULT != "reads-nothing":
        threading.Thread(target=listen, daemon=True).start()
    if FAULT == "silent":
        time.sleep(600)
    if FAULT == "no-packages":
        send(event="error", code="start", message="The engine's packages are not complete; press Install Engine.", fix="install")
        time.sleep(600)
    send(event="hello", protocol=99 if FAULT == "old-protocol" else protocol.VERSION, engine="fake", device="cpu")
    while True:
        with arrived:
            while not requests:
                arrived.wait(0.2 if FAULT == "tires" else None)
                if FAULT == "tires" and not requests:
                    send(event="goodbye", message="Nothing was asked for.")
                    time.sleep(0.5)  # long enough for a request to come too late
                    os._exit(0)
            request = requests.pop(0)
        preview(request) if request["request"] == "preview" else run(request)


if __name__ == "__main__":
    main()
