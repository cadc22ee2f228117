"""What every paper's reproduction does: run what is missing, keep what is done, draw, show, refuse.  Nothing trains."""

from __future__ import annotations

import configparser
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

import numvae as package
from numvae import experiments
from numvae.errors import InputError
from numvae.experiments import PAPERS, aevb, iwae
from numvae.experiments.outcomes import Outcome, Outcomes
from numvae.experiments.paper import Paper, PaperFigure, Table, draw_paper, reproduce_paper, those
from numvae.flags import build_parser
from numvae.interruption import Interrupted
from tests.small_runs import listing, numvae


@dataclass
class Counted:
    """An experiment that counts how often it was run."""

    name: str
    takes: float = 1.0
    runs: int = 0
    fails: BaseException | None = None
    more: dict[str, Any] = field(default_factory=dict)

    def seconds(self, folder: Path, profile: str) -> float:
        return self.takes

    def run(self, folder: Path, profile: str, command: str) -> Outcome:
        self.runs += 1
        if self.fails is not None:
            raise self.fails
        (folder / self.name).mkdir(parents=True, exist_ok=True)
        (folder / self.name / "config.json").write_text("{}")
        return {
            "experiment": self.name,
            "profile": profile,
            "value": 12.345,
            "training_seconds": 90.0,
            "seed": 3,
            "made_with": "a machine",
            **self.more,
        }


@dataclass
class Toy:
    """A paper of three figures over three experiments, the last of them drawn from weights."""

    first: Counted = field(default_factory=lambda: Counted("first"))
    second: Counted = field(default_factory=lambda: Counted("second"))
    third: Counted = field(default_factory=lambda: Counted("third"))
    drawn: list[str] = field(default_factory=list)

    @property
    def runs(self) -> list[int]:
        return [self.first.runs, self.second.runs, self.third.runs]

    @property
    def paper(self) -> Paper:
        wanted = {"a": (self.first,), "b": (self.first, self.second), "c": (self.third,)}
        figures = {
            name: PaperFigure(
                name, f"Figure {name}", f"What {name} <shows>.", those_wanted, self._draw(name),
                needs_runs=name == "c", says=lambda outcomes: f"All in all {len(outcomes)}.",
            )
            for name, those_wanted in wanted.items()
        }  # fmt: skip
        return Paper("toy", "A toy, run again", {"quick": "Quickly.", "full": "Fully."}, figures, _tables)

    def _draw(self, name: str) -> Callable[[Outcomes, Path], Figure]:
        def draw(outcomes: Outcomes, runs: Path) -> Figure:
            self.drawn.append(name)
            return Figure(figsize=(1, 1))

        return draw


def _tables(outcomes: Outcomes) -> list[Table]:
    rows = [(name, f"{outcome['value']:.1f} <nats>") for name, outcome in outcomes.items()]
    return [Table("Beside & reported", ("Name", "Value"), rows, "A note."), Table("Nothing yet", ("Name",), [], "")]


def test_all_figures_are_drawn_and_on_the_page(tmp_path: Path) -> None:
    toy = Toy()
    done = reproduce_paper(toy.paper, None, "quick", tmp_path)
    assert toy.runs == [1, 1, 1]
    assert done.to_json() == {
        "page": str(tmp_path / "index.html"),
        "experiments": {name: str(tmp_path / f"experiments/{name}.json") for name in ("first", "second", "third")},
        "figures": {name: str(tmp_path / f"figures/figure-{name}.png") for name in "abc"},
    }
    page = done.page.read_text()
    assert page.count("data:image/png") == 3
    assert "A toy, run again" in page
    assert "What b &lt;shows&gt;. All in all 3." in page
    assert "Beside &amp; reported" in page
    assert "12.3 &lt;nats&gt;" in page
    assert "Nothing yet" not in page, "a table without rows is left out"
    assert "a machine. Seed 3; 4 min of training." in page
    assert f"numvae reproduce toy --profile quick --out {tmp_path}</pre>" in page


def test_what_is_there_is_not_run_again(tmp_path: Path) -> None:
    toy = Toy()
    reproduce_paper(toy.paper, None, "quick", tmp_path)
    before = listing(tmp_path)
    reproduce_paper(toy.paper, None, "quick", tmp_path)
    assert toy.runs == [1, 1, 1]
    assert listing(tmp_path) == before


def test_one_figure_runs_only_what_it_needs_and_the_page_keeps_the_others(tmp_path: Path) -> None:
    toy = Toy()
    done = reproduce_paper(toy.paper, "b", "quick", tmp_path)
    assert toy.runs == [1, 1, 0]
    assert list(done.pictures) == ["a", "b"], "what b needs is enough for a"
    done = reproduce_paper(toy.paper, "c", "quick", tmp_path)
    assert toy.runs == [1, 1, 1]
    assert list(done.pictures) == ["a", "b", "c"]
    assert done.page.read_text().count("data:image/png") == 3


