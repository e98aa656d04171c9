import { describe, expect, test } from 'vitest';
import { attributes, type Infer, opt, u16be, u32ne } from '../../src/codec/index.ts';
import { RTM_GETLINK, RTM_NEWLINK } from '../../src/linux/rtnetlink.ts';
import { Exchange } from '../../src/netlink/index.ts';
import { Links, type NewLink } from '../../src/rtnetlink/index.ts';
import { LinkKind } from '../../src/rtnetlink/links/kind.ts';
import { KINDS } from '../../src/rtnetlink/links/kinds.ts';
import { LinkKinds } from '../../src/rtnetlink/links/link.ts';
import { LinksOperations } from '../../src/rtnetlink/rtnetlink.ts';
import { ACK, CannedTransport } from '../support/canned-transport.ts';

/* A kind that the library does not have: this is all there is to write for one. */
const TUNNEL = attributes('IFLA_TUNNEL', {
  id: opt(u32ne(1)),
  udpPort: opt(u16be(2)),
  packets: opt(u32ne(3)),
});
interface NewTunnel extends NewLink {
  link: string;
  id: number;
  udpPort?: number;
}
const tunnel = new LinkKind<'tunnel', NewTunnel, Infer<typeof TUNNEL>>({
  name: 'tunnel',
  data: TUNNEL,
  readOnly: ['packets'],
  required: ['id'],
  defaults: { udpPort: 4789 },
  link: 'required',
});

/** A kernel that keeps the last link that was created, and gives back what it was told. */
function rememberingKernel() {
  const kinds = new LinkKinds([...KINDS, tunnel]);
  let link = new Uint8Array();
  const transport = new CannedTransport(request => {
    const type = request[4];
    const payload = request.slice(16);
    if (type === RTM_NEWLINK) link = payload;
    return type === RTM_GETLINK && link.length > 0 ? [[RTM_NEWLINK, 0, link], ACK] : [ACK];
  });
  const exchange = new Exchange(transport, 'rtnetlink');
  return { transport, kinds, links: new Links(exchange, new LinksOperations(exchange, kinds)) };
}

describe('a kind of link that is registered', () => {
  test('is created, and read back as it was given', async () => {
    const { links, transport } = rememberingKernel();
    // The device below: its index is asked for.
    await links.createDummy({ name: 'eth0' });
    await links.create({ kind: 'tunnel', name: 't0', link: 'eth0', id: 7, mtu: 1400 } as never);
    expect(transport.requests.filter(request => request[4] === RTM_NEWLINK)).toHaveLength(2);
    expect(await links.get('t0')).toMatchObject({ kind: 'tunnel', mtu: 1400, tunnel: { id: 7, udpPort: 4789 } });
    expect(await links.get('t0')).not.toHaveProperty('kindData');
  });

  test.each([
    [{ link: 'eth0' }, 'id', 'ERR_MISSING'],
    [{ id: 7 }, 'link', 'ERR_INVALID_ARG_TYPE'],
    [{ link: 'eth0', id: -1 }, 'id', 'ERR_OUT_OF_RANGE'],
    [{ link: 'eth0', id: 7, udpPort: 'x' }, 'udpPort', 'ERR_INVALID_ARG_TYPE'],
    [{ link: 'eth0', id: 7, packets: 5 }, 'packets', 'ERR_UNKNOWN_FIELD'],
    [{ link: 'eth0', id: 7, colour: 5 }, 'colour', 'ERR_UNKNOWN_FIELD'],
  ])('rejects %j at %s with %s', async (fields, attribute, code) => {
    const { links, transport } = rememberingKernel();
    await expect(links.create({ kind: 'tunnel', name: 't0', ...fields } as never)).rejects.toMatchObject({
      attribute,
      code,
    });
    expect(transport.requests).toEqual([]);
  });

  test('has its fields in the paths of errors, and its name in hints', () => {
    const { kinds } = rememberingKernel();
    expect(kinds.fieldOf(['info', 'tunnel', 'id'])).toEqual(['id']);
    expect(kinds.fieldOf(['info', 'kind'])).toEqual([]);
    const refusals = kinds.refusals('tunnel', { name: 't0', link: 'eth0', id: 7 } as NewLink);
    expect(refusals.hints.EOPNOTSUPP).toContain('load the module tunnel');
    // The driver may mean either of two.
    expect(refusals.hints.EINVAL).toContain(': one of id, link');
    expect(refusals.blame.EINVAL).toBeUndefined();
    expect(kinds.refusals('tunnel', { name: 't0', link: 'eth0' } as NewLink).blame.EINVAL).toEqual(['link']);
  });

  test('is listed in the error about an unknown kind', async () => {
    const { links } = rememberingKernel();
    await expect(links.create({ kind: 'carrier-pigeon', name: 'p0' } as never)).rejects.toMatchObject({
      path: ['kind'],
      message: expect.stringMatching(/bridge, .*veth, .*tunnel/),
    });
    await expect(links.create(undefined as never)).rejects.toBeInstanceOf(TypeError);
  });
});

test.each([
  ['vlan', { link: 'eth0', id: 4095 }, 'id', 'ERR_OUT_OF_RANGE'],
  ['vlan', { link: 'eth0' }, 'id', 'ERR_MISSING'],
  ['vlan', { id: 5 }, 'link', 'ERR_INVALID_ARG_TYPE'],
  ['vlan', { link: 'eth0', id: 5, flags: 1 }, 'flags', 'ERR_INVALID_ARG_TYPE'],
  ['vlan', { link: 'eth0', id: 5, statistics: {} }, 'statistics', 'ERR_UNKNOWN_FIELD'],
  ['ipvlan', { link: 'eth0', mode: 'l4' }, 'mode', 'ERR_INVALID_ARG_TYPE'],
  ['ipvlan', { link: 'eth0', flags: ['loud'] }, 'flags[0]', 'ERR_INVALID_ARG_TYPE'],
  ['vrf', {}, 'table', 'ERR_MISSING'],
  ['ifb', { link: 'eth0' }, 'link', 'ERR_UNKNOWN_FIELD'],
])('%s rejects %j at %s with %s', async (kind, fields, attribute, code) => {
  const { links, transport } = rememberingKernel();
  await expect(links.create({ kind, name: 'a', ...fields } as never)).rejects.toMatchObject({ attribute, code });
  expect(transport.requests).toEqual([]);
});
