import { expect, test } from 'vitest';
import { frame, icmp, MemoryKernel, simulate, tcp, udp } from '../../src/testing/index.ts';

/* Arguments that a test may get wrong: each is refused at its place, as everywhere in this library, and nothing is cut to fit a packet. */

const ends = { from: '10.0.0.9:1', to: '10.0.0.1:80' } as const;
const hosts = { from: '10.0.0.9', to: '10.0.0.1' } as const;
const syn = tcp(ends);
const kernel = () => MemoryKernel.create();
const web = () => kernel().container('web', { links: [{ name: 'eth0', addresses: ['10.0.0.1/24'] }] });
const wrong = (value: unknown) => value as never;

test.each<[name: string, call: () => unknown, attribute: string | undefined]>([
  ['no ends', () => tcp(wrong({})), 'from'],
  ['null for a packet of TCP', () => tcp(wrong(null)), undefined],
  ['null for a packet of UDP', () => udp(wrong(null)), undefined],
  ['a misspelt field of TCP', () => tcp(wrong({ ...ends, flgas: 'syn' })), 'flgas'],
  ['a flag of TCP for UDP', () => udp(wrong({ ...ends, flags: 'syn' })), 'flags'],
  ['a TTL of 256', () => tcp({ ...ends, ttl: 256 }), 'ttl'],
  ['a TTL that is no integer', () => udp({ ...ends, ttl: 1.5 }), 'ttl'],
  ['a window of 65536', () => tcp({ ...ends, window: 65_536 }), 'window'],
  ['a sequence number of 2^32', () => tcp({ ...ends, sequence: 2 ** 32 }), 'sequence'],
  ['a sequence number of ICMP of 2^16', () => icmp({ ...hosts, sequence: 2 ** 16 }), 'sequence'],
  ['a type of ICMP of 300', () => icmp({ ...hosts, type: 300 }), 'type'],
  ['a code of ICMP of -1', () => icmp({ ...hosts, code: -1 }), 'code'],
  ['a payload that no packet has room for', () => udp({ ...ends, payload: new Uint8Array(65_500) }), 'payload'],
  ['a payload that is a number', () => tcp(wrong({ ...ends, payload: 5 })), 'payload'],
  ['no bytes', () => frame(wrong(null)), 'bytes'],
  ['a packet that is null', () => web().receive(wrong(null), { on: 'eth0' }), 'bytes'],
  ['a packet that is a string', () => web().send(wrong('4500')), 'bytes'],
  ['no options where it comes in', () => web().receive(syn, wrong(undefined)), 'options'],
  ['a misspelt option where it comes in', () => web().receive(syn, wrong({ on: 'eth0', off: 1 })), 'options.off'],
  ['null for a ruleset', () => simulate(wrong(null), syn), 'ruleset'],
  ['a misspelt option of a simulation', () => simulate('', syn, wrong({ device: 'eth0' })), 'options.device'],
  ['null for a kernel', () => MemoryKernel.create(wrong(null)), undefined],
  ['a misspelt option of a kernel', () => MemoryKernel.create(wrong({ relese: '6.1' })), 'relese'],
  ['a clock that is not the manual one', () => MemoryKernel.create({ clock: wrong('real') }), 'clock'],
  ['a misspelt option of a container', () => kernel().container('x', wrong({ link: [] })), 'link'],
  ['devices that are no list', () => kernel().container('x', { links: wrong(5) }), 'links'],
  ['null for a fault', () => kernel().fail(wrong(null)), undefined],
  ['a misspelt field of a fault', () => kernel().fail(wrong({ errno: 'ENOMEM', sycall: 'socket' })), 'sycall'],
  ['a fault in what is no container', () => kernel().fail({ errno: 'ENOMEM', container: wrong({}) }), 'container'],
  ['a misspelt field of a loss', () => kernel().lose(wrong({ what: 'log', time: 1 })), 'time'],
])('rejects %s with a code that begins with ERR_', (_, call, attribute) => {
  let error: unknown;
  try {
    call();
  } catch (thrown) {
    error = thrown;
  }
  expect(error).toSatisfy(thrown => thrown instanceof TypeError || thrown instanceof RangeError);
  expect(error).toMatchObject({ code: expect.stringMatching(/^ERR_/), ...(attribute !== undefined && { attribute }) });
});

test('the longest payload is taken', () => {
  expect(tcp({ ...ends, payload: new Uint8Array(65_475) }).bytes).toHaveLength(2 * (65_475 + 40));
});
