import { HOST_IS_LITTLE_ENDIAN } from '../../codec/index.ts';
import type { Info } from '../../nf_tables/xt/layout.ts';

import { type ExtensionRow, guided, incomplete, type OptionPlace, type OptionRow, refused } from '../extension.ts';
import { parseHostMask } from '../option-hosts.ts';
import { parseProtocol } from '../protocols.ts';
import { hex, listed, maskedAddress, parseNumber, present } from '../values.ts';

/* The match `policy`: how IPsec has treated a packet. */

const POLICY_PROTOCOLS: Readonly<Record<number, string>> = { 50: 'esp', 51: 'ah', 108: 'ipcomp' };
const MOST_ELEMENTS = 4;

/** The kernel takes an index in network byte order, and iptables hands it over as the processor has it. */
function swapped(value: number): number {
  const view = new DataView(new ArrayBuffer(4));
  view.setUint32(0, value, HOST_IS_LITTLE_ENDIAN);
  return view.getUint32(0, false);
}

/** The element of a policy that options speak of: `--next` begins another one. */
function elementOf(info: Info): Info {
  const list = (info.elements as Info[] | undefined) ?? [];
  if (list.length === 0) {
    list.push({});
    info.elements = list;
  }
  return list.at(-1)!;
}

function policyOption(
  name: string,
  word: string,
  parse: (element: Info, text: string, place: OptionPlace) => void,
): OptionRow {
  return {
    name,
    value: {
      words: 1,
      parse(info, [text], place) {
        const element = elementOf(info);
        if (listed('match', word).has(element)) throw refused(place, `policy match: double --${name} option`);
        parse(element, text!, place);
        listed('match', word).set(element);
        if (place.inverted) listed('invert', word).set(element);
      },
      // All elements are printed by --next.
      print: () => undefined,
    },
    invert: { set() {}, has: () => false },
    repeats: true,
  };
}

function policyAddress(key: 'source' | 'destination'): (element: Info, text: string, place: OptionPlace) => void {
  return (element, text, place) => {
    const { address, mask } = parseHostMask(text, place);
    element[key] = address;
    element[`${key}Mask`] = mask;
  };
}

function printElement(element: Info, family: 'ipv4' | 'ipv6'): string {
  const part = (word: string, option: string, value: string): string =>
    listed('match', word).has(element) ? `${listed('invert', word).has(element) ? ' !' : ''} --${option} ${value}` : '';
  const protocol = (element.protocol as number | undefined) ?? 0;
  return (
    part('reqid', 'reqid', String((element.reqid as number | undefined) ?? 0)) +
    part('spi', 'spi', hex(swapped((element.spi as number | undefined) ?? 0))) +
    part('protocol', 'proto', POLICY_PROTOCOLS[protocol] ?? String(protocol)) +
    part('mode', 'mode', element.mode === 'tunnel' ? 'tunnel' : 'transport') +
    part('destination', 'tunnel-dst', maskedAddress(element.destination, element.destinationMask, family)) +
    part('source', 'tunnel-src', maskedAddress(element.source, element.sourceMask, family))
  );
}

const policy: ExtensionRow = {
  name: 'policy',
  revision: 0,
  options: [
    {
      name: 'dir',
      value: {
        words: 1,
        parse(info, [word], place) {
          if (word !== 'in' && word !== 'out') throw refused(place, `policy_match: invalid dir "${word}"`);
          listed('flags', word).set(info);
        },
        print: info => (listed('flags', 'in').has(info) ? 'in' : 'out'),
      },
    },
    {
      name: 'pol',
      value: {
        words: 1,
        parse(info, [word], place) {
          if (word !== 'none' && word !== 'ipsec') throw refused(place, `policy match: invalid policy "${word}"`);
          if (word === 'none') listed('flags', 'none').set(info);
        },
        print: info => (listed('flags', 'none').has(info) ? 'none' : 'ipsec'),
      },
    },
    { name: 'strict', value: present(listed('flags', 'strict')) },
    policyOption('reqid', 'reqid', (element, text, place) => {
      const value = parseNumber(text, 0xffffffff);
      if (value === undefined) throw guided(place, 'bad value for option "--reqid", or out of range (0-4294967295).');
      element.reqid = value;
    }),
    policyOption('spi', 'spi', (element, text, place) => {
      const value = parseNumber(text, 0xffffffff);
      if (value === undefined) throw guided(place, 'bad value for option "--spi", or out of range (0-4294967295).');
      element.spi = swapped(value);
    }),
    policyOption('proto', 'protocol', (element, text, place) => {
      const found = parseProtocol(text, place.names);
      if (found === undefined) throw refused(place, `unknown protocol "${text.toLowerCase()}" specified`);
      if (!Object.hasOwn(POLICY_PROTOCOLS, found)) throw refused(place, 'policy match: protocol must be ah/esp/ipcomp');
      element.protocol = found;
    }),
    policyOption('mode', 'mode', (element, text, place) => {
      if (text !== 'transport' && text !== 'tunnel') throw refused(place, `policy match: invalid mode "${text}"`);
      element.mode = text;
    }),
    policyOption('tunnel-dst', 'destination', policyAddress('destination')),
    policyOption('tunnel-src', 'source', policyAddress('source')),
    {
      name: 'next',
      value: {
        words: 0,
        parse(info, _words, place) {
          const list = (info.elements as Info[] | undefined) ?? [{}];
          if (list.length >= MOST_ELEMENTS) throw refused(place, 'policy match: maximum policy depth reached');
          info.elements = [...list, {}];
        },
        print: () => undefined,
      },
      repeats: true,
      requires: ['strict'],
    },
    {
      // No option of its own: it stands for the elements of the policy.
      name: 'elements',
      value: { words: 0, parse() {}, print: () => undefined },
      hidden: true,
    },
  ],
  tail(info, { family }) {
    const list = (info.elements as Info[] | undefined) ?? [];
    return list.map((element, i) => (i === 0 ? '' : ' --next') + printElement(element, family)).join('');
  },
  check(info, given) {
    if (!given.has('dir')) throw incomplete('policy match: neither --dir in nor --dir out specified');
    const list = (info.elements as Info[] | undefined) ?? [];
    info.count = list.length;
    if (listed('flags', 'none').has(info)) {
      if (listed('flags', 'strict').has(info)) throw incomplete('policy match: policy none but --strict given');
      if (list.some(element => ((element.match as unknown[] | undefined)?.length ?? 0) > 0))
        throw incomplete('policy match: policy none but policy given');
    } else {
      info.count = Math.max(list.length, listed('flags', 'strict').has(info) ? 1 : 1);
    }
    for (const [i, element] of (list.length === 0 ? [{}] : list).entries()) {
      const match = ((element as Info).match as string[] | undefined) ?? [];
      if (listed('flags', 'strict').has(info) && match.length === 0)
        throw incomplete(
          `policy match: empty policy element ${i}. --strict is in effect, but at least one of reqid, spi, tunnel-src, tunnel-dst, proto or mode is required.`,
        );
      const isTunnel = ((element as Info).mode === 'tunnel') !== listed('invert', 'mode').has(element as Info);
      if ((match.includes('source') || match.includes('destination')) && !isTunnel)
        throw incomplete('policy match: --tunnel-src/--tunnel-dst is only valid in tunnel mode');
    }
  },
};

export const POLICY_MATCHES: readonly ExtensionRow[] = [policy];
