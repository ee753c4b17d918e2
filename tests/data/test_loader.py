"""The DataLoader: batches, orders, resuming."""

import json
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from staticnet.compiler.errors import ArgumentError, DataError, StateError
from staticnet.data import ArrayDataset, DataLoader, Subset


def numbered(count=10):
    return ArrayDataset(np.arange(count * 3, dtype=np.float32).reshape(count, 3), np.arange(count))


def joined(batches):
    return [label for batch in batches for label in batch]


def labels(loader):
    return [batch[1].tolist() for batch in loader]


def test_batches_in_order_with_a_short_last_one():
    loader = DataLoader(numbered(10), batch_size=4)
    assert len(loader) == 3
    assert labels(loader) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    images, _ = next(iter(loader))
    assert images.shape == (4, 3) and images.dtype == np.float32 and images.flags.c_contiguous


def test_drop_last():
    loader = DataLoader(numbered(10), batch_size=4, drop_last=True)
    assert len(loader) == 2 and labels(loader) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert len(DataLoader(numbered(8), batch_size=4, drop_last=True)) == 2


def test_a_batch_larger_than_the_data_is_one_short_batch():
    assert labels(DataLoader(numbered(3), batch_size=32)) == [[0, 1, 2]]


def test_a_single_array_gives_arrays():
    assert [batch.tolist() for batch in DataLoader(np.arange(3), batch_size=2)] == [[0, 1], [2]]


def test_shuffled_epochs_cover_the_data_and_differ():
    loader = DataLoader(numbered(100), batch_size=7, shuffle=True)
    first, second = joined(labels(loader)), joined(labels(loader))
    assert sorted(first) == sorted(second) == list(range(100))
    assert first != second != list(range(100))


def test_an_order_depends_on_seed_and_epoch_alone():
    loader = DataLoader(numbered(50), batch_size=7, shuffle=True, seed=5)
    epochs = [labels(loader) for _ in range(3)]
    fresh = DataLoader(numbered(50), batch_size=7, shuffle=True, seed=5, prefetch=3)
    fresh.set_epoch(2)
    assert labels(fresh) == epochs[2]
    fresh.set_epoch(0)
    assert labels(fresh) == epochs[0]
    larger = DataLoader(numbered(50), batch_size=50, shuffle=True, seed=5)
    assert labels(larger) == [joined(epochs[0])]
    assert labels(DataLoader(numbered(50), batch_size=7, shuffle=True, seed=6)) != epochs[0]


def test_orders_are_the_same_in_every_version():
    loader = DataLoader(numbered(8), batch_size=8, shuffle=True, seed=1)
    assert labels(loader) + labels(loader) == [[3, 5, 2, 7, 0, 6, 1, 4], [0, 6, 5, 3, 4, 7, 2, 1]]


def test_the_fast_path_agrees_with_fetching_one_by_one():
    data = numbered(20)
    rows = [data[index] for index in range(20)]
    for one, other in zip(
        DataLoader(Subset(data, range(20)), batch_size=6, shuffle=True, seed=2),
        DataLoader(rows, batch_size=6, shuffle=True, seed=2),
        strict=True,
    ):
        assert all(np.array_equal(a, b) and a.dtype == b.dtype for a, b in zip(one, other, strict=True))


def test_collate_gets_the_list_of_examples():
    loader = DataLoader(["a", "bcd", "ef"], batch_size=2, collate=lambda texts: max(texts, key=len))
    assert list(loader) == ["bcd", "ef"]


def test_no_batch_is_possible():
    with pytest.raises(DataError, match="the dataset is empty") as caught:
        DataLoader(ArrayDataset(np.zeros((0, 3))))
    assert caught.value.origin.file == __file__
    with pytest.raises(DataError, match=r"3 examples, fewer than batch_size=4.*set drop_last=False"):
        DataLoader(numbered(3), batch_size=4, drop_last=True)
    grows = [1]
    loader = DataLoader(grows)
    grows.clear()
    with pytest.raises(DataError, match="the dataset is empty"):
        next(iter(loader))


@pytest.mark.parametrize("batch_size", [0, -1, 2.0, "4", None, True, np.arange(3), np.array(3)])
def test_batch_sizes_that_are_none(batch_size):
    with pytest.raises(ArgumentError, match="batch_size must be a whole number of at least 1, not"):
        DataLoader(numbered(), batch_size=batch_size)


def test_other_arguments_out_of_range():
    for seed in (-1, 0.5, None):
        with pytest.raises(ArgumentError, match="seed must be"):
            DataLoader(numbered(), seed=seed)
    with pytest.raises(ArgumentError, match="prefetch must be"):
        DataLoader(numbered(), prefetch=-1)
    with pytest.raises(ArgumentError, match="epoch must be"):
        DataLoader(numbered()).set_epoch(-1)
    with pytest.raises(ArgumentError, match="lacks them; wrap arrays in ArrayDataset"):
        DataLoader(iter([1, 2]))
    with pytest.raises(ArgumentError, match=r"DataLoader\(ArrayDataset\(images, labels\)"):
        DataLoader((np.zeros(3), np.zeros(3)))
    assert DataLoader(numbered(), batch_size=np.int32(4)).batch_size == 4


