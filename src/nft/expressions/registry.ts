import { ct } from './ct.ts';
import type { LoadExpression, Loaded } from './expression.ts';
import { exthdr } from './exthdr.ts';
import { fib } from './fib.ts';
import { hash } from './hash.ts';
import { ipsec } from './ipsec.ts';
import { meta } from './meta.ts';
import { numgen } from './numgen.ts';
import { osf } from './osf.ts';
import { payload } from './payload.ts';
import { rt } from './rt.ts';
import { socket } from './socket.ts';
import { tunnel } from './tunnel.ts';

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

/** Everything about the expression of a node. */
export const expressionOf = (node: Loaded): LoadExpression =>
  EXPRESSIONS[node.kind === 'load' ? node.name : node.kind]!;
