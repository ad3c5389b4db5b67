"""The oracle: NumPy in float64, slow and independent, the judge of the other backends."""

from triptych.backends._numpy.learner import BACKEND

__all__ = ["BACKEND"]
