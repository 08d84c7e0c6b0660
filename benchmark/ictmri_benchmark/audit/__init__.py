"""Can reported numbers be what they say they are? Exact arithmetic on printed digits.

>>> from pathlib import Path
>>> from ictmri_benchmark.audit import audit
>>> print(audit(Path("rows.csv")).render())  # doctest: +SKIP
"""

from ictmri_benchmark.audit.report import Audit, audit

__all__ = ["Audit", "audit"]
