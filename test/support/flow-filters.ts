import type { Flow, FlowFilter, TupleFilter } from 'netsteer/conntrack';

/** What a filter means, said once more and slowly. */
export function isMeant(flow: Flow, filter: FlowFilter): boolean {
  const numbers: Record<string, number> = { tcp: 6, udp: 17, sctp: 132 };
  const number = (protocol: string | number) => (typeof protocol === 'number' ? protocol : numbers[protocol]);
  if (filter.family !== undefined && flow.family !== filter.family) return false;
  if (filter.protocol !== undefined && number(flow.protocol) !== number(filter.protocol)) return false;
  if (filter.zone !== undefined && flow.zone !== filter.zone) return false;
  if (filter.nat !== undefined && flow.nat[filter.nat] === undefined) return false;
  if (filter.status?.some(flag => !flow.status.includes(flag))) return false;
  if (typeof filter.mark === 'number' && flow.mark !== filter.mark) return false;
  if (typeof filter.mark === 'object' && (flow.mark & filter.mark.mask) !== filter.mark.value) return false;
  return tupleIsMeant(flow.original, filter) && (filter.reply === undefined || tupleIsMeant(flow.reply, filter.reply));
}

function tupleIsMeant(tuple: Flow['original'], filter: TupleFilter): boolean {
  const port = (wanted: TupleFilter['sourcePort'], found = -1) =>
    wanted === undefined ||
    (typeof wanted === 'number' ? found === wanted : found >= wanted.from && found <= wanted.to);
  return (
    port(filter.sourcePort, tuple.sourcePort) &&
    port(filter.destinationPort, tuple.destinationPort) &&
    addressIsMeant(tuple.source, filter.source) &&
    addressIsMeant(tuple.destination, filter.destination)
  );
}

function addressIsMeant(address: string, wanted: string | undefined): boolean {
  if (wanted === undefined) return true;
  const [prefix, length] = wanted.split('/');
  if (address.includes(':') !== wanted.includes(':')) return false;
  const bits = address.includes(':') ? 128 : 32;
  const shift = BigInt(bits - Number(length ?? bits));
  return toNumber(address) >> shift === toNumber(prefix!) >> shift;
}

function toNumber(address: string): bigint {
  if (!address.includes(':')) return address.split('.').reduce((sum, part) => sum * 256n + BigInt(part), 0n);
  const [head, tail = ''] = address.split('::') as [string, string?];
  const parts = (text: string) => (text === '' ? [] : text.split(':'));
  const zeros = new Array(8 - parts(head).length - parts(tail).length).fill('0');
  return [...parts(head), ...zeros, ...parts(tail)].reduce((sum, part) => sum * 65536n + BigInt(`0x${part}`), 0n);
}
