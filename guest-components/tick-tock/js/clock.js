// What the clock says: plain JavaScript, so that Node.js can test it.

export class Clock {
  ticks = 0;

  next() {
    this.ticks += 1;
    return this.ticks % 2 === 1 ? `tick ${this.ticks}` : `tock ${this.ticks}`;
  }

  report() {
    return `ticked ${this.ticks} times`;
  }
}
