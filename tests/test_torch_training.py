"""Training the layer for PyTorch: nn.Linear with everything active, finite differences, what is refused."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install 'sklearn-slide[torch]'")

from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402
from torch_helpers import KINDS, N_IN, N_OUT, dense_loss, make_batch, make_layer  # noqa: E402

from sklearn_slide import LSH  # noqa: E402
from sklearn_slide._core.sampled import ActiveRows  # noqa: E402
from sklearn_slide._torch_functions import Call, score  # noqa: E402
from sklearn_slide.torch import SlideLinear, SlideOutput, slide_loss  # noqa: E402


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


# --- scores, losses and gradients


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sparse", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_everything_active_is_linear(kind, sparse, bias):
    layer = SlideLinear(N_IN, N_OUT, bias, n_active=None, sparse=sparse)
    linear = nn.Linear(N_IN, N_OUT, bias)
    linear.load_state_dict(layer.state_dict())
    x, _, bags, dense = make_batch()
    one, two = x.clone().requires_grad_(), x.clone().requires_grad_()
    loss, expected = slide_loss(layer(one, bags), kind), dense_loss(linear(two), dense, kind).mean()
    torch.testing.assert_close(loss, expected, atol=2e-6, rtol=2e-6)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(one.grad, two.grad, atol=2e-6, rtol=0)
    assert layer.weight.grad.is_sparse == sparse
    for parameter, other in zip(layer.parameters(), linear.parameters(), strict=True):
        gradient = parameter.grad.to_dense() if sparse else parameter.grad
        torch.testing.assert_close(gradient, other.grad, atol=2e-6, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_loss_of_active_labels_is_that_of_their_columns(kind):
    layer, (x, _, bags, dense) = make_layer(), make_batch()
    x.requires_grad_()
    output = layer(x, bags)
    slide_loss(output, kind, "sum").backward()
    clone = x.detach().clone().requires_grad_()
    weight = layer.weight.detach().clone().requires_grad_()
    expected = 0
    for i, labels in enumerate(output.labels):
        kept = labels[labels >= 0]
        logits = F.linear(clone[i : i + 1], weight[kept], layer.bias[kept].detach())
        expected = expected + dense_loss(logits, dense[i : i + 1, kept], kind).sum()
    expected.backward()
    torch.testing.assert_close(slide_loss(output, kind, "sum"), expected, atol=2e-6, rtol=2e-6)
    torch.testing.assert_close(x.grad, clone.grad, atol=2e-6, rtol=0)
    torch.testing.assert_close(layer.weight.grad.to_dense(), weight.grad, atol=2e-6, rtol=0)


def test_gradients_in_float64():
    layer = make_layer(dtype=torch.float64, sparse=False)
    x, _, bags, _ = make_batch(3)
    labels = layer(x.double(), bags).labels
    labels[1, -5:] = -1
    x = x.double().requires_grad_()
    weight, bias = (p.detach().clone().requires_grad_() for p in (layer.weight, layer.bias))

    def scores(x, weight, bias):
        layer.weight.data.copy_(weight.detach())
        layer.bias.data.copy_(bias.detach())
        batch = ActiveRows(x.detach().numpy(), labels.numpy())
        return score(x, weight, bias, Call(batch, layer._as_arrays(), layer)).masked_fill(labels < 0, 0.0)

    assert torch.autograd.gradcheck(scores, (x, weight, bias), fast_mode=True)
    assert torch.autograd.gradcheck(lambda x: scores(x, weight.detach(), bias.detach()), (x,))


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_the_loss_in_float64(kind):
    labels = torch.tensor([[4, 2, 9, -1], [1, 0, 5, 7]])
    logits = torch.randn(2, 4, dtype=torch.float64) * 3
    logits[0, 3] = -torch.inf
    n_true, seen = torch.tensor([1, 2]), labels >= 0

    def loss(values):
        full = torch.full((2, 4), -torch.inf, dtype=torch.float64).masked_scatter(seen, values)
        return slide_loss(SlideOutput(full, labels, n_true), kind, "none")

    assert torch.autograd.gradcheck(loss, (logits[seen].requires_grad_(),))


def test_loss_by_hand():
    output = SlideOutput(
        torch.tensor([[0.0, 0.0], [1.0, -np.inf]]), torch.tensor([[3, 1], [2, -1]]), torch.tensor([1, 0])
    )
    by_hand = torch.tensor([2 * np.log(2), np.log(1 + np.e)], dtype=torch.float32)
    torch.testing.assert_close(slide_loss(output, reduction="none"), by_hand)
    torch.testing.assert_close(slide_loss(output, reduction="sum"), by_hand.sum())
    torch.testing.assert_close(slide_loss(output), by_hand.mean())
    one = SlideOutput(*(part[:1] for part in output))
    torch.testing.assert_close(slide_loss(one, "softmax"), torch.tensor(np.log(2), dtype=torch.float32))
    torch.testing.assert_close(
        slide_loss(one, "sigmoid+softmax"), torch.tensor(1.5 * np.log(2), dtype=torch.float32)
    )
    # the row without a true label has no part of softmax
    torch.testing.assert_close(slide_loss(output, "sigmoid+softmax", "none")[1], by_hand[1] / 2)


def test_floor_drops_small_residuals():
    logits = torch.tensor([[8.0, -8.0, 0.0]], requires_grad=True)
    slide_loss(SlideOutput(logits, torch.tensor([[0, 1, 2]]), torch.tensor([1])), floor=1e-3).backward()
    assert logits.grad.tolist() == [[0.0, 0.0, 0.5]]


def test_extreme_logits_stay_finite():
    for kind in KINDS:
        logits = torch.tensor([[-1e4, 1e4, 80.0, -np.inf]], requires_grad=True)
        output = SlideOutput(logits, torch.tensor([[0, 1, 2, -1]]), torch.tensor([1]))
        loss = slide_loss(output, kind)
        loss.backward()
        assert torch.isfinite(loss)
        assert torch.isfinite(logits.grad).all()
        assert logits.grad[0, 3] == 0


def test_any_loss_of_the_logits_will_do():
    layer, y = make_layer(), torch.tensor([3, 4, 5])
    x = torch.randn(3, N_IN, requires_grad=True)
    output = layer(x, y)
    loss = F.cross_entropy(output.logits, torch.zeros(3, dtype=torch.int64))
    torch.testing.assert_close(loss, slide_loss(output, "softmax"))
    loss.backward()
    assert torch.isfinite(x.grad).all()


def test_gradients_reach_active_rows_alone():
    layer, (x, _, bags, _) = make_layer(), make_batch()
    output = layer(x, bags)
    slide_loss(output).backward()
    gradient = layer.weight.grad
    touched = gradient._indices()[0]
    assert len(touched) == len(set(touched.tolist()))
    assert set(touched.tolist()) == set(output.labels[output.labels >= 0].tolist())
    assert torch.equal(gradient.coalesce().to_dense(), gradient.to_dense())


def test_gradients_accumulate():
    layer, (x, _, bags, _) = make_layer(sparse=False), make_batch()
    output = layer(x, bags)
    slide_loss(output).backward(retain_graph=True)
    once = layer.weight.grad.clone()
    slide_loss(output).backward()
    torch.testing.assert_close(layer.weight.grad, 2 * once)


def test_only_what_needs_a_gradient_gets_one():
    layer, (x, _, bags, _) = make_layer(), make_batch()
    layer.weight.requires_grad_(False)
    layer.bias.requires_grad_(False)
    assert not layer(x, bags).logits.requires_grad
    slide_loss(layer(x.requires_grad_(), bags)).backward()
    assert layer.weight.grad is None
    assert x.grad.abs().sum() > 0
    with torch.no_grad():
        assert not layer(x, bags).logits.requires_grad


@pytest.mark.parametrize(
    ("sparse", "optimizer"),
    [
        (True, lambda p: torch.optim.SGD(p, lr=1.0)),
        (True, lambda p: torch.optim.Adagrad(p, lr=0.3)),
        (True, lambda p: torch.optim.SparseAdam(p, lr=0.1)),
        (False, lambda p: torch.optim.AdamW(p, lr=0.05)),
    ],
)
def test_optimizers_of_torch_learn(sparse, optimizer):
    layer = make_layer(sparse=sparse)
    x, y = torch.randn(20, N_IN), torch.randperm(N_OUT)[:20]
    optimizer = optimizer(layer.parameters())
    for _ in range(40):
        optimizer.zero_grad()
        slide_loss(layer(x, y), reduction="sum").backward()
        optimizer.step()
    assert (layer.predict(x) == y).all()


def test_no_rows():
    layer = make_layer()
    x, none = torch.zeros(0, N_IN), torch.zeros(0, dtype=torch.int64)
    output = layer(x, none)
    assert output.logits.shape[0] == output.labels.shape[0] == output.n_true.shape[0] == 0
    slide_loss(output, reduction="sum").backward()
    assert layer.top_k(x, 3).indices.shape == (0, 3)


def test_what_backward_needs_must_not_change_before():
    for change in ("input", "weight"):
        layer, y = make_layer(), torch.arange(3)
        x = torch.randn(3, N_IN)
        loss = slide_loss(layer(x, y))
        with torch.no_grad():
            (x if change == "input" else layer.weight).mul_(2)
        with pytest.raises(RuntimeError, match="inplace operation"):
            loss.backward()


def test_second_derivatives_are_refused():
    layer, (x, _, bags, _) = make_layer(), make_batch()
    with pytest.raises(RuntimeError, match="second derivatives"):
        slide_loss(layer(x, bags)).backward(create_graph=True)


# --- the fused optimizer


def test_fused_step_is_row_wise_adagrad():
    layer = make_layer().fuse_optimizer(0.1)
    x, _, bags, dense = make_batch()
    weight, bias = (p.detach().double().numpy().copy() for p in (layer.weight, layer.bias))
    sums, bias_sums = np.full(N_OUT, 0.5), np.full(N_OUT, 0.5)
    x.requires_grad_()
    output = layer(x, bags)
    slide_loss(output, reduction="sum").backward()
    assert layer.weight.grad is None
    h, r = x.detach().double().numpy(), np.zeros((len(x), N_OUT))
    for i, labels in enumerate(output.labels):
        kept = labels[labels >= 0].numpy()
        z = output.logits[i, : len(kept)].detach().double().numpy()
        r[i, kept] = 1 / (1 + np.exp(-z)) - dense[i, kept].numpy()
    np.testing.assert_allclose(x.grad, r @ weight, atol=2e-6)
    gradient, of_bias = r.T @ h, r.sum(0)
    sums += np.mean(gradient**2, axis=1)
    bias_sums += of_bias**2
    weight -= 0.1 * gradient / np.sqrt(sums)[:, None]
    bias -= 0.1 * of_bias / np.sqrt(bias_sums)
    np.testing.assert_allclose(layer.weight.detach(), weight, atol=2e-6)
    np.testing.assert_allclose(layer.bias.detach(), bias, atol=2e-6)
    np.testing.assert_allclose(layer.weight_sums, sums, rtol=1e-5)


def test_fused_layer_without_bias_has_none():
    layer = make_layer(bias=False).fuse_optimizer(0.1)
    x, _, bags, _ = make_batch()
    slide_loss(layer(x, bags), reduction="sum").backward()
    assert layer.bias is None
    assert (layer.no_bias == 0).all()
    torch.testing.assert_close(layer.top_k(x, 3).values, torch.topk(F.linear(x, layer.weight), 3).values)


def test_fused_learns_and_refuses_a_second_backward():
    layer = make_layer().fuse_optimizer(lr=0.3)
    x, y = torch.randn(20, N_IN), torch.randperm(N_OUT)[:20]
    for step in range(60):
        layer.set_learning_rate(0.3 * (1 - step / 60))
        loss = slide_loss(layer(x, y), reduction="sum")
        loss.backward(retain_graph=True)
    assert (layer.predict(x) == y).all()
    with pytest.raises(RuntimeError, match=r"second backward.*Call forward anew"):
        loss.backward()


def test_fused_leaves_frozen_weights_alone():
    layer = make_layer().fuse_optimizer(lr=0.3)
    layer.weight.requires_grad_(False)
    with pytest.raises(ValueError, match="both or for none"):
        layer(torch.randn(3, N_IN), torch.arange(3))
    layer.bias.requires_grad_(False)
    before = layer.weight.clone()
    x = torch.randn(3, N_IN, requires_grad=True)
    slide_loss(layer(x, torch.arange(3))).backward()
    assert torch.equal(layer.weight, before)
    assert x.grad.abs().sum() > 0


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_fused_step_that_is_not_finite_leaves_the_weights(value):
    layer = make_layer().fuse_optimizer(lr=0.3)
    before = layer.weight.clone()
    x = torch.randn(3, N_IN)
    x[:, 2] = value
    with pytest.raises(FloatingPointError, match="3 of 3 rows"):
        slide_loss(layer(x, torch.arange(3))).backward()
    assert torch.equal(layer.weight, before)


def test_fusing_again_keeps_the_sums():
    layer = make_layer().fuse_optimizer(lr=0.3)
    slide_loss(layer(torch.randn(3, N_IN), torch.arange(3))).backward()
    sums = layer.weight_sums.clone()
    assert torch.equal(layer.fuse_optimizer(lr=0.1).weight_sums, sums)
    assert layer.learning_rate == 0.1


# --- what is refused


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ((0, 5), "in_features"),
        ((5, 2.5), "out_features"),
        ((5, 5, True, {"n_active": 0}), "n_active"),
        ((5, 5, True, {"n_active": "all"}), "n_active"),
        ((5, 5, True, {"negatives": {"cooccurrence": 0.5}}), "cooccurrence.*another source"),
        ((5, 5, True, {"negatives": "lsh"}), "negatives"),
        ((5, 5, True, {"negatives": {"lsh": 2.0}}), "negatives"),
        ((5, 5, True, {"device": "cuda"}), "device.*'cpu'"),
        ((5, 5, True, {"dtype": torch.float16}), "dtype"),
        ((5, 5, True, {"lsh": LSH(n_tables=0)}), "n_tables"),
    ],
)
def test_wrong_parameters(arguments, match):
    *sizes, params = arguments if len(arguments) == 4 else (*arguments, {})
    with pytest.raises(ValueError, match=match):
        SlideLinear(*sizes, **params)


TWO = torch.zeros(2, dtype=torch.int64)


@pytest.mark.parametrize(
    ("target", "error", "match"),
    [
        (torch.tensor([1, N_OUT]), ValueError, "label 300 in row 1.*0 to 299"),
        (torch.tensor([-100, 1]), ValueError, "label -100 in row 0.*Leave rows"),
        ((torch.tensor([1, -1]), TWO), ValueError, "label -1 in row 1"),
        (torch.zeros(3, dtype=torch.int64), ValueError, "each of the 2 rows"),
        (torch.zeros(2), TypeError, "int64.*long"),
        (torch.zeros(2, N_OUT), ValueError, "to_sparse_csr"),
        (torch.zeros(2, N_OUT).to_sparse(), ValueError, "to_sparse_csr"),
        (torch.zeros(3, N_OUT).to_sparse_csr(), ValueError, r"shape \(N, out_features\)"),
        ((torch.tensor([1]), torch.tensor([0, 1, 1, 1])), ValueError, "2 offsets"),
        ((torch.tensor([1]), torch.tensor([0, 2])), ValueError, "never fall"),
        ((torch.tensor([1]), torch.tensor([1, 0])), ValueError, "begin with 0"),
        ((torch.tensor([1.0]), TWO), TypeError, "indices must hold labels"),
        ((TWO, [0, 1]), TypeError, "offsets must hold"),
        ([[1], [2, 3], [4]], TypeError, "EmbeddingBag"),
        ("labels", TypeError, "EmbeddingBag"),
    ],
)
def test_wrong_targets(target, error, match):
    with pytest.raises(error, match=match):
        make_layer()(torch.randn(2, N_IN), target)


@pytest.mark.parametrize(
    ("x", "error", "match"),
    [
        (torch.randn(2, 3, N_IN), ValueError, "flatten"),
        (torch.randn(N_IN), ValueError, "shape"),
        (torch.randn(2, N_IN + 1), ValueError, "in_features=12"),
        (torch.randn(2, N_IN).double(), ValueError, "float32.*input.to"),
        (torch.randn(2, N_IN).bfloat16(), ValueError, "autocast"),
        (torch.randn(2, N_IN).to_sparse(), ValueError, "to_dense"),
        (torch.randn(2, N_IN, device="meta"), ValueError, "device meta.*cpu"),
        (np.zeros((2, N_IN), dtype=np.float32), TypeError, "as_tensor"),
    ],
)
def test_wrong_input(x, error, match):
    with pytest.raises(error, match=match):
        make_layer()(x, TWO)


def test_wrong_weights():
    with pytest.raises(ValueError, match=r"layer.float\(\)"):
        make_layer().half()(torch.randn(2, N_IN).half(), TWO)
    with pytest.raises(ValueError, match="float32"):
        make_layer().fuse_optimizer(0.1).double()(torch.randn(2, N_IN).double(), TWO)
    layer = make_layer()
    layer.weight.data = layer.weight.data.T.contiguous().T
    with pytest.raises(ValueError, match="contiguous"):
        layer(torch.randn(2, N_IN), TWO)
    layer = make_layer()
    layer.bias.data = layer.bias.data.repeat_interleave(2)[::2]
    with pytest.raises(ValueError, match="contiguous"):
        layer(torch.randn(2, N_IN), TWO)
    layer = make_layer()
    layer.weight.data.fill_(np.nan)
    with pytest.raises(ValueError, match="not finite"):
        layer.top_k(torch.randn(2, N_IN), 3)


def test_wrong_calls():
    layer = make_layer()
    output = layer(torch.randn(2, N_IN), (TWO[:1], torch.tensor([0, 1])))
    with pytest.raises(ValueError, match="kind"):
        slide_loss(output, "hinge")
    with pytest.raises(ValueError, match="reduction"):
        slide_loss(output, reduction="max")
    with pytest.raises(TypeError, match="SlideOutput"):
        slide_loss(output.logits)
    with pytest.raises(ValueError, match=r"Row 1 has no true label.*sigmoid"):
        slide_loss(output, "softmax")
    with pytest.raises(ValueError, match=r"no rows.*'sum'"):
        slide_loss(layer(torch.zeros(0, N_IN), TWO[:0]))
    for k in (0, N_OUT + 1, 2.5):
        with pytest.raises(ValueError, match="k must be"):
            layer.top_k(torch.randn(2, N_IN), k)
    with pytest.raises(RuntimeError, match="fuse_optimizer"):
        layer.set_learning_rate(0.1)
    for lr in (0, -1, np.nan, "0.1"):
        with pytest.raises(ValueError, match="lr must be"):
            layer.fuse_optimizer(lr)


def test_refused_target_changes_nothing():
    layer = make_layer()
    layer(torch.randn(2, N_IN), TWO)
    counters = layer.active.counters.clone()
    with pytest.raises(ValueError, match="label 300"):
        layer(torch.randn(2, N_IN), TWO + N_OUT)
    assert torch.equal(layer.active.counters, counters)
    assert layer(torch.randn(2, N_IN), TWO).labels.max() < N_OUT
