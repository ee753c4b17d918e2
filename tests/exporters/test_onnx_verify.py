"""Verification: it sees wrong values, shapes and dtypes, whatever the batch, and says where."""

from __future__ import annotations

import sys

import numpy as np
import onnx
import pytest

from staticnet.compiler.errors import ArgumentError, ExportError, MissingDependencyError, VerificationError
from staticnet.compiler.ops.base import F
from staticnet.exporters.onnx.report import Comparison, VerificationReport
from staticnet.exporters.onnx.verify import verify
from tests.exporters.onnx_models import feed, model_of


@pytest.fixture
def doubled():
    return model_of(lambda x: x * 2, feed("batch", 3), names=["twice"])


def test_what_agrees_is_verified(doubled):
    report = verify(doubled, lambda arrays: [arrays[0] * 2])
    assert report.ok and report.raise_for_status() is report
    assert [row.shape for row in report.rows] == [(1, 3), (2, 3), (7, 3)]
    assert [row.max_absolute for row in report.rows] == [0, 0, 0]


def test_the_table(doubled):
    table = str(verify(doubled, lambda arrays: [arrays[0] * 2], batch=(1, 12))).splitlines()
    assert table[0].startswith("graph: verified (opset 18, IR 10, onnxruntime ")
    assert [" ".join(line.split()) for line in table[1:]] == [
        "batch output type max abs error max rel error worst at result",
        "1 twice float32 (1, 3) 0.0e+00 0.0e+00 - ok",
        "12 twice float32 (12, 3) 0.0e+00 0.0e+00 - ok",
    ]


def test_a_wrong_value_is_found_with_its_place(doubled):
    def reference(arrays):
        result = arrays[0] * 2
        if len(result) == 7:
            result[5, 1] = 9
        return [result]

    report = verify(doubled, reference)
    assert [row.ok for row in report.rows] == [True, True, False]
    assert report.rows[2].worst == (5, 1) and report.rows[2].expected_value == 9
    assert "NOT VERIFIED" in str(report) and "differs" in str(report)
    with pytest.raises(VerificationError, match=r"output 'twice' with batch = 7 is .* at \(5, 1\), expected 9\.0"):
        report.raise_for_status()


@pytest.mark.parametrize(
    "reference", [lambda arrays: [arrays[0].astype("float64") * 2], lambda arrays: [arrays[0][:, :2] * 2]]
)
def test_other_dtypes_and_shapes_differ(doubled, reference):
    report = verify(doubled, reference)
    assert not any(row.ok for row in report.rows)
    with pytest.raises(VerificationError, match=r"is float32 \(1, 3\), expected float\d\d \(1, \d\)"):
        report.raise_for_status()


def test_tolerances_are_the_callers(doubled):
    slightly = lambda arrays: [arrays[0] * np.float32(2.0002)]  # noqa: E731
    assert not verify(doubled, slightly, rtol=1e-5, atol=0).ok
    assert verify(doubled, slightly, rtol=1e-3).ok


def measured(actual, expected, rtol=1e-4, atol=1e-5):
    actual, expected = np.asarray(actual), np.asarray(expected)
    row = Comparison("y", {}, str(actual.dtype), actual.shape, str(expected.dtype), expected.shape)
    row.measure(actual, expected, rtol, atol)
    return row


def test_not_a_number_equals_itself_alone():
    assert measured([np.nan, np.inf, -np.inf, 1], [np.nan, np.inf, -np.inf, 1]).ok
    assert not measured([np.nan], [1.0]).ok and not measured([1.0], [np.nan]).ok
    assert not measured([np.inf], [1.0]).ok and not measured([1.0], [np.inf]).ok
    assert not measured([np.inf], [-np.inf]).ok


def test_integers_are_exact():
    assert not measured(np.array([2**62], np.int64), np.array([2**62 + 1], np.int64), 0, 0).ok
    assert not measured([True], [False], 0, 0).ok
    assert measured(np.zeros((0, 3)), np.zeros((0, 3))).ok


