"""The calibration cache: TensorRT's text, its faults, and ranges set by hand."""

from __future__ import annotations

import math
import os
import stat

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camshaft.config import CALIBRATORS
from camshaft.errors import CalibrationError
from camshaft.quant.calibration.cache import (
    ALGORITHMS,
    amax_of,
    dynamic_ranges,
    read_cache,
    write_cache,
)
from camshaft.quant.scheme import params_from_amax, params_from_range

HEADER = "TRT-8601-EntropyCalibration2"


@pytest.fixture
def written(tmp_path):
    def write(text):
        path = tmp_path / "some.cache"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_a_file_as_tensorrt_writes_it(written):
    cache = read_cache(
        written(
            f"{HEADER}\ndata: 3c010a14\nprob: 3C010A14\n"
            "(Unnamed Layer* 1) [Conv]_output: 3f800000\n"
            "scope:block/conv:0: 40000000\ndead: 0\nsmall: 800000\n"
        )
    )
    assert cache.algorithm == "EntropyCalibration2"
    scales = {name: amax / 127 for name, amax in cache.ranges.items()}
    assert scales.pop("data") == scales.pop("prob") == pytest.approx(0.0078759, abs=1e-7)
    assert scales == {
        "(Unnamed Layer* 1) [Conv]_output": 1.0,
        "scope:block/conv:0": 2.0,  # split at the last colon
        "dead": 0.0,
        "small": 2.0**-126,  # leading zeros missing
    }


def test_what_is_written_is_what_tensorrt_writes(tmp_path):
    path = tmp_path / "out.cache"
    write_cache(path, {"data": 127 * 0x810A14 * 2.0**-30, "a:b": 127.0, "zero": 0.0})
    assert (
        path.read_bytes()
        == b"TRT-8601-EntropyCalibration2\ndata: 3c010a14\na:b: 3f800000\nzero: 00000000\n"
    )


NAMES = st.text("abc:/ .[]\r\tüß\u2028", min_size=1, max_size=12)
AMAX = st.floats(0, 2.0**126, width=32)
BOUND = st.floats(-(2.0**126), 2.0**126, width=32)


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(
        NAMES, st.one_of(AMAX, st.tuples(BOUND, BOUND).map(lambda p: (min(p), max(p)))), max_size=6
    )
)
def test_round_trip(tmp_path_factory, ranges):
    path = tmp_path_factory.getbasetemp() / "round.cache"
    write_cache(path, ranges)
    back = read_cache(path).ranges
    assert list(back) == list(ranges)
    for name, value in ranges.items():
        if isinstance(value, tuple):
            assert back[name] == value
            assert params_from_range(*back[name]) == params_from_range(*value)
        else:
            assert params_from_amax(back[name]) == params_from_amax(value)
    first = path.read_bytes()
    write_cache(path, back)
    assert path.read_bytes() == first


def test_an_interval_still_gives_tensorrt_its_symmetric_line(written, tmp_path):
    path = tmp_path / "x.cache"
    write_cache(path, {"swish": (-0.25, 127.0), "lower": (-254.0, 0.0)})
    lines = path.read_text().splitlines()
    assert lines == [
        HEADER,
        "swish: 3f800000",
        "swish [low]: be800000",
        "swish [high]: 42fe0000",
        "lower: 40000000",
        "lower [low]: c37e0000",
        "lower [high]: 00000000",
    ]
    crossed = "\n".join(lines).replace("be800000", "43000000") + "\n"
    with pytest.raises(CalibrationError, match="'swish' has low > high"):
        read_cache(written(crossed))
    lines.remove("swish [low]: be800000")
    with pytest.raises(CalibrationError, match=r"'swish \[high\]' is there without.*\[low\]"):
        read_cache(written("\n".join(lines) + "\n"))


def test_headers(written, tmp_path):
    assert set(ALGORITHMS) == set(CALIBRATORS)
    for calibrator, algorithm in ALGORITHMS.items():
        write_cache(tmp_path / "c", {"x": 1.0}, calibrator)
        assert read_cache(tmp_path / "c").algorithm == algorithm
    assert read_cache(written("TRT-100300-MinMaxCalibration\n")).ranges == {}
    assert read_cache(written("TRT-7103-EntropyCalibration2\r\nx: 3f800000\r\n\r\n")).ranges == {
        "x": 127.0
    }
    with pytest.raises(CalibrationError, match="'kl' is unknown"):
        write_cache(tmp_path / "c", {}, "kl")


