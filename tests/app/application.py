"""Starts the real Blender in a window that nobody sees (Xvfb), inside the folder that install_blender.py made."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

import install_blender

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
SESSION = """
export HOME=/root LIBGL_ALWAYS_SOFTWARE=1 XDG_RUNTIME_DIR=$WORK/xdg
mkdir -p $XDG_RUNTIME_DIR && chmod 700 $XDG_RUNTIME_DIR
# the server finds a display that no other one has, of other folders' sessions too
Xvfb -displayfd 3 -screen 0 ${SCREEN}x24 +extension GLX 3>$WORK/display >$WORK/xvfb.log 2>&1 & x=$!
for i in $(seq 100); do [ -s $WORK/display ] && break; sleep .1; done
export DISPLAY=:$(cat $WORK/display)
openbox >/dev/null 2>&1 & wm=$!
timeout $SECONDS_MAX blender "$@" >$WORK/blender.log 2>&1
code=$?
kill $x $wm
exit $code
"""


class Application:
    """Blender with a profile of its own and the zip installed.

    work: a folder, seen under the same path from inside and outside, and so are ``binds``.
    """

    def __init__(self, work: Path, archive: Path, binds: tuple[Path, ...] = ()):
        self.folder = install_blender.install(ROOT / ".build" / "blender-5.2")
        self.work = Path(work)
        self.binds = (self.work, *binds)
        self.environment = {
            "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin:/usr/games",
            "WORK": str(self.work),
            "BLENDER_USER_RESOURCES": str(self.work / "profile"),
        }
        (self.work / "profile").mkdir(parents=True, exist_ok=True)
        shutil.copy(archive, self.work / "closeup.zip")
        self.call("blender", "--command", "extension", "install-file", "-r", "user_default", "-e", self.work / "closeup.zip")
        # no splash over the window, no tooltips over the pictures
        quiet = "view = bpy.context.preferences.view; view.show_splash = view.show_tooltips = False; bpy.ops.wm.save_userpref()"
        self.call("blender", "--background", "--python-exit-code", "1", "--python-expr", f"import bpy; {quiet}")

    def call(self, *command: object, **environment: object) -> str:
        """A command inside; its output. Fails with it."""
        env = {**self.environment, **{key: str(value) for key, value in environment.items()}}
        line = install_blender.inside(self.folder, *command, binds=self.binds)
        done = subprocess.run(line, env=env, text=True, capture_output=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{shlex.join(map(str, command))}\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def play(self, script: Path, seconds: int, screen: str = "1280x800", **environment: object) -> None:
        """Blender in a window with a script; returns when it has quit. Its output is in ``work``/blender.log."""
        window = ("--window-geometry", "0", "0", *screen.split("x"), "--enable-event-simulate")
        self._session(*window, "--python", script, SECONDS_MAX=seconds, SCREEN=screen, **environment)

    def background(self, script: Path, *arguments: object, seconds: int, **environment: object) -> None:
        """As :meth:`play` without a window: a display is there all the same, since Blender's compositor wants one."""
        command = ("--background", "--python-exit-code", "1", "--python", script, "--", *arguments)
        self._session(*command, SECONDS_MAX=seconds, SCREEN="640x480", **environment)

    def _session(self, *arguments: object, **environment: object) -> None:
        self.call("bash", "-c", SESSION, "session", *arguments, **environment)
