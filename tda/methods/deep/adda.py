"""ADDA: an encoder of the target that learns to imitate that of the source."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import NonNegativeFloat
from torch import Tensor, nn

from tda.backbones.base import Hidden, Network
from tda.methods.deep.base import Batch, DeepMethod, DomainName, Objective
from tda.methods.deep.dann import domain_loss
from tda.ranges import PositiveBelowOne


class ADDA(DeepMethod):
    r"""Adversarial discriminative domain adaptation.

    First the source encoder :math:`M_s` and the classifier C minimise the source's cross-entropy. Then both stay as
    they are; the target encoder :math:`M_t` starts as a copy of :math:`M_s`, and takes turns with a domain classifier
    D, which gives the probability that an encoding is the source's:

    .. math:: \min_D \; L_D = -\mathbb E_s \log D(M_s(x)) - \mathbb E_t \log (1 - D(M_t(x))), \quad \min_{M_t} L_M

    ============ =======================================================================
    ``loss``     :math:`L_M`
    ============ =======================================================================
    minimax      :math:`-L_D`
    gan          :math:`-\mathbb E_t \log D(M_t(x))`, the paper's choice
    confusion    :math:`-\mathbb E_t [\frac12 \log D(M_t(x)) + \frac12 \log (1 - D(M_t(x)))]`
    ============ =======================================================================

    leaving out what does not depend on :math:`M_t`. D minimises the mean over a batch, half of :math:`L_D`.
    Predictions are :math:`C(M_t(x))`. An encoder is backbone and bottleneck. The two domains never share a batch:
    each encoder normalises by its own domain, which is why `pair` is not used. Both encode as in training, with
    dropout and the batch's own statistics: a domain classifier that could tell the domains by the noise of one of
    them would never be fooled. D always sees both domains: one that normalises its batches could not tell the target
    by itself from the source. The network becomes the target's encoder, so that a pretrained backbone keeps its
    lower learning rate; the optimiser's momentum is carried over from the first phase, whereas the authors start
    another optimiser.

    Parameters
    ----------
    weight : float
        Of :math:`L_M`; the domain classifier learns at full speed. 1 in the paper.
    loss : {"minimax", "gan", "confusion"}
        What the target encoder minimises.
    pretraining : float
        Share of the steps for the first phase.
    hidden : sequence or None
        Widths of the domain classifier's hidden layers, after them ``norm`` if they are batch-normalised; None takes
        the backbone's `discriminator`.

    References
    ----------
    E. Tzeng, J. Hoffman, K. Saenko, T. Darrell. Adversarial discriminative domain adaptation. CVPR 2017, equations
    3 to 9. The equation of the confusion loss there sums over both domains; the source's part is constant here.
    """

    adapting: Tensor

    def __init__(
        self,
        *,
        weight: NonNegativeFloat,
        loss: Literal["minimax", "gan", "confusion"],
        pretraining: PositiveBelowOne,
        hidden: Hidden | None,
    ) -> None:
        super().__init__(weight=weight)
        self.loss = loss
        self.pretraining = pretraining
        self.hidden = hidden

    def prepare(self, network: Network) -> None:
        """Build the domain classifier, and the place where the source's encoder will be kept."""
        super().prepare(network)
        self.require_encoder()
        self.discriminator = network.backbone.domain_classifier(network.width, self.hidden)
        self.source_encoder = deepcopy(self.encoder).requires_grad_(False)
        self.register_buffer("adapting", torch.tensor(False))  # whether there are two encoders

    def embed(self, x: Tensor, domain: DomainName) -> Tensor:
        """Return the encodings by the domain's own encoder."""
        encoder = self.source_encoder if self.adapting and domain == "source" else self.encoder
        features: Tensor = encoder(x)
        return features

    @property
    def encoder(self) -> nn.Sequential:
        """The network up to its features; since the second phase, the target's encoder."""
        return nn.Sequential(self.network.backbone, self.network.bottleneck)

    def objectives(self, batch: Batch) -> Iterator[Objective]:
        """Yield the source's cross-entropy at first; then the domain classifier's loss and the target encoder's."""
        if batch.progress < self.pretraining:
            yield Objective(F.cross_entropy(self.network(batch.xs).logits, batch.ys), (self.network,))
            return
        if not self.adapting:
            self.source_encoder.load_state_dict(self.encoder.state_dict())
            self.adapting.fill_(True)
        with torch.no_grad():
            source = self.source_encoder(batch.xs)
        target = self.network.encode(batch.xt)
        said = self.discriminator(torch.cat([target.detach(), source])).squeeze(1)
        telling = domain_loss(said, len(target))
        yield Objective(telling, (self.discriminator,), {"domain": telling})
        said = self.discriminator(torch.cat([target, source])).squeeze(1)[: len(target)]
        fooling = encoder_loss(said.float(), self.loss)
        yield Objective(self.weight * fooling, (self.network.backbone, self.network.bottleneck), {"encoder": fooling})


def encoder_loss(said: Tensor, loss: Literal["minimax", "gan", "confusion"]) -> Tensor:
    """Return the target encoder's loss on logits (n,) of the probability that its encodings are the source's."""
    as_source, as_target = F.softplus(-said).mean(), F.softplus(said).mean()  # -log D and -log(1 - D)
    return {"minimax": -as_target, "gan": as_source, "confusion": (as_source + as_target) / 2}[loss]
