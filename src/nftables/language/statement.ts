import type { Path } from '../../errors.ts';
import type { META_KEYS } from '../expressions/packet.ts';
import type { PROTOCOL_FIELDS } from './protocols.ts';

/*
 * nft's own JSON (libnftables-json(5)), field names as the manual has them. What is here is what this library compiles today.
 */

type Protocols = typeof PROTOCOL_FIELDS;

/** A field of a packet's header. */
export type PayloadExpression = {
  [P in keyof Protocols]: { protocol: P; field: keyof Protocols[P] & string };
}[keyof Protocols];

/** What a match looks at. */
export type LeftSide = { payload: PayloadExpression } | { meta: { key: keyof typeof META_KEYS } };

/** What it is compared with: an address, a port, a protocol's or device's name, a prefix, a range. */
export type RightSide =
  | string
  | number
  | { prefix: { addr: string; len: number } }
  | { range: [string | number, string | number] };

export type MatchOperator = '==' | '!=' | '<' | '>' | '<=' | '>=';

/** Ends the rule unless it is so. */
export interface Match {
  op: MatchOperator;
  left: LeftSide;
  right: RightSide;
}

export interface Log {
  /** NFLOG's group, 0 to 65535. Without one the kernel's own log is meant, which containers do not see. */
  group?: number;
  /** At most 127 bytes. */
  prefix?: string;
  /** Bytes of the packet that are handed over. */
  snaplen?: number;
  'queue-threshold'?: number;
}

type NatFlag = 'random' | 'persistent' | 'fully-random';

export interface Redirect {
  /** The local port; default the one that the packet was sent to. */
  port?: number | { range: [number, number] };
  flags?: NatFlag | NatFlag[];
}

/** One statement of a rule, in nft's JSON. */
export type Statement =
  | { match: Match }
  | { counter: { packets?: number | bigint; bytes?: number | bigint } | null }
  | { log: Log | null }
  | { redirect: Redirect | null }
  | { accept: null }
  | { drop: null }
  | { continue: null }
  | { return: null }
  | { jump: { target: string } }
  | { goto: { target: string } };

/** For each expression, where the statement stands that it came from. */
export type Origin = Path[];
