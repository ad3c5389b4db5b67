"""Adam as PyTorch computes it, in Keras: for who wants two trainings to agree.

Keras adds epsilon to the root of the second moment before the bias correction, PyTorch after it:

    Keras      rate * sqrt(1 - b2^t) / (1 - b1^t) * m / (sqrt(v) + epsilon)
    PyTorch    rate * mh / (sqrt(vh) + epsilon),  mh = m / (1 - b1^t),  vh = v / (1 - b2^t)

No constant makes them equal. Keras also takes b2^t in float32, where 1 - b2^t has lost four digits
at t = 1; PyTorch takes it in float64, and so does this class.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


class TorchAdam(keras.optimizers.Optimizer):
    """``keras.optimizers.Adam`` with epsilon after the bias correction, 1e-8 unless given."""

    def __init__(
        self,
        learning_rate: float = 1e-3,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        **options: Any,
    ) -> None:
        super().__init__(learning_rate=learning_rate, **options)
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon

    def build(self, variables: list[Any]) -> None:
        """Begin with moments of zero."""
        if not self.built:
            super().build(variables)
            self.first = [self.add_variable_from_reference(v, "first") for v in variables]
            self.second = [self.add_variable_from_reference(v, "second") for v in variables]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Change one variable in place."""
        place = self._get_variable_index(variable)
        first, second = self.first[place], self.second[place]
        first.assign(self.beta_1 * first.value + (1.0 - self.beta_1) * gradient)
        second.assign(self.beta_2 * second.value + (1.0 - self.beta_2) * tf.square(gradient))
        mean = first.value / self.short(self.beta_1, variable.dtype)
        root = tf.sqrt(second.value / self.short(self.beta_2, variable.dtype))
        variable.assign_sub(tf.cast(learning_rate, variable.dtype) * mean / (root + self.epsilon))

    def short(self, beta: float, dtype: str) -> Any:
        """1 - beta^t, taken in float64."""
        t = tf.cast(self.iterations + 1, tf.float64)
        return tf.cast(1.0 - tf.pow(tf.constant(beta, tf.float64), t), dtype)

    def get_config(self) -> dict[str, Any]:
        """What :meth:`from_config` makes the same optimizer of."""
        own = {"beta_1": self.beta_1, "beta_2": self.beta_2, "epsilon": self.epsilon}
        return super().get_config() | own
