"""``numvae bughunt``: a VAE that trains before your eyes, with one bug in it; look, and name it."""

from __future__ import annotations

import difflib
import json
import math
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np

from numvae.arrays import Array
from numvae.atomic import write_atomically
from numvae.errors import InputError
from numvae.exercises.contract import Misconception
from numvae.exercises.hunted import RIGHT, Code, Outcome, Setting, planted, setting, train
from numvae.exercises.learn import Reply
from numvae.exercises.look_laws import laws
from numvae.exercises.look_steps import estimator
from numvae.exercises.looks import Look, gradient_check, part_by_part
from numvae.exercises.misconceptions import all_misconceptions
from numvae.exercises.text_plot import text_plot
from numvae.one_page import elbo_and_gradient

__all__ = [
    "GRADES",
    "LEVELS",
    "LOOKS",
    "Case",
    "Training",
    "bughunt",
    "decode",
    "described",
    "encode",
    "level_case",
    "random_case",
]

RIGHT_ANSWER, WRONG_ANSWER = 0, 1
NEAR, OPTIONS = 9, 6
LETTERS = "abcdef"
REFERENCE: Callable[..., Any] = elbo_and_gradient
FAR = 1e9  # where rounding has eaten the terms of a bound
LAST = 50  # steps whose mean is where a training ended

GRADES: Mapping[str, tuple[str, ...]] = {
    "glaring": (
        "adam_downwards",
        "vae_expected_minus_seen",
        "vae_kl_gradient_added",
        "vae_likelihood_averaged_over_pixels",
        "training_gradient_not_reset",
        "vae_squashed_twice",
        "vae_kl_signs_of_001",
        "vae_kl_one_added",
        "vae_kl_forgotten_in_mean",
    ),
    "plain": (
        "vae_no_kl",
        "vae_likelihood_divided_by_rows",
        "vae_kl_forgotten_in_log_std",
        "vae_sigmoid_slope_extra",
        "vae_kl_of_the_batch",
        "vae_noise_forgotten",
        "vae_only_through_log_std",
        "vae_deterministic",
        "vae_path_dropped",
    ),
    "quiet": (
        "vae_decoder_slope_forgotten",
        "vae_encoder_slope_forgotten",
        "vae_bias_averaged",
        "vae_encoder_units_in_dW5",
        "vae_mean_for_sample_in_dW4",
        "vae_variance_for_std",
        "vae_log_variance_gradient",
        "vae_kl_std_not_squared",
        "vae_only_through_the_mean",
    ),
    "subtle": (
        "vae_variance_as_scale",
        "vae_kl_averaged_over_latents",
        "vae_log_variance_sampled",
        "vae_log_variance_in_the_kl",
        "adam_gradient_not_weighted",
        "training_epochs_counted",
        "training_same_noise_every_epoch",
        "training_short_batch_dropped",
        "adam_epsilon_in_the_root",
    ),
}
"""The bugs from glaring to subtle.  Glaring: the curve alone cries out.  Plain: it ends elsewhere than it should.
Quiet: the curve looks fine, the gradient check does not.  Subtle: both look fine."""

LEVELS = tuple(bug for bugs in GRADES.values() for bug in bugs)

library = cache(all_misconceptions)

LOOKS: Mapping[str, Callable[[Code, int], Look]] = {
    "gradient": lambda code, seed: gradient_check(code.vae_gradient, seed),
    "parts": lambda code, seed: part_by_part(code.vae_gradient, seed),
    "law": laws,
    "estimator": estimator,
}
"""Name -> the look at a code, whose small cases are drawn from a seed."""


@dataclass(frozen=True)
class Case:
    """One bug, and all that chance decides.  ``name``: what the learner is told of it, which is not the bug."""

    bug: str
    seed: int
    name: str
    flags: str

    @property
    def misconception(self) -> Misconception:
        """What is wrong."""
        return library()[self.bug][1]

    @property
    def options(self) -> tuple[str, ...]:
        """The bug among five near ones, in an order that says nothing."""
        pool = [bug for bug, (exercise, _) in library().items() if exercise.name in vars(RIGHT)]
        rng = np.random.default_rng([self.seed, pool.index(self.bug)])
        near = sorted((bug for bug in pool if bug != self.bug), key=lambda bug: self._distance(bug, pool))[:NEAR]
        chosen = [self.bug, *rng.choice(near, OPTIONS - 1, replace=False)]
        return tuple(str(chosen[k]) for k in rng.permutation(OPTIONS))

    def _distance(self, bug: str, pool: list[str]) -> tuple[bool, bool, int]:
        exercise, misconception = library()[bug]
        other_exercise = exercise is not library()[self.bug][0]
        steps = abs(pool.index(bug) - pool.index(self.bug))
        return other_exercise, misconception.link != self.misconception.link, steps


