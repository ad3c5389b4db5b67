"""Networks that are awkward to write as source: uneven padding, branches, hard names, chance."""

from __future__ import annotations

import numpy as np

ACTIVATIONS = (
    *("relu", "relu6", "leaky_relu", "elu", "selu", "gelu", "silu", "sigmoid", "hard_sigmoid"),
    *("tanh", "softplus", "softmax", "log_softmax"),
)

NETWORKS = {
    "fruit": "15x15x1 -> [conv 16 3x3 relu]*2 -> flatten -> dense 100 relu -> dense 3",
    "space-invaders": "84x84x4 -> rescale 1/255 -> conv 32 8x8/4 relu -> conv 64 4x4/2 relu "
    "-> conv 64 3x3 relu -> flatten -> dense 512 relu -> dense 256 relu -> dense 6",
    "every activation": {"input": "7", "a": "rescale 30 offset -3"}
    | {f"n_{kind}": f"{kind} <- a" for kind in ACTIVATIONS}
    | {
        "slope": "leaky_relu slope 0.3 <- a",
        "odd": "rescale 0.12345678901 offset -3 <- a",
        "alpha": "elu alpha 0.7 <- a",
        "fifth": "hard_sigmoid slope 1/5 <- a",
        "tanh_form": "gelu approximate <- a",
        "all": "concatenate <- slope, odd, alpha, fifth, tanh_form, "
        + ", ".join(f"n_{kind}" for kind in ACTIVATIONS),
    },
    "same, uneven": "9x7x4 -> conv 6 3x2/2 pad same groups 2 leaky_relu -> conv 5 4x4 pad same "
    "-> average_pool 3x3/1 pad same count padding -> average_pool 2x3/1 pad same count padding "
    "-> max_pool 3x2/2 pad same -> average_pool 2x3/2 pad same -> flatten -> dense 3",
    "explicit padding": "9x7x3 -> conv 4 3x5/2 pad 2,0,1,3 -> max_pool 3x2/2 pad 1,0,0,1 "
    "-> average_pool 3x3/2 pad 0,1,2,1 -> conv 2 1x1 pad 2 -> average_pool 2x2 pad 1,0,0,1 "
    "count padding -> average_pool 2x2 pad 1 -> max_pool 2x2/1 pad 1",
    "dilation": "13x12x4 -> conv 4 3x2 dilation 2x3 pad same groups 4 -> conv 6 2x3/2x3 dilation 2 "
    "pad same no bias -> conv 3 2x2/1x2 dilation 2 pad 1 -> conv 2 1x1/2 dilation 2",
    "transposed": "5x4x3 -> conv_transpose 4 3x4/2 pad same relu6 -> conv_transpose 3 2x2/3 elu "
    "-> conv_transpose 2 2x1/3x2 pad same no bias -> conv_transpose 3 4x5/2 pad 2,0,1,3 "
    "-> conv 2 3x3/3 -> conv_transpose 3 3x3 -> conv_transpose 2 3x2/2 pad 1",
    "transposed, dilated": "5x4x3 -> conv_transpose 4 3x2/2 dilation 2x3 pad same "
    "-> conv_transpose 2 2x3/1x2 dilation 2 pad 1,0,0,2 -> conv_transpose 2 2x1/4 dilation 2",
    "image out": "6x5x3 -> conv 4 3x3 -> dense 5 -> layer_norm tanh -> softmax",
    "no windows": "6x5x3 -> dense 4 -> batch_norm -> layer_norm softmax -> flatten -> dense 2",
    "rows": "6x5 -> batch_norm -> layer_norm -> dense 3 -> batch_norm",
    "indices": "6 index -> embedding 11 4 -> layer_norm -> flatten -> dense 3",
    "index image": "6x5 index -> embedding 11 4 -> conv 3 2x2 -> flatten -> dense 2",
    "nothing to learn": "6x5x3 -> rescale 1/3 offset -0.5 -> relu -> flatten",
    "dropout": "7 -> dense 5 relu -> dropout 0.3 -> dense 2",
    "over time": "5x4 -> lstm 3 sequences -> gru 2 sequences reverse -> elman 3 activation relu "
    "biases 2 sequences -> lstm 2 biases 2 reverse -> dense 2",
    "loops": "5x4 -> lstm 3 biases 2 activation relu gate hard_sigmoid sequences mask 0.3 "
    "-> gru 2 reset_after false sequences reverse -> gru 3 biases 1 candidate_bias true sequences "
    "-> gru 2 biases 1 reset_after false gate hard_sigmoid sequences "
    "-> elman 2 mask -1 activation sigmoid -> tanh",
    "moved": {
        "input": "6x5x2",
        "a": "pad 1,0,0,2",
        "b": "conv 4 3x3 relu",
        "c": "permute 1,2,0",
        "d": "average_pool 5x4",
        "e": "dense 5 sigmoid",
        "f": "multiply <- c, e",
        "g": "reshape 10x2x5",
        "h": "reshape 2x5x2x5",
        "i": "permute 3,0,2,1",
        "j": "dense 3",
        "k": "softmax",
        "rows": "reshape 6x10",
        "m": "permute 1,0 tanh",
        "n": "reshape 2x10x3",
        "o": "max_pool 2x5",
        "p": "reshape 6",
        "q": "dense 4",
    },
    "moved, no windows": "4x3x2 -> pad 0,1,2,0 -> permute 2,0,1 -> dense 4 -> reshape 5x8 "
    "-> permute 1,0 -> layer_norm -> dense 2 -> reshape 4x4 -> lstm 3",
    "shared": {
        "input": "6x5x3",
        "a": "conv 3 3x3 pad same",
        "b": "batch_norm keep 0.7 relu",
        "c": "shares a <- b",
        "d": "shares b gelu <- c",
        "e": "multiply <- d, b",
        "f": "shares a tanh",
        "g": "reshape 6x15",
        "h": "gru 4 sequences",
        "i": "dense 15",
        "j": "shares h",
        "k": "multiply <- j, h",
        "out": "shares i",
    },
    "dueling": {
        "input": "9x8x2",
        "a": "conv 4 3x3 pad same relu",
        "b": "conv 4 3x3 pad same batch_norm".replace(" batch_norm", ""),
        "n": "batch_norm unbiased epsilon 1e-5",
        "s": "add <- relu1, n",
        "r": "relu",
        "c": "concatenate <- r, relu1, a",
        "d": "dropout 0.2",
        "f": "flatten",
        "value": "dense 1",
        "advantage": "dense 4 <- f",
        "q": "dueling <- value, advantage",
    },
    "hard names": {
        "input": "6x5x2",
        "x": "conv 3 2x2 relu",
        "F": "conv 3 1x1",
        "layers": "conv 3 1x1 <- relu1",
        "ops": "add <- F, layers",
        "inputs": "layer_norm leaky_relu",
        "params": "gelu",
        "keras": "flatten",
        "jnp": "dense 3",
        "leaky_relu": "dense 3 <- keras",
        "self": "add <- jnp, leaky_relu",
    },
    "long names": {
        "input": "6x5x2",
        "the_first_of_several_convolutions": "conv 3 2x2 pad 1,0,0,1 leaky_relu",
        "a_normalisation_with_a_long_name": "batch_norm <- the_first_of_several_convolutions",
        "another_transposed_convolution": "conv_transpose 3 2x1/3 pad same",
        "a_pool_whose_name_is_quite_long": "max_pool 3x2/2 pad 1,0,0,1 <- leaky_relu1",
        "f1": "flatten <- a_normalisation_with_a_long_name",
        "f2": "flatten <- another_transposed_convolution",
        "f3": "flatten <- a_pool_whose_name_is_quite_long",
        "first_dense_layer_of_the_three": "dense 2 <- f1",
        "second_dense_layer_of_the_three": "dense 2 <- f2",
        "third_dense_layer_of_the_three": "dense 2 <- f3",
        "the_sum_of_all": "add <- first_dense_layer_of_the_three, second_dense_layer_of_the_three, "
        "third_dense_layer_of_the_three",
    },
}


