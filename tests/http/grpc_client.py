"""A gRPC client for the component grpc-echo, without generated code: the two messages are a few bytes.

usage: grpc_client.py ADDRESS unary|stream|many|unknown|slow-stream
"""

import sys

import grpc


def varint(number):
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def request(message):
    text, times = message
    encoded = text.encode()
    return b"\x0a" + varint(len(encoded)) + encoded + (b"\x10" + varint(times) if times else b"")


def reply(data):
    if not data:
        return ""
    assert data[0] == 0x0A, data
    at, shift, length = 1, 0, 0
    while True:
        length |= (data[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if data[at - 1] < 0x80:
            break
    assert len(data) == at + length, data
    return data[at:].decode()


def main(address, what):
    with grpc.insecure_channel(address) as channel:
        say = channel.unary_unary("/echo.Echo/Say", request, reply)
        repeat = channel.unary_stream("/echo.Echo/Repeat", request, reply)
        if what == "unary":
            assert say(("hello", 0), timeout=20) == "hello"
            assert say(("", 0), timeout=20) == ""
            long = "ä" * 300_000
            assert say((long, 0), timeout=20) == long
        elif what == "stream":
            assert list(repeat(("again", 50), timeout=20)) == ["again"] * 50
            assert list(repeat(("none", 0), timeout=20)) == []
        elif what == "many":
            calls = [say.future((f"call {number}", 0), timeout=20) for number in range(200)]
            assert [call.result() for call in calls] == [f"call {number}" for number in range(200)]
        elif what == "unknown":
            try:
                channel.unary_unary("/echo.Echo/Nothing", request, reply)(("x", 0), timeout=20)
            except grpc.RpcError as error:
                assert error.code() == grpc.StatusCode.UNIMPLEMENTED, error
            else:
                raise AssertionError("an unknown method was answered")
        elif what == "slow-stream":
            # The window of the stream is full until this client reads on: the stream is in its middle.
            text = "x" * 20_000
            answers = repeat((text, 500), timeout=20)
            assert next(answers) == text
            print("begun", flush=True)
            assert sum(1 for answer in answers if answer == text) == 499
            assert answers.code() == grpc.StatusCode.OK, answers.code()
            print("whole", flush=True)
        else:
            raise SystemExit(__doc__)


main(*sys.argv[1:])
