"""KL divergences in closed form: a table that grows by one function.

Within a family the rule is the family's own ``kl``; between two families it is one of ``divergences.py``, or of your
own, entered into the table by ``@between``.  Derivations: ``derivations/divergences.md``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeAlias

from numvae.arrays import Array, Pullback
from numvae.distributions.contract import inside
from numvae.errors import InputError

__all__ = ["CLOSED_FORMS", "between", "has_closed_form", "kl_divergence"]

Divergence: TypeAlias = Callable[[Array, Array], tuple[Array, Pullback]]
"""(params, prior_params) -> KL(q ‖ p) in nats, one per row; pullback -> (dparams, dprior_params)."""

CLOSED_FORMS: dict[tuple[type, type], Divergence] = {}
"""(family of q, family of p) -> the rule, for pairs of two families."""


def between(q: type, p: type) -> Callable[[Divergence], Divergence]:
    """A decorator that enters a rule into the table as KL(q ‖ p)."""

    def enter(rule: Divergence) -> Divergence:
        CLOSED_FORMS[q, p] = rule
        return rule

    return enter


def has_closed_form(q: Any, p: Any) -> bool:
    """Whether ``kl_divergence`` knows KL(q ‖ p)."""
    return _find(q, p) is not None


def kl_divergence(q: Any, p: Any) -> Divergence:
    """The rule (params, prior_params) -> KL(q ‖ p) = E_q[log q - log p], in closed form.

    Shapes: params (B, P), prior_params (B, P') or (1, P'), value (B,).  Nats.

    Raises:
        InputError: q has values where p has no density, or no closed form is known.

    >>> from numvae.distributions import Gumbel, Logistic
    >>> kl_divergence(Logistic(), Gumbel())
    Traceback (most recent call last):
    numvae.errors.InputError: KL(Logistic ‖ Gumbel) has no closed form here; use the paper's estimator A, which \
needs none: kl="monte_carlo" (elbo_monte_carlo)
    """
    rule = _find(q, p)
    if rule is not None:
        return rule
    pair = f"KL({type(q).__name__} ‖ {type(p).__name__})"
    if getattr(p, "support_moves", False):
        raise InputError(
            f"{pair} is infinite where q reaches beyond the ends of p, which its parameters place; use a prior whose "
            "support stays where it is"
        )
    if not inside(q, p):
        raise InputError(
            f"{pair} is infinite: q's values are {q.support}, and p has a density for {p.support} values alone; use a "
            "prior with a density wherever q has values"
        )
    raise InputError(
        f'{pair} has no closed form here; use the paper\'s estimator A, which needs none: kl="monte_carlo" '
        "(elbo_monte_carlo)"
    )


def _find(q: Any, p: Any) -> Divergence | None:
    if _same(q, p) and hasattr(q, "kl"):
        rule: Divergence = q.kl
        return rule
    pairs = ((of_q, of_p) for of_q in type(q).__mro__ for of_p in type(p).__mro__)
    return next((CLOSED_FORMS[pair] for pair in pairs if pair in CLOSED_FORMS), None)


def _same(q: Any, p: Any) -> bool:
    """Whether both are one family with equal options; one may be of a class derived from the other's."""
    if not (isinstance(q, type(p)) or isinstance(p, type(q))):
        return False
    return all(getattr(q, field.name) == getattr(p, field.name) for field in fields(p))
