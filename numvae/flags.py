"""The words of the command line: what each command takes, and what JSON would hold for the flags that are settings."""

from __future__ import annotations

import argparse
import difflib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn, get_args

from numvae import __version__
from numvae.errors import InputError

__all__ = ["Setting", "build_parser", "describe_settings", "given_settings", "resumable_settings"]

MOST_SAMPLES = 10_000
MOST_IMAGES = 10_000
LEAST_ESTIMATES, MOST_ESTIMATES = 8, 1_000_000
MOST_LATENT_SAMPLES = 1_000
MOST_DIMENSION = 100
MOST_SECONDS = 3_600


# ---- settings


@dataclass(frozen=True)
class Setting:
    """What the command line tells of a setting."""

    name: str
    kind: Any
    """``str``, ``int``, ``float``, ``bool``, ``list`` or ``dict``."""
    default: Any
    choices: tuple[str, ...]
    """The names it may have; empty where it is free."""
    optional: bool
    """Whether it may be null, "none" on the command line."""
    description: str

    @property
    def help(self) -> str:
        """A line for ``--help``."""
        default = "none" if self.default is None else self.default
        if isinstance(default, list):
            default = ",".join(map(str, default))
        elif isinstance(default, (bool, dict)):
            default = json.dumps(default)
        elif isinstance(default, float):
            default = f"{default:.4g}"
        choices = f"; one of {', '.join(self.choices)}" if self.choices else ""
        return f"{self.description}{choices} (default: {default})".replace("%", "%%")

    def read(self, word: str) -> Any:
        """What JSON would hold for a word; one without sense stays as it is, for the validation to refuse."""
        if self.optional and word == "none":
            return None
        try:
            return READERS[self.kind](word)
        except (ValueError, KeyError, RecursionError):
            return word


READERS: dict[Any, Callable[[str], Any]] = {
    str: str,
    int: int,
    float: float,
    bool: lambda word: {"true": True, "false": False}[word.lower()],
    list: lambda word: [] if word == "none" else [int(part) for part in word.split(",")],
    dict: json.loads,
}
METAVARS = {str: "NAME", int: "N", float: "X", bool: "true|false", list: "N,N,…", dict: "JSON"}


def describe_settings() -> list[Setting]:
    """Every setting of a run, in the order of ``Config``."""
    from numvae.config import Config, OneOf

    settings = []
    for name, field in Config.model_fields.items():
        alternatives = get_args(field.annotation)
        optional = type(None) in alternatives
        kind = alternatives[0] if optional else field.annotation
        kind = getattr(kind, "__origin__", kind)  # of list[…], dict[…], Annotated[…] and Literal[…]
        choices = next((each.names for each in field.metadata if isinstance(each, OneOf)), ())
        if kind is Literal:
            kind, choices = str, alternatives
        settings.append(Setting(name, kind, field.get_default(), choices, optional, field.description or ""))
    return settings


def given_settings(options: argparse.Namespace) -> dict[str, Any]:
    """The settings given as flags, words turned into what JSON would hold."""
    words = {name.removeprefix("set_"): word for name, word in vars(options).items() if name.startswith("set_")}
    return {
        setting.name: setting.read(words[setting.name])
        for setting in describe_settings()
        if words[setting.name] is not None
    }


def resumable_settings(options: argparse.Namespace) -> dict[str, Any]:
    """The settings given with ``--resume``.

    Raises:
        InputError: some that cannot change any more, another folder or a parameter file.
    """
    from numvae.config import Config
    from numvae.parameter_file import flag
    from numvae.runs import CHANGEABLE

    settings = given_settings(options)
    wrong = [flag(name) for name in settings if name not in CHANGEABLE]
    wrong += ["--out"] if options.out is not None else []
    wrong += ["CONFIG.json"] if options.config is not None else []
    if wrong:
        right = [flag(name) for name in Config.model_fields if name in CHANGEABLE]
        raise InputError(
            f"--resume goes on with the run as it is: only {', '.join(right)} can go with it, not {', '.join(wrong)}"
        )
    return settings


# ---- commands


