"""Which models and tools a deployment has, from its settings alone."""

from thinkpool_server.toolbox.models import make_models
from thinkpool_server.toolbox.toolbox import Toolbox, open_toolbox

__all__ = ["Toolbox", "make_models", "open_toolbox"]
