"""The ACAR head against loops over clips, actors and locations in float64, following the published form."""

import math

import pytest
import torch
import torch.nn.functional as F

from muybridge.errors import ModelMismatch, OptionError
from muybridge.models.acar.actors import (
    Actors,
    BankWindow,
    ContextMap,
    Grouping,
    unpadded_extents,
    within_window,
)
from muybridge.models.acar.head import (
    ACARConfig,
    ACARHead,
    ACARNet,
    BaselineConfig,
    BaselineHead,
    TokenTrunk,
)
from muybridge.models.acar.relations import attend
from muybridge.models.acar.slowfast import SlowFast, SlowFastConfig

TINY = ACARConfig(context_channels=6, num_classes=5, reduced=7, hidden=4, depth=2, roi_size=3)


# --- the reference: one clip, one actor, one location at a time ---


def _bilinear(feature_Chw, y, x):
    """Unaligned RoIAlign's sampling rule: zero outside [-1, size], clamped to the border."""
    _, h, w = feature_Chw.shape
    if y < -1 or y > h or x < -1 or x > w:
        return torch.zeros_like(feature_Chw[:, 0, 0])
    y, x = max(y, 0.0), max(x, 0.0)
    y0, x0 = min(int(y), h - 1), min(int(x), w - 1)
    y1, x1 = min(y0 + 1, h - 1), min(x0 + 1, w - 1)
    dy, dx = (0.0 if y0 == h - 1 else y - y0), (0.0 if x0 == w - 1 else x - x0)
    top = (1 - dx) * feature_Chw[:, y0, x0] + dx * feature_Chw[:, y0, x1]
    bottom = (1 - dx) * feature_Chw[:, y1, x0] + dx * feature_Chw[:, y1, x1]
    return (1 - dy) * top + dy * bottom


def _actor_vector(feature_Chw, box, size):
    _, h, w = feature_Chw.shape
    x1, y1, x2, y2 = box[0] * w, box[1] * h, box[2] * w, box[3] * h
    height, width = max(y2 - y1, 1.0), max(x2 - x1, 1.0)
    ny, nx = math.ceil(height / size), math.ceil(width / size)
    bins = []
    for i in range(size):
        for j in range(size):
            samples = [
                _bilinear(
                    feature_Chw,
                    y1 + (i + (a + 0.5) / ny) * height / size,
                    x1 + (j + (b + 0.5) / nx) * width / size,
                )
                for a in range(ny)
                for b in range(nx)
            ]
            bins.append(sum(samples) / len(samples))
    return torch.stack(bins).amax(0)


