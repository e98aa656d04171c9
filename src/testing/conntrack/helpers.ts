/* The helpers that the kernel has, by their names: which protocols they follow, and what they may expect (nf_conntrack_ftp.c and its like). */

const TCP = 6;
const UDP = 17;

interface Helper {
  readonly protocols: readonly number[];
  /** The most expectations of one connection, and the seconds that they last; undefined where they are not modelled. */
  readonly policy?: readonly [most: number, seconds: number];
}

const HELPERS: Record<string, Helper> = {
  ftp: { protocols: [TCP], policy: [1, 300] },
  tftp: { protocols: [UDP], policy: [1, 300] },
  irc: { protocols: [TCP], policy: [8, 300] },
  amanda: { protocols: [UDP], policy: [3, 180] },
  sane: { protocols: [TCP], policy: [1, 300] },
  pptp: { protocols: [TCP] },
  snmp: { protocols: [UDP] },
  'netbios-ns': { protocols: [UDP] },
  sip: { protocols: [TCP, UDP] },
  'Q.931': { protocols: [TCP] },
  RAS: { protocols: [UDP] },
  'H.245': { protocols: [] },
};

export const hasHelper = (name: string, protocol: number): boolean =>
  Object.hasOwn(HELPERS, name) && HELPERS[name]!.protocols.includes(protocol);

export const policyOf = (name: string): readonly [most: number, seconds: number] | undefined => HELPERS[name]?.policy;
