"""The importer, on files in the authors' layout whose names are written out here, not derived from our modules."""

import re

import pytest
import torch

from muybridge.errors import ModelMismatch
from muybridge.models.acar.checkpoint import convert_checkpoint, infer_configs
from muybridge.models.acar.head import ACARConfig, ACARHead, BaselineConfig, BaselineHead
from muybridge.models.acar.slowfast import SlowFast, SlowFastConfig

WIDTH, FAST, HIDDEN, REDUCED, CLASSES = 16, 4, 6, 8, 5
FAST_RATIO = WIDTH // FAST


def _batch_norm(name, channels, counters):
    state = {f"{name}.{key}": torch.rand(channels) for key in ("weight", "bias", "running_mean", "running_var")}
    return state | ({f"{name}.num_batches_tracked": torch.tensor(7)} if counters else {})


def authors_backbone(blocks, *, lateral_norm, span, counters=True):
    """A trunk as the authors save it."""
    state = {}
    for pathway, width, stem, temporal in (("fast", FAST, 5, (1, 2, 3, 4)), ("slow", WIDTH, 1, (3, 4))):
        state[f"{pathway}_conv1.weight"] = torch.randn(width, 3, stem, 7, 7)
        state |= _batch_norm(f"{pathway}_bn1", width, counters)
        incoming = width
        for n in (1, 2, 3, 4):
            inner = width * 2 ** (n - 1)
            if pathway == "slow":
                incoming += 2 * incoming // FAST_RATIO
            for i in range(blocks[n - 1]):
                name = f"{pathway}_res{n}.{i}"
                frames = 3 if n in temporal else 1
                state[f"{name}.conv1.weight"] = torch.randn(inner, incoming, frames, 1, 1)
                state[f"{name}.conv2.weight"] = torch.randn(inner, inner, 1, 3, 3)
                state[f"{name}.conv3.weight"] = torch.randn(inner * 4, inner, 1, 1, 1)
                for j, channels in ((1, inner), (2, inner), (3, inner * 4)):
                    state |= _batch_norm(f"{name}.bn{j}", channels, counters)
                if i == 0:
                    state[f"{name}.downsample.0.weight"] = torch.randn(inner * 4, incoming, 1, 1, 1)
                    state |= _batch_norm(f"{name}.downsample_bn", inner * 4, counters)
                incoming = inner * 4
    for n, channels in enumerate((FAST, FAST * 4, FAST * 8, FAST * 16), start=1):
        conv = f"Tconv{n}.0.weight" if lateral_norm else f"Tconv{n}.weight"
        state[conv] = torch.randn(2 * channels, channels, span, 1, 1)
        if lateral_norm:
            state |= _batch_norm(f"Tconv{n}.1", 2 * channels, counters)
    return state


def authors_head(depth, kernel):
    channels = 32 * WIDTH + 32 * FAST
    state = {
        "conv_reduce.weight": torch.randn(REDUCED, channels, 1, 1),
        "conv1.weight": torch.randn(HIDDEN, 2 * REDUCED, 1, 1),
        "conv2.weight": torch.randn(HIDDEN, HIDDEN, 3, 3),
        "fc1.weight": torch.randn(HIDDEN, REDUCED),
        "fc2.weight": torch.randn(CLASSES, 2 * HIDDEN),
    }
    for i in range(depth):
        for each in ("conv_q", "conv_k", "conv_v"):
            state[f"hr2o.{i}.{each}.weight"] = torch.randn(HIDDEN, HIDDEN, 3, 3)
        state[f"hr2o.{i}.conv.weight"] = torch.randn(HIDDEN, HIDDEN, kernel, kernel)
        state[f"hr2o.{i}.norm.weight"] = torch.rand(HIDDEN)
        state[f"hr2o.{i}.norm.bias"] = torch.rand(HIDDEN)
    return state


def saved(backbone, head, *, parallel):
    """The file of a whole training, each part wrapped or not."""
    outer, inner = ("module.", "module.") if parallel == "twice" else ("", "module." if parallel == "once" else "")
    state = {f"{outer}backbone.{inner}{name}": tensor for name, tensor in backbone.items()}
    state |= {f"{outer}head.{inner}{name}": tensor for name, tensor in head.items()}
    return {"epoch": 6, "state_dict": state, "optimizer": {"state": {}}}


FIRST = {"blocks": (1, 2, 1, 1), "lateral_norm": True, "span": 7}
SECOND = {"blocks": (1, 1, 3, 1), "lateral_norm": False, "span": 5}


