"""torchvision, imported so that it also works with a build of torch that its compiled operators were not made for.

With a CPU build of torch beside torchvision's CUDA wheel the operators do not load, and ``import torchvision`` fails
with ``operator torchvision::nms does not exist``. Nothing here needs them, but torchvision registers a fake for each
while it is imported; declaring their schemas first lets it. Everything that wants torchvision imports it from here.
"""

import importlib
from types import ModuleType

import torch

SCHEMAS = {name: f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor" for name in ("nms", "qnms")}


def import_torchvision() -> tuple[ModuleType, torch.library.Library | None]:
    """Import torchvision, declaring the operators that its import asks for where they are missing.

    Returns
    -------
    tuple
        The module, and the library that must live as long as the declarations; None if none was needed.
    """
    try:
        return importlib.import_module("torchvision"), None
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name, schema in SCHEMAS.items():
        if not hasattr(torch.ops.torchvision, name):
            library.define(schema)
    return importlib.import_module("torchvision"), library


torchvision, _declared = import_torchvision()
