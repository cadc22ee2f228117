"""Time 100,000 gradients, one per draw of z, of both kinds, through the paper's decoder 20-500-784.

    python benchmarks/per_sample_gradients.py                      # numvae, the bare products, and PyTorch if installed
    python benchmarks/per_sample_gradients.py --draws 10000 --rounds 5 --json out.json

For one datum and each draw: log p(x|z), its pathwise and its score-function gradient in the 40 parameters of q.  Each
contender lives in a process of its own, and all take turns.  Beside the time stands the memory that the work needs at
its height, over that of a process which has built everything and holds the noise.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from training_step import PAUSE, installed, load, machine, positive, print_machine

from numvae import initial_theta, mlp_vae
from numvae.arena.sampled import AT_ONCE, per_sample_gradients
from numvae.arrays import Array

MODEL = mlp_vae(784)
VERIFIED_DRAWS = 1000

Work: TypeAlias = Callable[[Array], tuple[Array, Array, Array]]
"""noise (N, 20) -> values (N,), pathwise and score-function gradients (N, 40)."""


# The contenders -------------------------------------------------------------------------------------------------------


def problem(draws: int) -> tuple[Array, Array, Array]:
    """Weights, one datum of bits, and noise."""
    rng = np.random.default_rng(0)
    theta = initial_theta(MODEL.layout, rng=rng, dtype=np.float32)
    x = (rng.random((1, 784)) < 0.2).astype(np.float32)
    return theta, x, rng.standard_normal((draws, 20), dtype=np.float32)


def numvae(theta: Array, x: Array) -> Work:
    """The function of the library."""

    def work(noise: Array) -> tuple[Array, Array, Array]:
        drawn = per_sample_gradients(MODEL, theta, x, noise[:, None])
        return drawn.values[:, 0], drawn.pathwise[:, 0], drawn.score_function[:, 0]

    return work


def products(theta: Array, x: Array) -> Work:
    """The four matrix products alone, in blocks of the same size, into memory that is there already."""
    W1, _, W2, _ = decoder_weights(theta)
    z, logits = np.ones((AT_ONCE, 20), np.float32), np.ones((AT_ONCE, 784), np.float32)
    h, dz = np.ones((AT_ONCE, 500), np.float32), np.ones((AT_ONCE, 20), np.float32)

    def work(noise: Array) -> tuple[Array, Array, Array]:
        for start in range(0, len(noise), AT_ONCE):
            rows = min(AT_ONCE, len(noise) - start)
            np.matmul(z[:rows], W1, out=h[:rows])
            np.matmul(h[:rows], W2, out=logits[:rows])
            np.matmul(logits[:rows], W2.T, out=h[:rows])
            np.matmul(h[:rows], W1.T, out=dz[:rows])
        nothing = np.empty(0)
        return nothing, nothing, nothing

    return work


def torch_vmap(theta: Array, x: Array) -> Work:
    """``vmap`` over the gradient of one draw, in blocks, as PyTorch's guide to per-sample gradients has it."""
    import torch
    from torch.func import grad, grad_and_value, vmap
    from torch.nn.functional import binary_cross_entropy_with_logits as surprise

    W1, b1, W2, b2 = (torch.from_numpy(piece) for piece in decoder_weights(theta))
    params, target = torch.from_numpy(MODEL.encode(theta, x)[0]), torch.from_numpy(x[0])

    def f(params: Any, noise: Any) -> Any:
        z = params[:20] + torch.exp(params[20:]) * noise
        logits = torch.tanh(z @ W1 + b1) @ W2 + b2
        return -surprise(logits, target, reduction="sum"), z

    def log_q(params: Any, z: Any) -> Any:
        standardized = (z - params[:20]) * torch.exp(-params[20:])
        return -0.5 * (standardized * standardized).sum() - params[20:].sum()

    def one(noise: Any) -> Any:
        pathwise, (value, z) = grad_and_value(f, has_aux=True)(params, noise)
        return value, pathwise, value * grad(log_q)(params, z)

    def work(noise: Array) -> tuple[Array, Array, Array]:
        results = vmap(one, chunk_size=AT_ONCE)(torch.from_numpy(noise))
        return tuple(result.numpy() for result in results)  # type: ignore[return-value]

    return work


