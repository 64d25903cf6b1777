import wit_world
from componentize_py_async_support import spawn
from componentize_py_types import Ok
from wit_world import exports
from wit_world.imports.wasi_http_types import Fields, Response

from greeter import Greeter

# The future of the trailers; its name says its type.
trailers_future = wit_world.result_option_wasi_http_types_fields_wasi_http_types_error_code_future
greeter = Greeter()


class Hook(exports.Hook):
    # The hook: called once, when all requests are answered. Raise Err("why") to say that it failed.
    async def shutdown(self, notice):
        print(greeter.report())


class Handler(exports.Handler):
    # Called once for each request, many at a time: others go on while this one awaits.
    async def handle(self, request):
        writer, body = wit_world.byte_stream()
        _, trailers = trailers_future(lambda: Ok(None))
        spawn(send(writer, greeter.greet()))
        headers = Fields.from_list([("content-type", b"text/plain")])
        return Response.new(headers, body, trailers)[0]


async def send(writer, text):
    with writer:
        await writer.write_all(text.encode())
