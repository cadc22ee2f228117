"""Time one training step of the paper's network: numvae beside PyTorch, JAX and the bare matrix products.

    python benchmarks/training_step.py                                        # everything that is installed
    python benchmarks/training_step.py --batch 100 --only jax --json out.json
    python benchmarks/training_step.py --verify                               # only: do all compute the same thing?

Each contender lives in a process of its own, since the thread pools of two libraries in one process disturb each other,
and all of them take turns, in an order shuffled anew each round, so that a slow minute of the machine hits all alike.
How and why is in README.md beside this file; the steps themselves are in contenders.py.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.metadata
import importlib.util
import json
import multiprocessing
import os
import platform
import sys
import time
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from contenders import CONTENDERS, Problem
from tqdm import tqdm

LIBRARY = {"torch": "torch", "torch-fused": "torch", "torch-compile": "torch", "jax": "jax"}
"""Contender -> the library it needs and numvae does not."""

PAUSE = 0.25
"""Seconds between two turns: threads that spin while they wait for more work have gone to sleep by then."""

ROWS_PER_TURN = 20_000
"""How many rows a turn takes unless --steps says how many steps: some tenths of a second."""

VERIFIED_STEPS = 3


# In each contender's process ------------------------------------------------------------------------------------------


def serve(connection: Connection, name: str, problem: Problem) -> None:
    """Send what one contender computes, then the time of as many steps as are asked for, until None is.

    Each answer is a pair, (answer, complaint).
    """
    try:
        contender = CONTENDERS[name](problem)
        data = [contender.on_device(x) for x in problem.data()]
        connection.send((None if name == "products" else computed(contender, data[0], problem.noise()), None))
        for steps in iter(connection.recv, None):
            connection.send((seconds_per_step(contender, data, steps), None))
    except Exception as error:
        connection.send((None, f"{type(error).__name__}: {error}"))
    except KeyboardInterrupt:
        pass  # the parent says so


def computed(contender: Any, x: Any, noise: Any) -> tuple[float, list[Any], float]:
    """Bound and gradient at the first weights, and the bound after some steps, all on given noise."""
    bound, gradient = contender.bound_and_gradient(x, noise)
    gradient = [np.array(piece) for piece in gradient]  # before a step writes over it
    for _ in range(VERIFIED_STEPS):
        contender.step(x, noise)
    return bound, gradient, contender.bound_and_gradient(x, noise)[0]


def seconds_per_step(contender: Any, data: list[Any], steps: int) -> float:
    """The mean time of a step over one turn, once threads and caches have woken up."""
    take_steps(contender, data, max(3, steps // 10))
    clock = time.perf_counter()
    take_steps(contender, data, steps)
    return (time.perf_counter() - clock) / steps


def take_steps(contender: Any, data: list[Any], steps: int) -> None:
    for number in range(steps):
        contender.step(data[number % len(data)])
    contender.wait()


# In the parent --------------------------------------------------------------------------------------------------------


class Child:
    """A contender in a process of its own.  ``computed`` is what it computes, None for the bare products.

    Raises:
        RuntimeError: it could not be built or failed later; the message is its complaint.
    """

    def __init__(self, name: str, problem: Problem) -> None:
        spawn = multiprocessing.get_context("spawn")
        self.connection, theirs = spawn.Pipe()
        self.process = spawn.Process(target=serve, args=(theirs, name, problem))
        self.process.start()
        theirs.close()
        self.computed = self._answer()

    def seconds_per_step(self, steps: int) -> float:
        self.connection.send(steps)
        return float(self._answer())

    def _answer(self) -> Any:
        try:
            answer, complaint = self.connection.recv()
        except EOFError:
            raise RuntimeError("its process died") from None
        if complaint is not None:
            raise RuntimeError(complaint)
        return answer

    def close(self) -> None:
        with suppress(OSError):  # it may have died
            self.connection.send(None)
        self.process.join()


def installed(names: Iterable[str]) -> list[str]:
    """Those of the contenders whose library is here; says which are not."""
    found = []
    for name in names:
        if name in LIBRARY and importlib.util.find_spec(LIBRARY[name]) is None:
            print(f"{name}: skipped, {LIBRARY[name]} is not installed")
        else:
            found.append(name)
    return found


def start(names: list[str], problem: Problem, stack: ExitStack) -> dict[str, Child]:
    """One process per contender, which ``stack`` closes; says which do not run here, for want of a compiler say."""
    children = {}
    for name in names:
        try:
            children[name] = Child(name, problem)
        except RuntimeError as error:
            if name == "numvae":
                raise
            print(f"{name}: skipped, {str(error).splitlines()[0]}")
        else:
            stack.callback(children[name].close)
    return children


def verify(children: dict[str, Child]) -> None:
    """All have numvae's bound and gradient, and its bound again after some steps; else SystemExit."""
    answers = {name: child.computed for name, child in children.items() if child.computed is not None}
    bound, gradient, later_bound = answers["numvae"]
    for name, (other_bound, other_gradient, other_later_bound) in answers.items():
        off = {
            "bound": abs(other_bound / bound - 1),
            "gradient": max(distance(theirs, ours) for theirs, ours in zip(other_gradient, gradient, strict=True)),
            f"bound after {VERIFIED_STEPS} steps": abs(other_later_bound / later_bound - 1),
        }
        if not max(off.values()) < 1e-4:
            sys.exit(f"{name} does not compute what numvae computes: relative differences {off}")
    print(f"verified: {', '.join(answers)}; bound {bound:.3f}, then {later_bound:.3f} nats")


