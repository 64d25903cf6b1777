import { ready, subscribeStop } from 'curfew:lifecycle/host@0.2.0';
import { subscribeDuration } from 'wasi:clocks/monotonic-clock@0.2.12';
import { poll } from 'wasi:io/poll@0.2.12';
import { Clock } from './clock.js';

const SECOND = 1_000_000_000n;
const clock = new Clock();

// The hook: called once, when `run` has returned. Throw an error to say that it failed.
export function shutdown() {
  console.log(clock.report());
}

export const run = {
  run() {
    try {
      tickUntilStop();
    } catch (error) {
      // Nobody else shows what `run` throws: to the host it is just `err`.
      console.error(error);
      throw error;
    }
  },
};

function tickUntilStop() {
  const stop = subscribeStop();
  ready();
  while (!stop.ready()) {
    console.log(clock.next());
    // Until the second is over or the stop is requested, whichever comes first.
    const timer = subscribeDuration(SECOND);
    poll([stop, timer]);
    timer[Symbol.dispose]();
  }
}
