"""What is kept of clips in memory: what the network makes of them, once a view; and the head fitted to it."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from muybridge.data.clips.dataset import ClipDataset, load_views
from muybridge.data.clips.lists import read_clip_list
from muybridge.data.clips.sampling import ViewConfig, normalize
from muybridge.data.options import AugmentationConfig, SamplingConfig
from muybridge.data.sampling import Draw
from muybridge.models.backbones import create_backbone
from muybridge.models.st_adapter.video_vit import AdapterConfig, VideoViT
from muybridge.recognize.objective import views_for
from muybridge.recognize.options import SamplingOptions
from muybridge.recognize.prefixes import KeptPrefixes, bytes_a_view, drawn_views, fit_head, fit_linear, keep_prefixes
from tests.recognize.labelled_clips import write_folders

SAMPLING = SamplingConfig(frames=3, mode="segments", size=(32, 32))
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return read_clip_list(write_folders(tmp_path_factory.mktemp("clips"), {"red": 3, "blue": 3}))["all"]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    backbone = create_backbone("resnet10t", pretrained=False)
    return VideoViT(backbone, 2, adapters=AdapterConfig(blocks=1), over_time="change").eval()


def test_the_first_view_is_the_test_s_and_the_others_are_drawn(clips, model):
    data = ClipDataset(clips, SAMPLING, AugmentationConfig())
    kept = keep_prefixes(model, data, drawn=2, seed=5, device=CPU)
    assert len(kept) == 6
    for index, entry in enumerate(clips.entries):
        expected = model.forward_prefix(normalize(load_views(entry.path, SAMPLING), SAMPLING))[0]
        torch.testing.assert_close(kept.prefixes[0, index].float(), expected, rtol=2e-3, atol=2e-3)
        assert not torch.equal(kept.prefixes[1, index], kept.prefixes[2, index])
        assert [int(view[index]) for view in kept.labels] == [entry.labels[0]] * 3
    again = keep_prefixes(model, data, drawn=2, seed=5, device=CPU)
    assert torch.equal(again.prefixes, kept.prefixes)


def test_a_mirrored_view_has_the_label_of_the_mirror(clips, model):
    augmentation = AugmentationConfig(flip=True, mirror=("red=blue",))
    kept = keep_prefixes(model, ClipDataset(clips, SAMPLING, augmentation), drawn=5, seed=0, device=CPU)
    drawn = {(entry.labels[0], int(view[i])) for i, entry in enumerate(clips.entries) for view in kept.labels[1:]}
    assert drawn == {(0, 0), (0, 1), (1, 0), (1, 1)}


def test_training_draws_every_view(clips, model):
    kept = keep_prefixes(model, ClipDataset(clips, SAMPLING), drawn=1, seed=0, device=CPU)
    seen = {tuple(kept[Draw(0, seed)]["prefix"].flatten()[:4].tolist()) for seed in range(20)}
    assert len(seen) == 2
    assert kept[Draw(4, 0)].keys() == {"prefix", "labels", "index"}


def test_the_ways_of_a_test_come_first(clips, model):
    views = ViewConfig(focus=True, dense_rate=6.0)
    kept = keep_prefixes(model, ClipDataset(clips, SAMPLING, views=views), drawn=1, seed=0, device=CPU)
    assert len(kept.prefixes) == len(kept.labels) == 4
    for index, entry in enumerate(clips.entries):
        expected = model.forward_prefix(normalize(load_views(entry.path, SAMPLING, views), SAMPLING))
        torch.testing.assert_close(kept.prefixes[:3, index].float(), expected, rtol=2e-3, atol=2e-3)
    prefixes, labels = list(kept.seen(2))[2]
    assert torch.equal(prefixes, kept.prefixes[:2, 2]) and labels.tolist() == [clips.entries[2].labels[0]] * 2


def test_what_is_kept_is_known_before(clips, model):
    data = ClipDataset(clips, SAMPLING)
    kept = keep_prefixes(model, data, drawn=2, seed=0, device=CPU)
    assert 3 * bytes_a_view(model, data, device=CPU) == kept.prefixes.nbytes


def test_ten_thousand_clips_are_not_kept_in_two_gigabytes(clips):
    backbone = create_backbone("efficientnet_lite0", pretrained=False)
    network = VideoViT(backbone, 2, adapters=AdapterConfig())
    many = ClipDataset(clips.select([0] * 10_000), SamplingConfig())
    # 8 frames of 7 x 7 places, 192 channels, 2 bytes each.
    a_view = bytes_a_view(network, many, device=CPU)
    assert a_view == 10_000 * 8 * 7 * 7 * 192 * 2
    assert views_for(SamplingOptions()).count * a_view > 2 << 30


@pytest.mark.parametrize(
    ("clips_there", "wanted", "drawn"), [(23, None, 4), (246, None, 2), (9000, None, 1), (9, 7, 7)]
)
def test_few_clips_are_read_more_often(clips_there, wanted, drawn):
    assert drawn_views(wanted, clips_there) == drawn


def test_the_head_is_at_the_minimum_of_the_penalized_loss():
    torch.manual_seed(0)
    x, y = torch.randn(40, 5, dtype=torch.float64), torch.randint(3, (40,))
    head = nn.Linear(5, 3).double()
    fit_linear(head, x, y, F.cross_entropy, penalty=333 / 40)
    # By NumPy: the gradient of the summed loss and 333 / 2 times the squared weights is zero.
    logits = x.numpy() @ head.weight.detach().numpy().T + head.bias.detach().numpy()
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    error = shares - np.eye(3)[y.numpy()]
    np.testing.assert_allclose(error.T @ x.numpy() + 333 * head.weight.detach().numpy(), 0, atol=5e-3)
    np.testing.assert_allclose(error.sum(0), 0, atol=5e-3)


def test_a_fitted_head_tells_separable_clips_apart_before_any_step(clips, model):
    data = ClipDataset(clips, SAMPLING, AugmentationConfig())
    kept = keep_prefixes(model, data, drawn=1, seed=0, device=CPU)
    fit_head(model, kept, SAMPLING, F.cross_entropy)
    with torch.no_grad():
        logits = model.forward_from_prefix(kept.prefixes[0].float(), SAMPLING.size)
    assert logits.argmax(1).tolist() == [entry.labels[0] for entry in clips.entries]
    model.fold_standardization()
    with torch.no_grad():
        folded = model.forward_from_prefix(kept.prefixes[0].float(), SAMPLING.size)
    torch.testing.assert_close(folded, logits, rtol=1e-3, atol=1e-3)
    assert isinstance(kept, KeptPrefixes)


# Fits a head to made vectors, and prints how many times their size memory has grown by at its peak.
PEAK = """
import sys
import torch
from torch import nn
from muybridge.devices import peak_memory_bytes
from muybridge.recognize import prefixes

CLIPS, LENGTH = 25_000, 1000

class Clips:
    def __len__(self):
        return CLIPS
    def seen(self, most_views):
        for index in range(CLIPS):
            yield torch.full((1, LENGTH), float(index % 7)), torch.tensor([index % 2])

class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.head, self.standardization = nn.Linear(LENGTH, 2), None
    def features_from_prefix(self, prefix, size):
        return prefix
    def read_over_time(self, features):
        return features

class Sampling:
    size = 1, 1

prefixes._FIT_ITERATIONS = 2
here = torch.device("cpu")
torch.ones(1 << 20).std()
before = peak_memory_bytes(here)
prefixes.fit_head(Network(), Clips(), Sampling, nn.functional.cross_entropy)
print((peak_memory_bytes(here) - before) / (4 * CLIPS * LENGTH))
"""


def test_of_all_clips_features_there_is_one_copy():
    done = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 1.7