def distance(theirs: Any, ours: Any) -> float:
    """Relative distance of two arrays, in norm."""
    return float(np.linalg.norm(theirs - ours) / np.linalg.norm(ours))


def take_turns(children: dict[str, Child], rounds: int, steps: int) -> dict[str, list[float]]:
    """Name -> seconds per step, one number per round."""
    seconds: dict[str, list[float]] = {name: [] for name in children}
    rng = np.random.default_rng(0)
    for round_number in tqdm(range(rounds + 1), unit="round", leave=False, disable=None):
        for name in rng.permutation(list(children)):
            time.sleep(PAUSE)
            taken = children[name].seconds_per_step(steps)
            if round_number > 0:  # in the first, compilers are at work
                seconds[name].append(taken)
    return seconds


def summary(name: str, seconds: list[float], ours: list[float], batch: int) -> dict[str, Any]:
    """What is printed of one contender.  The ratio is taken within rounds: both saw the same weather."""
    low, median, high = np.quantile(seconds, [0.25, 0.5, 0.75])
    return {
        "contender": name,
        "median_us": round(1e6 * median, 1),
        "quartiles_us": [round(1e6 * low, 1), round(1e6 * high, 1)],
        "ratio_to_numvae": round(float(np.median(np.divide(seconds, ours))), 4),
        "samples_per_second": round(batch / median, 1),
        "minutes_per_million_samples": round(1e6 / batch * median / 60, 4),
    }


def print_table(rows: list[dict[str, Any]]) -> None:
    print(f"{'':14}{'µs/step':>9}{'quartiles':>18}{'× numvae':>10}{'samples/s':>12}{'min per million':>17}")
    for row in rows:
        quartiles = "{:.0f} to {:.0f}".format(*row["quartiles_us"])
        print(
            f"{row['contender']:14}{row['median_us']:9.0f}{quartiles:>18}{row['ratio_to_numvae']:10.2f}"
            f"{row['samples_per_second']:12,.0f}{row['minutes_per_million_samples']:17.2f}"
        )


def print_verdict(rows: list[dict[str, Any]]) -> None:
    """numvae's time as a multiple of each rival's: below one it is faster."""
    others = {row["contender"]: 1 / row["ratio_to_numvae"] for row in rows if row["contender"] != "numvae"}
    torches = {name: ratio for name, ratio in others.items() if LIBRARY.get(name) == "torch"}
    slower = set(torches) - {max(torches, key=torches.__getitem__)} if torches else set()
    parts = [f"{ratio:.2f} of {name}" for name, ratio in others.items() if name not in slower]
    if parts:
        print(f"numvae's step takes {', '.join(parts)}.")


# The machine ----------------------------------------------------------------------------------------------------------


