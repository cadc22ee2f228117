"""``certify``: right estimators pass, and every kind of over-claim is named in a line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from numvae import Bernoulli, pathwise, score_function
from numvae.arena.certification import EXACT_MODELS, certify
from numvae.arena.problems import CONTINUOUS, DISCRETE
from numvae.arrays import Array, Pullback
from numvae.errors import CheckError, InputError
from numvae.estimators import Claims, claims_of, context_of, relaxation
from numvae.estimators.arm import disarm
from numvae.estimators.catalogue import ESTIMATORS
from numvae.estimators.relax import Relax
from numvae.estimators.score_function import with_baseline
from numvae.estimators.sticking_the_landing import sticking_the_landing_iwae
from numvae.optimizers import SGD, Optimizer

QUICK = CONTINUOUS[:2]


@pytest.mark.parametrize("name", ["pathwise", "score_function", "disarm", "moving_average", "relax", "enumeration"])
def test_right_estimators_hold_their_claims(name: str) -> None:
    """The whole catalogue is certified by ``test_the_whole_catalogue_is_certified``."""
    certify(ESTIMATORS[name], repeats=2_000, name=name).assert_ok()


@pytest.mark.slow
def test_the_whole_catalogue_is_certified() -> None:
    for name, estimator in ESTIMATORS.items():
        certificate = certify(estimator, name=name)
        certificate.assert_ok()
        assert len(certificate.rows) >= 5


def test_every_model_has_its_truth_and_a_name_of_its_own() -> None:
    assert len({problem.name for problem in EXACT_MODELS}) == len(EXACT_MODELS) >= 25


# ---- negative controls: the faults the field knows


@dataclass(frozen=True)
class Faulty:
    """An estimator with something done to its gradient, and the claims of the right one unless others are given."""

    estimator: Any
    spoil: Callable[[Array], Array] = lambda dparams: dparams
    spoil_weights: Callable[[Any], Any] = lambda dtheta: dtheta
    changed: dict[str, Any] = field(default_factory=dict)

    @property
    def claims(self) -> Claims:
        """As claimed."""
        return replace(claims_of(self.estimator), **self.changed)

    def __call__(self, q: Any, params: Array, noise: Array, f: Any, reduce: Any) -> tuple[Array, Pullback]:
        bound, pullback = self.estimator(q, params, noise, f, reduce)

        def spoiled(dbound: Array) -> tuple[Array, Any]:
            dparams, dtheta = pullback(dbound)
            return self.spoil(dparams), self.spoil_weights(dtheta)

        return bound, spoiled


def complaint(estimator: Any, problems: Any = None, **keywords: Any) -> str:
    """The one line that ``assert_ok`` gives."""
    with pytest.raises(CheckError) as caught:
        certify(estimator, problems, **keywords).assert_ok()
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_sticking_the_landing_claimed_unbiased_is_caught_at_64_samples() -> None:
    over_claim = Faulty(sticking_the_landing_iwae, changed={"unbiased": True, "bias": ""})
    skewed = [problem for problem in CONTINUOUS if problem.name == "skewed ELBO"]
    assert "claims to be unbiased, but is not" in complaint(over_claim, skewed, samples=[64], repeats=4_000)
    certify(pathwise, skewed, samples=[64], repeats=4_000).assert_ok()
    assert "claims to be unbiased, but is not" in complaint(over_claim)


def half_of_the_signs(dparams: Array) -> Array:
    """The second, fourth, … coordinate with its sign flipped."""
    return dparams * np.where(np.arange(dparams.shape[-1]) % 2, -1, 1).astype(dparams.dtype)


def test_disarm_with_half_of_its_signs_wrong_is_caught() -> None:
    line = complaint(Faulty(disarm, half_of_the_signs), DISCRETE, repeats=4_000)
    assert "claims to be unbiased, but is not: coordinate[1]" in line


@dataclass(frozen=True)
class PeekingNVIL:
    """A learned baseline whose guess is pulled halfway to the very value it is to be independent of."""

    optimizer: Optimizer = field(default=SGD(step_size=0.1))
    claims = Claims()

    def start(self, params: Array, context: Array, latents: int, *, rng: np.random.Generator) -> Array:
        return np.zeros_like(context[0])

    def at(self, eta: Array, deta: Array | None = None) -> Any:
        def estimator(q: Any, params: Array, noise: Array, f: Any, reduce: Any) -> tuple[Array, Pullback]:
            guess = context_of(f, params) @ eta

            def peeking(values: Array, reduce: Any) -> Array:
                return (0.5 * (values + guess)) / len(values)

            return with_baseline(q, params, noise, f, reduce, peeking)

        return estimator


def test_a_baseline_that_peeks_at_its_own_sample_is_caught() -> None:
    assert "claims to be unbiased, but is not" in complaint(PeekingNVIL(), CONTINUOUS, repeats=4_000)


def test_relax_without_the_slope_of_the_conditional_sample_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    right = relaxation.conditional_sample

    def without_slope(logits: Array, bits: Array, uniform: Array) -> Any:
        z, _ = right(logits, bits, uniform)
        return z, lambda dz: (np.zeros_like(dz), None, None)

    monkeypatch.setattr(relaxation, "conditional_sample", without_slope)
    assert "claims to be unbiased, but is not" in complaint(Relax(), DISCRETE, repeats=4_000)


# ---- every other promise


def in_float64(q: Any, params: Array, noise: Array, f: Any, reduce: Any) -> tuple[Array, Pullback]:
    bound, pullback = pathwise(q, params, noise, f, reduce)

    def promoting(dbound: Array) -> tuple[Array, Any]:
        dparams, dtheta = pullback(dbound)
        return dparams + np.zeros(1), dtheta

    return bound, promoting


def drawing(q: Any, params: Array, noise: Array, f: Any, reduce: Any) -> tuple[Array, Pullback]:
    fresh = DRAWS.standard_normal(noise.shape).astype(noise.dtype)
    return pathwise(q, params, fresh, f, reduce)


DRAWS = np.random.default_rng(5)


def batch_baseline(q: Any, params: Array, noise: Array, f: Any, reduce: Any) -> tuple[Array, Pullback]:
    def mean_of_the_batch(values: Array, reduce: Any) -> Array:
        return np.broadcast_to(values.mean() / len(values), values.shape)

    return with_baseline(q, params, noise, f, reduce, mean_of_the_batch)


def writing(q: Any, params: Array, noise: Array, f: Any, reduce: Any) -> tuple[Array, Pullback]:
    params += 0
    return pathwise(q, params, noise, f, reduce)


def normalized(q: Any, params: Array, noise: Array, f: Any, reduce: Any) -> tuple[Array, Pullback]:
    bound, pullback = pathwise(q, params, noise, f, reduce)
    return bound, lambda dbound: pullback(np.sign(dbound))


def calling_twice(q: Any, params: Array, noise: Array, f: Any, reduce: Any) -> tuple[Array, Pullback]:
    f(params, q.sample(params, noise)[0])
    return pathwise(q, params, noise, f, reduce)


def curious(q: Any, params: Array, noise: Array, f: Any, reduce: Any) -> tuple[Array, Pullback]:
    if not hasattr(f, "hessian_product"):
        raise InputError("curious needs f.hessian_product")
    return pathwise(q, params, noise, f, reduce)


def claiming(rule: Any, **claims: Any) -> Any:
    """The rule with pathwise's claims, some of them changed."""
    return Faulty(rule_with_claims(rule), changed=claims)


