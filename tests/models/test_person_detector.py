"""The network's geometry, and the assignment of cells against a naive loop."""

import torch

from muybridge.models.person_detector import STRIDES, PersonDetector, PersonDetectorConfig, cell_centres
from muybridge.people.objective import LEVEL_SIDES, PersonDetectorObjective, assign_cells


def naive(boxes, sure, size):
    answers = []
    for level, stride in enumerate(STRIDES):
        for row in range(-(-size[0] // stride)):
            for column in range(-(-size[1] // stride)):
                x, y = (column + 0.5) * stride, (row + 0.5) * stride
                best, smallest, in_unsure = -1, float("inf"), False
                for person, (left, top, right, bottom) in enumerate(boxes.tolist()):
                    if not (left < x < right and top < y < bottom):
                        continue
                    if not sure[person]:
                        in_unsure = True
                        continue
                    away = max(abs(x - (left + right) / 2), abs(y - (top + bottom) / 2))
                    longest, area = max(right - left, bottom - top), (right - left) * (bottom - top)
                    least, most = LEVEL_SIDES[level]
                    if away <= 1.5 * stride and least <= longest <= most and area < smallest:
                        best, smallest = person, area
                answers.append(best if best >= 0 else -2 if in_unsure else -1)
    return answers


def test_cells_answer_as_in_a_naive_loop() -> None:
    torch.manual_seed(0)
    kinds = set()
    for _ in range(6):
        corner, sides = torch.rand(6, 2) * 150, torch.rand(6, 2) * torch.tensor([90, 150]) + 6
        boxes, sure = torch.cat([corner, corner + sides], 1), torch.rand(6) < 0.6
        found = assign_cells(boxes, sure, (160, 192)).tolist()
        assert found == naive(boxes, sure, (160, 192))
        kinds |= {min(answer, 0) for answer in found}
    assert kinds == {-2, -1, 0}
    assert set(assign_cells(torch.zeros(0, 4), torch.zeros(0, dtype=torch.bool), (64, 64)).tolist()) == {-1}


def test_one_logit_and_one_box_around_each_cell() -> None:
    network = PersonDetector().eval()
    with torch.no_grad():
        logits, boxes = network(torch.rand(2, 3, 64, 96))
    centres, strides = cell_centres((64, 96))
    assert logits.shape == (2, 8 * 12 + 4 * 6 + 2 * 3) and boxes.shape == (*logits.shape, 4)
    assert strides.tolist() == [8.0] * 96 + [16.0] * 24 + [32.0] * 6
    assert (boxes[..., :2] < centres).all() and (boxes[..., 2:] > centres).all()
    assert sum(p.numel() for p in network.parameters()) * 2 < 12e6


def test_a_box_that_is_seen_often_is_learned() -> None:
    torch.manual_seed(0)
    objective = PersonDetectorObjective(PersonDetector(PersonDetectorConfig(8, (1, 1, 1, 1), 16)))
    optimizer = torch.optim.AdamW(objective.parameters(), lr=1e-3)
    frames = torch.randint(0, 60, (2, 3, 64, 64), dtype=torch.uint8)
    frames[0, :, 10:50, 20:40] = 220
    boxes = torch.tensor([[[20.0, 10, 40, 50]], [[0, 0, 0, 0]]])
    batch = {"frames": frames, "boxes": boxes, "kind": torch.tensor([[1], [-1]])}
    for _ in range(60):
        optimizer.zero_grad()
        losses = objective(batch)
        losses["loss"].backward()
        optimizer.step()
    logits, found = objective.network(frames.float() / 255)
    best = int(logits[0].argmax())
    assert (found[0, best] - boxes[0, 0]).abs().max() < 4
    assert logits[0, best] > logits[1].max() + 1


def test_what_is_frozen_keeps_its_statistics() -> None:
    network = PersonDetector()
    network.stages.requires_grad_(False)
    PersonDetectorObjective(network).train()
    assert not any(module.training for module in network.stages.modules())
    assert network.heads.training and network.stem.training
