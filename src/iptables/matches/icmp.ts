import type { Info } from '../../nf_tables/xt/layout.ts';
import { type ExtensionRow, refused, type Value } from '../extension.ts';
import { leadingNumber, listed, parseNumber } from '../values.ts';

/* Matches on types of messages: of ICMP, ICMPv6 and Mobile IPv6. */

type Type = readonly [name: string, type: number, firstCode?: number, lastCode?: number];

const ICMP: readonly Type[] = [
  ['any', 0xff, 0, 0xff],
  ['echo-reply', 0],
  ['pong', 0],
  ['destination-unreachable', 3],
  ['network-unreachable', 3, 0],
  ['host-unreachable', 3, 1],
  ['protocol-unreachable', 3, 2],
  ['port-unreachable', 3, 3],
  ['fragmentation-needed', 3, 4],
  ['source-route-failed', 3, 5],
  ['network-unknown', 3, 6],
  ['host-unknown', 3, 7],
  ['network-prohibited', 3, 9],
  ['host-prohibited', 3, 10],
  ['TOS-network-unreachable', 3, 11],
  ['TOS-host-unreachable', 3, 12],
  ['communication-prohibited', 3, 13],
  ['host-precedence-violation', 3, 14],
  ['precedence-cutoff', 3, 15],
  ['source-quench', 4],
  ['redirect', 5],
  ['network-redirect', 5, 0],
  ['host-redirect', 5, 1],
  ['TOS-network-redirect', 5, 2],
  ['TOS-host-redirect', 5, 3],
  ['echo-request', 8],
  ['ping', 8],
  ['router-advertisement', 9],
  ['router-solicitation', 10],
  ['time-exceeded', 11],
  ['ttl-exceeded', 11],
  ['ttl-zero-during-transit', 11, 0],
  ['ttl-zero-during-reassembly', 11, 1],
  ['parameter-problem', 12],
  ['ip-header-bad', 12, 0],
  ['required-option-missing', 12, 1],
  ['timestamp-request', 13],
  ['timestamp-reply', 14],
  ['address-mask-request', 17],
  ['address-mask-reply', 18],
];

const ICMPV6: readonly Type[] = [
  ['destination-unreachable', 1],
  ['no-route', 1, 0],
  ['communication-prohibited', 1, 1],
  ['beyond-scope', 1, 2],
  ['address-unreachable', 1, 3],
  ['port-unreachable', 1, 4],
  ['failed-policy', 1, 5],
  ['reject-route', 1, 6],
  ['packet-too-big', 2],
  ['time-exceeded', 3],
  ['ttl-exceeded', 3],
  ['ttl-zero-during-transit', 3, 0],
  ['ttl-zero-during-reassembly', 3, 1],
  ['parameter-problem', 4],
  ['bad-header', 4, 0],
  ['unknown-header-type', 4, 1],
  ['unknown-option', 4, 2],
  ['echo-request', 128],
  ['ping', 128],
  ['echo-reply', 129],
  ['router-solicitation', 133],
  ['router-advertisement', 134],
  ['neighbour-solicitation', 135],
  ['neighbor-solicitation', 135],
  ['neighbour-advertisement', 136],
  ['neighbor-advertisement', 136],
  ['redirect', 137],
];

const MOBILITY: readonly Type[] = [
  ['binding-refresh-request', 0],
  ['brr', 0],
  ['home-test-init', 1],
  ['hoti', 1],
  ['careof-test-init', 2],
  ['coti', 2],
  ['home-test', 3],
  ['hot', 3],
  ['careof-test', 4],
  ['cot', 4],
  ['binding-update', 5],
  ['bu', 5],
  ['binding-acknowledgement', 6],
  ['ba', 6],
  ['binding-error', 7],
  ['be', 7],
];

const ANY = 0xff;