def decoder_weights(theta: Array) -> list[Array]:
    """W and b of both layers."""
    views = MODEL.layout.views(theta)["decoder"]
    return [piece for _, piece in MODEL.decoder.layout.leaves(views)]


CONTENDERS: dict[str, Callable[[Array, Array], Work]] = {
    "numvae": numvae,
    "products": products,
    "torch": torch_vmap,
}


# In each contender's process ------------------------------------------------------------------------------------------

HERE: dict[str, Any] = {}


def build(name: str, draws: int) -> None:
    theta, x, noise = problem(draws)
    HERE.update(work=CONTENDERS[name](theta, x), noise=noise)
    HERE["work"](noise[:VERIFIED_DRAWS])
    HERE["before"] = highest_memory()


def computed() -> tuple[Array, Array, Array]:
    """What it computes for the first draws."""
    values, pathwise, score_function = HERE["work"](HERE["noise"][:VERIFIED_DRAWS])
    return values, pathwise, score_function


def turn() -> tuple[float, float]:
    """The seconds of one turn, and the megabytes that were needed at most so far."""
    clock = time.perf_counter()
    HERE["work"](HERE["noise"])
    return time.perf_counter() - clock, highest_memory() - HERE["before"]


def highest_memory() -> float:
    """The most memory this process ever held, MB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


# In the parent --------------------------------------------------------------------------------------------------------


def verify(answers: dict[str, tuple[Array, Array, Array]]) -> None:
    """All have numvae's values and gradients; else SystemExit."""
    for name, answer in answers.items():
        for what, theirs, ours in zip(("values", "pathwise", "score"), answer, answers["numvae"], strict=True):
            off = float(np.linalg.norm(theirs - ours) / np.linalg.norm(ours))
            if not off < 1e-4:
                sys.exit(f"{name} does not compute numvae's {what}: relative difference {off:.2g}")
    print(f"verified: {', '.join(answers)}")


def compare(names: list[str], draws: int, rounds: int) -> list[dict[str, Any]]:
    """Verify, take turns; the rows of the table."""
    with ExitStack() as stack:
        workers = {
            name: stack.enter_context(
                ProcessPoolExecutor(1, get_context("spawn"), initializer=build, initargs=(name, draws))
            )
            for name in names
        }
        verify({name: workers[name].submit(computed).result() for name in names if name != "products"})
        seconds: dict[str, list[float]] = {name: [] for name in names}
        memory = dict.fromkeys(names, 0.0)
        rng = np.random.default_rng(0)
        for _ in range(rounds):
            for name in rng.permutation(names):
                time.sleep(PAUSE)
                taken, memory[name] = workers[name].submit(turn).result()
                seconds[name].append(taken)
    return [
        {
            "contender": name,
            "median_s": round(float(np.median(taken)), 4),
            "best_s": round(min(taken), 4),
            "ratio_to_products": round(float(np.median(np.divide(taken, seconds["products"]))), 3),
            "peak_memory_mb": round(memory[name], 1),
        }
        for name, taken in seconds.items()
    ]


def print_table(rows: list[dict[str, Any]]) -> None:
    print(f"{'':10}{'median s':>10}{'best s':>9}{'× products':>12}{'peak MB':>9}")
    for row in rows:
        print(
            f"{row['contender']:10}{row['median_s']:10.3f}{row['best_s']:9.3f}{row['ratio_to_products']:12.2f}"
            f"{row['peak_memory_mb']:9.0f}"
        )


def arguments() -> argparse.Namespace:
    description, _, details = (__doc__ or "").partition("\n\n")
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=description, epilog=details, formatter_class=raw)
    parser.add_argument("--draws", type=positive, default=100_000, help="of z (default: %(default)s)")
    parser.add_argument("--rounds", type=positive, default=15, help="turns per contender (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there too")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    names = installed(CONTENDERS)
    host = machine(names)
    print_machine(host)
    print(f"\n{options.draws:,} draws of z for one datum")
    results = compare(names, options.draws, options.rounds)
    print_table(results)
    host["load_after"] = load()
    print(f"\nload after: {host['load_after']} (with this benchmark's own work)")
    if options.json is not None:
        text = json.dumps({"machine": host, "draws": options.draws, "rounds": options.rounds, "results": results})
        options.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
