"""Training while somebody watches: a progress bar, checkpoints, and Ctrl-C with a word on how to go on."""

from __future__ import annotations

import shlex
import sys
import time
from contextlib import suppress
from typing import Any

from tqdm import tqdm

from numvae.datasets import Dataset
from numvae.devices import to_host
from numvae.interruption import Interrupted, Interruption
from numvae.runs import Run
from numvae.training import State, train
from numvae.variance_watch import VarianceWatch

__all__ = ["Progress", "train_with_progress"]

VARIANCE = "variance.jsonl"
CHECKPOINT_SECONDS = 30
REFRESH_SECONDS = 1


def train_with_progress(run: Run, dataset: Dataset, watch_variance: int | None = None) -> None:
    """Train the run to its end, saving it after every epoch and every ``CHECKPOINT_SECONDS``.

    ``watch_variance``: every so many steps measure the noise of the gradient, into the run's variance.jsonl.

    Raises:
        Interrupted: SIGINT or SIGTERM came; the run is saved, and the message says how to go on.
        InputError: the noise of this model's gradient cannot be watched.
    """
    watch = None
    if watch_variance is not None:
        path = run.folder / VARIANCE
        watch = VarianceWatch(run.model, dataset, run.recipe, run.state, path, every=watch_variance)
    progress = Progress(run, len(dataset.train), watch)
    state, epochs, folder = run.state, progress.recipe.epochs, shlex.quote(str(run.folder))
    with Interruption() as interruption, progress.bar:

        def on_batch(state: State) -> bool:
            progress.on_batch(state)
            return interruption.requested

        train(run.model, dataset, progress.recipe, state, on_batch=on_batch, on_epoch=progress.on_epoch)
        run.save()
    if interruption.signal is not None:
        done = state.epoch >= epochs
        how = f"training is complete, draw its page with: numvae figures {folder}"
        how = how if done else f"go on with: numvae train --resume {folder}"
        raise Interrupted(f"interrupted after step {state.step}; {how}", interruption.signal)


class Progress:
    """Two callbacks for ``train`` that save the run and tell how it goes: a bar on a terminal, a line every epoch."""

    def __init__(self, run: Run, rows: int, watch: VarianceWatch | None = None) -> None:
        self.run, self.recipe, self.rows, self.watch = run, run.recipe, rows, watch
        self.bar: Any = tqdm(
            total=self.recipe.epochs * rows,
            initial=run.state.epoch * rows + self._rows_seen(run.state),
            unit=" samples",
            unit_scale=True,
            dynamic_ncols=True,
            disable=None,  # where nobody watches
            file=sys.stderr,
        )
        self._saved = self._refreshed = time.monotonic()

    def on_batch(self, state: State) -> None:
        """Move the bar, refresh its numbers once a second, and save now and then."""
        if self.watch is not None:
            self.watch(state)
        now = time.monotonic()
        if now - self._refreshed > REFRESH_SECONDS and not self.bar.disable:
            self._refreshed = now
            self.bar.set_postfix_str(self._numbers(state), refresh=False)
        self.bar.update(min(self.recipe.batch, self.rows - (state.batches - 1) * self.recipe.batch))
        if now - self._saved > CHECKPOINT_SECONDS:
            self._save()

    def on_epoch(self, state: State) -> None:
        """Save, and write a line on what the epoch has reached."""
        self._save()
        row = state.history[-1]
        line = (
            f"epoch {row['epoch']}/{self.recipe.epochs}: bound {row['train_elbo']:.2f} train, "
            f"{row['test_elbo']:.2f} test = {row['test_reconstruction']:.2f} reconstruction - "
            f"{row['test_kl']:.2f} KL nats; {row['samples'] / row['seconds']:,.0f} samples/s"
        )
        if self.watch is not None and self.watch.noise is not None:
            line += f"; {self.watch.noise.advice}"
        with suppress(BrokenPipeError):  # whoever read along has gone; the training is not theirs
            self.bar.write(line, file=sys.stderr)

    def _save(self) -> None:
        self.run.save()
        self._saved = time.monotonic()

    def _rows_seen(self, state: State) -> int:
        """Training rows of the current epoch that are done."""
        return min(state.batches * self.recipe.batch, self.rows)

    def _numbers(self, state: State) -> str:
        """The mean bound over the epoch so far, and the last test bound with its terms."""
        numbers = f"bound {float(to_host(state.bound_sum)) / self._rows_seen(state):.2f}"
        if state.history:
            row = state.history[-1]
            terms = f"{row['test_reconstruction']:.2f} - {row['test_kl']:.2f}"
            numbers += f", test {row['test_elbo']:.2f} = {terms}"
        if self.watch is not None and self.watch.noise is not None:
            noise = self.watch.noise
            numbers += f", gradient snr {noise.snr:.2f}, {noise.sampling_share:.0%} of its noise from z"
        return numbers
