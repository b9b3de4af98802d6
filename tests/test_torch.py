"""The layer of PyTorch: against nn.Linear with everything active, and by itself."""

import copy
import io
import pickle

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install 'sklearn-slide[torch]'")

from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from sklearn_slide import LSH, SlideClassifier  # noqa: E402
from sklearn_slide._core.sampled import ActiveRows  # noqa: E402
from sklearn_slide._torch_functions import score  # noqa: E402
from sklearn_slide.torch import SlideLinear, SlideOutput, slide_loss  # noqa: E402

N_IN, N_OUT = 12, 300
KINDS = ["sigmoid", "softmax", "sigmoid+softmax"]


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def make_layer(n_out=N_OUT, n_active=40, **params):
    """Return a small layer that takes labels from tables."""
    return SlideLinear(N_IN, n_out, n_active=n_active, **{"random_state": 0, "lsh": LSH(n_tables=6)} | params)


def make_batch(n_rows=7, n_out=N_OUT, most=4):
    """Return inputs, and targets in all forms: lists, (indices, offsets), CSR and a dense indicator."""
    rng = np.random.default_rng(1)
    lists = [
        sorted(rng.choice(n_out, rng.integers(1, most + 1), replace=False).tolist()) for _ in range(n_rows)
    ]
    dense = torch.zeros(n_rows, n_out)
    for i, labels in enumerate(lists):
        dense[i, labels] = 1
    indices = torch.tensor([y for labels in lists for y in labels])
    offsets = torch.tensor([0, *np.cumsum([len(labels) for labels in lists])])
    return torch.randn(n_rows, N_IN), lists, (indices, offsets), dense


def dense_loss(logits, dense, kind):
    """Compute the loss of each row from the scores of all labels."""
    sigmoid = F.binary_cross_entropy_with_logits(logits, dense, reduction="none").sum(1)
    softmax = F.cross_entropy(logits, dense / dense.sum(1, keepdim=True), reduction="none")
    return {"sigmoid": sigmoid, "softmax": softmax, "sigmoid+softmax": (sigmoid + softmax) / 2}[kind]


# --- what is active


def test_active_labels_are_true_ones_first_and_distinct():
    layer, (x, lists, bags, _) = make_layer(), make_batch()
    output = layer(x, bags)
    assert isinstance(output, SlideOutput)
    assert output.labels.dtype == output.n_true.dtype == torch.int64
    for i, labels in enumerate(lists):
        row = output.labels[i]
        n = int((row >= 0).sum())
        assert sorted(row[: len(labels)].tolist()) == labels
        assert output.n_true[i] == len(labels)
        assert len(set(row[:n].tolist())) == n <= 40
        assert (row[n:] == -1).all()
        assert torch.isneginf(output.logits[i, n:]).all()
        torch.testing.assert_close(output.logits[i, :n], layer(x)[i, row[:n]], atol=2e-6, rtol=0)


def test_forms_of_target_agree():
    x, _, (indices, offsets), dense = make_batch()
    forms = [(indices, offsets), (indices, offsets[:-1]), [indices, offsets], dense.to_sparse_csr()]
    forms += [(indices.int(), offsets.int()), (dense > 0).to_sparse_csr()]
    outputs = [make_layer()(x, form) for form in forms]
    for output in outputs[1:]:
        for one, other in zip(outputs[0], output, strict=True):
            assert torch.equal(one, other)


def test_zeros_of_csr_are_no_labels():
    x = torch.randn(3, N_IN)
    crow, col = torch.tensor([0, 2, 3, 5]), torch.tensor([1, 7, 2, 3, 9])
    with_zeros = torch.sparse_csr_tensor(crow, col, torch.tensor([1.0, 0, 0, 1, 0]), (3, N_OUT))
    output = make_layer()(x, with_zeros)
    assert output.n_true.tolist() == [1, 0, 1]
    assert output.labels[[0, 2], 0].tolist() == [1, 3]


def test_classes_are_bags_of_one():
    x, y = torch.randn(5, N_IN), torch.tensor([3, 3, 0, 299, 17])
    one, two = make_layer()(x, y), make_layer()(x, (y, torch.arange(5)))
    assert torch.equal(one.labels, two.labels)
    assert torch.equal(one.labels[:, 0], y)


def test_repeated_label_counts_once():
    output = make_layer()(torch.randn(2, N_IN), (torch.tensor([4, 4, 9]), torch.tensor([0, 3])))
    assert output.n_true.tolist() == [2, 0]


def test_more_true_labels_than_n_active():
    labels = torch.randperm(N_OUT)[:60]
    output = make_layer()(torch.randn(2, N_IN), (labels, torch.tensor([0, 60])))
    assert output.labels.shape == (2, 60)
    assert torch.equal(output.labels[0], labels)
    assert (output.labels[1] >= 0).sum() <= 40


