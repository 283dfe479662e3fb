import pytest
import torch
from torch import nn

from smat.errors import CheckpointError
from smat.flat import Layout, adopt


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.token = nn.Parameter(torch.randn(1, 3))
        self.first, self.second = nn.Linear(3, 5), nn.Linear(5, 5, bias=False)
        self.inner = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4))


NAMES = (
    "scale", "token", "first.weight", "first.bias", "second.weight",
    "inner.0.weight", "inner.0.bias", "inner.1.weight", "inner.1.bias",
)  # fmt: skip
SIZES = (1, 3, 15, 5, 25, 72, 4, 4, 4)


@pytest.fixture
def network() -> Network:
    torch.manual_seed(0)
    return Network()


def test_a_layout_has_the_modules_order_and_no_buffers(network: Network) -> None:
    layout = Layout.of(network)
    assert layout.names == NAMES
    assert layout.shapes[:4] == ((), (1, 3), (5, 3), (5,))
    assert layout.sizes == SIZES
    assert layout.size == sum(SIZES)
    stop = 0
    for name, size in zip(NAMES, SIZES, strict=True):
        assert layout.slices[name] == slice(stop, stop + size)
        stop += size


def test_shared_parameters_are_in_it_once(network: Network) -> None:
    network.again = network.first
    assert Layout.of(network).names == NAMES


def test_flattened_and_viewed_again_is_the_same(network: Network) -> None:
    layout = Layout.of(network)
    parameters = dict(network.named_parameters())
    vector = layout.flatten(parameters)
    assert vector.shape == (layout.size,)
    assert not vector.requires_grad
    views = layout.views(vector)
    assert tuple(views) == NAMES
    assert all(torch.equal(views[name], parameters[name]) for name in NAMES)
    assert torch.equal(layout.flatten(views), vector)
    assert torch.equal(layout.flatten(dict(reversed(views.items()))), vector)


def test_flattening_copies_and_views_do_not(network: Network) -> None:
    layout = Layout.of(network)
    vector = layout.flatten(dict(network.named_parameters()))
    views = layout.views(vector)
    vector[layout.slices["token"]] = 7
    views["first.bias"][2] = 9
    assert views["token"].tolist() == [[7.0] * 3]
    assert vector[layout.slices["first.bias"]].tolist()[2] == 9
    assert {view.untyped_storage().data_ptr() for view in views.values()} == {vector.untyped_storage().data_ptr()}
    assert not (network.token == 7).any()


def test_half_precision_is_flattened_to_float32() -> None:
    layout = Layout(("a",), ((2,),))
    vector = layout.flatten({"a": torch.tensor([0.1, 0.2], dtype=torch.bfloat16)})
    assert vector.dtype == torch.float32
    assert vector.tolist() == torch.tensor([0.1, 0.2], dtype=torch.bfloat16).tolist()


def test_the_gradient_of_the_views_is_one_concatenation(network: Network) -> None:
    layout = Layout.of(network)
    vector = layout.flatten(dict(network.named_parameters())).requires_grad_()
    views = layout.views(vector)
    nodes = {view.grad_fn.next_functions[0][0] for view in views.values() if view.grad_fn}
    assert len(nodes) == 1  # each view comes from the same split, whose backward is one cat
    slopes = torch.linspace(-1, 1, layout.size)
    pieces = layout.views(slopes)
    loss = torch.stack([(views[name].exp() * pieces[name]).sum() for name in NAMES if name != "token"]).sum()
    (gradient,) = torch.autograd.grad(loss, vector)
    expected = vector.detach().exp() * slopes
    expected[layout.slices["token"]] = 0  # not used: a gradient of nothing
    torch.testing.assert_close(gradient, expected)


def test_what_does_not_fit_is_named(network: Network) -> None:
    layout = Layout.of(network)
    good = {name: parameter.detach() for name, parameter in network.named_parameters()}
    with pytest.raises(CheckpointError, match=r"missing \['second.weight'\]"):
        layout.flatten({k: v for k, v in good.items() if k != "second.weight"})
    with pytest.raises(CheckpointError, match=r"unexpected \['third.weight'\]"):
        layout.flatten(good | {"third.weight": torch.zeros(2)})
    with pytest.raises(CheckpointError, match=r"wrong shape \['token: \(3,\) instead of \(1, 3\)'\]"):
        layout.flatten(good | {"token": torch.zeros(3)})
    renamed = {k.replace("first", "1st"): v for k, v in good.items()}
    with pytest.raises(CheckpointError) as error:
        layout.flatten(renamed | {"scale": torch.zeros(4)})
    for part in ("missing ['first.weight', 'first.bias']", "unexpected ['1st.weight', '1st.bias']", "scale: (4,)"):
        assert part in str(error.value)


def test_long_lists_of_what_does_not_fit_are_cut(network: Network) -> None:
    with pytest.raises(CheckpointError, match=r"'second.weight'\] and more"):
        Layout.of(network).flatten({})


def test_adopted_parameters_are_frozen_views(network: Network) -> None:
    layout = Layout.of(network)
    vector = layout.flatten(dict(network.named_parameters())) + 1
    adopt(network, vector, layout)
    assert Layout.of(network) == layout
    for name, parameter in network.named_parameters():
        assert isinstance(parameter, nn.Parameter)
        assert not parameter.requires_grad
        assert parameter.untyped_storage().data_ptr() == vector.untyped_storage().data_ptr()
        assert torch.equal(parameter.flatten(), vector[layout.slices[name]])
    vector.zero_()
    assert float(network.scale) == 0
    assert all((parameter == 0).all() for parameter in network.parameters())


def test_a_vector_with_a_gradient_is_adopted_without_its_graph(network: Network) -> None:
    layout = Layout.of(network)
    leaf = layout.flatten(dict(network.named_parameters())).requires_grad_()
    adopt(network, leaf * 2, layout)
    assert all(p.is_leaf and not p.requires_grad for p in network.parameters())
