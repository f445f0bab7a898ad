"""Make, repair, upgrade, check and remove the engine's environment.

Every step looks at what is there and does what is missing, so an installation that ended at any moment
is continued by the next one. engine.json says "incomplete" from before the first change until after the last check.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path

from . import accelerator, bootstrap, check, home_folder, packages, places, plan, settings, state
from .downloads import Downloads
from .errors import Cancelled, InstallError
from .plan import PYTHON_VERSION, Options
from .process import Programs
from .reporter import Reporter
from .state import State

MIXED = "mixed"
"""Torch's build while one is exchanged for another: packages of either may be there."""
WARM_UP_SECONDS = 300.0
"""What compiling ahead may take; half a minute is usual."""


def install(home: Path, root: Path, reporter: Reporter, options: Options = Options(), repair: bool = False) -> None:  # noqa: B008
    """Make the environment, or continue, repair or upgrade it; a ready one is looked at and left alone.

    home: the folder to install into. root: the extension's folder, with engine/locks. repair: do not believe that it is
    ready. Raises InstallError, and Cancelled when the reporter asked for an end.
    """
    with home_folder.opened(home, reporter) as (home, reporter, lock):
        _Installation(home, Path(root), reporter, options, lock).run(repair)


def verify(home: Path, root: Path, reporter: Reporter) -> State:
    """Compare every file with its hash, import everything, compute a little; the state says what was found.

    Nothing is changed but engine.json. Raises InstallError when nothing is installed.
    """
    with home_folder.opened(home, reporter) as (home, reporter, lock):
        known = state.read(home)
        if known.state not in ("ready", "broken"):
            raise InstallError("The engine is not installed completely; press Install Engine.")
        reporter.progress(0.1, "Comparing every file with its hash")
        damaged = packages.damaged(home / places.ENGINE, deep=True, pause=lambda: _stop_if(reporter))
        reporter.progress(0.7, "Starting the engine")
        env = settings.clean_environment()
        finding = check.interpreter(places.python_of(home), root, Programs(home, reporter, lock), env, known.build)
        known.problems = [f"Files of {package.name} are missing or changed." for package in damaged]
        known.problems += finding.problems
        known.found = {**finding.found, "notes": list(finding.notes)}
        known.state = "broken" if known.problems else "ready"
        state.write(home, known)
        for line in (*known.problems, *finding.notes) or ("Every file is as it should be, and the engine starts",):
            reporter.line(line)
        return known


def remove(home: Path, reporter: Reporter) -> None:
    """Delete what was installed; models and everything else in ``home`` stay. Raises InstallError when a file is in use."""
    if not Path(home).is_dir():
        return
    with home_folder.locked(home, reporter) as (home, _):
        state.write(home, State("removing"))
        try:
            for folder in [home / name for name in places.OURS if os.path.lexists(home / name)]:
                reporter.line(f"Removing {folder}")
                places.delete(folder)
        except OSError as error:
            raise InstallError(
                f"{error.filename or home} cannot be removed ({error.strerror}); close every other Blender and remove again."
            ) from None
        for name in (places.LOG, state.FILE):
            (home / name).unlink(missing_ok=True)
        with contextlib.suppress(PermissionError):  # Windows keeps what is open
            (home / state.LOCK).unlink(missing_ok=True)  # while it is held: who waits for it sees that it is another file
    with contextlib.suppress(OSError):  # models, or another installer's first files
        home.rmdir()


