"""One training step of the paper's network, once per contender, each written the way its own users write it.

The network is 784-500-20-500-784: tanh, Bernoulli likelihood from logits, one sample of z, analytic KL, float32.  Each
class is built from a ``Problem``, which gives all of them the same weights, and offers

    step(x, noise=None)             one step on a batch of bits, on fresh noise unless it is given
    bound_and_gradient(x, noise)    the mean bound in nats and its gradients by W1, b1, …, W4, b4, to compare
    wait()                          until the steps are really done
    on_device(x)                    a batch of bits as an array of its own kind

``BareProducts`` has no bound: it is only the eleven matrix products of the step, the floor under all of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from numvae.memory import keep_freed_memory
from numvae.models import VAE, mlp_vae
from numvae.optimizers import AdaGrad, Adam
from numvae.parameters import initial_theta
from numvae.training import bound_and_gradient

__all__ = ["CONTENDERS", "BareProducts", "Jax", "Numvae", "Problem", "Torch"]

Array = npt.NDArray[np.float32]

FEATURES, HIDDEN, LATENTS = 784, 500, 20
STEP_SIZE = {"adam": 0.001, "adagrad": 0.02}
EPSILON = 1e-8


@dataclass(frozen=True)
class Problem:
    """What all contenders have in common: batch size, optimiser, first weights and data, by fixed seeds."""

    batch: int
    optimizer: str
    batches: int = 8

    @property
    def model(self) -> VAE:
        return mlp_vae(FEATURES, hidden=(HIDDEN,), latents=LATENTS)

    def theta(self) -> Array:
        """The first weights, flat."""
        return initial_theta(self.model.layout, rng=np.random.default_rng(0), dtype=np.float32)

    def weights(self) -> list[Array]:
        """The same, taken apart: W1, b1, …, W4, b4, where W maps rows as x @ W."""
        return [piece for _, piece in self.model.layout.leaves(self.theta())]

    def data(self) -> list[Array]:
        """Some batches of random bits, as many of them on as in MNIST."""
        rng = np.random.default_rng(1)
        return [(rng.random((self.batch, FEATURES)) < 0.13).astype(np.float32) for _ in range(self.batches)]

    def noise(self) -> Array:
        """Noise for one comparison of the contenders."""
        return np.random.default_rng(2).standard_normal((self.batch, LATENTS), dtype=np.float32)


class Numvae:
    """What ``numvae.training`` does with a batch."""

    def __init__(self, problem: Problem) -> None:
        keep_freed_memory()
        self.model, self.theta, self.rng = problem.model, problem.theta(), np.random.default_rng(3)
        optimizers = {"adam": Adam, "adagrad": AdaGrad}
        self.optimizer = optimizers[problem.optimizer](step_size=STEP_SIZE[problem.optimizer], epsilon=EPSILON)
        self.moments = self.optimizer.start(self.theta)

    def step(self, x: Array, noise: Array | None = None) -> None:
        if noise is None:
            noise = self.model.posterior.noise(self.rng, (len(x), LATENTS), np.float32)
        bound_sum, gradient = bound_and_gradient(self.model, self.theta, x, noise[None])
        if not math.isfinite(float(bound_sum) + float(np.dot(gradient, gradient))):
            raise FloatingPointError("the bound or its gradient is not finite")
        self.optimizer.ascend(self.theta, gradient, self.moments)

    def bound_and_gradient(self, x: Array, noise: Array) -> tuple[float, list[Array]]:
        bound_sum, gradient = bound_and_gradient(self.model, self.theta, x, noise[None])
        return float(bound_sum) / len(x), [piece for _, piece in self.model.layout.leaves(gradient)]

    def wait(self) -> None:
        """NumPy is done when it returns."""

    def on_device(self, x: Array) -> Array:
        return x


class Torch:
    """PyTorch: modules, autograd and its own optimiser."""

    def __init__(self, problem: Problem, *, compiled: bool = False, fused: bool | None = None) -> None:
        import torch

        W1, b1, W2, b2, W3, b3, W4, b4 = problem.weights()
        encoder = torch.nn.Sequential(_torch_linear(W1, b1), torch.nn.Tanh(), _torch_linear(W2, b2))
        decoder = torch.nn.Sequential(_torch_linear(W3, b3), torch.nn.Tanh(), _torch_linear(W4, b4))

        def loss(x: Any, noise: Any) -> Any:
            mean, log_std = encoder(x).chunk(2, dim=-1)
            logits = decoder(mean + log_std.exp() * noise)
            surprise = torch.nn.functional.binary_cross_entropy_with_logits(logits, x, reduction="sum")
            kl = 0.5 * (mean.square() + (2 * log_std).exp() - 1 - 2 * log_std).sum()
            return (surprise + kl) / len(x)

        self.torch, self.parameters = torch, [*encoder.parameters(), *decoder.parameters()]
        self.loss = torch.compile(loss) if compiled else loss
        optimizers = {"adam": torch.optim.Adam, "adagrad": torch.optim.Adagrad}
        settings = {"lr": STEP_SIZE[problem.optimizer], "eps": EPSILON, "fused": fused}
        self.optimizer = optimizers[problem.optimizer](self.parameters, **settings)

    def step(self, x: Any, noise: Any = None) -> None:
        noise = self.torch.randn(len(x), LATENTS) if noise is None else self.torch.from_numpy(noise)
        self.optimizer.zero_grad()
        self.loss(x, noise).backward()
        self.optimizer.step()

    def bound_and_gradient(self, x: Any, noise: Array) -> tuple[float, list[Array]]:
        self.optimizer.zero_grad()
        loss = self.loss(x, self.torch.from_numpy(noise))
        loss.backward()
        return -loss.item(), [-parameter.grad.numpy().T for parameter in self.parameters]

    def wait(self) -> None:
        """On a CPU PyTorch is done when it returns."""

    def on_device(self, x: Array) -> Any:
        return self.torch.from_numpy(x)


class Jax:
    """JAX: the whole step is one compiled function, which may write over the weights and moments it is given."""

    def __init__(self, problem: Problem) -> None:
        import jax
        from jax import numpy as jnp

        def bound(weights: list[Any], x: Any, noise: Any) -> Any:
            W1, b1, W2, b2, W3, b3, W4, b4 = weights
            mean, log_std = jnp.split(jnp.tanh(x @ W1 + b1) @ W2 + b2, 2, axis=-1)
            z = mean + jnp.exp(log_std) * noise
            logits = jnp.tanh(z @ W3 + b3) @ W4 + b4
            log_likelihood = jnp.sum(x * logits - jax.nn.softplus(logits))
            kl = 0.5 * jnp.sum(mean**2 + jnp.exp(2 * log_std) - 1 - 2 * log_std)
            return (log_likelihood - kl) / len(x)

        ascend = {"adam": _jax_adam, "adagrad": _jax_adagrad}[problem.optimizer]

        def step_on(state: Any, x: Any, noise: Any) -> Any:
            weights, moments, key = state
            gradients = jax.grad(bound)(weights, x, noise)
            return *ascend(weights, gradients, moments, STEP_SIZE[problem.optimizer]), key

        def step(state: Any, x: Any) -> Any:
            weights, moments, key = state
            key, fresh = jax.random.split(key)
            return step_on((weights, moments, key), x, jax.random.normal(fresh, (len(x), LATENTS)))

        self.compiled_step = jax.jit(step, donate_argnums=0)
        self.compiled_step_on = jax.jit(step_on, donate_argnums=0)
        self.compiled_bound = jax.jit(jax.value_and_grad(bound))
        weights = [jnp.array(piece) for piece in problem.weights()]
        self.jax, self.state = jax, (weights, _jax_moments(problem.optimizer, weights), jax.random.key(3))

    def step(self, x: Any, noise: Any = None) -> None:
        if noise is None:
            self.state = self.compiled_step(self.state, x)
        else:
            self.state = self.compiled_step_on(self.state, x, noise)

    def bound_and_gradient(self, x: Any, noise: Array) -> tuple[float, list[Array]]:
        bound, gradients = self.compiled_bound(self.state[0], x, noise)
        return float(bound), [np.asarray(gradient) for gradient in gradients]

    def wait(self) -> None:
        self.jax.block_until_ready(self.state)

    def on_device(self, x: Array) -> Any:
        return self.jax.device_put(x)


class BareProducts:
    """The eleven matrix products of a step, into memory that is there already: 4 forward, 4 dW, 3 dx."""

    def __init__(self, problem: Problem) -> None:
        rng = np.random.default_rng(3)
        W1, _, W2, _, W3, _, W4, _ = problem.weights()
        h, k, dh, dk = rng.standard_normal((4, problem.batch, HIDDEN), dtype=np.float32)
        z = rng.standard_normal((problem.batch, LATENTS), dtype=np.float32)
        dparams = rng.standard_normal((problem.batch, 2 * LATENTS), dtype=np.float32)
        dlogits = rng.standard_normal((problem.batch, FEATURES), dtype=np.float32)
        forward = [(h, W2), (z, W3), (k, W4)]
        backward = [(k.T, dlogits), (dlogits, W4.T), (z.T, dk), (dk, W3.T), (h.T, dparams), (dparams, W2.T)]
        self.first, self.last = W1, dh
        self.products = [(left, right, left @ right) for left, right in forward + backward]
        self.hidden, self.gradient = np.empty_like(h), np.empty_like(W1)

    def step(self, x: Array) -> None:
        np.matmul(x, self.first, out=self.hidden)
        for left, right, out in self.products:
            np.matmul(left, right, out=out)
        np.matmul(x.T, self.last, out=self.gradient)

    def wait(self) -> None:
        """NumPy is done when it returns."""

    def on_device(self, x: Array) -> Array:
        return x


def torch_fused(problem: Problem) -> Torch:
    """PyTorch, eager, with the optimiser that takes all weights in one call."""
    return Torch(problem, fused=True)


def torch_compiled(problem: Problem) -> Torch:
    """PyTorch with forward and backward compiled, and the fused optimiser."""
    return Torch(problem, compiled=True, fused=True)


CONTENDERS: dict[str, Any] = {
    "numvae": Numvae,
    "torch": Torch,
    "torch-fused": torch_fused,
    "torch-compile": torch_compiled,
    "jax": Jax,
    "products": BareProducts,
}
"""Name -> what builds the contender from a ``Problem``."""


def _torch_linear(W: Array, b: Array) -> Any:
    """A linear layer that starts at these weights; PyTorch keeps them transposed."""
    import torch

    layer = torch.nn.Linear(*W.shape)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(W.T))
        layer.bias.copy_(torch.from_numpy(b))
    return layer


def _jax_moments(optimizer: str, weights: list[Any]) -> Any:
    """What the optimiser remembers before the first step."""
    from jax import numpy as jnp

    def zeros() -> list[Any]:
        return [jnp.zeros_like(piece) for piece in weights]

    return (jnp.zeros(()), zeros(), zeros()) if optimizer == "adam" else zeros()


def _jax_adam(weights: list[Any], gradients: list[Any], moments: Any, step_size: float) -> tuple[list[Any], Any]:
    """Kingma and Ba (2015), Algorithm 1, upwards."""
    from jax import numpy as jnp

    beta1, beta2 = 0.9, 0.999
    t, first, second = moments
    t = t + 1
    first = [beta1 * m + (1 - beta1) * g for m, g in zip(first, gradients, strict=True)]
    second = [beta2 * v + (1 - beta2) * g * g for v, g in zip(second, gradients, strict=True)]
    rate, unit = step_size / (1 - beta1**t), 1 / jnp.sqrt(1 - beta2**t)
    weights = [w + rate * m / (jnp.sqrt(v) * unit + EPSILON) for w, m, v in zip(weights, first, second, strict=True)]
    return weights, (t, first, second)


def _jax_adagrad(weights: list[Any], gradients: list[Any], squares: Any, step_size: float) -> tuple[list[Any], Any]:
    """Duchi, Hazan and Singer (2011), figure 1 with a diagonal matrix, upwards."""
    from jax import numpy as jnp

    squares = [s + g * g for s, g in zip(squares, gradients, strict=True)]
    steps = [step_size * g / (jnp.sqrt(s) + EPSILON) for g, s in zip(gradients, squares, strict=True)]
    return [w + step for w, step in zip(weights, steps, strict=True)], squares
