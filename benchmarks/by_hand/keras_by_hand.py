"""Deep Q-learning in plain Keras on TensorFlow."""

from __future__ import annotations

import os

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from by_hand import Hands


def model_of(name):
    if name == "fruit":
        return keras.Sequential(
            [
                keras.Input((15, 15, 1)),
                layers.Conv2D(16, 3, activation="relu"),
                layers.Conv2D(16, 3, activation="relu"),
                layers.Flatten(),
                layers.Dense(100, activation="relu"),
                layers.Dense(3),
            ]
        )
    return keras.Sequential(
        [
            keras.Input((84, 84, 4)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(32, 8, strides=4, activation="relu"),
            layers.Conv2D(64, 4, strides=2, activation="relu"),
            layers.Conv2D(64, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(512, activation="relu"),
            layers.Dense(256, activation="relu"),
            layers.Dense(6),
        ]
    )


def make(name):
    fruit = name == "fruit"
    discount, actions = (0.8, 3) if fruit else (0.99, 6)
    model, target = model_of(name), model_of(name)
    if fruit:
        optimizer = keras.optimizers.RMSprop(1e-3, rho=0.9, epsilon=1e-7)
    else:
        optimizer = keras.optimizers.Adam(2.5e-4, global_clipnorm=1.0)

    @tf.function(jit_compile=True)
    def change(grads):
        optimizer.apply_gradients(zip(grads, model.trainable_variables, strict=True))

    @tf.function
    def update(observation, action, reward, later_observation, terminated):
        later = (model if fruit else target)(later_observation, training=False)
        goal = reward + discount * (1.0 - terminated) * tf.reduce_max(later, axis=1)
        with tf.GradientTape() as tape:
            q = model(observation, training=True)
            chosen = tf.reduce_sum(q * tf.one_hot(action, actions), axis=1)
            error = chosen - tf.stop_gradient(goal)
            if fruit:
                loss = tf.reduce_mean(tf.square(error))
            else:
                size = tf.abs(error)
                loss = tf.reduce_mean(tf.where(size <= 1.0, 0.5 * size * size, size - 0.5))
        change(tape.gradient(loss, model.trainable_variables))
        return loss

    @tf.function(jit_compile=True)
    def select(observation):
        return tf.argmax(model(observation, training=False)[0])

    select = select.get_concrete_function(tf.TensorSpec((1, *model.input_shape[1:]), tf.uint8))

    def act(observation):
        return int(select(tf.convert_to_tensor(observation[None])))

    def step(batch):
        return update(
            tf.convert_to_tensor(batch["observation"]),
            tf.convert_to_tensor(batch["action"]),
            tf.convert_to_tensor(batch["reward"].astype(np.float32)),
            tf.convert_to_tensor(batch["next_observation"]),
            tf.convert_to_tensor(batch["terminated"].astype(np.float32)),
        )

    def sync_target():
        for ours, theirs in zip(target.variables, model.variables, strict=True):
            ours.assign(theirs)

    return Hands(act, step, sync_target, model.count_params())


def matrix_multiply(size):
    left, right = tf.random.normal((2, size, size))
    return lambda: tf.linalg.matmul(left, right).numpy()
