import { type NetNs, UnsupportedError } from 'netsteer';
import { Ipvs, type IpvsOperation } from 'netsteer/ipvs';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { NETLINK_GENERIC } from '../../src/linux/netlink.ts';
import { SO_RCVBUF, SOL_SOCKET } from '../../src/linux/socket.ts';
import { Exchange, NetlinkSocket } from '../../src/netlink/index.ts';
import { freshIpvsNamespaces, ipvsadm, netns, ipvs as witness } from '../support/ipvs-namespace.ts';
import { kernelSuite } from '../support/where.ts';

const release = vi.hoisted(() => ({ text: undefined as string | undefined }));
vi.mock('node:os', async original => {
  const os = await original<typeof import('node:os')>();
  return { default: { ...os, release: () => release.text ?? os.release() } };
});

/** The least that the kernel gives: room for two or three answers, which are charged 768 to 896 bytes each. */
const LEAST = 2304;

/** A real socket whose receive buffer stays as small as can be: this library makes it as large as its answers, wherever it may. */
class NarrowSocket extends NetlinkSocket {
  constructor(netns: NetNs) {
    super({ netns, protocol: NETLINK_GENERIC });
    this.setOption(SOL_SOCKET, SO_RCVBUF, 0);
  }

  /** How often reading said that answers were lost. */
  lost = 0;

  override reserve(bytes: number): number {
    return super.reserve(bytes, 0);
  }

  override receive(into: Uint8Array): number {
    const length = super.receive(into);
    if (length === -105) this.lost++;
    return length;
  }

  get room(): number {
    return this.getOptions(SOL_SOCKET, SO_RCVBUF, 1)[0]!;
  }
}

/** Attributes of a destination that say what tunnel it has: IPVS_DEST_ATTR_TUN_TYPE, _PORT and _FLAGS. */
const TUNNEL = [13, 14, 15];
const DESTINATION = 2;

/**
 * A real socket to a kernel that knows no tunnel attributes: their numbers are changed on the way, there and back, to such as no kernel has yet.
 * This kernel passes over what it does not know, as one before 5.2 passed over these.
 */
class DeafSocket extends NetlinkSocket {
  constructor(netns: NetNs) {
    super({ netns, protocol: NETLINK_GENERIC });
  }

  override send(bytes: Uint8Array, length: number): number {
    const copy = bytes.slice(0, length);
    disguise(copy, length);
    return super.send(copy, length);
  }

  override receive(into: Uint8Array): number {
    const length = super.receive(into);
    if (length > 0) disguise(into, length);
    return length;
  }
}

function disguise(bytes: Uint8Array, length: number): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, length);
  const align = (value: number) => (value + 3) & ~3;
  const attributes = (from: number, to: number, visit: (type: number, at: number, end: number) => void) => {
    for (let at = from; at + 4 <= to; at += align(view.getUint16(at, true))) {
      visit(view.getUint16(at + 2, true) & 0x3fff, at, at + view.getUint16(at, true));
    }
  };
  for (let at = 0; at + 16 <= length; at += align(view.getUint32(at, true))) {
    // Control messages (2 an error, 3 the end of a dump) and the family's look-up have no destinations.
    if (view.getUint16(at + 4, true) <= 0x10) continue;
    attributes(at + 20, at + view.getUint32(at, true), (type, start, end) => {
      if (type !== DESTINATION) return;
      attributes(start + 4, end, (inner, place) => {
        if (TUNNEL.includes(inner)) view.setUint16(place + 2, inner + 1000, true);
      });
    });
  }
}

const web = { protocol: 'tcp', address: '10.0.0.1', port: 80, scheduler: 'wlc' } as const;
const key = { protocol: 'tcp', address: '10.0.0.1', port: 80 } as const;
const server = (last: number, weight = 1) =>
  ({ address: `10.1.0.${last}`, port: 80, forward: 'direct', weight }) as const;
const service = (n: number) => ({ ...web, address: `10.9.0.${n}` });

