// What the desk tells the pages, as it stands in its JSON. Times are RFC 3339 in UTC.

import type { Policy } from './e2ee/layer';

export type Role = 'official' | 'citizen' | 'interpreter' | 'companion' | 'captioner' | 'observer';
export type Stage = 'invited' | 'opened' | 'waiting' | 'admitted' | 'in_call' | 'left' | 'denied' | 'held' | 'ended';
export type Network = 'udp' | 'tcp' | 'tls' | 'none';

export interface Needs {
  readonly signing: boolean;
  readonly live_text: boolean;
  readonly interpreter: boolean;
  readonly companion: boolean;
}

export interface Office {
  readonly id: string;
  readonly name: string;
  readonly time_zone: string;
  readonly languages: readonly string[];
  /** Whether calls are encrypted between browsers; a desk that does not say so means not. */
  readonly end_to_end?: Policy;
  readonly help: { readonly phone: string; readonly text: string };
  readonly links: Readonly<Partial<Record<'imprint' | 'privacy' | 'accessibility' | 'feedback', string | null>>>;
  readonly theme: { readonly logo_url?: string | null; readonly colours?: { readonly primary?: string | null; readonly on_primary?: string | null } | null };
  readonly login?: { readonly oidc: boolean; readonly demo: readonly { readonly id: string; readonly name: string }[] };
}

export interface Present {
  readonly id: string;
  readonly role: Role;
  readonly name: string;
  readonly stage: Stage;
  readonly linked_to: string | null;
}

export interface Notice {
  readonly kind: 'notice' | 'consent';
  readonly hash: string;
  readonly title: string;
  readonly text: string;
  readonly details: string;
}

export interface View {
  readonly version: number;
  readonly server_time: string;
  readonly me: Present & {
    readonly needs: Needs;
    readonly language: string | null;
    readonly notice_agreed: boolean;
    readonly other_device: boolean;
    readonly waiting_since: string | null;
    readonly message: { readonly text: string; readonly at: string } | null;
  };
  readonly appointment: { readonly id: string; readonly subject: string; readonly starts_at: string; readonly ends_at: string; readonly opens_at: string; readonly closes_at: string; readonly state: string; readonly outcome: string | null };
  readonly authority: Office;
  readonly notice: Notice;
  /** What is shown in its place to who reads that language. */
  readonly notices: Readonly<Record<string, Notice>>;
  readonly present: readonly Present[];
  readonly grants: { readonly publish: boolean; readonly captions: boolean };
}

/** What somebody's device check found. */
export interface Devices {
  readonly camera: boolean;
  readonly microphone: boolean;
  readonly network: Network;
  readonly encryption: boolean;
}

export interface CardPerson extends Present {
  readonly needs: Needs;
  readonly language: string | null;
  readonly link: 'unused' | 'bound' | 'revoked';
  readonly other_device: boolean;
  readonly notice_agreed: boolean;
  readonly devices: Devices | null;
  readonly waiting_since: string | null;
  readonly join_url?: string;
}

export interface Card {
  readonly id: string;
  readonly external_ref: string | null;
  readonly subject: string;
  readonly starts_at: string;
  readonly ends_at: string;
  readonly state: 'scheduled' | 'running' | 'ended' | 'cancelled';
  readonly outcome: string | null;
  readonly version: number;
  readonly late: boolean;
  readonly people: readonly CardPerson[];
}

export interface Day {
  readonly day: string;
  readonly appointments: readonly Card[];
}

export interface Bye {
  readonly type: 'bye';
  readonly reason: 'moved' | 'revoked' | 'ended' | 'session_over' | 'office_gone';
}

export interface Official {
  readonly official: { readonly id: string; readonly name: string; readonly acr: string | null };
  readonly office: Office;
  readonly outcomes: readonly string[];
  readonly server_time: string;
}

export interface Seat {
  readonly url: string;
  readonly token: string;
}