def test_tables_name_the_nearest_labels():
    layer = make_layer(2000, 200, lsh=LSH(n_tables=50, selection="top_k"), negatives={"lsh": 1.0})
    with torch.no_grad():
        layer.weight.copy_(F.normalize(torch.randn(2000, N_IN)))
        layer.bias.zero_()
    x = layer.weight[:50].detach() + 0.05 * torch.randn(50, N_IN)
    found = layer(x, (torch.tensor([], dtype=torch.int64), torch.zeros(50, dtype=torch.int64))).labels
    assert (found == torch.arange(50)[:, None]).any(1).float().mean() > 0.95


def test_frequent_labels_are_true_labels_of_earlier_rows():
    layer = make_layer(negatives={"frequency": 1.0})
    layer(torch.randn(3, N_IN), torch.tensor([5, 6, 7]))
    output = layer(torch.randn(2, N_IN), torch.tensor([8, 9]))
    assert set(output.labels[0].tolist()) == {8, 5, 6, 7, -1}
    with torch.no_grad():  # labels of validation samples are not remembered
        layer(torch.randn(1, N_IN), torch.tensor([100]))
    assert 100 not in layer(torch.randn(1, N_IN), torch.tensor([8])).labels


def test_remembered_labels_go_round(monkeypatch):
    import sklearn_slide._torch_sampling as sampling

    monkeypatch.setattr(sampling, "N_RECENT", 4)
    layer = make_layer(negatives={"frequency": 1.0})
    for labels in ([1, 2, 3], [4, 5], [6, 7, 8, 9, 10, 11]):
        layer(torch.randn(len(labels), N_IN), torch.tensor(labels))
        assert set(layer.active.recent.tolist()) >= set(labels[-4:])


def test_draws_follow_from_the_seed_and_the_number_of_the_row():
    x, y = torch.randn(6, N_IN), torch.arange(6)
    negatives = {"lsh": 0.5, "uniform": 0.5}
    whole = make_layer(negatives=negatives)(x, y).labels
    layer = make_layer(negatives=negatives)
    parts = torch.cat([layer(x[:2], y[:2]).labels, layer(x[2:], y[2:]).labels])
    assert torch.equal(whole, parts)
    assert not torch.equal(whole, layer(x, y).labels)
    assert not torch.equal(whole, make_layer(negatives=negatives, random_state=1)(x, y).labels)


def test_torch_manual_seed_decides_without_random_state():
    x, y = torch.randn(4, N_IN), torch.arange(4)
    outputs = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        outputs.append(make_layer(random_state=None)(x, y))
    assert torch.equal(outputs[0].logits, outputs[1].logits)
    assert not torch.equal(outputs[0].logits, outputs[2].logits)


def test_threads_draw_and_score_alike(monkeypatch):
    import sklearn_slide._torch_threads as threads

    monkeypatch.setattr(threads, "_PART_WORK", 1)
    x, _, bags, _ = make_batch(40)
    found = []
    for n_jobs in (1, 3):
        layer, h = make_layer(n_jobs=n_jobs), x.clone().requires_grad_()
        output = layer(h, bags)
        slide_loss(output).backward()
        grads = layer.weight.grad.to_dense(), layer.bias.grad.to_dense(), h.grad
        found.append([*output, *grads, *layer.top_k(x, 5)])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-7, rtol=1e-5)


def test_tables_are_rebuilt_on_schedule_and_on_request():
    layer = make_layer(lsh=LSH(n_tables=6, rehash_interval=10, rehash_growth=2))
    x, y = torch.randn(5, N_IN), torch.arange(5)
    builds = []
    for _ in range(8):
        layer(x, y)
        builds.append(int(layer.active.counters[3]))
    assert builds == [1, 1, 2, 2, 2, 2, 3, 3]  # after 0, 10 and 30 rows
    layer.rebuild_tables()
    layer(x, y)
    assert layer.active.counters[3] == 4


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
        return score(x, weight, bias, batch, layer).masked_fill(labels < 0, 0.0)

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


# --- what a module does


def test_without_target_it_is_linear():
    layer = make_layer()
    x = torch.randn(2, 3, N_IN)
    assert torch.equal(layer(x), F.linear(x, layer.weight, layer.bias))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_top_k_and_predict(dtype):
    layer = make_layer(20_000, dtype=dtype)  # more than a block
    x = torch.randn(5, N_IN, dtype=dtype)
    found, expected = layer.top_k(x, 7), torch.topk(layer(x), 7)
    assert torch.equal(found.indices, expected.indices)
    torch.testing.assert_close(found.values, expected.values, atol=2e-6, rtol=0)
    assert torch.equal(layer.predict(x), layer(x).argmax(1))
    torch.testing.assert_close(layer.log_prob(x).exp().sum(1), torch.ones(5, dtype=dtype))
    assert layer.top_k(x[:1], 20_000).values.shape == (1, 20_000)