def test_the_page_of_a_single_figure_says_how_to_repeat_that_one(tmp_path: Path) -> None:
    page = reproduce_paper(Toy().paper, "c", "quick", tmp_path).page.read_text()
    assert f"numvae reproduce toy --figure c --profile quick --out {tmp_path}</pre>" in page


def test_the_default_folder_is_named_after_paper_and_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert reproduce_paper(Toy().paper, "a").page == Path("runs/toy-quick/index.html")


def test_the_page_can_be_drawn_from_the_data_files_alone(tmp_path: Path) -> None:
    toy = Toy()
    before = reproduce_paper(toy.paper, None, "quick", tmp_path)
    shutil.rmtree(tmp_path / "runs")
    page, picture = before.page.read_bytes(), before.pictures["c"].read_bytes()
    before.page.unlink()
    before.pictures["a"].unlink()
    before.pictures["c"].write_bytes(picture + b"kept")
    toy.drawn.clear()
    after = draw_paper(toy.paper, "quick", tmp_path)
    assert toy.drawn == ["a", "b"]
    assert after.pictures["c"].read_bytes() == picture + b"kept", "it cannot be drawn again, so it is not touched"
    after.pictures["c"].write_bytes(picture)
    draw_paper(toy.paper, "quick", tmp_path)
    assert after.page.read_bytes() == page
    assert toy.runs == [1, 1, 1]


def test_a_picture_from_weights_is_drawn_again_only_when_asked_for(tmp_path: Path) -> None:
    toy = Toy()
    reproduce_paper(toy.paper, None, "quick", tmp_path)
    toy.drawn.clear()
    draw_paper(toy.paper, "quick", tmp_path)
    assert toy.drawn == ["a", "b"]
    reproduce_paper(toy.paper, "c", "quick", tmp_path)
    assert toy.drawn[2:] == ["a", "b", "c"]


def test_weights_that_are_gone_are_learnt_again_where_the_picture_is_gone_too(tmp_path: Path) -> None:
    toy = Toy()
    done = reproduce_paper(toy.paper, None, "quick", tmp_path)
    shutil.rmtree(tmp_path / "runs")
    done.pictures["c"].unlink()
    assert list(draw_paper(toy.paper, "quick", tmp_path).pictures) == ["a", "b"]
    assert list(reproduce_paper(toy.paper, "c", "quick", tmp_path).pictures) == ["a", "b", "c"]
    assert toy.runs == [1, 1, 2]


def test_a_folder_without_outcomes_cannot_be_drawn(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no outcome to draw; make some with numvae reproduce toy --profile"):
        draw_paper(Toy().paper, "quick", tmp_path / "nowhere")


def test_a_figure_or_a_profile_that_is_none_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="figure 9 is not known, there are a, b, c"):
        reproduce_paper(Toy().paper, "9", "quick", tmp_path)
    with pytest.raises(InputError, match="profile fast is not known, there are quick, full"):
        reproduce_paper(Toy().paper, "a", "fast", tmp_path)
    with pytest.raises(InputError, match="profile ful is not known, did you mean full"):
        reproduce_paper(Toy().paper, "a", "ful")
    assert not list(tmp_path.iterdir())


def test_outcomes_of_another_profile_are_refused(tmp_path: Path) -> None:
    toy = Toy()
    reproduce_paper(toy.paper, "a", "quick", tmp_path)
    before = listing(tmp_path)
    with pytest.raises(InputError, match=r"first\.json is of the quick profile, not of the full one; name another"):
        reproduce_paper(toy.paper, "c", "full", tmp_path)
    assert toy.runs == [1, 0, 0]
    assert listing(tmp_path) == before


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"experiment": "second", "profile": "quick"}'])
def test_a_damaged_outcome_is_refused_with_its_file(tmp_path: Path, text: str) -> None:
    toy = Toy()
    reproduce_paper(toy.paper, "a", "quick", tmp_path)
    (tmp_path / "experiments" / "first.json").write_text(text)
    with pytest.raises(InputError, match=r"first\.json.*; remove it, and it is made anew"):
        reproduce_paper(toy.paper, "a", "quick", tmp_path)


def test_an_interrupted_reproduction_keeps_what_is_done_and_says_how_to_go_on(tmp_path: Path) -> None:
    toy = Toy()
    toy.second.fails = KeyboardInterrupt()
    folder = tmp_path / "a folder"
    command = f"numvae reproduce toy --figure b --profile quick --out '{folder}'"
    with pytest.raises(Interrupted) as interruption:
        reproduce_paper(toy.paper, "b", "quick", folder)
    assert str(interruption.value) == f"interrupted; go on with: {command}"
    toy.second.fails = None
    reproduce_paper(toy.paper, "b", "quick", folder)
    assert toy.runs == [1, 2, 0]


