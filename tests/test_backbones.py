"""The networks against what their papers draw, and what reaches them."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tda.backbones.base import Backbone, Bottleneck, Network, perceptron, resident, standardise
from tda.backbones.caffe_lenet import CaffeLeNet
from tda.backbones.ganin import LeNet, SVHNNet
from tda.backbones.given import Given
from tda.backbones.jdda_lenet import JDDALeNet
from tda.backbones.mcd_lenet import MCDLeNet
from tda.backbones.pixels import Pixels


def lenet(size: int = 32) -> LeNet:
    return LeNet(size=size, bottleneck=None, hidden=[100, 100], discriminator=[100])


def svhn(size: int = 32) -> SVHNNet:
    return SVHNNet(size=size, bottleneck=None, hidden=[3072, 2048], discriminator=[1024, 1024], dropout=0.0)


def images(n: int = 4, size: int = 32) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, size, size, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", [16, 28, 32, 33])
@pytest.mark.parametrize("make", [lenet, svhn])
def test_width_is_the_number_of_features(make: type[Backbone], size: int) -> None:
    backbone = make(size)  # type: ignore[call-arg]
    assert backbone(torch.from_numpy(images(size=size))).shape == (4, backbone.width)


def test_lenet_is_the_papers() -> None:
    """Figure 4 (a), with ReLU before pooling as it is drawn."""
    backbone = lenet()
    first, second = (layer for layer in backbone.convolutions if isinstance(layer, nn.Conv2d))
    x = torch.randn(2, 3, 32, 32)
    drawn = nn.Sequential(first, nn.ReLU(), nn.MaxPool2d(2), second, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
    torch.testing.assert_close(backbone.extract(x), drawn(x))
    assert (first.weight.shape, second.weight.shape) == ((32, 3, 5, 5), (48, 32, 5, 5))
    head = Network(backbone, classes=10).head
    assert [layer.out_features for layer in head if isinstance(layer, nn.Linear)] == [100, 100, 10]


def test_svhn_net_is_the_papers() -> None:
    backbone = svhn().eval()
    maps = [layer.out_channels for layer in backbone.convolutions if isinstance(layer, nn.Conv2d)]
    assert maps == [64, 64, 128]
    assert [layer.kernel_size for layer in backbone.convolutions if isinstance(layer, nn.MaxPool2d)] == [3, 3]


def test_images_of_floats_are_left_as_they_were() -> None:
    given = torch.from_numpy(images()).float()
    before = given.clone()
    standardise(given, torch.tensor([0.1, 0.2, 0.3]), 32)
    assert torch.equal(given, before)


def test_images_are_scaled_and_centred() -> None:
    x = standardise(torch.from_numpy(images()), torch.tensor([0.1, 0.2, 0.3]), 32)
    plain = images().astype(np.float32) / 255 - np.array([0.1, 0.2, 0.3], dtype=np.float32)
    np.testing.assert_allclose(x.numpy(), plain.transpose(0, 3, 1, 2), atol=1e-6)
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert standardise(torch.from_numpy(images(size=40)), torch.zeros(3), 32).shape == (4, 3, 32, 32)


def test_pixels_are_the_image_row_by_row() -> None:
    backbone = Pixels(size=32, bottleneck=None, hidden=[], discriminator=[])
    seen = backbone(torch.from_numpy(images())).numpy()
    np.testing.assert_allclose(seen, images().reshape(4, -1) / 255, atol=1e-6)
    assert seen.dtype == np.float32


def test_grey_images_get_three_equal_channels() -> None:
    grey = images()[..., 0]
    assert torch.equal(resident(grey, torch.device("cpu")), torch.from_numpy(np.stack([grey] * 3, -1)))


def test_given_features_are_themselves() -> None:
    x = np.random.default_rng(0).standard_normal((5, 7)).astype(np.float32)
    backbone = Pixels(size=32, bottleneck=3, hidden=[], discriminator=[4])
    given = Given.instead_of(backbone, 7)
    assert torch.equal(given(torch.from_numpy(x)), torch.from_numpy(x))
    assert Network(given, classes=2)(torch.from_numpy(x)).features.shape == (5, 3)


@pytest.mark.parametrize(
    ("bottleneck", "layers", "width"),
    [
        (None, [], 7),
        (3, [nn.Linear, nn.BatchNorm1d, nn.ReLU], 3),
        ([3, "norm", "relu"], [nn.Linear, nn.BatchNorm1d, nn.ReLU], 3),
        ([3, "norm"], [nn.Linear, nn.BatchNorm1d], 3),
        ([3, "relu"], [nn.Linear, nn.ReLU], 3),
        ([3], [nn.Linear], 3),
    ],
)
def test_a_bottleneck_is_made_of_what_follows_its_width(
    bottleneck: Bottleneck, layers: list[type[nn.Module]], width: int
) -> None:
    given = Given.instead_of(Pixels(size=32, bottleneck=bottleneck, hidden=[], discriminator=[4]), 7)
    network = Network(given, classes=2)
    assert [type(layer) for layer in network.bottleneck.children()] == layers
    assert network.width == network(torch.zeros(5, 7)).features.shape[1] == width


def test_a_domain_classifier_is_normalised_where_its_layers_say_so() -> None:
    backbone = Pixels(size=32, bottleneck=3, hidden=[], discriminator=[4])
    kinds = [type(layer) for layer in backbone.domain_classifier(3, [5, 6, "norm"])]
    assert kinds == [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear]
    assert [type(layer) for layer in backbone.domain_classifier(3)] == [nn.Linear, nn.ReLU, nn.Linear]
    assert backbone.domain_classifier(3, [5, 6, "norm"])(torch.zeros(2, 3)).shape == (2, 1)


def test_a_pretrained_backbone_learns_ten_times_slower() -> None:
    backbone = lenet()
    assert [group["lr"] for group in Network(backbone, classes=3).parameter_groups(0.1)] == [0.1, 0.1]
    backbone.pretrained = True
    assert [group["lr"] for group in Network(backbone, classes=3).parameter_groups(0.1)] == [0.01, 0.1]


def test_initial_weights_keep_the_variance_of_relu_networks() -> None:
    torch.manual_seed(0)
    first = perceptron(400, 300, 2)[0]
    assert isinstance(first, nn.Linear)
    assert first.weight.std().item() == pytest.approx(np.sqrt(2 / 400), rel=0.02)
    assert not first.bias.any()


def test_torchvision_imports_beside_any_build_of_torch() -> None:
    from tda.vision import torchvision

    assert torchvision.models.resnet18(weights=None).fc.out_features == 1000


@pytest.mark.parametrize("hidden", [None, [7]])
def test_the_lenet_of_mcd_is_its_layers_one_after_another(hidden: list[int] | None) -> None:
    torch.manual_seed(0)
    backbone = MCDLeNet(size=28, bottleneck=None, hidden=[6, 5], discriminator=[100], dropout=0.5)
    predictor = backbone.predictor(backbone.width, 3, hidden)
    x = torch.from_numpy(images(size=28))
    backbone(x)
    predictor(backbone(x))
    backbone.eval()
    predictor.eval()

    first, normalised, _, _, second, renormalised, *_ = backbone.layers
    seen = F.max_pool2d(F.relu(by_its_statistics(normalised, first(2 * (x.float() / 255).mean(3).unsqueeze(1)))), 2)
    seen = F.max_pool2d(F.relu(by_its_statistics(renormalised, second(seen))), 2).flatten(1)
    assert seen.shape[1] == backbone.width == 48 * 4 * 4
    torch.testing.assert_close(backbone(x), seen)

    *inner, last = (layer for layer in predictor if isinstance(layer, nn.Linear))
    norms = [layer for layer in predictor if isinstance(layer, nn.BatchNorm1d)]
    assert [layer.out_features for layer in inner] == (hidden or [6, 5])
    for layer, norm in zip(inner, norms, strict=True):
        seen = F.relu(by_its_statistics(norm, layer(seen)))
    torch.testing.assert_close(predictor(backbone(x)), last(seen))
    assert [layer.p for layer in predictor if isinstance(layer, nn.Dropout)] == [0.5] * (len(inner) + 1)
    assert isinstance(predictor[0], nn.Dropout)


def by_its_statistics(norm: nn.Module, x: Tensor) -> Tensor:
    """Batch normalisation in use: (x - mean) / sqrt(variance + eps) of each channel, its scale and shift being 1 and 0."""
    assert isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.num_batches_tracked > 0
    shape = (1, -1) + (1,) * (x.ndim - 2)
    return (x - norm.running_mean.view(shape)) / (norm.running_var.view(shape) + norm.eps).sqrt()


def test_the_lenet_of_caffe_is_its_layers_one_after_another() -> None:
    backbone = CaffeLeNet(size=28, bottleneck=None, hidden=[], discriminator=[500, 500], dropout=0.5).eval()
    x = torch.from_numpy(images(size=28))
    first, second = backbone.layers[0], backbone.layers[3]
    full = backbone.layers[8]
    grey = 2 * (x.float() / 255).mean(3).unsqueeze(1)
    seen = F.relu(F.max_pool2d(first(grey), 2))
    seen = F.relu(F.max_pool2d(second(seen), 2))
    assert seen.shape[1:] == (50, 4, 4)
    torch.testing.assert_close(backbone(x), F.relu(full(seen.flatten(1))))
    assert backbone.width == 500
    backbone.train()
    dropped = backbone(x) == 0
    assert dropped.float().mean() > (backbone.eval()(x) == 0).float().mean() + 0.1


def test_the_lenet_of_jdda_is_its_layers_one_after_another() -> None:
    torch.manual_seed(0)
    backbone = JDDALeNet(size=32, bottleneck=None, hidden=[], discriminator=[100], dropout=0.5).eval()
    x = torch.from_numpy(images(size=32))
    first, second, third, last = (layer for layer in backbone.layers if isinstance(layer, nn.Conv2d | nn.Linear))
    assert [tuple(layer.weight.shape) for layer in (first, second, third, last)] == [
        (64, 1, 5, 5), (128, 64, 5, 5), (1024, 3200), (64, 1024)
    ]  # fmt: skip
    seen = F.max_pool2d(F.relu(first(2 * (x.float() / 255).mean(3).unsqueeze(1))), 2)
    seen = F.max_pool2d(F.relu(second(seen)), 2)
    torch.testing.assert_close(backbone(x), F.relu(last(F.relu(third(seen.flatten(1))))))
    assert backbone(x).shape[1] == backbone.width == 64
    for layer in (first, second, third, last):
        assert layer.bias is not None
        assert not layer.bias.any()
        side = layer.weight[0, 0].numel()
        reach = side * (layer.weight.shape[0] + layer.weight.shape[1])
        assert layer.weight.abs().max().item() == pytest.approx((6 / reach) ** 0.5, rel=0.01)

    units: list[Tensor] = []
    last.register_forward_hook(lambda layer, given, made: units.append(given[0]))
    backbone(x)
    backbone.train()(x)
    whole, dropped = units
    assert (dropped[whole > 0] == 0).float().mean().item() == pytest.approx(0.5, abs=0.05)
    torch.testing.assert_close(dropped[dropped > 0], 2 * whole[dropped > 0])
