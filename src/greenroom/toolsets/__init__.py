"""What agents can do, and how a class of your own becomes something that they can do.

Rule: a toolset knows neither the core nor another family; it reaches the world through its `ToolContext`.
"""
