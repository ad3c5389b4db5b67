"""Keras' models as sources: read, run, written and loaded again; their optimizers too."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from triptych.backends import registry
from triptych.backends.carried import Given, Source, Trained
from triptych.backends.protocol import Params
from triptych.errors import PortError, Unsupported
from triptych.port.proof import Weighted, apart_by_example, inputs_of
from triptych.spec.layers import BatchNorm, Dropout, Rescale
from triptych.spec.network import Network
from triptych.spec.notation import parse
from triptych.spec.rules import SGD, Adagrad, Adam, AdamW, Clip, RMSprop, Rule, constant
from triptych.spec.schedules import Cosine, Exponential, Linear, Piecewise
from triptych.testing.cases import NETWORKS
from triptych.testing.recurrent_cases import RECURRENT

PORTER = registry.porter("keras")  # which imports PyTorch before TensorFlow
sys.path.insert(0, str(Path(__file__).parents[2] / "zoo"))
keras, keras_zoo = pytest.importorskip("keras"), pytest.importorskip("keras_zoo")
tf = pytest.importorskip("tensorflow")
layers, ops, optimizers = keras.layers, keras.ops, keras.optimizers

CASES = {case.name: case for case in (*NETWORKS, *RECURRENT)}


@pytest.fixture(autouse=True)
def quickly() -> Iterator[None]:
    """Let Keras compute without tracing first, which takes longer than the few steps here."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def of_zoo(name: str) -> Source:
    return PORTER.read_object(keras_zoo.shake(keras_zoo.MODELS[name]()), Given())


def small(optimizer: Any = None) -> Any:
    model = keras.Sequential([
        keras.Input((6,)), layers.Dense(7, activation="tanh"), layers.BatchNormalization(),
        layers.Dense(3),
    ])  # fmt: skip
    if optimizer is not None:
        model.compile(optimizer=optimizer, loss="mse")
    return keras_zoo.shake(model)


def typed(inputs: np.ndarray, dtype: str) -> np.ndarray:
    return inputs if inputs.dtype.kind == "i" else inputs.astype(dtype)


def close(left: Params, right: Params, bar: float) -> None:
    largest = max(float(np.abs(array).max()) for array in left.values())
    for name, array in left.items():
        scale = max(float(np.abs(array).max()), 1e-3 * largest)
        assert np.abs(array - right[name]).max() <= bar * scale, name


# --- reading -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", keras_zoo.MODELS)
def test_the_zoo_is_read_and_computed(name: str) -> None:
    source = of_zoo(name)
    trained = source.trained
    inputs = inputs_of(trained.network, seed=3)
    for backend, dtype, bar in (("keras", "float32", 1e-5), ("numpy", "float64", 1e-12)):
        learner = registry.get(backend).learner(trained.network, trained.params, dtype=dtype)
        own = source.outputs(typed(inputs, dtype), dtype)
        assert apart_by_example(own, learner.outputs(typed(inputs, dtype))) <= bar
    told = source.layer_outputs(typed(inputs, "float64"), "float64")
    ours = learner.layer_outputs(typed(inputs, "float64"))
    assert len(told) >= 3
    assert all(apart_by_example(told[node], ours[node]) <= 1e-12 for node in told)


@pytest.mark.parametrize("name", ["vgg11", "mobilenet_v2", "gru_text", "shared_layers", "unet"])
def test_gradients_are_the_sources_own(name: str) -> None:
    source = of_zoo(name)
    trained = source.trained
    off = [
        replace(node, layer=Dropout(0.0)) if isinstance(node.layer, Dropout) else node
        for node in trained.network.nodes
    ]
    inputs = typed(inputs_of(trained.network, seed=1)[:4], "float64")
    shape = trained.network.shapes[trained.network.output.name]
    weights = np.random.default_rng(0).normal(size=(4, *shape))
    before = source.outputs(inputs, "float64")
    learner = registry.get("keras").learner(
        Network(tuple(off)), trained.params, objective=Weighted(), dtype="float64"
    )
    ours = learner.gradients({"observation": inputs, "weights": weights})
    found = source.gradients(inputs, weights, "float64")
    assert found is not None and set(found) == set(trained.network.trainable)
    close(found, ours, 1e-11)
    assert np.array_equal(source.outputs(inputs, "float64"), before), "statistics moved"


APPLICATIONS = {
    "MobileNetV2": {"alpha": 0.35},
    "ResNet50": {},
    "DenseNet121": {},
}


