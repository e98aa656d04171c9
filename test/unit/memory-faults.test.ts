import { afterEach, describe, expect, test } from 'vitest';
import { Conntrack } from '../../src/conntrack/index.ts';
import { Fleet } from '../../src/container/index.ts';
import { Ipvs } from '../../src/ipvs/index.ts';
import { Links } from '../../src/rtnetlink/index.ts';
import { MemoryKernel, tcp, udp } from '../../src/testing/index.ts';

/* What a user of the library sees when the kernel refuses, and when it loses what it has to say. */

const SERVICE = { protocol: 'tcp', address: '10.10.0.100', port: 80, scheduler: 'rr' } as const;
let kernel: MemoryKernel;
afterEach(() => kernel.close());

function container(name = 'web') {
  kernel ??= MemoryKernel.create();
  return kernel.container(name, { links: [{ name: 'eth0', addresses: ['192.168.0.50/24'] }] });
}
const freshContainer = () => {
  kernel = MemoryKernel.create();
  return container();
};

describe('a request that is refused', () => {
  test.each(['sync', 'async'])('may be a socket option of IPVS, by its name and by the operation: %s', async form => {
    const web = freshContainer();
    using ipvs = Ipvs.open({ netns: web.netns, via: 'sockopt' });
    const add = async () => (form === 'sync' ? ipvs.sync.addService(SERVICE) : ipvs.addService(SERVICE));
    const list = async () => (form === 'sync' ? ipvs.sync.services() : ipvs.services());
    kernel.fail({ syscall: 'IP_VS_SO_SET_ADD', errno: 'ENOMEM' });
    await expect(add()).rejects.toMatchObject({ code: 'ENOMEM', syscall: 'IP_VS_SO_SET_ADD' });
    kernel.fail({ operation: 'ipvs.addService', errno: 'EPERM' });
    await expect(add()).rejects.toMatchObject({ code: 'EPERM', operation: 'ipvs.addService' });
    await add();
    // What is set and what is read have the same numbers.
    kernel.fail({ syscall: 'IP_VS_SO_GET_SERVICES', errno: 'EPERM' });
    await ipvs.editService(SERVICE, { scheduler: 'lc' });
    await expect(list()).rejects.toMatchObject({ code: 'EPERM', syscall: 'IP_VS_SO_GET_SERVICES' });
    expect(await list()).toHaveLength(1);
  });

  test('by the name of the operation is a NetlinkError with the errno, once, and changes nothing', async () => {
    const web = freshContainer();
    kernel.fail({ operation: 'ipvs.addService', errno: 'ENOMEM' });
    await expect(web.ipvs.addService(SERVICE)).rejects.toMatchObject({
      name: 'NetlinkError',
      code: 'ENOMEM',
      errno: -12,
      operation: 'ipvs.addService',
      syscall: 'IPVS_CMD_NEW_SERVICE',
      subject: SERVICE,
    });
    expect(await web.ipvs.save()).toBe('');
    await web.ipvs.addService(SERVICE);
    expect(await web.ipvs.save()).toBe('-A -t 10.10.0.100:80 -s rr\n');
  });

  test("by the kernel's name of it is one message of a transaction, and nothing of that is done", async () => {
    const web = freshContainer();
    kernel.fail({ syscall: 'NFT_MSG_NEWRULE', errno: 'EPERM', times: 2 });
    const text = 'table ip t {\n chain c {\n accept\n }\n }\n';
    await expect(web.nftables.apply(text)).rejects.toMatchObject({ code: 'EPERM' });
    const redirect = { protocol: 'tcp', address: '10.10.0.100', port: 80, toPort: 8080 } as const;
    const refused = await web.redirects.set([redirect]).catch((error: unknown) => error);
    expect(refused).toMatchObject({ code: 'EPERM', outcome: 'none', failures: [{ syscall: 'NFT_MSG_NEWRULE' }] });
    expect(await web.nftables.tables()).toEqual([]);
    await web.nftables.apply(text);
  });

  test('in one container of a fleet leaves the others programmed, and the result names it', async () => {
    const one = freshContainer();
    const other = container('other');
    kernel.fail({ syscall: 'NFT_MSG_NEWTABLE', errno: 'ENFILE', container: other });
    await using fleet = Fleet.open();
    const { programmed, failed } = await fleet.apply([one, other], { logging: [{ group: 5 }] });
    expect(programmed).toEqual([one]);
    expect([...failed.keys()]).toEqual([other]);
    expect(await one.logging.list()).toHaveLength(1);
  });

  test('may be a link or a connection as well, and a system call', async () => {
    const web = freshContainer();
    await using links = Links.open({ netns: web.netns });
    await using ct = Conntrack.open({ netns: web.netns });
    kernel.fail({ syscall: 'RTM_NEWLINK', errno: 'EPERM' });
    await expect(links.createDummy({ name: 'dummy0' })).rejects.toMatchObject({
      code: 'EPERM',
      syscall: 'RTM_NEWLINK',
    });
    kernel.fail({ syscall: 'IPCTNL_MSG_CT_GET', errno: 12 });
    await expect(ct.list()).rejects.toMatchObject({ code: 'ENOMEM' });
    kernel.fail({ syscall: 'recvmsg', errno: 'ENOMEM' });
    await expect(links.list()).rejects.toMatchObject({ code: 'ENOMEM' });
    kernel.fail({ syscall: 'socket', errno: 'EMFILE' });
    expect(() => web.nftables).toThrow(expect.objectContaining({ code: 'EMFILE', syscall: 'socket' }));
  });

  test('is asked for with ERR_OUT_OF_RANGE or ERR_INVALID_ARG_TYPE where there is no such thing', () => {
    freshContainer();
    const range = expect.objectContaining({ code: 'ERR_OUT_OF_RANGE' });
    const type = expect.objectContaining({ code: 'ERR_INVALID_ARG_TYPE' });
    expect(() => kernel.fail({ syscall: 'NFT_MSG_NONE', errno: 'EPERM' })).toThrow(range);
    expect(() => kernel.fail({ errno: 'ENOTHING' })).toThrow(type);
    expect(() => kernel.fail({ errno: 'EPERM', times: 0 })).toThrow(range);
    expect(() => kernel.fail({ errno: 'EPERM', operation: 'addService' })).toThrow(type);
    expect(() => kernel.lose({ what: 'all' as 'log' })).toThrow(range);
    expect(() => kernel.lose({ what: 'dump', syscall: 'sendto' })).toThrow(range);
  });
});

