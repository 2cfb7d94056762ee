"""What the owner reads and anybody can check: the privacy report, the page, `agent verify`."""

__all__ = [
    "audited",
    "box_sheet",
    "own_metrics",
    "page",
    "page_view",
    "report",
    "report_page",
    "verify",
]
