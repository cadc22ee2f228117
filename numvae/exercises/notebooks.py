"""The exercises as notebooks, one per chapter of the ladder, with the metadata by which nbgrader grades them.

The edition for instructors has the solutions, between marks at which nbgrader cuts them out; the one for learners is
what it then hands out.
"""

from __future__ import annotations

import ast
import json
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from numvae.atomic import write_atomically
from numvae.errors import InputError
from numvae.exercises.contract import Exercise
from numvae.exercises.ladder import EXERCISES, ORDER

__all__ = ["CHAPTERS", "Chapter", "notebook", "notebook_text", "write_notebooks"]

Cell: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Chapter:
    """One notebook: its file's name, its title, what it is about in Markdown, and its first and last exercise."""

    name: str
    title: str
    about: str
    first: str
    last: str

    @property
    def exercises(self) -> Sequence[str]:
        """The names of its exercises."""
        return ORDER[ORDER.index(self.first) : ORDER.index(self.last) + 1]


CHAPTERS = (
    Chapter(
        "01_derivatives_and_layers",
        "derivatives and layers",
        "A gradient is proven against a numeric one. First write that ruler, and find out how finely it can measure. "
        "Then come the layers of a network, each with its way back, and two of them in a row: that is backpropagation.",
        "finite_difference",
        "perceptron",
    ),
    Chapter(
        "02_likelihoods_and_kl",
        "likelihoods and the KL divergence",
        "The bound has two terms: how probable the decoder makes the data, and how far the encoder's distribution is "
        "from the prior. A slip in their values is one that a gradient check cannot see: the right gradient of a wrong "
        "value passes it.",
        "bernoulli_log_prob",
        "normal_kl",
    ),
    Chapter(
        "03_samples_with_gradients",
        "samples with gradients",
        "A sample has a gradient in its distribution's parameters once it is a function of them and of noise that does "
        "not depend on them. For a normal that is one line, and the variable in which the spread is given decides "
        "about a factor. Other distributions need the inverse of their CDF; and one here has none that could be "
        "differentiated.",
        "reparameterize",
        "gamma_sample",
    ),
    Chapter(
        "04_gradient_estimators",
        "other gradient estimators",
        "Where f is a black box, its values have to do. The score function makes a gradient of them that is right on "
        "average and noisy; a baseline takes noise away, and only noise, as long as it does not know its own sample.",
        "score_function",
        "leave_one_out",
    ),
    Chapter(
        "05_bounds",
        "bounds",
        "What a VAE climbs: the paper's estimators A and B, a minibatch that speaks for the whole data set, "
        "importance weights that tighten the bound, and free bits.",
        "monte_carlo_bound",
        "free_bits",
    ),
    Chapter(
        "06_the_whole_vae",
        "the whole VAE",
        "Everything in its place: the encoder's two heads, the decoder, the review's four gradients, those of the "
        "whole model, Adam, and the loop that trains.",
        "two_heads",
        "train_vae",
    ),
)

HOW_IT_GOES = """
Each exercise asks for one function. Write it where it says `YOUR CODE HERE`, run the cell, then the one below it: there
`check` says what to mend first, with hints that unfold. The last cell of each exercise is the one that is graded; it
says nothing if all is well.

Letters are those of {notation}: B rows, S samples, D data features, Z latents, H hidden units; `dx` is the gradient
with respect to `x`, and of its shape. Where a `pullback` is asked for, it takes the gradient with respect to the value,
and returns one gradient per argument, `None` for data and noise.
"""
SETUP = "import numpy as np\n\nfrom numvae.exercises.notebook import check"
NOT_WRITTEN = "# YOUR CODE HERE\nraise NotImplementedError()"  # what nbgrader, too, puts where it cuts a solution out
WRITTEN = "### BEGIN SOLUTION\n{}\n### END SOLUTION"
DERIVATIONS = "../../derivations"
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"file_extension": ".py", "name": "python", "pygments_lexer": "ipython3"},
}


