import { all, list, match, one, op, payload, type Translation } from './translation.ts';

/* The matches of transport protocols and of ICMP, in nft's words. */

export const sport = (protocol: string) => one('sport', payload(protocol, 'sport'));
export const dport = (protocol: string) => one('dport', payload(protocol, 'dport'));

const FLAGS = ['fin', 'syn', 'rst', 'psh', 'ack', 'urg'];

function tcpFlags(words: string): unknown {
  if (words === 'NONE') return 0;
  const flags = words === 'ALL' ? FLAGS : words.toLowerCase().split(',');
  return list(flags);
}

export const tcp = all({
  sport: sport('tcp'),
  dport: dport('tcp'),
  'tcp-flags': shown => {
    const [mask = '', flags = ''] = shown.text('tcp-flags').split(' ');
    const left = { '&': [payload('tcp', 'flags'), tcpFlags(mask)] };
    return [match(left, tcpFlags(flags), op(shown, 'tcp-flags'))];
  },
});

const DCCP = ['request', 'response', 'data', 'ack', 'dataack', 'closereq', 'close', 'reset', 'sync', 'syncack'];

/** Neighbours as ranges, as nft lists a set of intervals. */
export function intervals(values: readonly number[], name: (value: number) => unknown): unknown[] {
  const found: unknown[] = [];
  const sorted = [...values].sort((a, b) => a - b);
  for (let i = 0; i < sorted.length; ) {
    let end = i;
    while (sorted[end + 1] === sorted[end]! + 1) end++;
    found.push(end === i ? name(sorted[i]!) : { range: [name(sorted[i]!), name(sorted[end]!)] });
    i = end + 1;
  }
  return found;
}

export const dccp = all({
  sport: sport('dccp'),
  dport: dport('dccp'),
  'dccp-types': shown => {
    const types = shown.text('dccp-types').toLowerCase().split(',');
    const numbers = types.flatMap(type => (type === 'invalid' ? [10, 11, 12, 13, 14, 15] : [DCCP.indexOf(type)]));
    const right =
      types.length === 1 && types[0] !== 'invalid'
        ? types[0]
        : { set: intervals(numbers, value => DCCP[value] ?? value) };
    return [match(payload('dccp', 'type'), right, op(shown, 'dccp-types'))];
  },
});

export const sctp = all({
  sport: sport('sctp'),
  dport: dport('sctp'),
  'chunk-types': shown => {
    const [which, types = ''] = shown.text('chunk-types').split(' ');
    const names = types.toLowerCase().replaceAll('_', '-').split(',');
    if (which !== 'all' || names.some(name => name.includes(':')) || shown.inverted('chunk-types'))
      return 'chunk-types';
    return names.map(name => match({ 'sctp chunk': { name } }, true));
  },
});

export const ICMP: Readonly<Record<string, string>> = {
  '0': 'echo-reply',
  '3': 'destination-unreachable',
  '4': 'source-quench',
  '5': 'redirect',
  '8': 'echo-request',
  '9': 'router-advertisement',
  '10': 'router-solicitation',
  '11': 'time-exceeded',
  '12': 'parameter-problem',
  '13': 'timestamp-request',
  '14': 'timestamp-reply',
  '17': 'address-mask-request',
  '18': 'address-mask-reply',
};

export const ICMP6: Readonly<Record<string, string>> = {
  '1': 'destination-unreachable',
  '2': 'packet-too-big',
  '3': 'time-exceeded',
  '4': 'parameter-problem',
  '128': 'echo-request',
  '129': 'echo-reply',
  '130': 'mld-listener-query',
  '131': 'mld-listener-report',
  '132': 'mld-listener-done',
  '133': 'nd-router-solicit',
  '134': 'nd-router-advert',
  '135': 'nd-neighbor-solicit',
  '136': 'nd-neighbor-advert',
  '137': 'nd-redirect',
};

export const icmp =
  (option: string, protocol: string, names: Readonly<Record<string, string>>): Translation =>
  shown => {
    const type = shown.text(option);
    if (type === 'any') return [];
    if (type.includes('/')) return option;
    return [match(payload(protocol, 'type'), names[type] ?? Number(type), op(shown, option))];
  };