def random_notation(seed):
    """A random chain of windows on a small image that is not square."""
    rng = np.random.default_rng(seed)
    pair = lambda low, high: "x".join(str(n) for n in rng.integers(low, high, 2))  # noqa: E731
    pad = lambda: rng.choice(["valid", "same", ",".join(map(str, rng.integers(0, 2, 4)))])  # noqa: E731
    items = [f"{rng.integers(9, 14)}x{rng.integers(9, 14)}x4"]
    for _ in range(3):
        kind = rng.choice(["conv", "conv_transpose", "max_pool", "average_pool"])
        if kind == "conv":
            item = f"conv {4 * rng.integers(1, 3)} {pair(1, 4)}/{pair(1, 3)} pad {pad()}"
            items.append(f"{item} dilation {pair(1, 3)} groups {rng.choice([1, 2, 4])}")
        elif kind == "conv_transpose":
            item = f"conv_transpose 4 {pair(1, 4)}/{pair(1, 4)} pad {pad()}"
            items.append(f"{item} dilation {pair(1, 3)}")
        else:
            items.append(f"{kind} {pair(2, 4)}/{pair(1, 3)} pad {pad()}")
        items[-1] += f" {rng.choice(ACTIVATIONS)}"
    return " -> ".join([*items, "flatten", "dense 3"])


NETWORKS |= {f"random {seed}": random_notation(seed) for seed in range(4)}
