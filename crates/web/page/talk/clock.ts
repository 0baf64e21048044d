// What time it is at the desk. The clock of this machine may be hours off, and may be set while the page is open: what passed since the desk
// last said the time is measured by a clock that only goes on.

export class ServerClock {
  #said: number;
  #heard: number;

  /** `time` is what the desk said just now, RFC 3339. */
  constructor(time: string) {
    this.#said = Date.parse(time);
    this.#heard = performance.now();
  }

  /** The desk said the time again. */
  hear(time: string): void {
    this.#said = Date.parse(time);
    this.#heard = performance.now();
  }

  /** Milliseconds since 1970. */
  now(): number {
    return this.#said + performance.now() - this.#heard;
  }
}
