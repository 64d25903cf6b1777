import { Fields, OutgoingBody, OutgoingResponse, ResponseOutparam } from 'wasi:http/types@0.2.10';
import { Greeter } from './greeter.js';

const greeter = new Greeter();
const bytes = (text) => new TextEncoder().encode(text);

// The hook: called once, when all requests are answered. Throw an error to say that it failed.
export function shutdown() {
  console.log(greeter.report());
}

// Called once for each request, one at a time.
export const incomingHandler = {
  handle(request, responseOut) {
    const response = new OutgoingResponse(Fields.fromList([['content-type', bytes('text/plain')]]));
    const body = response.body();
    ResponseOutparam.set(responseOut, { tag: 'ok', val: response });
    const stream = body.write();
    stream.blockingWriteAndFlush(bytes(greeter.greet()));
    stream[Symbol.dispose]();
    OutgoingBody.finish(body);
  },
};
