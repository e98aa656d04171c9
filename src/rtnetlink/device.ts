import { checkInteger, type Type, toHex, toText, U32_NE } from '../codec/index.ts';
import { type Path, printable, rangeError, typeError } from '../errors.ts';

/** IFNAMSIZ - 1: bytes in the name of a network device. */
const MAX_NAME = 15;
/** MAX_ADDR_LEN (include/linux/netdevice.h): the longest hardware address, in bytes. */
const MAX_HARDWARE_ADDRESS = 32;
/** What every IPv4 host must take (RFC 791). The kernel switches IPv4 off on a device with a smaller MTU. */
const MIN_MTU = 68;
const MAX_MTU = 0x7fffffff;

const encoder = new TextEncoder();

/** Lone surrogates (U+DC80 to U+DCFF) stand for bytes above 0x7f of a name that is not UTF-8. */
function encodeName(name: string): Uint8Array {
  const bytes: number[] = [];
  for (const character of name) {
    const code = character.charCodeAt(0);
    if (character.length === 1 && code >= 0xdc80 && code <= 0xdcff) bytes.push(code - 0xdc00);
    else bytes.push(...encoder.encode(character));
  }
  return Uint8Array.from(bytes);
}

/** The name of a device, or a label in its place. The kernel takes nearly any bytes, so all of them must survive reading and writing. */
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

/** The hardware address of a device or neighbour, 'aa:bb:cc:dd:ee:ff'; tunnels and InfiniBand have other lengths. */
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

/** The index of a device. Callers give and get its name: the kernel is asked for the one by the other, and the index is left where there is no name. */
export const DEVICE_INDEX: Type<string | number> = {
  kind: 'device index',
  lengths: { min: 4, max: 4 },
  write(writer, value, context) {
    if (typeof value === 'string') throw typeError([], 'the index of a device', value);
    U32_NE.write(writer, value, context);
  },
  read: U32_NE.read,
};

/** One byte that is 0 or 1; other values stay raw. */
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

/** A setting that is there or not: attributes of newer kernels have a byte in answers, and none in requests. */
export const PRESENCE: Type<boolean> = {
  kind: 'presence',
  lengths: { min: 0, max: 1 },
  write(_writer, value) {
    if (typeof value !== 'boolean') throw typeError([], 'a boolean', value);
  },
  read: ({ bytes }, start, end) => (end === start ? true : end - start === 1 ? bytes[start] !== 0 : undefined),
};

/** Bytes that dev_valid_name (net/core/dev.c) refuses. Its isspace() counts 0xa0, which is part of some UTF-8 characters. */
const isForbidden = (byte: number) =>
  byte === 0x20 || (byte >= 0x09 && byte <= 0x0d) || byte === 0xa0 || byte === 0x2f || byte === 0x3a;

/** A name that a device can have. '%' is refused too: the kernel would take the name for a template and choose another. */
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

/** Bytes of an alternative name (ALTIFNAMSIZ - 1). */
const MAX_ALT_NAME = 127;

/** A name that a device may have beside its own. The kernel takes all bytes but NUL. */
export function checkAltName(value: unknown, path: Path): string {
  if (typeof value !== 'string') throw typeError(path, 'the name of a device', value);
  const bytes = encodeName(value);
  if (bytes.length > MAX_ALT_NAME)
    throw rangeError(path, `a name of at most ${MAX_ALT_NAME} bytes`, value, 'ERR_TOO_LONG');
  if (bytes.length === 0 || bytes.includes(0)) throw rangeError(path, 'a name of 1 to 127 bytes without NUL', value);
  return value;
}

/** Whether only an alternative name can be that long. */
export const isLongName = (name: string): boolean => encodeName(name).length > MAX_NAME;

/** The name of a device that exists: its own, or an alternative one of more than 15 bytes. */
export function checkDevice(value: unknown, path: Path): string {
  return typeof value === 'string' && isLongName(value) ? checkAltName(value, path) : checkName(value, path);
}

/** An Ethernet address; returned in lower case. */
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

/** A name in the text of an error, with control characters escaped: containers choose names. */
export function quote(name: string): string {
  return `'${printable(name)}'`;
}

export function missing(name: string): string {
  return `there is no device named ${quote(name)} in this namespace`;
}

export const DEVICE_DOWN = 'the device is down: set(name, { up: true }) first';
