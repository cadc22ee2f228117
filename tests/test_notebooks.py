"""The lessons: every script runs, and the notebook beside it is that script with its results."""

from __future__ import annotations

import os
import re
import shutil
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tests.traceability import DEFINITION, REFERENCE, in_pages

jupytext, nbformat, *_ = (
    pytest.importorskip(needed, reason=f"{needed} is not installed: pip install '.[test]'")
    for needed in ("jupytext", "nbformat", "nbclient", "ipykernel")
)
lessons = import_module("notebooks.execute")

ROOT = Path(__file__).parents[1]
PROCESSOR_SECONDS = 60
ON_REAL_DATA = {"05_the_review_reproduced": 180}
"""Lessons that need MNIST and the Frey faces, and the seconds that they may take."""
LONGER = {"10_bounds_and_gaps": 120}
"""Lessons that walk many chains, and the seconds that they may take."""
LEAST_PICTURES = 3
LOCAL_PATH = re.compile(r"/(?:home|root|tmp|Users|mnt)/|[A-Z]:\\\\")
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")

each_lesson = pytest.mark.parametrize("script", lessons.LESSONS, ids=lambda script: script.stem)


def committed(script: Path) -> Any:
    return nbformat.read(script.with_suffix(".ipynb"), as_version=4)


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def outputs(notebook: Any) -> list[Any]:
    return [output for cell in code_cells(notebook) for output in cell.outputs]


def pictures(notebook: Any) -> int:
    return sum("image/png" in output.get("data", {}) for output in outputs(notebook))


def sources(notebook: Any) -> list[tuple[str, str]]:
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


def noises(notebook: Any) -> list[str]:
    """Errors and warnings, one line each."""
    shown = [output for output in outputs(notebook) if output.output_type == "error" or output.get("name") == "stderr"]
    return [str(output.get("ename") or output.get("text")) for output in shown]


def test_there_are_lessons() -> None:
    assert [script.stem for script in lessons.LESSONS] == [
        "01_one_page",
        "02_gradients_by_hand",
        "03_train_a_vae",
        "04_latents_and_likelihoods",
        "05_the_review_reproduced",
        "06_score_function_vs_reparameterisation",
        "07_discrete_latents",
        "08_bug_hunt",
        "09_the_paper_reproduced",
        "10_bounds_and_gaps",
    ]


@each_lesson
def test_the_lesson_runs_in_time(script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if script.stem in ON_REAL_DATA and "NUMVAE_DATA" not in os.environ:
        pytest.skip("NUMVAE_DATA names no folder with MNIST and Frey faces")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    before = os.times()
    executed = lessons.execute(Path(shutil.copy(script, tmp_path)))
    after = os.times()
    # Seconds of the processor, not of the clock: other tests run beside this one.
    used = after.children_user + after.children_system - before.children_user - before.children_system
    assert used < {**ON_REAL_DATA, **LONGER}.get(script.stem, PROCESSOR_SECONDS)
    assert not noises(executed)
    assert pictures(executed) == pictures(committed(script))
    assert [cell.id for cell in executed.cells] == [cell.id for cell in committed(script).cells]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([script.name, "ipython"]), "it left files behind"


@each_lesson
def test_script_and_notebook_agree(script: Path) -> None:
    assert sources(committed(script)) == sources(jupytext.read(script)), "make notebooks"


@each_lesson
def test_every_cell_of_the_notebook_was_executed_in_order(script: Path) -> None:
    notebook = committed(script)
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1))
    assert not noises(notebook)


@each_lesson
def test_the_notebook_shows_pictures(script: Path) -> None:
    assert pictures(committed(script)) >= LEAST_PICTURES


@each_lesson
def test_the_notebook_tells_nothing_of_the_machine(script: Path) -> None:
    notebook = committed(script)
    assert notebook.metadata == nbformat.from_dict(lessons.METADATA)
    assert not any(cell.metadata for cell in notebook.cells)
    shown = [str({**output, "data": {**output.get("data", {}), "image/png": ""}}) for output in outputs(notebook)]
    assert not [text for text in shown if LOCAL_PATH.search(text)]


@each_lesson
def test_labels_and_links_of_the_lesson_lead_somewhere(script: Path) -> None:
    text = script.read_text(encoding="utf-8")
    defined = in_pages(ROOT, DEFINITION)
    assert set(REFERENCE.findall(text)) <= set(defined)
    links = LINK.findall("\n".join(source for kind, source in sources(jupytext.read(script)) if kind == "markdown"))
    assert links
    assert not [link for link in links if not (script.parent / link).exists()]


def test_a_changed_script_is_noticed() -> None:
    notebook = committed(lessons.LESSONS[0])
    changed = jupytext.read(lessons.LESSONS[0])
    changed.cells[1].source += "\nx = 1"
    assert sources(changed) != sources(notebook)


def test_an_error_in_a_notebook_is_noticed() -> None:
    notebook = committed(lessons.LESSONS[0])
    notebook.cells[1].outputs = [nbformat.v4.new_output("error", ename="ValueError", evalue="", traceback=[])]
    assert noises(notebook) == ["ValueError"]