describe('what is lost', () => {
  test('of an answer rejects with ERR_REPLIES_LOST: the request may have been carried out, and was', async () => {
    const web = freshContainer();
    kernel.lose({ what: 'answer', operation: 'ipvs.addService' });
    await expect(web.ipvs.addService(SERVICE)).rejects.toMatchObject({ code: 'ERR_REPLIES_LOST' });
    expect(await web.ipvs.save()).toBe('-A -t 10.10.0.100:80 -s rr\n');
  });

  test('of packet logs is counted: numbers of packets are missing, and the reader tells of the loss', async () => {
    const web = freshContainer();
    await web.logging.set([{ group: 5 }]);
    const log = web.nflog({ groups: [5], queue: { packets: 1 } });
    const losses: unknown[] = [];
    log.onLoss(loss => losses.push(loss));
    const packets = log[Symbol.asyncIterator]();
    const next = () => packets.next();
    const logged = (port: number) =>
      web.receive(udp({ from: `192.168.0.1:${port}`, to: '192.168.0.50:53' }), { on: 'eth0' });
    const first = next();
    logged(1);
    expect((await first).value.sequence).toBe(0);
    kernel.lose({ what: 'log', times: 2 });
    for (const port of [2, 3, 4]) logged(port);
    expect((await next()).value.sequence).toBe(3);
    expect(log.stats.lostPackets).toBe(2);
    expect(losses).not.toEqual([]);
  });

  test('of events tells the monitor that it has to read everything anew', async () => {
    const web = freshContainer();
    const monitor = web.nftables.monitor()[Symbol.asyncIterator]();
    const first = monitor.next();
    kernel.lose({ what: 'event' });
    await web.nftables.apply('add table ip t');
    expect((await first).value).toMatchObject({ type: 'state', ruleset: { tables: [{ name: 't' }] } });
    await monitor.return?.(undefined);
  });

  test('of the agreement of a list is made up for: a dump that was interrupted is read again', async () => {
    const web = freshContainer();
    await web.nftables.apply('table ip t {\n chain c {\n accept\n }\n }\n');
    kernel.lose({ what: 'dump', syscall: 'NFT_MSG_GETRULE' });
    const { rules } = await web.nftables.ruleset();
    expect(rules).toHaveLength(1);
  });

  test.each(['TABLE', 'CHAIN', 'RULE', 'SET', 'OBJ', 'FLOWTABLE'])(
    'of the agreement of a list ends with ERR_DUMP_INTERRUPTED after as many attempts as were asked for: NFT_MSG_GET%s',
    async kind => {
      const web = freshContainer();
      await web.nftables.apply(
        'table ip t {\n chain c {\n accept\n }\n set s {\n type ipv4_addr\n elements = { 10.0.0.1 }\n }\n' +
          ' counter n {\n }\n flowtable f {\n hook ingress priority 0\n devices = { eth0 }\n }\n}\n',
      );
      kernel.lose({ what: 'dump', syscall: `NFT_MSG_GET${kind}`, times: Infinity });
      await expect(web.nftables.ruleset({ attempts: 7 })).rejects.toMatchObject({
        code: 'ERR_DUMP_INTERRUPTED',
        message: expect.stringContaining(' 7 times in a row '),
      });
    },
  );
});

test('a receive buffer that is too small loses packet logs by itself, as that of a real socket does', async () => {
  const web = freshContainer();
  await web.logging.set([{ group: 5 }]);
  const log = web.nflog({ groups: [5], queue: { packets: 1 }, receiveBufferBytes: 4096 });
  const packets = log[Symbol.asyncIterator]();
  const first = packets.next();
  for (let port = 1; port <= 100; port++)
    web.receive(tcp({ from: `192.168.0.1:${port}`, to: '192.168.0.50:80' }), { on: 'eth0' });
  await first;
  expect(log.stats.lostDatagrams).toBeGreaterThan(50);
});
