// "Would you turn your microphone off?": an official asks by a data message, and the other side gets one button. Nobody is ever muted by somebody else.

import { RoomEvent, type Participant, type Room } from 'livekit-client';
import { el } from '../dom';
import { clearText, setText } from '../texts';
import { personOf } from '../tiles';
import { button } from './office';

/** The topic of the question; its payload says nothing. */
export const ASK_MUTE = 'ask-mute';

export class AskMute {
  readonly #said = el('p', { class: 'kern-body', role: 'status', id: 'ask-mute-said' });
  readonly #off = button('ask-mute-off', 'lobby.mute.off', 'primary', () => this.#mute());
  readonly #keep = button('ask-mute-keep', 'lobby.mute.keep', 'secondary', () => this.#close());
  readonly #answers = el('div', { class: 'actions', hidden: '' }, this.#off, this.#keep);
  readonly element = el('div', { class: 'ask-mute', id: 'ask-mute' }, this.#said, this.#answers);
  readonly #mayAsk: (identity: string) => boolean;
  readonly #send: (to: string) => Promise<void>;
  #room: Room | undefined;

  /** `mayAsk` tells officials from others by their identity in the room: a question of anybody else is none. */
  constructor(mayAsk: (identity: string) => boolean, send: (to: string) => Promise<void>) {
    [this.#mayAsk, this.#send] = [mayAsk, send];
  }

  /** The question came from somebody. */
  received(from: Participant): void {
    if (this.#mayAsk(from.identity)) this.#asked(from);
  }

  begin(room: Room): void {
    this.#room = room;
    room
      // What stands here must not outlive its being true.
      .on(RoomEvent.TrackMuted, (_, participant) => void (participant.isLocal && !participant.isMicrophoneEnabled && !this.#answers.hidden && this.#close()))
      .on(RoomEvent.TrackUnmuted, (_, participant) => void (participant.isLocal && participant.isMicrophoneEnabled && this.#close()));
  }

  /** Asks whoever has this person's seat. */
  async ask(person: string): Promise<'asked' | 'off' | 'absent'> {
    const one = [...(this.#room?.remoteParticipants.values() ?? [])].find(({ identity }) => personOf(identity) === person);
    if (!one) return 'absent';
    if (!one.isMicrophoneEnabled) return 'off';
    try {
      await this.#send(one.identity);
      return 'asked';
    } catch {
      return 'absent';
    }
  }

  #asked(from: Participant): void {
    if (!this.#room?.localParticipant.isMicrophoneEnabled) return;
    clearText(this.#said);
    setText(this.#said, { key: 'lobby.mute.asked', args: { name: from.name || from.identity } });
    this.#answers.hidden = false;
  }

  /** Presses the call's own button, so that coming back after a lost connection keeps it off. */
  #mute(): void {
    const control = document.getElementById('toggle-microphone');
    if (this.#room?.localParticipant.isMicrophoneEnabled) control?.click();
    this.#close();
    control?.focus();
    setText(this.#said, 'lobby.mute.done');
  }

  #close(): void {
    this.#answers.hidden = true;
    clearText(this.#said);
  }
}
