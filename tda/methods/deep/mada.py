"""MADA: one domain classifier a class."""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor, nn

from tda.backbones.base import Network, Output
from tda.methods.deep.base import Batch, DeepMethod
from tda.methods.deep.dann import Deviations, domain_loss
from tda.methods.deep.reversal import ramp, reverse_gradient
from tda.ranges import BelowOne


class MADA(DeepMethod):
    r"""Multi-adversarial domain adaptation.

    The saddle point, features and label predictor minimising and the C domain classifiers maximising, of

    .. math:: L_y - \lambda_p \sum_{c=1}^C \frac{1}{n} \sum_{x \in S \cup T} L_d(D_c(\hat y_c(x) f(x)), d(x))

    where :math:`\hat y_c` is the predicted probability of class c, so that each sample is seen by the classifiers of
    the classes that it may belong to. The :math:`\hat y_c` are constants in this term, as in CDAN's code; the features'
    gradient is reversed.

    Parameters
    ----------
    weight : float
        Of the domain losses, for features and domain classifiers alike.
    gamma, height : float
        Of the ramp :math:`\lambda_p = h (2 / (1 + e^{-\gamma p}) - 1)`.
    hidden : sequence of int or None
        Widths of each domain classifier's hidden layers; None takes the backbone's `discriminator`.
    dropout : float
        Of the domain classifiers' inputs and hidden units.
    initial_std : pair of float or None
        Standard deviations from which the weights of their hidden layers and of their last layer are drawn; None draws
        them as He et al. (ICCV 2015) do.

    References
    ----------
    Z. Pei, Z. Cao, M. Long, J. Wang. Multi-adversarial domain adaptation. AAAI 2018, equations 3 to 5.
    """

    def __init__(
        self,
        *,
        weight: NonNegativeFloat,
        gamma: NonNegativeFloat,
        height: NonNegativeFloat,
        hidden: Sequence[PositiveInt] | None,
        dropout: BelowOne = 0.0,
        initial_std: Deviations | None = None,
    ) -> None:
        super().__init__(weight=weight)
        self.gamma = gamma
        self.height = height
        self.hidden = hidden
        self.dropout = dropout
        self.initial_std = initial_std

    def prepare(self, network: Network) -> None:
        """Build the domain classifiers on the network's features."""
        super().prepare(network)
        hidden = network.backbone.discriminator if self.hidden is None else self.hidden
        self.discriminators = ClassDiscriminators(
            network.classes, network.width, *hidden, dropout=self.dropout, initial_std=self.initial_std
        )

    def alignment(self, source: Output, target: Output, batch: Batch) -> Tensor:
        """Return the sum of the domain classifiers' losses, the gradient reversed on the way to the features."""
        strength = ramp(batch.progress, self.gamma, self.height)
        features = reverse_gradient(torch.cat([source.features, target.features]), strength)
        said = self.discriminators(features, torch.cat([source.logits, target.logits]))  # (C, 2b)
        return len(said) * domain_loss(said, len(source.features))


class ClassDiscriminators(nn.Module):
    """C perceptrons side by side, in batched products; the c-th sees features times the probability of class c.

    Parameters
    ----------
    classes : int
        C.
    widths : int
        Of the features and the hidden layers; the output, one logit, is not listed.
    dropout : float
        Of the inputs and hidden units, in training.
    initial_std : pair of float or None
        Of the weights of the hidden layers and of the last; None: as He et al. (ICCV 2015).
    """

    def __init__(
        self, classes: int, *widths: int, dropout: float = 0.0, initial_std: Sequence[float] | None = None
    ) -> None:
        super().__init__()
        self.dropout = dropout
        inner_std, last_std = initial_std or (None, None)
        deviations = [*[inner_std] * (len(widths) - 1), last_std]
        self.weights = nn.ParameterList(
            torch.randn(classes, wide, narrow) * (deviation or (2 / wide) ** 0.5)
            for (wide, narrow), deviation in zip(pairwise([*widths, 1]), deviations, strict=True)
        )
        self.biases = nn.ParameterList(torch.zeros(classes, 1, narrow) for narrow in [*widths[1:], 1])

    def forward(self, features: Tensor, logits: Tensor) -> Tensor:
        """Return domain logits (C, n) for features (n, d) and class logits (n, C)."""
        probabilities = logits.detach().float().softmax(1).T
        x = self._dropped(probabilities.unsqueeze(2) * features)  # (C, n, d)
        *inner, last = zip(self.weights, self.biases, strict=True)
        for weight, bias in inner:
            x = self._dropped(F.relu(x @ weight + bias))
        said: Tensor = x @ last[0] + last[1]
        return said.squeeze(2)

    def _dropped(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training) if self.dropout else x
