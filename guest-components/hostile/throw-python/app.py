"""Handlers as they are written, without a thought for what can be wrong: `/throw` reads an attribute of nothing, `/json` parses the
body, and whatever else is answered."""

import json

from componentize_py_types import Ok
from wit_world import exports
from wit_world.imports.types import Fields, OutgoingBody, OutgoingResponse, ResponseOutparam


def read(request):
    with request.consume() as body, body.stream() as stream:
        return stream.blocking_read(65_536)


def answer(request):
    path = request.path_with_query()
    if path == "/throw":
        return None.x
    if path == "/json":
        return f"{len(json.loads(read(request)))} items"
    return "well"


class IncomingHandler(exports.IncomingHandler):
    def handle(self, request, response_out):
        text = answer(request)
        response = OutgoingResponse(Fields.from_list([]))
        body = response.body()
        ResponseOutparam.set(response_out, Ok(response))
        with body.write() as stream:
            stream.blocking_write_and_flush(text.encode())
        OutgoingBody.finish(body, None)
