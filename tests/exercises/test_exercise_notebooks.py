"""The exercises as notebooks: those in the repository are up to date, right solutions pass, and nbgrader grades."""

from __future__ import annotations

import ast
import inspect
import json
import os
import re
import subprocess
import sys
import sysconfig
import textwrap
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from numvae.errors import InputError
from numvae.exercises.contract import Exercise
from numvae.exercises.ladder import EXERCISES, ORDER
from numvae.exercises.notebooks import CHAPTERS, Chapter, notebook, notebook_text, write_notebooks
from tests.small_runs import numvae

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "notebooks" / "exercises"
ANEW = "numvae learn notebooks --overwrite notebooks/exercises"
SCHEMA = {"grade", "grade_id", "locked", "schema_version", "solution", "task"}
"""What every cell says that nbgrader minds, https://nbgrader.readthedocs.io/en/stable/contributor_guide/metadata.html"""

each_chapter = pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.name)
executing = pytest.mark.skipif(
    not all(map(find_spec, ("nbformat", "nbclient", "ipykernel"))), reason="needs pip install '.[test]'"
)
grading = pytest.mark.skipif(
    not all(map(find_spec, ("nbformat", "nbgrader", "ipykernel"))), reason="needs pip install '.[test,nbgrader]'"
)


def cells_of(chapter: Chapter, kind: str = "", **keywords: Any) -> dict[str, str]:
    """The source of each cell by its id, of those whose ids end so."""
    cells = notebook(chapter, **keywords)["cells"]
    return {cell["id"]: "".join(cell["source"]) for cell in cells if cell["id"].endswith(kind)}


def marks_of(content: Any) -> list[dict[str, Any]]:
    return [dict(cell["metadata"]["nbgrader"]) for cell in content["cells"] if "nbgrader" in cell["metadata"]]


def submission(chapter: Chapter, answers: Mapping[str, str]) -> Any:
    """A learner's notebook, with the source of functions by their names."""
    import nbformat

    content = nbformat.reads(notebook_text(notebook(chapter)), as_version=4)
    for cell in content.cells:
        name = cell.id.removesuffix("-solution")
        if name in answers and name != cell.id:
            cell.source = answers[name]
    return content


def right(chapter: Chapter) -> dict[str, str]:
    return {name: EXERCISES[name].solution_source for name in chapter.exercises}


def mistaken(exercise: Exercise, number: int = 0) -> str:
    wrong = exercise.misconceptions[number].wrong
    return inspect.getsource(wrong).replace(f"def {wrong.__name__}", f"def {exercise.name}")


def executed(content: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    from nbclient import NotebookClient

    at_home(folder, monkeypatch)
    NotebookClient(
        content, timeout=60, kernel_name="python3", allow_errors=True, extra_arguments=["--log-level=ERROR"]
    ).execute()
    return content


def at_home(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels find this package and the commands beside this Python, and leave the person's own Jupyter alone."""
    monkeypatch.setenv("PATH", os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)]))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    for variable in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(variable, str(folder / variable.lower()))


def errors_of(content: Any) -> list[list[str]]:
    """What each failing cell shows as its traceback."""
    outputs = [output for cell in content.cells if cell.cell_type == "code" for output in cell.outputs]
    return [list(output.traceback) for output in outputs if output.output_type == "error"]


# ---- what is in them


@each_chapter
def test_the_notebook_in_the_repository_is_up_to_date(chapter: Chapter) -> None:
    written = (FOLDER / f"{chapter.name}.ipynb").read_text(encoding="utf-8")
    assert written == notebook_text(notebook(chapter)), ANEW


def test_the_chapters_are_the_ladder() -> None:
    assert [name for chapter in CHAPTERS for name in chapter.exercises] == list(ORDER)
    assert sorted(path.stem for path in FOLDER.iterdir()) == [chapter.name for chapter in CHAPTERS]


@each_chapter
@pytest.mark.parametrize("instructor", [False, True], ids=["learner", "instructor"])
def test_jupyter_would_save_it_as_it_is(chapter: Chapter, instructor: bool) -> None:
    nbformat = pytest.importorskip("nbformat")
    text = notebook_text(notebook(chapter, instructor))
    content = nbformat.reads(text, as_version=4)
    nbformat.validate(content)
    assert nbformat.writes(content) + "\n" == text


@each_chapter
def test_nbgrader_is_told_what_is_written_what_is_graded_and_what_is_locked(chapter: Chapter) -> None:
    marks = marks_of(notebook(chapter))
    assert len({mark["grade_id"] for mark in marks}) == len(marks) == 1 + 2 * len(chapter.exercises)
    for mark in marks:
        assert set(mark) == SCHEMA | ({"points"} if mark["grade"] else set())
        assert mark["schema_version"] == 3
        assert mark["locked"] is not mark["solution"]
    assert [mark["grade_id"] for mark in marks if mark["solution"]] == list(chapter.exercises)
    assert [mark["grade_id"] for mark in marks if mark["grade"]] == [f"check_{name}" for name in chapter.exercises]
    assert marks == marks_of(notebook(chapter, instructor=True))


def test_an_exercise_is_worth_a_point_for_each_output() -> None:
    points = {mark["grade_id"]: mark["points"] for mark in marks_of(notebook(CHAPTERS[1])) if mark["grade"]}
    assert points["check_normal_kl"] == len(["kl", "dmean", "dlog_std"])


@each_chapter
def test_learners_get_no_solution(chapter: Chapter) -> None:
    released, full = cells_of(chapter, "-solution"), cells_of(chapter, "-solution", instructor=True)
    for name in released:
        head, inside, tail = re.split(r" *### (?:BEGIN|END) SOLUTION", full[name])
        assert released[name] == head + "    # YOUR CODE HERE\n    raise NotImplementedError()"
        assert inside.strip()
        assert not tail


