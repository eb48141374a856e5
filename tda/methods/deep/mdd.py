"""MDD: a second classifier that agrees on the source and, within a margin, disagrees on the target."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor

from tda.backbones.base import Network, Output
from tda.methods.deep.base import Batch, DeepMethod
from tda.methods.deep.reversal import ramp, reverse_gradient


class MDD(DeepMethod):
    r"""Margin disparity discrepancy, minimised by gradient reversal.

    With the classifier f, its predictions :math:`h_f(x) = \arg\max_c f(x)_c` and an adversary :math:`f'` on the same
    features :math:`\psi`, of softmax :math:`\sigma`,

    .. math::
       \min_{f, \psi} L_y(f \circ \psi) + \eta D(f, \psi), \quad
       D(f, \psi) = \max_{f'} \mathbb E_t \log [1 - \sigma_{h_f(x)}(f'(\psi(x)))]
                     + \gamma\, \mathbb E_s \log \sigma_{h_f(x)}(f'(\psi(x))),

    :math:`\gamma = e^\rho` for the margin :math:`\rho`. The features' gradient is reversed and multiplied by
    :math:`\eta_p = h (2 / (1 + e^{-a p}) - 1)`; as in the paper, f is not trained by D.

    Parameters
    ----------
    weight : float
        Of D, for features and adversary alike.
    margin : float
        :math:`\gamma`.
    gamma, height : float
        a and h of the ramp :math:`\eta_p`; the authors' ramp ends at 0.1.
    hidden : sequence of int or None
        Widths of the hidden layers of classifier and adversary; None takes the backbone's `hidden`.

    References
    ----------
    Y. Zhang, T. Liu, M. Long, M. I. Jordan. Bridging theory and algorithm for domain adaptation. ICML 2019, equations
    26 to 30.
    """

    def __init__(
        self,
        *,
        weight: NonNegativeFloat,
        margin: PositiveFloat,
        gamma: NonNegativeFloat,
        height: NonNegativeFloat,
        hidden: Sequence[PositiveInt] | None,
    ) -> None:
        super().__init__(weight=weight)
        self.margin = margin
        self.gamma = gamma
        self.height = height
        self.hidden = hidden

    def prepare(self, network: Network) -> None:
        """Put classifier and adversary on the network's features."""
        super().prepare(network)
        network.head, self.adversary = (
            network.backbone.predictor(network.width, network.classes, self.hidden) for _ in range(2)
        )

    def alignment(self, source: Output, target: Output, batch: Batch) -> Tensor:
        """Return -D at the present adversary, its gradient reversed on the way to the features."""
        strength = ramp(batch.progress, self.gamma, self.height)
        features = reverse_gradient(torch.cat([source.features, target.features]), strength)
        on_source, on_target = self.adversary(features).float().split([len(source.features), len(target.features)])
        agreement = F.cross_entropy(on_source, source.logits.argmax(1))
        return self.margin * agreement + disagreement(on_target, target.logits.argmax(1))


def disagreement(logits: Tensor, classes: Tensor) -> Tensor:
    r"""Return the mean of :math:`-\log(1 - \sigma_{c_i}(z_i))` over logits z (n, C) and classes c (n,).

    Computed as a difference of log-sums, which stays finite where :math:`\sigma_{c_i}` rounds to 1.

    Examples
    --------
    >>> disagreement(torch.tensor([[0.0, 0.0]]), torch.tensor([0]))
    tensor(0.6931)
    >>> disagreement(torch.tensor([[200.0, 0.0]]), torch.tensor([0]))
    tensor(200.)
    """
    others = logits.scatter(1, classes.unsqueeze(1), -torch.inf)
    return (logits.logsumexp(1) - others.logsumexp(1)).mean()