def level_case(level: int, seed: int) -> Case:
    """The bug of a level; levels count from 1."""
    if level > len(LEVELS):
        raise InputError(f"--level must be from 1 to {len(LEVELS)}, got {level}; numvae bughunt --list shows them")
    bug = LEVELS[level - 1]
    flags = f"--level {level}" + f" --seed {seed}" * (seed != 0)
    return Case(bug, seed, f"level {level} of {len(LEVELS)}, {_grade(bug)}", flags)


def random_case(seed: int) -> Case:
    """Any of the bugs."""
    bug = LEVELS[int(np.random.default_rng(seed).integers(len(LEVELS)))]
    return Case(bug, seed, f"random case {seed}", f"--random --seed {seed}")


# ---- what is on screen


@dataclass(frozen=True)
class Training:
    """The code trained beside the right one: same start, same order, same noise."""

    code: Code
    seed: int

    @cached_property
    def setting(self) -> Setting:
        """All that is the same for both."""
        return setting(self.seed)

    @cached_property
    def outcome(self) -> Outcome:
        """What the code made of it."""
        return train(self.code, self.setting)

    @cached_property
    def right(self) -> Outcome:
        """What the right code made of it."""
        return train(RIGHT, self.setting)

    @property
    def gap(self) -> float:
        """By how many nats the curve ends above that of the right code; infinite where it is no number any more."""
        gap = float(np.mean(self.outcome.bounds[-LAST:]) - np.mean(self.right.bounds[-LAST:]))
        return gap if math.isfinite(gap) else math.inf

    def learned(self) -> dict[str, tuple[float | None, float | None]]:
        """Numbers of the test digits under the weights of both, reckoned by a program that knows of no bug."""
        found = [self._numbers(outcome) for outcome in (self.outcome, self.right)]
        return {name: (found[0].get(name), found[1][name]) for name in found[1]}

    def _numbers(self, outcome: Outcome) -> dict[str, float]:
        if not outcome.finite:
            return {}
        x = self.setting.x_test
        noise = self.setting.noise[0, : len(x)]
        mean, log_std = encode(outcome.p, x)
        with np.errstate(all="ignore"):
            bound = REFERENCE(outcome.p, x, noise)[0].mean()
            kl = 0.5 * np.sum(mean**2 + np.exp(2 * log_std) - 1 - 2 * log_std, axis=1).mean()
            std, spread = np.exp(log_std).mean(), mean.std(axis=0).mean()
        if not abs(bound) < FAR:
            return {}
        numbers = {"bound": bound, "reconstruction": bound + kl, "KL": kl, "std of q": std, "spread of means": spread}
        return {name: float(value) for name, value in numbers.items()}

    def __str__(self) -> str:
        lines = [
            f"The bound of each minibatch as the code gives it, in nats, over {len(self.right.bounds)} steps.",
            "● this code   · right code, from the same start with the same noise",
            text_plot(self.outcome.bounds, self.right.bounds),
            "",
            f"On {len(self.setting.x_test)} test digits, reckoned by a program without the bug:",
            f"  {'':<16}{'this code':>12}{'right code':>12}",
        ]
        lines += [
            f"  {name:<16}{_shown(ours):>12}{_shown(right):>12}" for name, (ours, right) in self.learned().items()
        ]
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """The curves and the numbers, as plain Python types."""
        learned = {name: {"this": ours, "right": right} for name, (ours, right) in self.learned().items()}
        return {"bounds": self.outcome.bounds.tolist(), "right_bounds": self.right.bounds.tolist(), "learned": learned}


def encode(p: Mapping[str, Array], x: Array) -> tuple[Array, Array]:
    """Mean and log_std of q(z|x)."""
    h = np.tanh(x @ p["W1"] + p["b1"])
    return h @ p["W2"] + p["b2"], h @ p["W3"] + p["b3"]


def decode(p: Mapping[str, Array], z: Array) -> Array:
    """The probability of ink in each pixel."""
    logits = np.tanh(z @ p["W4"] + p["b4"]) @ p["W5"] + p["b5"]
    return 0.5 + 0.5 * np.tanh(logits / 2)