@each_chapter
def test_the_solutions_solve_it(chapter: Chapter) -> None:
    names: dict[str, Any] = {}
    for source in [cells_of(chapter)["setup"], *cells_of(chapter, "-solution", instructor=True).values()]:
        exec(source, names)
    for source in cells_of(chapter, "-check").values():
        exec(source, names)


@pytest.mark.parametrize("name", [name for name in ORDER if EXERCISES[name].given])
def test_what_is_given_is_how_the_solution_begins(name: str) -> None:
    exercise = EXERCISES[name]
    given = ast.parse(textwrap.dedent(exercise.given)).body
    (solution,) = ast.parse(exercise.solution_source).body
    assert isinstance(solution, ast.FunctionDef)
    assert [ast.unparse(line) for line in given] == [ast.unparse(line) for line in solution.body[: len(given)]]


@each_chapter
def test_links_lead_somewhere(chapter: Chapter) -> None:
    text = "\n".join(cells_of(chapter).values())
    links = re.findall(r"\]\((.*?)\)", text)
    assert len(links) > len(chapter.exercises)
    assert not [link for link in links if not (FOLDER / link).exists()]
    assert not re.findall(r"\]\(", "\n".join(cells_of(chapter, linked=False).values()))


# ---- the command


def test_the_command_writes_them_and_leaves_work_alone(tmp_path: Path) -> None:
    folder = tmp_path / "course" / "source"
    written, kept = write_notebooks(folder)
    assert [path.stem for path in written] == [chapter.name for chapter in CHAPTERS]
    assert not kept
    assert "](" not in written[0].read_text(encoding="utf-8"), "there are no derivations beside it to link to"
    written[0].write_text("work")
    assert write_notebooks(folder, instructor=True) == ([], written)
    assert written[0].read_text() == "work"
    done = numvae("learn", "notebooks", folder, "--instructor", "--overwrite")
    assert "6 notebooks written" in done.out
    assert "BEGIN SOLUTION" in written[0].read_text(encoding="utf-8")
    with pytest.raises(InputError, match="is a file; name a folder"):
        write_notebooks(written[0])


# ---- in Jupyter


@executing
def test_a_mistake_shows_a_report_and_one_line_without_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chapter = CHAPTERS[1]
    answers = right(chapter) | {"normal_kl": mistaken(EXERCISES["normal_kl"])}
    content = executed(submission(chapter, answers), tmp_path, monkeypatch)
    (shown,) = errors_of(content)
    assert len(shown) == 1
    assert shown[0].startswith(f"normal_kl: {EXERCISES['normal_kl'].misconceptions[0].message}")
    assert "\n" not in shown[0]
    reports = {cell.id: cell.outputs[0].data for cell in content.cells if cell.id.endswith("-report")}
    assert all("text/html" in report for report in reports.values())
    assert [name for name, report in reports.items() if report["text/plain"].startswith("✗")] == ["normal_kl-report"]


@executing
def test_the_edition_for_instructors_runs_without_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import nbformat

    content = nbformat.reads(notebook_text(notebook(CHAPTERS[5], instructor=True)), as_version=4)
    assert not errors_of(executed(content, tmp_path, monkeypatch))
    reports = [cell.outputs[0].data["text/plain"] for cell in content.cells if cell.id.endswith("-report")]
    assert reports == [f"✓ {name}: right." for name in CHAPTERS[5].exercises]


# ---- with nbgrader

GRADING = """
import json, sys
from nbgrader.apps import NbGraderAPI

api = NbGraderAPI()
for step in (api.generate_assignment, "vae"), (api.autograde, "vae", "right"), (api.autograde, "vae", "wrong"):
    done = step[0](*step[1:])
    if not done["success"]:
        sys.exit(done["log"])
print(json.dumps({each["student"]: [each["score"], each["max_score"]] for each in api.get_submissions("vae")}))
"""
PLACES = (("release",), ("autograded", "right"), ("autograded", "wrong"))


@grading
@pytest.mark.slow
def test_nbgrader_grades_from_one_end_to_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import nbformat

    chapter, kl = CHAPTERS[1], EXERCISES["normal_kl"]
    answers = right(chapter) | {"normal_kl": mistaken(kl)}
    del answers["poisson_log_prob"]
    wrong = submission(chapter, answers)
    for cell in wrong.cells:
        if cell.id == "normal_kl-check":
            cell.source = "pass"  # what is locked is put back

    def place(*folders: str) -> Path:
        return tmp_path.joinpath("course", *folders, "vae", f"{chapter.name}.ipynb")

    for path in (place("source"), place("submitted", "right"), place("submitted", "wrong")):
        path.parent.mkdir(parents=True)
    place("source").write_text(notebook_text(notebook(chapter, instructor=True)), encoding="utf-8")
    nbformat.write(submission(chapter, right(chapter)), place("submitted", "right"))
    nbformat.write(wrong, place("submitted", "wrong"))

    at_home(tmp_path, monkeypatch)
    command = [sys.executable, "-c", GRADING]
    done = subprocess.run(command, cwd=tmp_path / "course", capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"right": [11, 11], "wrong": [11 - 2 - 3, 11]}

    released, *graded = (nbformat.read(place(*folders), as_version=4) for folders in PLACES)
    assert {cell.id: cell.source for cell in released.cells} == cells_of(chapter)
    assert not errors_of(graded[0])
    not_started, explained = errors_of(graded[1])
    assert not_started == ["poisson_log_prob: not started: write poisson_log_prob(log_rate, x)."]
    assert len(explained) == 1
    assert explained[0].startswith(f"normal_kl: {kl.misconceptions[0].message}")
