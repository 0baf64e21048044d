// One definition of the thin link, for the test and for the comparison: what a receiver sees and hears when its link goes from
// 3 Mbit/s to 300 kbit/s and back, while a camera in three layers of up to 720p is sent.
import { SIZES, ask, concealed, sleep, stats, untilSize } from './call.mjs';
import { watchMachine } from './machine.mjs';

const WIDE_BPS = 3_000_000;
const THIN_BPS = 300_000;
/** What waits in front of the link, as time at its rate. */
const QUEUE_MS = 300;
/** The link is wide for so long before it gets thin, with the whole picture there. */
const SETTLE_MS = 3_000;
const THIN_MS = 20_000;
/** The link is watched for so long after the whole picture is back. */
const AFTER_MS = 8_000;
/** From joining, and from the link's being wide again, to the whole picture. */
const WHOLE_PICTURE_MS = 30_000;

/** The link as it is at first: to be called before anyone joins through `relay`. */
export const widen = (relay) => limit(relay, WIDE_BPS);
const limit = (relay, bps) => Object.assign(relay, { downBps: bps, queueBytes: (bps * QUEUE_MS) / 8_000 });

const untilWhole = (page, identity) => untilSize(page, identity, SIZES[2], WHOLE_PICTURE_MS);

/** Fails unless all that `page` receives comes through `relay`: otherwise no link was thin. */
async function checkRelayed(page, relay) {
  const all = await stats(page);
  const selected = all.filter((s) => s.type === 'transport' && s.selectedCandidatePairId).map((s) => all.find((pair) => pair.id === s.selectedCandidatePairId));
  const receiving = selected.filter((pair) => pair?.bytesReceived > 0);
  const ports = receiving.map((pair) => all.find((s) => s.id === pair.remoteCandidateId)?.port);
  if (ports.length === 0 || ports.some((port) => port !== relay.port)) throw new Error(`media comes from the ports ${ports}, not only from the relay's ${relay.port}`);
}

/**
 * Takes the link of `receiver`, which sees `sender` through `relay`, from wide to thin and back. Answers `firstMs`, from the call
 * to the whole picture; the meter's reports `thin` and `wide`; `backMs`, from the link's being wide to a frame of the whole
 * picture, and `steadyMs`, to the end of the last freeze, or to `backMs` without one (`null`: it still stands); `madeUp`, the
 * share of sound that had to be made up from the drop on; and `busy`, the share of the machine's time in use.
 */
export async function stepLink({ receiver, sender, relay }) {
  const firstMs = await untilWhole(receiver, sender);
  await sleep(SETTLE_MS);
  await checkRelayed(receiver, relay);

  const watched = watchMachine();
  await ask(receiver, 'resetMeters');
  const atThin = await stats(receiver);
  limit(relay, THIN_BPS);
  await sleep(THIN_MS);
  const thin = await ask(receiver, 'video', sender);

  await ask(receiver, 'resetMeters');
  limit(relay, WIDE_BPS);
  const widenedAt = Date.now();
  const backMs = await untilWhole(receiver, sender);
  await sleep(AFTER_MS);
  const wide = await ask(receiver, 'video', sender);
  const madeUp = await concealed(receiver, atThin);
  await checkRelayed(receiver, relay);

  const steadyMs = wide.stands ? null : Math.max(backMs, (wide.gaps.at(-1)?.at ?? 0) - widenedAt);
  return { firstMs, thin, wide, backMs, steadyMs, madeUp, busy: watched().busy };
}