def test_an_experiments_own_word_on_its_interruption_is_passed_on(tmp_path: Path) -> None:
    toy = Toy()
    toy.first.fails = Interrupted("interrupted in first", 15)
    with pytest.raises(Interrupted, match="interrupted in first") as interruption:
        reproduce_paper(toy.paper, "a", "quick", tmp_path)
    assert interruption.value.exit_code == 143


def test_the_full_profile_says_beforehand_how_long_what_is_left_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    toy = Toy(first=Counted("first", takes=1200), second=Counted("second", takes=1800))
    reproduce_paper(toy.paper, "a", "quick", tmp_path / "quick")
    assert "min to run" not in capsys.readouterr().err
    reproduce_paper(toy.paper, "b", "full", tmp_path / "full")
    told = capsys.readouterr().err
    assert "about 50 min to run here; Ctrl-C keeps what is done, go on with: numvae reproduce toy --figure b" in told
    assert "1/2 first\n2/2 second\n" in told
    reproduce_paper(toy.paper, None, "full", tmp_path / "full")
    assert capsys.readouterr().err == "1/1 third\n", "nobody needs to be told of a second"


def test_outcomes_come_in_the_order_of_their_experiments() -> None:
    outcomes: dict[str, Outcome] = {"third": {}, "first": {"value": 1}}
    assert list(those(outcomes, [Counted("first"), Counted("second"), Counted("third")])) == ["first", "third"]


# ---- the papers there are


def test_the_command_knows_every_paper_and_no_other() -> None:
    for name in PAPERS:
        assert build_parser("reproduce").parse_args(["reproduce", name]).what == name
        assert PAPERS[name].name == name
    outcome = numvae("reproduce", "vae")
    assert outcome.code == 2
    assert "invalid choice: 'vae'" in outcome.complaint


@pytest.mark.parametrize("paper", PAPERS.values(), ids=PAPERS)
def test_names_of_experiments_and_figures_are_unique_and_listed_in_the_help(paper: Paper) -> None:
    every = {each for figure in paper.figures.values() for each in figure.experiments}
    assert len({each.name for each in every}) == len(every)
    assert all(name == figure.name for name, figure in paper.figures.items())
    assert set(paper.notes) == {"quick", "full"}
    told = " ".join(numvae("reproduce", "--help").out.split())
    assert {"aevb": "aevb: 2 to 5", "iwae": "iwae: schedule, samples, layers"}[paper.name] in told
    assert {"aevb": list("2345"), "iwae": ["schedule", "samples", "layers"]}[paper.name] == list(paper.figures)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["aevb", "--figure", "9"], "figure 9 is not known, there are 2, 3, 4, 5"),
        (["iwae", "--figure", "sample"], "figure sample is not known, did you mean samples?"),
        (["aevb", "--profile", "fast"], "profile fast is not known, there are quick, full"),
    ],
)
def test_bad_words_are_refused_in_a_line(words: list[str], complaint: str) -> None:
    outcome = numvae("reproduce", *words)
    assert outcome.code == 2
    assert complaint in outcome.complaint
    assert outcome.out == ""


@pytest.mark.usefixtures("tiny_aevb", "tiny_iwae")
@pytest.mark.parametrize("words", [["aevb", "--figure", "3"], ["aevb", "--figure", "4"], ["iwae"]])
def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "a_file").write_text("")
    outcome = numvae("reproduce", *words, "--out", tmp_path / "a_file" / "out")
    assert outcome.code == 2
    assert "a_file" in outcome.complaint
    assert "Not a directory" in outcome.complaint


@pytest.mark.parametrize("name", PAPERS)
def test_missing_data_are_one_line(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMVAE_DATA", str(tmp_path / "nowhere"))
    outcome = numvae("reproduce", name, "--out", tmp_path / "out")
    assert outcome.code == 2
    assert "which is no folder" in outcome.complaint


def test_the_settings_are_part_of_the_package() -> None:
    root = Path(package.__file__).parent
    setup = configparser.ConfigParser()
    setup.read(root.parent / "setup.cfg")
    patterns = setup["options.package_data"]["numvae"].split()
    for module in (aevb, iwae):
        name = str(module.SETTINGS.relative_to(root))
        assert any(fnmatch(name, pattern) for pattern in patterns), name
        assert isinstance(json.loads(module.SETTINGS.read_text()), dict)


def test_what_the_package_lists_is_there() -> None:
    assert all(hasattr(experiments, name) for name in experiments.__all__)
