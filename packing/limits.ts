/**
 * The bundles that are measured, and the limits that hold: `npm run sizes` prints them, and fails above one of them.
 * Kilobytes are thousands of bytes. docs/decisions/package.md says how they are measured, and what they were.
 */

/** A program that uses entry points of the package, bundled and minified by esbuild, without koffi and pino. */
export interface Bundle {
  readonly name: string;
  /** As they are imported, after `netsteer/`; '.' is `netsteer` itself. */
  readonly entries: readonly string[];
  readonly limitKilobytes: number;
}

export const BUNDLES: readonly Bundle[] = [
  { name: 'netns', entries: ['netns'], limitKilobytes: 31 },
  { name: 'netlink', entries: ['netlink'], limitKilobytes: 86 },
  { name: 'conntrack', entries: ['conntrack'], limitKilobytes: 112 },
  { name: 'nftables/kernel', entries: ['nftables/kernel'], limitKilobytes: 155 },
  { name: 'nflog', entries: ['nflog'], limitKilobytes: 125 },
  { name: 'rtnetlink', entries: ['rtnetlink'], limitKilobytes: 155 },
  { name: 'ipvs', entries: ['ipvs'], limitKilobytes: 198 },
  { name: 'nftables', entries: ['nftables'], limitKilobytes: 560 },
  { name: 'container', entries: ['container'], limitKilobytes: 800 },
  {
    name: 'the whole',
    entries: [
      '.',
      'netns',
      'ipvs',
      'nftables',
      'nftables/kernel',
      'nflog',
      'rtnetlink',
      'conntrack',
      'container',
      'netlink',
    ],
    limitKilobytes: 1010,
  },
];

/** What `npm pack` makes. */
export const PACKED_LIMIT_KILOBYTES = 500;
