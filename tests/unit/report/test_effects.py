"""Pictures of factors and the generated docs: each draws, is small, is current."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from triptych.backends._numpy import rules as oracle
from triptych.errors import TriptychError
from triptych.report import effects, factor_docs
from triptych.report.effects import motion, rules
from triptych.report.factor_page import render
from triptych.spec.catalogue import factor, factors
from triptych.spec.rules import SGD, Adam, RMSprop, constant

DOCS = Path(__file__).parents[3] / "docs" / "factors"
PICTURED = sorted({page.plot for page in factors() if page.plot})


def test_every_picture_is_some_factors_and_every_named_picture_is_there() -> None:
    assert sorted(effects.PLOTS) == PICTURED


@pytest.mark.parametrize("name", PICTURED)
def test_a_picture_draws(name: str) -> None:
    text = effects.draw(name)
    assert len(text.encode()) < 60_000
    root = ElementTree.fromstring(text)
    words = [item.text for item in root.iter("{http://www.w3.org/2000/svg}text")]
    assert len(words) >= 3, "text is text, not paths"
    assert "dc:date" not in text and "nan" not in text.lower().split()
    assert effects.caption(name).endswith(".")


def test_a_picture_is_the_same_twice() -> None:
    assert effects.draw("dropout_scaling") == effects.draw("dropout_scaling")


def test_an_unknown_picture_is_refused() -> None:
    with pytest.raises(TriptychError, match=r"no picture 'momentun' \(did you mean 'momentum'\?\)"):
        effects.draw("momentun")


def test_pictures_of_rules_use_the_oracles_formulas() -> None:
    gradients = np.array([0.5, -1e-6, 3.0, 0.2])
    kinds = {
        "after": Adam(constant(1.0), epsilon=1e-3),
        "inside": Adam(constant(1.0), epsilon=1e-3, epsilon_inside_root=True),
        "before": Adam(constant(1.0), epsilon=1e-3, epsilon_before_correction=True),
    }
    for place, rule in kinds.items():
        drawn = rules.adam(gradients, epsilon=1e-3, place=place)
        np.testing.assert_allclose(drawn, played(rule, gradients), rtol=1e-12)
    own = RMSprop(constant(1.0), decay=0.8, epsilon=1e-3, epsilon_inside_root=True, centered=True)
    drawn = rules.rmsprop(gradients, 0.8, 1e-3, inside=True, centred=True)
    np.testing.assert_allclose(drawn, played(own, gradients), rtol=1e-9)
    ahead = SGD(constant(1.0), momentum=0.9, nesterov=True)
    drawn = motion.heavy(gradients, 0.9, nesterov=True)
    np.testing.assert_allclose(drawn, played(ahead, gradients), rtol=1e-12)


def played(rule, gradients: np.ndarray) -> list[float]:
    """The oracle's step at each update."""
    params = {"w": np.zeros(1)}
    slots, made = oracle.start(rule, params), []
    for count, gradient in enumerate(gradients):
        new, slots = oracle.apply(rule, count, 1.0, params, {"w": np.array([gradient])}, slots)
        made.append(float(params["w"][0] - new["w"][0]))
        params = new
    return made


def test_numbers_in_the_texts_are_the_pictures_numbers() -> None:
    small = np.array([1e-6])
    assert rules.adam(small, epsilon=1e-7, place="before")[0] == pytest.approx(0.24, abs=0.005)
    assert rules.adam(small, epsilon=1e-7)[0] == pytest.approx(0.91, abs=0.005)
    assert rules.adam(small, epsilon=1e-8)[0] == pytest.approx(0.99, abs=0.005)
    assert rules.rmsprop(np.ones(1), 0.9)[0] == pytest.approx(3.16, abs=0.005)
    assert rules.rmsprop(np.ones(1), 0.99)[0] == pytest.approx(10.0, abs=0.005)
    rates = np.array([0.1, 0.1, 0.01])
    assert motion.heavy(np.ones(3), rates=rates)[2] == pytest.approx(0.0271)
    assert motion.heavy(np.ones(3), rates=rates, inside=True)[2] == pytest.approx(0.181)
    for name, numbers in {
        "epsilon-place": ("0.24", "0.91"),
        "rmsprop-decay": ("3.16", "10 rates"),
        "rate-in-buffer": ("0.027", "0.181"),
    }.items():
        assert all(number in factor(name).effect for number in numbers)


def test_the_committed_docs_are_what_the_generator_writes() -> None:
    made = factor_docs.texts()
    assert {path.name for path in DOCS.glob("*.md")} == set(made)
    old = [name for name, text in made.items() if (DOCS / name).read_text("utf-8") != text]
    assert old == [], f"run: {factor_docs.COMMAND}"
    pictures = {f"{page.name}.svg" for page in factors() if page.plot}
    assert {path.name for path in DOCS.glob("*.svg")} == pictures


def test_links_of_the_docs_lead_somewhere() -> None:
    for name, text in factor_docs.texts().items():
        for target in re.findall(r"\]\(([^)]+)\)", text):
            assert (DOCS / target).exists(), (name, target)


def test_the_docs_command_writes_and_removes(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(effects, "draw", lambda name: "<svg/>")
    (tmp_path / "gone.md").write_text("old")
    (tmp_path / "note.txt").write_text("mine")
    assert factor_docs.main([str(tmp_path)]) == 0
    assert not (tmp_path / "gone.md").exists() and (tmp_path / "note.txt").exists()
    assert (tmp_path / "epsilon.svg").read_text() == "<svg/>"
    assert factor_docs.main([]) == 2
    assert "expected one folder" in capsys.readouterr().err


def test_the_page_for_a_browser_is_complete_and_safe() -> None:
    text = render(factor("epsilon-place"))
    assert "data:image/svg+xml;base64," in text and "<script" not in text
    assert "http://" not in text and "https://" not in text
    assert "default-src &#x27;none&#x27;" in text
    assert "<figure" not in render(factor("frame-cap"))
