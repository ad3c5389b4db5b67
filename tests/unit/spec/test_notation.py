"""The text notation: every layer, option, repeat, pattern and graph, and every complaint."""

from __future__ import annotations

from dataclasses import MISSING, fields

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triptych.errors import NetworkError
from triptych.spec import words
from triptych.spec.layers import (
    ELU,
    GELU,
    GRU,
    LAYERS,
    LSTM,
    SELU,
    Add,
    AveragePool,
    BatchNorm,
    Concatenate,
    Conv,
    ConvTranspose,
    Dense,
    Dropout,
    Dueling,
    Elman,
    Embedding,
    Flatten,
    HardSigmoid,
    Input,
    LayerNorm,
    LeakyReLU,
    LogSoftmax,
    MaxPool,
    Multiply,
    Pad,
    Permute,
    ReLU,
    ReLU6,
    Rescale,
    Reshape,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from triptych.spec.notation import parse
from triptych.spec.words import layers_of

CLASSICAL = "INPUT -> [[CONV -> RELU]*N -> POOL?]*M -> [FC -> RELU]*K -> FC"

WORDS = {
    "84x84x4": [Input((84, 84, 4))],
    "input 84x84x4": [Input((84, 84, 4))],
    "10 real": [Input((10,))],
    "10 index": [Input((10,), "index")],
    "conv 32 8x8/4": [Conv(32, (8, 8), (4, 4))],
    "conv 32 8\n": [Conv(32, (8, 8))],
    "conv 3 2x3/2x1 relu": [Conv(3, (2, 3), (2, 1)), ReLU()],
    "conv 3 3x3 stride 2": [Conv(3, (3, 3), (2, 2))],
    "conv 4 3x3 pad same dilation 2x3 groups 2 no bias tanh": [
        Conv(4, (3, 3), (1, 1), "same", (2, 3), 2, False),
        Tanh(),
    ],
    "conv 4 3x3 pad 2": [Conv(4, (3, 3), padding=((2, 2), (2, 2)))],
    "conv 4 3x3 padding 0,1,2,3": [Conv(4, (3, 3), padding=((0, 1), (2, 3)))],
    "conv 4 3x3 pad valid no_bias": [Conv(4, (3, 3), bias=False)],
    "conv 4 3x3   no   bias   relu": [Conv(4, (3, 3), bias=False), ReLU()],
    "conv_transpose 4 4x4/2 pad 1": [ConvTranspose(4, (4, 4), (2, 2), ((1, 1), (1, 1)))],
    "deconv 4 2": [ConvTranspose(4, (2, 2))],
    "dense 100 relu": [Dense(100), ReLU()],
    "fc 100 no bias": [Dense(100, bias=False)],
    "DENSE 7 ReLU": [Dense(7), ReLU()],
    "flatten": [Flatten()],
    "max_pool 2x2": [MaxPool((2, 2), (2, 2))],
    "pool 3x2/1": [MaxPool((3, 2), (1, 1))],
    "maxpool 3 stride 2": [MaxPool((3, 3), (2, 2))],
    "average_pool 3x3/2 pad same": [AveragePool((3, 3), (2, 2), "same")],
    "avgpool 3 pad 1 count padding": [AveragePool((3, 3), (3, 3), ((1, 1), (1, 1)), True)],
    "batch_norm": [BatchNorm()],
    "batchnorm keep 0.9 epsilon 1e-5 unbiased": [BatchNorm(1e-5, 0.9, True)],
    "layer_norm epsilon 1e-6 relu": [LayerNorm(1e-6), ReLU()],
    "dropout": [Dropout()],
    "dropout 0.25": [Dropout(0.25)],
    "embedding 1000 16": [Embedding(1000, 16)],
    "rescale 1/255": [Rescale(1 / 255)],
    "rescale 2 offset -0.5": [Rescale(2.0, -0.5)],
    "add": [Add()],
    "add relu": [Add(), ReLU()],
    "concat": [Concatenate()],
    "concatenate": [Concatenate()],
    "dueling": [Dueling()],
    "multiply sigmoid": [Multiply(), Sigmoid()],
    "reshape 4x4x8 relu": [Reshape((4, 4, 8)), ReLU()],
    "reshape 128": [Reshape((128,))],
    "permute 2,0,1": [Permute((2, 0, 1))],
    "pad 2": [Pad(((2, 2), (2, 2)))],
    "pad 0,1,2,3": [Pad(((0, 1), (2, 3)))],
    "relu": [ReLU()],
    "relu6": [ReLU6()],
    "leaky_relu": [LeakyReLU()],
    "leaky_relu slope 0.3": [LeakyReLU(0.3)],
    "elu alpha 2": [ELU(2.0)],
    "selu": [SELU()],
    "gelu": [GELU()],
    "gelu approximate": [GELU(True)],
    "silu": [SiLU()],
    "swish": [SiLU()],
    "sigmoid": [Sigmoid()],
    "hard_sigmoid slope 1/5": [HardSigmoid(0.2)],
    "tanh": [Tanh()],
    "softplus": [Softplus()],
    "softmax": [Softmax()],
    "log_softmax": [LogSoftmax()],
    "elman 4 biases 0 tanh": [Elman(4, biases=0), Tanh()],
    "rnn 4 activation relu": [Elman(4, "relu")],
    "lstm 4 sequences reverse": [LSTM(4, sequences=True, reverse=True)],
    "gru 4 reset_after false mask -0.5": [GRU(4, reset_after=False, mask_value=-0.5)],
    "gru 4 biases 1 candidate_bias true": [GRU(4, biases=1, candidate_bias=True)],
}


@pytest.mark.parametrize("text", WORDS)
def test_words_of_a_layer(text):
    assert layers_of(text) == WORDS[text]


def test_every_layer_can_be_written():
    written = {type(layer) for layers in WORDS.values() for layer in layers}
    assert written == set(LAYERS.values())


def test_every_layer_that_needs_sizes_has_an_example_that_reads():
    for kind, layer in LAYERS.items():
        if any(field.default is MISSING for field in fields(layer)):
            with pytest.raises(NetworkError, match="is missing; write for example") as found:
                layers_of(kind)
            assert [type(x) for x in layers_of(str(found.value).split("'")[-2])] == [layer]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "layer is empty"),
        ("cnv 3 3x3", r"unknown layer 'cnv' in 'cnv 3 3x3' \(did you mean 'conv'"),
        ("xyzzy", "unknown layer 'xyzzy' in 'xyzzy'; known are rescale, conv,"),
        ("input", "an input needs a size"),
        ("input dense 3", "an input needs a size"),
        ("3x3 relu", "only 'real' or 'index' may follow"),
        ("3x3 index 4", "only 'real' or 'index' may follow"),
        ("0x٣", "unknown layer"),
        ("conv", "'conv': filters is missing"),
        ("conv 3", "'conv 3': kernel is missing"),
        ("conv x 3x3", "expected a whole number but found 'x'"),
        ("conv 3 3x3x3", "expected a size such as 3x3 but found '3x3x3'"),
        ("conv 3 3x", "expected a whole number but found ''"),
        ("conv 3 3x3/", "needs a stride after '/'"),
        ("conv 3 -3", "expected a whole number but found '-3'"),
        ("conv 3 ²", "expected a whole number but found '²'"),
        ("conv 3 3x3 stride", "'stride' needs a value after it"),
        ("conv 3 3x3 strid 2", r"'strid' is no option of conv \(did you mean 'stride'"),
        ("conv 3 3x3 stride 2 stride 3", "'stride' is given twice"),
        ("conv 3 3x3/2 stride 3", "'stride' is given twice"),
        ("conv 3 3x3 kernel 5", "'kernel' is given twice"),
        ("conv 3 3x3 no bias no bias", "'no_bias' is given twice"),
        ("conv 3 3x3 pad 1,2", "pad takes valid, same, N or top,bottom,left,right but found '1,2'"),
        ("conv 3 3x3 pad full", "expected a whole number but found 'full'"),
        ("conv 3 3x3 groups 1.5", "expected a whole number but found '1.5'"),
        ("conv 3 3x3 leaky_relu slope 0.2", "is a layer of its own, '-> leaky_relu"),
        ("conv 3 3x3 relu no bias", "is a layer of its own"),
        ("dense 3 bias 0", r"'bias' is no option of dense \(did you mean 'no bias'"),
        ("dense 3 5", "'5' is no option of dense; its options are no bias"),
        ("dense 1e3", "expected a whole number but found '1e3'"),
        ("dense " + "9" * 5000, "expected a whole number"),
        ("dense 99999999999999999999", "expected a whole number"),
        ("flatten 3", "'3' is no option of flatten; it has none"),
        ("max_pool", "size is missing"),
        ("dropout half", "expected a number but found 'half'"),
        ("dropout nan", "expected a number but found 'nan'"),
        ("rescale 1/0", "expected a number but found '1/0'"),
        ("rescale 1e400", "expected a number"),
        ("rescale 1/", "expected a number but found '1/'"),
        ("reshape 4xx4", "expected a whole number but found ''"),
        ("reshape 4x4 2", "'2' is no option of reshape; it has none"),
        ("permute 1x0", "expected a whole number but found '1x0'"),
        ("pad same", "expected a whole number but found 'same'"),
        ("pad 1,2", "pad takes N or top,bottom,left,right but found '1,2'"),
        ("shares", "unknown layer 'shares'"),
        ("batch_norm biased", "'biased' is no option of batch_norm"),
        ("batch_norm keep 2", "keep must be from 0 to 1"),
    ],
)
def test_words_that_cannot_be_read(text, says):
    with pytest.raises(NetworkError, match=says):
        layers_of(text)


