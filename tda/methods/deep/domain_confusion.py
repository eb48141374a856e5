"""Domain confusion: features on which the best domain classifier is undecided."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from pydantic import NonNegativeFloat
from torch import Tensor

from tda.backbones.base import Hidden, Network
from tda.methods.deep.base import Batch, DeepMethod, Objective
from tda.methods.deep.dann import domain_loss


class DomainConfusion(DeepMethod):
    r"""Domain confusion, the unsupervised half of simultaneous deep transfer across domains and tasks.

    With q the domain classifier's probability of the target, each batch is used for two steps,

    .. math:: \min_{\theta_D} -\mathbb E_s \log (1 - q) - \mathbb E_t \log q, \quad
       \min_{\theta_f, \theta_y} L_y - \lambda\, \mathbb E_{s, t} [\tfrac12 \log q + \tfrac12 \log (1 - q)]

    (the first halved, as the mean over a batch), so the features seek the domain classifier's indifference, not its
    mistakes. The paper's other half, soft labels, needs labelled target samples and is left out.

    Parameters
    ----------
    weight : float
        :math:`\lambda` of the confusion loss; 0.01 in the paper.
    hidden : sequence or None
        Widths of the domain classifier's hidden layers, after them ``norm`` if they are batch-normalised; None takes
        the backbone's `discriminator`. The paper's has none.

    References
    ----------
    E. Tzeng, J. Hoffman, T. Darrell, K. Saenko. Simultaneous deep transfer across domains and tasks. ICCV 2015,
    equations 3 to 7.
    """

    def __init__(self, *, weight: NonNegativeFloat, hidden: Hidden | None) -> None:
        super().__init__(weight=weight)
        self.hidden = hidden

    def prepare(self, network: Network) -> None:
        """Build the domain classifier on the network's features."""
        super().prepare(network)
        self.discriminator = network.backbone.domain_classifier(network.width, self.hidden)

    def objectives(self, batch: Batch) -> Iterator[Objective]:
        """Yield the domain classifier's loss, then the network's, on one forward pass of the network."""
        source, target = self.pair(batch)
        features = torch.cat([source.features, target.features])
        telling = domain_loss(self.discriminator(features.detach()).squeeze(1), len(source.features))
        yield Objective(telling, (self.discriminator,), {"domain": telling})
        classification = F.cross_entropy(source.logits, batch.ys)
        confusion = indifference(self.discriminator(features).float())
        terms = {"classification": classification, "confusion": confusion}
        yield Objective(classification + self.weight * confusion, (self.network,), terms)


def indifference(said: Tensor) -> Tensor:
    """Return the mean cross-entropy of domain logits against fair coins; log 2 is its least value.

    Examples
    --------
    >>> indifference(torch.zeros(3))
    tensor(0.6931)
    """
    return (F.softplus(said).mean() + F.softplus(-said).mean()) / 2
