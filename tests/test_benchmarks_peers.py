"""The harness that times staticnet beside its peers: turns, agreement, goals and reports; speed is not judged here."""

from __future__ import annotations

import gc
import importlib
import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks"


def benchmark_module(name):
    """A module of the benchmarks, found without the repository's root on the path: there lies a second `compiler`."""
    if "benchmarks" not in sys.modules:
        spec = importlib.util.spec_from_file_location("benchmarks", FOLDER / "__init__.py")
        sys.modules["benchmarks"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules["benchmarks"])
    return importlib.import_module(f"benchmarks.{name}")


agreement, interleave, workloads = map(benchmark_module, ("agreement", "interleave", "workloads"))
against_peers, comparison, worker = map(benchmark_module, ("against_peers", "comparison", "worker"))
peers, processes, program = map(benchmark_module, ("peers", "processes", "__main__"))
Side, Times = peers.Side, interleave.Times


def quick(name):
    (found,) = workloads.chosen((name,), quick=True)
    return found


def compared(workload, *names):
    return worker.compare(workload, ["staticnet", *names], 1, interleave.QUICK, True)


# ---- turns


@pytest.fixture
def clock(monkeypatch):
    """Time that passes only when `clock.pass_by` says so."""

    class Clock:
        now = 0.0

        def pass_by(self, seconds):
            self.now += seconds

    made = Clock()
    monkeypatch.setattr(interleave.time, "perf_counter", lambda: made.now)
    return made


def test_sides_take_turns_and_the_first_calls_do_not_count(clock):
    called, costs = [], {"a": 1.0, "b": 3.0}

    def side(name):
        def call(number):
            called.append((name, number, gc.isenabled()))
            # What comes back from a rest takes ten times as long.
            clock.pass_by(costs[name] * (10 if len(called) < 2 or called[-2][0] != name else 1))

        return call

    turns = interleave.Turns(rounds=3, seconds=4.0, fewest=2, most=3)
    times = interleave.interleave({name: side(name) for name in costs}, turns)
    assert {name: found.rounds for name, found in times.items()} == {"a": [1.0] * 3, "b": [3.0] * 3}
    assert [found.fastest for found in times.values()] == [1.0, 3.0]
    assert not any(enabled for *_, enabled in called) and gc.isenabled()
    # Three counted calls of a fit, two of b; the second round begins with b.
    one, other = [("a", number) for number in (0, 0, 1, 2)], [("b", number) for number in (0, 0, 1)]
    assert [call[:2] for call in called] == one + other + other + one + one + other


def test_a_drifting_machine_leaves_the_ratio():
    times = {"staticnet": Times([1.0, 2.0, 4.0], 1.0), "peer": Times([3.0, 6.0, 12.0], 3.0)}
    found = comparison.Comparison(quick("mlp"), 1, times, {}, {}, {})
    assert found.times_as_fast("peer") == 3.0 and found.ms("peer") == 6000.0


# ---- agreement


def traced(results, **states):
    arrays = {name: np.array(value, np.float32) for name, value in states.items()}
    return agreement.Trace([np.array(result, np.float32) for result in results], [arrays, arrays])


START = {"w": np.array([1.0, 2.0], np.float32)}


def test_equal_traces_agree():
    ours = traced([1.0, 2.0, 3.0], w=[1.5, 2.5])
    assert agreement.difference(ours, ours, START) == (0.0, "")


@pytest.mark.parametrize(
    ("theirs", "said"),
    [
        (traced([1.0, 2.1, 3.0], w=[1.5, 2.5]), "result of call 2 differs by 0.05"),
        (traced([1.0, 2.0, np.nan], w=[1.5, 2.5]), "result of call 3 differs by nan"),
        (traced([1.0, 2.0, [3.0]], w=[1.5, 2.5]), "result of call 3 differs by inf"),
        (traced([1.0, 2.0, 3.0], w=[1.5, 2.51]), "w after 1 calls differs by 0.014 of its move"),
        (traced([1.0, 2.0, 3.0]), "w after 1 calls differs by inf"),
    ],
)
def test_what_differs_is_said(theirs, said):
    largest, fault = agreement.difference(traced([1.0, 2.0, 3.0], w=[1.5, 2.5]), theirs, START)
    assert said in fault and not largest <= agreement.RESULTS


