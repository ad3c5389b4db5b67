"""WHO: framework-free agents, their memory, objectives and training loop.

A learner is handed in from outside; nothing here imports a framework, an environment or a file
format. Adding an algorithm: its parameters in ``spec/recipe.py``, its agent in a file here.
"""
