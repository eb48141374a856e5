"""Batch spectral penalisation, an option of the adversarial methods."""

import torch
from torch import Tensor


def spectral_penalty(features: Tensor, k: int = 1) -> Tensor:
    r"""Return :math:`\sum_{i=1}^k \sigma_i^2`, the sum of the `k` largest squared singular values of a batch.

    Adversarial alignment strengthens the few directions that transfer best, at the cost of those that tell classes
    apart; penalising the leading singular values of each domain's features gives the others more weight.

    Parameters
    ----------
    features : Tensor
        Of shape (b, d), of one domain.
    k : int
        How many singular values; the paper takes 1.

    References
    ----------
    X. Chen, S. Wang, M. Long, J. Wang. Transferability vs. discriminability: batch spectral penalization for
    adversarial domain adaptation. ICML 2019, equation 7.

    Examples
    --------
    >>> spectral_penalty(torch.diag(torch.tensor([3.0, 2.0, 1.0])), k=2)
    tensor(13.)
    """
    leading: Tensor = torch.linalg.svdvals(features.float())[:k]
    return leading.square().sum()
