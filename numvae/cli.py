"""The ``numvae`` command.

Exit codes: 0 done, 1 a check failed or the run diverged, 2 bad input, 3 a learner's code crashed, 130 interrupted
(Ctrl-C), 143 terminated.
"""

from __future__ import annotations

import io
import json
import logging
import math
import os
import shlex
import sys
import traceback
from argparse import Namespace
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from numvae.errors import CheckError, DivergedError, InputError
from numvae.interruption import Interrupted

__all__ = ["main"]

DONE, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    _prepare_streams()
    code = _answer(list(sys.argv[1:] if arguments is None else arguments))
    try:
        sys.stderr.flush()
    except BrokenPipeError:  # what is left unread there must not fail at exit
        _mute()
    return code


def _answer(words: Sequence[str]) -> int:
    """Run one command, and say in one line what went wrong."""
    try:
        return _run(words)
    except BrokenPipeError:  # whoever read our output has gone
        _mute()
        return DONE
    except Exception as error:
        code, message = _explain(error)
    except KeyboardInterrupt as interruption:
        code, message = getattr(interruption, "exit_code", INTERRUPTED), str(interruption) or "interrupted"
    try:
        message = " ".join(message.split())
        print(f"numvae: {message}", file=sys.stderr)
        if "--json" in words:
            print(json.dumps({"error": message, "exit_code": code}), flush=True)
    except BrokenPipeError:
        _mute()
    return code


def _run(words: Sequence[str]) -> int:
    from numvae.flags import build_parser

    options = build_parser(*words[:1]).parse_args(words)
    code = COMMANDS[options.command](options)
    sys.stdout.flush()
    return code


def _explain(error: Exception) -> tuple[int, str]:
    """The exit code and the line for an error."""
    if isinstance(error, InputError):
        return BAD_INPUT, str(error)
    if isinstance(error, (CheckError, DivergedError)):
        return FAILED, str(error)
    if isinstance(error, MemoryError):
        return BAD_INPUT, f"out of memory ({error}); use fewer rows, --samples or --hidden"
    if isinstance(error, OSError):
        place = error.filename2 or error.filename or "the operating system"
        return BAD_INPUT, f"{place}: {error.strerror or error}"
    if os.environ.get("NUMVAE_TRACEBACK"):
        traceback.print_exception(error)
    kind = type(error).__name__
    return FAILED, f"this is a bug, please report it: {kind}: {error} (NUMVAE_TRACEBACK=1 shows where it happened)"


def _prepare_streams() -> None:
    """What a terminal cannot show is escaped; what goes to a closed stream goes nowhere."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it warns where it cannot keep a cache of fonts


def _mute() -> None:
    """Nothing more goes to stdout and stderr, not even at exit."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(io.UnsupportedOperation):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


# ---- the commands


def _train(options: Namespace) -> int:
    from numvae.config import read_config
    from numvae.flags import given_settings, resumable_settings
    from numvae.progress import train_with_progress
    from numvae.runs import create_run, resume_run

    if options.resume is not None:
        run, dataset = resume_run(options.resume, resumable_settings(options))
    else:
        config = read_config(options.config, given_settings(options))
        if options.watch_variance is not None and config.model != "vae":
            raise InputError(f"--watch-variance is for model 'vae', not {config.model!r}; leave it out")
        if options.watch_variance is not None and config.latent_above is not None:
            raise InputError("--watch-variance is for a vae with one layer of latents; leave it or --latent-above out")
        if options.watch_variance is not None and config.flow != "none":
            raise InputError("--watch-variance is for a vae without a flow; leave it or --flow out")
        run, dataset = create_run(config, options.out)
    train_with_progress(run, dataset, options.watch_variance)
    return _report(run, dataset, options)


def _report(run: Any, dataset: Any, options: Namespace) -> int:
    try:
        from numvae.report import write_report  # with Matplotlib, which takes a moment

        page, _ = write_report(run, dataset, _gradient_check(run, dataset))
    except KeyboardInterrupt:
        folder = shlex.quote(str(run.folder))
        raise Interrupted(f"interrupted; training is complete, draw its page with: numvae figures {folder}") from None
    _print(options, run.numbers(), f"The page: {page}")
    return DONE


def _gradient_check(run: Any, dataset: Any) -> Any:
    """The check for the page, or None where it cannot be made: the numbers and pictures do not wait for it."""
    try:
        return run.check_gradient(dataset)
    except CheckError as error:
        print(f"numvae: the page has no gradient check: {error}", file=sys.stderr)
        return None


def _evaluate(options: Namespace) -> int:
    from tqdm import tqdm

    from numvae.evaluation import evaluate, evaluate_likelihood
    from numvae.randomness import generator
    from numvae.runs import open_run

    run = open_run(options.run_folder)
    dataset = run.load_data(options.data)
    keywords: dict[str, Any] = {
        "rng": generator(run.config.seed, "evaluation"),
        "binarize": run.recipe.binarize,
        "samples": options.samples,
        "device": run.config.device,
    }
    likelihood = {}
    if options.samples == 1:
        test = evaluate(run.model, run.state.theta, dataset.test, **keywords)
    else:
        with tqdm(total=len(dataset.test), disable=None, leave=False, unit="row") as bar:
            found = evaluate_likelihood(run.model, run.state.theta, dataset.test, on_rows=bar.update, **keywords)
        test = found.elbo
        likelihood = {
            "test_importance_weighted": found.importance_weighted,
            "test_importance_weighted_standard_error": found.standard_error,
            "test_importance_weighted_monte_carlo_error": found.monte_carlo_error,
            "test_importance_weighted_loss": found.loss,
            "effective_samples": found.effective_samples,
        }
    numbers = {
        "test_elbo": test.elbo,
        "test_elbo_standard_error": test.standard_error,
        "test_reconstruction": test.reconstruction,
        "test_kl": test.kl,
        "samples": options.samples,
        "rows": test.rows,
        **likelihood,
    }
    _print(options, numbers)
    return DONE


