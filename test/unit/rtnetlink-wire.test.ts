import { describe, expect, test } from 'vitest';
import { NetlinkError } from '../../src/errors.ts';
import * as C from '../../src/linux/rtnetlink.ts';
import { Exchange, type Transport } from '../../src/netlink/index.ts';
import { Links } from '../../src/rtnetlink/index.ts';
import { ACK, CannedTransport, hex, LO } from '../support/canned-transport.ts';

const DONE: [number, number, Uint8Array] = [3, 2, new Uint8Array(4)];
const PORT = hex(
  '00 00 0100 05000000 03100100 00000000' + // ether, 5, up broadcast multicast lower-up
    '0a00 0300 6574 683a 1b00 0000' + // a name with an escape in it
    '0800 0a00 01000000' + // master 1
    '0800 0500 01000000 0800 2500 00000000' + // link 1 in namespace 0
    '1600 1280 0900 0100 76657468 00 000000 0600 6300 abcd', // IFLA_LINKINFO, its kind, an attribute of the future
);

function errorMessage(errno: number, text: string, offset: number): [number, number, Uint8Array] {
  const payload = new Uint8Array(4 + 16 + 8 + 4 + 4 + ((text.length + 4) & ~3));
  const view = new DataView(payload.buffer);
  view.setInt32(0, errno, true);
  view.setUint16(20, 8, true);
  view.setUint16(22, 2, true);
  view.setUint32(24, offset, true);
  view.setUint16(28, 5 + text.length, true);
  view.setUint16(30, 1, true);
  payload.set(new TextEncoder().encode(text), 32);
  return [2, 0x300, payload.subarray(0, 28 + ((5 + text.length + 3) & ~3))];
}