def test_weights_are_held_against_how_far_they_moved():
    ours, theirs = traced([1.0], w=[1.001, 2.0]), traced([1.0], w=[1.0, 2.0])
    # As numbers they are close, but the peer has not moved at all.
    assert agreement.difference(ours, theirs, START)[0] == pytest.approx(1.0, rel=1e-3)


# ---- comparisons


def one_comparison(**changes):
    times = {
        "staticnet": Times([0.010, 0.010], 0.009),
        "PyTorch": Times([0.030, 0.020], 0.020),
        "JAX": Times([0.015, 0.017], 0.014),
        "(product)": Times([0.002, 0.002], 0.002),
    }
    row = replace(quick("cnn_train_64"), **changes)
    work = {"staticnet": 10**9, "(product)": 4 * 10**8}
    return comparison.Comparison(row, 2, times, {"PyTorch": 1e-6}, {"ONNX Runtime": "OSError: gone"}, work)


def test_a_goal_is_about_the_fastest_of_its_rivals():
    found = one_comparison()
    assert (found.best_rival, found.achieved, found.verdict) == ("JAX", pytest.approx(1.6), "MISSED")
    found = one_comparison(rivals=("PyTorch",))
    assert (found.best_rival, found.achieved, found.verdict) == ("PyTorch", pytest.approx(2.5), "met")
    found = one_comparison(rivals=("NumPy",))
    assert (found.best_rival, found.achieved, found.verdict) == (None, None, "")


def test_shares_are_of_the_ceiling_of_the_same_rounds():
    found = one_comparison()
    assert found.ceiling_text == "200 GFLOP/s"
    assert found.share("staticnet") == pytest.approx(0.5) and found.share("PyTorch") < 0.25
    moved = {"staticnet": Times([0.5], 0.5), "(copy)": Times([0.3], 0.3)}
    copy = comparison.Comparison(quick("relu"), 1, moved, {}, {}, {"staticnet": 200, "(copy)": 100})
    assert copy.achieved == pytest.approx(1.2) and copy.verdict == "met"


def test_comparisons_travel_as_data():
    json = importlib.import_module("json")
    found = one_comparison()
    assert comparison.Comparison.of_data(json.loads(json.dumps(found.as_data()))) == found


def test_reports_name_every_side_and_every_fault():
    found = one_comparison()
    text = against_peers.as_text(found)
    assert "PyTorch" in text and "1.60 x MISSED" in text and "ONNX Runtime: OSError: gone" in text
    table = against_peers.as_markdown([found, replace(found, threads=1)])
    assert "### 2 threads" in table and "### 1 thread\n" in table and "25 (2.50 x)" in table and "| failed |" in table
    figures = against_peers.figures_of([found])
    assert [figure.verdict for figure in figures] == ["MISSED", "MISSED"]
    assert "OSError" in figures[1].note and figures[0].at_least


def test_a_chart_is_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    (path,) = against_peers.charts([one_comparison(), one_comparison(rivals=("NumPy",))], tmp_path / "images")
    assert path.name == "peers_2_threads.png" and path.read_bytes().startswith(b"\x89PNG")
    # 16 ms, as the fastest peer, and twice as fast.
    assert benchmark_module("chart").goal_ms(one_comparison()) == pytest.approx(8.0)


# ---- workloads and sides


def test_workloads_are_chosen_by_how_they_begin():
    assert [row.name for row in workloads.chosen(("cnn_train",))] == ["cnn_train_64", "cnn_train_32"]
    assert len({row.name for row in workloads.chosen()}) == len(workloads.chosen()) > 15
    with pytest.raises(ValueError, match=r"no workload begins with 'gpt'; there are cnn_train_64"):
        workloads.chosen(("gpt",))


