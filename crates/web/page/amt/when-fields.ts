// About what and when: subject, day, start and length, read and written in the office's time.

import { line, type Complaint, type Field } from './fields';
import { instantIn } from './invitation';
import type { ServerClock } from '../talk/clock';
import type { Office } from '../talk/view';

/** The desk's bounds: `MAX_SUBJECT`, `MIN_DURATION_S` and `MAX_DURATION_S`. */
const MAX_SUBJECT = 200;
const LONGEST_MINUTES = 12 * 60;
const USUAL_MINUTES = '30';

export interface Plan {
  readonly subject: string;
  readonly starts_at: string;
  readonly ends_at: string;
}

export class WhenFields {
  readonly subject: Field<HTMLInputElement>;
  readonly day: Field<HTMLInputElement>;
  readonly elements: readonly HTMLElement[];
  readonly #from: Field<HTMLInputElement>;
  readonly #minutes: Field<HTMLInputElement>;
  readonly #office: Office;
  readonly #clock: ServerClock;

  constructor(prefix: string, office: Office, clock: ServerClock) {
    [this.#office, this.#clock] = [office, clock];
    this.subject = line(`${prefix}-subject`, 'create.subject', { maxlength: String(MAX_SUBJECT), 'aria-required': 'true' }, 'edit.subject.hint');
    this.day = line(`${prefix}-day`, 'day.date', { type: 'date', 'aria-required': 'true' });
    this.#from = line(`${prefix}-from`, 'create.from', { type: 'time', 'aria-required': 'true' });
    this.#minutes = line(`${prefix}-minutes`, 'create.minutes', { inputmode: 'numeric', maxlength: '3', 'aria-required': 'true' });
    this.#minutes.control.value = USUAL_MINUTES;
    this.elements = [this.subject, this.day, this.#from, this.#minutes].map(({ element }) => element);
  }

  show(plan: Plan): void {
    const zone = { timeZone: this.#office.time_zone };
    const starts = new Date(plan.starts_at);
    this.subject.control.value = plan.subject;
    this.day.control.value = starts.toLocaleDateString('sv-SE', zone);
    this.#from.control.value = starts.toLocaleTimeString('sv-SE', { hour: '2-digit', minute: '2-digit', ...zone });
    this.#minutes.control.value = String(Math.round((Date.parse(plan.ends_at) - starts.getTime()) / 60_000));
  }

  clear(): void {
    this.subject.control.value = '';
    this.#from.control.value = '';
    this.#minutes.control.value = USUAL_MINUTES;
  }

  complaints(): Complaint[] {
    const wrong: Complaint[] = [];
    if (!this.subject.value) wrong.push([this.subject, 'edit.error.subject']);
    if (!this.day.value) wrong.push([this.day, 'edit.error.day']);
    if (!this.#from.value) wrong.push([this.#from, 'edit.error.from']);
    const minutes = Number(this.#minutes.value);
    if (!Number.isInteger(minutes) || minutes < 1 || minutes > LONGEST_MINUTES) wrong.push([this.#minutes, 'edit.error.minutes']);
    if (wrong.length === 0 && Date.parse(this.value().ends_at) <= this.#clock.now()) wrong.push([this.day, 'edit.error.past']);
    return wrong;
  }

  /** Read only after there were no complaints. */
  value(): Plan {
    const starts = instantIn(this.#office.time_zone, this.day.value, this.#from.value);
    const ends = new Date(starts.getTime() + Number(this.#minutes.value) * 60_000);
    return { subject: this.subject.value, starts_at: starts.toISOString(), ends_at: ends.toISOString() };
  }
}
