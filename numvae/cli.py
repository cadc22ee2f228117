"""The ``numvae`` command.  Exit codes: 0 done, 1 a check failed or the run diverged, 2 bad input, 130 interrupted."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from numvae import __version__
from numvae.errors import CheckError, DivergedError, InputError

__all__ = ["main"]

DONE, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
CHECKPOINT_SECONDS = 30
MOST_SAMPLES = 10_000
MOST_IMAGES = 10_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    as_json = "--json" in words
    try:
        parsed = _parser().parse_args(words)
        code: int = parsed.run(parsed)
        sys.stdout.flush()
        return code
    except InputError as error:
        return _fail(error, BAD_INPUT, as_json)
    except (CheckError, DivergedError) as error:
        return _fail(error, FAILED, as_json)
    except MemoryError as error:
        return _fail(InputError(f"out of memory ({error}); use fewer rows, --samples or --hidden"), BAD_INPUT, as_json)
    except KeyboardInterrupt as interruption:
        return _fail(InputError(str(interruption) or "interrupted"), INTERRUPTED, as_json)
    except BrokenPipeError:  # whoever read our output has gone: nothing more goes there, not even at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except OSError as error:
        place = error.filename2 or error.filename or "the operating system"
        return _fail(InputError(f"{place}: {error.strerror or error}"), BAD_INPUT, as_json)


def _fail(error: Exception, code: int, as_json: bool) -> int:
    message = " ".join(str(error).split())
    print(f"numvae: {message}", file=sys.stderr)
    if as_json:
        print(json.dumps({"error": message, "exit_code": code}))
    return code


# ---- the commands


def _train(options: argparse.Namespace) -> int:
    from numvae.config import read_config
    from numvae.runs import create_run, resume_run
    from numvae.training import train

    settings = _given_settings(options)
    if options.resume is not None:
        run, dataset = resume_run(options.resume, _check_resumable(options, settings))
    else:
        run, dataset = create_run(read_config(options.config, settings), options.out)
    interrupted = _with_progress(run, dataset, train)
    if interrupted:
        raise _Interrupted(f"interrupted after step {run.state.step}; go on with: numvae train --resume {run.folder}")
    return _report(run, dataset, options)


class _Interrupted(KeyboardInterrupt):
    """Ctrl-C during training, with a checkpoint saved."""


def _report(run: Any, dataset: Any, options: argparse.Namespace) -> int:
    from numvae.report import write_report

    check = run.check_gradient(dataset)
    page = write_report(run, dataset, check)
    _print(options, run.numbers(), f"The page: {page}")
    return DONE


def _with_progress(run: Any, dataset: Any, train: Callable[..., Any]) -> bool:
    """Train with a progress bar and checkpoints; whether it was interrupted."""
    from tqdm import tqdm

    from numvae.interruption import Interruption

    state, recipe = run.state, run.recipe
    rows = len(dataset.train)
    done = state.epoch * rows + min(state.batches * recipe.batch, rows)
    last_save = time.monotonic()
    with (
        Interruption() as interruption,
        tqdm(
            total=recipe.epochs * rows,
            initial=done,
            unit=" samples",
            unit_scale=True,
            dynamic_ncols=True,
            disable=None,
            file=sys.stderr,
        ) as bar,
    ):

        def on_batch(state: Any) -> bool:
            nonlocal last_save
            bar.update(min(recipe.batch, rows - (state.batches - 1) * recipe.batch))
            if time.monotonic() - last_save > CHECKPOINT_SECONDS:
                run.save()
                last_save = time.monotonic()
            return interruption.requested

        def on_epoch(state: Any) -> None:
            nonlocal last_save
            run.save()
            last_save = time.monotonic()
            row = state.history[-1]
            bar.write(
                f"epoch {row['epoch']}/{recipe.epochs}: bound {row['train_elbo']:.2f} train, "
                f"{row['test_elbo']:.2f} test = {row['test_reconstruction']:.2f} reconstruction - "
                f"{row['test_kl']:.2f} KL nats; {row['samples'] / row['seconds']:,.0f} samples/s",
                file=sys.stderr,
            )

        train(run.model, dataset, recipe, state, on_batch=on_batch, on_epoch=on_epoch)
        finished = bool(state.epoch >= recipe.epochs)
        run.save()
    return not finished


def _evaluate(options: argparse.Namespace) -> int:
    from numvae.evaluation import evaluate, evaluate_importance_weighted
    from numvae.runs import open_run
    from numvae.training import generator

    run = open_run(options.run_folder)
    samples = _whole(options.samples, "--samples", least=1, most=MOST_SAMPLES)
    dataset = run.load_data(options.data)
    keywords: dict[str, Any] = {"binarize": run.recipe.binarize, "samples": samples, "device": run.config.device}
    rng = generator(run.config.seed, "evaluation")
    test = evaluate(run.model, run.state.theta, dataset.test, rng=rng, **keywords)
    numbers = {
        "test_elbo": test.elbo,
        "test_elbo_standard_error": test.standard_error,
        "test_reconstruction": test.reconstruction,
        "test_kl": test.kl,
        "samples": samples,
        "rows": test.rows,
    }
    if samples > 1:
        rng = generator(run.config.seed, "evaluation")
        numbers["test_importance_weighted"] = evaluate_importance_weighted(
            run.model, run.state.theta, dataset.test, rng=rng, **keywords
        )
    _print(options, numbers)
    return DONE


def _sample(options: argparse.Namespace) -> int:
    from numvae import figures
    from numvae.runs import open_run

    run = open_run(options.run_folder)
    if run.image_shape is None:
        raise InputError(f"{run.folder} was trained on rows that are not images; there is no picture to draw of them")
    count = _whole(options.n, "--n", least=1, most=MOST_IMAGES)
    seed = None if options.seed is None else _whole(options.seed, "--seed", least=0)
    if options.out.suffix.lower() != ".png":
        raise InputError(f"--out must name a .png file, got {options.out}")
    _need_folder(options.out.parent)
    figures.save(figures.prior_samples(run.draw(count, seed), run.image_shape), options.out)
    _print(options, {"n": count, "out": str(options.out)})
    return DONE


def _figures(options: argparse.Namespace) -> int:
    from numvae.report import draw_figures, write_report
    from numvae.runs import open_run

    run = open_run(options.run_folder)
    dataset = run.load_data()
    check = run.check_gradient(dataset)
    if options.out is None:
        page = write_report(run, dataset, check)
        _print(
            options,
            {"figures": sorted(str(path) for path in (run.folder / "figures").glob("*.png")), "page": str(page)},
        )
    else:
        _need_folder(options.out.parent)
        _print(options, {"figures": [str(path) for path in draw_figures(run, dataset, options.out, check)]})
    return DONE


def _gradcheck(options: argparse.Namespace) -> int:
    from numvae.config import prepare_data, read_config
    from numvae.runs import Run, open_run

    target: Path | None = options.target
    settings = _given_settings(options)
    if target is not None and target.is_dir():
        if settings:
            raise InputError(f"{target} is a run with settings of its own; leave out {', '.join(_flags(settings))}")
        run = open_run(target)
        dataset = run.load_data()
    else:
        config, dataset = prepare_data(read_config(target, settings))
        model = config.build_model(dataset.features)
        state = config.build_state(model, dataset)
        run = Run(Path(), config, model, state, dataset.features, dataset.image_shape)
    check = run.check_gradient(dataset)
    if options.json:
        _print_json(check.to_json())
    else:
        print(check.pullback)
        print()
        print("Score-function and pathwise gradients of the ELBO in the parameters of q(z|x), two samples an estimate:")
        verdict = "agree" if check.estimators.ok else "DISAGREE"
        print(f"  expectations {verdict} coordinate by coordinate; variance ratio {check.variance_ratio:,.1f}")
    return DONE if check.ok else FAILED


def _info(options: argparse.Namespace) -> int:
    from numvae.information import gather

    _print(options, gather(options.run_folder))
    return DONE


# ---- the words


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="numvae",
        description="Variational auto-encoders in NumPy, every gradient derived, written by hand and proven.",
    )
    parser.add_argument("--version", action="version", version=f"numvae {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)

    train = _command(commands, "train", _train, "train a model; leaves a folder with a page of pictures")
    train.add_argument(
        "config", nargs="?", type=Path, metavar="CONFIG.json", help="JSON parameter file; flags override it"
    )
    _add_settings(train)
    train.add_argument("--out", type=Path, metavar="DIR", help="folder of the run (default: runs/DATA-1, -2, …)")
    train.add_argument("--resume", type=Path, metavar="DIR", help="go on with the run in DIR, bit for bit")

    evaluate = _command(commands, "evaluate", _evaluate, "the bound of a trained model on test data")
    _add_run(evaluate)
    evaluate.add_argument("--data", help="other data than the run's: drawn, mnist, frey or a path")
    evaluate.add_argument(
        "--samples", default="1", metavar="L", help="samples of z per row; above 1 also the L-sample bound"
    )

    sample = _command(commands, "sample", _sample, "draw from a trained model")
    _add_run(sample)
    sample.add_argument("--n", default="100", metavar="N", help="how many (default: 100)")
    sample.add_argument("--out", type=Path, required=True, metavar="FILE.png", help="the picture to write")
    sample.add_argument("--seed", metavar="X", help="of the draw (default: the run's)")

    figures = _command(commands, "figures", _figures, "draw the pictures and the page of a run anew")
    _add_run(figures)
    figures.add_argument("--out", type=Path, metavar="DIR", help="only the pictures, into DIR")

    gradcheck = _command(
        commands, "gradcheck", _gradcheck, "check every gradient of a model against finite differences"
    )
    gradcheck.add_argument("target", nargs="?", type=Path, metavar="CONFIG.json|DIR", help="settings, or a trained run")
    _add_settings(gradcheck)

    info = _command(commands, "info", _info, "versions, devices, data; or what a run is and has reached")
    info.add_argument("run_folder", nargs="?", type=Path, metavar="DIR", help="the folder of a run")
    return parser


class _Parser(argparse.ArgumentParser):
    """One line and exit code 2 instead of a usage block; no abbreviations, whose meaning changes with new flags."""

    def __init__(self, **keywords: Any) -> None:
        super().__init__(allow_abbrev=False, **keywords)

    def error(self, message: str) -> NoReturn:
        import difflib

        for word in message.removeprefix("unrecognized arguments: ").split():
            near = difflib.get_close_matches(word.split("=")[0], self._words(), n=1)
            if word.startswith("-") and near:
                message += f", did you mean {near[0]}?"
                break
        raise InputError(f"{message} (see {self.prog} --help)")

    def _words(self) -> list[str]:
        words = list(self._option_string_actions)
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                for parser in action.choices.values():
                    words += parser._option_string_actions
        return words


def _command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int], summary: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=summary, description=summary)
    parser.set_defaults(run=run)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, and nothing else there")
    return parser


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_folder", type=Path, metavar="DIR", help="the folder of a run")


def _add_settings(parser: argparse.ArgumentParser) -> None:
    """A flag for every setting of the parameter file; values stay words until the file's own validation."""
    from numvae.config import describe_settings

    group = parser.add_argument_group("settings", "each is also a key of CONFIG.json, with _ for -")
    for name, default, description in describe_settings():
        about = f"{description} (default: {default})".strip()
        group.add_argument(_flag(name), dest=f"set_{name}", metavar="X", help=about)


