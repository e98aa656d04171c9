import type { ReadExpression } from '../parse/parser.ts';
import { ct } from './ct.ts';
import type { LoadExpression, Loaded } from './expression.ts';
import { exthdr } from './exthdr.ts';
import { type FibReference, fib } from './fib.ts';
import { hash } from './hash.ts';
import { type IpsecJson, ipsec } from './ipsec.ts';
import { meta } from './meta.ts';
import { type NumgenJson, numgen } from './numgen.ts';
import { type OsfJson, osf } from './osf.ts';
import { payload } from './payload.ts';
import { type RtJson, rt } from './rt.ts';
import { type SocketJson, socket } from './socket.ts';
import { type TunnelJson, tunnel } from './tunnel.ts';

/** The expressions of nft that one instruction of the kernel loads, by nft's name. */
export const EXPRESSIONS: Readonly<Record<string, LoadExpression>> = {
  payload,
  exthdr,
  meta,
  ct,
  rt,
  socket,
  osf,
  ipsec,
  tunnel,
  fib,
  numgen,
  hash,
};

/** How nft's text begins them, by the first words. */
export const EXPRESSION_TEXTS: ReadonlyMap<string, ReadExpression> = /* @__PURE__ */ new Map(
  /* @__PURE__ */ Object.values(EXPRESSIONS).flatMap(({ fromText }) => Object.entries(fromText)),
);

/** The JSON of these expressions. The JSON of payload, meta and ct, and of expressions that contain others, is in json.ts. */
export type LoadJson =
  | {
      /** Of the packet's route. */
      rt: RtJson;
    }
  | {
      /** Of the socket that the packet belongs to. */
      socket: SocketJson;
    }
  | {
      /** The operating system that a SYN looks like. */
      osf: OsfJson;
    }
  | {
      /** Of the IPsec state. */
      ipsec: IpsecJson;
    }
  | {
      /** Of the tunnel that the packet came through. */
      tunnel: TunnelJson;
    }
  | {
      /** What the routing table says. */
      fib: FibReference;
    }
  | {
      /** A number for each packet, counted or drawn. */
      numgen: NumgenJson;
    };

/** Returns the expression that a node belongs to. */
export const expressionOf = (node: Loaded): LoadExpression =>
  EXPRESSIONS[node.kind === 'load' ? node.name : node.kind]!;