describe('links over a kernel in memory', () => {
  const open = (wire: Transport) => new Links(new Exchange(wire, 'rtnetlink'));

  test('are listed by a dump with zeros in its header, with names, masters and unknown attributes', async () => {
    const wire = new CannedTransport(() => [[16, 2, LO], [16, 2, PORT], DONE]);
    const links = open(wire);
    const [lo, port] = await links.list();
    expect(lo).toEqual({
      index: 1,
      name: 'lo',
      type: 'loopback',
      up: true,
      flags: ['up', 'loopback', 'running', 'lower-up'],
      multicast: false,
      mtu: 65536,
      address: '00:00:00:00:00:00',
    });
    expect(port).toEqual({
      index: 5,
      name: 'eth:\u001b',
      kind: 'veth',
      type: 'ether',
      up: true,
      flags: ['up', 'broadcast', 'multicast', 'lower-up'],
      master: 'lo',
      link: 1,
      linkNetnsId: 0,
      unknown: [{ type: 99, bytes: 'abcd', in: 'IFLA_INFO' }],
    });
    const request = wire.requests[0]!;
    expect([request.length, request[4], request[6], request[7]]).toEqual([32, 18, 0x01, 0x03]);
    expect(request.subarray(16).every(byte => byte === 0)).toBe(true);
    expect(links.sync.list()).toEqual([lo, port]);
  });

  test('are read by name, and asked for the name of the master', async () => {
    const wire = new CannedTransport(request => [[16, 0, request[20] === 1 ? LO : PORT], ACK]);
    expect(await open(wire).get('eth0')).toMatchObject({ index: 5, master: 'lo', link: 1 });
    expect(wire.requests).toHaveLength(2);
    expect(Buffer.from(wire.requests[0]!.subarray(32)).toString('hex')).toBe('090003006574683000000000');
  });

  test('report a refusal at its path in the object of the caller', async () => {
    // The attribute that stands in a nest in a nest behind a header: where it begins is found in the request itself.
    const wire = new CannedTransport(request => {
      const offset = Buffer.from(request).indexOf(hex('0800 0400 28230000'));
      return [errorMessage(-34, 'mtu \u001b[31mtoo large', offset)];
    });
    const options = { name: 'a', peer: { name: 'b', mtu: 9000 } };
    const error = await open(wire)
      .createVeth(options)
      .catch(caught => caught);
    expect(error).toBeInstanceOf(NetlinkError);
    expect(error).toMatchObject({
      code: 'ERANGE',
      errno: -34,
      syscall: 'RTM_NEWLINK',
      operation: 'rtnetlink.createVeth',
      path: ['peer', 'mtu'],
      attribute: 'peer.mtu',
    });
    expect(error.subject).toBe(options);
    expect(error.message).not.toContain('\u001b');
    expect(() => open(wire).sync.createVeth(options)).toThrow(error.message);
  });

  test.each([
    ['mtu', ['mtu'], { name: 'a', mtu: 9000 }, '0800 0400 28230000'],
    ['a setting of a bridge', ['bridge', 'priority'], { name: 'a', bridge: { priority: 4096 } }, '0600 0600 0010'],
    ['a kind', [], { name: 'a' }, '0b00 0100 627269646765'],
  ])('report the path to %s', async (_what, path, options, bytes) => {
    const wire = new CannedTransport(request => [errorMessage(-34, 'no', Buffer.from(request).indexOf(hex(bytes)))]);
    await expect(open(wire).createBridge(options)).rejects.toMatchObject({ path });
  });

  test.each<[string, number, readonly string[], (links: Links) => unknown]>([
    ['the first attribute', 32, ['name'], links => links.sync.createDummy({ name: 'a', mtu: 5000 })],
    ['the second attribute', 40, ['mtu'], links => links.sync.createDummy({ name: 'a', mtu: 5000 })],
    ['the header', 20, [], links => links.sync.createDummy({ name: 'a' })],
    ['the header, where one setting was given', 20, ['mtu'], links => links.sync.createDummy({ name: 'a', mtu: 5000 })],
    ['an address', 24, ['address'], links => links.sync.addAddress('a', '10.0.0.1/24')],
  ])('report the path of %s at its offset', (_, offset, path, call) => {
    const wire = new CannedTransport(request =>
      request[4] === C.RTM_GETLINK ? [[16, 0, PORT], ACK] : [errorMessage(-34, 'no', offset)],
    );
    expect(() => call(open(wire))).toThrow(expect.objectContaining({ code: 'ERANGE', path }));
  });

  test('report a missing device in the message, escaped, with the path', async () => {
    const wire = new CannedTransport(() => [[2, 0x100, hex('edffffff 00000000000000000000000000000000')]]);
    const links = open(wire);
    const missing = await links.get('a\u001b').catch(caught => caught);
    expect(missing).toMatchObject({ code: 'ENODEV', path: ['name'], subject: { name: 'a\u001b' } });
    expect(missing.message).toContain("'a\\x1b'");
    await expect(links.set('a', { master: 'br0' })).rejects.toMatchObject({ code: 'ENODEV', path: ['master'] });
    await expect(links.addRoute({ to: 'default', device: 'a' })).rejects.toMatchObject({ path: ['device'] });
    await expect(links.addAddress('a', '10.0.0.1/24')).rejects.toMatchObject({ path: ['name'] });
  });

  test('reject wrong input with ERR_UNKNOWN_FIELD before anything is sent', async () => {
    const wire = new CannedTransport(() => [ACK]);
    const links = open(wire);
    await expect(links.get('a/b')).rejects.toMatchObject({ path: ['name'] });
    await expect(links.list({ device: 'a' } as never)).rejects.toMatchObject({ code: 'ERR_UNKNOWN_FIELD' });
    await expect(links.routes({ table: 'x' as never })).rejects.toMatchObject({ path: ['table'] });
    await expect(links.routes({ family: 'ipx' as never })).rejects.toMatchObject({ path: ['family'] });
    await expect(links.neighbours({ device: '' })).rejects.toMatchObject({ path: ['device'] });
    await expect(
      links.addNeighbour({ device: 'a', address: 'x', hardwareAddress: '02:00:00:00:00:01' }),
    ).rejects.toMatchObject({ path: ['address'] });
    await expect(links.addNeighbour({ device: 'a', address: '10.0.0.1' } as never)).rejects.toMatchObject({
      path: ['hardwareAddress'],
    });
    await expect(
      links.addNeighbour({
        device: 'a',
        address: '10.0.0.1',
        hardwareAddress: '02:00:00:00:00:01',
        state: 'x' as never,
      }),
    ).rejects.toMatchObject({ path: ['state'] });
    expect(wire.requests).toHaveLength(0);
    expect(() => Links.open({ netns: undefined } as never)).toThrow(TypeError);
    expect(() => Links.open({ nets: 1 } as never)).toThrow('nets: expected no such field');
  });

  test('have for a macvlan the index of the lower device, and the mode', async () => {
    // What was created is read back: the kernel of this test gives what it was given.
    let made = PORT;
    const wire = new CannedTransport(request => {
      if (request[4] === 16) made = request.slice(16);
      return request[4] === 18 ? [[16, 0, made], ACK] : [ACK];
    });
    await open(wire).createMacvlan({ name: 'm0', link: 'eth0', mode: 'private' });
    const sent = Buffer.from(wire.requests[1]!).toString('hex');
    expect(sent).toContain('0800050005000000');
    expect(sent).toContain('0800010001000000');
    expect(wire.requests[1]![4]).toBe(C.RTM_NEWLINK);
  });

  test('have neighbours, which are written and read with the layout of the kernel', async () => {
    // ndmsg: IPv6, device 1, permanent; NDA_DST, NDA_LLADDR, NDA_PROBES, NDA_PROTOCOL.
    const neighbour = hex(
      '0a 00 0000 01000000 8000 00 00 1400 0100 fe800000000000000000000000000001' +
        '0a00 0200 020000000001 0000 0800 0400 03000000 0500 0c00 02 000000',
    );
    const wire = new CannedTransport(({ 4: type }) =>
      type === C.RTM_GETLINK
        ? [[C.RTM_NEWLINK, 0, LO], ACK]
        : type === C.RTM_GETNEIGH
          ? [[C.RTM_NEWNEIGH, 2, neighbour], DONE]
          : [ACK],
    );
    const key = { device: 'lo', address: 'fe80::1' };
    const hardwareAddress = '02:00:00:00:00:01';
    expect(await open(wire).neighbours()).toEqual([
      { ...key, family: 'ipv6', hardwareAddress, state: 'permanent', flags: [], probes: 3, protocol: 2 },
    ]);
    await open(wire).addNeighbour({ ...key, hardwareAddress });
    expect(Buffer.from(wire.requests.at(-1)!.subarray(16)).toString('hex')).toBe(
      Buffer.from(neighbour.subarray(0, 44)).toString('hex'),
    );
  });

  test('go down before the other changes, in a message of its own', async () => {
    const wire = new CannedTransport(request => (request[4] === 18 ? [[16, 0, PORT], ACK] : [ACK]));
    const links = open(wire);
    await links.set('eth0', { up: false, newName: 'eth1' });
    await links.set('eth0', { up: true, newName: 'eth1' });
    const set = wire.requests.filter(request => request[4] === C.RTM_SETLINK).map(bytes => [...bytes.subarray(24, 32)]);
    expect(set).toEqual([
      [0, 0, 0, 0, 1, 0, 0, 0],
      [0, 0, 0, 0, 0, 0, 0, 0],
      [1, 0, 0, 0, 1, 0, 0, 0],
    ]);
  });
});
