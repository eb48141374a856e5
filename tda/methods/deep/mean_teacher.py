"""Mean teacher: the network agrees, on other views of the target, with the average of what it was before."""

from collections.abc import Iterator
from copy import deepcopy

import torch
import torch.nn.functional as F
from pydantic import NonNegativeFloat
from torch import Tensor

from tda.backbones.base import Network
from tda.methods.deep.base import Batch, DeepMethod, DomainName, Objective
from tda.methods.deep.perturbation import Perturbation
from tda.ranges import BelowOne


class MeanTeacher(DeepMethod):
    r"""Self-ensembling for visual domain adaptation.

    The student minimises

    .. math:: \frac1b \sum_i -\log p_\theta(y_i \mid x_i^s) + \lambda \Bigl[
              \frac1b \sum_j m_j \frac1C \lVert p_\theta(x_j') - p_{\bar\theta}(x_j'') \rVert_2^2
              + \gamma \bar m \sum_c B\Bigl(\tfrac1C, \tfrac1b \sum_j p_\theta(c \mid x_j')\Bigr) \Bigr]

    on two views x', x'' of each target sample; :math:`m_j = 1` where the teacher's largest probability is above the
    threshold, else 0, :math:`\bar m` is their mean and B the binary cross-entropy. After each step the teacher's
    weights become :math:`\bar\theta \leftarrow a \bar\theta + (1 - a) \theta`. The teacher is what is scored.

    The domains go through the student apart, and the teacher sees the target alone: so its batch normalisation has
    the target's statistics, which are its own, unlike the weights.

    Parameters
    ----------
    weight : float
        :math:`\lambda`.
    decay : float
        a.
    threshold : float
        Of the teacher's confidence.
    balance : float
        :math:`\gamma`, of the classes' balance.
    perturbation : Perturbation
        Makes the views.

    References
    ----------
    G. French, M. Mackiewicz, M. Fisher. Self-ensembling for visual domain adaptation. ICLR 2018, section 3; the
    balance is scaled as in the authors' code. A. Tarvainen, H. Valpola. Mean teachers are better role models. NIPS
    2017.
    """

    def __init__(
        self,
        *,
        weight: NonNegativeFloat,
        decay: BelowOne,
        threshold: BelowOne,
        balance: NonNegativeFloat,
        perturbation: Perturbation,
    ) -> None:
        super().__init__(weight=weight)
        self.decay = decay
        self.threshold = threshold
        self.balance = balance
        self.perturbation = perturbation

    def prepare(self, network: Network) -> None:
        """Make the teacher, a copy of the network."""
        super().prepare(network)
        self.teacher = deepcopy(network).requires_grad_(False)

    def classify(self, x: Tensor) -> Tensor:
        """Return the teacher's logits."""
        logits: Tensor = self.teacher(x).logits
        return logits

    def embed(self, x: Tensor, domain: DomainName) -> Tensor:
        """Return the teacher's features."""
        features: Tensor = self.teacher(x).features
        return features

    def objectives(self, batch: Batch) -> Iterator[Objective]:
        """Yield the student's losses; then let the teacher follow."""
        source, student = self.network(batch.xs), self.network(self.perturbation(batch.xt))
        with torch.no_grad():
            teacher = self.teacher(self.perturbation(batch.xt))
        terms = {
            "classification": F.cross_entropy(source.logits, batch.ys),
            "ensembling": self_ensembling(student.logits, teacher.logits, self.threshold, self.balance),
        }
        yield Objective(terms["classification"] + self.weight * terms["ensembling"], (self.network,), terms)
        with torch.no_grad():
            for followed, following in zip(self.network.parameters(), self.teacher.parameters(), strict=True):
                following.lerp_(followed, 1 - self.decay)


def self_ensembling(student: Tensor, teacher: Tensor, threshold: float, balance: float) -> Tensor:
    """Return the squared difference of the softmax of logits (n, classes), and `balance` times the imbalance."""
    p, q = student.float().softmax(1), teacher.float().softmax(1)
    sure = (q.amax(1) > threshold).float()
    mean = p.mean(0)
    even = 1 / len(mean)
    imbalance = -(even * torch.log(mean + 1e-6) + (1 - even) * torch.log(1 - mean + 1e-6)).sum()
    return (sure * (p - q).square().mean(1)).mean() + balance * sure.mean() * imbalance
