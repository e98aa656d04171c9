/* Addresses in a text: the end of the longest one that begins at an offset. All functions return -1 if there is none. */

const isDigit = (code: number): boolean => code >= 48 && code <= 57;
export const isHex = (code: number): boolean =>
  isDigit(code) || (code >= 97 && code <= 102) || (code >= 65 && code <= 70);

const COLON = 58;
const POINT = 46;
const IPV4_PARTS = 4;
const IPV6_GROUPS = 8;
const MAC_BYTES = 6;

/** Skips up to `most` letters that `is` takes. */
function skip(text: string, at: number, most: number, is: (code: number) => boolean): number {
  let end = at;
  while (end < at + most && is(text.charCodeAt(end))) end++;
  return end;
}

/** Four numbers with points: 10.0.0.1. */
export function ipv4End(text: string, start: number): number {
  let at = start;
  for (let part = 1; ; part++) {
    const end = skip(text, at, 3, isDigit);
    if (end === at) return -1;
    if (part === IPV4_PARTS) return end;
    if (text.charCodeAt(end) !== POINT) return -1;
    at = end + 1;
  }
}

/** An IPv6 address in any of its forms. */
export function ipv6End(text: string, start: number): number {
  let at = start;
  let groups = 0;
  let isShort = false;
  let longest = -1;
  for (;;) {
    if (text.charCodeAt(at) === COLON && text.charCodeAt(at + 1) === COLON) {
      if (isShort) return longest;
      isShort = true;
      at += 2;
      longest = at;
    } else if (at !== start) {
      if (text.charCodeAt(at) !== COLON) return longest;
      at++;
    }
    const room = isShort ? IPV6_GROUPS - 1 - groups : IPV6_GROUPS - groups;
    if (room <= 0) return longest;
    if (isShort || groups === IPV6_GROUPS - 2) {
      const mapped = room >= 2 ? ipv4End(text, at) : -1;
      if (mapped !== -1) return mapped;
    }
    const end = skip(text, at, 4, isHex);
    if (end === at) return longest;
    groups++;
    at = end;
    if (isShort || groups === IPV6_GROUPS) longest = at;
    if (groups === IPV6_GROUPS) return longest;
  }
}

/** Six bytes with colons: 00:01:02:0a:0b:0c. */
export function macEnd(text: string, start: number): number {
  let at = start;
  for (let part = 1; ; part++) {
    const end = skip(text, at, 2, isHex);
    if (end === at) return -1;
    if (part === MAC_BYTES) return end;
    if (text.charCodeAt(end) !== COLON) return -1;
    at = end + 1;
  }
}

/** A traffic class, '1:ffff'. nft wants one of ' ', tab, newline, ':', '-', ',', '}' behind it. */
export function classidEnd(text: string, start: number): number {
  const major = skip(text, start, 4, isHex);
  if (major === start || text.charCodeAt(major) !== COLON) return -1;
  const end = skip(text, major + 1, 4, isHex);
  if (end === major + 1) return -1;
  return ' \t\n:-,}'.includes(text.charAt(end) || 'x') ? end : -1;
}