def rule_with_claims(rule: Any) -> Any:
    rule.claims = claims_of(pathwise)
    return rule


@pytest.mark.parametrize(
    ("estimator", "line"),
    [
        (Faulty(pathwise, lambda dparams: 1.05 * dparams), "claims to be unbiased, but is not"),
        (
            Faulty(pathwise, spoil_weights=lambda dtheta: None if dtheta is None else 0.9 * dtheta),
            "its gradient in the weights of f is not",
        ),
        (Faulty(pathwise, spoil_weights=lambda dtheta: None), "gives no gradient in the weights of f"),
        (claiming(calling_twice), "puts 2 samples per row through f, but claims 1"),
        (Faulty(pathwise, changed={"pullback_calls": lambda S, Z: 0}), "through the pullback of f, but claims 0"),
        (Faulty(pathwise, changed={"uses_dz": False}), "uses the derivative of f in z, but claims not to"),
        (claiming(curious), "curious needs f.hessian_product"),
        (claiming(in_float64), "dparams is float64 for float32 arguments"),
        (claiming(drawing), "noise is an argument, never drawn inside"),
        (claiming(batch_baseline), "a row's gradient depends on the other rows"),
        (claiming(writing), "read-only"),
        (claiming(normalized), "dparams is not linear in the gradient of the bound"),
        (Faulty(pathwise, lambda dparams: dparams[:, :1]), "dparams has shape"),
        (Faulty(pathwise, changed={"unbiased": False}), "is biased, but says nothing of its bias"),
    ],
)
def test_every_over_claim_is_named(estimator: Any, line: str) -> None:
    assert line in complaint(estimator, QUICK[:1], repeats=4_000)


def test_an_estimator_without_claims_is_told_how_to_make_some() -> None:
    with pytest.raises(InputError, match="decorate it with @declares"):
        certify(lambda q, params, noise, f, reduce: None)


def test_too_few_models_leave_it_open() -> None:
    orphan = Faulty(pathwise, changed={"variables": "Cauchy"})
    certificate = certify(orphan)
    assert not certificate.ok
    assert not certificate.failures
    assert "only 0 exact models" in str(certificate)


def test_the_report_reads_as_text_html_and_json() -> None:
    certificate = certify(score_function, DISCRETE[:1], repeats=500, name="mine")
    assert "claims of mine: ok" in str(certificate)
    assert "one coin" in certificate._repr_html_()
    content = certificate.to_json()
    assert content["ok"] is True
    assert {trial["reduction"] for trial in content["trials"]} == {"sample_mean", "log_mean_exp"}
    assert "1 exact models" in certificate.notes[0]


def test_bits_of_any_size_serve_a_contributor() -> None:
    """An estimator of one's own, with its own noise."""

    @dataclass(frozen=True)
    class Mine:
        claims = Claims(variables="Bernoulli")

        def noise(self, q: Any, rng: Any, shape: Any, dtype: Any = np.float64) -> Array:
            return Bernoulli().noise(rng, (*shape[:-1], 2 * shape[-1]), dtype)

        def __call__(self, q: Any, params: Array, noise: Array, f: Any, reduce: Any) -> tuple[Array, Pullback]:
            return score_function(q, params, noise[..., ::2], f, reduce)

    certify(Mine(), repeats=1_000).assert_ok()
