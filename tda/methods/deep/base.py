"""What a deep method is: a loss that draws the domains together, or a generator of objectives."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tda.backbones.base import Network, Output

DomainName = Literal["source", "target"]


class Batch(NamedTuple):
    """One step's samples; there is no field for target labels."""

    x: Tensor  # (2b, ...): source samples, then target samples
    ys: Tensor  # (b,): source classes
    it: Tensor  # (b,): which target samples they are
    progress: float  # in [0, 1): the share of training that is over

    @property
    def xs(self) -> Tensor:
        """Source samples (b, ...)."""
        return self.x[: len(self.ys)]

    @property
    def xt(self) -> Tensor:
        """Target samples (b, ...)."""
        return self.x[len(self.ys) :]


class Objective(NamedTuple):
    """A loss, the modules that one optimiser step on it may change, and the terms it is made of, by name.

    The modules are the same objects at every step, and which of their parameters take a gradient (`requires_grad`) is
    settled by the first.
    """

    loss: Tensor
    train: tuple[nn.Module, ...]
    terms: Mapping[str, Tensor] = MappingProxyType({})


class DeepMethod(nn.Module):
    """Cross-entropy on the source plus ``weight`` times an alignment of the two domains.

    Most methods override `alignment` alone. A min-max or multi-phase method overrides `objectives`, which yields
    one `Objective` an optimiser step.

    Both domains go through the network together, as one batch, so that batch normalisation (where there is any)
    sees the mixture; a method that needs them apart overrides `pair` and says so in its file.

    Parameters
    ----------
    weight : float
        Of the alignment.
    """

    network: Network

    def __init__(self, *, weight: float) -> None:
        super().__init__()
        self.weight = weight

    def prepare(self, network: Network) -> None:
        """Take the network to train, and build what else the method trains; called once, before training."""
        self.network = network

    def require_encoder(self) -> None:
        """Raise a ValueError where nothing below the head can be trained: a method that trains it alone cannot work."""
        if not any([*module.parameters()] for module in (self.network.backbone, self.network.bottleneck)):
            raise ValueError(
                f"{type(self).__name__} trains what lies below the head, and there is nothing: "
                "set backbone.bottleneck=256"
            )

    def begin(self, xs: Tensor, ys: Tensor, xt: Tensor) -> None:
        """See all training samples, resident on the device, before the first step; most methods do not need to."""

    def finish(self, xs: Tensor, xt: Tensor) -> None:
        """See all training samples after the last step."""

    def classify(self, x: Tensor) -> Tensor:
        """Return the logits (n, classes) of target samples; in evaluation mode this is what is scored."""
        output: Output = self.network(x)
        return output.logits

    def embed(self, x: Tensor, domain: DomainName) -> Tensor:
        """Return the features (n, width) where the domains are aligned, of samples of one of them."""
        output: Output = self.network(x)
        return output.features

    @contextmanager
    def as_scored(self) -> Iterator[None]:
        """Let samples pass as they are scored, while a block lasts: evaluated, in float32 and without gradients."""
        self.eval()
        with torch.no_grad(), torch.autocast(next(self.network.parameters()).device.type, enabled=False):
            yield
        self.train()

    def pair(self, batch: Batch) -> tuple[Output, Output]:
        """Return the network's outputs on the source half and on the target half of a batch."""
        features, logits = (part.split([len(batch.ys), len(batch.it)]) for part in self.network(batch.x))
        return Output(features[0], logits[0]), Output(features[1], logits[1])

    def alignment(self, source: Output, target: Output, batch: Batch) -> Tensor:
        """Return the loss (a scalar) that is small where the domains look alike."""
        raise TypeError(f"{type(self).__name__} must override either `alignment` or `objectives`")

    def objectives(self, batch: Batch) -> Iterator[Objective]:
        """Yield what to minimise, one optimiser step after each."""
        source, target = self.pair(batch)
        classification = F.cross_entropy(source.logits, batch.ys)
        yield self.objective(classification, self.alignment(source, target, batch))

    def objective(self, classification: Tensor, alignment: Tensor) -> Objective:
        """Return the loss classification + weight x alignment, for all parameters of the method.

        Raises
        ------
        TypeError
            If the alignment is no tensor of one number: nothing could be learned from it.
        """
        if not isinstance(alignment, Tensor) or alignment.numel() != 1:
            what = f"of shape {tuple(alignment.shape)}" if isinstance(alignment, Tensor) else type(alignment).__name__
            called = f"{type(self).__name__}.alignment"
            raise TypeError(f"{called} returned {what}; expected a tensor of one number, the loss")
        terms = {"classification": classification, "alignment": alignment}
        return Objective(torch.add(classification, alignment, alpha=self.weight), (self,), terms)
