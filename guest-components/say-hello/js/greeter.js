// Who is greeted, and how often: plain JavaScript, so that Node.js can test it.

export class Greeter {
  count = 0;

  greet() {
    this.count += 1;
    return `Hello, you are number ${this.count}\n`;
  }

  report() {
    return `said hello ${this.count} times`;
  }
}