def write_notebooks(folder: Path, instructor: bool = False, overwrite: bool = False) -> tuple[list[Path], list[Path]]:
    """Write every chapter into a folder: the files written, and those that were there and kept as they are.

    They link to the derivations where these are beside the folder's parent, as in this repository.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; name a folder for the notebooks")
    folder.mkdir(parents=True, exist_ok=True)
    linked = (folder / DERIVATIONS).is_dir()
    written, kept = [], []
    for chapter in CHAPTERS:
        path = folder / f"{chapter.name}.ipynb"
        if path.exists() and not overwrite:
            kept.append(path)
            continue
        _write(path, notebook_text(notebook(chapter, instructor, linked)))
        written.append(path)
    return written, kept


def _write(path: Path, text: str) -> None:
    write_atomically(path, lambda file: file.write(text.encode()))


def notebook_text(content: dict[str, Any]) -> str:
    """The file's text, byte for byte as Jupyter saves it."""
    return json.dumps(content, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def notebook(chapter: Chapter, instructor: bool = False, linked: bool = True) -> dict[str, Any]:
    """A chapter as a notebook of format 4.5.

    >>> cells = notebook(CHAPTERS[1])["cells"]
    >>> print("".join(next(cell for cell in cells if cell["id"] == "normal_kl-solution")["source"]))
    def normal_kl(mean, log_std, alpha):
        # YOUR CODE HERE
        raise NotImplementedError()
    """
    number = CHAPTERS.index(chapter) + 1
    how = HOW_IT_GOES.strip().format(notation=_link("notation", "the notation", linked))
    cells = [
        _markdown("title", f"# Exercises {number}: {chapter.title}\n\n{textwrap.fill(chapter.about, 120)}\n\n{how}"),
        _code("setup", SETUP, _nbgrader("setup", locked=True)),
    ]
    for name in chapter.exercises:
        cells += _cells(EXERCISES[name], instructor, linked)
    return {"cells": cells, "metadata": METADATA, "nbformat": 4, "nbformat_minor": 5}


def _cells(exercise: Exercise, instructor: bool, linked: bool) -> Iterator[Cell]:
    """What is asked, where it is written, what is wrong with it, and whether that counts."""
    name, call = exercise.name, f'check("{exercise.name}", {exercise.name})'
    statement = textwrap.dedent(exercise.statement).strip()
    yield _markdown(
        f"{name}-statement", f"## {exercise.title}\n\n{statement}\n\nDerivation: {_pages(exercise, linked)}"
    )
    yield _code(f"{name}-solution", _function(exercise, instructor), _nbgrader(name, solution=True))
    yield _code(f"{name}-report", call)
    graded = _nbgrader(f"check_{name}", locked=True, grade=True, points=_points(exercise))
    yield _code(f"{name}-check", f"{call}.assert_ok()", graded)


def _points(exercise: Exercise) -> int:
    """One for each output: a value, and as many gradients as there are."""
    return len(exercise.observe(exercise.solution, exercise.draw(np.random.default_rng(0), 3)))


def _function(exercise: Exercise, instructor: bool) -> str:
    """The function with what is given in it, and the solution or its absence."""
    given = textwrap.dedent(exercise.given).strip()
    body = WRITTEN.format(_solution_below(given, exercise.solution_source)) if instructor else NOT_WRITTEN
    inside = f"{given}\n\n{body}" if given else body
    return f"def {exercise.name}{exercise.signature}:\n" + textwrap.indent(inside, "    ")


def _solution_below(given: str, source: str) -> str:
    """The solution's body behind as many statements as are given."""
    (function,) = ast.parse(source).body
    assert isinstance(function, ast.FunctionDef)
    first = function.body[len(ast.parse(given).body)]
    return textwrap.dedent("\n".join(source.splitlines()[first.lineno - 1 :]))


def _pages(exercise: Exercise, linked: bool) -> str:
    """The labels of its equations, those of one page in a link to that page."""
    pages = groupby(exercise.labels, key=lambda label: label.split(".")[0])
    return ", ".join(_link(page, " ".join(f"({label})" for label in labels), linked) for page, labels in pages)


def _link(page: str, text: str, linked: bool) -> str:
    return f"[{text}]({DERIVATIONS}/{page}.md)" if linked else f"{text} in `derivations/{page}.md`"


def _nbgrader(grade_id: str, *, solution: bool = False, locked: bool = False, **grade: Any) -> dict[str, Any]:
    """A cell's metadata in nbgrader's schema 3: what is locked is put back as it was before it is graded."""
    plain = {"grade": False, "grade_id": grade_id, "locked": locked, "schema_version": 3, "solution": solution}
    return {"nbgrader": plain | {"task": False} | grade}


def _markdown(identity: str, text: str) -> Cell:
    return {"cell_type": "markdown", "id": identity, "metadata": {}, "source": text.splitlines(keepends=True)}


def _code(identity: str, text: str, metadata: dict[str, Any] | None = None) -> Cell:
    return {
        "cell_type": "code",
        "execution_count": None,
        "id": identity,
        "metadata": metadata or {},
        "outputs": [],
        "source": text.splitlines(keepends=True),
    }
