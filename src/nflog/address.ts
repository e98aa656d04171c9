import { formatIPv4, formatIPv6, toHex } from '../codec/index.ts';

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

/** As they are. */
export const PLAIN: Redactor = {
  ipv4: formatIPv4,
  ipv6: (bytes, at, format = formatIPv6) => format(bytes, at),
  hardware: formatHardware,
};