class _Installation:
    """One run of :func:`install`, under the home's lock."""

    def __init__(self, home: Path, root: Path, reporter: Reporter, options: Options, lock: int) -> None:
        self.home, self.root, self.reporter, self.options = home, root, reporter, options
        self.programs = Programs(home, reporter, lock)
        self.venv, self.python = home / places.ENGINE, places.python_of(home)
        self.state = state.read(home)

    def run(self, repair: bool) -> None:
        """See :func:`install`."""
        plan.system()
        self.trusted = self.state.state == "ready" and not repair
        if not self.trusted:
            self._write("incomplete", "uv")
        self.uv = bootstrap.install_uv(self.home, self.root, self.reporter, self.programs, self.options.wheels)
        self.env = settings.uv_environment(self.home, places.venv_python(self.home / places.UV), self.options.wheels)
        self.plan = plan.make(self.root, accelerator.choose(self.options.accelerator), self.env, self.options)
        self.env.pop("UV_TORCH_BACKEND", None)  # the plan has it, and not every call may follow it
        if self.trusted and self._is_complete():
            self.reporter.line("The engine is installed already; nothing was changed")
            self._note_locks()
            return
        home_folder.check_space(self.home, self.plan.needed_bytes)
        if self.state.build != self.plan.build:
            self.state.build = MIXED
        self._write("incomplete", "python")
        finding = self._make()
        if finding.problems:
            self.reporter.line("The engine does not work; it is made again from nothing")
            places.delete(self.venv)
            self._drop_cache()
            finding = self._make()
        if finding.found.get("device") == "cpu" and not finding.problems:
            self._warm_up()
        self._finish(finding)

    def _note_locks(self) -> None:
        """An upgrade of the extension may change nothing for this machine; then it is not asked for again."""
        found = plan.locks_fingerprint(self.root)
        if self.state.locks != found:
            self.state.locks = found
            self._write("ready", "")

    def _is_complete(self) -> bool:
        """Whether a ready environment is from this very plan, with every file there."""
        if self.state.fingerprint != self.plan.fingerprint or not self.python.exists():
            return False
        return not self._missing(self.plan.pins) and not self._damaged(deep=False)

    def _make(self) -> check.Finding:
        """All steps, each doing what is missing."""
        self._make_python()
        self._forget(self._damaged(deep=not self.trusted), "Installing {} again: its files are damaged")
        self._forget(self._other_build(), "Removing {}, which belongs to another build of PyTorch")
        self._install_packages()
        damaged = self._damaged(deep=False)
        if damaged:  # the downloads that were kept are damaged too
            self._drop_cache()
            self._forget(damaged, "Downloading {} again: what was kept is damaged")
            self._install_packages()
        self._write("incomplete", "check")
        self.reporter.progress(0.95, "Starting the engine")
        self.reporter.line("Checking the engine")
        return check.interpreter(self.python, self.root, self.programs, settings.clean_environment(), self.plan.build)

    def _make_python(self) -> None:
        """The virtual environment; one whose interpreter does not start is made again."""
        question = [self.python, "-I", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
        if self.python.exists():
            with contextlib.suppress(InstallError):
                if self.programs.run(question, "Python does not start", self.env, quiet=True) == [PYTHON_VERSION]:
                    return
        self.reporter.progress(0.02, f"Making a Python {PYTHON_VERSION} environment")
        self.reporter.line(f"Making a Python {PYTHON_VERSION} environment")
        places.delete(self.venv)
        command, failure = [self.uv, "venv", "--quiet", self.venv, "--python"], f"Python {PYTHON_VERSION} could not be installed"
        try:
            self.programs.run([*command, PYTHON_VERSION], failure, self.env)
        except InstallError:
            if f"{sys.version_info[0]}.{sys.version_info[1]}" != PYTHON_VERSION:
                raise
            self.programs.run([*command, bootstrap.interpreter()], failure, self.env)  # no network: Blender's own Python will do

    def _install_packages(self) -> None:
        """uv, step by step; what is there already is not touched."""
        total = sum(pin.bytes for pin in self.plan.pins) or 1
        before = 0
        for step in self.plan.steps:
            self._write("incomplete", step.title)
            after = before + sum(pin.bytes for pin in step.pins)
            share = (0.05 + 0.9 * before / total, 0.05 + 0.9 * after / total)
            before = after
            missing = self._missing(step.pins)
            downloads = Downloads(missing, Path(self.env["UV_CACHE_DIR"]), self.reporter, share)
            amount = f"{len(missing)} of {len(step.pins)} missing, {sum(pin.bytes for pin in missing) >> 20} MB"
            self.reporter.progress(share[0], f"{step.title}: {amount}" if step.pins else step.title)
            command = [self.uv, "pip", "install", "--python", self.python, *step.arguments]
            failure = "The packages could not be installed"
            self.programs.run(command, failure, self.env, downloads.line, downloads.tick)

    def _missing(self, pins: tuple[plan.Pin, ...]) -> list[plan.Pin]:
        there = {(package.name, package.version) for package in packages.installed(self.venv)}
        return [pin for pin in pins if (pin.name, pin.version) not in there]

    def _damaged(self, deep: bool) -> list[packages.Package]:
        return packages.damaged(self.venv, deep, pause=lambda: _stop_if(self.reporter))

    def _other_build(self) -> list[packages.Package]:
        """What belongs to a build of torch that is not wanted any more; it may be gigabytes."""
        if self.state.build != MIXED:
            return []
        wanted = {(pin.name, pin.version) for pin in self.plan.pins}
        there = packages.installed(self.venv)
        return [item for item in there if packages.ACCELERATED.fullmatch(item.name) and (item.name, item.version) not in wanted]

    def _forget(self, found: list[packages.Package], why: str) -> None:
        for package in found:
            _stop_if(self.reporter)
            self.reporter.line(why.format(package.name))
            packages.forget(package, self.venv)

    def _drop_cache(self) -> None:
        """Downloads are kept until the end, for an installation that is interrupted; never those of the user's own cache."""
        places.delete(self.home / places.CACHE)

    def _warm_up(self) -> None:
        """Compile the loops for the CPU now rather than in the first job; where it fails, that job does it."""
        self._write("incomplete", "warm-up")
        self.reporter.progress(0.96, "Compiling for this processor")
        self.reporter.line("Compiling for this processor")
        programs, late = Programs(self.root, self.reporter), time.monotonic() + WARM_UP_SECONDS

        def watch() -> None:
            if time.monotonic() > late:
                raise InstallError(f"it took longer than {WARM_UP_SECONDS:.0f} seconds")

        try:
            programs.run([self.python, "-m", "engine", "warm-up"], "it failed", settings.clean_environment(), tick=watch)
        except InstallError as error:
            self.reporter.line(f"The first job will compile it instead: {str(error).partition(';')[0]}")

    def _finish(self, finding: check.Finding) -> None:
        self.state.note = self.plan.note(finding.found.get("device", ""))
        self.state.found = {**finding.found, "notes": list(finding.notes)}
        self.state.problems = list(finding.problems)
        self.state.build, self.state.accelerator = self.plan.build, self.plan.accelerator.kind
        if finding.problems:
            self._write("broken", "check")
            raise InstallError(f"The engine does not work: {' '.join(finding.problems)}")
        self._drop_cache()
        self.state.bytes = places.size(*(self.home / name for name in places.OURS))
        self.state.fingerprint, self.state.locks = self.plan.fingerprint, plan.locks_fingerprint(self.root)
        if hasattr(os, "sync"):
            os.sync()  # after a power cut "ready" must not stand there without the files
        self._write("ready", "")
        self.reporter.progress(1.0, "The engine is ready")
        self.reporter.line("The engine is ready")

    def _write(self, name: str, step: str) -> None:
        self.state.state, self.state.step = name, step
        state.write(self.home, self.state)


def _stop_if(reporter: Reporter) -> None:
    if reporter.cancelled():
        raise Cancelled("Stopped; nothing was lost.")