kernelSuite('IPVS where the kernel reports less than it does', () => {
  freshIpvsNamespaces();
  afterEach(() => {
    release.text = undefined;
  });

  const saved = () => ipvsadm(netns, ['-Sn']);

  describe('replies that were lost (ENOBUFS)', () => {
    let socket: NarrowSocket;
    let ipvs: Ipvs;

    beforeEach(() => {
      socket = new NarrowSocket(netns);
      ipvs = new Ipvs(new Exchange(socket, 'ipvs'));
      expect(socket.room).toBe(LEAST);
    });
    afterEach(async () => {
      await ipvs[Symbol.asyncDispose]();
    });

    it('lead to a known state', async () => {
      witness.sync.batch(b => {
        b.addService(web).addDestination(key, server(1, 7));
        for (let n = 0; n < 100; n++) b.addService(service(n));
      });
      const operations: IpvsOperation[] = [];
      // Refused: they are there, with another scheduler.
      for (let n = 0; n < 100; n++) operations.push({ op: 'addService', service: { ...service(n), scheduler: 'rr' } });
      for (let n = 100; n < 200; n++) operations.push({ op: 'addService', service: service(n) });
      operations.push({ op: 'addDestination', key, destination: server(1) });
      operations.push({ op: 'removeDestination', key, destinationKey: server(9) });
      operations.push({ op: 'addDestination', key: { ...key, port: 81 }, destination: { ...server(1), port: 81 } });
      operations.push({ op: 'editDestination', key, destinationKey: server(1), patch: { weight: 3 } });
      const result = await ipvs.apply(operations, { onError: 'collect' });
      expect(socket.lost).toBeGreaterThan(0);
      expect(result.failures.map(({ index, code }) => [index, code])).toEqual([
        ...Array.from({ length: 100 }, (_, index) => [index, 'EEXIST']),
        [200, 'EEXIST'],
        [201, 'ENOENT'],
        [202, 'ESRCH'],
      ]);
      expect(result).toMatchObject({ outcome: 'partial' });
      expect(result.applied).toEqual([...Array.from({ length: 100 }, (_, n) => 100 + n), 203]);
      // And so it is, by the word of others.
      expect(witness.sync.services()).toHaveLength(201);
      expect(saved()).toContain('-a -t 10.0.0.1:80 -r 10.1.0.1:80 -g -w 3');
      expect(saved()).not.toContain('-s rr');
    });

    it('do not prevent a rollback', () => {
      witness.sync.batch(b => {
        b.addService(web).addDestination(key, server(1, 7));
        for (let n = 0; n < 20; n++) b.addService(service(n));
      });
      const before = saved().split('\n').sort();
      const operations: IpvsOperation[] = [
        { op: 'removeService', key },
        { op: 'addService', service: service(77) },
      ];
      // An addition whose object stands there as it was asked for would count as carried out: nobody can tell.
      for (let n = 0; n < 20; n++) operations.push({ op: 'addService', service: { ...service(n), scheduler: 'rr' } });
      const result = ipvs.sync.apply(operations, { rollback: true, onError: 'collect' });
      expect(socket.lost).toBeGreaterThan(0);
      expect(result).toMatchObject({ outcome: 'none', rolledBack: true, applied: [] });
      expect(result.failures).toHaveLength(20);
      expect(saved().split('\n').sort()).toEqual(before);
    });

    it('do not spoil a list', async () => {
      witness.sync.batch(b => {
        for (let n = 0; n < 200; n++) b.addService(service(n)).addDestination(service(n), server(1));
      });
      const { servers, stable } = await ipvs.snapshot();
      expect({ stable, services: servers.length }).toEqual({ stable: true, services: 200 });
      expect(servers.every(({ destinations }) => destinations.length === 1)).toBe(true);
    });
  });

  it('never lose a reply on a socket of this library, however many replies come', async () => {
    await using ipvs = Ipvs.open({ netns });
    const operations: IpvsOperation[] = Array.from({ length: 3000 }, (_, n) => ({
      op: 'removeService',
      key: { ...key, port: n + 1 },
    }));
    const { failures } = await ipvs.apply(operations, { onError: 'collect' });
    expect(failures).toHaveLength(3000);
    expect(failures.every(({ code, index }, i) => code === 'ESRCH' && index === i)).toBe(true);
  });

  describe('tunnels that the kernel ignores', () => {
    const gue = { address: '10.1.0.5', port: 80, forward: 'tunnel', tunnel: { type: 'gue', port: 6080 } } as const;
    let ipvs: Ipvs;

    beforeEach(() => {
      release.text = '4.19.0-27-amd64';
      ipvs = new Ipvs(new Exchange(new DeafSocket(netns), 'ipvs'));
      ipvs.sync.addService(web);
    });
    afterEach(async () => {
      await ipvs[Symbol.asyncDispose]();
    });

    it('are noticed, and the plain tunnel that the kernel made instead is removed', () => {
      expect(() => ipvs.sync.addDestination(key, gue)).toThrow(UnsupportedError);
      expect(saved()).toBe('-A -t 10.0.0.1:80 -s wlc\n');
      ipvs.sync.addDestination(key, { ...gue, tunnel: { type: 'ipip' } });
      expect(saved()).toContain('--tun-type ipip');
      expect(() => ipvs.sync.setDestination(key, gue)).toThrow('Linux 5.2');
      expect(() => ipvs.sync.editDestination(key, gue, { tunnel: { type: 'gre' } })).toThrow('Linux 5.3');
    });

    it('are reported as failures of a batch', () => {
      const plain = { ...gue, address: '10.1.0.6', tunnel: { type: 'ipip' } } as const;
      const result = ipvs.sync.batch(b => b.addDestination(key, gue).addDestination(key, plain), {
        onError: 'collect',
      });
      expect(result).toMatchObject({ outcome: 'partial', applied: [1] });
      expect(result.failures).toMatchObject([{ index: 0, code: 'EOPNOTSUPP', cause: expect.any(UnsupportedError) }]);
    });

    it('do not exist on kernels that know the type of tunnel', () => {
      // The same look, at the same kernel with its ears open.
      witness.sync.addDestination(key, gue);
      witness.sync.editDestination(key, gue, { tunnel: { type: 'gre', checksum: 'required' } });
      expect(saved()).toContain('--tun-type gre --tun-csum');
    });
  });
});
