import { checkInteger, checkObject } from '../codec/index.ts';
import type { WireCommand } from './attributes.ts';

/** How long the kernel remembers idle connections, in seconds. */
export interface Timeouts {
  /** Idle TCP connections. */
  tcpSeconds: number;
  /** TCP connections after a FIN. */
  tcpFinSeconds: number;
  /** Seconds without a packet after which a UDP connection ends. */
  udpSeconds: number;
}

/** The kernel multiplies seconds by HZ (at most 1000) in an int, and refuses more with EINVAL. */
const MAX_TIMEOUT = Math.floor(0x7fffffff / 1000);

export function writeTimeouts(timeouts: Partial<Timeouts>): WireCommand {
  const keys = ['tcpSeconds', 'tcpFinSeconds', 'udpSeconds'] as const;
  checkObject(timeouts, [], keys);
  const value: WireCommand = {};
  for (const key of keys) {
    if (timeouts[key] !== undefined) value[key] = checkInteger(timeouts[key], [key], 1, MAX_TIMEOUT);
  }
  return value;
}

export function readTimeouts({ tcpSeconds = 0, tcpFinSeconds = 0, udpSeconds = 0 }: WireCommand): Timeouts {
  return { tcpSeconds, tcpFinSeconds, udpSeconds };
}
