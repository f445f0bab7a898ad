"""Quality and time of the engine's parts; writes a table and pictures. Started by build.py bench."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE)]


def main() -> None:
    """Run the benchmarks that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("all", "conditioning", "generator", "geometry"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--scenes", type=Path, nargs="*", default=[], help="folders that demo/still_life.py wrote")
    parser.add_argument("--tsdf-python", help="a Python with open3d, for the comparison with a TSDF mesh")
    parser.add_argument("--samples", type=int, default=6, help="synthetic samples per band of zoom")
    arguments = parser.parse_args()
    out = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    texts = []
    if arguments.what in ("all", "conditioning"):
        import conditioning

        texts.append(conditioning.run(out, arguments.scenes, arguments.tsdf_python, arguments.samples))
    if arguments.what in ("all", "generator"):
        import generator

        texts.append(generator.run(out, arguments.samples))
    if arguments.what in ("all", "geometry"):
        import geometry

        texts.append(geometry.run(out, arguments.scenes))
    (out / "bench.md").write_text("\n".join(texts), encoding="utf-8")
    print("\n".join(texts))


if __name__ == "__main__":
    main()