def _given_settings(options: argparse.Namespace) -> dict[str, Any]:
    """The settings given as flags, words turned into what JSON would hold."""
    words = {name.removeprefix("set_"): word for name, word in vars(options).items() if name.startswith("set_")}
    return {name: _as_json(name, word) for name, word in words.items() if word is not None}


def _as_json(name: str, word: str) -> Any:
    """ "500,200" for a list, "{…}" for an object, and words that are names or numbers as they stand."""
    if name == "hidden":
        return [part.strip() for part in word.split(",")]
    if word.lstrip().startswith("{"):
        try:
            return json.loads(word)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{_flag(name)} is not JSON ({error}), got {word}") from None
    return None if word == "none" and name in ("clip_norm", "weight_prior", "lr", "train_rows", "test_rows") else word


def _check_resumable(options: argparse.Namespace, settings: dict[str, Any]) -> dict[str, Any]:
    """Only what leaves the run the same run may be given with --resume."""
    flags = _flags(sorted(set(settings) - {"epochs", "device"}))
    flags += ["--out"] if options.out is not None else []
    flags += ["CONFIG.json"] if options.config is not None else []
    if flags:
        raise InputError(
            f"--resume goes on with the run as it is: only --epochs and --device can go with it, not {', '.join(flags)}"
        )
    return settings


def _flags(names: Iterable[str]) -> list[str]:
    return [_flag(name) for name in names]


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _whole(word: str, flag: str, *, least: int, most: int | None = None) -> int:
    try:
        number = int(word)
    except ValueError:
        number = least - 1
    if number < least or (most is not None and number > most):
        upwards = " upwards" if most is None else f" to {most}"
        raise InputError(f"{flag} must be a whole number from {least}{upwards}, got {word}")
    return number


def _need_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder} to write into; make it first")


def _print(options: argparse.Namespace, numbers: dict[str, Any], *lines: str) -> None:
    """One JSON object, or a line per number for a person."""
    if options.json:
        _print_json(numbers)
        return
    width = max(len(name) for name in numbers)
    for name, value in numbers.items():
        shown = f"{value:,.3f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else value
        print(f"{name.replace('_', ' '):<{width}}  {shown}")
    for line in lines:
        print(line)


def _print_json(value: dict[str, Any]) -> None:
    """JSON knows neither NaN nor infinity: they become null."""
    print(json.dumps(_finite(value), allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
