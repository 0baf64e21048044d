// Things that have to be closed, however what they are for ends.

/** What has been opened, to be closed in the reverse order. */
export class Opened {
  #closers = [];

  /** Keeps `close` for what `opening` resolves to. Kept at once: what is still being opened is closed, too. */
  async add(opening, close) {
    const opened = Promise.resolve(opening);
    this.#closers.push(() => opened.then(close, () => undefined)); // what did not open has told so itself
    return opened;
  }

  /** Closes everything. One that can't be closed keeps none of the others open, and is told in the end. */
  async close() {
    const failures = [];
    for (const close of this.#closers.splice(0).reverse()) await close().catch((failure) => failures.push(failure));
    if (failures.length === 1) throw failures[0];
    if (failures.length > 1) throw new AggregateError(failures, failures.map((failure) => failure.message).join('\n'));
  }
}
