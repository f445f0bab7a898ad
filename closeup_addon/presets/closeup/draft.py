import bpy

settings = bpy.context.scene.closeup

settings.percentage = 50
settings.backend = "embedded"
settings.steps = 2
settings.output = "png"
settings.photo_size = 800
