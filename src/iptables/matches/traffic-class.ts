import { type ExtensionRow, guided, incomplete, type OptionPlace, type OptionRow, refused } from '../extension.ts';
import { counting, flag, hex, listed, number, parseNumber, present } from '../values.ts';

/* Matches on the class of traffic that the IP header names. */

const INVERT = flag('invert');

/** Names of services of RFC 1349, with the bits that they are about. */
const TOS_NAMES: Readonly<Record<string, number>> = {
  'Minimize-Delay': 0x10,
  'Maximize-Throughput': 0x08,
  'Maximize-Reliability': 0x04,
  'Minimize-Cost': 0x02,
  'Normal-Service': 0x00,
};
const TOS_MASK = 0x3f;

export function parseTos(word: string, place: OptionPlace): { value: number; mask: number } {
  const name = Object.keys(TOS_NAMES).find(each => each.toLowerCase() === word.toLowerCase());
  if (name !== undefined) return { value: TOS_NAMES[name]!, mask: TOS_MASK };
  const [valueText, maskText] = word.split('/');
  const value = parseNumber(valueText!, 0xff);
  const mask = maskText === undefined ? 0xff : parseNumber(maskText, 0xff);
  if (value === undefined || mask === undefined)
    throw guided(place, `bad value for option "--${place.option}", or out of range (0-255).`);
  return { value, mask };
}

const tos: ExtensionRow = {
  name: 'tos',
  revision: 1,
  options: [
    {
      name: 'tos',
      value: {
        words: 1,
        parse(info, [word], place) {
          Object.assign(info, parseTos(word!, place));
        },
        print: info =>
          `${hex((info.value as number | undefined) ?? 0, 2)}/${hex((info.mask as number | undefined) ?? 0xff, 2)}`,
      },
      invert: INVERT,
      required: true,
    },
  ],
};

/** Classes of differentiated services. */
const DSCP_CLASSES: Readonly<Record<string, number>> = {
  CS0: 0x00,
  CS1: 0x08,
  CS2: 0x10,
  CS3: 0x18,
  CS4: 0x20,
  CS5: 0x28,
  CS6: 0x30,
  CS7: 0x38,
  BE: 0x00,
  AF11: 0x0a,
  AF12: 0x0c,
  AF13: 0x0e,
  AF21: 0x12,
  AF22: 0x14,
  AF23: 0x16,
  AF31: 0x1a,
  AF32: 0x1c,
  AF33: 0x1e,
  AF41: 0x22,
  AF42: 0x24,
  AF43: 0x26,
  EF: 0x2e,
};

export function parseDscpClass(word: string, place: OptionPlace): number {
  const value = DSCP_CLASSES[word.toUpperCase()];
  if (value === undefined) throw refused(place, `Invalid DSCP value \`${word}'`);
  return value;
}

const dscp: ExtensionRow = {
  name: 'dscp',
  revision: 0,
  options: [
    {
      name: 'dscp',
      value: number('dscp', { max: 0x3f, print: value => hex(value, 2) }),
      invert: INVERT,
      excludes: ['dscp-class'],
    },
    {
      name: 'dscp-class',
      value: {
        words: 1,
        parse(info, [word], place) {
          info.dscp = parseDscpClass(word!, place);
        },
        print: () => undefined,
      },
      invert: INVERT,
      excludes: ['dscp'],
      hidden: true,
    },
  ],
  check(_info, given) {
    if (given.size === 0) throw incomplete('DSCP match: Parameter --dscp is required');
  },
};

function ecnFlag(name: string, bit: string): OptionRow {
  return { name, value: present(listed('operation', bit)), invert: listed('invert', bit) };
}

const ecn: ExtensionRow = {
  name: 'ecn',
  revision: 0,
  options: [
    ecnFlag('ecn-tcp-ece', 'ece'),
    ecnFlag('ecn-tcp-cwr', 'cwr'),
    {
      name: 'ecn-ip-ect',
      value: counting(listed('operation', 'ip'), number('ipEct', { max: 3 })),
      invert: listed('invert', 'ip'),
    },
  ],
  check(_info, given) {
    if (given.size === 0) throw incomplete('ECN match: some option required');
  },
};

export const TRAFFIC_CLASS_MATCHES: readonly ExtensionRow[] = [tos, dscp, ecn];
