import type { ServiceEntry } from 'netsteer';
import { expect, it } from 'vitest';
import { verify } from '../../examples/deployment/demo.ts';

const turns = Array.from({ length: 10 }, (_, i) => `HELLO,This is web${(i % 2) + 1}`);
const lines = (name: string, count: number) => Array.from({ length: count }, () => `${name} IN=eth0 PROTO=TCP`);
const counted = (connections: bigint) => [{ stats: { connections } }] as unknown as ServiceEntry[];
const logs = (first: string[], second: string[]) =>
  new Map([
    ['web1', first],
    ['web2', second],
  ] as const);
const good = logs(lines('web1', 5), lines('web2', 5));

it('the demo accepts replies in turn, counted connections and a packet log for each container', () => {
  expect(() => verify(turns, counted(10n), good)).not.toThrow();
});

it.each([
  ['an answer is missing', turns.slice(1), counted(10n), good, '9 answers'],
  ['one server takes all', turns.map(() => 'HELLO,This is web1'), counted(10n), good, 'did not take turns'],
  ['IPVS has counted nothing', turns, counted(0n), good, 'IPVS counted 0'],
  ['a packet log is empty', turns, counted(10n), logs(lines('web1', 5), []), '0 packets in the log of web2'],
  [
    "a log has another container's packets",
    turns,
    counted(10n),
    logs(lines('web1', 5), lines('web1', 5)),
    'log of web2',
  ],
])('the demo fails when %s', (_, answers, servers, packets, why) => {
  expect(() => verify(answers, servers, packets)).toThrow(why);
});
