"""Training steps per second, and what they are made of, against peers in one run.

``settings`` holds the one setting, S4's; ``library``, ``native``, ``peers``, ``cleanrl_style`` and
``parts`` the systems that are measured; ``worker`` is the process of one system, ``conductor`` lets
them take turns, ``table`` computes the rows from what they measured. ``../benchmark.py`` is the
command.

A system is a class with

* ``parameters``: how many numbers its network learns, 1,816,998 for all, or None without one;
* ``updates``: how many updates its training made so far;
* ``prepare()``: plays the random steps and compiles, once, before anything is timed;
* ``run(steps)``: makes so many training steps and returns when all is computed;
* ``components()``: ``{what: call}``, each call one piece of the work, complete when it returns.
"""