def test_the_state_follows_what_was_consumed():
    loader = DataLoader(numbered(10), batch_size=4, shuffle=True, seed=9, prefetch=2)
    expected = {"seed": 9, "length": 10, "batch_size": 4, "shuffle": True, "drop_last": False}
    assert loader.state_dict() == {"epoch": 0, "position": 0, **expected}
    seen = []
    for _ in loader:
        seen.append((loader.epoch, loader.state_dict()["position"]))
    assert seen == [(0, 1), (0, 2), (0, 3)]
    assert loader.state_dict() == {"epoch": 1, "position": 0, **expected}


def test_an_epoch_left_early_is_over():
    loader = DataLoader(numbered(10), batch_size=4, shuffle=True)
    epochs = [labels(loader) for _ in range(3)]
    loader.set_epoch(0)
    for _ in loader:
        break
    assert loader.epoch == 0 and labels(loader) == epochs[1]
    assert labels(loader) == epochs[2]


def test_asking_for_an_iterator_alone_changes_nothing():
    loader = DataLoader(numbered(10), batch_size=4, shuffle=True)
    iter(loader)
    iter(loader)
    assert loader.state_dict()["epoch"] == 0 and len(labels(loader)) == 3 and loader.epoch == 1


def test_the_iteration_begun_last_moves_the_state():
    loader = DataLoader(numbered(10), batch_size=4, shuffle=True)
    one = iter(loader)
    next(one)
    other = iter(loader)
    next(other)
    assert (loader.epoch, loader.state_dict()["position"]) == (1, 1)
    assert len(list(one)) == 2
    assert (loader.epoch, loader.state_dict()["position"]) == (1, 1)
    assert len(list(other)) == 2
    assert (loader.epoch, loader.state_dict()["position"]) == (2, 0)


@pytest.mark.parametrize("prefetch", [0, 1, 3])
@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("consumed", [0, 1, 2, 5])
def test_resuming_gives_the_remaining_batches(prefetch, drop_last, consumed):
    arguments = {"batch_size": 4, "shuffle": True, "seed": 3, "drop_last": drop_last}
    whole = DataLoader(numbered(22), **arguments)
    epochs = [labels(whole) for _ in range(3)]

    stopped = DataLoader(numbered(22), prefetch=prefetch, **arguments)
    labels(stopped)
    running = iter(stopped)
    assert [next(running)[1].tolist() for _ in range(consumed)] == epochs[1][:consumed]
    resumed = DataLoader(numbered(22), prefetch=prefetch, **{**arguments, "seed": 0})
    resumed.load_state_dict(json.loads(json.dumps(stopped.state_dict())))
    assert labels(resumed) == epochs[1][consumed:]
    assert labels(resumed) == epochs[2]


def test_resuming_in_the_last_batch_leaves_an_epoch_without_batches():
    loader = DataLoader(numbered(10), batch_size=5)
    for _ in loader:
        state = loader.state_dict()
    assert state["position"] == len(loader)
    resumed = DataLoader(numbered(10), batch_size=5)
    resumed.load_state_dict(state)
    assert labels(resumed) == [] and resumed.epoch == 1 and len(labels(resumed)) == 2


def test_set_epoch_keeps_the_position_of_a_state_just_loaded_only():
    loader = DataLoader(numbered(10), batch_size=4)
    state = {**loader.state_dict(), "epoch": 6, "position": 2}
    loader.load_state_dict(state)
    loader.set_epoch(6)
    assert labels(loader) == [[8, 9]]
    loader.load_state_dict(state)
    loader.set_epoch(7)
    assert len(labels(loader)) == 3
    next(iter(loader))
    loader.set_epoch(loader.epoch)
    assert len(labels(loader)) == 3


def test_resuming_in_a_new_process(tmp_path):
    script = textwrap.dedent("""
        import json, pathlib, sys
        import numpy as np
        from staticnet.data import ArrayDataset, DataLoader

        state = pathlib.Path(sys.argv[1])
        loader = DataLoader(ArrayDataset(np.arange(40)), batch_size=6, shuffle=True, seed=11, prefetch=2)
        if state.exists():
            loader.load_state_dict(json.loads(state.read_text()))
        seen = []
        for epoch in range(loader.epoch, 3):
            loader.set_epoch(epoch)
            for batch in loader:
                seen.append(batch.tolist())
                if len(sys.argv) > 2 and len(seen) == int(sys.argv[2]):
                    state.write_text(json.dumps(loader.state_dict()))
                    print(json.dumps(seen))
                    sys.exit()
        print(json.dumps(seen))
    """)

    def run(*arguments):
        done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True)
        return json.loads(done.stdout)

    whole = run(str(tmp_path / "none.json"))
    assert len(whole) == 21
    state = str(tmp_path / "state.json")
    assert run(state, "9") + run(state, "7") + run(state) == whole


def test_states_that_do_not_fit():
    loader = DataLoader(numbered(10), batch_size=4, shuffle=True)
    state = loader.state_dict()
    for name, value in {"length": 11, "batch_size": 5, "shuffle": False, "drop_last": True}.items():
        with pytest.raises(StateError, match=f"saved with {name}={value}"):
            loader.load_state_dict({**state, name: value})
    for name, value in {"position": 4, "epoch": -1, "seed": "x"}.items():
        with pytest.raises(StateError, match=f"damaged: {name} must be"):
            loader.load_state_dict({**state, name: value})
    for wrong in ({}, {"seed": 0, "epoch": 0, "position": 0}, None, {**state, "more": 1}):
        with pytest.raises(StateError, match="has the entries"):
            loader.load_state_dict(wrong)
    assert loader.state_dict() == state
