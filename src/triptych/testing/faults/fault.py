"""A fault: what is changed on one side, on which problem, and what the ladder and diagnosis owe."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from triptych.backends.protocol import DType, Params
from triptych.parity.record import Build, backend_learner
from triptych.parity.subject import Subject
from triptych.spec.layers import Layer
from triptych.spec.network import Network, Node
from triptych.spec.rules import Rule
from triptych.testing.faults.wraps import Arrays, Mapped

Change = Callable[[Subject], Subject]
Touch = Callable[[Any, Subject], Any]
"""(learner, the healthy subject) -> another learner in its place, or None for the same one."""


@dataclass(frozen=True)
class Fault:
    """One mistake on one side, hidden from rung 0 unless it is one that only factors can show.

    Attributes:
        name: what is wrong, in words.
        factor: the slug that the diagnosis must name.
        rung: the lowest rung that must turn red.
        problem: a name of :data:`problems.PROBLEMS`.
        sick, healthy: the backends of the two sides.
        subject: changes what the sick side is built from.
        arrays: how the sick side misreads arrays, both ways alike.
        touch: changes the sick side's learner after it is built.
        stated: factors that the healthy and the sick side add to rung 0.
    """

    name: str
    factor: str
    rung: int
    problem: str
    sick: str = "torch"
    healthy: str = "jax"
    subject: Change | None = None
    arrays: Arrays | None = None
    touch: Touch | None = None
    stated: tuple[Mapping[str, Any], Mapping[str, Any]] = field(default_factory=lambda: ({}, {}))

    def build(self) -> Build:
        """Return the builder of the sick side's learners."""
        own = backend_learner(self.sick)

        def build(subject: Subject, params: Params, rule: Rule, dtype: DType) -> Any:
            healthy = replace(subject, rule=rule)
            changed = self.subject(healthy) if self.subject else healthy
            if self.arrays:
                inner = own(changed, self.arrays.inwards(params), changed.rule, dtype)
                learner: Any = Mapped(inner, self.arrays, params, dtype)
            else:
                learner = own(changed, params, changed.rule, dtype)
            return (self.touch(learner, healthy) if self.touch else None) or learner

        return build


def rule(**changes: Any) -> Change:
    """Return a change of the rule's fields."""
    return lambda subject: replace(subject, rule=replace(subject.rule, **changes))


def another_rule(make: Callable[[Any], Rule]) -> Change:
    """Return a change of the whole rule."""
    return lambda subject: replace(subject, rule=make(subject.rule))


def layer(node: str, **changes: Any) -> Change:
    """Return a change of a layer's fields."""
    return exchange(node, lambda own: replace(own, **changes))


def exchange(node: str, make: Callable[[Any], Layer]) -> Change:
    """Return a change of a whole layer."""
    return _on_nodes(lambda item: [replace(item, layer=make(item.layer))], node)


def rewire(node: str, *inputs: str) -> Change:
    """Return a change of the nodes a node takes."""
    return _on_nodes(lambda item: [replace(item, inputs=inputs)], node)


def followed_by(node: str, added: Layer) -> Change:
    """Return a change that puts a layer behind a node and gives it the node's name.

    The node itself is called ``<node>_raw`` then, and so are its arrays: see :func:`wraps.renamed`.
    """
    raw = f"{node}_raw"
    return _on_nodes(lambda item: [replace(item, name=raw), Node(node, added, (raw,))], node)


def _on_nodes(make: Callable[[Node], list[Node]], name: str) -> Change:
    def change(subject: Subject) -> Subject:
        nodes = subject.network.nodes
        made = [new for node in nodes for new in (make(node) if node.name == name else [node])]
        return replace(subject, network=Network(tuple(made)))

    return change


def objective(**changes: Any) -> Change:
    """Return a change of the objective's attributes and methods; a function of the objective gives
    the new value."""

    def change(subject: Subject) -> Subject:
        own: Any = subject.objective
        other = object.__new__(type(own))
        given = {key: make(own) if callable(make) else make for key, make in changes.items()}
        other.__dict__.update(own.__dict__ | given)
        return replace(subject, objective=other)

    return change
