import { readFileSync } from 'node:fs';

/**
 * Milliseconds since the boot, the time of a suspended machine included (CLOCK_BOOTTIME): after a suspension, a lease is known to be over. The
 * resolution is 10 ms. Nobody sets this clock.
 */
export function bootMs(): number {
  const text = readFileSync('/proc/uptime', 'latin1');
  return Math.round(Number.parseFloat(text) * 1000);
}
