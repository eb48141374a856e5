"""CAN: low layers that tell the domains apart, features that do not; iCAN adds target samples it is sure of."""

from collections.abc import Iterator
from copy import deepcopy
from math import exp
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field, NonNegativeFloat
from torch import Tensor, nn

from tda.backbones.base import Hidden, Network, Output
from tda.methods.deep.base import Batch, DeepMethod, Objective
from tda.methods.deep.dann import domain_loss
from tda.methods.deep.reversal import ramp, reverse_gradient
from tda.ranges import Share


class CAN(DeepMethod):
    r"""Collaborative and adversarial network, and its incremental form.

    With a domain classifier on each block of the backbone, of loss :math:`L_l`, and one on the features, of loss L,

    .. math:: \min_{\theta, \lambda} L_y + \sum_l \lambda_l L_l - \mu L, \quad
       \sum_l \lambda_l = \lambda_0, \quad \lambda_l \ge 0

    where the domain classifiers themselves minimise their losses: the blocks learn what tells the domains apart, the
    features learn what does not. Both gradients rise with the ramp of `gamma`. The :math:`\lambda_l` are learned, as
    :math:`\lambda_0` times a softmax; the authors let single ones become negative.

    A block ends where the backbone's maps are halved, and its domain classifier sees the average over the map: a ResNet
    has four, the first its first convolution, where the authors leave that one out; a LeNet has one. Features of a
    frozen backbone have no blocks left to train: CAN on them is DANN.

    With `pseudo_after` below 1, iCAN: from that share of the steps on, target samples count in the cross-entropy under
    their predicted class where its probability exceeds :math:`1 / (1 + e^{-2.4 a})`, with a the running accuracy on the
    source's batches, and where the domain classifier is in doubt, :math:`|D - \frac12| <` `doubt`. The authors select
    once an epoch, and weight what they select; here the samples of the batch are selected, with equal weights.

    Parameters
    ----------
    weight : float
        :math:`\mu`; 0.8 in the authors' code.
    collaboration : float
        :math:`\lambda_0`; 0.1 in the authors' code.
    gamma : float
        Of the ramp :math:`2 / (1 + e^{-\gamma p}) - 1`.
    hidden : sequence or None
        Widths of each domain classifier's hidden layers, after them ``norm`` if they are batch-normalised; None takes
        the backbone's `discriminator`.
    pseudo_after : float
        Share of the steps before target samples are selected; 1 for plain CAN.
    doubt : float
        The largest distance of the domain classifier's probability from 1/2 that is doubt; the authors start at 0.005
        and learn it.

    References
    ----------
    W. Zhang, W. Ouyang, W. Li, D. Xu. Collaborative and adversarial network for unsupervised domain adaptation. CVPR
    2018, sections 3.2 and 3.3.
    """

    accuracy: Tensor

    def __init__(
        self,
        *,
        weight: NonNegativeFloat,
        collaboration: NonNegativeFloat,
        gamma: NonNegativeFloat,
        hidden: Hidden | None,
        pseudo_after: Share,
        doubt: Annotated[float, Field(ge=0, le=0.5)],
    ) -> None:
        super().__init__(weight=weight)
        self.collaboration = collaboration
        self.gamma = gamma
        self.hidden = hidden
        self.pseudo_after = pseudo_after
        self.doubt = doubt

    def prepare(self, network: Network) -> None:
        """Find the backbone's blocks, and build a domain classifier on each and on the features."""
        super().prepare(network)
        self.blocks = Blocks(network.backbone)
        widths = self.blocks.widths(network.backbone.size)
        self.collaborators = nn.ModuleList(network.backbone.domain_classifier(width, self.hidden) for width in widths)
        self.shares = nn.Parameter(torch.zeros(len(widths)))
        self.discriminator = network.backbone.domain_classifier(network.width, self.hidden)
        self.register_buffer("accuracy", torch.tensor(0.0))

    def objectives(self, batch: Batch) -> Iterator[Objective]:
        """Yield the one loss of all terms."""
        source, target = self.pair(batch)
        maps = self.blocks.read()
        strength = ramp(batch.progress, self.gamma)
        features = reverse_gradient(torch.cat([source.features, target.features]), strength)
        said = self.discriminator(features).squeeze(1)
        adversarial = domain_loss(said, len(batch.xs))
        collaborative = said.new_zeros((), dtype=torch.float32)
        for share, collaborator, pooled in zip(self.shares.softmax(0), self.collaborators, maps, strict=True):
            told = collaborator(reverse_gradient(pooled, -strength)).squeeze(1)
            collaborative = collaborative + share * domain_loss(told, len(batch.xs))
        classification = self._classification(source, target, said[len(batch.xs) :], batch)
        loss = classification + self.collaboration * collaborative + self.weight * adversarial
        terms = {"classification": classification, "collaborative": collaborative, "adversarial": adversarial}
        yield Objective(loss, (self,), terms)

    def _classification(self, source: Output, target: Output, said: Tensor, batch: Batch) -> Tensor:
        """Return the mean cross-entropy of the source and of the target samples that are selected."""
        right = (source.logits.detach().argmax(1) == batch.ys).float().mean()
        self.accuracy.lerp_(right, 0.1)
        of_source = F.cross_entropy(source.logits, batch.ys, reduction="none")
        if batch.progress < self.pseudo_after:
            return of_source.mean()
        chosen = selected(target.logits, said, 1 / (1 + exp(-2.4 * self.accuracy.item())), self.doubt)
        of_target = F.cross_entropy(target.logits, target.logits.argmax(1), reduction="none") * chosen
        return (of_source.sum() + of_target.sum()) / (len(of_source) + chosen.sum())


