import { checkAddress, exactly, formatIPv4, formatIPv6, parseIPv4, parseIPv6, type Type } from '../codec/index.ts';
import { type Path, rangeError, typeError } from '../errors.ts';
import { AF_INET, AF_INET6 } from '../linux/socket.ts';

/** The IP version of an address, a route or a neighbour. */
export type IpFamily = 'ipv4' | 'ipv6';

export const FAMILIES: Readonly<Record<IpFamily, number>> = { ipv4: AF_INET, ipv6: AF_INET6 };
export const FAMILY_NAMES = Object.keys(FAMILIES) as IpFamily[];

/** The name of a family that this library supports; undefined for others that the kernel lists (MPLS, multicast routing). */
export function familyName(number: number): IpFamily | undefined {
  if (number === AF_INET) return 'ipv4';
  return number === AF_INET6 ? 'ipv6' : undefined;
}

/** An IP address, and the number of its first bits that identify the network. */
export interface Prefix {
  family: IpFamily;
  /** The address in canonical form, without the length. */
  address: string;
  length: number;
  /** Whether all bits after those of the network are zero. */
  isNetwork: boolean;
}

/** Reads '10.0.0.1/24', or '10.0.0.1', which means a single address: /32, or /128. */
export function checkPrefix(value: unknown, path: Path): Prefix {
  const expected = "an address with its prefix length, such as '10.0.0.1/24'";
  if (typeof value !== 'string') throw typeError(path, expected, value);
  const slash = value.indexOf('/');
  const text = slash < 0 ? value : value.slice(0, slash);
  const v4 = parseIPv4(text);
  const bytes = v4 ?? parseIPv6(text);
  if (bytes === undefined) throw rangeError(path, expected, value, 'ERR_INVALID_ADDRESS');
  const bits = bytes.length * 8;
  const length = slash < 0 ? `${bits}` : value.slice(slash + 1);
  if (!/^(0|[1-9][0-9]{0,2})$/.test(length) || Number(length) > bits) {
    throw rangeError(path, `a prefix length of 0 to ${bits}`, value, 'ERR_INVALID_ADDRESS');
  }
  return {
    family: v4 === undefined ? 'ipv6' : 'ipv4',
    address: v4 === undefined ? formatIPv6(bytes) : formatIPv4(bytes),
    length: Number(length),
    isNetwork: bytes.every((byte, i) => (byte & (0xff >> Math.min(8, Math.max(0, Number(length) - i * 8)))) === 0),
  };
}

/** Checks an address without a length. @returns its family */
export function checkHost(value: unknown, path: Path): IpFamily {
  return checkAddress(value, path) === 4 ? 'ipv4' : 'ipv6';
}

function addressOf(kind: string, size: number, parse: typeof parseIPv4, format: typeof formatIPv4): Type<string> {
  return {
    kind,
    lengths: exactly(size),
    write(writer, value) {
      if (typeof value !== 'string') throw typeError([], `an ${kind} address`, value);
      const raw = parse(value);
      if (raw === undefined) throw rangeError([], `an ${kind} address`, value, 'ERR_INVALID_ADDRESS');
      writer.raw(raw);
    },
    read: ({ bytes }, start, end) => (end - start === size ? format(bytes, start) : undefined),
  };
}

/** The types of attributes that take addresses of only one family. */
export const IPV4: Type<string> = addressOf('IPv4', 4, parseIPv4, formatIPv4);
export const IPV6: Type<string> = addressOf('IPv6', 16, parseIPv6, formatIPv6);
