"""TransferNet: the textbook's own network for DDC, Deep CORAL and DANN, with its quirks to switch on and off."""

from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor, nn

from tda.backbones.base import Network, Output, normal
from tda.methods.deep.base import Batch, DeepMethod, DomainName
from tda.ranges import BelowOne


class TransferNet(DeepMethod):
    r"""Cross-entropy of one layer on the features, plus a transfer loss on another that need not be on its path.

    .. math:: L = \frac1b \sum_i J(c(f(x_i^s)), y_i) + \lambda\, D(g(f(x^s)), g(f(x^t)))

    where f is the backbone, g a bottleneck (linear, batch normalisation, ReLU, dropout) and c a classifier of two
    layers (linear, ReLU, dropout, linear). As printed, g is a side branch: the classifier reads f(x), no test sample
    ever passes g, and D can fall through g alone. Over a frozen backbone the classifier is then source-only, whatever D
    is. With ``side_branch=False`` the classifier reads g(f(x)), as in the papers of the methods.

    Parameters
    ----------
    weight : float
        :math:`\lambda`, held constant; the textbook does not state its own.
    transfer : DeepMethod or None
        Whose alignment is D; None leaves it out, and the bottleneck with it where it is a side branch. It must read
        features alone: the classifier meets no target sample in training.
    side_branch : bool
        Whether the classifier reads the backbone's features rather than the bottleneck's.
    apart : bool
        Pass the domains through the network one after the other, so that batch normalisation standardises each by its
        own statistics before D is measured; otherwise together, as one batch.
    bottleneck, hidden : int
        Widths of g and of the classifier's hidden layer; 256 and 1024 in the listing.
    dropout : float in [0, 1)
        After both; 0.5 in the listing.

    References
    ----------
    J. Wang, Y. Chen. Introduction to transfer learning (in Chinese), 2021, sections 9.6.1 and 10.6.
    """

    def __init__(
        self,
        *,
        weight: NonNegativeFloat,
        transfer: DeepMethod | None,
        side_branch: bool,
        apart: bool,
        bottleneck: PositiveInt = 256,
        hidden: PositiveInt = 1024,
        dropout: BelowOne = 0.5,
    ) -> None:
        super().__init__(weight=weight)
        self.transfer = transfer
        self.side_branch = side_branch
        self.apart = apart
        self.bottleneck = bottleneck
        self.hidden = hidden
        self.dropout = dropout

    def prepare(self, network: Network) -> None:
        """Put the listing's classifier and bottleneck, with its initial weights, in the place of the network's own."""
        super().prepare(network)
        network.width = self.bottleneck
        read = network.backbone.width if self.side_branch else self.bottleneck
        network.head = nn.Sequential(
            normal(nn.Linear(read, self.hidden), deviation=0.01),
            nn.ReLU(),
            nn.Dropout(self.dropout),
            normal(nn.Linear(self.hidden, network.classes), deviation=0.01),
        )
        bottleneck = nn.Sequential(
            normal(nn.Linear(network.backbone.width, self.bottleneck), deviation=0.005, bias=0.1),
            nn.BatchNorm1d(self.bottleneck),
            nn.ReLU(),
            nn.Dropout(self.dropout),
        )
        network.bottleneck = nn.Identity() if self.side_branch else bottleneck
        if self.transfer is not None:
            self.branch = bottleneck if self.side_branch else nn.Identity()
            self.transfer.prepare(network)

    def pair(self, batch: Batch) -> tuple[Output, Output]:
        """Return what is aligned of both halves of a batch, and what the classifier says of the source."""
        if self.apart:
            (xs, source), (xt, target) = self._read(batch.xs), self._read(batch.xt)
        else:
            read, aligned = self._read(batch.x)
            (xs, xt), (source, target) = (part.split([len(batch.xs), len(batch.xt)]) for part in (read, aligned))
        return Output(source, self.network.head(xs)), Output(target, xt[:0])

    def embed(self, x: Tensor, domain: DomainName) -> Tensor:
        """Return what the transfer loss reads."""
        return self._read(x)[1]

    def _read(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the classifier reads of samples, and what the transfer loss reads of them."""
        read = self.network.encode(x)
        return read, read if self.transfer is None else self.branch(read)

    def alignment(self, source: Output, target: Output, batch: Batch) -> Tensor:
        """Return the transfer loss."""
        if self.transfer is None:
            return source.logits.new_zeros(())
        return self.transfer.weight * self.transfer.alignment(source, target, batch)
