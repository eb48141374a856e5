"""The gradient reversal layer, and how its strength rises."""

from math import exp
from typing import Any

import torch
from torch import Tensor


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float) -> Tensor:
        ctx.scale = scale
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return -ctx.scale * gradient, None


def reverse_gradient(x: Tensor, scale: float) -> Tensor:
    """Return `x` unchanged; its gradient comes back multiplied by ``-scale``.

    References
    ----------
    Y. Ganin, V. Lempitsky. Unsupervised domain adaptation by backpropagation. ICML 2015, equations 9 and 10.

    Examples
    --------
    >>> x = torch.ones(2, requires_grad=True)
    >>> reverse_gradient(x, 0.5).sum().backward()
    >>> x.grad
    tensor([-0.5000, -0.5000])
    """
    y: Tensor = _Reversal.apply(x, scale)
    return y


def ramp(progress: float, gamma: float, height: float = 1.0) -> float:
    r"""Return :math:`h \left( \frac{2}{1 + \exp(-\gamma p)} - 1 \right)`, which rises from 0 towards `height`.

    References
    ----------
    Y. Ganin, V. Lempitsky. Unsupervised domain adaptation by backpropagation. ICML 2015, equation 14.

    Examples
    --------
    >>> ramp(0.0, 10.0)
    0.0
    >>> round(ramp(0.5, 10.0, height=0.1), 4)
    0.0987
    """
    return height * (2 / (1 + exp(-gamma * progress)) - 1)