def _hr2o(queries, keys, layer):
    """One layer: lists of (C, h, w) maps."""
    wq, wk, wv = layer.qkv.weight.chunk(3)
    q = [F.conv2d(m[None], wq, padding=1)[0] for m in queries]
    k = [F.conv2d(m[None], wk, padding=1)[0] for m in keys]
    v = [F.conv2d(m[None], wv, padding=1)[0] for m in keys]
    results = []
    for mine, original in zip(q, queries, strict=True):
        channels, h, w = mine.shape
        found = torch.zeros_like(mine)
        for y in range(h):
            for x in range(w):
                scores = torch.stack([mine[:, y, x] @ other[:, y, x] for other in k]) / math.sqrt(channels)
                shares = torch.exp(scores - scores.max())
                shares = shares / shares.sum()
                found[:, y, x] = sum(s * other[:, y, x] for s, other in zip(shares, v, strict=True))
        found = (found - found.mean()) / (found.var(correction=0) + 1e-5).sqrt()
        found = found * layer.norm.weight[:, None, None] + layer.norm.bias[:, None, None]
        side = layer.out.weight.shape[-1]
        results.append(original + F.conv2d(F.relu(found)[None], layer.out.weight, padding=side // 2)[0])
    return results


def _first_order(head, feature_Chw, boxes, extent):
    """Actor vectors and first-order maps of one clip."""
    reduced = F.conv2d(feature_Chw[None], head.reduce.weight)[0]
    conv1 = torch.cat([head.relate_context.weight, head.relate_actor.weight[..., None, None]], dim=1)
    vectors, maps = [], []
    for box in boxes.tolist():
        vector = _actor_vector(reduced, box, head.config.roi_size)
        context = reduced[:, : extent[0], : extent[1]]
        pair = torch.cat([context, vector[:, None, None].expand_as(context)])
        pair = F.relu(F.conv2d(F.relu(F.conv2d(pair[None], conv1)), head.mix.weight))
        vectors.append(vector)
        maps.append(F.max_pool2d(pair, 3, stride=2, padding=1)[0])
    return vectors, maps


def reference_logits(head, features, boxes, extents=None, bank=None):
    """Logits of all actors, clip by clip. `bank`: for each clip a list of (C, h, w) maps."""
    rows = []
    for clip, clip_boxes in enumerate(boxes):
        extent = features.shape[-2:] if extents is None else extents[clip]
        vectors, maps = _first_order(head, features[clip], clip_boxes, extent)
        if not maps:
            continue
        for layer in head.hr2o:
            if bank is None:
                maps = _hr2o(maps, maps, layer)
            elif bank[clip]:
                maps = _hr2o(maps, bank[clip], layer)
        for vector, related in zip(vectors, maps, strict=True):
            both = torch.cat([F.relu(head.fc1.weight @ vector), related.mean((1, 2))])
            rows.append(head.fc2.weight @ both)
    return torch.stack(rows) if rows else features.new_zeros(0, head.config.num_classes)


# --- material ---


def make_head(config=TINY, seed=0):
    torch.manual_seed(seed)
    head = ACARHead(config).double().eval()
    for layer in head.hr2o:
        torch.nn.init.uniform_(layer.norm.weight, 0.5, 1.5)
        torch.nn.init.uniform_(layer.norm.bias, -0.5, 0.5)
    return head


def make_boxes(count):
    corner, size = torch.rand(count, 2) * 0.6, 0.05 + torch.rand(count, 2) * 0.35
    return torch.cat([corner, corner + size], dim=1)


def make_scene(counts, grid=(5, 7), channels=6):
    features = torch.randn(len(counts), channels, *grid, dtype=torch.float64)
    return features, [make_boxes(count) for count in counts]


COUNTS = [[0], [1], [3], [2, 0, 1], [0, 0], [1, 1, 1], [2, 2], [6, 0, 0, 0, 0, 1, 0, 1], [0, 4, 1]]


@pytest.mark.parametrize("counts", COUNTS, ids=str)
@pytest.mark.parametrize(("depth", "kernel"), [(2, 3), (1, 1)])
def test_head_equals_the_loop(counts, depth, kernel):
    head = make_head(ACARConfig(6, 5, 7, 4, depth, kernel, 3))
    features, boxes = make_scene(counts)
    ours = head(ContextMap(features), Actors.from_clips(boxes))
    assert ours.shape == (sum(counts), 5)
    assert torch.allclose(ours, reference_logits(head, features, boxes), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("counts", [[0], [1], [3], [2, 0, 3], [1, 1]], ids=str)
@torch.no_grad()
def test_attention_equals_the_loop(counts):
    head = make_head()
    features, boxes = make_scene(counts)
    ours = head.attention(ContextMap(features), Actors.from_clips(boxes))
    assert ours.shape == (2, sum(counts), max(max(counts), 1), 2, 3)
    first = 0
    for clip, count in enumerate(counts):
        _, maps = _first_order(head, features[clip], boxes[clip], features.shape[-2:])
        for depth, layer in enumerate(head.hr2o if count else ()):
            wq, wk, _ = layer.qkv.weight.chunk(3)
            query, key = ([F.conv2d(m[None], w, padding=1)[0] for m in maps] for w in (wq, wk))
            for i in range(count):
                for y in range(2):
                    for x in range(3):
                        score = [float(query[i][:, y, x] @ other[:, y, x]) / math.sqrt(4) for other in key]
                        parts = [math.exp(value - max(score)) for value in score]
                        shares = ours[depth, first + i, :, y, x]
                        assert shares[:count].tolist() == pytest.approx([part / sum(parts) for part in parts])
                        assert not shares[count:].any()
            maps = _hr2o(maps, maps, layer)
        first += count


@pytest.mark.parametrize("cells", [5, 6, 9, 14])
@torch.no_grad()
def test_places_of_the_maps_lie_in_the_frame_where_the_head_reads_them(cells):
    head = make_head()
    torch.nn.init.constant_(head.mix.weight, 1.0)
    torch.nn.init.constant_(head.reduce.weight, 1.0)
    torch.nn.init.constant_(head.relate_context.weight, 1.0)
    torch.nn.init.constant_(head.relate_actor.weight, 0.0)
    reads = [[] for _ in range(head.map_grid((cells, 5))[0])]
    for row in range(cells):
        features = torch.zeros(1, 6, cells, 5, dtype=torch.float64)
        features[0, :, row, 2] = 1.0
        context, actors = ContextMap(features), Actors.from_clips([torch.tensor([[0.1, 0.1, 0.9, 0.9]])])
        for place in torch.nonzero(head.first_order(context, actors).maps[0].sum((0, 2)))[:, 0].tolist():
            reads[place].append(row)
    for place, rows in enumerate(reads):
        if rows[0] > 0 and rows[-1] < cells - 1:  # at the frame's edge there is less to be read
            middle = (rows[0] + rows[-1] + 1) / 2 / cells
            assert head.map_place(middle, cells) == pytest.approx(place)


@pytest.mark.parametrize("counts", [[1, 2], [3, 0, 1], [2, 1, 2]], ids=str)
@pytest.mark.parametrize("kernel", [1, 3])
def test_context_is_cropped_to_the_unpadded_part(counts, kernel):
    head = make_head(ACARConfig(6, 5, 7, 4, 2, kernel, 3))
    features, boxes = make_scene(counts, grid=(7, 9))
    extents = [(7, 9), (4, 9), (6, 3)][: len(counts)]
    context = ContextMap(features, torch.tensor(extents))
    ours = head(context, Actors.from_clips(boxes))
    assert torch.allclose(ours, reference_logits(head, features, boxes, extents), rtol=1e-9, atol=1e-11)
    assert not torch.allclose(ours, head(ContextMap(features), Actors.from_clips(boxes)), rtol=1e-3)


def test_a_batch_equals_its_clips_alone():
    head = make_head()
    features, boxes = make_scene([2, 0, 5, 1])
    together = head(ContextMap(features), Actors.from_clips(boxes))
    alone = [head(ContextMap(features[i : i + 1]), Actors.from_clips([boxes[i]])) for i in range(4)]
    assert torch.allclose(together, torch.cat(alone), rtol=1e-9, atol=1e-12)


def test_three_hundred_people():
    head = make_head()
    features, boxes = make_scene([300])
    ours = head(ContextMap(features), Actors.from_clips(boxes))
    order = torch.randperm(300)
    shuffled = head(ContextMap(features), Actors.from_clips([boxes[0][order]]))
    assert torch.allclose(ours[order], shuffled, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("counts", [[2, 0, 1], [1], [5, 0, 0, 0, 0, 1]], ids=str)
def test_gradients_equal_those_of_the_loop(counts):
    head = make_head()
    features, boxes = make_scene(counts)
    weights = torch.randn(sum(counts), 5, dtype=torch.float64)
    inputs = [features.clone().requires_grad_() for _ in range(2)]
    parameters = [p for p in head.parameters() if p.requires_grad]
    ours = (head(ContextMap(inputs[0]), Actors.from_clips(boxes)) * weights).sum()
    loop = (reference_logits(head, inputs[1], boxes) * weights).sum()
    for mine, theirs in zip(
        torch.autograd.grad(ours, [inputs[0], *parameters]),
        torch.autograd.grad(loop, [inputs[1], *parameters]),
        strict=True,
    ):
        assert torch.allclose(mine, theirs, rtol=1e-5, atol=1e-9)


def test_training_on_clips_without_people_gives_zero_gradients():
    head = ACARHead(TINY)
    head(ContextMap(torch.randn(2, 6, 5, 5)), Actors.from_clips([torch.empty(0, 4)] * 2)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() == 0 for p in head.parameters())


def test_dropout_acts_in_training_only_and_without_it_both_modes_agree():
    features, boxes = make_scene([2, 1])
    context, actors = ContextMap(features), Actors.from_clips(boxes)
    dropping = make_head()
    dropping.train()
    assert not torch.equal(dropping(context, actors), dropping(context, actors))
    head = make_head(ACARConfig(6, 5, 7, 4, 2, 3, 3, dropout=1e-12))
    evaluated = head(context, actors)
    assert torch.allclose(head.train()(context, actors), evaluated, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(("depth", "kernel", "millions"), [(2, 3, 25.23), (1, 1, 13.69)])
def test_published_number_of_parameters(depth, kernel, millions):
    with torch.device("meta"):
        head = ACARHead(ACARConfig(depth=depth, output_kernel=kernel))
    assert round(sum(p.numel() for p in head.parameters()) / 1e6, 2) == millions


def test_published_number_of_parameters_of_the_baseline():
    assert round(sum(p.numel() for p in BaselineHead().parameters()) / 1e6, 3) == 0.138


def test_baseline_head_equals_its_formula():
    torch.manual_seed(0)
    head = BaselineHead(BaselineConfig(6, 5, roi_size=3)).double()
    features, boxes = make_scene([2, 0, 1])
    expected = [
        head.fc.weight @ _actor_vector(features[clip], box, 3)
        for clip, each in enumerate(boxes)
        for box in each.tolist()
    ]
    ours = head(ContextMap(features), Actors.from_clips(boxes))
    assert torch.allclose(ours, torch.stack(expected), rtol=1e-9, atol=1e-11)
    assert head(ContextMap(features), Actors.from_clips([torch.empty(0, 4)] * 3)).shape == (0, 5)


# --- the feature bank ---


@pytest.mark.parametrize("entries", [[3, 2], [4, 0], [0, 0], [0, 12]], ids=str)
@pytest.mark.parametrize("counts", [[2, 3], [1, 0]], ids=str)
def test_bank_attention_equals_the_loop(entries, counts):
    head = make_head()
    features, boxes = make_scene(counts)
    grid = head.map_grid((5, 7))
    maps = [torch.randn(n, 4, *grid, dtype=torch.float64) for n in entries]
    ours = head(ContextMap(features), Actors.from_clips(boxes), BankWindow.from_clips(maps, grid))
    expected = reference_logits(head, features, boxes, bank=[list(m) for m in maps])
    assert torch.allclose(ours, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("entries", [[3, 2, 4], [1, 0, 12]], ids=["padded", "flat"])
def test_entries_outside_the_window_do_not_count(entries):
    head = make_head()
    features, boxes = make_scene([2, 2, 2])
    grid = head.map_grid((5, 7))
    maps = [torch.randn(n, 4, *grid, dtype=torch.float64) for n in entries]
    used = [torch.arange(n) % 2 == 1 for n in entries]  # in the second case the first clip has none left
    window = BankWindow.from_clips(maps, grid, used=used)
    ours = head(ContextMap(features), Actors.from_clips(boxes), window)
    kept = [list(m[u]) for m, u in zip(maps, used, strict=True)]
    assert torch.allclose(ours, reference_logits(head, features, boxes, bank=kept), rtol=1e-9, atol=1e-11)


def test_bank_of_padded_clips_equals_the_loop():
    head = make_head()
    features, boxes = make_scene([2, 1], grid=(7, 9))
    extents, small = [(7, 9), (5, 6)], [(3, 4), (2, 2)]
    maps = [torch.randn(3, 4, *size, dtype=torch.float64) for size in small]
    window = BankWindow.from_clips(maps, head.map_grid((7, 9)), extents=small)
    ours = head(ContextMap(features, torch.tensor(extents)), Actors.from_clips(boxes), window)
    expected = reference_logits(head, features, boxes, extents, [list(m) for m in maps])
    assert torch.allclose(ours, expected, rtol=1e-9, atol=1e-11)


def test_a_bank_of_the_own_clip_is_self_attention_at_depth_one():
    head = make_head(ACARConfig(6, 5, 7, 4, 1, 3, 3))
    features, boxes = make_scene([3, 1])
    context, actors = ContextMap(features), Actors.from_clips(boxes)
    maps = head.first_order(context, actors).maps
    assert torch.allclose(head(context, actors, BankWindow(maps, actors.groups)), head(context, actors))


def test_bank_entries_of_another_scale_are_resized():
    constant = torch.full((2, 4, 6, 8), 3.0)
    window = BankWindow.from_clips([constant, torch.empty(0, 4, 1, 1)], (3, 4))
    assert torch.equal(window.maps, torch.full((2, 4, 3, 4), 3.0))
    assert window.groups.clips.tolist() == [0, 0]


def test_a_bank_of_another_head_is_refused():
    head = make_head()
    features, boxes = make_scene([1])
    other = BankWindow.from_clips([torch.zeros(2, 9, 2, 3, dtype=torch.float64)], (2, 3))
    with pytest.raises(ModelMismatch, match="bank"):
        head(ContextMap(features), Actors.from_clips(boxes), other)
    with pytest.raises(OptionError, match="baseline"):
        BaselineHead(BaselineConfig(6))(ContextMap(features), Actors.from_clips(boxes), other)


def test_gradients_through_an_empty_window_are_finite():
    head = ACARHead(TINY)
    maps = [torch.empty(0, 4, 2, 2), torch.randn(2, 4, 2, 2)]
    window = BankWindow.from_clips(
        maps, (2, 2), used=[torch.empty(0, dtype=torch.bool), torch.tensor([False, False])]
    )
    actors = Actors.from_clips([make_boxes(2), make_boxes(1)])
    head(ContextMap(torch.randn(2, 6, 5, 5)), actors, window).sum().backward()
    assert all(p.grad.isfinite().all() for p in head.parameters())


def test_window_is_closed_and_takes_up_rounding():
    times = torch.tensor([0.0, 0.1 * 3, 0.7, 1.3, 1.3001], dtype=torch.float64)
    inside = within_window(times, 0.8, before=0.5, after=0.5)
    assert inside.tolist() == [False, True, True, True, False]


# --- grouping, boxes, extents ---


def test_grouping_of_clips():
    groups = Grouping.from_counts([2, 0, 3])
    assert groups.clips.tolist() == [0, 0, 2, 2, 2]
    assert groups.slots.tolist() == [0, 1, 0, 1, 2]
    assert (groups.num_clips, groups.most, len(groups)) == (3, 3, 5)
    items = torch.arange(10.0).view(5, 2)
    assert groups.pad(items)[1].abs().sum() == 0
    assert torch.equal(groups.unpad(groups.pad(items)), items)
    empty = Grouping.from_counts([0, 0])
    assert empty.pad(torch.empty(0, 3)).shape == (2, 1, 3)
    assert empty.unpad(torch.zeros(2, 1, 3)).shape == (0, 3)


@pytest.mark.parametrize(
    ("boxes", "says"),
    [
        (torch.zeros(4), "shape"),
        (torch.tensor([[0.1, 0.1, float("nan"), 0.5]]), "NaN"),
        (torch.tensor([[0.5, 0.1, 0.2, 0.5]]), "x2 <= x1"),
    ],
)
def test_boxes_that_cannot_be_are_refused(boxes, says):
    with pytest.raises(OptionError, match=says):
        Actors.from_clips([torch.empty(0, 4), boxes])


def test_extents_round_up_and_small_ones_are_refused():
    assert unpadded_extents([(64, 64)], (64, 64), (4, 4)) is None
    assert unpadded_extents([(256, 456), (200, 300)], (256, 456), (16, 29)).tolist() == [[16, 29], [13, 20]]
    with pytest.raises(OptionError, match="larger frames"):
        unpadded_extents([(64, 20)], (64, 64), (4, 4))
    with pytest.raises(OptionError, match="within"):
        unpadded_extents([(64, 80)], (64, 64), (4, 4))
    with pytest.raises(OptionError, match="larger frames"):
        make_head()(ContextMap(torch.zeros(1, 6, 2, 9, dtype=torch.float64)), Actors.from_clips([make_boxes(1)]))


@pytest.mark.parametrize("counts", [[12, 9], [12, 0, 0, 0, 0, 0, 1, 1]], ids=["padded", "flat"])
def test_attention_never_holds_channels_for_every_pair(counts):
    """Counts the bytes of the largest tensor that attention makes: pairs x locations, never times channels."""
    groups, channels = Grouping.from_counts(counts), 512
    maps = torch.randn(len(groups), channels, 3, 3)
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            nonlocal largest
            out = func(*args, **(kwargs or {}))
            for each in out if isinstance(out, tuple | list) else (out,):
                if isinstance(each, torch.Tensor):
                    largest = max(largest, each.numel())
            return out

    with Watch(), torch.no_grad():
        attend(maps, maps, maps, groups, groups)
    assert largest < max(counts) ** 2 * channels * 9 / 2


# --- precision, compilation, trunks ---


def test_bfloat16_autocast_stays_near_float32():
    torch.manual_seed(0)
    head = ACARHead(ACARConfig(32, 5, 32, 32, 2, 3, 3)).eval()
    features, boxes = make_scene([3, 0, 1], (7, 9), channels=32)
    context, actors = (
        ContextMap(features.float(), torch.tensor([[7, 9], [7, 9], [5, 6]])),
        Actors.from_clips(boxes),
    )
    full = head(context, actors)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = head(context, actors)
        head.train()(context, actors).float().sum().backward()
    assert (half.float() - full).norm() / full.norm() < 0.03
    assert all(p.grad.isfinite().all() for p in head.parameters())


def test_compiles_as_one_graph():
    head = make_head()
    features, boxes = make_scene([2, 1])
    context, actors = ContextMap(features), Actors.from_clips(boxes)
    compiled = torch.compile(head, backend="eager", fullgraph=True, dynamic=False)
    assert torch.allclose(compiled(context, actors), head(context, actors), rtol=1e-9)


class _Tokens(torch.nn.Module):
    """Stands in for an image transformer: each 16 x 16 patch's mean colour."""

    patch_dim = 3

    def patch_tokens(self, frames):
        return F.avg_pool3d(frames.transpose(1, 2), (1, 16, 16)).permute(0, 2, 3, 4, 1)


def test_patch_tokens_feed_the_same_head():
    net = ACARNet(TokenTrunk(_Tokens()), ACARHead(ACARConfig(3, 5, 7, 4, 1, 3, 3))).eval()
    frames = torch.randn(2, 4, 3, 64, 80)
    expected = F.avg_pool2d(frames.mean(1), 16)
    assert torch.allclose(net.context(frames).features, expected, atol=1e-6)
    assert net(frames, Actors.from_clips([make_boxes(2), make_boxes(0)])).shape == (2, 5)
    with pytest.raises(ModelMismatch, match="patch_tokens"):
        TokenTrunk(torch.nn.Identity())


def test_padded_clips_through_slowfast_and_head():
    torch.manual_seed(0)
    trunk = SlowFast(SlowFastConfig(blocks=(1, 1, 1, 1), width=8, fast_ratio=4, frames=8)).eval()
    head = ACARHead(ACARConfig(trunk.context_channels, 5, 8, 8, 2, 3, 3)).eval()
    net = ACARNet(trunk, head)
    frames = torch.randn(2, 8, 3, 64, 96)
    frames[1, :, :, :, 64:] = 0
    actors = Actors.from_clips([make_boxes(2), make_boxes(1) * torch.tensor([2 / 3, 1, 2 / 3, 1])])
    ours = net(frames, actors, sizes=[(64, 96), (64, 64)])
    expected = reference_logits(head, trunk(frames), [actors.boxes[:2], actors.boxes[2:]], [(4, 6), (4, 4)])
    assert torch.allclose(ours, expected, rtol=1e-3, atol=1e-5)
    with pytest.raises(ModelMismatch, match=f"context_channels={trunk.context_channels}"):
        ACARNet(trunk, BaselineHead())


def test_new_classes():
    head = make_head()
    head.reset_classifier(9)
    features, boxes = make_scene([1])
    assert head(ContextMap(features), Actors.from_clips(boxes)).shape == (1, 9)
