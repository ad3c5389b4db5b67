"""The fruit and Space Invaders updates written by hand, one file per framework.

What a good engineer would write without Triptych: the yardstick for the cost of its abstraction.
Each file has ``make(name)`` returning ``step(batch)``, which makes one update and returns the loss.
"""
