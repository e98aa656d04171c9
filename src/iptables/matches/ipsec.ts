import type { ExtensionRow } from '../extension.ts';
import { listed, number, present, rangeIn } from '../values.ts';

/* Matches on the headers of IPsec and of its compression. */

/** Security parameter indexes: all of them are not saved. */
const spi = { value: rangeIn('spis', { hideAll: true }), invert: listed('invert', 'spi') } as const;

/** The reserved field must be 0. */
const reserved = present({
  set(info) {
    info.reserved = 1;
  },
  has: info => info.reserved === 1,
});

const esp: ExtensionRow = { name: 'esp', revision: 0, protocols: [50], options: [{ name: 'espspi', ...spi }] };

const ah: ExtensionRow = {
  name: 'ah',
  revision: 0,
  families: ['ipv4'],
  protocols: [51],
  options: [{ name: 'ahspi', ...spi }],
};

const AH_LENGTH = listed('invert', 'length');
const ah6: ExtensionRow = {
  name: 'ah',
  revision: 0,
  families: ['ipv6'],
  protocols: [51],
  options: [
    { name: 'ahspi', ...spi },
    {
      name: 'ahlen',
      value: {
        ...number('length'),
        print: info =>
          !info.length && !AH_LENGTH.has(info) ? undefined : String((info.length as number | undefined) ?? 0),
      },
      invert: AH_LENGTH,
    },
    { name: 'ahres', value: reserved },
  ],
};

const ipcomp: ExtensionRow = {
  name: 'ipcomp',
  revision: 0,
  // Without --ipcompspi it is the index 0, and not any.
  initial: () => ({ spis: [0, 0] }),
  protocols: [108],
  options: [
    { name: 'ipcompspi', ...spi },
    { name: 'compres', value: reserved },
  ],
};

export const IPSEC_MATCHES: readonly ExtensionRow[] = [esp, ah, ah6, ipcomp];