def _sample(options: Namespace) -> int:
    from numvae import figures
    from numvae.runs import open_run

    run = open_run(options.run_folder)
    if run.image_shape is None:
        raise InputError(f"{run.folder} was trained on rows that are not images; there is no picture to draw of them")
    drawn = run.draw(options.n, options.seed)
    picture = figures.prior_samples(drawn / run.white(drawn), run.image_shape)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    figures.save(picture, options.out)
    _print(options, {"n": options.n, "out": str(options.out)})
    return DONE


def _figures(options: Namespace) -> int:
    from numvae.report import draw_figures, write_report
    from numvae.runs import open_run

    run = open_run(options.run_folder)
    dataset = run.load_data()
    check = _gradient_check(run, dataset)
    if options.out is None:
        page, pictures = write_report(run, dataset, check)
        _print(options, {"figures": [str(path) for path in pictures], "page": str(page)})
    else:
        _print(options, {"figures": [str(path) for path in draw_figures(run, dataset, options.out, check)]})
    return DONE


def _gradcheck(options: Namespace) -> int:
    from numvae.config import prepare_data, read_config
    from numvae.flags import given_settings
    from numvae.parameter_file import flag
    from numvae.runs import Run, open_run

    target: Path | None = options.target
    settings = given_settings(options)
    if target is not None and target.is_dir():
        if settings:
            raise InputError(f"{target} is a run with settings of its own; leave out {', '.join(map(flag, settings))}")
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
        if check.estimators is None:
            print("No other estimator to compare with: the support of q moves with its parameters.")
        else:
            names = " and ".join(check.estimators.names)
            print(f"The gradients of the ELBO in the parameters of q(z|x) by {names}:")
            verdict = "agree" if check.estimators.ok else "DISAGREE"
            print(f"  expectations {verdict} coordinate by coordinate; variance ratio {check.variance_ratio:,.1f}")
    return DONE if check.ok else FAILED


def _variance(options: Namespace) -> int:
    from tqdm import tqdm

    from numvae.arena.choices import chosen_estimators, chosen_state, usual_estimates
    from numvae.arena.comparison import compare

    state = chosen_state(options.cost, options.run, options.dimension)
    estimators = chosen_estimators(options.estimators, state)
    repeats = options.samples or usual_estimates(state)
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)  # where nothing can be written, say so before the work
    with tqdm(total=len(estimators), disable=None, leave=False) as bar:

        def on_estimator(name: str) -> None:
            bar.set_postfix_str(name)
            bar.update()

        comparison = compare(
            state,
            estimators,
            samples=options.latent_samples,
            repeats=repeats,
            seed=options.seed,
            on_estimator=on_estimator,
        )
        bar.set_postfix_str("" if options.out is None else "pictures")
        written = [] if options.out is None else _write_comparison(comparison, options)
    if options.json:
        _print_json(comparison.to_json())
    else:
        print(comparison)
        for path in written:
            print(path)
    return DONE


def _write_comparison(comparison: Any, options: Namespace) -> list[Path]:
    from numvae.arena.choices import path_terms_of_run
    from numvae.arena.pictures import draw_all  # with Matplotlib, which takes a moment
    from numvae.atomic import write_atomically

    path = options.out / "variance.json"
    text = json.dumps(_finite(comparison.to_json()), indent=2, allow_nan=False) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))
    terms = None if options.run is None else path_terms_of_run(options.run, options.seed)
    return [path, *draw_all(comparison, options.out, terms)]


def _reproduce(options: Namespace) -> int:
    from numvae.experiments import PAPERS, reproduce, reproduce_paper  # with Matplotlib, which takes a moment

    reproduction: Any
    if options.what in PAPERS:
        reproduction = reproduce_paper(PAPERS[options.what], options.figure, options.profile, options.out)
    else:
        reproduction = reproduce(options.figure, options.profile, options.out)
    if options.json:
        _print_json(reproduction.to_json())
    else:
        print(f"The page: {reproduction.page}")
    return DONE


def _learn(options: Namespace) -> int:
    from numvae.exercises.learn import learn

    try:
        return _say(options, learn(options))
    except KeyboardInterrupt:
        if options.action != "watch":
            raise
        return DONE


def _say(options: Namespace, replies: Iterable[Any]) -> int:
    """Show each reply as it comes; the code of the last one."""
    code = DONE
    for reply in replies:
        code = reply.code
        if not options.json:
            print(reply.text, flush=True)
        elif reply.json is not None:
            _print_json(reply.json)
            sys.stdout.flush()
    return code


def _bughunt(options: Namespace) -> int:
    from numvae.exercises.bughunt import bughunt

    return _say(options, bughunt(options))


def _info(options: Namespace) -> int:
    from numvae.information import gather

    _print(options, gather(options.run_folder))
    return DONE


COMMANDS: dict[str, Callable[[Namespace], int]] = {
    "train": _train,
    "evaluate": _evaluate,
    "sample": _sample,
    "figures": _figures,
    "gradcheck": _gradcheck,
    "variance": _variance,
    "reproduce": _reproduce,
    "learn": _learn,
    "bughunt": _bughunt,
    "info": _info,
}


# ---- what is printed


def _print(options: Namespace, numbers: dict[str, Any], *lines: str) -> None:
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
