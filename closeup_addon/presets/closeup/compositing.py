import bpy

settings = bpy.context.scene.closeup

settings.percentage = 100
settings.backend = "embedded"
settings.steps = 4
settings.output = "exr"
settings.photo_size = 1600