@pytest.mark.parametrize("name", APPLICATIONS)
def test_applications_are_read_and_computed(name: str, tmp_path: Path) -> None:
    make = getattr(keras.applications, name)
    model = make(input_shape=(32, 32, 3), weights=None, classes=5, **APPLICATIONS[name])
    source = PORTER.read_object(keras_zoo.shake(model), Given())
    trained = source.trained
    assert len(trained.params) == len(model.weights)
    inputs = inputs_of(trained.network, seed=0)[:1].astype("float32")
    own = source.outputs(inputs, "float32")
    learner = registry.get("keras").learner(trained.network, trained.params, dtype="float32")
    assert apart_by_example(own, learner.outputs(inputs)) <= 1e-5
    if name == "MobileNetV2":
        PORTER.write(trained, tmp_path / "net.keras", "net")
        written = PORTER.load(trained, tmp_path / "net.keras", "net")
        assert apart_by_example(own, written.outputs(inputs, "float32")) <= 1e-5
        params = written.params()
        assert all(np.array_equal(params[key], trained.params[key]) for key in trained.params)


def test_one_layer_at_two_places_stays_one() -> None:
    network = of_zoo("shared_layers").trained.network
    sharing = {node.name: node.shares for node in network.nodes if node.shares}
    assert len(sharing) == 2 and set(sharing.values()) <= set(network.by_name)
    assert network.parameter_count == 8 * 8 + 8 * 7 + 7 + 7 * 5 + 5 + 10 * 2 + 2


