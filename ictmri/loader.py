"""``load_dataset``: a cohort as Hugging Face datasets, with the published folds."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from datasets.builder import Key
from datasets.exceptions import DatasetGenerationError

from ictmri.cohort import Cohort
from ictmri.errors import InputError
from ictmri.io.files import check_writable
from ictmri.io.lock import folder_lock
from ictmri.io.resources import AnyPath, at_home
from ictmri.io.states import json_mapping
from ictmri.lookup import find_cohort
from ictmri.schema import Config, features

Loaded: TypeAlias = (
    datasets.Dataset
    | datasets.DatasetDict
    | datasets.IterableDataset
    | datasets.IterableDatasetDict
)


def load_dataset(
    path: AnyPath = "ictmri",
    name: Config = "default",
    *,
    split: str | None = None,
    fold: int | None = None,
    streaming: bool = False,
    cache_dir: AnyPath | None = None,
    token: str | None = None,
    revision: str | None = None,
) -> Loaded:
    """Load a cohort.

    Args:
        path: dataset name (``"ictmri"``, ``"ictmri-phantom"``), a cohort folder, or ``ORG/NAME``, a
            repository on the Hub. A name is looked up in the working directory, ``$ICTMRI_HOME``, the
            user cache and the Hub, in this order.
        name: config: ``default`` (own space), ``processed`` (MNI152 space) or ``truth`` (phantom only).
        split: as in ``datasets.load_dataset``: ``"fold0"``, ``"fold1+fold2"``, ``"fold0[:10]"``; with
            ``fold`` it is ``"train"`` or ``"test"``.
        fold: return the split of this fold: test = cases with this fold, train = all others.
        streaming: read row by row and copy nothing into the datasets cache.
        cache_dir: datasets cache; its own default where None.
        token: Hugging Face token for the gated clinical cohort; the one of ``hf auth login`` or
            ``$HF_TOKEN`` where None.
        revision: release on the Hub (``"v1.0.0"``, a branch, a commit). Releases are kept side by side;
            without it the newest, as it stood when it was first fetched.

    Returns:
        What ``datasets.load_dataset`` returns: a DatasetDict with ``fold0`` .. ``fold4``, a DatasetDict
        with ``train`` and ``test`` where ``fold`` is given, one Dataset where ``split`` is given, and
        their iterable counterparts when streaming. Volumes are ``Nifti`` features.

    Raises:
        AccessError: the cohort is neither here nor can it be fetched.
        InputError: unknown name, config, split or fold, damaged files, or no space in the cache.
    """
    cohort = find_cohort(path, token=token, revision=revision)
    folds = cohort.folds()
    builder = CohortBuilder(cohort, name, cache_dir=cache_dir)
    wanted = _splits(fold, folds.n_folds, split)
    if streaming:
        return _streamed(builder, wanted)
    builder.prepare()
    if isinstance(wanted, str):
        return _as_dataset(builder, wanted)
    if wanted is None:
        return builder.as_dataset()
    return datasets.DatasetDict({key: _as_dataset(builder, value) for key, value in wanted.items()})


def warm_cache(cohort: Cohort) -> None:
    """Put the default config into the datasets cache.

    Afterwards the literal ``datasets.load_dataset("<name>")`` works from any directory. A cache that
    cannot be written is a warning: nothing else needs it.
    """
    try:
        CohortBuilder(cohort, "default").prepare()
    except InputError as error:
        sys.stderr.write(f"warning: {error}\n")


class CohortBuilder(datasets.ArrowBasedBuilder):  # type: ignore[misc]
    """Reads the parquet files of one config of one cohort.

    The cache entry is keyed by the digest of the data, so that another cohort of the same name is never
    taken for this one.
    """

    def __init__(self, cohort: Cohort, config: Config, *, cache_dir: AnyPath | None = None) -> None:
        self.cohort = cohort
        self.data_files = cohort.parquet_files(config)
        place = Path(datasets.config.HF_DATASETS_CACHE if cache_dir is None else cache_dir)
        key = cohort.manifest.digest_of(config)[:16]
        with _reached(place, cohort) as cache:
            _drop_damaged(cache / cohort.name, key)
            super().__init__(
                cache_dir=str(cache), dataset_name=cohort.name, config_name=config, hash=key
            )

    def prepare(self) -> None:
        """Fill the cache, unless that was done before; the files are verified first."""
        if not Path(self.cache_dir).is_dir():
            self.cohort.check(prefix=f"data/{self.config.name}/")
            self._fill_cache()
        # A bare literal load takes the newest entry of the cache: that must be the default config.
        default = CohortBuilder(self.cohort, "default", cache_dir=self._cache_dir_root)
        if Path(default.cache_dir).is_dir():
            os.utime(default.cache_dir)

    def _fill_cache(self) -> None:
        place = Path(self.cache_dir)
        with _reached(place, self.cohort), folder_lock(place):
            # What a killed process left there would be taken along.
            shutil.rmtree(f"{place}.incomplete", ignore_errors=True)
            self.download_and_prepare()

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo(features=features(self.config.name))

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:  # noqa: ARG002
        return [
            datasets.SplitGenerator(name=split, gen_kwargs={"files": [str(path) for path in paths]})
            for split, paths in self.data_files.items()
        ]

    def _generate_tables(self, files: list[str]) -> Iterator[tuple[Key, pa.Table]]:
        for number, file in enumerate(files):
            # Without pre_buffer=False the whole file is read into memory first.
            with pq.ParquetFile(file, pre_buffer=False) as opened:
                for index, batch in enumerate(opened.iter_batches(batch_size=8)):
                    yield Key(number, index), pa.Table.from_batches([batch])


@contextmanager
def _reached(cache: Path, cohort: Cohort) -> Iterator[Path]:
    """Say of a cache that cannot be written where it is, and how to have another."""
    try:
        place = at_home(cache)
        check_writable(place)
        yield place
    except (OSError, InputError, DatasetGenerationError) as error:
        cause = error.__cause__ if isinstance(error, DatasetGenerationError) else error
        if isinstance(cause, OSError):
            problems = [f"cannot be written: {cause.strerror or cause}"]
        elif isinstance(cause, InputError):
            problems = cause.problems
        else:
            raise
        raise InputError(
            f"the datasets cache {cache}",
            problems,
            f"free space there, or set HF_HOME to a folder that you may write to, and run the same "
            f"command again; the cohort in {cohort.root} is whole",
        ) from error


def _drop_damaged(entries: Path, key: str) -> None:
    """Remove copies of this data that are not whole, so that they are made again."""
    for entry in entries.glob(f"*/*/{key}"):
        damage = _damage(entry)
        if damage:
            shutil.rmtree(entry)
            sys.stderr.write(f"warning: {entry} is damaged ({damage}): made again\n")


def _damage(entry: Path) -> str:
    try:
        for split, facts in json_mapping(entry / "dataset_info.json")["splits"].items():
            files = [*entry.glob(f"*-{split}.arrow"), *entry.glob(f"*-{split}-*.arrow")]
            rows = sum(map(_rows_in, files))
            if rows != facts["num_examples"]:
                return f"{split} holds {rows} of {facts['num_examples']} cases"
    except (OSError, ValueError, KeyError, TypeError, AttributeError, pa.ArrowException) as error:
        return str(error).partition("\n")[0]
    return ""


def _rows_in(path: Path) -> int:
    with pa.memory_map(str(path)) as file, pa.ipc.open_stream(file) as batches:
        return sum(batch.num_rows for batch in batches)


def _splits(fold: int | None, n_folds: int, split: str | None) -> str | dict[str, str] | None:
    if fold is None:
        return split
    if not 0 <= fold < n_folds:
        raise InputError("load_dataset", [f"fold={fold}"], f"choose 0 to {n_folds - 1}")
    both = {
        "train": "+".join(f"fold{k}" for k in range(n_folds) if k != fold),
        "test": f"fold{fold}",
    }
    if split is None:
        return both
    if split not in both:
        raise InputError("load_dataset", [f"split={split!r} with fold={fold}"], "train or test")
    return both[split]


def _as_dataset(builder: CohortBuilder, split: str) -> datasets.Dataset:
    try:
        return builder.as_dataset(split=split)
    except ValueError as error:
        names = ", ".join(builder.data_files)
        raise InputError(
            "load_dataset", [f"split={split!r}: {error}"], f"there are {names}"
        ) from None


def _streamed(
    builder: CohortBuilder, wanted: str | dict[str, str] | None
) -> datasets.IterableDataset | datasets.IterableDatasetDict:
    every = builder.as_streaming_dataset()

    def joined(expression: str) -> datasets.IterableDataset:
        names = [part.strip() for part in expression.split("+")]
        unknown = [name for name in names if name not in every]
        if unknown:
            raise InputError(
                "load_dataset",
                [f"no split {name!r} to stream" for name in unknown],
                f"join with + any of {', '.join(every)}",
            )
        return datasets.concatenate_datasets([every[name] for name in names])

    if wanted is None:
        return every
    if isinstance(wanted, str):
        return joined(wanted)
    return datasets.IterableDatasetDict({key: joined(value) for key, value in wanted.items()})
