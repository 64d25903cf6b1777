import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Clock } from './clock.js';

test('ticks and tocks take turns, and the report counts both', () => {
  const clock = new Clock();
  assert.deepEqual([clock.next(), clock.next(), clock.next()], ['tick 1', 'tock 2', 'tick 3']);
  assert.equal(clock.report(), 'ticked 3 times');
});
