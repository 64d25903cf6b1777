// Handlers as they are written, without a thought for what can be wrong: `/throw` reads a property of nothing, `/json` parses the
// body, and whatever else is answered.

import { Fields, OutgoingBody, OutgoingResponse, ResponseOutparam } from 'wasi:http/types@0.2.10';

const bytes = (text) => new TextEncoder().encode(text);

function read(request) {
  const stream = request.consume().stream();
  return new TextDecoder().decode(stream.blockingRead(65_536n));
}

function answer(request) {
  const path = request.pathWithQuery();
  if (path === '/throw') return undefined.x;
  if (path === '/json') return `${JSON.parse(read(request)).length} items`;
  return 'well';
}

export const incomingHandler = {
  handle(request, responseOut) {
    const text = answer(request);
    const response = new OutgoingResponse(Fields.fromList([]));
    const body = response.body();
    ResponseOutparam.set(responseOut, { tag: 'ok', val: response });
    const stream = body.write();
    stream.blockingWriteAndFlush(bytes(text));
    stream[Symbol.dispose]();
    OutgoingBody.finish(body);
  },
};
