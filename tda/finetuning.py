"""A task as a backbone shows it that was trained on the source first: fine-tune, extract, then classify."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file
from sklearn.preprocessing import normalize

from tda.backbones.features import extracted
from tda.backbones.weights import fingerprint
from tda.cache import built, digest, reading
from tda.errors import UsageError
from tda.learner import Learner
from tda.task import Task
from tda.trainer import DivergenceError

NOT_TRAINED = frozenset(("name", "discriminator", "unit_rows", "frozen", "augment", "cache"))


def finetuned(task: Task, learner: Callable[[], Learner], made_of: Mapping[str, Any], cache: Path) -> Task:
    """Return a task whose samples are the features (n, width), float32, of a backbone trained on its source.

    The fourth of the textbook's usages of a pretrained network (section 8.5). The learner is given the target's samples
    as every deep method is, for the mean of the images; its head and bottleneck are left behind.

    Parameters
    ----------
    task : Task
        Of images (n, h, w[, 3]).
    learner : callable returning a Learner
        Builds what trains the backbone.
    made_of : mapping
        The backbone's configuration and the trainer's, as ``backbone`` and ``trainer``; with the backbone's
        ``unit_rows`` true, features are scaled to 2-norm 1.
    cache : Path
        Folder whose ``features`` subfolder keeps them, where the task's domains can be told from others.

    Raises
    ------
    UsageError
        If the samples are features already, or the backbone has nothing to train.
    DivergenceError
        If its training diverges.

    References
    ----------
    J. Wang, Y. Chen, H. Yu, M. Huang, Q. Yang. Easy transfer learning by exploiting intra-domain structures. ICME 2019.
    """
    if task.source.x.ndim == 2:
        raise UsageError(f"extractor=finetuned: {task.dataset} has features, no images to train a backbone on")
    domains = {"source": task.source, "target": task.target, "test": task.test}
    if task.transductive:
        del domains["test"]

    def tuned() -> dict[str, np.ndarray]:
        trained = learner()
        if next(trained.backbone().parameters(), None) is None:
            name = made_of["backbone"]["name"]
            raise UsageError(
                f"extractor=finetuned: backbone {name} has no weights to train; name one that has, resnet50"
            )
        try:
            trained.fit(task.source.x, task.source.y, task.target.x)
        except DivergenceError as problem:
            raise DivergenceError(f"extractor=finetuned, training on {task.source.name}: {problem}") from problem
        backbone = trained.method_.network.backbone
        with trained.untranslated():
            return {name: extracted(domain, backbone, trained.device) for name, domain in domains.items()}

    node = made_of["backbone"]
    if all(domain.fingerprint for domain in domains.values()):
        network = {key: value for key, value in node.items() if key not in NOT_TRAINED}
        network |= {"weights": fingerprint(node["weights"])} if node.get("weights", "none") != "none" else {}
        depends = {
            "backbone": network,
            "trainer": made_of["trainer"],
            "domains": [d.fingerprint for d in domains.values()],
        }
        name = f"{node['name']}-{task.name}-{digest(depends)}.safetensors"
        kept = built(cache / "features" / name, lambda path: save_file(tuned(), path))
        with reading(kept):
            x = load_file(kept)
    else:
        x = tuned()
    if node.get("unit_rows"):
        x = {name: normalize(features, copy=False) for name, features in x.items()}
    seen = {name: replace(domain, x=x[name]) for name, domain in domains.items()}
    return replace(task, source=seen["source"], target=seen["target"], test=seen.get("test", seen["target"]))