@pytest.mark.parametrize("parallel", ["no", "once", "twice"])
@pytest.mark.parametrize(
    ("layout", "depth", "kernel", "rule"), [(FIRST, 2, 3, "span"), (SECOND, 1, 1, "stride")], ids=["R-50", "R-101"]
)
def test_both_variants_load_strictly(parallel, layout, depth, kernel, rule):
    torch.manual_seed(0)
    backbone, published = authors_backbone(**layout), authors_head(depth, kernel)
    file = saved(backbone, published, parallel=parallel)
    trunk_config, head_config = infer_configs(file)
    assert trunk_config.blocks == layout["blocks"]
    assert trunk_config.slow_frames == rule
    assert trunk_config.lateral_kernel == layout["span"]
    assert head_config == ACARConfig(32 * (WIDTH + FAST), CLASSES, REDUCED, HIDDEN, depth, kernel)
    imported = convert_checkpoint(file, trunk_config, head_config)
    assert imported.report.is_complete
    assert imported.report.filled == ()
    imported.report.require_complete()
    trunk, head = SlowFast(trunk_config), ACARHead(head_config)
    trunk.load_state_dict(imported.trunk, strict=True)
    head.load_state_dict(imported.head, strict=True)
    # Every number of the file is in the network once.
    total = sum(t.double().sum() for t in [*trunk.state_dict().values(), *head.state_dict().values()])
    assert torch.allclose(total, sum(t.double().sum() for t in file["state_dict"].values()))
    assert torch.equal(trunk.slow.stages[2][0].shortcut.conv.weight, backbone["slow_res3.0.downsample.0.weight"])
    assert torch.equal(trunk.fast.stages[1][0].norm2.running_var, backbone["fast_res2.0.bn2.running_var"])
    last = backbone["Tconv4.0.weight" if layout["lateral_norm"] else "Tconv4.weight"]
    assert torch.equal(trunk.laterals[3][0].weight, last)
    query, key, value = head.hr2o[0].qkv.weight.chunk(3)
    assert torch.equal(query, published["hr2o.0.conv_q.weight"])
    assert torch.equal(key, published["hr2o.0.conv_k.weight"])
    assert torch.equal(value, published["hr2o.0.conv_v.weight"])
    assert torch.equal(head.relate_context.weight, published["conv1.weight"][:, :REDUCED])
    assert torch.equal(head.relate_actor.weight, published["conv1.weight"][:, REDUCED:, 0, 0])


def test_a_file_of_the_trunk_alone():
    backbone = authors_backbone(**SECOND, counters=False)
    trunk_config, head_config = infer_configs(backbone)
    assert head_config is None
    imported = convert_checkpoint(backbone, trunk_config, None)
    assert imported.report.is_complete
    assert imported.head == {}
    norms = [name for name in backbone if name.endswith("running_var")]
    assert len(imported.report.filled) == len(norms)
    SlowFast(trunk_config).load_state_dict(imported.trunk, strict=True)


def test_a_baseline_file():
    head = {"fc.weight": torch.randn(CLASSES, 32 * (WIDTH + FAST))}
    file = saved(authors_backbone(**FIRST), head, parallel="once")
    trunk_config, head_config = infer_configs(file)
    assert head_config == BaselineConfig(32 * (WIDTH + FAST), CLASSES)
    imported = convert_checkpoint(file, trunk_config, head_config)
    assert imported.report.is_complete
    module = BaselineHead(head_config)
    module.load_state_dict(imported.head, strict=True)
    assert torch.equal(module.fc.weight, head["fc.weight"])


def test_every_missing_unused_and_misshapen_name_is_reported():
    file = saved(authors_backbone(**FIRST), authors_head(2, 3), parallel="once")
    configs = infer_configs(file)
    state = file["state_dict"]
    del state["backbone.module.slow_res2.1.bn2.running_mean"]
    del state["head.module.hr2o.1.conv_k.weight"]
    state["backbone.module.fc.weight"] = torch.zeros(400, 2304)
    state["head.module.fc2.weight"] = torch.zeros(80, 2 * HIDDEN)
    report = convert_checkpoint(file, *configs).report
    assert report.missing == ("backbone.slow_res2.1.bn2.running_mean", "head.hr2o.1.conv_k.weight")
    assert report.unused == ("backbone.fc.weight",)
    assert len(report.mismatched) == 1
    assert re.match(r"head\.fc2\.weight is \(80, 12\)", report.mismatched[0])
    with pytest.raises(ModelMismatch, match=r"slow_res2\.1\.bn2.*unused: backbone\.fc\.weight.*fc2"):
        report.require_complete()


