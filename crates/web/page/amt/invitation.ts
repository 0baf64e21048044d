// What a citizen is sent: the text of a mail and a calendar file (RFC 5545).

import { translate } from '../texts';
import type { Card, Office } from '../talk/view';

/** The instant at which clocks in `zone` show `day` (`YYYY-MM-DD`) and `time` (`HH:MM`). */
export function instantIn(zone: string, day: string, time: string): Date {
  const wanted = Date.parse(`${day}T${time}:00Z`);
  const shown = (at: number) => Date.parse(`${new Date(at).toLocaleString('sv-SE', { timeZone: zone }).replace(' ', 'T')}Z`);
  // The offset may differ between the guess and the result, on the day when clocks change: twice is enough.
  const guess = wanted - (shown(wanted) - wanted);
  return new Date(guess - (shown(guess) - wanted));
}

export function mailText({ office, when, url }: { office: Office; when: string; url: string }): string {
  return translate({ key: 'create.mail.text', args: { office: office.name, when, url, phone: office.help.phone } });
}

export function icsFile(card: Pick<Card, 'id' | 'starts_at' | 'ends_at'>, summary: string, url: string): string {
  const time = (value: string) => new Date(value).toISOString().replace(/[-:]|\.\d+/g, '');
  const lines = ['BEGIN:VCALENDAR', 'VERSION:2.0', 'PRODID:-//Schalter//Termin//DE', 'BEGIN:VEVENT', `UID:${card.id}@${location.host}`, `DTSTAMP:${time(new Date().toISOString())}`,
    `DTSTART:${time(card.starts_at)}`, `DTEND:${time(card.ends_at)}`, `SUMMARY:${escaped(summary)}`, `DESCRIPTION:${escaped(url)}`, `URL:${url}`, 'END:VEVENT', 'END:VCALENDAR'];
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