def machine(names: list[str]) -> dict[str, Any]:
    """What the numbers depend on, besides the code."""
    libraries = ["numpy", "scipy", *sorted({LIBRARY[name] for name in names if name in LIBRARY})]
    prefixes = ("OPENBLAS_", "GOTO_", "OMP_", "MKL_", "XLA_FLAGS", "BLIS_", "VECLIB_")
    return {
        "cpu": cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "blas": blas(),
        "pins": {key: value for key, value in sorted(os.environ.items()) if key.startswith(prefixes)},
        "python": platform.python_version(),
        "versions": {library: importlib.metadata.version(library) for library in libraries},
        "load_before": load(),
    }


def cpu_model() -> str:
    """The processor's name."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def blas() -> str:
    """NumPy's BLAS, its version and, for OpenBLAS, the processor that its kernels were picked for."""
    built_with = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return f"{built_with['name']} {built_with['version']}, kernels for {openblas_core_type() or 'unknown'}"


def openblas_core_type() -> str | None:
    """OpenBLAS picks its kernels when it is loaded, and tells; None where NumPy's wheel brings no OpenBLAS."""
    packages = Path(np.__file__).parent
    for library in [*packages.parent.glob("numpy.libs/*openblas*"), *packages.glob(".dylibs/*openblas*")]:
        loaded = ctypes.CDLL(str(library))
        for name in ("scipy_openblas_get_corename64_", "scipy_openblas_get_corename"):
            if hasattr(loaded, name):
                core_name = getattr(loaded, name)
                core_name.restype = ctypes.c_char_p
                return str(core_name().decode())
    return None


def load() -> float | None:
    """The mean number of running processes over the last minute."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def print_machine(host: dict[str, Any]) -> None:
    versions = ", ".join(f"{name} {version}" for name, version in host["versions"].items())
    print(f"{host['cpu']}, {host['cores']} cores; {host['blas']}")
    print(f"Python {host['python']}, {versions}; load {host['load_before']}")
    for key, value in host["pins"].items():
        print(f"WARNING: {key}={value} is set. It may slow some contenders down and not others; unset it.")
    if (host["load_before"] or 0) > 0.5:
        print("WARNING: the machine is busy with other things; the numbers will be wrong, and not equally for all.")


# The command ----------------------------------------------------------------------------------------------------------


def arguments() -> argparse.Namespace:
    description, _, details = (__doc__ or "").partition("\n\n")
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=description, epilog=details, formatter_class=raw)
    parser.add_argument(
        "--batch", type=positive, nargs="+", default=[100, 1000], metavar="ROWS", help="(default: 100 1000)"
    )
    parser.add_argument(
        "--optimizer", nargs="+", default=["adam", "adagrad"], choices=["adam", "adagrad"], help="(default: both)"
    )
    parser.add_argument("--rounds", type=positive, default=15, help="turns per contender (default: %(default)s)")
    parser.add_argument("--steps", type=positive, help=f"steps per turn (default: {ROWS_PER_TURN:,} rows' worth)")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=list(CONTENDERS),
        metavar="NAME",
        help=f"of {', '.join(CONTENDERS)}: these, and numvae (default: all)",
    )
    parser.add_argument("--verify", action="store_true", help="only verify that all compute the same thing")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there too")
    return parser.parse_args()


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def compare(names: list[str], problem: Problem, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Verify and time the contenders on one problem; print and return the rows of the table."""
    print(f"\nbatch {problem.batch}, {problem.optimizer}")
    with ExitStack() as stack:
        children = start(names, problem, stack)
        verify(children)
        if options.verify:
            return []
        seconds = take_turns(children, options.rounds, options.steps or max(1, ROWS_PER_TURN // problem.batch))
    rows = [summary(name, own, seconds["numvae"], problem.batch) for name, own in seconds.items()]
    print_table(rows)
    print_verdict(rows)
    return [{"batch": problem.batch, "optimizer": problem.optimizer, **row} for row in rows]


def main() -> None:
    options = arguments()
    names = installed(name for name in CONTENDERS if name == "numvae" or name in (options.only or CONTENDERS))
    host = machine(names)
    print_machine(host)
    problems = [Problem(batch, optimizer) for batch in options.batch for optimizer in options.optimizer]
    results = [row for problem in problems for row in compare(names, problem, options)]
    host["load_after"] = load()
    print(f"\nload after: {host['load_after']} (with this benchmark's own work)")
    if options.json is not None:
        options.json.write_text(
            json.dumps({"machine": host, "rounds": options.rounds, "results": results}, indent=2) + "\n"
        )


if __name__ == "__main__":
    main()
