import fc from 'fast-check';
import type { WireDestination, WireService } from '../../src/ip_vs/attributes.ts';
import { destinationId, serviceId } from '../../src/ip_vs/wire.ts';

/* Services and servers as any writer of netlink can make them: all that the kernel takes, what works and what does not. */

const hex = (value: number, digits: number) => (value >>> 0).toString(16).padStart(digits, '0');
const u32 = fc.oneof(
  fc.integer({ min: 0, max: 0xffffffff }),
  fc.constantFrom(0, 1, 0x7fffffff, 0x80000000, 0xffffffff),
);
const u16 = fc.oneof(fc.integer({ min: 0, max: 65535 }), fc.constantFrom(0, 80, 443));
/** In host order, as the field of IPv6 has it. */
const prefix = (bits: number) => `${hex(bits, 2)}000000`;

const address4 = fc
  .oneof(
    fc.constantFrom('00000000', 'e0000001', 'ffffffff', '0a000001', '0a000002'),
    fc.integer({ min: 1, max: 0xffffffff }).map(n => hex(n, 8)),
  )
  .map(text => text.padEnd(32, '0'));
const address6 = fc.constantFrom(
  '0'.repeat(32),
  `${'ff02'.padEnd(31, '0')}1`,
  `${'20010db8'.padEnd(31, '0')}1`,
  `${'20010db8'.padEnd(31, '0')}2`,
);
/** Of servers: what the kernel takes, which is neither 0.0.0.0/8 nor multicast. */
const server4 = fc.integer({ min: 0x01000000, max: 0xdfffffff }).map(n => hex(n, 8).padEnd(32, '0'));
const server6 = fc.integer({ min: 1, max: 0xffff }).map(n => `${'20010db8'.padEnd(28, '0')}${hex(n, 4)}`);

const flags = fc
  .oneof(u32, fc.constantFrom(0, 1, 4, 5, 0x9, 0x38, 0x40, 0x80000001))
  .map(bits => ({ flags: (bits & ~2) >>> 0, mask: 0xffffffff }));

export const oddService: fc.Arbitrary<WireService> = fc
  .record({
    ipv6: fc.boolean(),
    mark: fc.option(fc.integer({ min: 1, max: 0xffffffff }), { nil: undefined }),
    protocol: fc.oneof(fc.constantFrom(6, 17, 132, 0, 1, 47, 65535), fc.integer({ min: 0, max: 65535 })),
    v4: address4,
    v6: address6,
    port: u16,
    scheduler: fc.constantFrom('rr', 'wlc', 'sh', 'mh', 'none', 'custom', 'my-own_2'),
    flags,
    timeout: u32,
    mask4: u32.map(n => hex(n, 8)),
    prefix6: fc.integer({ min: 1, max: 128 }).map(prefix),
    engine: fc.option(fc.constant('sip'), { nil: undefined }),
  })
  .map(({ ipv6, mark, protocol, v4, v6, port, mask4, prefix6, engine, ...rest }) => ({
    family: ipv6 ? 10 : 2,
    ...(mark === undefined ? { protocol, address: ipv6 ? v6 : v4, port } : { firewallMark: mark }),
    ...rest,
    netmask: ipv6 ? prefix6 : mask4,
    ...(engine !== undefined && { engine }),
  }));

const oddServer = ({ family }: WireService): fc.Arbitrary<WireDestination> =>
  fc
    .record({
      forward: fc.integer({ min: 0, max: 7 }),
      other: fc.boolean(),
      v4: server4,
      v6: server6,
      port: u16,
      weight: fc.constantFrom(0, 1, 70000, 0x7fffffff),
      thresholds: fc.oneof(fc.constant([0, 0]), fc.tuple(u32, u32)),
      tunnelType: fc.constantFrom(0, 1, 2, 7, 255),
      tunnelPort: u16,
      tunnelFlags: fc.constantFrom(0, 1, 2, 3, 65535),
    })
    .map(({ other, v4, v6, thresholds: [a = 0, b = 0], ...rest }) => {
      const own = rest.forward === 2 && other ? 12 - family : family;
      const limits = { upperThreshold: Math.max(a, b), lowerThreshold: Math.min(a, b) };
      return { address: own === 10 ? v6 : v4, family: own, ...limits, ...rest };
    });

/** The state of a namespace that any program may have left. */
export const oddTable: fc.Arbitrary<{ service: WireService; destinations: WireDestination[] }[]> = fc.uniqueArray(
  oddService.chain(service =>
    fc
      .uniqueArray(oddServer(service), { maxLength: 4, selector: each => destinationId(each, service.family) })
      .map(destinations => ({ service, destinations })),
  ),
  { maxLength: 5, selector: ({ service }) => serviceId(service) },
);