def test_a_head_that_nobody_asked_for_is_unused():
    file = saved(authors_backbone(**FIRST), authors_head(1, 1), parallel="no")
    trunk_config, _ = infer_configs(file)
    report = convert_checkpoint(file, trunk_config, None).report
    assert len(report.unused) == len(authors_head(1, 1))
    assert all(name.startswith("head.") for name in report.unused)


def test_weights_of_one_variant_do_not_fit_the_other():
    file = saved(authors_backbone(**FIRST), authors_head(1, 1), parallel="no")
    _, head_config = infer_configs(file)
    other = SlowFastConfig(FIRST["blocks"], WIDTH, FAST_RATIO, lateral="conv", lateral_kernel=5)
    report = convert_checkpoint(file, other, head_config).report
    assert "backbone.Tconv1.weight" in report.missing
    assert "backbone.Tconv1.0.weight" in report.unused


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"conv1.weight": torch.zeros(1)}, "layout"),
        ({"epoch": 3}, "no tensors"),
        ({"state_dict": torch.zeros(3)}, "state_dict"),
        ({"fast_conv1.weight": torch.zeros(1), "module.backbone.fast_conv1.weight": torch.zeros(1)}, "twice"),
    ],
)
def test_other_files_are_refused(content, says):
    with pytest.raises(ModelMismatch, match=says):
        infer_configs(content)


def test_a_truncated_head_is_refused():
    head = authors_head(1, 1)
    del head["conv_reduce.weight"]
    with pytest.raises(ModelMismatch, match="conv_reduce"):
        infer_configs(saved(authors_backbone(**FIRST), head, parallel="no"))


def altered(names, value):
    file = saved(authors_backbone(**FIRST), authors_head(1, 1), parallel="no")
    return {"state_dict": file["state_dict"] | dict.fromkeys(names, value)}


SCALAR = torch.tensor(1.0)


@pytest.mark.parametrize(
    ("names", "value"),
    [
        (["backbone.fast_conv1.weight"], torch.zeros(0, 3, 5, 7, 7)),
        (["backbone.slow_conv1.weight"], SCALAR),
        (["backbone.Tconv1.0.weight"], torch.zeros(4)),
        (["backbone.slow_res2.0.conv2.weight"], SCALAR),
        (["backbone.slow_res2.0.conv2.weight"], torch.zeros(32, 32, 1, 3, 3, dtype=torch.complex64)),
        ([f"backbone.slow_res{n}.{i}.conv1.weight" for n in (1, 2, 3, 4) for i in range(150)], torch.zeros(1)),
        ([f"head.hr2o.{i}.x" for i in range(150)], torch.zeros(1)),
        (["head.fc.weight"], torch.zeros(3)),
        (["head.conv_reduce.weight"], SCALAR),
        (["head.conv2.weight"], SCALAR),
        (["head.fc2.weight"], torch.zeros(5)),
        (["head.hr2o.0.conv.weight"], SCALAR),
        (["head.conv1.weight"], SCALAR),
        (["head.conv1.weight"], torch.zeros(HIDDEN, 1, 1, 1)),
        (["head.hr2o.0.conv_q.weight"], SCALAR),
        (["head.hr2o.0.conv_q.weight"], torch.zeros(HIDDEN, HIDDEN + 1, 3, 3)),
        ([f"backbone.{'x' * 5000}\n"], torch.zeros(1)),
        ([3], torch.zeros(1)),
    ],
)
def test_a_tensor_of_another_rank_or_name_is_named_in_one_line(names, value):
    file = altered(names, value)
    with pytest.raises(ModelMismatch) as refusal:
        convert_checkpoint(file, *infer_configs(file)).report.require_complete()
    assert len(str(refusal.value)) < 1500
    assert "\n" not in str(refusal.value)


def test_a_stage_without_layers_is_refused():
    backbone = {name: tensor for name, tensor in authors_backbone(**FIRST).items() if "slow_res3" not in name}
    with pytest.raises(ModelMismatch, match="0 layers"):
        infer_configs(backbone)


def test_many_layers_are_refused_before_a_network_is_made_of_them():
    with pytest.raises(ModelMismatch, match="150 layers"):
        infer_configs(altered([f"backbone.slow_res1.{i}.conv1.weight" for i in range(150)], torch.zeros(1)))
