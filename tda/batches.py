"""Which samples are in each batch, and those samples in one tensor."""

from collections.abc import Iterator
from itertools import islice

import torch
from torch import Tensor


def gathered(*drawn: tuple[Tensor, Tensor]) -> Tensor:
    """Return these rows of each of several tensors, one after the other, copied once."""
    first = drawn[0][0]
    sizes = [len(index) for _, index in drawn]
    x = first.new_empty(sum(sizes), *first.shape[1:])
    for part, (samples, index) in zip(x.split(sizes), drawn, strict=True):
        torch.index_select(samples, 0, index, out=part)
    return x


def indices(samples: int, batch: int, seed: int) -> Iterator[Tensor]:
    """Yield `batch` indices at a time, without end, from one random order of all samples after another."""
    generator = torch.Generator().manual_seed(seed)
    left = torch.empty(0, dtype=torch.int64)
    while True:
        rounds = -(-(batch - len(left)) // samples)
        pool = torch.cat([left, *(torch.randperm(samples, generator=generator) for _ in range(rounds))])
        whole = len(pool) - len(pool) % batch
        yield from pool[:whole].split(batch)
        left = pool[whole:]


def balanced(classes: Tensor, batch: int, seed: int) -> Iterator[Tensor]:
    """Yield `batch` indices at a time, without end, of equally many samples of each class, or of as many classes.

    The classes take turns in a random order, drawn anew each round, and each gives its samples in one random order
    after another.
    """
    generator = torch.Generator().manual_seed(seed)
    members = [torch.nonzero(classes.cpu() == c).squeeze(1).tolist() for c in classes.unique().tolist()]
    streams = [orders(len(own), seed + 1 + c) for c, own in enumerate(members)]
    turns = orders(len(members), int(torch.randint(2**31, (), generator=generator)))
    while True:
        yield torch.tensor([members[c][next(streams[c])] for c in islice(turns, batch)])


def orders(samples: int, seed: int) -> Iterator[int]:
    """Yield one index at a time, without end, from one random order of all samples after another."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield from torch.randperm(samples, generator=generator).tolist()
