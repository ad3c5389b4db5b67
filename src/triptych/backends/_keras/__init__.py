"""The Keras panel: Keras 3 models and optimizers on TensorFlow.

Importing it makes TensorFlow's operations deterministic, so that two runs are bit-identical.
"""

import tensorflow as tf

tf.config.experimental.enable_op_determinism()

from triptych.backends._keras.learner import BACKEND  # noqa: E402

__all__ = ["BACKEND"]