def selected(logits: Tensor, said: Tensor, confidence: float, doubt: float) -> Tensor:
    """Return 1 for samples of confident class logits (n, C) and doubtful domain logits (n,), else 0.

    Examples
    --------
    >>> sure = torch.tensor([[9.0, 0.0], [9.0, 0.0], [0.1, 0.0]])
    >>> selected(sure, torch.tensor([0.0, 3.0, 0.0]), confidence=0.9, doubt=0.05)
    tensor([1., 0., 0.])
    """
    confident = logits.detach().float().softmax(1).amax(1) > confidence
    doubtful = (said.detach().float().sigmoid() - 0.5).abs() < doubt
    return (confident & doubtful).float()


class Blocks:
    """Records, at each pass in training, what the layers that halve a backbone's maps read, by size of map.

    Those are the outputs of the blocks, but for the image, which no convolution has seen, and for what no convolution
    will see, which leads to the features.
    """

    def __init__(self, backbone: nn.Module) -> None:
        self.backbone = backbone
        self.maps: dict[int, Tensor] = {}
        self.convolved: dict[int, Tensor] | None = None
        for layer in backbone.modules():
            if not [*layer.children()]:
                layer.register_forward_hook(self._record)

    def _record(self, layer: nn.Module, given: tuple[Tensor, ...], made: Tensor) -> None:
        if not layer.training or not given[0].ndim == made.ndim == 4:
            return
        if self.convolved is not None and 2 * made.shape[-1] <= given[0].shape[-1] + 1:
            self.maps[given[0].shape[-1]] = given[0]
        if isinstance(layer, nn.Conv2d):
            self.convolved = dict(self.maps)

    def read(self) -> list[Tensor]:
        """Return the averages (n, channels) over the maps of the last pass, and forget them."""
        maps = self.convolved or {}
        self.maps, self.convolved = {}, None
        return [maps[side].mean((2, 3)) for side in sorted(maps, reverse=True)]

    def widths(self, size: int) -> list[int]:
        """Return the number of channels of each block for images of this side."""
        before = deepcopy(self.backbone.state_dict())
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            self.backbone.extract(torch.zeros(2, 3, size, size))  # type: ignore[operator]
        self.backbone.load_state_dict(before)
        return [pooled.shape[1] for pooled in self.read()]
