import { CONNTRACK_SYSCTLS } from '../conntrack/settings.ts';
import { type Conntrack, newConntrack } from '../conntrack/state.ts';
import { type Ipvs, newIpvs } from '../ipvs/state.ts';
import { type NfTables, newNfTables } from '../nf_tables/state.ts';
import { type Nflog, newNflog } from '../nflog/state.ts';

/*
 * What a kernel in memory holds. Plain objects that refer to each other, so that a snapshot is one structured clone; sockets and watches are
 * not part of it.
 */

export interface Address {
  readonly family: number;
  readonly bytes: Uint8Array;
  readonly prefix: number;
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
}

export interface Route {
  readonly to: Uint8Array;
  readonly prefix: number;
  /** The index of the device. */
  readonly device: number;
  readonly via: Uint8Array | undefined;
}

/** One network namespace. */
export interface Namespace {
  readonly inode: number;
  readonly name: string;
  /** Whether a user namespace of its own owns it: what asks for rights in the machine's first one is refused there. */
  readonly userNamespace: boolean;
  links: Link[];
  lastIndex: number;
  routes: Route[];
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
      { family: 2, bytes: Uint8Array.of(127, 0, 0, 1), prefix: 8 },
      { family: 10, bytes: Uint8Array.from({ length: 16 }, (_, i) => (i === 15 ? 1 : 0)), prefix: 128 },
    ],
  };
  return {
    inode,
    name,
    userNamespace,
    links: [loopback],
    lastIndex: 1,
    routes: [],
    sysctls: new Map(SYSCTLS),
    nfTables: newNfTables(),
    conntrack: newConntrack(),
    ipvs: newIpvs(),
    nflog: newNflog(),
  };
}
