from __future__ import annotations

import io
import os

import pytest

from kdcli.report.stream import SafeStream


def test_a_reader_that_goes_away_is_noticed_once_and_leaves_nothing_to_fail_at_exit() -> None:
    reader, writer = os.pipe()
    stream = os.fdopen(writer, "w")
    safe = SafeStream(stream)
    assert safe.write("read\n") == 5
    safe.flush()
    assert os.read(reader, 100) == b"read\n"
    os.close(reader)
    assert safe.write("unread\n") == 7
    safe.flush()
    assert safe.write("dropped\n") == 8
    stream.close()  # would raise BrokenPipeError if the buffer still led to the pipe


def test_a_closed_stream_swallows_everything() -> None:
    stream = io.StringIO()
    stream.close()
    safe = SafeStream(stream)
    assert not safe.isatty()
    assert safe.write("x") == 1
    safe.flush()


@pytest.mark.parametrize(("encoding", "written"), [("ascii", b"+/- \\u4e09"), ("utf-8", "± 三".encode())])
def test_what_the_encoding_lacks_is_spelt_out(encoding: str, written: bytes) -> None:
    raw = io.BytesIO()
    safe = SafeStream(io.TextIOWrapper(raw, encoding=encoding))
    safe.write("± 三")
    safe.flush()
    assert raw.getvalue() == written
    assert safe.encoding == encoding
