import { type ExtensionRow, incomplete, type OptionRow, refused, type Value } from '../extension.ts';
import { parseHostMask } from '../option-hosts.ts';
import { parseProtocol } from '../protocols.ts';
import { listed, maskedAddress, resolvedPort } from '../values.ts';

/* The match `ipvs`: packets of services that IPVS balances. */

/** Fields of the match ipvs: `! ` stands for each of them by its own bit. */
const ipvsField = (word: string, value: Value): Pick<OptionRow, 'value' | 'invert'> => ({
  value: {
    words: value.words,
    parse(info, words, place) {
      value.parse(info, words, place);
      listed('match', word).set(info);
      listed('match', 'ipvs').set(info);
    },
    print: (info, at) => (listed('match', word).has(info) ? value.print(info, at) : undefined),
  },
  invert: listed('invert', word),
});

const ipvsPort = (key: string): Value => ({
  words: 1,
  parse(info, [word], place) {
    info[key] = resolvedPort(word!, place);
  },
  print: info => String((info[key] as number | undefined) ?? 0),
});

const METHODS: Readonly<Record<string, number>> = { MASQ: 0, IPIP: 2, GATE: 3 };

const ipvs: ExtensionRow = {
  name: 'ipvs',
  revision: 0,
  options: [
    {
      name: 'ipvs',
      value: {
        words: 0,
        parse: info => listed('match', 'ipvs').set(info),
        // Every other option says it too.
        print: info => ((info.match as string[] | undefined)?.join() === 'ipvs' ? '' : undefined),
      },
      invert: listed('invert', 'ipvs'),
    },
    {
      name: 'vproto',
      ...ipvsField('protocol', {
        words: 1,
        parse(info, [word], place) {
          const found = parseProtocol(word!, place.names);
          if (found === undefined) throw refused(place, `unknown protocol "${word!.toLowerCase()}" specified`);
          info.protocol = found;
        },
        print: info => String((info.protocol as number | undefined) ?? 0),
      }),
    },
    {
      name: 'vaddr',
      ...ipvsField('address', {
        words: 1,
        parse(info, [word], place) {
          Object.assign(info, parseHostMask(word!, place));
        },
        print: (info, { family }) => maskedAddress(info.address, info.mask, family),
      }),
    },
    { name: 'vport', ...ipvsField('port', ipvsPort('port')) },
    {
      name: 'vdir',
      value: {
        words: 1,
        parse(info, [word], place) {
          const upper = word!.toUpperCase();
          if (upper !== 'ORIGINAL' && upper !== 'REPLY')
            throw refused(place, `ipvs: Bad value for "--vdir" option: "${word}"`);
          for (const each of ['direction', 'ipvs']) listed('match', each).set(info);
          if (upper === 'REPLY') listed('invert', 'direction').set(info);
        },
        print(info) {
          if (!listed('match', 'direction').has(info)) return undefined;
          return listed('invert', 'direction').has(info) ? 'REPLY' : 'ORIGINAL';
        },
      },
    },
    {
      name: 'vmethod',
      ...ipvsField('method', {
        words: 1,
        parse(info, [word], place) {
          const method = METHODS[word!.toUpperCase()];
          if (method === undefined) throw refused(place, `ipvs: Bad value for "--vmethod" option: "${word}"`);
          info.method = method;
        },
        print: info => Object.keys(METHODS).find(name => METHODS[name] === ((info.method as number | undefined) ?? 0)),
      }),
    },
    { name: 'vportctl', ...ipvsField('control-port', ipvsPort('controlPort')) },
  ],
  check(_info, given) {
    if (given.size === 0) throw incomplete('IPVS: At least one option is required');
  },
};

export const IPVS_MATCHES: readonly ExtensionRow[] = [ipvs];
