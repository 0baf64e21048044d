// What people are sent, in their language: the text of a mail and a calendar file (RFC 5545).

import { wordsIn, type Language, type TextKey } from '../texts';
import { LANGUAGE_NAMES } from '../talk/office';
import type { Card, Office, Role } from '../talk/view';

/** The instant at which clocks in `zone` show `day` (`YYYY-MM-DD`) and `time` (`HH:MM`). */
export function instantIn(zone: string, day: string, time: string): Date {
  const wanted = Date.parse(`${day}T${time}:00Z`);
  const shown = (at: number) => Date.parse(`${new Date(at).toLocaleString('sv-SE', { timeZone: zone }).replace(' ', 'T')}Z`);
  // The offset may differ between the guess and the result, on the day when clocks change: twice is enough.
  const guess = wanted - (shown(wanted) - wanted);
  return new Date(guess - (shown(guess) - wanted));
}

export interface Invitation {
  readonly subject: string;
  readonly mail: string;
  readonly calendar: string;
}

export async function invitation(office: Office, card: Pick<Card, 'id' | 'starts_at' | 'ends_at'>, person: { readonly id: string; readonly role: Role; readonly language: string | null; readonly join_url: string }): Promise<Invitation> {
  const tags = Object.keys(LANGUAGE_NAMES) as Language[];
  const language = tags.find((tag) => tag === (person.language ?? office.languages[0])) ?? 'de';
  const words = await wordsIn(language);
  const zone = { timeZone: office.time_zone };
  const locale = language === 'en' ? 'en-GB' : 'de-DE';
  const starts = new Date(card.starts_at);
  const args = {
    office: office.name,
    date: starts.toLocaleDateString(locale, { weekday: 'long', day: 'numeric', month: 'long', year: 'numeric', ...zone }),
    time: starts.toLocaleTimeString(locale, { hour: '2-digit', minute: '2-digit', ...zone }),
    url: person.join_url,
    ...(office.help.phone ? { phone: office.help.phone } : {}),
  };
  // A line about a telephone is for offices that have one.
  const filled = (key: TextKey) => words({ key, args }).split('\n').filter((one) => !one.includes('{phone}')).join('\n').trim();
  const summary = words({ key: 'create.calendar', args: { office: office.name } });
  return { subject: summary, mail: filled('edit.mail.text'), calendar: icsFile(card, person, summary, filled('edit.calendar.text')) };
}

/** One event; whoever gets a newer file for the same person and appointment has the old one replaced (RFC 5545, 3.8.4.7 and 3.8.7.4). */
function icsFile(card: Pick<Card, 'id' | 'starts_at' | 'ends_at'>, person: { readonly id: string; readonly join_url: string }, summary: string, text: string): string {
  const time = (value: string) => new Date(value).toISOString().replace(/[-:]|\.\d+/g, '');
  const now = new Date();
  const lines = ['BEGIN:VCALENDAR', 'VERSION:2.0', 'PRODID:-//Schalter//Termin//DE', 'CALSCALE:GREGORIAN', 'BEGIN:VEVENT', `UID:${card.id}-${person.id}@${location.hostname}`,
    `SEQUENCE:${Math.floor(now.getTime() / 1000) % 2_147_483_647}`, `DTSTAMP:${time(now.toISOString())}`, `DTSTART:${time(card.starts_at)}`, `DTEND:${time(card.ends_at)}`,
    `SUMMARY:${escaped(summary)}`, `DESCRIPTION:${escaped(text)}`, `URL:${person.join_url}`, 'END:VEVENT', 'END:VCALENDAR'];
  return lines.map(folded).join('\r\n') + '\r\n';
}

function escaped(text: string): string {
  return text.replace(/[\\;,]/g, (sign) => `\\${sign}`).replace(/\r?\n/g, '\\n');
}

/** Lines end before their 75th octet and go on after a space (RFC 5545, 3.1). */
function folded(line: string): string {
  const parts: string[] = [];
  let part = '';
  for (const character of line) {
    if (new TextEncoder().encode(part + character).length > 74) {
      parts.push(part);
      part = '';
    }
    part += character;
  }
  return [...parts, part].join('\r\n ');
}
