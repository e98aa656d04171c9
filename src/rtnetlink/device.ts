import { checkInteger, type Type, toHex, toText, U32_NE } from '../codec/index.ts';
import { type Path, printable, rangeError, typeError } from '../errors.ts';

/** IFNAMSIZ - 1: bytes in the name of a network device. */
const MAX_NAME = 15;
/** MAX_ADDR_LEN (include/linux/netdevice.h): the longest hardware address, in bytes. */
const MAX_HARDWARE_ADDRESS = 32;
/** The smallest packet that every IPv4 host must accept (RFC 791). With a smaller MTU, the kernel switches IPv4 off on the device. */
const MIN_MTU = 68;
const MAX_MTU = 0x7fffffff;

const encoder = new TextEncoder();

/** Encodes a name. Lone surrogates (U+DC80 to U+DCFF) stand for the bytes above 0x7f of a name that is not UTF-8. */
function encodeName(name: string): Uint8Array {
  const bytes: number[] = [];
  for (const character of name) {
    const code = character.charCodeAt(0);
    if (character.length === 1 && code >= 0xdc80 && code <= 0xdcff) bytes.push(code - 0xdc00);
    else bytes.push(...encoder.encode(character));
  }
  return Uint8Array.from(bytes);
}

/** The type of a device name or a label. The kernel accepts nearly any bytes, so a name must be the same after reading and writing. */
export function deviceName(max = MAX_NAME): Type<string> {
  return {
    kind: `device name(${max})`,
    write(writer, value) {
      if (typeof value !== 'string') throw typeError([], 'a string', value);
      const bytes = encodeName(value);
      if (bytes.length > max || bytes.includes(0)) throw rangeError([], `at most ${max} bytes without NUL`, value);
      writer.raw(bytes);
      writer.u8(0);
    },
    read(source, start, end) {
      const last = end - 1;
      if (end === start || source.bytes.indexOf(0, start) !== last) return undefined;
      const text = toText(source, start, last);
      if (text !== undefined) return text;
      const codes = Array.from(source.bytes.subarray(start, last), byte => (byte > 0x7f ? 0xdc00 + byte : byte));
      return String.fromCharCode(...codes);
    },
  };
}

/** The hardware address of a device or neighbour, 'aa:bb:cc:dd:ee:ff'. Tunnels and InfiniBand have other lengths. */
export const HARDWARE_ADDRESS: Type<string> = {
  kind: 'hardware address',
  write(writer, value) {
    if (typeof value !== 'string') throw typeError([], 'a hardware address', value);
    if (!/^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2})*$/.test(value) || value.length > MAX_HARDWARE_ADDRESS * 3) {
      throw rangeError([], "an address such as 'aa:bb:cc:dd:ee:ff'", value, 'ERR_INVALID_ADDRESS');
    }
    for (const byte of value.split(':')) writer.u8(Number.parseInt(byte, 16));
  },
  read(source, start, end) {
    if (end === start || end - start > MAX_HARDWARE_ADDRESS) return undefined;
    return toHex(source.bytes, start, end).replace(/..(?=.)/g, '$&:');
  },
};

/** The index of a device. Callers use names instead, which the library looks up. An index stays a number if no device here has it. */
export const DEVICE_INDEX: Type<string | number> = {
  kind: 'device index',
  lengths: { min: 4, max: 4 },
  write(writer, value, context) {
    if (typeof value === 'string') throw typeError([], 'the index of a device', value);
    U32_NE.write(writer, value, context);
  },
  read: U32_NE.read,
};

/** One byte that is 0 or 1; other values stay undecoded. */
export const BOOLEAN: Type<boolean> = {
  kind: 'boolean',
  write(writer, value) {
    if (typeof value !== 'boolean') throw typeError([], 'a boolean', value);
    writer.u8(value ? 1 : 0);
  },
  read({ bytes }, start, end) {
    return end - start === 1 && bytes[start]! <= 1 ? bytes[start] === 1 : undefined;
  },
};

