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
  { name: 'netns', entries: ['netns'], limitKilobytes: 33 },
  { name: 'netlink', entries: ['netlink'], limitKilobytes: 92 },
  { name: 'conntrack', entries: ['conntrack'], limitKilobytes: 115 },
  { name: 'nftables/kernel', entries: ['nftables/kernel'], limitKilobytes: 135 },
  { name: 'nflog', entries: ['nflog'], limitKilobytes: 139 },
  { name: 'rtnetlink', entries: ['rtnetlink'], limitKilobytes: 166 },
  { name: 'ipvs', entries: ['ipvs'], limitKilobytes: 208 },
  { name: 'nftables', entries: ['nftables'], limitKilobytes: 642 },
  { name: 'iptables', entries: ['iptables'], limitKilobytes: 815 },
  { name: 'container', entries: ['container'], limitKilobytes: 910 },
  { name: 'balancer', entries: ['balancer'], limitKilobytes: 1046 },
  { name: 'cluster', entries: ['cluster'], limitKilobytes: 1073 },
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
      'iptables',
      'container',
      'netlink',
      'balancer',
      'cluster',
    ],
    limitKilobytes: 1343,
  },
];

/** What `npm pack` makes. Of it 200 are of the kernel in memory, which only programs load that import netsteer/testing. */
export const PACKED_LIMIT_KILOBYTES = 850;
