import { ofThread } from '../thread.ts';

/** performance.now() as wall-clock time: finer than Date.now(), and put right when the clock has been set. */
const clock = ofThread('nflog.clock', { origin: performance.timeOrigin });

/** Microseconds since 1970 of a `performance.now()` of just now. */
export function wallMicroseconds(now: number): number {
  const ahead = clock.origin + now - Date.now();
  if (ahead < -1 || ahead > 2) clock.origin = Date.now() + 0.5 - now;
  return Math.floor((clock.origin + now) * 1000);
}
