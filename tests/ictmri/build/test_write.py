"""Large folds are several files, and no reader takes a whole fold into memory."""

import subprocess
import sys
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from ictmri.build import write as assemble
from ictmri.build.folder import build_folder
from ictmri.loader import load_dataset
from ictmri.verify.cohort import check_rows
from ictmri.verify.privacy import leaks


def test_a_large_fold_is_several_files(
    mini_table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = build_folder(mini_table, tmp_path / "whole", name="mini", n_folds=3).cohort
    monkeypatch.setattr(assemble, "CASES_A_FILE", 2)
    cohort = build_folder(mini_table, tmp_path / "mini", n_folds=3).cohort
    names = [path.name for path in sorted((cohort.root / "data" / "default").iterdir())]
    assert names == [f"fold{fold}-{k:05d}-of-00003.parquet" for fold in range(3) for k in range(3)]
    assert list(cohort.rows("default")) == list(whole.rows("default"))
    cohort.check()
    check_rows(cohort, "default")
    assert leaks(cohort) == []
    header = yaml.safe_load((cohort.root / "README.md").read_text().split("---")[1])
    assert header["configs"][0]["data_files"][1]["path"] == "data/default/fold1-*.parquet"
    expected = [row["case_id"] for row in whole.rows("default") if row["fold"] == 1]
    for load in (load_dataset, datasets.load_dataset):
        assert list(load(str(cohort.root))["fold1"]["case_id"]) == expected
        streamed = load(str(cohort.root), streaming=True)["fold1"]
        assert streamed.num_shards == 3
        assert [row["case_id"] for row in streamed] == expected


def test_reading_keeps_a_few_cases_in_memory(tmp_path: Path, mini_table: Path) -> None:
    """A fold of 300 MB is read in a process that may not grow by half of that."""
    cohort = build_folder(mini_table, tmp_path / "mini", n_folds=3).cohort
    path = cohort.parquet_files("default")["fold0"][0]
    row = pq.read_table(path).slice(0, 1)
    image = pa.array(
        [{"bytes": bytes(1_000_000), "path": "x.nii.gz"}], row.schema.field("image").type
    )
    big = row.set_column(row.schema.get_field_index("image"), row.schema.field("image"), image)
    with pq.ParquetWriter(path, row.schema, compression="none", use_dictionary=False) as writer:
        for _ in range(300):
            writer.write_table(big)
    code = f"""
import resource
from pathlib import Path
from unittest import mock
from ictmri.cohort import Cohort, open_cohort
from ictmri.loader import CohortBuilder
cohort = open_cohort(Path({str(cohort.root)!r}))
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
with mock.patch.object(Cohort, "check"):
    builder = CohortBuilder(cohort, "default")
    before = peak()
    assert sum(1 for _ in cohort.rows("default")) == 310
    assert sum(table.num_rows for _, table in builder._generate_tables([{str(path)!r}])) == 300
print(peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 150