def names(network) -> list[str]:
    return [node.name for node in network.nodes[1:]]


def test_repeats_nest():
    network = parse("9x9x1 -> [[conv 2 2x2 relu]*2 -> tanh]*2 -> flatten -> [dense 3]*0 -> dense 2")
    assert names(network) == [
        *("conv1", "relu1", "conv2", "relu2", "tanh1"),
        *("conv3", "relu3", "conv4", "relu4", "tanh2"),
        *("flatten1", "dense1"),
    ]
    assert names(parse("3 -> dense 4*3 -> [relu]")) == ["dense1", "dense2", "dense3", "relu1"]
    assert names(parse("3 ->\n  [ dense 4 ] * 2")) == ["dense1", "dense2"]
    assert names(parse("3 -> [dense 4]*n", counts={"n": 2})) == ["dense1", "dense2"]


def test_the_classical_pattern():
    network = parse(
        CLASSICAL,
        counts={"N": 2, "M": 2, "K": 1},
        sizes={
            "INPUT": "16x16x3",
            "CONV": ["4 3x3", "4 3x3", "8 3x3 pad same", "8 3x3 pad same"],
            "POOL": "2x2",
            "FC": [10, "5 no bias"],
        },
    )
    block = ["conv{}", "relu{}", "conv{}", "relu{}", "max_pool{}"]
    numbers = [(1, 1, 2, 2, 1), (3, 3, 4, 4, 2)]
    blocks = [b.format(n) for ns in numbers for b, n in zip(block, ns, strict=True)]
    assert names(network) == [*blocks, "flatten1", "dense1", "relu5", "dense2"]
    assert network.shapes["max_pool2"] == (3, 3, 8)
    assert network.by_name["conv1"].layer == Conv(4, (3, 3))
    assert network.by_name["dense2"].layer == Dense(5, bias=False)


