"""What a program takes its batch size for, read from the shapes that its model is called with."""

from __future__ import annotations

from lrscout.search.observed import ObservedSizes

MIB = 1 << 20


def step(*ranks):
    """The shapes of a step, a list of them for each rank."""
    return tuple(tuple(rank) for rank in ranks)


def plain(size, *rest):
    """Three steps of one micro-batch on one rank."""
    return [step([(size, *rest)])] * 3


def test_the_size_is_found_on_whatever_axis_it_lies():
    for shapes in ([plain(4, 35), plain(16, 35)], [[step([(35, 4)])], [step([(35, 16)])]]):
        sizes = ObservedSizes()
        found = [sizes.note(size, steps, MIB) for size, steps in zip((4, 16), shapes)]
        assert [each.samples for each in found] == [4, 16]
        assert found[-1].cap is None


def test_a_size_per_rank_is_told_from_one_of_all_ranks():
    each, together = ObservedSizes(), ObservedSizes()
    assert (found := each.note(8, [step([(8, 3)], [(8, 3)])], None)).micro_batch == 8
    assert found.samples == 16
    assert (found := together.note(8, [step([(4, 3)], [(4, 3)])], None)).micro_batch == 4
    assert found.samples == 8
    odd = together.note(33, [step([(16, 3)], [(16, 3)])], None)
    assert (odd.samples, odd.cap) == (32, None)  # divided among two


def test_micro_batches_add_up():
    found = ObservedSizes().note(8, [step([(8, 3), (8, 3), (8, 3)])], None)
    assert (found.micro_batch, found.samples) == (8, 24)


def test_a_cap_is_seen_and_named():
    sizes = ObservedSizes()
    sizes.note(16, plain(16, 64), MIB)
    assert sizes.note(1024, plain(24, 64), MIB).cap == 24
    assert sizes.note(24, plain(24, 64), MIB).cap is None


def test_a_program_that_does_not_follow_the_size_at_all_is_seen():
    sizes = ObservedSizes()
    assert sizes.note(4, plain(12, 64), 50 * MIB).cap is None
    assert sizes.note(16, plain(12, 64), 50 * MIB).cap == 4


def test_shapes_that_say_nothing_are_no_cap():
    sizes = ObservedSizes()
    sizes.note(4, plain(35), 50 * MIB)  # positions, of which there are as many for every size
    assert sizes.note(16, plain(35), 80 * MIB).cap is None
    graphs = ObservedSizes()
    graphs.note(4, plain(100, 4), MIB)  # 25 nodes a graph, with as many features as there are graphs
    assert graphs.note(16, plain(400, 4), MIB).cap is None
    assert graphs.note(64, plain(1600, 4), MIB).samples is None
    assert ObservedSizes().note(4, [step([])], MIB).cap is None


def test_the_first_step_may_be_seen_differently():
    found = ObservedSizes().note(8, [step([(1, 64)]), step([(8, 64)]), step([(8, 64)])], None)
    assert found.samples == 8
