"""CORAL with entropy: the domains' covariances drawn together, and a classifier that is sure of the target."""

from collections.abc import Iterator

import torch.nn.functional as F
from pydantic import NonNegativeFloat

from tda.divergences.batch import coral
from tda.methods.deep.base import Batch, DeepMethod, Objective
from tda.methods.deep.entropy_minimisation import entropies


class CoralEntropy(DeepMethod):
    r"""Correlation alignment of the features together with entropy minimisation.

    .. math:: \min_\theta L_y + \frac{\lambda}{4 d^2} \lVert C_s - C_t \rVert_F^2 + \gamma \frac1b \sum_j H(p_j^t).

    The covariances that suit best are also those with the least target entropy, which is why the two go together.
    The distance is Deep CORAL's; the paper takes that of the matrices' logarithms, which batches of fewer samples
    than features do not determine, and uses the entropy to choose :math:`\lambda`, not as a term of the loss.

    Parameters
    ----------
    weight : float
        :math:`\lambda`.
    entropy : float
        :math:`\gamma`.

    References
    ----------
    P. Morerio, J. Cavazza, V. Murino. Minimal-entropy correlation alignment for unsupervised deep domain adaptation.
    ICLR 2018, section 3. B. Sun, K. Saenko. Deep CORAL. ECCV workshops 2016, equation 1.
    """

    def __init__(self, *, weight: NonNegativeFloat, entropy: NonNegativeFloat) -> None:
        super().__init__(weight=weight)
        self.entropy = entropy

    def objectives(self, batch: Batch) -> Iterator[Objective]:
        """Yield the cross-entropy, the distance of the covariances and the target's entropy."""
        source, target = self.pair(batch)
        terms = {
            "classification": F.cross_entropy(source.logits, batch.ys),
            "correlation": self.weight * coral(source.features, target.features),
            "entropy": self.entropy * entropies(target.logits).mean(),
        }
        yield Objective(terms["classification"] + terms["correlation"] + terms["entropy"], (self,), terms)
