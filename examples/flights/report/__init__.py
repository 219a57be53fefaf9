"""The demo's report: a terminal table, one HTML page, and `report.json` with the same figures.

`python -m examples.flights.report report.json` shows and writes it again from its figures.
"""

from examples.flights.report.data import ReportData
from examples.flights.report.files import Written, read, write

__all__ = ["ReportData", "Written", "read", "write"]
