// Misbehaves as its arguments say, in JavaScript with WASI 0.2. Arguments: `run=BEHAVIOUR hook=BEHAVIOUR`, both
// `good` unless given, and for some of them `ms=N`. The names are those of hostile-classic; `throw` is JavaScript's own.

import { extendGrace, ready, stopNotice, subscribeStop } from 'curfew:lifecycle/host@0.2.0';
import { getArguments } from 'wasi:cli/environment@0.2.12';
import { exit } from 'wasi:cli/exit@0.2.12';
import { subscribeDuration } from 'wasi:clocks/monotonic-clock@0.2.12';

const MILLISECOND = 1_000_000n;
const HOUR = 3_600_000n * MILLISECOND;

const option = (key, byDefault) =>
  getArguments().map((argument) => argument.split('=')).find(([name]) => name === key)?.[1] ?? byDefault;
const waitFor = (nanoseconds) => subscribeDuration(nanoseconds).block();
const good = () => subscribeStop().block();
const recurse = (depth) => recurse(depth + 1) + 1;

function spin() {
  for (;;);
}

function extend() {
  for (;;) {
    extendGrace(HOUR);
    waitFor(10n * MILLISECOND);
  }
}

function fail(message) {
  throw new Error(message);
}

// What run and hook have in common.
const BOTH = {
  good: () => {},
  spin,
  extend,
  park: () => waitFor(HOUR),
  // A promise that nobody ever settles: nothing is left that the event loop could wait for.
  pending: () => new Promise(() => {}),
  // The event loop sleeps.
  'park-async': () => new Promise((resolve) => setTimeout(resolve, 3_600_000)),
  throw: () => fail('an error on purpose'),
  reject: async () => fail('a rejection on purpose'),
  recurse: () => recurse(0),
  exit0: () => exit({ tag: 'ok' }),
  // The exit code of a failure is always 1 here: `exit` takes no number.
  exit3: () => exit({ tag: 'err' }),
};

const RUN = {
  ...BOTH,
  good,
  'never-ready': good,
  return: () => {},
  error: () => {
    throw undefined;
  },
  'throw-on-stop': () => {
    good();
    fail('an error on purpose, when asked to stop');
  },
  'error-on-stop': () => {
    good();
    throw undefined;
  },
  flood: () => {
    while (!stopNotice()) console.log('x'.repeat(1023));
  },
  'flood-forever': () => {
    for (;;) console.log('x'.repeat(1023));
  },
};

const HOOK = {
  ...BOTH,
  error: () => {
    throw 'the hook failed on purpose';
  },
  slow: () => waitFor(BigInt(option('ms', '100')) * MILLISECOND),
};

export const run = {
  async run() {
    const behaviour = option('run', 'good');
    console.log('run entered');
    if (behaviour !== 'never-ready') ready();
    await RUN[behaviour]();
  },
};

export async function shutdown() {
  console.log('hook called');
  await HOOK[option('hook', 'good')]();
  console.log('hook done');
}
