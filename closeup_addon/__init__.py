"""Blender's side of CloseUp, below the buttons: scene to job, the queue of jobs, the engine's process, results to scene.

Scripts use :mod:`.api`; what a button does, a function there does.
"""
