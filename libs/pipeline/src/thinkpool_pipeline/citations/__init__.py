from thinkpool_pipeline.citations.marker_filter import MarkerFilter
from thinkpool_pipeline.citations.registry import CitationRegistry, Registration, render_for_model
from thinkpool_pipeline.citations.statements import Statement, statements

__all__ = ["CitationRegistry", "MarkerFilter", "Registration", "Statement", "render_for_model", "statements"]