def test_the_pattern_as_a_mapping_with_optional_pools():
    base = {"pattern": CLASSICAL, "N": 1, "M": 2, "K": 0, "INPUT": "9x9x1", "CONV": "2 3x3"}
    without = parse({**base, "FC": 3})
    assert names(without) == ["conv1", "relu1", "conv2", "relu2", "flatten1", "dense1"]
    off = parse({**base, "FC": 3, "POOL": False})
    assert off == without
    once = parse({**base, "FC": 3, "POOL": [False, "2x2"]})
    assert names(once)[2:5] == ["conv2", "relu2", "max_pool1"]
    same = parse(
        CLASSICAL,
        counts={"N": 1, "M": 2, "K": 0},
        sizes={"INPUT": "9x9x1", "CONV": "2 3x3", "FC": 3},
    )
    assert same == without


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"N": None}, r"'\*N' needs a whole number; give N, such as N=2"),
        ({"N": -1}, r"'\*N' needs a whole number but N is -1"),
        ({"N": True}, "but N is True"),
        ({"N": 1.0}, "but N is 1.0"),
        ({"N": 5000}, "more than 5000 layers"),
        ({"CONV": None}, "the sizes of CONV are missing"),
        ({"FC": False}, "the sizes of FC are missing"),
        ({"CONV": []}, "CONV is used more often than its 0 sizes"),
        ({"CONV": ["2 3x3", "2 3x3"]}, r"CONV has 2 sizes but is used 1 time"),
        ({"P": 3}, "'P' is given, but nothing in it is called so"),
        ({"COMV": "2 3x3"}, r"'COMV' is given.*did you mean 'CONV'"),
        ({7: 3}, "7 is given, but nothing in it is called so"),
        ({"RELU": "3"}, "'RELU' is given, but the pattern has no sizes for it"),
        ({"FC": "x"}, "expected a whole number but found 'x'"),
        ({"INPUT": "dense 3"}, "an input needs a size"),
        ({"CONV": "2 3x3 -> relu"}, "'->' is no option of conv"),
        ({"pattern": 5}, "a pattern is text such as 'INPUT -> FC' but found 5"),
        ({"pattern": "INPUT -> CONV -> FC", "N": 1}, "'N' is given"),
        ({"pattern": "INPUT -> FC"}, "'CONV' is given, but the pattern has no sizes for it"),
    ],
)
def test_patterns_that_cannot_be_filled(change, says):
    good = {"pattern": CLASSICAL, "N": 1, "M": 1, "K": 0, "INPUT": "9x9x1", "CONV": "2 3x3"}
    notation = {**good, "FC": 3, **change}
    notation = {key: value for key, value in notation.items() if value is not None}
    with pytest.raises(NetworkError, match=says):
        parse(notation)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "a layer such as 'dense 10' is missing at the beginning"),
        ("->", "is missing at the beginning"),
        ("3 ->", "is missing after '->'"),
        ("3 -> -> relu", "is missing after '->'"),
        ("3 -> []", r"is missing after '\['"),
        ("3 -> *2", "is missing after '->'"),
        ("3 -> [relu", "expected '->' or ']' but found the end"),
        ("3 -> [relu[", r"expected '->' or ']' but found '\['"),
        ("3 -> relu]", "unexpected ']'"),
        ("3 -> [relu] tanh", "unexpected 'tanh'"),
        ("3 -> relu*2*2", r"unexpected '\*2'"),
        ("3 -> relu*", r"'\*' needs a whole number, such as \*2"),
        ("3 -> relu*²", r"'\*²' needs a whole number"),
        ("3 -> relu*x", r"'\*x' needs a whole number; give x, such as x=2"),
        ("3 -> relu?", "'\\?' may follow a pattern's word only"),
        ("3 -> [relu]?", "'\\?' may follow a pattern's word only"),
        ("3 -> relu*5001", "more than 5000 layers"),
        ("3 -> [[relu*99]*99]*99", "more than 5000 layers"),
        ("3 -> [relu*0]*999999999 -> [relu]*99999", "more than 5000 layers"),
        ("3 -> " + "[" * 3000 + "relu" + "]" * 3000, "more than 20 brackets"),
        ("relu", "begins with an input"),
        ("3 -> 3", "'input' is a second input"),
        ("3 > relu", "only 'real' or 'index' may follow"),
        ("3 -> relu <- input", "'<-' is no option of relu"),
        (
            "8x8x1 -> conv 4 9x9",
            r"node 'conv1': conv 4 9x9 does not fit: height 8 \+ padding 0 = 8",
        ),
    ],
)
def test_chains_that_cannot_be_read(text, says):
    with pytest.raises(NetworkError, match=says):
        parse(text)


