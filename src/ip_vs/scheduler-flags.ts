import { checkInteger, namedBits } from '../codec/index.ts';
import { oneOf, printable, rangeError, typeError } from '../errors.ts';
import * as C from '../linux/ip_vs.ts';

/* The flags of a scheduler: three bits of a service's flags, whose meaning is the scheduler's. With sh and mh they have names. */

const PLAIN_BITS = {
  'flag-1': C.IP_VS_SVC_F_SCHED1,
  'flag-2': C.IP_VS_SVC_F_SCHED2,
  'flag-3': C.IP_VS_SVC_F_SCHED3,
} as const;
type PlainFlag = keyof typeof PLAIN_BITS;

const OWNED: Record<string, readonly [flag: PlainFlag, scheduler: string]> = {
  'sh-fallback': ['flag-1', 'sh'],
  'sh-port': ['flag-2', 'sh'],
  'mh-fallback': ['flag-1', 'mh'],
  'mh-port': ['flag-2', 'mh'],
};
/** The name of a flag of a scheduler. The flags of sh and mh have names of their own; those of other schedulers are numbered. */
export type SchedulerFlag = 'sh-fallback' | 'sh-port' | 'mh-fallback' | 'mh-port' | PlainFlag;

/** The bits that belong to the scheduler. */
export const SCHEDULER_BITS = C.IP_VS_SVC_F_SCHED1 | C.IP_VS_SVC_F_SCHED2 | C.IP_VS_SVC_F_SCHED3;
/** The bits that are other fields of a service, or the kernel's own mark. */
export const FIELD_BITS = C.IP_VS_SVC_F_PERSISTENT | C.IP_VS_SVC_F_HASHED | C.IP_VS_SVC_F_ONEPACKET;

interface Flagged {
  scheduler: string;
  schedulerFlags?: readonly (SchedulerFlag | number)[] | undefined;
}

/**
 * The bits of a service's flags. Of numbers those are taken that a service may be read with, which are all but other fields' bits.
 * @throws RangeError a flag of another scheduler, or a number that is another field.
 */
export function encodeFlags({ schedulerFlags: given, scheduler }: Flagged): number {
  if (given === undefined) return 0;
  if (!Array.isArray(given)) throw typeError(['schedulerFlags'], 'an array of flags', given);
  let bits = 0;
  for (const [i, flag] of given.entries()) {
    const path = ['schedulerFlags', i];
    if (typeof flag === 'number') {
      const number = checkInteger(flag, path, 1, 0xffffffff);
      if ((number & FIELD_BITS) !== 0) throw rangeError(path, FLAG_NUMBERS, flag);
      bits |= number;
      continue;
    }
    const [plain, owner] = OWNED[flag] ?? [flag, scheduler];
    if (!Object.hasOwn(PLAIN_BITS, plain))
      throw rangeError(path, oneOf([...Object.keys(OWNED), ...Object.keys(PLAIN_BITS)], flag), flag);
    if (owner !== scheduler) throw rangeError(path, `a flag of the scheduler ${printable(String(scheduler))}`, flag);
    bits |= PLAIN_BITS[plain as PlainFlag];
  }
  return bits >>> 0;
}

const FLAG_NUMBERS = 'a name, or of the bits 0x8, 0x10 and 0x20 (the others are no flags of a scheduler)';

/** Refuses bits that no scheduler has, but for those of `kept`. */
export function checkFlags({ schedulerFlags }: Flagged, kept: number): void {
  if (schedulerFlags === undefined) return;
  for (const [i, flag] of schedulerFlags.entries()) {
    if (typeof flag === 'number' && (flag & ~(SCHEDULER_BITS | kept)) !== 0) {
      throw rangeError(['schedulerFlags', i], FLAG_NUMBERS, flag);
    }
  }
}

/** The flags of these bits; bits without a name come as one number. */
export function readFlags(bits: number, scheduler: string): (SchedulerFlag | number)[] {
  return namedBits(bits & ~FIELD_BITS, PLAIN_BITS).map(flag => nameFlag(flag, scheduler));
}

function nameFlag(flag: PlainFlag | number, scheduler: string): SchedulerFlag | number {
  const name = Object.keys(OWNED).find(key => OWNED[key]![0] === flag && OWNED[key]![1] === scheduler);
  return (name as SchedulerFlag | undefined) ?? flag;
}

/** What of a service's flags is none of its scheduler. */
export function foreignFlags(flags: readonly (SchedulerFlag | number)[] = []): number[] {
  return flags.filter(flag => typeof flag === 'number').flatMap(flag => (flag & ~SCHEDULER_BITS) >>> 0 || []);
}