@pytest.mark.parametrize(
    "header", ["", "TRT-8601-Entropy", "TRT--EntropyCalibration2", "data: 3c010a14", " " + HEADER]
)
def test_unknown_headers(written, header):
    with pytest.raises(CalibrationError, match=r"some\.cache line 1: .*no known header"):
        read_cache(written(f"{header}\nx: 3f800000\n"))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("no colon here", "is not 'name: hex'"),
        ("x: ", "is not 'name: hex'"),
        (": 3f800000", "is not 'name: hex'"),
        ("x: 3f80000g", "is not 'name: hex'"),
        ("x: 0x3f8000", "is not 'name: hex'"),
        ("x: 3f8_0000", "is not 'name: hex'"),
        ("x: 3f8000000", "is not 'name: hex'"),
        ("x: -3f80000", "is not 'name: hex'"),
        ("x: 7fc00000", "has scale nan"),
        ("x: 7f800000", "has scale inf"),
        ("x: bf800000", "has scale -1.0"),
        ("x: 80000000", "has scale -0.0"),
        ("x [low]: 7fc00000", "has scale nan"),
        ("good: 3f800000", "'good' occurs twice"),
    ],
)
def test_malformed_lines_name_file_and_line(written, line, message):
    with pytest.raises(CalibrationError, match=rf"some\.cache line 3: .*{message}"):
        read_cache(written(f"{HEADER}\ngood: 3f800000\n{line}\nlast: 3f800000\n"))


def test_every_truncation_is_an_error_or_loses_whole_lines(written):
    text = f"{HEADER}\nfirst: 3f800000\nsecond:1: 3c010a14\n"
    whole = read_cache(written(text)).ranges
    for length in range(len(text)):
        lines = text[:length].count("\n")
        try:
            ranges = read_cache(written(text[:length])).ranges
        except CalibrationError as error:
            assert f"some.cache line {max(1, lines + 1)}" in str(error)
        else:  # cut at a line's end: what is left is true
            assert text[length] == "\n" or text[length - 1] == "\n"
            assert ranges == {name: whole[name] for name in ranges}


def test_files_that_are_no_text_or_not_there(written, tmp_path):
    with pytest.raises(CalibrationError, match=r"some\.cache is not a text file"):
        read_cache(written(b"TRT-8601-EntropyCalibration2\nx\xff\xfe: 3f800000\n"))
    with pytest.raises(CalibrationError, match=r"absent\.cache: No such file"):
        read_cache(tmp_path / "absent.cache")
    with pytest.raises(CalibrationError, match="Is a directory"):
        read_cache(tmp_path)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 60))
def test_mutated_files_are_read_or_refused(tmp_path_factory, junk, at):
    text = f"{HEADER}\nfirst: 3f800000\nsecond: 3c010a14\n".encode()
    path = tmp_path_factory.getbasetemp() / "fuzz.cache"
    path.write_bytes(text[:at] + junk + text[at + len(junk) :])
    try:
        ranges = read_cache(path).ranges
    except CalibrationError as error:
        assert "fuzz.cache" in str(error)
    else:
        assert all(math.isfinite(amax_of(n, r)) for n, r in ranges.items())


def test_a_failed_write_leaves_the_old_file_and_no_draft(tmp_path, monkeypatch):
    path = tmp_path / "kept.cache"
    write_cache(path, {"x": 1.0})
    before = path.read_bytes()

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(CalibrationError, match=r"kept\.cache' cannot be written: No space left"):
        write_cache(path, {"x": 2.0})
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["kept.cache"]
    with pytest.raises(CalibrationError, match="cannot be written"):
        write_cache(tmp_path / "no" / "folder", {})


def test_the_file_has_ordinary_permissions(tmp_path):
    (tmp_path / "plain").touch()
    write_cache(tmp_path / "c", {})
    modes = [stat.S_IMODE((tmp_path / n).stat().st_mode) for n in ("plain", "c")]
    assert modes[0] == modes[1]


@pytest.mark.parametrize(
    "ranges",
    [{"a\nb": 1.0}, {"": 1.0}, {"x [low]": 1.0}, {"x": math.nan}, {"x": -1.0}, {"x": 1e39}],
)
def test_what_cannot_be_written_is_refused_before_the_file_is_touched(tmp_path, ranges):
    with pytest.raises(CalibrationError):
        write_cache(tmp_path / "c", ranges)
    assert not list(tmp_path.iterdir())


def test_dynamic_ranges_by_hand():
    given_ranges = {"a": 2.5, "b": (-3.0, 1.0), "c": [0, 6], "d": np.float32(0.5), "e": 4}
    assert dynamic_ranges(given_ranges) == {"a": 2.5, "b": 3.0, "c": 6.0, "d": 0.5, "e": 4.0}
    assert all(type(v) is float for v in dynamic_ranges(given_ranges).values())


@pytest.mark.parametrize(
    "value",
    [
        *(-1.0, 0.0, math.nan, math.inf, 1e39, True, None, "12"),
        *((1.0, -1.0), (0.0, math.nan), (0.0, 0.0), (False, True), ("a", "b")),
        *((), (1.0,), (1.0, 2.0, 3.0)),
    ],
    ids=repr,
)
def test_dynamic_ranges_that_are_none_are_named(value):
    with pytest.raises(CalibrationError, match="conv_9"):
        dynamic_ranges({"fine": 1.0, "conv_9": value})
