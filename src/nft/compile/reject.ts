import { ICMP_CODE, ICMPV6_CODE, ICMPX_CODE, type Symbols } from '../data/symbols.ts';
import { addProtocol } from './header.ts';
import type { Evaluator } from './ir.ts';
import { entryOf, fieldsOf } from './json-fields.ts';
import { emit } from './lower.ts';
import { LINK, NETWORK, Place, refuse, TRANSPORT } from './term.ts';

const REJECT_CODES: Readonly<Record<string, { symbols: Symbols; family?: 'ip' | 'ip6' }>> = {
  icmp: { symbols: ICMP_CODE, family: 'ip' },
  icmpv6: { symbols: ICMPV6_CODE, family: 'ip6' },
  icmpx: { symbols: ICMPX_CODE },
};
const PORT_UNREACHABLE = { ip: 3, ip6: 4, icmpx: 1 } as const;

export function reject(e: Evaluator, json: unknown, place: Place): void {
  const fields = json === null || json === undefined ? {} : fieldsOf(json, place);
  const { scope } = e;
  const network = scope.at(NETWORK);
  const { family } = scope;
  if (family === 'arp') throw refuse(place, 'a rule of another family than arp', family);
  if (fields.type === 'tcp reset') {
    const transport = scope.at(TRANSPORT);
    if (transport !== undefined && transport !== 'tcp') throw refuse(place, 'a match of tcp', transport);
    if (transport === undefined) {
      // Before all else: what is logged and counted before it must be what is rejected.
      prepend(e, () => addProtocol(e, network ?? 'inet-service', 'tcp', { place }));
    }
    emit(e, { reject: { type: 'tcp-reset', code: 0 } });
    return;
  }
  let type: string;
  let code: number;
  if (fields.type === undefined && fields.expr === undefined) {
    const known =
      family === 'ip' || family === 'ip6' ? family : network === 'ip' || network === 'ip6' ? network : undefined;
    type = known === undefined ? 'icmpx' : known === 'ip' ? 'icmp' : 'icmpv6';
    code = PORT_UNREACHABLE[known ?? 'icmpx'];
  } else {
    type = (fields.type as string) ?? 'icmpx';
    const { symbols } = entryOf(REJECT_CODES, type, new Place(place, 'type'));
    code = codeOf(fields.expr, symbols, new Place(place, 'expr'));
  }
  if (type === 'icmpx') {
    if (family === 'ip' || family === 'ip6') throw refuse(place, 'icmp or icmpv6 in a rule of one family', 'icmpx');
    emit(e, { reject: { type: 'icmpx-unreachable', code } });
    return;
  }
  const wanted = REJECT_CODES[type]!.family!;
  if (network === undefined) {
    const link = scope.at(LINK) ?? family;
    const below = family === 'bridge' && link === 'ether' ? 'netdev' : link;
    prepend(e, () => addProtocol(e, below, wanted, { place }));
  } else if (network !== wanted) {
    throw refuse(place, `the code of ${network}`, type);
  }
  emit(e, { reject: { type: 'icmp-unreachable', code } });
}

function codeOf(json: unknown, symbols: Symbols, place: Place): number {
  if (json === undefined) return 0;
  if (typeof json === 'string' && Object.hasOwn(symbols, json)) return symbols[json]!;
  const number = typeof json === 'string' && /^\d+$/.test(json) ? Number(json) : json;
  if (typeof number !== 'number' || !Number.isInteger(number) || number < 0 || number > 255)
    throw refuse(place, `0 to 255, or one of ${Object.keys(symbols).join(', ')}`, json);
  return number;
}

/** What a work adds comes before all that there is. */
function prepend(e: Evaluator, work: () => void): void {
  const before = e.steps;
  e.steps = [];
  work();
  e.steps = [...e.steps, ...before];
}
