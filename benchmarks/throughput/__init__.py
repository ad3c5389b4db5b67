"""Training steps per second, and what they are made of, against peers in one run.

``settings`` holds the one setting, S4's; ``library``, ``native``, ``beside``, ``peers``,
``cleanrl_style``, ``parts`` and ``kernels`` the systems that are measured; ``worker`` is the
process of one system, ``conductor`` lets them take turns, ``table`` computes the rows from
what they measured. ``../benchmark.py`` is the command.

A system is a class with

* ``parameters``: how many numbers its network learns, 1,816,998 for all, or None without one;
* ``prepare()``: plays the random steps and compiles, once, before anything is timed;
* ``components()``: ``{what: call}``, each call one piece of the work, complete when it returns;

and, where its line in ``conductor.py`` asks for it,

* ``run(steps)``: makes so many training steps and returns when all is computed, with ``updates``:
  how many updates its training made so far;
* ``compare(steps)``: how fast one of its two loops is, in the speed of the other.
"""
