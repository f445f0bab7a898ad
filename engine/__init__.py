"""CloseUp's engine: photos and a job in, close-up frames and a fused point cloud out.

This package never imports bpy, and importing it alone loads nothing heavy, so that the
extension can use :mod:`engine.job` and :mod:`engine.protocol` inside Blender's Python.
"""

__version__ = "0.1.0"
