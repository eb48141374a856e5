"""JAN: the joint distribution of several layers agrees."""

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn

from tda.backbones.base import Network, Output
from tda.divergences.batch import joint_mmd2
from tda.methods.deep.base import Batch, DeepMethod
from tda.methods.deep.reversal import ramp, reverse_gradient


class JAN(DeepMethod):
    r"""Joint adaptation network: the MMD of features and predictions together, with a product of kernels.

    .. math:: \min_f \frac1b \sum_i J(f(x_i), y_i) + \lambda \lambda_p \hat D_L(P, Q), \qquad
              k\bigl((z, y), (z', y')\bigr) = \sum_u e^{-\|z - z'\|^2 / 2^u w} \, e^{-\|y - y'\|^2 / w_y}

    w is the mean squared distance of features in the batch, y the softmax of the logits. In JAN-A each
    layer passes a fully connected layer :math:`\theta` first, which maximises what the network minimises.

    Parameters
    ----------
    weight : float
        :math:`\lambda`.
    gamma : float
        Steepness of :math:`\lambda_p = 2 / (1 + \exp(-\gamma p)) - 1` over the progress p.
    kernels : int
        Number of Gaussian kernels of the features.
    output_width : float
        :math:`w_y`; 1.68 in the authors' code.
    adversarial : bool
        JAN-A.

    References
    ----------
    M. Long, H. Zhu, J. Wang, M. I. Jordan. Deep transfer learning with joint adaptation networks. ICML 2017,
    equations 8 to 12. The biased estimate from all pairs is used here; the authors' code takes unbiased ones, of
    consecutive pairs or of all but those of a sample with itself.
    """

    def __init__(
        self,
        *,
        weight: NonNegativeFloat,
        gamma: NonNegativeFloat,
        kernels: PositiveInt,
        output_width: PositiveFloat,
        adversarial: bool,
    ) -> None:
        super().__init__(weight=weight)
        self.gamma = gamma
        self.kernels = kernels
        self.output_width = output_width
        self.adversarial = adversarial

    def prepare(self, network: Network) -> None:
        """Build the adversarial layers, one for the features and one for the predictions; JAN has none."""
        super().prepare(network)
        widths = (network.width, network.classes)
        self.theta = nn.ModuleList(Adversary(width, width) if self.adversarial else nn.Identity() for width in widths)

    def alignment(self, source: Output, target: Output, batch: Batch) -> Tensor:
        """Return the joint MMD times its ramp."""
        layers = [
            [theta(layer) for theta, layer in zip(self.theta, (o.features, o.logits.float().softmax(1)), strict=True)]
            for o in (source, target)
        ]
        kernels, widths = (self.kernels, 1), (None, self.output_width)
        return ramp(batch.progress, self.gamma) * joint_mmd2(*layers, kernels=kernels, widths=widths)


class Adversary(nn.Linear):
    """A layer that ascends the loss while what lies below it descends: its gradient is reversed, then reversed back.

    It starts as the identity, so that JAN-A starts as JAN.
    """

    def reset_parameters(self) -> None:
        """Make it the identity."""
        nn.init.eye_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, d) to (n, d)."""
        return reverse_gradient(super().forward(reverse_gradient(x, 1.0)), 1.0)
