"""OpenAI's list of models: what may be asked for here."""

from typing import Annotated

import orjson
from fastapi import APIRouter, Path
from pydantic import JsonValue
from starlette.responses import Response

from thinkpool_server.errors import UnknownModel
from thinkpool_server.routes.dependencies import CurrentRuntime

router = APIRouter(prefix="/v1/models", tags=["openai"])


@router.get("")
async def list_models(runtime: CurrentRuntime) -> Response:
    """Every model, the default first."""
    body = {"object": "list", "data": [_model(name) for name in runtime.model_names]}
    return Response(orjson.dumps(body), media_type="application/json")


@router.get("/{name:path}")
async def get_model(
    name: Annotated[str, Path(description="The model's `id`.", examples=["builtin"])], runtime: CurrentRuntime
) -> Response:
    """One model."""
    if name not in runtime.model_names:
        raise UnknownModel("model", "There is no such model here.")
    return Response(orjson.dumps(_model(name)), media_type="application/json")


def _model(name: str) -> dict[str, JsonValue]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "thinkpool"}