def _shown(value: float | None) -> str:
    return "beyond all" if value is None else f"{value:,.3f}" if abs(value) < 1 else f"{value:,.2f}"


# ---- the command


def bughunt(options: Namespace) -> Iterator[Reply]:
    """The replies to one command; on a terminal it asks for the bug's name, and answers."""
    if options.list:
        yield _list(options.score)
        return
    case = _case(options)
    asked = [flag for flag in ("parts", "law", "estimator", "out") if getattr(options, flag)]
    if options.answer is not None or options.reveal or options.hint:
        if asked:
            raise InputError(f"--{asked[0]} looks at the case; leave it out of an answer, a hint or --reveal")
        yield (
            _judge(case, options.answer, options.score)
            if options.answer is not None
            else (_reveal(case, options.score) if options.reveal else _hint(case, options.hint, options.score))
        )
        return
    yield _show(case, options)
    if not options.json and sys.stdin.isatty():
        yield from _ask(case, options.score)


def _tell(case: Case, options: Namespace) -> Reply:
    """What is said without training anything."""
    if options.answer is not None:
        return _judge(case, options.answer, options.score)
    return _reveal(case, options.score) if options.reveal else _hint(case, options.hint, options.score)


def _case(options: Namespace) -> Case:
    if not options.random:
        return level_case(options.level, options.seed or 0)
    if options.seed is not None:
        return random_case(options.seed)
    if options.answer is not None or options.reveal or options.hint:
        raise InputError("--random draws another case each time; say which with --seed N")
    return random_case(int(np.random.default_rng().integers(10_000)))


def _list(score: Path | None) -> Reply:
    scores = _read(score) if score else {}
    solved = {key.partition(" --seed")[0] for key, entry in scores.items() if entry.get("solved")}
    rows = [
        {"level": level, "grade": _grade(bug), "solved": f"--level {level}" in solved}
        for level, bug in enumerate(LEVELS, 1)
    ]
    lines = []
    for grade, meaning in MEANINGS.items():
        marks = [f"{row['level']:>4}{'✓' if row['solved'] else ' '}" for row in rows if row["grade"] == grade]
        lines += [f"{grade}: {meaning}", "".join(marks).rstrip()]
    lines.append("Play one: numvae bughunt --level N; or any: numvae bughunt --random")
    return Reply("\n".join(lines), {"levels": rows})


def _grade(bug: str) -> str:
    return next(grade for grade, bugs in GRADES.items() if bug in bugs)


MEANINGS = {
    "glaring": "the curve alone cries out",
    "plain": "the curve ends where it should not",
    "quiet": "the curve looks fine, the gradient check does not",
    "subtle": "curve and gradient check look fine, and yet",
}


def _show(case: Case, options: Namespace) -> Reply:
    training = Training(planted(case.bug), case.seed)
    names = ["gradient", *(name for name in ("parts", "law", "estimator") if getattr(options, name))]
    looks = [LOOKS[name](training.code, case.seed) for name in names]
    lines = [
        f"Bug hunt, {case.name}",
        "",
        "A VAE of drawn digits, 14 x 14 pixels and two latents, learns with Adam. One thing in its code is wrong.",
        "",
        str(training),
        *(f"\n{look}" for look in looks),
        "",
        *_question(case),
    ]
    shown = {"case": case.name, "seed": case.seed, "training": training.to_json()}
    content = shown | {"looks": [look.to_json() for look in looks], "options": _options(case)}
    if options.out is not None:
        from numvae.exercises.bughunt_page import write_page  # with Matplotlib, which takes a moment

        page = write_page(options.out, case, training, looks)
        lines += ["", f"The page: {page}"]
        content["page"] = str(page)
    return Reply("\n".join(lines), content)


def _options(case: Case) -> dict[str, str]:
    """Id -> what its author did, in one line."""
    return {bug: described(bug) for bug in case.options}


def described(bug: str) -> str:
    """What a code with this bug does, in one line."""
    return (library()[bug][1].wrong.__doc__ or "").strip()


def _question(case: Case) -> list[str]:
    width = max(map(len, case.options))
    command = f"numvae bughunt {case.flags}"
    return [
        "What is wrong?",
        *(f"  {letter}  {bug:<{width}}  {described(bug)}" for letter, bug in zip(LETTERS, case.options, strict=True)),
        "",
        f"Look closer:  {command} --parts --law --estimator --out DIR",
        f"Answer:       {command} --answer ID   (or --hint, --reveal)",
    ]


