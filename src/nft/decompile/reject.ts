import { type Datatype, TYPES } from '../data/datatypes.ts';
import type { Dependencies } from './dependencies.ts';
import { BASE_LINK, BASE_NETWORK, BASE_TRANSPORT, numberOf, type PacketContext } from './headers.ts';
import { type RejectStatement, setType } from './tree.ts';

/** Which ICMP the code is of, and the matches that the answer needs anyway. */
export function finishReject(statement: RejectStatement, context: PacketContext, dependencies: Dependencies): void {
  const type = (code: Datatype) => setType(statement.code, code, statement.code.order);
  if (context.family === 'ip' || context.family === 'ip6') {
    statement.family = context.family;
    type(context.family === 'ip' ? TYPES.icmp_code : TYPES.icmpv6_code);
    if (statement.type === 'tcp-reset') dependencies.release(BASE_TRANSPORT);
    return;
  }
  if (statement.type === 'icmpx-unreachable') {
    type(TYPES.icmpx_code);
    return;
  }
  statement.verbose = true;
  const number = numberOf(context.layers[BASE_LINK], context.layers[BASE_NETWORK]);
  if (number === 2 || number === 0x0800) {
    statement.family = 'ip';
    type(TYPES.icmp_code);
  } else if (number === 10 || number === 0x86dd) {
    statement.family = 'ip6';
    type(TYPES.icmpv6_code);
  }
  dependencies.release(BASE_NETWORK);
}