def build_parser(command: str = "") -> argparse.ArgumentParser:
    """The parser of all commands; ``command`` names the one given.

    For ``learn`` and ``bughunt``, which are to be quick, the settings of runs are left out: they take a moment to load.
    """
    add_settings = _leave_out if command in ("learn", "bughunt") else _add_settings
    parser = Parser(
        prog="numvae",
        description="Variational auto-encoders in NumPy, every gradient derived, written by hand and proven.",
    )
    parser.add_argument("--version", action="version", version=f"numvae {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)

    train = _command(commands, "train", "train a model; leaves a folder with a page of pictures")
    train.add_argument(
        "config", nargs="?", type=place, metavar="CONFIG.json", help="JSON parameter file; flags override it"
    )
    train.usage = "%(prog)s [CONFIG.json] [SETTINGS] [--out DIR | --resume DIR] [--watch-variance [N]] [--json]"
    add_settings(train)
    train.add_argument("--out", type=place, metavar="DIR", help="folder of the run (default: runs/DATA-1, -2, …)")
    train.add_argument(
        "--watch-variance", type=whole(1), nargs="?", const=100, metavar="N",
        help="every N steps measure the noise of the gradient, into variance.jsonl (default: 100)",
    )  # fmt: skip
    train.add_argument("--resume", type=place, metavar="DIR", help="go on with the run in DIR, bit for bit")

    evaluate = _command(commands, "evaluate", "the bound of a trained model on test data")
    _add_run(evaluate)
    evaluate.add_argument("--data", metavar="NAME", help="other data than the run's: drawn, mnist, frey or a path")
    evaluate.add_argument(
        "--samples", type=whole(1, MOST_SAMPLES), default=1, metavar="L",
        help="samples of z per row; above 1 also the L-sample bound (default: 1)",
    )  # fmt: skip

    sample = _command(commands, "sample", "draw from a trained model")
    _add_run(sample)
    sample.add_argument("--n", type=whole(1, MOST_IMAGES), default=100, metavar="N", help="how many (default: 100)")
    sample.add_argument("--out", type=png, required=True, metavar="FILE.png", help="the picture to write")
    sample.add_argument("--seed", type=whole(0), metavar="N", help="of the draw (default: the run's)")

    figures = _command(commands, "figures", "draw the pictures and the page of a run anew")
    _add_run(figures)
    figures.add_argument("--out", type=place, metavar="DIR", help="only the pictures, into DIR")

    gradcheck = _command(commands, "gradcheck", "check every gradient of a model against finite differences")
    gradcheck.add_argument(
        "target", nargs="?", type=place, metavar="CONFIG.json|DIR", help="settings, or a trained run"
    )
    gradcheck.usage = "%(prog)s [CONFIG.json|DIR] [SETTINGS] [--json]"
    add_settings(gradcheck)

    variance = _command(commands, "variance", "compare gradient estimators: bias, variance, cost, and the truth beside")
    where = variance.add_mutually_exclusive_group()
    where.add_argument("--cost", metavar="NAME", help="a cost with a known gradient (default: quadratic)")
    where.add_argument("--run", type=place, metavar="DIR", help="a trained model instead, on rows of its test data")
    variance.add_argument(
        "--estimators", type=words, metavar="A,B,…", help="names of estimators (default: all that are for the cost)"
    )
    variance.add_argument(
        "--samples", type=whole(LEAST_ESTIMATES, MOST_ESTIMATES), metavar="N",
        help="estimates drawn of each estimator (default: 200 of a run, 10000 of a cost of few dimensions, else 1000)",
    )  # fmt: skip
    variance.add_argument(
        "--latent-samples", type=whole(1, MOST_LATENT_SAMPLES), metavar="S",
        help="samples of z in an estimate; one that needs more gets more (default: 1; 2 for importance-weighted)",
    )  # fmt: skip
    variance.add_argument(
        "--dimension", type=whole(1, MOST_DIMENSION), metavar="N", help="of z (default: 1; 2 where costs are coupled)"
    )
    variance.add_argument("--seed", type=whole(0), default=0, metavar="N", help="of the noise (default: 0)")
    variance.add_argument("--out", type=place, metavar="DIR", help="write variance.json and the pictures into DIR")

    again = _command(commands, "reproduce", "run a paper's experiments, and draw its figures")
    again.add_argument(
        "what", choices=["review", "aevb", "iwae"],
        help="whose experiments: those of the review, of Auto-Encoding Variational Bayes, or of Importance Weighted "
        "Autoencoders",
    )  # fmt: skip
    again.add_argument(
        "--figure", metavar="NAME",
        help="only this one (default: all); review: 1 to 10, 7b, manifolds, latents, kl, denoising, exponential, "
        "counts; aevb: 2 to 5; iwae: schedule, samples, layers",
    )  # fmt: skip
    again.add_argument(
        "--profile", metavar="NAME", default="quick",
        help="quick: a few minutes; full: at full size, and it says how long beforehand (default: quick)",
    )  # fmt: skip
    again.add_argument(
        "--out", type=place, metavar="DIR", help="folder of the runs and the page (default: runs/WHAT-PROFILE)"
    )

    _add_learn(commands)
    _add_bughunt(commands)

    info = _command(commands, "info", "versions, devices, data; or what a run is and has reached")
    info.add_argument("run_folder", nargs="?", type=place, metavar="DIR", help="the folder of a run")
    return parser


def _add_learn(commands: Any) -> None:
    """``learn`` and its actions."""
    summary = "exercises: write the formulas, and be told what is wrong with them"
    learn = commands.add_parser("learn", help=summary, description=summary)
    actions = learn.add_subparsers(dest="action", required=True, metavar="ACTION", parser_class=Parser)

    init = _command(actions, "init", "write the exercises into a folder; what is there already stays as it is")
    init.add_argument("folder", type=place, metavar="DIR", help="the folder, new or not")
    listing = _command(actions, "list", "all exercises, and how far you have come")
    check = _command(actions, "check", "check an exercise (default: the first that is not done)")
    check.add_argument("name", nargs="?", metavar="NAME", help="the exercise, or its file")
    check.add_argument("--all", action="store_true", help="check every exercise")
    watch = _command(actions, "watch", "check each exercise when its file is saved, until Ctrl-C")
    watch.add_argument("name", nargs="?", metavar="NAME", help="only this exercise (default: all)")
    hint = _command(actions, "hint", "a hint for an exercise as it stands; each time the next of three")
    reset = _command(actions, "reset", "begin an exercise anew; your work is kept beside it")
    solution = _command(actions, "solution", "show the solution of an exercise")
    solution.add_argument("--yes", action="store_true", help="even if you have not tried it yet")
    notebooks = _command(actions, "notebooks", "write the exercises as notebooks, which nbgrader can grade")
    notebooks.add_argument("folder", type=place, metavar="DIR", help="the folder, new or not")
    notebooks.add_argument("--instructor", action="store_true", help="with the solutions, which nbgrader takes out")
    notebooks.add_argument("--overwrite", action="store_true", help="also those that are there already")
    _command(
        actions, "selfcheck", "prove the exercises: every stub fails, every solution passes, every mistake is named"
    )

    for parser in (hint, reset, solution):
        parser.add_argument("name", metavar="NAME", help="the exercise, or its file")
    for parser in (listing, check, watch, hint, reset, solution):
        parser.add_argument(
            "--dir", type=place, metavar="DIR", help="the folder of exercises (default: the current one)"
        )
    for parser in (check, watch, hint):
        parser.add_argument(
            "--time-limit", type=whole(1, MOST_SECONDS), default=10, metavar="N",
            help="seconds that your code may take (default: 10)",
        )  # fmt: skip


def _add_bughunt(commands: Any) -> None:
    """``bughunt``: which case, how to look at it, and what to say to it."""
    hunt = _command(commands, "bughunt", "one bug in a running VAE: look at its curve and its gradient, and name it")
    case = hunt.add_mutually_exclusive_group()
    case.add_argument("--level", type=whole(1), default=1, metavar="N", help="from glaring to subtle (default: 1)")
    case.add_argument("--random", action="store_true", help="any bug")
    hunt.add_argument("--seed", type=whole(0), metavar="N", help="of data, weights and noise (default: 0)")
    say = hunt.add_mutually_exclusive_group()
    say.add_argument("--list", action="store_true", help="the levels")
    say.add_argument("--answer", metavar="ID", help="what is wrong: an id of those offered, or its letter")
    say.add_argument(
        "--hint", type=whole(1, 3), nargs="?", const=1, metavar="N", help="the first N hints, of three (default: 1)"
    )
    say.add_argument("--reveal", action="store_true", help="say what is wrong")
    hunt.add_argument("--parts", action="store_true", help="check the gradient with parts of the VAE switched off")
    hunt.add_argument("--law", action="store_true", help="check samples, KL, likelihood, Adam and the loop")
    hunt.add_argument("--estimator", action="store_true", help="check that the steps are right on average, and fresh")
    hunt.add_argument("--out", type=place, metavar="DIR", help="also write pictures and a page into DIR")
    hunt.add_argument("--score", type=place, metavar="FILE", help="keep the score in FILE")


def _command(commands: Any, name: str, summary: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=summary, description=summary)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, and nothing else there")
    return parser


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_folder", type=place, metavar="DIR", help="the folder of a run")


def _add_settings(parser: argparse.ArgumentParser) -> None:
    """A flag for every setting of the parameter file."""
    from numvae.parameter_file import flag

    group = parser.add_argument_group("settings", "each is also a key of CONFIG.json, with _ for -")
    for setting in describe_settings():
        group.add_argument(
            flag(setting.name), dest=f"set_{setting.name}", metavar=METAVARS[setting.kind], help=setting.help
        )


def _leave_out(parser: argparse.ArgumentParser) -> None:
    """No flags of settings."""


class Parser(argparse.ArgumentParser):
    """One line and exit code 2 instead of a usage block; no abbreviations, whose meaning changes with new flags."""

    def __init__(self, **keywords: Any) -> None:
        super().__init__(allow_abbrev=False, **keywords)
        self._negative_number_matcher = re.compile(r"-\.?\d")  # argparse takes -1e-3 for a flag

    def error(self, message: str) -> NoReturn:
        where, _, wrong = message.removeprefix("argument ").partition(": ")
        if wrong.startswith("must "):
            raise InputError(f"{where} {wrong}")
        if where == "unrecognized arguments":
            message += self._suggestion(wrong)
        raise InputError(f"{message.removeprefix('argument ')} (see {self.prog} --help)")

    def _suggestion(self, words: str) -> str:
        for word in words.split():
            near = difflib.get_close_matches(word.split("=")[0], self._flags(), n=1)
            if word.startswith("-") and near:
                return f", did you mean {near[0]}?"
        return ""

    def _flags(self) -> list[str]:
        flags = list(self._option_string_actions)
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                for parser in action.choices.values():
                    flags += parser._flags()
        return flags


# ---- words


def place(word: str) -> Path:
    """A file or folder; an empty word would be the current folder."""
    if not word:
        raise argparse.ArgumentTypeError("must name a file or folder, got ''")
    return Path(word)


def words(word: str) -> list[str]:
    """Names with commas between them."""
    names = [name.strip() for name in word.split(",")]
    if not all(names):
        raise argparse.ArgumentTypeError(f"must be names with commas between them, got {word!r}")
    return list(dict.fromkeys(names))


def png(word: str) -> Path:
    """A picture to be written."""
    if Path(word).suffix.lower() != ".png":
        raise argparse.ArgumentTypeError(f"must name a .png file, got {word!r}")
    return Path(word)


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """A whole number in a range."""

    def read(word: str) -> int:
        try:
            number = int(word)
        except ValueError:
            number = least - 1
        if number < least or (most is not None and number > most):
            upwards = " upwards" if most is None else f" to {most}"
            raise argparse.ArgumentTypeError(f"must be a whole number from {least}{upwards}, got {word}")
        return number

    return read
