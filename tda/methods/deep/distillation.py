"""Knowledge distillation: a teacher learns the source, a student what the teacher says of the target."""

from collections.abc import Iterator
from copy import deepcopy

import torch
import torch.nn.functional as F
from pydantic import PositiveFloat
from torch import Tensor

from tda.backbones.base import Network
from tda.divergences.batch import in_float32
from tda.methods.deep.base import Batch, DeepMethod, Objective
from tda.ranges import PositiveBelowOne, Share


class Distillation(DeepMethod):
    r"""Distillation on the target's samples, in two phases.

    1. The network learns the source by cross-entropy.
    2. It becomes the teacher :math:`v`, fixed and in evaluation mode. A student :math:`z`, which starts where the
       teacher once started, minimises

    .. math:: (1 - \alpha) \frac1b \sum_i -\log p_z(y_i \mid x_i^s)
              + \alpha T^2 \frac1b \sum_j -\sum_c \sigma_c(v(x_j^t) / T) \log \sigma_c(z(x_j^t) / T),
              \quad \sigma = \mathrm{softmax}.

    The gradient of soft targets falls with :math:`1/T^2`, hence the factor. Teacher and student are of one size: what
    is gained is the fit to the target's distribution, not a smaller network. The student goes on with the optimiser as
    the teacher leaves it: its first steps have some of the teacher's momentum, and the learning rate is annealed once.

    Parameters
    ----------
    weight : float
        :math:`\alpha`.
    temperature : float
        T.
    share : float
        Part of all steps that train the teacher.

    References
    ----------
    G. Hinton, O. Vinyals, J. Dean. Distilling the knowledge in a neural network. NIPS deep learning workshop 2014,
    section 2. T. Asami et al. Domain adaptation of DNN acoustic models using knowledge distillation. ICASSP 2017.
    """

    def __init__(
        self,
        *,
        weight: Share,
        temperature: PositiveFloat,
        share: PositiveBelowOne,
    ) -> None:
        super().__init__(weight=weight)
        self.temperature = temperature
        self.share = share

    def prepare(self, network: Network) -> None:
        """Keep the network's first weights, which the student starts from."""
        super().prepare(network)
        self.teacher = deepcopy(network).requires_grad_(False)

    def begin(self, xs: Tensor, ys: Tensor, xt: Tensor) -> None:
        """Start with the teacher's phase."""
        self.taught = False

    def objectives(self, batch: Batch) -> Iterator[Objective]:
        """Yield the source's cross-entropy first, the student's losses later."""
        if batch.progress < self.share:
            yield Objective(F.cross_entropy(self.network(batch.xs).logits, batch.ys), (self.network,))
            return
        if not self.taught:
            self._swap()
        source, target = self.pair(batch)
        self.teacher.eval()
        with torch.no_grad():
            teacher = self.teacher(batch.xt).logits
        terms = {
            "classification": F.cross_entropy(source.logits, batch.ys),
            "distillation": soft_cross_entropy(target.logits, teacher, self.temperature),
        }
        loss = (1 - self.weight) * terms["classification"] + self.weight * terms["distillation"]
        yield Objective(loss, (self.network,), terms)

    def _swap(self) -> None:
        """Let the trained network be the teacher, and the student have the first weights."""
        first = deepcopy(self.teacher.state_dict())
        self.teacher.load_state_dict(self.network.state_dict())
        self.network.load_state_dict(first)
        self.taught = True


@in_float32
def soft_cross_entropy(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return T^2 times the mean cross-entropy of logits (n, classes) with soft targets, both divided by T."""
    soft = (teacher / temperature).softmax(1)
    return temperature**2 * F.cross_entropy(student / temperature, soft)
