// Asks before what cannot be taken back. A dialog of the browser's own: it holds the focus, closes by Escape, and gives the focus back.

import { el } from '../dom';
import { setText, type Message, type TextKey } from '../texts';
import { button } from '../talk/office';

/** Whether somebody meant it. `inside` is shown between the question and the answers. */
export function confirm(question: Message | TextKey, what: Message | TextKey, yes: TextKey, ...inside: HTMLElement[]): Promise<boolean> {
  const dialog: HTMLDialogElement = el('dialog', { class: 'kern-dialog', id: 'confirm', 'aria-labelledby': 'confirm-title', 'aria-describedby': 'confirm-what' },
    el('div', { class: 'kern-dialog__header' }, setText(el('h2', { class: 'kern-title kern-title--large', id: 'confirm-title' }), question)),
    el('div', { class: 'kern-dialog__body' }, setText(el('p', { class: 'kern-body', id: 'confirm-what' }), what), ...inside),
    el('div', { class: 'kern-dialog__footer' }, button('confirm-no', 'edit.confirm.no', 'secondary', () => dialog.close()), button('confirm-yes', yes, 'primary', () => dialog.close('yes'))));
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((answer) => dialog.addEventListener('close', () => {
    dialog.remove();
    answer(dialog.returnValue === 'yes');
  }, { once: true }));
}
