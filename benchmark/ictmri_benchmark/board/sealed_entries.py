"""Entries of level R4 from a sealed challenge that was revealed and checked: whole reports."""

from __future__ import annotations

from collections import Counter

from ictmri.io.files import new_folder, write_bytes, write_text
from ictmri.io.resources import AnyPath, at_home
from ictmri_benchmark.board.entry import BenchmarkRef, write_entry
from ictmri_benchmark.board.leaderboard import build_leaderboard, write_leaderboard
from ictmri_benchmark.score.intervals import bootstrap
from ictmri_benchmark.score.report import score
from ictmri_benchmark.sealed.package import SealedSubmission
from ictmri_benchmark.sealed.verify import CheckedReveal


def write_entries(out: AnyPath, checked: CheckedReveal) -> int:
    """Write the submission that stands for each participant as an R4 entry, and the board of them.

    It is the one whose value was released last; every other one was not better by more than chance. ``out``
    must be new. The number of entries is returned.
    """
    out = at_home(out)
    log, table, synthetic = checked.log, checked.table, checked.log.challenge.synthetic
    standing: dict[str, tuple[str, SealedSubmission]] = {}
    for item, submission in zip(log.counted, checked.submissions, strict=True):
        name = item.intent.participant
        if name not in standing or item.value != standing[name][0]:
            standing[name] = (item.value, submission)
    slugs = Counter(best.entry.slug for _, best in standing.values())
    with new_folder(out) as part:
        for name, (_, best) in standing.items():
            slug = best.entry.slug
            if slugs[slug] > 1:
                slug = f"{slug[:40]}-{log.keys[name][:12]}"
            version = best.entry.benchmark.version
            bound = BenchmarkRef(version=version, cohort=table.name, splits_sha256=table.sha256)
            changed = {"slug": slug, "benchmark": bound, "level": "R4"}
            drawn = bootstrap(table, [best.predictions.labels])
            report = score(best.predictions, table, drawn, synthetic=synthetic)
            write_bytes(part / "entries" / slug / "predictions.csv", best.table)
            write_entry(
                part / "entries" / slug / "entry.yaml", best.entry.model_copy(update=changed)
            )
            write_text(part / "entries" / slug / "report.json", report.to_json())
        if standing:
            board = build_leaderboard(part / "entries", table, synthetic=synthetic)
            write_leaderboard(part, board)
    return len(standing)
