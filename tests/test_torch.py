"""The layer for PyTorch as a module: its active labels, copies and processes."""

import copy
import io
import pickle

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install 'sklearn-slide[torch]'")

from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402
from torch_helpers import N_IN, N_OUT, make_batch, make_layer  # noqa: E402

from sklearn_slide import LSH  # noqa: E402
from sklearn_slide.torch import SlideOutput, slide_loss  # noqa: E402


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


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


@pytest.mark.parametrize("fused", [False, True])
def test_threads_change_no_digit(monkeypatch, fused):
    import sklearn_slide._torch_threads as threads

    monkeypatch.setattr(threads, "_PART_WORK", 1)
    x, _, bags, _ = make_batch(40)
    found = []
    for n_jobs in (1, 3):
        layer, h = make_layer(n_jobs=n_jobs), x.clone().requires_grad_()
        if fused:
            layer.fuse_optimizer(0.1)
        output = layer(h, bags)
        slide_loss(output).backward()
        rows = [layer.weight, layer.bias] if fused else [p.grad.to_dense() for p in layer.parameters()]
        found.append([*output, h.grad, *rows, *layer.top_k(x, 5)])
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


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
    same = copy.deepcopy(layer)
    slide_loss(same(x, y)).backward()
    slide_loss(compiled(x, y)).backward()
    assert torch.equal(layer.weight.grad.to_dense(), same.weight.grad.to_dense())
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


@pytest.mark.parametrize(("n_jobs", "start_method"), [(1, "fork"), (2, "spawn"), (3, "fork")])
def test_a_layer_is_shared_after_threads_trained_it(monkeypatch, n_jobs, start_method):
    import sklearn_slide._torch_threads as threads

    if start_method == "fork" and torch.cuda.is_available():
        pytest.skip("beside a GPU autograd has threads of its own, which PyTorch refuses to fork")
    monkeypatch.setattr(threads, "_PART_WORK", 1)
    embedding = nn.Embedding(40, N_IN).requires_grad_(False)
    layer = make_layer(n_jobs=n_jobs, lsh=LSH(n_tables=6, rehash_interval=100)).fuse_optimizer(0.2)
    x, y = torch.arange(40), torch.randperm(N_OUT)[:40]
    slide_loss(layer(embedding(x), y), reduction="sum").backward()
    before = {name: value.clone() for name, value in (*layer.state_dict().items(), *layer.named_buffers())}
    addresses = layer.weight.data_ptr(), layer.active.ids.data_ptr()
    layer.share_memory()
    assert (layer.weight.data_ptr(), layer.active.ids.data_ptr()) != addresses
    for name, value in (*layer.state_dict().items(), *layer.named_buffers()):
        assert torch.equal(value, before[name])
    arguments = layer, embedding, x, y
    torch.multiprocessing.start_processes(_threaded, arguments, nprocs=2, start_method=start_method)
    assert layer.active.counters[0] > 40 * 30
    after = dict((*layer.state_dict().items(), *layer.named_buffers()))
    for name in ("weight", "bias", "weight_sums", "active.ids"):
        assert not torch.equal(after[name], before[name])
    assert (layer.predict(embedding(x)) == y).float().mean() > 0.9
    weight = layer.weight.clone()
    slide_loss(layer(embedding(x), y), reduction="sum").backward()  # threads of this process go on
    assert not torch.equal(layer.weight, weight)


def _threaded(rank, layer, embedding, x, y):
    import sklearn_slide._torch_threads as threads

    threads._PART_WORK = 1
    train_part(layer, embedding, x, y, rank)
