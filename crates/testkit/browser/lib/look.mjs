// Looks at a screen as people of many kinds have it: each language, light and dark, narrow and wide, with text twice as large.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { violations } from './axe.mjs';
import { LONG } from './call.mjs';

export const LANGUAGES = ['de', 'en', 'de-leicht'];
/** 320 is what 1280 is at 400 % (WCAG 1.4.10); the others are kept as pictures. */
const WIDTHS = [1440, 768, 360, 320];
const OUTER = [WIDTHS[0], WIDTHS.at(-1)];
const HEIGHT = 800;
/** WCAG 2.2, 2.5.8, in CSS pixels. */
const TARGET = 24;

/** What sticks out sideways, or is cut off; empty if nothing. */
const overflowing = (page) => page.evaluate(() => {
  const root = document.documentElement;
  if (root.scrollWidth <= root.clientWidth) return [];
  const wide = [...document.querySelectorAll('body *')].filter((one) => one.getBoundingClientRect().right > root.clientWidth + 1);
  return wide.map((one) => `${one.tagName}#${one.id}.${one.className}`).slice(-3).concat(`${root.scrollWidth} of ${root.clientWidth}`);
});

/** What can be pressed but is smaller than a finger; links inside of sentences may be. */
const small = (page) => page.evaluate((least) => [...document.querySelectorAll('button, a, input, select, textarea, summary, [tabindex="0"]')]
  .filter((one) => one.checkVisibility() && !one.matches('.skip') && !(one.matches('a') && one.closest('p')))
  .map((one) => [one, (one.matches('[type=checkbox], [type=radio]') && one.labels[0]?.parentElement ? one.labels[0].parentElement : one).getBoundingClientRect()])
  .filter(([, { width, height }]) => width < least || height < least)
  .map(([one, { width, height }]) => `${one.tagName}#${one.id} ${Math.round(width)}x${Math.round(height)}`), TARGET);

/**
 * Pairs of neighbours that stand in another order on the screen than in the document, in which they are read and reached by keyboard (WCAG 1.3.2,
 * 2.4.3): the second is above the first, or left of it in the same row. What floats over the page or sticks to its edge stands nowhere; tiles are a
 * set without an order.
 */
export const outOfOrder = (page) => page.evaluate(() => {
  const wrong = [];
  const parts = (parent) => [...parent.children].flatMap((one) => {
    const style = getComputedStyle(one);
    if (style.display === 'contents') return parts(one);
    const box = one.getBoundingClientRect();
    const apart = ['fixed', 'absolute'].includes(style.position) || (style.position === 'sticky' && style.bottom !== 'auto');
    return apart || !one.checkVisibility() || box.width < 2 || box.height < 2 ? [] : [{ one, box }];
  });
  const name = (one) => `${one.tagName}#${one.id}.${one.className}`;
  const read = (parent) => {
    const inside = parts(parent);
    inside.slice(1).forEach(({ one, box }, place) => {
      const { one: before, box: first } = inside[place];
      const above = box.bottom <= first.top + 1 && box.left < first.right - 1;
      // A column to the right begins at its top; what comes after a row to its left is the next row.
      const left = box.right <= first.left + 1 && box.top < first.bottom - 1 && box.bottom > first.top + 1;
      if (above || left) wrong.push(`${name(one)} stands before ${name(before)}`);
    });
    for (const { one } of inside) if (!one.matches('.tiles, svg, select, table')) read(one);
  };
  read(document.body);
  return wrong;
});

/** Whether the name of the language is cut off, which a menu does without being wider than it is. */
const languageCut = (page) => page.evaluate(() => {
  const select = document.getElementById('language');
  const { font, paddingLeft, paddingRight } = getComputedStyle(select);
  const pen = new OffscreenCanvas(1, 1).getContext('2d');
  pen.font = font;
  return pen.measureText(select.selectedOptions[0].text).width > select.clientWidth - parseFloat(paddingLeft) - parseFloat(paddingRight);
});

async function speak(page, language) {
  if ((await page.evaluate(() => document.documentElement.dataset.language)) === language) return;
  // What is modal makes everything else inert, for a person as well: the page's own way is used behind its back.
  await page.evaluate((wanted) => {
    const select = document.getElementById('language');
    select.value = wanted;
    select.dispatchEvent(new Event('change'));
  }, language);
  await page.waitForFunction((wanted) => document.documentElement.dataset.language === wanted, language);
}

/**
 * Fails if anything is wrong with the screen; keeps pictures of it in German if `pictures` is a folder. Ends in German, light and wide.
 * `brief`, where there is no time for more: axe, which takes most of it, reads the dark one in German and the light one in English only.
 */
export async function look(page, name, pictures, { brief = false } = {}) {
  const schemes = (language) => {
    if (LONG) return ['dark', 'light'];
    if (brief) return { de: ['dark'], en: ['light'], 'de-leicht': [] }[language];
    return language === 'de' ? ['dark', 'light'] : ['light'];
  };
  for (const language of [...LANGUAGES].reverse()) {
    await speak(page, language);
    // Colours know nothing of language: the dark ones are looked at in German.
    for (const colorScheme of schemes(language)) {
      await page.emulateMedia({ colorScheme });
      assert.deepEqual(await violations(page), [], `axe on ${name} ${language} ${colorScheme}`);
    }
    await page.emulateMedia({ colorScheme: 'light' });
    // Between the widest and the narrowest the same elements stand in other places.
    for (const width of LONG || (pictures && language === 'de') ? WIDTHS : OUTER) {
      await page.setViewportSize({ width, height: HEIGHT });
      assert.deepEqual(await overflowing(page), [], `${name} ${language} scrolls sideways at ${width}`);
      assert.deepEqual(await outOfOrder(page), [], `${name} ${language} is in another order than it is read at ${width}`);
      assert.deepEqual(await small(page), [], `${name} ${language} has small targets at ${width}`);
      assert.equal(await languageCut(page), false, `${name} ${language}: the language's name is cut off at ${width}`);
      if (pictures && language === 'de' && width > 320) {
        fs.mkdirSync(pictures, { recursive: true });
        await page.screenshot({ path: path.join(pictures, `${name}-${width}.jpg`), type: 'jpeg', quality: 50 });
      }
    }
    // Text of 200 % on a screen of ordinary width.
    await page.setViewportSize({ width: 1280, height: HEIGHT });
    await page.evaluate(() => (document.documentElement.style.fontSize = '32px'));
    assert.deepEqual(await overflowing(page), [], `${name} ${language} scrolls sideways with text of 200 %`);
    await page.evaluate(() => (document.documentElement.style.fontSize = ''));
  }
  assert.equal(await page.evaluate(() => document.getAnimations().filter((one) => one.playState === 'running' && one.effect.getTiming().duration > 10).length), 0, `${name} moves although less motion is wanted`);
  await page.setViewportSize({ width: 1440, height: HEIGHT });
}