/** A setting that is on if its attribute is present. Newer kernels add a byte in replies, but not in requests. */
export const PRESENCE: Type<boolean> = {
  kind: 'presence',
  lengths: { min: 0, max: 1 },
  write(_writer, value) {
    if (typeof value !== 'boolean') throw typeError([], 'a boolean', value);
  },
  read: ({ bytes }, start, end) => (end === start ? true : end - start === 1 ? bytes[start] !== 0 : undefined),
};

/** Finds bytes that dev_valid_name (net/core/dev.c) refuses. Its isspace() counts 0xa0, which is part of some UTF-8 characters. */
const isForbidden = (byte: number) =>
  byte === 0x20 || (byte >= 0x09 && byte <= 0x0d) || byte === 0xa0 || byte === 0x2f || byte === 0x3a;

/** Checks a name for a device. '%' is refused too, because the kernel would use the name as a template and choose a different one. */
export function checkName(value: unknown, path: Path): string {
  if (typeof value !== 'string') throw typeError(path, 'the name of a device', value);
  const bytes = encodeName(value);
  const good =
    bytes.length > 0 && value !== '.' && value !== '..' && !bytes.some(byte => byte === 0 || isForbidden(byte));
  if (bytes.length > MAX_NAME) throw rangeError(path, `a name of at most ${MAX_NAME} bytes`, value, 'ERR_TOO_LONG');
  if (!good || value.includes('%')) {
    throw rangeError(path, "a name of 1 to 15 bytes without '/', ':', '%' and white space, not '.' or '..'", value);
  }
  return value;
}

/** The longest alternative name, in bytes (ALTIFNAMSIZ - 1). */
const MAX_ALT_NAME = 127;

/** Checks an alternative name for a device. The kernel accepts all bytes but NUL. */
export function checkAltName(value: unknown, path: Path): string {
  if (typeof value !== 'string') throw typeError(path, 'the name of a device', value);
  const bytes = encodeName(value);
  if (bytes.length > MAX_ALT_NAME)
    throw rangeError(path, `a name of at most ${MAX_ALT_NAME} bytes`, value, 'ERR_TOO_LONG');
  if (bytes.length === 0 || bytes.includes(0)) throw rangeError(path, 'a name of 1 to 127 bytes without NUL', value);
  return value;
}

/** Whether a name is too long for anything but an alternative name. */
export const isLongName = (name: string): boolean => encodeName(name).length > MAX_NAME;

/** Checks the name of a device that exists: its own name, or an alternative name of more than 15 bytes. */
export function checkDevice(value: unknown, path: Path): string {
  return typeof value === 'string' && isLongName(value) ? checkAltName(value, path) : checkName(value, path);
}

/** Checks an Ethernet address. @returns it in lower case */
export function checkMac(value: unknown, path: Path): string {
  if (typeof value !== 'string') throw typeError(path, "an address such as 'aa:bb:cc:dd:ee:ff'", value);
  if (!/^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$/.test(value)) {
    throw rangeError(path, "an address such as 'aa:bb:cc:dd:ee:ff'", value, 'ERR_INVALID_ADDRESS');
  }
  return value.toLowerCase();
}

export function checkMtu(value: unknown, path: Path): number {
  return checkInteger(value, path, MIN_MTU, MAX_MTU);
}

export function checkBoolean(value: unknown, path: Path): boolean {
  if (typeof value !== 'boolean') throw typeError(path, 'a boolean', value);
  return value;
}

/** Quotes a name for the text of an error. Control characters are escaped, because containers choose names. */
export function quote(name: string): string {
  return `'${printable(name)}'`;
}

export function missing(name: string): string {
  return `there is no device named ${quote(name)} in this namespace`;
}

export const DEVICE_DOWN = 'the device is down: set(name, { up: true }) first';
