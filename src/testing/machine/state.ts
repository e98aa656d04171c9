import { RT_SCOPE_HOST } from '../../linux/rtnetlink.ts';
import { CONNTRACK_SYSCTLS } from '../conntrack/settings.ts';
import { type Conntrack, newConntrack } from '../conntrack/state.ts';
import { type Ipvs, newIpvs } from '../ipvs/state.ts';
import { type NfTables, newNfTables } from '../nf_tables/state.ts';
import { type Nflog, newNflog } from '../nflog/state.ts';
import { defaultRules, type Neighbour, type PolicyRule } from '../rtnetlink/state.ts';

/*
 * What a kernel in memory holds. Plain objects that refer to each other, so that a snapshot is one structured clone; sockets and watches are
 * not part of it.
 */

export interface Address {
  readonly family: number;
  readonly bytes: Uint8Array;
  readonly prefix: number;
  /** The other end of a point-to-point link. */
  readonly peer?: Uint8Array;
  label?: string;
  readonly broadcast?: Uint8Array;
  readonly scope?: number;
  protocol?: number | undefined;
  /** IFA_F_ bits besides those that follow from the lifetimes. */
  flags?: number | undefined;
  metric?: number | undefined;
  /** When it is used no more, and when it goes, on the kernel's clock; undefined is never. */
  preferredUntil?: bigint | undefined;
  validUntil?: bigint | undefined;
  readonly made?: bigint;
  /** When it came, counted in its namespace: of two equal routes the older one counts. */
  readonly order?: number;
  /** When its device went up since then; the loopback device keeps its networks when it goes down. */
  networkOrder?: number;
  changed?: bigint;
}

export interface Link {
  readonly index: number;
  name: string;
  up: boolean;
  mtu: number;
  group: number;
  readonly kind: string | undefined;
  hardwareAddress: Uint8Array;
  readonly loopback: boolean;
  addresses: Address[];
  alias?: string | undefined;
  queueLength?: number;
  /** The index of the bridge of which it is a port. */
  master?: number | undefined;
  /** Of a bridge: whether one of its ports runs; undefined until it had one. */
  carrier?: boolean;
  /** Of a bridge: somebody has set its MTU, which its ports change no more. */
  hasOwnMtu?: boolean;
  /** The other end of a veth pair. */
  peer?: { namespace: number; index: number };
}

export interface Route {
  readonly to: Uint8Array;
  readonly prefix: number;
  /** The index of the device; 0 where packets go nowhere. */
  readonly device: number;
  readonly via: Uint8Array | undefined;
  readonly table?: number;
  /** RTN_UNICAST by default. */
  readonly type?: number;
  readonly scope?: number;
  readonly protocol?: number;
  readonly priority?: number;
  readonly tos?: number;
  /** The address with which packets are sent. */
  readonly source?: Uint8Array;
  /** RTA_METRICS as it was given. */
  readonly metrics?: Uint8Array;
  readonly flags?: number;
}

/** One network namespace. */
export interface Namespace {
  readonly inode: number;
  readonly name: string;
  /** Whether a user namespace of its own owns it: what asks for rights in the machine's first one is refused there. */
  readonly userNamespace: boolean;
  links: Link[];
  lastIndex: number;
  lastAddress: number;
  routes: Route[];
  policyRules: PolicyRule[];
  neighbours: Neighbour[];
  /** By their path under /proc/sys, without this beginning. */
  sysctls: Map<string, string>;
  nfTables: NfTables;
  conntrack: Conntrack;
  ipvs: Ipvs;
  nflog: Nflog;
}

export interface MachineState {
  namespaces: Map<number, Namespace>;
  /** Milliseconds since the boot. A bigint, as all times of the kernel. */
  now: bigint;
}

/** What a machine can do: fixed when it is made. */
export interface Release {
  /** 6.12 is [6, 12]. */
  readonly version: readonly [number, number];
  /** The modules that it has, of those in question; all where it is undefined. */
  readonly modules: ReadonlySet<string> | undefined;
}

export const hasModule = ({ modules }: Release, name: string): boolean => modules === undefined || modules.has(name);

export const isSince = ({ version: [major, minor] }: Release, since: readonly [number, number]): boolean =>
  major > since[0] || (major === since[0] && minor >= since[1]);

/** Settings that a namespace has, and what they are at first. */
const SYSCTLS: readonly (readonly [name: string, value: string])[] = [
  ['net/ipv4/ip_forward', '0'],
  ['net/ipv6/conf/all/forwarding', '0'],
  ...CONNTRACK_SYSCTLS,
];

export function newNamespace(inode: number, name: string, userNamespace: boolean): Namespace {
  const loopback: Link = {
    index: 1,
    name: 'lo',
    up: true,
    mtu: 65_536,
    group: 0,
    kind: undefined,
    hardwareAddress: new Uint8Array(6),
    loopback: true,
    addresses: [
      { family: 2, bytes: Uint8Array.of(127, 0, 0, 1), prefix: 8, scope: RT_SCOPE_HOST, networkOrder: 0 },
      {
        family: 10,
        bytes: Uint8Array.from({ length: 16 }, (_, i) => (i === 15 ? 1 : 0)),
        prefix: 128,
        scope: RT_SCOPE_HOST,
      },
    ],
  };
  return {
    inode,
    name,
    userNamespace,
    links: [loopback],
    lastIndex: 1,
    lastAddress: 0,
    routes: [],
    policyRules: defaultRules(),
    neighbours: [],
    sysctls: new Map(SYSCTLS),
    nfTables: newNfTables(),
    conntrack: newConntrack(),
    ipvs: newIpvs(),
    nflog: newNflog(),
  };
}
