"""Command line of the engine: ``python -m engine run FOLDER | serve | evaluate RESULT TRUTH | warm-up | train …``."""

from __future__ import annotations

import argparse
import os
import sys

SETTINGS = {
    # glibc otherwise gives every large tensor back to the system and takes it anew: up to 25 times slower
    "MALLOC_MMAP_THRESHOLD_": "4000000000",
    "MALLOC_TRIM_THRESHOLD_": "8000000000",
    # threads that wait must not spin: beside a busy Blender that made small tensors more than 10 times slower
    "OMP_WAIT_POLICY": "PASSIVE",
}
"""Environment variables that libraries read when the process starts."""
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1"}
"""No library of learned models asks the network for anything: what is not on the disk is missing."""


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    os.environ.update(OFFLINE)
    argv = sys.argv[1:] if argv is None else argv
    if argv[:3] == ["train", "--part", "depth"]:
        from .geometry import train_aggregator

        return train_aggregator.main(argv[3:]) or 0
    if argv[:1] == ["train"]:
        from .generation import train

        return train.main(argv[1:]) or 0
    arguments = _parser().parse_args(argv)
    if getattr(arguments, "models", None):
        os.environ["CLOSEUP_MODELS"] = os.path.abspath(arguments.models)
    return arguments.command(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="engine", description="Photos and a job in, close-up frames and a point cloud out.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="run or continue the job in a folder; prints one JSON line per event")
    run.add_argument("folder")
    run.add_argument("--device", help="cpu, cuda, mps; the best there is when left out")
    run.add_argument("--models", metavar="FOLDER", help="where models lie that were fetched; CLOSEUP_MODELS when left out")
    run.set_defaults(command=_run)
    serve = commands.add_parser("serve", help="the worker Blender talks to, over stdin and stdout")
    serve.add_argument("--device")
    serve.add_argument("--idle", type=float, default=900.0, help="seconds without a request after which it ends")
    serve.add_argument("--models", metavar="FOLDER")
    serve.add_argument("--outlive", action="store_true", help="when Blender ends without a word, finish the job that runs")
    serve.set_defaults(command=_serve)
    evaluate = commands.add_parser("evaluate", help="compare a folder of frames with the true ones")
    evaluate.add_argument("result")
    evaluate.add_argument("truth")
    evaluate.set_defaults(command=_evaluate)
    movie = commands.add_parser("movie", help="write a job's frames as a movie file")
    movie.add_argument("folder")
    movie.add_argument("target", help="an .mp4, .mov or .mkv file")
    movie.add_argument("--fps", type=float, default=24.0)
    movie.set_defaults(command=_movie)
    fetch = commands.add_parser("fetch-model", help="download a learned model from the Hugging Face hub; nothing else ever does")
    fetch.add_argument("name")
    fetch.add_argument("--to", metavar="FOLDER", required=True, help="the models folder")
    fetch.add_argument("--revision", default="main", help="commit of the model's repository")
    fetch.add_argument("--sha256", help="hash that its weights must have")
    fetch.set_defaults(command=_fetch_model)
    warm_up = commands.add_parser("warm-up", help="compile now what is compiled on first use; the installer does it")
    warm_up.set_defaults(command=_warm_up)
    commands.add_parser("train", help="train the embedded generator", add_help=False)
    return parser


def _run(arguments: argparse.Namespace) -> int:
    from . import worker
    from .progress import Progress

    events = worker.claim_stdout()

    def emit(event: dict) -> None:
        worker.write_line(events, event)

    try:
        last = worker.run_job(arguments.folder, Progress(emit), arguments.device)
        emit(last)
    except BrokenPipeError:
        return 1
    except KeyboardInterrupt:
        return 130
    if last["event"] == "error":
        print(last["message"], file=sys.stderr)
        return 1
    return 0


def _serve(arguments: argparse.Namespace) -> int:
    from . import worker

    worker.serve(arguments.device, arguments.idle, arguments.outlive)
    return 0


def _evaluate(arguments: argparse.Namespace) -> int:
    from .evaluation import evaluate_folders
    from .progress import EngineError

    try:
        print(evaluate_folders(arguments.result, arguments.truth))
    except (EngineError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _movie(arguments: argparse.Namespace) -> int:
    from . import movie
    from .progress import EngineError

    try:
        print(movie.write(arguments.folder, arguments.target, arguments.fps))
    except (EngineError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _fetch_model(arguments: argparse.Namespace) -> int:
    from . import models
    from .progress import EngineError

    os.environ["HF_HUB_OFFLINE"] = "0"  # this once, for the user asks for it
    try:
        place = models.fetch(arguments.name, arguments.to, arguments.revision, arguments.sha256)
    except (EngineError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{place} (weights: sha256 {models.sha256_of(place / models.WEIGHTS)})")
    return 0


def _warm_up(arguments: argparse.Namespace) -> int:
    from . import warm_up
    from .progress import EngineError

    try:
        print(f"{warm_up.run():.1f} seconds")
    except (EngineError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _restart_with_settings() -> None:
    """Start once more with SETTINGS where they are missing (Linux only: they are glibc's and libgomp's)."""
    missing = {name: value for name, value in SETTINGS.items() if name not in os.environ}
    if sys.platform == "linux" and missing:
        os.environ.update(missing)
        os.execv(sys.executable, [sys.executable, "-m", "engine", *sys.argv[1:]])


if __name__ == "__main__":
    _restart_with_settings()
    sys.exit(main())