def test_an_open_input_is_asked_for_and_taken() -> None:
    inputs = keras.Input((None, None, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(inputs))
    model = keras.Model(inputs, layers.Dense(2)(x))
    with pytest.raises(PortError, match=r"inputs of \?x\?x3; say .* --input 32x32x3"):
        PORTER.read_object(model, Given())
    with pytest.raises(PortError, match="not 9x9x1"):
        PORTER.read_object(model, Given(shape=(9, 9, 1)))
    source = PORTER.read_object(model, Given(shape=(9, 11, 3)))
    x = np.random.default_rng(0).normal(size=(2, 9, 11, 3))
    learner = registry.get("numpy").learner(
        source.trained.network, source.trained.params, dtype="float64"
    )
    assert apart_by_example(source.outputs(x, "float64"), learner.outputs(x)) <= 1e-12


REFUSED = {
    "attention": (lambda x: layers.Attention()([x, x]), (5, 4), "attention.*Attention"),
    "cropping": (layers.Cropping2D(1), (6, 6, 2), r"cropping2d.*\(Cropping2D\)"),
    "upsampling": (layers.UpSampling2D(2), (6, 6, 2), r"up_sampling2d.*no canonical form"),
    "relu": (layers.ReLU(max_value=5.0), (4,), "max_value=5.0"),
    "own activation": (layers.Dense(3, activation=lambda x: x * x), (4,), "lambda"),
    "softmax": (layers.Softmax(axis=1), (4, 3), "axis 1"),
    "square": (ops.square, (4,), "numpy.Square"),
    "reversed": (layers.LSTM(3, go_backwards=True, return_sequences=True), (5, 2), "reversed"),
    "mask": (
        lambda x: layers.GRU(2)(layers.Dense(3)(layers.Masking()(x))), (5, 2), "takes a mask",
    ),
    "zeroed": (lambda x: layers.Dense(3)(layers.Masking(1.0)(x)), (5, 2), "Masking layer set"),
    "transposed": (layers.Conv2DTranspose(2, 2, strides=3), (4, 4, 1), "than its kernel reaches"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_canonical_form_is_named_with_its_place(name: str) -> None:
    layer, shape, words = REFUSED[name]
    start = keras.Input(shape)
    model = keras.Model(start, layer(start), name="own")
    with pytest.raises(PortError, match=f"(?s)^own: .*{words}"):
        PORTER.read_object(model, Given())


def test_code_that_keras_cannot_trace_is_named() -> None:
    class Odd(layers.Layer):
        def call(self, x):
            return tf.raw_ops.Relu(features=x)

    start = keras.Input((4,))
    with pytest.raises(PortError, match=r"the call of Odd can't be followed"):
        PORTER.read_object(_untraced(Odd()), Given())
    del start


def _untraced(layer: Any) -> Any:
    class Model(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.inner = layer

        def call(self, x):
            return self.inner(x)

    model = Model()
    model(np.zeros((1, 4), "float32"))
    return model


def test_two_inputs_are_refused() -> None:
    one, two = keras.Input((3,)), keras.Input((3,))
    with pytest.raises(PortError, match="2 inputs and 1 outputs"):
        PORTER.read_object(keras.Model([one, two], layers.Add()([one, two])), Given())


def test_training_alone_and_constants_are_noted() -> None:
    model = keras.Sequential([
        keras.Input((4, 4, 2)), layers.Rescaling(1 / 255), layers.GaussianNoise(0.1),
        layers.Conv2D(3, 2), layers.BatchNormalization(scale=False), layers.Flatten(),
        layers.Dense(2),
    ])  # fmt: skip
    model.layers[-1].trainable = False
    source = PORTER.read_object(model, Given())
    notes = "\n".join(source.trained.notes)
    assert "GaussianNoise" in notes and "constant 1" in notes and "trainable=False" in notes
    norm = source.trained.network.nodes_of(BatchNorm)[0].name
    assert np.array_equal(source.trained.params[f"{norm}/scale"], np.ones(3))
    found = source.gradients(np.ones((2, 4, 4, 2)), np.ones((2, 2)), "float64")
    assert found is not None and f"{norm}/scale" not in found
    assert source.trained.network.nodes_of(Rescale)


# --- writing -------------------------------------------------------------------------------------

_HOME = """
import sys
sys.modules["triptych"] = None
sys.path.insert(0, {folder!r})
import numpy as np
import net
x = np.load("x.npy")
np.save("y.npy", np.asarray(net.load("net.keras")(x, training=False)))
"""


@pytest.mark.parametrize("name", ["unet"])
def test_the_written_text_loads_without_triptych(name: str, tmp_path: Path) -> None:
    source = of_zoo(name)
    written = PORTER.write(source.trained, tmp_path / "net.keras", name)
    assert written == [tmp_path / "net.keras", tmp_path / "net.py"]
    inputs = inputs_of(source.trained.network, seed=0).astype("float32")
    np.save(tmp_path / "x.npy", inputs)
    code = _HOME.format(folder=str(tmp_path))
    environment = {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3", "PATH": "/usr/bin"}
    subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, check=True, env=environment,
        capture_output=True,
    )  # fmt: skip
    again = PORTER.load(source.trained, tmp_path / "net.keras", name)
    found = np.load(tmp_path / "y.npy")  # another process may order a sum otherwise
    assert apart_by_example(found, again.outputs(inputs, "float32")) <= 1e-5


@pytest.mark.parametrize("name", CASES)
def test_every_layer_is_written_and_read_back(name: str, tmp_path: Path) -> None:
    network = CASES[name].network
    params = _params(network)
    trained = Trained(network, params)
    path = tmp_path / "net.keras"
    PORTER.write(trained, path, name)
    written = PORTER.load(trained, path, name)
    params_again = written.params()
    assert set(params_again) == set(params)
    assert all(np.array_equal(params_again[key], params[key]) for key in params)
    inputs = typed(inputs_of(network, seed=0), "float64")
    oracle = registry.get("numpy").learner(network, params, dtype="float64").outputs(inputs)
    assert apart_by_example(oracle, written.outputs(inputs, "float64")) <= 1e-12
    source = PORTER.read(path, Given())
    assert source.trained.network == network
    assert all(np.array_equal(source.trained.params[key], params[key]) for key in params)
    assert apart_by_example(oracle, source.outputs(inputs, "float64")) <= 1e-12


def _params(network: Network) -> Params:
    stream = np.random.default_rng(5)
    return {
        name: stream.uniform(0.5, 1.5, item.shape)
        if name.endswith("/variance")
        else stream.normal(0.0, 0.5, item.shape)
        for name, item in network.parameters.items()
    }


# --- optimizers ----------------------------------------------------------------------------------

RULES = {
    "SGD momentum": (
        lambda: optimizers.SGD(0.05, momentum=0.9, nesterov=True),
        SGD(constant(0.05), momentum=0.9, nesterov=True),
    ),
    "Adam": (
        lambda: optimizers.Adam(
            optimizers.schedules.ExponentialDecay(0.02, 7, 0.5), beta_1=0.8, epsilon=1e-4,
            global_clipnorm=0.5,
        ),
        Adam(Exponential(0.02, 0.5, 7), clip=Clip(global_norm=0.5), beta1=0.8, epsilon=1e-4,
             epsilon_before_correction=True),
    ),
    "AdamW": (
        lambda: optimizers.AdamW(0.01, weight_decay=0.1, clipnorm=0.3),
        AdamW(constant(0.01), clip=Clip(norm=0.3), epsilon=1e-7, epsilon_before_correction=True,
              weight_decay=0.1),
    ),
    "RMSprop": (
        lambda: optimizers.RMSprop(0.01, rho=0.8, momentum=0.5, epsilon=1e-3),
        RMSprop(constant(0.01), decay=0.8, epsilon=1e-3, epsilon_inside_root=True, momentum=0.5),
    ),
    "RMSprop centered": (
        lambda: optimizers.RMSprop(0.01, centered=True, epsilon=1e-2, clipvalue=0.1),
        RMSprop(constant(0.01), clip=Clip(value=0.1), decay=0.9, epsilon=1e-2,
                epsilon_inside_root=True, centered=True),
    ),
    "Adagrad": (
        lambda: optimizers.Adagrad(0.1),
        Adagrad(constant(0.1), epsilon=1e-7, epsilon_inside_root=True, initial=0.1),
    ),
}  # fmt: skip


def at_home(make: Any, batches: int) -> Any:
    """A model in float64 that its own optimizer has trained on the first batches."""
    keras.config.set_dtype_policy("float64")
    keras.config.set_floatx("float64")
    try:
        model = small()
        optimizer = make()
        optimizer.build(model.trainable_variables)
        for owner in (optimizer, optimizer._learning_rate, *model.layers):
            _digits(owner)
        model.optimizer = optimizer
        learn(model, range(batches))
    finally:
        keras.config.set_dtype_policy("float32")
        keras.config.set_floatx("float32")
    return model


def _digits(owner: Any) -> None:
    """Keras takes Python numbers through float32, even to float64."""
    for name, value in list(vars(owner).items()):
        if type(value) is float:
            object.__setattr__(owner, name, np.float64(value))


def batch(number: int) -> dict[str, np.ndarray]:
    stream = np.random.default_rng(number)
    return {"observation": stream.normal(size=(5, 6)), "weights": stream.normal(size=(5, 3)) / 5}


def learn(model: Any, numbers: range) -> None:
    keras.config.set_floatx("float64")
    for number in numbers:
        one = batch(number)
        with tf.GradientTape() as tape:
            output = model(tf.constant(one["observation"]), training=True)
            loss = tf.reduce_sum(output * tf.constant(one["weights"]))
        own = model.trainable_variables
        model.optimizer.apply(tape.gradient(loss, [v.value for v in own]), own)
    keras.config.set_floatx("float32")


@pytest.mark.parametrize("name", RULES)
def test_fifty_updates_in_pytorch_are_fifty_at_home(name: str) -> None:
    make, rule = RULES[name]
    model = at_home(make, 5)
    source = PORTER.read_object(model, Given(), model.optimizer)
    trained = source.trained
    assert trained.rule == rule and trained.slots is not None and trained.slots.updates == 5
    learner = registry.get("torch").learner(
        trained.network, trained.params, objective=Weighted(), rule=trained.rule, dtype="float64"
    )
    learner.load_slots(trained.slots)
    for number in range(5, 55):
        learner.update(batch(number))
    learn(model, range(5, 55))
    close(PORTER.read_object(model, Given()).trained.params, learner.params(), 1e-11)


def test_keras_own_adam_goes_on_natively(tmp_path: Path) -> None:
    model = at_home(lambda: optimizers.Adam(0.01, epsilon=1e-3), 7)
    trained = PORTER.read_object(model, Given()).trained
    PORTER.write(trained, tmp_path / "net.keras", "net")
    again = keras.saving.load_model(tmp_path / "net.keras")
    assert type(again.optimizer) is optimizers.Adam
    assert int(again.optimizer.iterations) == 7
    for own, other in zip(model.optimizer._momentums, again.optimizer._momentums, strict=True):
        assert np.array_equal(np.array(own), np.array(other))
    found = PORTER.read(tmp_path / "net.keras", Given()).trained
    assert trained.slots is not None and found.slots is not None and found.slots.updates == 7
    for slot, arrays in trained.slots.values.items():
        assert all(np.array_equal(found.slots.values[slot][key], arrays[key]) for key in arrays)


OWN = {
    "adam": Adam(constant(0.01)),
    "momentum": SGD(constant(0.1), momentum=0.9, l2=0.01),
    "rmsprop": RMSprop(Linear(0.1, 0.01, 20), centered=True, momentum=0.5),
    "adagrad": Adagrad(constant(0.1), initial=0.5),
    "keras": AdamW(constant(0.01), epsilon_before_correction=True),
}


@pytest.mark.parametrize("name", OWN)
def test_slots_are_written_and_read_back(name: str, tmp_path: Path) -> None:
    rule: Rule = OWN[name]
    network = parse("5x3 -> gru 4 -> dense 3 -> batch_norm -> dense 2")
    learner = registry.get("numpy").learner(
        network, _params(network), objective=Weighted(), rule=rule, dtype="float64"
    )
    stream = np.random.default_rng(1)
    for _ in range(3):
        learner.update({
            "observation": stream.normal(size=(4, 5, 3)), "weights": stream.normal(size=(4, 2)),
        })  # fmt: skip
    trained = Trained(network, learner.params(), rule, learner.slots())
    PORTER.write(trained, tmp_path / "net.keras", "net")
    found = PORTER.read(tmp_path / "net.keras", Given(network=network, rule=rule)).trained
    assert found.slots is not None and found.slots.updates == 3
    for slot, arrays in learner.slots().values.items():
        for key, array in arrays.items():
            assert np.array_equal(found.slots.values[slot][key], array), (slot, key)
    names: dict[str, Any] = {"__name__": "net"}
    exec((tmp_path / "net.py").read_text(), names)
    again = names["load_training"](tmp_path / "net.keras")
    assert int(again.optimizer.iterations) == 3


LEFT = {
    "Nadam": (lambda: optimizers.Nadam(0.1), "none of SGD"),
    "amsgrad": (lambda: optimizers.Adam(0.1, amsgrad=True), "amsgrad"),
    "ema": (lambda: optimizers.SGD(0.1, use_ema=True), "use_ema"),
    "decay": (lambda: optimizers.SGD(0.1, weight_decay=0.1), "weight_decay"),
    "momentum": (
        lambda: optimizers.SGD(optimizers.schedules.CosineDecay(0.1, 10), momentum=0.9),
        "changing rate in the buffer",
    ),
    "warmup": (
        lambda: optimizers.Adam(
            optimizers.schedules.CosineDecay(0.1, 10, warmup_target=0.2, warmup_steps=3)
        ),
        "warms up",
    ),
}


@pytest.mark.parametrize("name", LEFT)
def test_an_optimizer_without_words_is_left_behind_by_name(name: str) -> None:
    make, words = LEFT[name]
    trained = PORTER.read_object(small(make()), Given()).trained
    assert trained.rule is None and trained.slots is None
    assert any("left behind" in note and words in note for note in trained.notes)


def test_a_norm_of_all_gates_together_is_left_behind() -> None:
    model = keras.Sequential([keras.Input((5, 3)), layers.GRU(4), layers.Dense(2)])
    model.compile(optimizer=optimizers.Adam(0.1, clipnorm=1.0))
    (note,) = PORTER.read_object(model, Given()).trained.notes
    assert "all gates" in note


def test_schedules_are_told() -> None:
    kinds = optimizers.schedules
    told = {
        kinds.CosineDecay(0.1, 20, alpha=0.5): Cosine(0.1, 0.05, 20),
        kinds.PolynomialDecay(0.1, 30, 0.01): Linear(0.1, 0.01, 30),
        kinds.PiecewiseConstantDecay([3, 5], [0.3, 0.2, 0.1]): Piecewise((4, 6), (0.3, 0.2, 0.1)),
    }
    for native, schedule in told.items():
        rule = PORTER.read_object(small(optimizers.Adam(native)), Given()).trained.rule
        assert rule is not None and rule.rate == schedule
        for count in (0, 2, 3, 4, 5, 6, 29, 40):
            assert abs(float(native(count)) - schedule.value(count)) < 1e-6


def test_what_keras_cannot_keep_leaves_nothing_behind(tmp_path: Path) -> None:
    trained = of_zoo("lenet").trained
    with pytest.raises(Unsupported, match=r"net.h5.*write .keras"):
        PORTER.write(trained, tmp_path / "net.h5", "net")
    assert not list(tmp_path.iterdir())
