// What the machine did while something was measured: how busy it was, what of that the hypervisor or others took, and how long this
// process could not run. Both browsers, the server and the tests share few cores: without these figures a failure can't be told from a
// neighbour's noise.
import fs from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';

/**
 * Ticks of all cores since boot (proc(5)): `idle`, `stolen` by the hypervisor for other guests, and `total`.
 */
export function cpuTimes() {
  const ticks = fs.readFileSync('/proc/stat', 'utf8').split('\n', 1)[0].trim().split(/\s+/).slice(1, 9).map(Number);
  return { idle: ticks[3] + ticks[4], stolen: ticks[7], total: ticks.reduce((sum, tick) => sum + tick, 0) };
}

/** Ticks that this process and those descendants that have ended, and were waited for, have had since it began (proc(5): 14 to 17). */
function ownTicks() {
  const fields = fs.readFileSync('/proc/self/stat', 'utf8').replace(/^.*\) /s, '').split(' ');
  return fields.slice(11, 15).reduce((sum, field) => sum + Number(field), 0);
}

/** Shares of all cores between two of `cpuTimes`, 0 to 1. */
function shares(from, to) {
  const total = Math.max(1, to.total - from.total);
  return { busy: 1 - (to.idle - from.idle) / total, stolen: (to.stolen - from.stolen) / total };
}

/** Watches the machine from now on; the answer tells of the time since: shares `busy` and `stolen`, and `stallMs`, the longest that this process's event loop stood still. */
export function watchMachine() {
  const delay = monitorEventLoopDelay({ resolution: 10 });
  delay.enable();
  const from = cpuTimes();
  return () => {
    delay.disable();
    return { ...shares(from, cpuTimes()), stallMs: delay.max / 1e6 };
  };
}

/**
 * For whoever starts all that is measured, and waits for its end: watches from now on; the answer tells the shares `busy`, `stolen` and
 * `foreign`, what processes had that are none of its descendants. One that nobody waited for counts as foreign, too.
 */
export function watchOthers() {
  const [from, own] = [cpuTimes(), ownTicks()];
  return () => {
    const to = cpuTimes();
    const { busy, stolen } = shares(from, to);
    return { busy, stolen, foreign: Math.max(0, busy - stolen - (ownTicks() - own) / Math.max(1, to.total - from.total)) };
  };
}

/** Waits until so much of the machine was idle for a second, at most `ms`; answers the share that was idle at last. */
export async function untilCalm(idle, ms) {
  for (const end = Date.now() + ms; ; ) {
    const from = cpuTimes();
    await new Promise((later) => setTimeout(later, 1_000));
    const now = 1 - shares(from, cpuTimes()).busy;
    if (now >= idle || Date.now() >= end) return now;
  }
}