def test_graphs():
    network = parse(
        {
            "input": "8x8x1",
            "trunk": "conv 4 3x3 pad same relu",
            "branch": "conv 4 3x3 pad same",
            "sum": "add relu <- trunk, branch",
            "flat": "flatten",
            "value": "dense 1",
            "advantage": "dense 6 <- flat",
            "q": "dueling <- value, advantage",
        }
    )
    assert names(network) == [
        *("trunk", "relu1", "branch", "sum", "relu2", "flat", "value", "advantage", "q"),
    ]
    assert network.by_name["branch"].inputs == ("relu1",)
    assert network.by_name["sum"].inputs == ("relu1", "branch"), "a line's name is its output"
    assert network.by_name["flat"].inputs == ("relu2",)
    assert network.shapes["q"] == (6,)


def test_activations_of_a_graph_avoid_the_names_of_lines():
    network = parse({"input": "3", "a": "dense 3 relu", "relu1": "tanh", "b": "dense 1"})
    assert names(network) == ["a", "relu2", "relu1", "b"]


def test_lines_share_the_layer_of_another():
    network = parse(
        {
            "input": "6",
            "left": "dense 3 tanh",
            "middle": "dense 6",
            "right": "shares left relu <- middle",
            "last": "shares middle",
            "both": "concatenate <- left, last",
        }
    )
    left, right, last = (network.by_name[name] for name in ("left", "right", "last"))
    assert (right.layer, right.shares, right.inputs) == (left.layer, "left", ("middle",))
    assert (last.layer, last.shares, last.inputs) == (Dense(6), "middle", ("relu1",))
    assert network.by_name["relu1"].shares is None
    assert network.by_name["both"].inputs == ("tanh1", "last")


