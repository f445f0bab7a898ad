# SPDX-License-Identifier: GPL-3.0-or-later
"""CloseUp: a few photos and a keyframed camera in; the close-up frames it would have seen, and the point cloud, out."""

from .closeup_addon.registration import register, unregister  # noqa: F401
