"""Batch normalisation that knows which half of the batch is the source, and how a network gets it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy

import torch
from torch import Tensor, nn

from tda.backbones.base import Network
from tda.methods.deep.base import DeepMethod, DomainName

Normalisation = nn.BatchNorm1d | nn.BatchNorm2d


class DomainNormalisation(nn.Module, ABC):
    """Replaces a batch normalisation, whose weights and statistics both domains start from.

    In training the first half of a batch is the source and the second the target, as `DeepMethod.pair` puts them;
    in evaluation all samples are of one domain.

    Attributes
    ----------
    evaluated : {"target", "source"}
        Which domain that is.
    """

    evaluated: DomainName = "target"

    @abstractmethod
    def normalise(self, source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Normalise the two halves of a training batch, and take their statistics into account."""

    @abstractmethod
    def normalise_one(self, x: Tensor, domain: DomainName) -> Tensor:
        """Normalise samples of one domain by the statistics that were learned."""

    def forward(self, x: Tensor) -> Tensor:
        """Map a batch (n, d) or (n, d, h, w) to one of the same shape."""
        return torch.cat(self.normalise(*x.chunk(2))) if self.training else self.normalise_one(x, self.evaluated)


class Separate(DomainNormalisation):
    """Two batch normalisations, the source's and the target's, each with weights of its own."""

    def __init__(self, replaced: Normalisation) -> None:
        super().__init__()
        self.source = deepcopy(replaced)
        self.target = deepcopy(replaced)

    def normalise(self, source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Normalise each half by its own."""
        return self.source(source), self.target(target)

    def normalise_one(self, x: Tensor, domain: DomainName) -> Tensor:
        """Normalise by the domain's own."""
        y: Tensor = self.source(x) if domain == "source" else self.target(x)
        return y


class DomainNormalised(DeepMethod, ABC):
    """A method whose network has a `DomainNormalisation`: it sees each domain's samples as that domain's."""

    @abstractmethod
    def prepare(self, network: Network) -> None:
        """Replace the batch normalisations."""
        super().prepare(network)

    def embed(self, x: Tensor, domain: DomainName) -> Tensor:
        """Return the features, each domain normalised as in training."""
        layers = [module for module in self.network.modules() if isinstance(module, DomainNormalisation)]
        for layer in layers:
            layer.evaluated = domain
        try:
            return super().embed(x, domain)
        finally:
            for layer in layers:
                layer.evaluated = "target"


def replace_normalisation(network: Network, make: Callable[[Normalisation], nn.Module]) -> None:
    """Put ``make(layer)`` in the place of each batch normalisation of a network, in place.

    A network that has none gets one between its bottleneck and its head first, so that there is something to adapt.
    """
    if not any(isinstance(module, Normalisation) for module in network.modules()):
        network.bottleneck = nn.Sequential(network.bottleneck, nn.BatchNorm1d(network.width))
    for parent in [*network.modules()]:
        for name, layer in parent.named_children():
            if isinstance(layer, Normalisation):
                setattr(parent, name, make(layer))


@contextmanager
def untracked(network: nn.Module) -> Iterator[None]:
    """Let batch normalisations forget the batches that they see while a block lasts, in training."""
    layers = [layer for layer in network.modules() if isinstance(layer, Normalisation)]
    for layer in layers:
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer in layers:
            layer.track_running_stats = True