@pytest.mark.parametrize(
    ("notation", "says"),
    [
        ({"input": "3", "a": "dense 3", "b": "shares"}, "line 'b': 'shares' needs the name of a"),
        ({"input": "3", "aa": "dense 3", "b": "shares a"}, "found 'a' .did you mean 'aa'"),
        ({"input": "3", "a": "shares a"}, "line 'a': 'shares' needs"),
        ({"input": "3", "a": "dense 3", "b": "shares a", "c": "shares b"}, "found 'b'"),
        ({"input": "3", "a": "dense 3", "b": "shares a a"}, "unknown layer 'a'"),
        ({"input": "3", "a": "relu", "b": "shares a"}, "layer 'relu' has no params"),
        ({"input": "3", "a": "dense 2", "b": "shares a"}, "takes 2 where that takes 3"),
        ({}, "begins with an input"),
        ({"input": "3", "a": None}, "line 'a': expected a layer such as 'dense 6' but found None"),
        ({"input": "3", 5: "relu"}, "line 5: expected a layer"),
        ({"input": "3", "a": "relu <-"}, "line 'a': names of nodes must follow '<-'"),
        ({"input": "3", "a": "add <- input,"}, "names of nodes must follow '<-'"),
        ({"input": "3", "a": "dense 3 -> relu"}, "line 'a': holds a chain"),
        ({"input": "3", "a": "add <- input, inptu"}, "did you mean 'input'"),
        ({"input": "3", "a": "add"}, r"node 'a' \(add\) takes two or more inputs, got 1"),
        ({"input": "3", "a": "dense 2", "b": "dense 2 <- input"}, "node 'a' leads nowhere"),
        ({"input": "3", "a b": "relu"}, "'a b' must be a plain word"),
        ({"input": "3", "a": "5"}, "'a' is a second input"),
        (5, "expected text such as '84x84x4 -> dense 6'.*but found 5"),
        (None, "but found None"),
        (["3", "relu"], "but found"),
    ],
)
def test_graphs_that_cannot_be_read(notation, says):
    with pytest.raises(NetworkError, match=says):
        parse(notation)


SCRAPS = ["3", "8x8x1", "->", "[", "]", "*", "*2", "*N", "?", "conv", "dense 3", "3x3/2", "relu"]
SCRAPS += ["no bias", "pad", "same", "1,2,3,4", "flatten", "INPUT", "CONV", "FC", "POOL", "<-", "²"]
SCRAPS += ["max_pool 2", "dropout", "-1", "1e9", "index", ">", "<", "x", "/", ",", "add", "kernel"]


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(st.one_of(st.sampled_from(SCRAPS), st.text(max_size=4)), max_size=12))
def test_whatever_is_written_gives_a_network_or_a_network_error(parts):
    for notation in (" ".join(parts), {"input": "3", **{f"a{i}": p for i, p in enumerate(parts)}}):
        try:
            assert parse(notation).nodes
        except NetworkError as error:
            assert "\n" not in str(error)


def test_reading_a_layer_by_type_covers_every_option():
    for kind, layer in LAYERS.items():
        hints = words.get_type_hints(layer)
        for field in fields(layer):
            if kind != "input" and hints[field.name] is not bool:
                assert hints[field.name] in words._READERS, (kind, field.name)
