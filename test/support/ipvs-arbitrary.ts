import fc from 'fast-check';
import type { Destination, Service, VirtualServer } from '../../src/ipvs/index.ts';

/* Virtual servers of all sorts that this library takes, out of few keys, so that two sets of them meet. */

const ipv4 = fc.integer({ min: 1, max: 6 }).map(n => `10.0.0.${n}`);
const ipv6 = fc.integer({ min: 1, max: 3 }).map(n => `2001:db8::${n}`);
const persistence = (ipv6Service: boolean) =>
  fc.record(
    {
      timeoutSeconds: fc.integer({ min: 1, max: 3000 }),
      netmask: ipv6Service
        ? fc.integer({ min: 1, max: 128 })
        : fc.oneof(fc.integer({ min: 1, max: 32 }), fc.constantFrom('255.255.255.0', '255.255.255.255')),
      engine: fc.constant('sip'),
    },
    { requiredKeys: ['timeoutSeconds'] },
  );

const scheduling = (ipv6Service: boolean) =>
  fc.oneof(
    fc.record({ scheduler: fc.constantFrom('rr', 'wrr', 'lc', 'wlc', 'sed', 'nq', 'dh', 'fo', 'ovf', 'none', 'mh') }),
    fc.record({
      scheduler: fc.constant('sh'),
      schedulerFlags: fc.subarray(['sh-fallback', 'sh-port', 'flag-3'] as const),
    }),
    fc.record({ scheduler: fc.constant('mh'), schedulerFlags: fc.subarray(['mh-fallback', 'mh-port'] as const) }),
    fc.record({ scheduler: fc.constantFrom('rr', 'wlc', 'mh'), persistence: persistence(ipv6Service) }),
  );

const service: fc.Arbitrary<Service> = fc
  .record({
    key: fc.oneof(
      fc.record({ protocol: fc.constantFrom('tcp', 'udp', 'sctp'), address: ipv4, port: fc.constantFrom(80, 443) }),
      fc.record({ protocol: fc.constantFrom('tcp', 'udp'), address: ipv6, port: fc.constantFrom(80, 443) }),
      fc.record({ firewallMark: fc.constantFrom(1, 7, 0xffffffff), family: fc.constantFrom('ipv4', 'ipv6') }),
    ),
    onePacket: fc.boolean(),
  })
  .chain(({ key, onePacket }) => {
    const isV6 = 'family' in key ? key.family === 'ipv6' : key.address.includes(':');
    const packets = onePacket && ('family' in key || key.protocol === 'udp') ? { onePacket } : {};
    return scheduling(isV6).map(rest => ({ ...key, ...rest, ...packets }) as Service);
  });

const limits = fc.oneof(
  fc.constant({}),
  fc
    .tuple(fc.integer({ min: 0, max: 500 }), fc.integer({ min: 0, max: 500 }))
    .map(([a, b]) => ({ upperThreshold: Math.max(a, b), lowerThreshold: Math.min(a, b) })),
  fc.integer({ min: 1, max: 500 }).map(upperThreshold => ({ upperThreshold })),
);
const weight = fc.oneof(
  fc.constant({}),
  fc.constantFrom(0, 1, 2, 65535, 0x7fffffff).map(value => ({ weight: value })),
);
const tunnel = fc.constantFrom(
  {},
  { tunnel: { type: 'ipip' } },
  { tunnel: { type: 'gue', port: 6080, checksum: 'required' } },
  { tunnel: { type: 'gue', port: 6080, checksum: 'remote' } },
  { tunnel: { type: 'gre', checksum: 'none' } },
  { tunnel: { type: 'gre', checksum: 'required' } },
);

function destination(of: Service): fc.Arbitrary<Destination> {
  const isV6 = 'family' in of ? of.family === 'ipv6' : of.address.includes(':');
  const port = 'port' in of ? fc.constant(of.port) : fc.constantFrom(80, 81);
  const own = isV6
    ? fc.integer({ min: 1, max: 4 }).map(n => `2001:db8:1::${n}`)
    : fc.integer({ min: 1, max: 4 }).map(n => `10.1.0.${n}`);
  const other = fc.constantFrom('10.1.0.9', '2001:db8:1::9');
  return fc
    .oneof(
      fc.record({ address: own, port: fc.constantFrom(80, 8080), forward: fc.constantFrom('masquerade', 'local') }),
      fc.record({ address: own, port, forward: fc.constant('direct') }),
      fc
        .record({ address: fc.oneof(own, other), port, forward: fc.constant('tunnel') })
        .chain(base => tunnel.map(rest => ({ ...base, ...rest }))),
    )
    .chain(base => fc.tuple(weight, limits).map(([w, l]) => ({ ...base, ...w, ...l }) as Destination));
}

const keyOf = (of: Service): string =>
  'family' in of ? `${of.family} ${of.firewallMark}` : `${of.protocol} ${of.address} ${of.port}`;

/** Any valid set of virtual servers. */
export const virtualServers: fc.Arbitrary<VirtualServer[]> = fc.uniqueArray(
  service.chain(of =>
    fc
      .uniqueArray(destination(of), { maxLength: 5, selector: each => `${each.address} ${each.port}` })
      .map(destinations => ({ ...of, destinations })),
  ),
  { maxLength: 8, selector: keyOf },
);