def test_equal_seeds_give_equal_inputs(doubled):
    seen = []
    for seed in (0, 0, 1):
        verify(doubled, lambda arrays: seen.append(arrays[0]) or [arrays[0] * 2], batch=(2,), seed=seed)
    assert np.array_equal(seen[0], seen[1]) and not np.array_equal(seen[0], seen[2])


def test_named_sizes_get_their_numbers():
    x, y = feed("batch", "time", 2), feed("2*batch", "width", label="y")
    model = model_of(lambda x, y: (F.sum(x, 2), y + 1), x, y)
    reference = lambda arrays: [arrays[0].sum(2), arrays[1] + 1]  # noqa: E731
    report = verify(model, reference, batch=(1, 3), sizes={"width": 5}).raise_for_status()
    assert [row.shape for row in report.rows] == [(1, 16), (2, 5), (3, 16), (6, 5)]
    assert report.rows[2].binding == {"batch": 3, "width": 5, "time": 16}


def test_a_file_without_named_sizes_runs_once():
    model = model_of(lambda x: x * 2, feed(4, 3))
    assert [row.shape for row in verify(model, lambda arrays: [arrays[0] * 2]).rows] == [(4, 3)]


def test_inputs_can_be_drawn():
    tokens, table = feed("n", dtype="int64", label="tokens"), np.arange(50, dtype=np.float32)
    model = model_of(lambda x: F.take(table, x), tokens)
    draw = {"tokens": lambda shape, rng: rng.integers(40, 50, shape)}
    seen = []
    assert verify(model, lambda arrays: seen.extend(arrays) or [table[arrays[0]]], inputs=draw).ok
    assert [len(array) for array in seen] == [1, 2, 7] and all(array.min() >= 40 for array in seen)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sizes": {"time": 3}}, "no size called 'time'; it has batch"),
        ({"inputs": {"z": None}}, "no input called 'z'; it has x"),
    ],
)
def test_names_that_the_file_does_not_have(doubled, options, message):
    with pytest.raises(ArgumentError, match=message):
        verify(doubled, lambda arrays: [arrays[0] * 2], **options)


def test_another_number_of_outputs(doubled):
    with pytest.raises(ArgumentError, match=r"the file has 1 outputs \(twice\), the model gives 2"):
        verify(doubled, lambda arrays: [arrays[0], arrays[0]])


def test_a_wrong_declaration_is_a_problem(doubled):
    doubled.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 4
    report = verify(doubled, lambda arrays: [arrays[0] * 2])
    assert not report.ok and report.problems
    with pytest.raises(VerificationError, match="twice"):
        report.raise_for_status()


def test_what_onnxruntime_does_not_load_is_a_problem(doubled):
    doubled.graph.node[0].op_type = "NoSuchOperator"
    report = verify(doubled, lambda arrays: [arrays[0] * 2])
    assert not report.ok and not report.rows
    assert any("onnxruntime does not load it" in problem for problem in report.problems)


def test_nothing_compared_is_not_verified():
    with pytest.raises(VerificationError, match="nothing was compared"):
        VerificationReport("m.onnx", "opset 18").raise_for_status()


def test_files_that_cannot_be_read(tmp_path, doubled):
    with pytest.raises(ArgumentError, match=r"cannot read '.*missing.onnx': No such file"):
        verify(tmp_path / "missing.onnx", lambda arrays: arrays)
    content = doubled.SerializeToString()
    for damage in (b"no ONNX file at all", content[: len(content) // 2], b""):
        (tmp_path / "damaged.onnx").write_bytes(damage)
        with pytest.raises(ExportError, match=r"damaged\.onnx' is no ONNX file"):
            verify(tmp_path / "damaged.onnx", lambda arrays: arrays)


def test_a_missing_onnxruntime_is_one_sentence(doubled, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingDependencyError, match=r'not installed: pip install "staticnet\[ort\]"'):
        verify(doubled, lambda arrays: arrays)


def test_files_that_others_wrote(tmp_path):
    x = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [None, 2])
    y = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [None, None])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Neg", ["x"], ["y"])], "g", [x], [y])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, tmp_path / "other.onnx")
    report = verify(tmp_path / "other.onnx", lambda arrays: [-arrays[0]])
    assert [row.shape for row in report.rows] == [(1, 2), (2, 2), (7, 2)] and report.ok
