"""Identification by probing: what a live object computes, found from its answers.

:mod:`rules` names an update rule with its constants, clipping, decay and schedule from the moves it
makes under chosen gradients; its neighbours do the same for other parts. Nothing here imports a
framework: the object under question stands behind a function over NumPy arrays. Reading attributes
of live objects (an audit) does not belong here.
"""