/** A type by its name, of which the beginning is enough if no other one begins so, or by numbers: `3/1`. */
function typeAndCode(names: readonly Type[], protocol: string): Value {
  return {
    words: 1,
    parse(info, [word], place) {
      const lower = word!.toLowerCase();
      const found = names.filter(([name]) => name.toLowerCase().startsWith(lower));
      const [only, second] = found;
      if (only !== undefined && second === undefined) {
        const [, type, code = 0, last = code === 0 && only.length < 3 ? ANY : code] = only;
        set(info, type, code, last);
        return;
      }
      const exact = found.find(([name]) => name.toLowerCase() === lower);
      if (only !== undefined && second !== undefined) {
        if (exact === undefined)
          throw refused(place, `Ambiguous ${protocol} type \`${word}': \`${only[0]}' or \`${second[0]}'?`);
        const [, type, code = 0, last = exact.length < 3 ? ANY : code] = exact;
        set(info, type, code, last);
        return;
      }
      const types = numberOrRange(word!);
      if (types === undefined) throw refused(place, `Unknown ${protocol} type \`${word}'`);
      if (types.rest !== '' && types.rest[0] !== '/') throw refused(place, `unknown character ${types.rest[0]}`);
      if (types.first !== types.last) throw refused(place, `${protocol} type range not supported`);
      if (types.rest === '') {
        set(info, types.first, 0, ANY);
        return;
      }
      const codes = numberOrRange(types.rest.slice(1));
      if (codes === undefined) throw refused(place, `Unknown ${protocol} code \`${word}'`);
      if (codes.rest !== '') throw refused(place, `unknown character ${codes.rest[0]}`);
      set(info, types.first, codes.first, codes.last);
    },
    print(info) {
      const type = (info.type as number | undefined) ?? 0;
      const [first, last] = (info.code as [number, number] | undefined) ?? [0, ANY];
      if (type === ANY && protocol === 'ICMP') return 'any';
      return first === 0 && last === ANY ? String(type) : `${type}/${first}${last === first ? '' : `-${last}`}`;
    },
  };
}

/** A byte, or two of them with a colon between, at the beginning of a text. */
function numberOrRange(text: string): { first: number; last: number; rest: string } | undefined {
  const from = leadingNumber(text, BigInt(ANY));
  if (from === undefined) return undefined;
  const to = from.rest[0] === ':' ? leadingNumber(from.rest.slice(1), BigInt(ANY)) : from;
  return to && { first: Number(from.value), last: Number(to.value), rest: to.rest };
}

function set(info: Info, type: number, first: number, last: number): void {
  info.type = type;
  info.code = [first, last];
}

const INVERT = listed('invert', 'type');

const icmp: ExtensionRow = {
  name: 'icmp',
  revision: 0,
  families: ['ipv4'],
  protocols: [1],
  options: [{ name: 'icmp-type', value: typeAndCode(ICMP, 'ICMP'), invert: INVERT, required: true }],
};

const icmp6: ExtensionRow = {
  name: 'icmp6',
  revision: 0,
  families: ['ipv6'],
  aliases: ['icmpv6', 'ipv6-icmp'],
  protocols: [58],
  options: [{ name: 'icmpv6-type', value: typeAndCode(ICMPV6, 'ICMPv6'), invert: INVERT, required: true }],
};

const mhType: Value = {
  words: 1,
  parse(info, [word], place) {
    const bound = (text: string): number => {
      const lower = text.toLowerCase();
      // Of several names that begin so the first one counts.
      const found = MOBILITY.find(([name]) => name === lower) ?? MOBILITY.find(([name]) => name.startsWith(lower));
      if (found !== undefined) return found[1];
      const number = parseNumber(text, 255);
      if (number === undefined) throw refused(place, `Invalid MH type \`${text}'`);
      return number;
    };
    const colon = word!.indexOf(':');
    if (colon < 0) {
      const type = bound(word!);
      info.types = [type, type];
      return;
    }
    const [from, to] = [word!.slice(0, colon), word!.slice(colon + 1)];
    const first = from === '' ? 0 : bound(from);
    const last = to === '' ? 255 : bound(to);
    if (first > last) throw refused(place, 'Invalid MH type range (min > max)');
    info.types = [first, last];
  },
  print(info) {
    const [first, last] = (info.types as [number, number] | undefined) ?? [0, 255];
    if (first === 0 && last === 255) return undefined;
    return first === last ? String(first) : `${first}:${last}`;
  },
};

const mh: ExtensionRow = {
  name: 'mh',
  revision: 0,
  families: ['ipv6'],
  aliases: ['ipv6-mh', 'mobility-header'],
  protocols: [135],
  options: [{ name: 'mh-type', value: mhType, invert: INVERT }],
};

export const ICMP_MATCHES: readonly ExtensionRow[] = [icmp, icmp6, mh];
