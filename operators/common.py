"""What every operator shares."""

from __future__ import annotations

from collections.abc import Callable

from ..closeup_addon import preferences
from ..closeup_addon.errors import CloseUpError
from ..closeup_addon.languages import iface


def reported(function: Callable) -> Callable:
    """Let an operator's method fail with the sentence of a CloseUpError as its report."""

    def wrapper(self, context):  # Blender counts the arguments
        try:
            return function(self, context)
        except CloseUpError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}

    return wrapper


def grey(cls, why: str, *values: object) -> bool:
    """For ``poll``: the button is grey and says why, in the user's language. Returns False."""
    cls.poll_message_set(iface(why, *values))
    return False


def needs_engine(cls) -> bool:
    """For ``poll``: a job needs the engine; without it the button is grey and says so."""
    try:
        preferences.engine_python()
    except CloseUpError as error:
        return grey(cls, str(error))
    return True
