import fc from 'fast-check';
import { expect, test } from 'vitest';
import { toHex } from '../../src/codec/index.ts';
import type { IpvsOperation } from '../../src/ipvs/index.ts';
import { Batch } from '../../src/ipvs/operation.ts';
import { virtualServers } from '../support/ipvs-arbitrary.ts';

/* A batch of many copies templates for its plain requests, one of a few has the tables write all of them: the bytes are to be the same, and so are the errors. */

const MANY = 16;

const web = { protocol: 'tcp', address: '10.0.0.1', port: 80, scheduler: 'wlc' } as const;
const server = { address: '10.1.0.1', port: 80, forward: 'direct', weight: 3 } as const;
const filler: IpvsOperation[] = Array.from({ length: MANY }, () => ({ op: 'flush' }));

/** The messages of one operation, as hex: alone, and among many. */
function bothWays(operation: IpvsOperation): [alone: unknown, among: unknown] {
  const written = (operations: readonly IpvsOperation[]) => {
    try {
      const { messages } = Batch.of(operations);
      const end = messages.length - (operations.length - 1);
      return toHex(messages.bytes(0, end));
    } catch (error) {
      const { name, message, path, code } = error as Error & { path: unknown; code: unknown };
      return { name, message, path, code };
    }
  };
  return [written([operation]), written([operation, ...filler])];
}

function expectSame(operation: unknown): void {
  const [alone, among] = bothWays(operation as IpvsOperation);
  expect(among).toEqual(alone);
}

test('the fast encoder writes the bytes of the table for valid values', () => {
  fc.assert(
    fc.property(virtualServers, servers => {
      for (const server of servers) {
        const { destinations, ...service } = server;
        expectSame({ op: 'addService', service });
        expectSame({ op: 'addService', service: server });
        expectSame({ op: 'setService', service });
        for (const destination of destinations) {
          expectSame({ op: 'addDestination', key: service, destination });
          expectSame({ op: 'setDestination', key: server, destination });
          const destinationKey = { address: destination.address, port: destination.port };
          expectSame({ op: 'removeDestination', key: service, destinationKey });
        }
      }
    }),
  );
});

test('the fast encoder writes the bytes of the table for a batch of mixed services and IP versions', () => {
  fc.assert(
    fc.property(virtualServers, servers => {
      const operations = servers.flatMap(({ destinations, ...service }): IpvsOperation[] => [
        { op: 'addService', service },
        ...destinations.map((destination): IpvsOperation => ({ op: 'addDestination', key: service, destination })),
      ]);
      const { messages } = Batch.of([...operations, ...filler]);
      const among = toHex(messages.bytes(0, operations.length));
      const alone = operations.map(operation => toHex(Batch.of([operation]).messages.bytes(0, 1)));
      expect(among).toBe(alone.join(''));
    }),
  );
});

const odd = fc.oneof(
  fc.constantFrom(undefined, null, '', 'x', '80', '10.0.0.1', '010.0.0.1', '2001:db8::1', 'fe80::1%eth0', true, {}, []),
  fc.constantFrom(0, -0, 1, -1, 1.5, 80, 65535, 65536, 2 ** 31 - 1, 2 ** 31, 2 ** 32, Number.NaN, 80n, Symbol('x')),
  fc.constantFrom('rr', 'rr6', 'RR', 'masquerade', 'tunnel', 'constructor', 'udp', 6),
);

test('the fast encoder rejects invalid values with the words of the table', () => {
  const serviceFields = [...Object.keys(web), 'firewallMark', 'persistence', 'schedulerFlags', 'onePacket', 'typo'];
  const serverFields = [...Object.keys(server), 'upperThreshold', 'lowerThreshold', 'tunnel', 'stats', 'typo'];
  fc.assert(
    fc.property(fc.constantFrom(...serviceFields), odd, (field, value) => {
      expectSame({ op: 'addService', service: { ...web, [field]: value } });
      expectSame({ op: 'addDestination', key: { ...web, [field]: value }, destination: server });
      expectSame({ op: 'removeDestination', key: { ...web, [field]: value }, destinationKey: server });
    }),
    { numRuns: 400 },
  );
  fc.assert(
    fc.property(fc.constantFrom(...serverFields), odd, (field, value) => {
      expectSame({ op: 'addDestination', key: web, destination: { ...server, [field]: value } });
      expectSame({ op: 'setDestination', key: web, destination: { ...server, upperThreshold: 2, [field]: value } });
      const { address, port } = server;
      expectSame({ op: 'removeDestination', key: web, destinationKey: { address, port, [field]: value } });
    }),
    { numRuns: 400 },
  );
  fc.assert(
    fc.property(fc.constantFrom('op', 'service', 'key', 'destination', 'typo'), odd, (field, value) => {
      expectSame({ op: 'addService', service: web, [field]: value });
      expectSame({ op: 'addDestination', key: web, destination: server, [field]: value });
    }),
  );
});

test('the operation is read back from its messages', () => {
  fc.assert(
    fc.property(virtualServers, servers => {
      const operations = servers.flatMap(({ destinations, ...service }): IpvsOperation[] => [
        { op: 'setService', service },
        ...destinations.map((destination): IpvsOperation => ({ op: 'setDestination', key: service, destination })),
      ]);
      const batch = Batch.of([...operations, ...filler]);
      for (const [index, operation] of operations.entries()) {
        const alone = Batch.of([operation]).checked(0);
        const { service, destination, serviceId, destinationId, commands } = batch.checked(index);
        expect({ service, destination, serviceId, destinationId }).toEqual({
          service: alone.service,
          destination: alone.destination,
          serviceId: alone.serviceId,
          destinationId: alone.destinationId,
        });
        for (const [i, { syscall, subject }] of commands.entries()) {
          const message = batch.firstMessage(index) + i;
          expect(batch.operationOf(message)).toBe(index);
          expect(batch.command(message)).toMatchObject({ syscall, subject });
        }
      }
    }),
  );
});
