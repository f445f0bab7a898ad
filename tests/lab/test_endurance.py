"""A long day of one worker, in short: many jobs in a row, some of which fail, and it stays as small as it was."""

from __future__ import annotations

import subprocess
from pathlib import Path

import jobs
import pytest

from engine import protocol

JOBS = 100
LIMIT = 1.1
"""Memory after the last job, by that after the fifth."""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the memory of a process as Linux tells it")
def test_a_hundred_jobs_in_one_worker(tmp_path):
    folders = [jobs.make(tmp_path / str(index), frames=1, size=(32, 24)) for index in range(3)]
    (folders[2] / "photo-1.png").write_bytes(b"not a picture")
    process = jobs.start("serve", stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        assert protocol.decode_event(process.stdout.readline())["event"] == "hello"
        sizes, open_files = [], []
        for number in range(1, JOBS + 1):
            folder = folders[number % 3]
            fresh = {"generator": {"seed": number}, "geometry": {"max_size": 100 + number}}
            jobs.change(folder, lambda data, fresh=fresh: data.update(fresh))
            assert run(process, folder, number) == ("error" if number % 3 == 2 else "done")
            sizes.append(int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]))
            open_files.append(len(list(Path(f"/proc/{process.pid}/fd").iterdir())))
        assert sizes[-1] <= LIMIT * sizes[4], f"{sizes[4]} pages after 5 jobs, {sizes[-1]} after {JOBS}"
        assert open_files[-1] == open_files[4]
        print(f"{sizes[4] * 4 // 1024} MB after 5 jobs, {sizes[-1] * 4 // 1024} MB after {JOBS}")
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait(10)


def run(process: subprocess.Popen, folder: Path, number: int) -> str:
    """How the job ended."""
    process.stdin.write(protocol.encode({"request": "run", "job": str(folder), "id": number}))
    process.stdin.flush()
    while True:
        event = protocol.decode_event(process.stdout.readline())
        if event["event"] in {"done", "error", "cancelled"}:
            assert event["id"] == number
            return event["event"]
