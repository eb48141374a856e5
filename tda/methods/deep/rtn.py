"""RTN: source and target classifiers that differ by a residual."""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor, nn

from tda.backbones.base import Network, Output, perceptron
from tda.divergences.batch import contrast, mixture, product_distances, uniform
from tda.methods.deep.base import Batch, DeepMethod, Objective
from tda.methods.deep.entropy_minimisation import entropies


class RTN(DeepMethod):
    r"""Residual transfer network.

    The network's head is the target's classifier :math:`f_T`; the source's is :math:`f_S = f_T + \Delta f(f_T)` with a
    small residual perceptron, both before the softmax. The residual starts at 0, so that the source's labels teach
    :math:`f_T` first; one that starts large does the source's work alone, and leaves :math:`f_T` to its entropy.

    .. math:: \min \frac1b \sum_i L\bigl(f_S(x_i^s), y_i\bigr) + \gamma \frac1b \sum_j H\bigl(f_T(x_j^t)\bigr)
              + \lambda D(S, T)

    D is the squared MMD of fused features :math:`z = \phi \otimes \mathrm{softmax}(f_T)`, the tensor product of
    bottleneck and predictions, with Gaussian kernels; the product itself is never formed.

    Parameters
    ----------
    weight : float
        :math:`\lambda`; 0.3 in the paper.
    entropy : float
        :math:`\gamma`; 0.3 in the paper.
    kernels : int
        Number of Gaussian kernels.
    hidden : sequence of int or None
        Widths of the hidden layers of :math:`\Delta f`; None is one as wide as the number of classes.

    References
    ----------
    M. Long, H. Zhu, J. Wang, M. I. Jordan. Unsupervised domain adaptation with residual transfer networks. NIPS 2016,
    equations 2 to 6.
    """

    def __init__(
        self,
        *,
        weight: NonNegativeFloat,
        entropy: NonNegativeFloat,
        kernels: PositiveInt,
        hidden: Sequence[PositiveInt] | None,
    ) -> None:
        super().__init__(weight=weight)
        self.entropy = entropy
        self.kernels = kernels
        self.hidden = hidden

    def prepare(self, network: Network) -> None:
        """Build the residual function."""
        super().prepare(network)
        hidden = (network.classes,) if self.hidden is None else self.hidden
        self.residual = perceptron(network.classes, *hidden, network.classes)
        for parameter in self.residual[-1].parameters():
            nn.init.zeros_(parameter)

    def objectives(self, batch: Batch) -> Iterator[Objective]:
        """Yield the sum of the three losses."""
        source, target = self.pair(batch)
        classification = F.cross_entropy(source.logits + self.residual(source.logits), batch.ys)
        doubt = entropies(target.logits).mean()
        alignment = self.alignment(source, target, batch)
        terms = {"classification": classification, "entropy": doubt, "alignment": alignment}
        yield Objective(classification + self.entropy * doubt + self.weight * alignment, (self,), terms)

    def alignment(self, source: Output, target: Output, batch: Batch) -> Tensor:
        """Return the squared MMD of the tensor products of features and predictions."""
        features = torch.cat([source.features, target.features])
        predictions = torch.cat([source.logits, target.logits]).float().softmax(1)
        kernel = mixture(product_distances(features, predictions), self.kernels)
        return contrast(kernel, uniform(source.features, target.features))
