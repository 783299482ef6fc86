"""Parquet files, by pyarrow: written a group of rows at a time, and read with bounds on what they unpack to."""

from __future__ import annotations

import json
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from robots.datasets.layout import DatasetError, DatasetFeature
from robots.host.reading import brief

MOST_BYTES = 4 << 30
"""Largest file, packed or unpacked."""
MOST_VALUES = 1 << 29
"""Numbers that a file may hold: the encoding of equal ones takes no room."""
INSTALL = "pip install 'sim2real-arms[datasets]'"


def arrow() -> tuple[ModuleType, ModuleType]:
    """Return pyarrow and pyarrow.parquet.

    Raises:
        DatasetError: naming the extra, if they are not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise DatasetError(f"data sets need pyarrow, which is not installed; {INSTALL}") from None
    return pyarrow, pyarrow.parquet


class TableFile:
    """One Parquet file that is read column by column."""

    def __init__(self, path: Path):
        """Read what the file says of itself.

        Raises:
            DatasetError: if it is missing, damaged or too large.
        """
        self.path = path
        pa, pq = arrow()
        self._damage = (pa.ArrowException, OSError, ValueError, KeyError, OverflowError, MemoryError)
        try:
            found = path.stat()
            if not stat.S_ISREG(found.st_mode):
                raise DatasetError(f"'{path}' is no ordinary file; copy the data set again")
            if found.st_size > MOST_BYTES:
                raise DatasetError(f"'{path}' has {found.st_size} bytes, expected at most {MOST_BYTES}")
            self._file = pq.ParquetFile(path, page_checksum_verification=True)
            about = self._file.metadata
            groups = [about.row_group(k) for k in range(about.num_row_groups)]
            size = sum(group.total_byte_size for group in groups)
            values = sum(group.column(k).num_values for group in groups for k in range(group.num_columns))
        except FileNotFoundError:
            raise DatasetError(f"'{path}' is missing; copy the data set again, or finish recording it") from None
        except DatasetError:
            raise
        except self._damage as error:
            raise self._refusal(error) from None
        if size > MOST_BYTES or values > MOST_VALUES:
            raise DatasetError(
                f"'{path}' unpacks to {size} bytes and {values} values, expected at most {MOST_BYTES} and {MOST_VALUES}"
            )
        self.rows: int = about.num_rows
        self.names: tuple[str, ...] = tuple(self._file.schema_arrow.names)

    def numbers(self, name: str, shape: tuple[int, ...] = (1,)) -> np.ndarray:
        """Read a column of numbers: (N,), or (N, *shape) where a row has more than one.

        Raises:
            DatasetError: if it is missing, or holds something else.
        """
        pa, _ = arrow()
        column = self._column(name)
        try:
            values, width = column.combine_chunks(), int(np.prod(shape))
            if isinstance(values, pa.ChunkedArray):
                values = pa.concat_arrays(values.chunks) if values.num_chunks else values.cast(values.type).chunk(0)
            depth = 0
            while pa.types.is_list(values.type) or pa.types.is_fixed_size_list(values.type):
                if values.null_count:
                    raise ValueError("rows are missing")
                values, depth = values.flatten(), depth + 1
            if values.null_count:
                raise ValueError(f"{values.null_count} values are missing")
            found = values.to_numpy(zero_copy_only=False)
        except self._damage as error:
            raise self._refusal(error, name) from None
        if found.dtype.kind not in "fiub" or len(found) != self.rows * width:
            raise DatasetError(
                f"'{self.path}': column '{name}' has {len(found)} values of {found.dtype} in {self.rows} rows, not "
                f"{width} numbers each"
            )
        return found if shape == (1,) else found.reshape(-1, *shape)

    def texts(self, name: str) -> list[Any]:
        """Read a column of texts, or of lists of texts, as Python's types.

        Raises:
            DatasetError: if it is missing, or damaged.
        """
        column = self._column(name)
        try:
            return column.to_pylist()
        except self._damage as error:
            raise self._refusal(error, name) from None

    def _column(self, name: str) -> Any:
        if name not in self.names:
            raise DatasetError(f"'{self.path}' lacks the column '{name}'; it has {', '.join(self.names[:12])}")
        try:
            return self._file.read([name], use_threads=False).column(name)
        except self._damage as error:
            raise self._refusal(error, name) from None

    def _refusal(self, error: BaseException, column: str = "") -> DatasetError:
        where = f": column '{column}'" if column else ""
        return DatasetError(
            f"'{self.path}'{where} cannot be read: {brief(str(error))}; was its recorder killed before it had "
            "finished? Copy or record it again"
        )


def number_table(columns: Mapping[str, np.ndarray], features: Mapping[str, DatasetFeature]) -> Any:
    """Return the table of arrays (N, …) of `features`, in their order."""
    pa, _ = arrow()
    arrays = {}
    for key, feature in features.items():
        values = np.ascontiguousarray(columns[key], feature.dtype)
        array = pa.array(values.reshape(-1))
        for width in reversed(feature.shape if feature.shape != (1,) else ()):
            array = pa.FixedSizeListArray.from_arrays(array, width)
        arrays[key] = array
    return pa.table(arrays)


def write_rows(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write rows of plain values by name; where a row has none it is missing.

    Raises:
        DatasetError: if the values of one name are of several types.
    """
    pa, pq = arrow()
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        try:
            columns[name] = pa.array([row.get(name) for row in rows])
        except pa.ArrowException as error:
            raise DatasetError(f"episodes: '{name}' is of several types: {brief(str(error))}; give one") from None
    pq.write_table(pa.table(columns), path, write_page_checksum=True)


def write_tasks(path: Path, tasks: Sequence[str]) -> None:
    """Write the tasks as pandas writes a table whose index they are: LeRobot reads them so."""
    pa, pq = arrow()
    kinds = {"task_index": ("int64", "int64"), "task": ("unicode", "object")}
    described = {
        "index_columns": ["task"],
        "column_indexes": [],
        "columns": [
            {"name": name, "field_name": name, "pandas_type": kind, "numpy_type": numpy, "metadata": None}
            for name, (kind, numpy) in kinds.items()
        ],
        "creator": {"library": "pyarrow", "version": pa.__version__},
        "pandas_version": "2.2.0",
    }
    table = pa.table({"task_index": pa.array(range(len(tasks)), pa.int64()), "task": list(tasks)})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.replace_schema_metadata({"pandas": json.dumps(described)}), path, write_page_checksum=True)
