"""The models on offer."""

from collections.abc import Mapping

from thinkpool_pipeline.values import JsonObject

from thinkpool_server.answer_shapes.chat import ModelList, ModelObject
from thinkpool_server.api_description.description import Answer, RouteDescription, json_body

_MODEL: JsonObject = {"id": "builtin", "object": "model", "created": 0, "owned_by": "thinkpool"}

ROUTES: Mapping[str, RouteDescription] = {
    "GET /v1/models": RouteDescription(
        answers=(
            Answer(
                status=200,
                meaning="The models.",
                bodies=(json_body(ModelList, {"object": "list", "data": [_MODEL]}),),
            ),
        ),
    ),
    "GET /v1/models/{name}": RouteDescription(
        answers=(Answer(status=200, meaning="The model.", bodies=(json_body(ModelObject, _MODEL),)),),
        refusals=(404,),
    ),
}
