from componentize_py_types import Ok
from wit_world import exports
from wit_world.imports.wasi_http_types import Fields, OutgoingBody, OutgoingResponse, ResponseOutparam

from greeter import Greeter

greeter = Greeter()


class Hook(exports.Hook):
    # The hook: called once, when all requests are answered. Raise Err("why") to say that it failed.
    def shutdown(self, notice):
        print(greeter.report())


class IncomingHandler(exports.IncomingHandler):
    # Called once for each request, one at a time.
    def handle(self, request, response_out):
        response = OutgoingResponse(Fields.from_list([("content-type", b"text/plain")]))
        body = response.body()
        ResponseOutparam.set(response_out, Ok(response))
        with body.write() as stream:
            stream.blocking_write_and_flush(greeter.greet().encode())
        OutgoingBody.finish(body, None)
