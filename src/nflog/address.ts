import { checkObject, formatIPv4, formatIPv6, parseIPv4, parseIPv6, toHex } from '../codec/index.ts';
import { rangeError, typeError } from '../errors.ts';

/** How addresses are printed. */
export interface Redactor {
  ipv4(bytes: Uint8Array, at: number): string;
  /** `format` prints one that is shown, whole or in part. */
  ipv6(bytes: Uint8Array, at: number, format?: (bytes: Uint8Array, at: number) => string): string;
  hardware(bytes: Uint8Array, start: number, end: number): string;
}

/** 'aa:bb:cc' */
export function formatHardware(bytes: Uint8Array, start: number, end: number): string {
  return toHex(bytes, start, end).replace(/..(?=.)/g, '$&:');
}

/** Shows addresses unchanged. */
export const PLAIN: Redactor = {
  ipv4: formatIPv4,
  ipv6: (bytes, at, format = formatIPv6) => format(bytes, at),
  hardware: formatHardware,
};

/**
 * What records show in place of addresses. `true` keeps the network and sets the rest to 0: it shows the first 24
 * bits of an IPv4 address, 48 of an IPv6 address, and the 24 bits of the manufacturer of a link-layer address. `{ key
 * }` writes a name that HMAC-SHA-256 makes from each address with this secret (a string or bytes, at least 16 bytes):
 * 'ip-3f09b2a77c61' or 'mac-...'. The same address has the same name, so readers can follow flows without knowing the
 * addresses.
 */
export type Redact =
  | boolean
  | {
      /** The key of the pseudonyms: the same key gives the same ones. */
      key: string | Uint8Array;
    };

/** Copies the bytes and sets all but the first `kept` to 0. */
function masked(bytes: Uint8Array, start: number, end: number, kept: number): Uint8Array {
  const copy = new Uint8Array(end - start);
  copy.set(bytes.subarray(start, Math.min(start + kept, end)));
  return copy;
}

const MASK: Redactor = {
  ipv4: (bytes, at) => `${bytes[at]}.${bytes[at + 1]}.${bytes[at + 2]}.0`,
  ipv6: (bytes, at, format = formatIPv6) => format(masked(bytes, at, at + 16, 6), 0),
  hardware: (bytes, start, end) => formatHardware(masked(bytes, start, end, 3), 0, end - start),
};

/** An HMAC costs some 3 µs, so names are kept. A flood of addresses must not fill the memory with them. */
const MAX_NAMES = 8192;

function keyed(key: string | Uint8Array): Redactor {
  const names = new Map<string, string>();
  const name = (kind: string, bytes: Uint8Array, start: number, end: number) => {
    const address = bytes.subarray(start, end);
    const known = kind + Buffer.from(address).toString('latin1');
    let found = names.get(known);
    if (found === undefined) {
      found = `${kind}-${process.getBuiltinModule('node:crypto').createHmac('sha256', key).update(kind).update(address).digest('hex').slice(0, 12)}`;
      if (names.size >= MAX_NAMES) names.clear();
      names.set(known, found);
    }
    return found;
  };
  return {
    ipv4: (bytes, at) => name('ip', bytes, at, at + 4),
    ipv6: (bytes, at) => name('ip', bytes, at, at + 16),
    hardware: (bytes, start, end) => name('mac', bytes, start, end),
  };
}

export function redactorOf(redact: unknown): Redactor {
  if (redact === undefined || redact === false) return PLAIN;
  if (redact === true) return MASK;
  if (typeof redact !== 'object') throw typeError(['redact'], 'true, false or { key }', redact);
  checkObject(redact, ['redact'], ['key']);
  const { key } = redact as { key: unknown };
  // The key itself must not land in the error.
  if (typeof key !== 'string' && !(key instanceof Uint8Array)) {
    throw typeError(['redact', 'key'], 'a string or Uint8Array', typeof key);
  }
  if (Buffer.byteLength(key) < 16) throw rangeError(['redact', 'key'], 'at least 16 bytes', Buffer.byteLength(key));
  return keyed(typeof key === 'string' ? key : Uint8Array.from(key));
}

/** Shows an address that is already text. */
export function redactAddress(address: string, show: Redactor): string {
  if (show === PLAIN) return address;
  const v4 = parseIPv4(address);
  if (v4 !== undefined) return show.ipv4(v4, 0);
  const v6 = parseIPv6(address);
  return v6 === undefined ? '' : show.ipv6(v6, 0);
}