@pytest.mark.parametrize("name", ["mlp", "tiny_train", "tiny_infer", "softmax", "layer_norm", "relu", "adam", "gelu"])
def test_numpy_agrees(name):
    found = compared(quick(name), "numpy")
    assert not found.faults and 0 <= found.differences["NumPy"] < 1e-4
    assert set(found.times) - {"(product)", "(copy)"} == {"staticnet", "NumPy"}
    assert found.achieved is None or found.achieved > 0


@pytest.mark.parametrize("peer", ["torch", "jax", "onnxruntime"])
@pytest.mark.parametrize("name", ["tiny_train", "cnn_train_32", "lstm", "cnn_infer_1", "relu", "adam", "tanh"])
def test_peers_agree(peer, name):
    pytest.importorskip(peer)
    found = compared(quick(name), peer)
    assert not found.faults, found.faults
    assert bool(found.peers) == (peer != "onnxruntime" or name in ("cnn_infer_1", "relu", "tanh"))


def test_images_with_channels_last_are_the_same_weights():
    pytest.importorskip("jax")
    models = benchmark_module("peers.jax_models")
    start = benchmark_module("peers.staticnet_peer").first_weights(quick("cnn_train_32"))
    back = models.from_rows("cnn", models.to_rows("cnn", start))
    assert all(np.array_equal(back[name], value) for name, value in start.items())


def test_a_side_that_computes_something_else_is_not_timed(monkeypatch):
    monkeypatch.setitem(benchmark_module("peers.numpy_peer").FUNCTIONS, "tanh", np.sin)
    found = compared(quick("tanh"), "numpy")
    assert "NumPy" not in found.times and found.faults["NumPy"].startswith("results differ")
    assert "MISSED" in [figure.verdict for figure in against_peers.figures_of([found])]


def test_a_side_that_fails_is_named_and_the_others_go_on(monkeypatch):
    def refuse(x):
        raise OSError("no such kernel")

    monkeypatch.setitem(benchmark_module("peers.numpy_peer").FUNCTIONS, "tanh", refuse)
    found = compared(quick("tanh"), "numpy")
    assert found.faults == {"NumPy": "OSError: no such kernel"} and "staticnet" in found.times


def test_the_operations_of_a_step_are_counted():
    flops = benchmark_module("peers.staticnet_peer").flops
    # Batch times both layers; the first one's inputs have no gradient.
    forward = 2 * 3 * (784 * 256 + 256 * 10)
    assert flops(quick("mlp")) == 2 * forward + 2 * 3 * 256 * 10
    assert flops(quick("tiny_infer")) == 2 * 3 * (2 * 10 + 10 * 3)


# ---- the whole


def test_threads_are_settled_in_the_environment():
    one, two = processes.environment(1), processes.environment(2)
    assert one["OPENBLAS_NUM_THREADS"] == "1" and "multi_thread_eigen=false" in one["XLA_FLAGS"]
    assert two["OMP_NUM_THREADS"] == two["STATICNET_NUM_THREADS"] == "2"


def test_the_program_times_what_is_asked_for_beside_the_peers_there_are(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(against_peers, "MODULES", {**peers.MODULES, "a_package_that_is_not_there": ""})
    page = tmp_path / "page.md"
    chosen = ["--only", "tanh", "tiny_infer", "--peers", "numpy"]
    program.main(["peers", "--quick", *chosen, "--markdown", str(page)])
    out, error = capfd.readouterr()
    assert "tanh of 1,000,000 elements; 1 thread" in out and "goal 3 x NumPy" in out
    assert "MLP 2-10-3, inference, batch 30, 1 thread" in error
    assert page.read_text().count("| tanh of 1,000,000 elements | **") == 1
    assert against_peers.missing()[-1] == "a_package_that_is_not_there"
    assert "a_package_that_is_not_there" not in against_peers.peers_here()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["peers", "--peers", "cobol"], "no peer is called cobol; there are torch, jax"),
        (["peers", "--threads", "0"], "there is at least 1 thread, not 0"),
        (["peers", "--only", "gpt"], "no workload begins with 'gpt'"),
    ],
)
def test_options_that_make_no_sense_are_refused(arguments, said, capsys):
    with pytest.raises(SystemExit) as stop:
        program.main(arguments)
    assert stop.value.code == 2 and said in capsys.readouterr().err
