"""Claims, findings, tables and figures, made from what the experiment's record holds."""

from yt8m_lib.errors import UserError


class ReportError(UserError):
    """What the report is to be made of is missing or does not fit together."""
