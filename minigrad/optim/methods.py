"""The optimisers: names, options and defaults are PyTorch's; each states what it subtracts from p.

In the formulas g is the gradient, with weight_decay p added to it, and t counts the steps of this
parameter, those in which it had a gradient.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from .optimizer import Optimizer
from .options import Group, Option
from .parameters import Params

__all__ = ["SGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Lion", "NAdam", "RMSprop"]


def _decayed(p: Any, g: Any, h: Mapping[str, Any]) -> Any:
    """Return the gradient with that of weight_decay / 2 |p|^2."""
    return g + h["weight_decay"] * p if h["weight_decay"] else g


class SGD(Optimizer):
    """p <- p - lr v, with v <- momentum v + (1 - dampening) g; v = g in the first step.

    With `nesterov`, p <- p - lr (g + momentum v). Source: Sutskever et al., 2013.
    """

    momentum = Option("[0, 1)")
    dampening = Option("[0, 1]")
    weight_decay = Option("[0, inf)")
    nesterov = Option()
    elementwise = True

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            lr,
            momentum=momentum,
            dampening=dampening,
            weight_decay=weight_decay,
            nesterov=nesterov,
            maximize=maximize,
        )

    def _check(self, group: Group) -> None:
        if group["nesterov"] and (not group["momentum"] or group["dampening"]):
            raise ValueError("SGD: nesterov needs a momentum, and no dampening")

    def _kept(self, h: Mapping[str, Any]) -> dict[str, float]:
        return {"momentum_buffer": 0.0} if h["momentum"] else {}

    def _descent(
        self, p: Any, g: Any, memory: dict[str, Any], h: Mapping[str, Any], out: Any
    ) -> Any:
        g = _decayed(p, g, h)
        if h["momentum"]:
            v = memory["momentum_buffer"]
            v *= h["momentum"]
            share = 1 - h["dampening"] if memory["step"] > 1 else 1
            v += g if share == 1 else np.multiply(g, share, out=out)
            ahead = np.multiply(v, h["momentum"], out=out) if h["nesterov"] else 0
            g = np.add(g, ahead, out=out) if h["nesterov"] else v
        return np.multiply(g, h["lr"], out=out)


class Adam(Optimizer):
    """Adam, Kingma & Ba (2015), algorithm 1:

    m <- b1 m + (1 - b1) g
    v <- b2 v + (1 - b2) g^2
    p <- p - lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)

    With `amsgrad`, the largest v so far in the place of v (Reddi et al., 2018). `weight_decay` adds
    weight_decay p to the gradient; with `decoupled_weight_decay`, as in `AdamW`, it shrinks p.
    """

    betas = Option("[0, 1)", length=2)
    eps = Option("[0, inf)")
    weight_decay = Option("[0, inf)")
    amsgrad = Option()
    decoupled_weight_decay = Option()
    elementwise = True

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        decoupled_weight_decay: bool = False,
    ) -> None:
        super().__init__(
            params,
            lr,
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            amsgrad=amsgrad,
            maximize=maximize,
            decoupled_weight_decay=decoupled_weight_decay,
        )

    def _kept(self, h: Mapping[str, Any]) -> dict[str, float]:
        largest = {"max_exp_avg_sq": 0.0} if h["amsgrad"] else {}
        return {"exp_avg": 0.0, "exp_avg_sq": 0.0, **largest}

    def _descent(
        self, p: Any, g: Any, memory: dict[str, Any], h: Mapping[str, Any], out: Any
    ) -> Any:
        decoupled = h["decoupled_weight_decay"] and h["weight_decay"]
        m, v = _moments(memory, g if decoupled else _decayed(p, g, h), h["betas"], out)
        if h["amsgrad"]:
            v = np.maximum(memory["max_exp_avg_sq"], v, out=memory["max_exp_avg_sq"])
        (b1, b2), t = h["betas"], memory["step"]
        root = math.sqrt(1 - b2**t)  # taken out of the denominator, which is an array
        np.sqrt(v, out=out)
        out += h["eps"] * root
        np.divide(m, out, out=out)
        out *= h["lr"] * root / (1 - b1**t)
        if decoupled:
            out += h["lr"] * h["weight_decay"] * p
        return out


class AdamW(Adam):
    """Adam with decoupled decay, Loshchilov & Hutter (2019): p <- p - lr weight_decay p first."""

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            maximize=maximize,
            decoupled_weight_decay=True,
        )


def _moments(
    memory: dict[str, Any], g: Any, betas: tuple[float, float], out: Any
) -> tuple[Any, Any]:
    """Bring the moving averages of the gradient and its square up to date, and return them."""
    (b1, b2), m, v = betas, memory["exp_avg"], memory["exp_avg_sq"]
    m *= b1
    m += np.multiply(g, 1 - b1, out=out)
    v *= b2
    np.multiply(g, g, out=out)
    out *= 1 - b2
    v += out
    return m, v


class NAdam(Optimizer):
    """Adam with Nesterov's momentum, Dozat (2016):

    mu_t = b1 (1 - 0.96^(t momentum_decay) / 2), and M_t the product of mu_1 ... mu_t
    m <- b1 m + (1 - b1) g
    v <- b2 v + (1 - b2) g^2
    d = mu_(t+1) m / (1 - M_(t+1)) + (1 - mu_t) g / (1 - M_t)
    p <- p - lr d / (sqrt(v / (1 - b2^t)) + eps)
    """

    betas = Option("[0, 1)", length=2)
    eps = Option("[0, inf)")
    weight_decay = Option("[0, inf)")
    momentum_decay = Option("[0, inf)")
    decoupled_weight_decay = Option()
    elementwise = True

    def __init__(
        self,
        params: Params,
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            lr,
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            momentum_decay=momentum_decay,
            decoupled_weight_decay=decoupled_weight_decay,
            maximize=maximize,
        )

    def _kept(self, h: Mapping[str, Any]) -> dict[str, float]:
        return {"exp_avg": 0.0, "exp_avg_sq": 0.0}

    def _count(self, memory: dict[str, Any], h: Mapping[str, Any]) -> None:
        super()._count(memory, h)
        memory["mu_product"] = memory.get("mu_product", 1.0) * self._mu(memory["step"], h)

    def _mu(self, t: int, h: Mapping[str, Any]) -> float:
        return float(h["betas"][0] * (1 - 0.5 * 0.96 ** (t * h["momentum_decay"])))

    def _descent(
        self, p: Any, g: Any, memory: dict[str, Any], h: Mapping[str, Any], out: Any
    ) -> Any:
        decoupled = h["decoupled_weight_decay"] and h["weight_decay"]
        g = g if decoupled else _decayed(p, g, h)
        m, v = _moments(memory, g, h["betas"], out)
        t, product = memory["step"], memory["mu_product"]
        mu, after = self._mu(t, h), self._mu(t + 1, h)
        down = m * (after / (1 - product * after)) + g * ((1 - mu) / (1 - product))
        down *= h["lr"]
        down /= np.sqrt(v / (1 - h["betas"][1] ** t)) + h["eps"]
        return down + h["lr"] * h["weight_decay"] * p if decoupled else down


class RMSprop(Optimizer):
    """p <- p - lr g / (sqrt(v) + eps), with v <- alpha v + (1 - alpha) g^2.

    With `centered`, v less the square of the moving average of g, which is the variance (Graves,
    2013, section 2). With `momentum`, p <- p - lr b, with b <- momentum b + g / (sqrt(v) + eps).
    Source: Tieleman & Hinton, 2012.
    """

    alpha = Option("[0, 1)")
    eps = Option("[0, inf)")
    weight_decay = Option("[0, inf)")
    momentum = Option("[0, 1)")
    centered = Option()
    elementwise = True

    def __init__(
        self,
        params: Params,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            lr,
            alpha=alpha,
            eps=eps,
            weight_decay=weight_decay,
            momentum=momentum,
            centered=centered,
            maximize=maximize,
        )

    def _kept(self, h: Mapping[str, Any]) -> dict[str, float]:
        wanted = {"square_avg": True, "grad_avg": h["centered"], "momentum_buffer": h["momentum"]}
        return {name: 0.0 for name, is_kept in wanted.items() if is_kept}

    def _descent(
        self, p: Any, g: Any, memory: dict[str, Any], h: Mapping[str, Any], out: Any
    ) -> Any:
        g, v = _decayed(p, g, h), memory["square_avg"]
        v *= h["alpha"]
        v += np.multiply(np.multiply(g, g, out=out), 1 - h["alpha"], out=out)
        if h["centered"]:
            m = memory["grad_avg"]
            m *= h["alpha"]
            m += (1 - h["alpha"]) * g
            v = np.maximum(v - m * m, 0)  # which rounding may bring below 0
        down = g / (np.sqrt(v) + h["eps"])
        if h["momentum"]:
            b = memory["momentum_buffer"]
            b *= h["momentum"]
            b += down
            down = b
        return h["lr"] * down


class Adagrad(Optimizer):
    """p <- p - lr / (1 + (t - 1) lr_decay) g / (sqrt(s) + eps), with s <- s + g^2.

    s is `initial_accumulator_value` at first. Source: Duchi et al., 2011.
    """

    lr_decay = Option("[0, inf)")
    weight_decay = Option("[0, inf)")
    initial_accumulator_value = Option("[0, inf)")
    eps = Option("[0, inf)")
    elementwise = True

    def __init__(
        self,
        params: Params,
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            lr,
            lr_decay=lr_decay,
            weight_decay=weight_decay,
            initial_accumulator_value=initial_accumulator_value,
            eps=eps,
            maximize=maximize,
        )

    def _kept(self, h: Mapping[str, Any]) -> dict[str, float]:
        return {"sum": h["initial_accumulator_value"]}

    def _descent(
        self, p: Any, g: Any, memory: dict[str, Any], h: Mapping[str, Any], out: Any
    ) -> Any:
        g, s = _decayed(p, g, h), memory["sum"]
        s += np.multiply(g, g, out=out)
        return g / (np.sqrt(s) + h["eps"]) * (h["lr"] / (1 + (memory["step"] - 1) * h["lr_decay"]))


class Adadelta(Optimizer):
    """Adadelta, Zeiler (2012), algorithm 1, with a learning rate:

    v <- rho v + (1 - rho) g^2
    d = sqrt(u + eps) / sqrt(v + eps) g
    u <- rho u + (1 - rho) d^2
    p <- p - lr d
    """

    rho = Option("[0, 1]")
    eps = Option("[0, inf)")
    weight_decay = Option("[0, inf)")
    elementwise = True

    def __init__(
        self,
        params: Params,
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr, rho=rho, eps=eps, weight_decay=weight_decay, maximize=maximize)

    def _kept(self, h: Mapping[str, Any]) -> dict[str, float]:
        return {"square_avg": 0.0, "acc_delta": 0.0}

    def _descent(
        self, p: Any, g: Any, memory: dict[str, Any], h: Mapping[str, Any], out: Any
    ) -> Any:
        g, v, u = _decayed(p, g, h), memory["square_avg"], memory["acc_delta"]
        v *= h["rho"]
        v += np.multiply(np.multiply(g, g, out=out), 1 - h["rho"], out=out)
        d = np.sqrt(u + h["eps"]) / np.sqrt(v + h["eps"]) * g
        u *= h["rho"]
        u += d * d * (1 - h["rho"])
        return h["lr"] * d


class Lion(Optimizer):
    """Lion, Chen et al. (2023), program 1:

    p <- p - lr (sign(b1 m + (1 - b1) g) + weight_decay p)
    m <- b2 m + (1 - b2) g

    g is the gradient alone. All elements move equally far, so lr is 3 to 10 times below Adam's.
    """

    betas = Option("[0, 1)", length=2)
    weight_decay = Option("[0, inf)")
    elementwise = True

    def __init__(
        self,
        params: Params,
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr, betas=betas, weight_decay=weight_decay, maximize=maximize)

    def _kept(self, h: Mapping[str, Any]) -> dict[str, float]:
        return {"exp_avg": 0.0}

    def _descent(
        self, p: Any, g: Any, memory: dict[str, Any], h: Mapping[str, Any], out: Any
    ) -> Any:
        (b1, b2), m = h["betas"], memory["exp_avg"]
        down = h["lr"] * np.sign(b1 * m + (1 - b1) * g)
        m *= b2
        m += (1 - b2) * g
        return down + h["lr"] * h["weight_decay"] * p if h["weight_decay"] else down