def _judge(case: Case, word: str, score: Path | None) -> Reply:
    answer = _chosen(case, word)
    right = answer == case.bug
    _record(score, case, solved=right, tries=1)
    if right:
        text = "\n".join([f"✓ Right, it is {case.bug}.", *_lesson(case)])
        return Reply(text, {"right": True, "answer": answer} | _lesson_json(case), RIGHT_ANSWER)
    text = f"✗ No, it is not {answer}: that would show first in {_place(library()[answer][1].link)}."
    return Reply(text, {"right": False, "answer": answer}, WRONG_ANSWER)


def _reveal(case: Case, score: Path | None) -> Reply:
    _record(score, case, revealed=True)
    text = "\n".join([f"It is {case.bug}.", *_lesson(case)])
    return Reply(text, {"right": None} | _lesson_json(case))


def _hint(case: Case, count: int, score: Path | None) -> Reply:
    _record(score, case, hints=count)
    hints = case.misconception.hints[:count]
    lines = [f"Hint {number} of {len(case.misconception.hints)}: {hint}" for number, hint in enumerate(hints, 1)]
    return Reply("\n".join(lines), {"hints": list(hints)})


def _lesson(case: Case) -> list[str]:
    bug = case.misconception
    return [
        f"  {described(case.bug)}",
        f"  To its author: {bug.message}",
        f"  It shows first in {_place(bug.link)}. Met as: {bug.source}.",
        f"  Derivation: {_page(bug)} ({bug.label})",
    ]


def _lesson_json(case: Case) -> dict[str, Any]:
    bug = case.misconception
    return {"bug": case.bug, "message": bug.message, "link": bug.link, "label": bug.label, "page": _page(bug)}


def _page(bug: Misconception) -> str:
    return f"derivations/{bug.label.split('.')[0]}.md"


def _place(link: str) -> str:
    """The first wrong output of an exercise, in words."""
    if link.startswith("epoch"):
        return f"the loop, in {link}"
    return {"elbo": "the bound itself", "theta": "Adam's step", "m": "Adam's averages"}.get(link, link)


def _chosen(case: Case, word: str) -> str:
    """The option of this id or letter."""
    choices = dict(zip(LETTERS, case.options, strict=True))
    answer = choices.get(word, word)
    if answer not in case.options:
        near = difflib.get_close_matches(answer, case.options, n=1)
        guess = f", did you mean {near[0]}?" if near else ""
        raise InputError(f"{word!r} is none of the answers {', '.join(case.options)}{guess}")
    return answer


# ---- on a terminal


def _ask(case: Case, score: Path | None) -> Iterator[Reply]:
    """Ask until the answer is right, given, or left open; the code of the last answer stands."""
    hints, code = 0, RIGHT_ANSWER
    while True:
        try:
            word = input(
                f"\n{LETTERS[0]} to {LETTERS[-1]}, parts, law, estimator, hint, reveal, or Enter to leave: "
            ).strip()
        except EOFError:
            return
        if not word:
            return
        if word == "hint":
            hints = min(hints + 1, len(case.misconception.hints))
            yield Reply(_hint(case, hints, score).text, None, code)
        elif word == "reveal":
            yield _reveal(case, score)
            return
        elif word in LOOKS:
            yield Reply(str(LOOKS[word](planted(case.bug), case.seed)), None, code)
        else:
            try:
                reply = _judge(case, word, score)
            except InputError as error:
                yield Reply(str(error), None, code)
                continue
            code = reply.code
            yield reply
            if code == RIGHT_ANSWER:
                return


# ---- the score


def _read(path: Path) -> dict[str, dict[str, Any]]:
    """Case -> tries, hints, whether solved and revealed; nothing where there is no file yet."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError:
        content = None
    if not isinstance(content, dict) or not all(isinstance(each, dict) for each in content.values()):
        raise InputError(f"{path} is no score of bug hunts; name another file, or a new one")
    return content


def _record(path: Path | None, case: Case, *, tries: int = 0, hints: int = 0, **flags: bool) -> None:
    """Add to a case's entry, where a score is kept; what was solved after it was revealed does not count."""
    if path is None:
        return
    scores = _read(path)
    entry = {"solved": False, "tries": 0, "hints": 0, "revealed": False} | scores.get(case.flags, {})
    if not entry["solved"]:
        entry["tries"] += tries
        entry["hints"] = max(entry["hints"], hints)
        entry["revealed"] |= flags.get("revealed", False)
        entry["solved"] = flags.get("solved", False) and not entry["revealed"]
    text = json.dumps(scores | {case.flags: entry}, indent=2) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))
