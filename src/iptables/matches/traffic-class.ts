import { type ExtensionRow, incomplete, type OptionRow } from '../extension.ts';
import { parseDscpClass, parseTos } from '../traffic-classes.ts';
import { counting, flag, hex, listed, number, present } from '../values.ts';

/* Matches on the class of traffic that the IP header names. */

const INVERT = flag('invert');

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