@pytest.mark.parametrize("fused", [False, True])
def test_state_dict_round_trip(fused):
    layer, other = make_layer(), make_layer(random_state=5)
    if fused:
        layer.fuse_optimizer(0.1)
        other.fuse_optimizer(0.1)
    x, _, bags, _ = make_batch()
    slide_loss(layer(x, bags)).backward()
    other(x, bags)
    state = layer.state_dict()
    assert list(state) == ["weight", "bias"] + fused * ["weight_sums", "bias_sums"]
    builds = int(other.active.counters[3])
    other.load_state_dict(torch.load(_saved(state), weights_only=True))
    assert torch.equal(other(x), layer(x))
    other(x, bags)
    assert other.active.counters[3] == builds + 1  # the tables are those of the loaded weights
    if fused:
        assert torch.equal(other.weight_sums, layer.weight_sums)
    else:
        linear = nn.Linear(N_IN, N_OUT)
        linear.load_state_dict(state)
        layer.load_state_dict(linear.state_dict())


def _saved(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return file


@pytest.mark.parametrize("how", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_copies_go_on_alike_and_share_nothing(how):
    layer = make_layer().fuse_optimizer(0.1)
    x, _, bags, _ = make_batch()
    slide_loss(layer(x, bags), reduction="sum").backward()
    other = how(layer)
    before = layer.weight.clone()
    slide_loss(other(x, bags), reduction="sum").backward()
    assert torch.equal(layer.weight, before)
    slide_loss(layer(x, bags), reduction="sum").backward()
    assert torch.equal(layer.weight, other.weight)


def test_reset_parameters_begins_anew():
    layer, x = make_layer().fuse_optimizer(0.1), torch.randn(3, N_IN)
    first = layer(x, torch.arange(3))
    slide_loss(first).backward()
    layer.reset_parameters()
    assert torch.equal(layer(x, torch.arange(3)).logits, first.logits)
    assert (layer.weight_sums == 0.5).all()


def test_repr_and_parameters():
    layer = make_layer()
    assert repr(layer) == "SlideLinear(in_features=12, out_features=300, bias=True, n_active=40, sparse=True)"
    assert repr(layer.fuse_optimizer(0.1)).endswith("fused lr=0.1)")
    assert [name for name, _ in layer.named_parameters()] == ["weight", "bias"]
    assert repr(nn.Sequential(layer)).count("\n") == 2


def test_encoder_learns_through_the_layer():
    model = nn.Sequential(nn.EmbeddingBag(50, N_IN, mode="sum"), make_layer(sparse=False))
    words, y = torch.randint(50, (30, 4)), torch.randperm(N_OUT)[:30]
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    for _ in range(60):
        optimizer.zero_grad()
        slide_loss(model[1](model[0](words), y)).backward()
        optimizer.step()
    assert model(words).shape == (30, N_OUT)
    assert (model[1].predict(model[0](words)) == y).float().mean() > 0.9


class _Rows(torch.utils.data.Dataset):
    """Rows and their labels, a list each."""

    def __init__(self, x, lists):
        self.x, self.lists = x, lists

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return self.x[i], torch.tensor(self.lists[i])


def collate(rows):
    """Put rows together, the labels as (indices, offsets)."""
    x, labels = zip(*rows, strict=True)
    ends = torch.tensor([len(part) for part in labels]).cumsum(0)
    return torch.stack(x), (torch.cat(labels), torch.cat([torch.zeros(1, dtype=torch.int64), ends]))


def test_data_loader_with_workers():
    x, lists, _, _ = make_batch(24)
    layer = make_layer().fuse_optimizer(0.1)
    loader = torch.utils.data.DataLoader(_Rows(x, lists), batch_size=6, num_workers=2, collate_fn=collate)
    seen = []
    for rows, bags in loader:
        output = layer(rows, bags)
        slide_loss(output, reduction="sum").backward()
        seen += [sorted(row[:n].tolist()) for row, n in zip(output.labels, output.n_true, strict=True)]
    assert seen == lists


def test_compile_breaks_the_graph_by_name():
    layer, x, y = make_layer(), torch.randn(4, N_IN), torch.arange(4)
    layer(x, y)
    torch._dynamo.reset()
    compiled = torch.compile(layer, backend="eager")
    torch.testing.assert_close(compiled(x), layer(x))
    slide_loss(compiled(x, y)).backward()
    assert layer.weight.grad is not None
    torch._dynamo.reset()
    whole = torch.compile(layer, backend="eager", fullgraph=True)
    torch.testing.assert_close(whole(x), layer(x))
    with pytest.raises(Exception, match="SlideLinear"):
        whole(x, y)


# --- several processes


def train_part(layer, embedding, x, y, rank):
    """Train on every second row, as one of two processes."""
    torch.set_num_threads(1)
    for _ in range(60):
        slide_loss(layer(embedding(x[rank::2]), y[rank::2]), reduction="sum").backward()


def test_two_processes_train_one_layer():
    embedding = nn.Embedding(40, N_IN).requires_grad_(False)
    layer = make_layer().fuse_optimizer(0.2)
    x, y = torch.arange(40), torch.randperm(N_OUT)[:40]
    layer.share_memory()
    assert all(buffer.is_shared() for buffer in layer.buffers())
    before = layer.weight.clone()
    torch.multiprocessing.spawn(_spawned, args=(layer, embedding, x, y), nprocs=2)
    assert (layer.weight != before).any()
    assert layer.active.counters[0] > 40 * 30  # rows of both, but for some that were counted at once
    assert layer.active.counters[3] >= 1
    assert layer.active.ids.any()
    assert (layer.predict(embedding(x)) == y).float().mean() > 0.9


def _spawned(rank, layer, embedding, x, y):
    train_part(layer, embedding, x, y, rank)


# --- the estimator


def fitted(**params):
    """Return a small classifier without direct weights, and its data."""
    from sklearn.datasets import make_multilabel_classification

    X, Y = make_multilabel_classification(200, n_features=30, n_classes=60, random_state=0)
    params = {"hidden_layer_sizes": (N_IN,), "direct_limit": 0, "n_active": 20, "random_state": 0} | params
    return SlideClassifier(**params).fit(X, Y), X.astype(np.float32), Y


def hidden_of(model, X):
    """Compute the last hidden vectors."""
    h = torch.from_numpy(X)
    for weights, biases in zip(model.coefs_[:-1], model.intercepts_[:-1], strict=True):
        h = h @ torch.from_numpy(weights) + torch.from_numpy(biases)
    return h


@pytest.mark.parametrize("sizes", [(N_IN,), ()])
def test_from_estimator_scores_alike(sizes):
    model, X, _ = fitted(hidden_layer_sizes=sizes)
    layer = SlideLinear.from_estimator(model)
    scores = layer(hidden_of(model, X)).detach().numpy()
    np.testing.assert_allclose(scores, model.decision_function(X), atol=1e-4, rtol=1e-5)
    assert layer.n_active == 20


def test_from_estimator_goes_on_from_its_solver():
    model, _, _ = fitted()
    layer = SlideLinear.from_estimator(model, lr=0.05, n_active=10, sparse=False)
    assert (layer.n_active, layer.sparse, layer.learning_rate) == (10, False, 0.05)
    sums = model._model.training.solver.output.weights.sums
    np.testing.assert_array_equal(layer.weight_sums, sums)
    assert not np.shares_memory(layer.weight.detach().numpy(), model._model.network.output.weights)


@pytest.mark.parametrize("sizes", [(N_IN,), ()])
def test_to_estimator_scores_as_the_layer(sizes):
    model, X, Y = fitted(hidden_layer_sizes=sizes)
    X = X * np.float32(0.01)  # the scale of the classifier is another than 1
    model = model.fit(X, Y)
    layer = SlideLinear.from_estimator(model, lr=0.1)
    before = model.decision_function(X)
    with torch.no_grad():
        layer.weight.normal_(std=0.01)
    hidden = [(torch.randn(30, N_IN), torch.randn(N_IN))] if sizes else None
    other = layer.to_estimator(model, hidden)
    h = torch.from_numpy(X) @ hidden[0][0] + hidden[0][1] if sizes else torch.from_numpy(X)
    expected = layer(h).detach().numpy()
    np.testing.assert_allclose(other.decision_function(X), expected, rtol=1e-4, atol=1e-2)
    np.testing.assert_array_equal(model.decision_function(X), before)
    other.partial_fit(X, Y)


def test_estimators_that_a_layer_cannot_be():
    model, *_ = fitted(direct_limit=1000)
    with pytest.raises(ValueError, match="direct_limit=0"):
        SlideLinear.from_estimator(model)
    with pytest.raises(TypeError, match="SlideClassifier"):
        SlideLinear.from_estimator(nn.Linear(2, 2))
    model = fitted()[0]
    with pytest.raises(ValueError, match="60 and 12"):
        make_layer().to_estimator(model)
    with pytest.raises(ValueError, match="1 tuples"):
        SlideLinear.from_estimator(model).to_estimator(model, [])
    with pytest.raises(ValueError, match=r"\(30, 12\) in place 0"):
        SlideLinear.from_estimator(model).to_estimator(model, [(np.ones((2, 2)), np.ones(2))])


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
