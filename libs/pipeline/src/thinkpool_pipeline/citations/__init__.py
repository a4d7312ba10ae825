from thinkpool_pipeline.citations.registry import CitationRegistry, Registration, render_for_model
from thinkpool_pipeline.citations.report_filter import ReportFilter
from thinkpool_pipeline.citations.statements import Statement, statements

__all__ = ["CitationRegistry", "Registration", "ReportFilter", "Statement", "render_for_model", "statements"]
