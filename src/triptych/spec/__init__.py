"""WHAT: layers, networks, update rules, objectives' parameters and recipes as frozen data.

Nothing here computes with arrays of a framework, imports one, or knows an environment.
"""
