"""The configuration: defaults, environment, blocks, threads, tasks, and what it refuses."""

from __future__ import annotations

import asyncio
import copy
import os
import pickle
import threading

import pytest

from staticnet.compiler.errors import ArgumentError
from staticnet.config import Config, config, settings, using_config


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    for setting in settings().values():
        monkeypatch.delenv(setting.variable, raising=False)
    config.reset()
    yield
    config.reset()


def test_defaults():
    assert config.device == "cpu"
    assert config.check_finite is False
    assert config.progress is None
    assert 1 <= config.num_threads <= (os.cpu_count() or 1)


@pytest.mark.parametrize(("text", "value"), [("3", 3), ("0", None), ("4,2", None), ("", None)])
def test_threads_are_as_many_as_openmp_is_told(monkeypatch, text, value):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("STATICNET_NUM_THREADS", raising=False)
    usual = Config().num_threads
    monkeypatch.setenv("OMP_NUM_THREADS", text)
    assert Config().num_threads == (value or usual)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("device", "cuda:1", "cuda:1"),
        ("device", " auto ", "auto"),
        ("check_finite", "1", True),
        ("check_finite", "False", False),
        ("check_finite", "on", True),
        ("num_threads", "3", 3),
        ("progress", "0", False),
        ("progress", "yes", True),
        ("progress", "None", None),
        ("progress", "", None),
    ],
)
def test_environment_sets_the_first_value(monkeypatch, name, text, value):
    monkeypatch.setenv(f"STATICNET_{name.upper()}", text)
    assert getattr(Config(), name) == value


def test_environment_is_read_at_first_use_and_kept(monkeypatch):
    fresh_config = Config()
    monkeypatch.setenv("STATICNET_DEVICE", "cuda")
    assert fresh_config.device == "cuda"
    monkeypatch.setenv("STATICNET_DEVICE", "cpu")
    assert fresh_config.device == "cuda"
    fresh_config.reset()
    assert fresh_config.device == "cpu"


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("STATICNET_DEVICE", "tpu"),
        ("STATICNET_DEVICE", "cuda:x"),
        ("STATICNET_CHECK_FINITE", "maybe"),
        ("STATICNET_NUM_THREADS", "0"),
        ("STATICNET_NUM_THREADS", "-2"),
        ("STATICNET_NUM_THREADS", "2.5"),
        ("STATICNET_PROGRESS", "some"),
    ],
)
def test_a_wrong_environment_names_the_variable_and_the_value(monkeypatch, variable, text):
    monkeypatch.setenv(variable, text)
    with pytest.raises(ArgumentError, match=f"{variable} = .*{text}"):
        getattr(Config(), variable.removeprefix("STATICNET_").lower())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("device", "gpu0"),
        ("device", None),
        ("device", "cpu\n"),
        ("check_finite", 1),
        ("check_finite", None),
        ("num_threads", 0),
        ("num_threads", True),
        ("num_threads", 2.0),
        ("num_threads", None),
        ("progress", "yes"),
    ],
)
def test_a_wrong_value_is_refused_and_changes_nothing(name, value):
    before = config.describe()
    with pytest.raises(ArgumentError, match=name):
        setattr(config, name, value)
    with pytest.raises(ArgumentError, match=name), using_config(**{name: value}):
        pytest.fail("the block must not begin")
    assert config.describe() == before


def test_unknown_names_name_their_neighbours():
    with pytest.raises(ArgumentError, match=r"'devise'.*did you mean device"):
        config.devise = "cpu"  # type: ignore[attr-defined]
    with pytest.raises(ArgumentError, match=r"'check_finit'.*check_finite"):
        config.check_finit  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(ArgumentError, match=r"'threads'.*num_threads"), using_config(threads=2):
        pytest.fail("the block must not begin")
    with pytest.raises(ArgumentError, match="there are device, check_finite, num_threads, progress"):
        config.zzz = 1  # type: ignore[attr-defined]
    with pytest.raises(ArgumentError, match="describe"):
        config.describe = None  # type: ignore[assignment,method-assign]
    assert not hasattr(config, "devise")


def test_a_block_restores():
    config.num_threads = 5
    with using_config(device="cuda", check_finite=True) as inside:
        assert inside is config
        assert (config.device, config.check_finite, config.num_threads) == ("cuda", True, 5)
        with using_config(device="cpu"):
            assert (config.device, config.check_finite) == ("cpu", True)
        assert config.device == "cuda"
    assert (config.device, config.check_finite, config.num_threads) == ("cpu", False, 5)


def test_a_block_restores_after_an_exception():
    with pytest.raises(ZeroDivisionError), using_config(device="cuda"), using_config(check_finite=True):
        raise ZeroDivisionError
    assert (config.device, config.check_finite) == ("cpu", False)


def test_one_wrong_name_leaves_the_others_unchanged():
    with pytest.raises(ArgumentError), using_config(device="cuda", divice="cpu"):
        pytest.fail("the block must not begin")
    assert config.device == "cpu"


def test_an_assignment_inside_a_block_ends_with_it():
    config.device = "cuda"
    with using_config(check_finite=True):
        config.device = "cpu"
        config.check_finite = False
        assert (config.device, config.check_finite) == ("cpu", False)
    assert (config.device, config.check_finite) == ("cuda", False)


def test_an_empty_block_is_a_scope():
    with using_config():
        config.num_threads = 1
        assert config.num_threads == 1
    config.num_threads = 7
    assert config.num_threads == 7


def test_works_as_a_decorator():
    @using_config(device="cuda")
    def device():
        return config.device

    assert [device(), device(), config.device] == ["cuda", "cuda", "cpu"]


def test_blocks_are_not_seen_by_other_threads_but_assignments_are():
    config.num_threads = 3
    seen = []
    entered, done = threading.Event(), threading.Event()

    def other():
        entered.wait(10)
        seen.append((config.device, config.num_threads))
        with using_config(device="cuda:3"):
            seen.append(config.device)
            done.wait(10)

    thread = threading.Thread(target=other)
    thread.start()
    with using_config(device="cuda", num_threads=1):
        entered.set()
        while len(seen) < 2:
            done.wait(0.01)
        assert (config.device, config.num_threads) == ("cuda", 1)
        done.set()
    thread.join()
    assert seen == [("cpu", 3), "cuda:3"]


def test_tasks_inherit_and_do_not_disturb_each_other():
    async def task(device):
        inherited = config.check_finite
        with using_config(device=device):
            for _ in range(3):
                await asyncio.sleep(0)
                assert config.device == device
        return config.device, inherited

    async def main():
        with using_config(check_finite=True):
            return await asyncio.gather(*(task(f"cuda:{number}") for number in range(5)))

    assert asyncio.run(main()) == [("cpu", True)] * 5


def test_describe_says_values_and_sources(monkeypatch):
    monkeypatch.setenv("STATICNET_NUM_THREADS", "2")
    config.progress = False
    with using_config(device="cuda"):
        lines = config.describe().splitlines()
    assert [line.split()[:3] for line in lines] == [
        ["device", "'cuda'", "(using_config)"],
        ["check_finite", "False", "(default)"],
        ["num_threads", "2", "(STATICNET_NUM_THREADS)"],
        ["progress", "False", "(assigned)"],
    ]
    assert all(setting.meaning in line for setting, line in zip(settings().values(), lines, strict=True))
    assert repr(config) == "Config(device='cpu', check_finite=False, num_threads=2, progress=False)"


def test_copy_and_pickle_do_not_break():
    assert copy.copy(config).device == "cpu"
    assert pickle.loads(pickle.dumps(config)).num_threads == config.num_threads
