// The pages' words, without a browser: Leichte Sprache as far as a machine can tell (DIN SPEC 33429, rules of Netzwerk Leichte Sprache: short
// sentences with one thought each, no passive, no subjunctive, no genitive, compounds in parts), and nothing that a citizen reads left out of it.
// Whether it is understood, only those can tell who need it.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { test } from 'node:test';

const read = (name) => JSON.parse(fs.readFileSync(new URL(`../../../web/page/texts/${name}.json`, import.meta.url), 'utf8'));
const [german, english, easy] = [read('de'), read('en'), read('de-leicht')];

/** What officials read; theirs is not written in Leichte Sprache. */
const OFFICIALS = /^(amt|login|day|create|edit|lobby|state|stage|linkstate|tested|outcome|colleague)\./;
/** Among those, what citizens read as well: in mails and calendars, and when a room or the desk fails them. */
const CITIZENS = /^(create\.calendar$|edit\.(mail|calendar)\.text$|lobby\.mute\.|amt\.problem\.(room|busy|store|ended|too-many-people)$)/;
/** The report that IT is to read, in its own words. */
const TECHNICAL = /^check\.(progress|mark\.failed|name\.|says\.|it\.|report|copy|copied)/;
/** German that is easy as it is: single words, numbers and names. */
const SAME = ['language.switch.label', 'language.choose', 'prejoin.level', 'prejoin.camera', 'prejoin.microphone', 'prejoin.speaker', 'prejoin.device', 'device.retry', 'quality.audio',
  'tile.speaking', 'participant.named', 'end.duration.minutes', 'end.duration.minute', 'office.name', 'talk.rtt.label', 'talk.chat', 'talk.chat.send', 'talk.from', 'talk.me',
  'talk.speaks', 'role.citizen', 'problem.too-late', 'problem.other', 'problem.retry', 'problem.again', 'shield.code', 'shield.same', 'shield.same.name', 'termin.open', 'termin.yours', 'termin.check.audio', 'need.title', 'trouble.title'];

const MOST_WORDS = 10;
/** Letters of a word, or of its parts between hyphens; addresses of pages are no words. */
const LONGEST_PART = 13;
const HARD = [
  [/[;()]/, 'two thoughts in a sentence'],
  [/\b(wird|werden|wurde|wurden|worden)\b/i, 'passive'],
  [/\b(könnten?|würden?|sollten?|müssten?|wären?|hätten?|dürften?)\b/i, 'subjunctive'],
  [/\b(des|dessen|deren)\b/i, 'genitive'],
  [/\b(man|sowie|jedoch|bzw|beziehungsweise)\b/i, 'a hard word'],
  [/(?<!\p{L})(z\. ?B\.|d\. ?h\.|usw)/iu, 'abbreviation'],
  [/, (dass|weil|damit|obwohl|während|nachdem|bevor|wenn|die|der|das) /i, 'subordinate clause'],
];

/** That a server could look is no fact; that it can sounds like one. */
const POSSIBLE = /^shield\./;

const sentences = (text) => text.split(/[.!?:](?=\s|$)|\n+/).map((one) => one.trim()).filter(Boolean);

test('what citizens read is there in Leichte Sprache', () => {
  const forCitizens = Object.keys(german).filter((key) => (!OFFICIALS.test(key) || CITIZENS.test(key)) && !TECHNICAL.test(key));
  assert.deepEqual(forCitizens.filter((key) => !(key in easy) && !SAME.includes(key)), []);
  assert.deepEqual(SAME.filter((key) => key in easy || !(key in german)), [], 'no longer the same, or gone');
});

test('Leichte Sprache is short, and free of what makes German hard', () => {
  const wrong = [];
  for (const [key, text] of [...Object.entries(easy), ...SAME.map((key) => [key, german[key]])]) {
    for (const sentence of sentences(text)) {
      const words = sentence.split(/\s+/).filter((word) => /[\p{L}\d{]/u.test(word));
      if (words.length > MOST_WORDS) wrong.push(`${key}: ${words.length} words in “${sentence}”`);
      for (const part of words.flatMap((word) => word.split(/[-‑·]/u))) if (/^\p{L}+$/u.test(part) && part.length > LONGEST_PART) wrong.push(`${key}: “${part}” is long`);
    }
    for (const [pattern, what] of HARD) if (pattern.test(text) && !(what === 'subjunctive' && POSSIBLE.test(key))) wrong.push(`${key}: ${what} in “${text}”`);
  }
  assert.deepEqual(wrong, []);
});

test('one thing has one name', () => {
  // A word in the place of the one that the pages use for the same thing.
  const others = { de: [/\bMikro\b/, /\bMeeting\b/, /\bWarte(zimmer|bereich)\b/, /\bVideo(anruf|konferenz|sprechstunde)\b/i, /\bAmt(e?s)?\b/], en: [/\bauthority\b/, /\blobby\b/i, /\bmeeting\b/i, /\bjust now\b/, /\bmail\b(?<!e-mail)/], 'de-leicht': [/\bBehörde\b/, /\bWarteraum\b/, /\bVideo-Anruf\b/, /\bBeratung\b(?<!Video-Beratung)/, /\bKlicken\b/, /\bNetz\b/, /\bProgramm für das Internet\b/] };
  const tables = { de: german, en: english, 'de-leicht': easy };
  const found = Object.entries(others).flatMap(([language, patterns]) => Object.entries(tables[language]).flatMap(([key, text]) => patterns.filter((pattern) => pattern.test(text)).map((pattern) => `${language} ${key}: ${pattern}`)));
  assert.deepEqual(found, []);
});
