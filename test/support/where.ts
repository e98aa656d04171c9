import { describe } from 'vitest';

/** Where the tests run: 'host', or the kernel of the guest ('6.1', '6.12'). The guest runner sets the variable. */
export const where = process.env.NETSTEER_GUEST ?? 'host';

export const isRoot = process.getuid?.() === 0;

/** `npm run test:long`: what is tried a few times otherwise is tried often. */
export const isLong = process.env.NETSTEER_LONG === '1';

/** A suite that needs root; its name says where it ran. Without root it is reported as skipped, and `npm test` lists it. */
export function kernelSuite(name: string, suite: () => void): void {
  describe.skipIf(!isRoot)(`[${where}] ${name}`, suite);
}
