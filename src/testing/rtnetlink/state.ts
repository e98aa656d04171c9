import { RTPROT_KERNEL } from '../../linux/rtnetlink.ts';

/* What routing of a namespace holds besides devices, addresses and routes: plain objects. */

/** A rule of the choice of tables. */
export interface PolicyRule {
  readonly family: number;
  readonly priority: number;
  readonly action: number;
  readonly table: number;
  readonly flags: number;
  readonly tos: number;
  readonly from: { readonly address: Uint8Array; readonly bits: number } | undefined;
  readonly to: { readonly address: Uint8Array; readonly bits: number } | undefined;
  readonly protocol: number;
  /** Attributes as they were given, by their types: devices, marks, ports and the like. */
  readonly others: ReadonlyMap<number, Uint8Array>;
}

/** A neighbour: which address of a link has an address of IP. */
export interface Neighbour {
  readonly family: number;
  readonly device: number;
  readonly address: Uint8Array;
  hardware: Uint8Array | undefined;
  state: number;
  flags: number;
  protocol: number;
  readonly isProxy: boolean;
  /** RTN_UNICAST, or what its address was to this host when it was made. */
  readonly type: number;
}

const DEFAULT_RULES: readonly (readonly [priority: number, table: number])[] = [
  [0, 255],
  [32_766, 254],
  [32_767, 253],
];

/** The rules that a namespace has at first; IPv6 has none for the table `default`. */
export const defaultRules = (): PolicyRule[] =>
  [2, 10].flatMap(family =>
    DEFAULT_RULES.filter(([priority]) => family === 2 || priority !== 32_767).map(([priority, table]) => ({
      family,
      priority,
      action: 1,
      table,
      flags: 0,
      tos: 0,
      from: undefined,
      to: undefined,
      protocol: RTPROT_KERNEL,
      others: new Map(),
    })),
  );
