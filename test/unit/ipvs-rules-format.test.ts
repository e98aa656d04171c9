import fc from 'fast-check';
import { type Destination, formatRules, parseRules, type Service, type VirtualServer } from 'netsteer/ipvs';
import { describe, expect, it } from 'vitest';
import { errorOf } from '../support/error-of.ts';

const web = { protocol: 'tcp', address: '10.0.0.1', port: 80 } as const;

const address = (version: 4 | 6) =>
  version === 4
    ? fc.integer({ min: 1, max: 0xdfffffff }).map(n => [24, 16, 8, 0].map(shift => (n >>> shift) & 255).join('.'))
    : fc.integer({ min: 1, max: 0xffff }).map(n => `2001:db8::${n.toString(16)}`);

const destinationFor = (version: 4 | 6, servicePort: number | undefined): fc.Arbitrary<Destination> => {
  const common = { weight: fc.integer({ min: 0, max: 65535 }) };
  const thresholds = fc.option(
    fc.tuple(fc.integer({ min: 1, max: 1000 }), fc.integer({ min: 0, max: 1 })).map(([upper, lower]) => ({
      upperThreshold: upper,
      ...(lower === 1 && { lowerThreshold: Math.ceil(upper / 2) }),
    })),
    { nil: {} },
  );
  const port = servicePort === undefined ? fc.integer({ min: 0, max: 65535 }) : fc.constant(servicePort);
  const tunnel = fc.constantFrom<NonNullable<Destination['tunnel']>>(
    { type: 'ipip' },
    { type: 'gre' },
    { type: 'gre', checksum: 'required' },
    { type: 'gue', port: 6080 },
    { type: 'gue', port: 1, checksum: 'remote' },
  );
  return fc
    .oneof(
      fc.record({
        ...common,
        address: address(version),
        port: fc.integer({ min: 0, max: 65535 }),
        forward: fc.constant('masquerade' as const),
      }),
      fc.record({ ...common, address: address(version), port, forward: fc.constant('direct' as const) }),
      fc.record({
        ...common,
        address: fc.oneof(address(4), address(6)),
        port,
        forward: fc.constant('tunnel' as const),
        tunnel,
      }),
    )
    .chain(destination => thresholds.map(limits => ({ ...destination, ...limits })));
};

const server: fc.Arbitrary<VirtualServer> = fc
  .tuple(fc.constantFrom<4 | 6>(4, 6), fc.boolean(), fc.integer({ min: 1, max: 65535 }))
  .chain(([version, marked, port]) => {
    const key: fc.Arbitrary<object> = marked
      ? fc.record({
          firewallMark: fc.integer({ min: 1, max: 0xffffffff }),
          family: fc.constant(version === 4 ? 'ipv4' : 'ipv6'),
        })
      : fc.record({
          protocol: fc.constantFrom('tcp', 'udp', 'sctp'),
          address: address(version),
          port: fc.constant(port),
        });
    const netmask =
      version === 4
        ? fc.constantFrom('255.255.255.0', '128.0.0.0', '0.0.0.0', '255.0.255.0', '0.0.0.24')
        : fc.integer({ min: 1, max: 127 });
    const scheduling = fc.record(
      {
        scheduler: fc.constantFrom('rr', 'wlc', 'fo', 'twos', 'none'),
        schedulerFlags: fc.constantFrom(['flag-1'], ['flag-2', 'flag-3']),
        persistence: fc.record(
          { timeoutSeconds: fc.integer({ min: 1, max: 2678400 }), netmask, engine: fc.constant('sip') },
          { requiredKeys: ['timeoutSeconds'] },
        ),
      },
      { requiredKeys: ['scheduler'] },
    );
    const destinations = fc.uniqueArray(destinationFor(version, marked ? undefined : port), {
      selector: destinationId,
      maxLength: 5,
    });
    return fc
      .tuple(key, scheduling, destinations)
      .map(([a, b, list]) => ({ ...a, ...b, destinations: list }) as unknown as VirtualServer);
  });

const keyOf = (service: Service) =>
  'firewallMark' in service
    ? `${service.firewallMark} ${service.family}`
    : `${service.protocol} ${service.address} ${service.port}`;

const destinationId = ({ address: to, port: on }: Destination) => `${to} ${on}`;
const by =
  <T>(id: (value: T) => string) =>
  (a: T, b: T) =>
    id(a) < id(b) ? -1 : 1;

describe('formatRules', () => {
  it('writes what parseRules reads back', () => {
    const tables = fc.uniqueArray(server, { selector: keyOf, maxLength: 6 });
    fc.assert(
      fc.property(tables, servers => {
        const text = formatRules(servers);
        const sorted = (list: readonly VirtualServer[]) =>
          [...list]
            .map(each => ({ ...each, destinations: [...each.destinations].sort(by(destinationId)) }))
            .sort(by(keyOf));
        const read = parseRules(text);
        expect(sorted(read)).toEqual(sorted(servers));
        // ipvsadm's order depends on the order before it, where numbers lie 2^31 apart.
        expect(formatRules(read).split('\n').sort()).toEqual(text.split('\n').sort());
      }),
      { numRuns: 500 },
    );
  });

  it('writes as ipvsadm -Sn, and what that leaves out', () => {
    const text = formatRules([
      {
        protocol: 'udp',
        address: '10.0.0.9',
        port: 5060,
        scheduler: 'mh',
        schedulerFlags: ['mh-port'],
        onePacket: true,
        persistence: { timeoutSeconds: 60, netmask: 16, engine: 'sip' },
        destinations: [
          { address: '10.1.0.2', port: 5060, forward: 'masquerade', upperThreshold: 100, lowerThreshold: 50 },
          { address: '10.1.0.1', port: 5060, forward: 'tunnel', weight: 0, tunnel: { type: 'gue', port: 6080 } },
          { address: '10.1.0.3', port: 5060, forward: 'local', weight: 3 },
        ],
      },
      {
        firewallMark: 5,
        family: 'ipv6',
        scheduler: 'rr',
        persistence: { timeoutSeconds: 1, netmask: 128 },
        destinations: [],
      },
    ]);
    expect(text).toBe(
      [
        '-A -u 10.0.0.9:5060 -s mh -p 60 -M 255.255.0.0 --pe sip -o -b mh-port',
        '-a -u 10.0.0.9:5060 -r 10.1.0.1:5060 -i -w 0 --tun-type gue --tun-port 6080 --tun-nocsum',
        '-a -u 10.0.0.9:5060 -r 10.1.0.2:5060 -m -w 1 -x 100 -y 50',
        '-a -u 10.0.0.9:5060 -r 10.1.0.3:5060 -g -w 3',
        '-A -f 5 -6 -s rr -p 1',
        '',
      ].join('\n'),
    );
  });

  it('writes nothing that would be read differently', () => {
    const service = { ...web, scheduler: 'rr', destinations: [] };
    const paths = [
      [{ ...service, scheduler: 'rr\n-C' }, 'scheduler'],
      [{ ...service, address: '10.0.0.1 -p' }, 'address'],
      [{ ...service, protocol: 1 }, 'protocol'],
      [{ ...service, schedulerFlags: [0x40] }, 'schedulerFlags'],
      [{ ...service, destinations: [{ address: '10.1.0.1', port: 80, forward: 'bypass' }] }, 'destinations[0].forward'],
    ] as const;
    for (const [bad, path] of paths) {
      const error = errorOf(Error, () => formatRules([service, { ...bad, port: 81 } as unknown as VirtualServer]));
      expect(error).toMatchObject({ attribute: `[1].${path}` });
    }
  });
});
