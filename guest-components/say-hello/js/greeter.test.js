import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Greeter } from './greeter.js';

test('everyone gets the next number, and the report counts them all', () => {
  const greeter = new Greeter();
  assert.equal(greeter.greet(), 'Hello, you are number 1\n');
  assert.equal(greeter.greet(), 'Hello, you are number 2\n');
  assert.equal(greeter.report(), 'said hello 2 times');
});
