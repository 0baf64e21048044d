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

/** Waits until so much of the machine was idle for a second, at most `ms`; answers the share that was idle at last. */
export async function untilCalm(idle, ms) {
  for (const end = Date.now() + ms; ; ) {
    const from = cpuTimes();
    await new Promise((later) => setTimeout(later, 1_000));
    const now = 1 - shares(from, cpuTimes()).busy;
    if (now >= idle || Date.now() >= end) return now;
  }
}
