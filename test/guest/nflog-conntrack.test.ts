import { execFileSync } from 'node:child_process';
import type { NetNs } from 'netsteer/netns';
import type { Conntrack, ConntrackTuple, Nflog, Packet } from 'netsteer/nflog';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { ForwardLab, MACS } from '../support/forward-lab.ts';
import { ETHERTYPES, icmp, ipv4, ipv6, tcp, udp } from '../support/frames.ts';
import { type FrameSender, bytes as hex, nft, take } from '../support/nflog-lab.ts';
import { kernelSuite } from '../support/where.ts';

/*
 * 10.1.0.1 sends to 10.1.0.2:8080, which is translated to 10.2.0.2:80, from 10.2.0.1. The packets of both sides are sent by hand: nobody needs to
 * be there. What a packet says of its connection is compared with what conntrack(8) lists.
 */
const RULES = `
table inet test {
  chain zones { type filter hook prerouting priority raw; udp dport 700 ct zone set 7; }
  chain prerouting { type nat hook prerouting priority dstnat; ip daddr 10.1.0.2 tcp dport 8080 dnat ip to 10.2.0.2:80; }
  chain postrouting { type nat hook postrouting priority srcnat; oifname "i1" tcp dport 80 masquerade; }
  chain forward {
    type filter hook forward priority 0;
    tcp dport 80 ct mark set 0x2a;
    log group 5;
  }
}`;

/** What both sources have. */
interface Listed {
  id: number;
  mark: number;
  zone: number;
  assured: boolean;
  answered: boolean;
  /** Of TCP and SCTP. */
  protocolState: string | undefined;
  original: Partial<ConntrackTuple>;
  reply: Partial<ConntrackTuple>;
}

const NAMES: Record<string, [keyof ConntrackTuple, typeof String | typeof Number]> = {
  src: ['source', String],
  dst: ['destination', String],
  sport: ['sourcePort', Number],
  dport: ['destinationPort', Number],
  type: ['icmpType', Number],
  code: ['icmpCode', Number],
  id: ['icmpId', Number],
};

/**
 * A line of `conntrack -L -o id`: 'tcp 6 431999 ESTABLISHED src=10.1.0.1 ... src=10.2.0.2 ... [ASSURED] mark=42 use=1 id=1234'. The first seven
 * names stand once in each direction; the last id is the connection's.
 */
function parse(line: string): Listed {
  const tuples: Record<string, unknown>[] = [];
  const more: Record<string, number> = {};
  for (const [, name, value] of line.matchAll(/(\w+)=(\S+)/g)) {
    if (name === 'src') tuples.push({});
    const known = NAMES[name!];
    const tuple = tuples.at(-1)!;
    if (known !== undefined && !(name === 'id' && !('icmpType' in tuple && !('icmpId' in tuple)))) {
      tuple[known[0]] = known[1](value);
    } else more[name!] = Number(value);
  }
  const { id = 0, mark = 0, zone = 0 } = more;
  return {
    id,
    mark,
    zone,
    assured: line.includes('[ASSURED]'),
    answered: !line.includes('[UNREPLIED]'),
    protocolState: /^(?:tcp|sctp) +\d+ \d+ (\w+)/.exec(line)?.[1]?.toLowerCase().replace('_', '-'),
    original: tuples[0] as Listed['original'],
    reply: tuples[1] as Listed['reply'],
  };
}

function listedOf(connection: Conntrack): Listed {
  const tuple = ({ protocol: _, ...rest }: ConntrackTuple = {}) => rest;
  return {
    id: connection.id!,
    mark: connection.mark,
    zone: connection.zone ?? 0,
    assured: connection.status.includes('assured'),
    answered: connection.status.includes('seen-reply'),
    protocolState: (connection.tcp ?? connection.sctp)?.state?.toString(),
    original: tuple(connection.original),
    reply: tuple(connection.reply),
  };
}

kernelSuite('the connections of packets', () => {
  let lab: ForwardLab;
  let inside: NetNs;
  let log: Nflog;
  let sender: Record<'near' | 'far', FrameSender>;
  let sequence = 0;

  beforeAll(() => {
    execFileSync('modprobe', ['-a', 'nf_conntrack_netlink', 'nfnetlink_log', 'nf_nat']);
    lab = new ForwardLab();
    inside = lab.inside;
    sender = { near: lab.from('o0'), far: lab.from('o1') };
    nft(inside, RULES);
    // The packets here have no checksums.
    inside.sysctl.set('net.netfilter.nf_conntrack_checksum', '0');
    log = lab.opened.log({ netns: inside, groups: [5], conntrack: true, sequence: true, queue: { packets: 1 } });
  });
  afterAll(() => lab?.close());

  const near = (etherType: number, packet: Uint8Array) => sender.near.send(MACS.inside, MACS.third, etherType, packet);
  const far = (etherType: number, packet: Uint8Array) => sender.far.send(MACS.inside, MACS.third, etherType, packet);
  const list = (family: 'ipv4' | 'ipv6'): Listed[] =>
    inside
      .run(() =>
        execFileSync('conntrack', ['-L', '-f', family, '-o', 'id'], {
          encoding: 'utf8',
          stdio: ['ignore', 'pipe', 'ignore'],
        }),
      )
      .trim()
      .split('\n')
      .map(parse);

  /** The next packet, which must say of its connection what the list says of the same one. */
  async function next(send: () => void, family: 'ipv4' | 'ipv6' = 'ipv4'): Promise<Packet & { conntrack: Conntrack }> {
    send();
    const [packet] = await take(log, 1);
    const { conntrack } = packet!;
    expect(packet!.sequence).toBe(sequence++);
    expect(conntrack).toBeDefined();
    const listed = list(family).find(({ id }) => id === conntrack!.id);
    // The list is younger: the packet has gone through NAT of its source, and made the connection an answered or assured one.
    const early = (each: Listed) => ({
      ...each,
      answered: true,
      assured: true,
      ...(conntrack!.state === 'new' && { reply: {} }),
    });
    expect(listed && early(listed)).toEqual(early(listedOf(conntrack!)));
    expect(conntrack!.unknown).toBeUndefined();
    return packet as Packet & { conntrack: Conntrack };
  }

  it('have both directions, state and mark of translated connections', async () => {
    const segment = (header: object) => tcp({ from: 40000, ...header });
    const toUs = (header: object) => ipv4({ protocol: 6, to: '10.1.0.2' }, segment({ to: 8080, ...header }));
    const answer = (header: object) =>
      ipv4({ protocol: 6, from: '10.2.0.2', to: '10.2.0.1' }, segment({ from: 80, to: 40000, ...header }));

    const syn = await next(() => near(ETHERTYPES.ip, toUs({ flags: 0x02, sequence: 1000 })));
    expect(syn.conntrack).toMatchObject({
      state: 'new',
      direction: 'original',
      mark: 0x2a,
      tcp: { state: 'syn-sent' },
      original: {
        source: '10.1.0.1',
        destination: '10.1.0.2',
        protocol: 'tcp',
        sourcePort: 40000,
        destinationPort: 8080,
      },
      destinationNat: { address: '10.2.0.2', port: 80 },
    });
    const reply = await next(() => far(ETHERTYPES.ip, answer({ flags: 0x12, sequence: 5000, acknowledgement: 1001 })));
    expect(reply.conntrack).toMatchObject({
      id: syn.conntrack.id,
      state: 'established',
      direction: 'reply',
      mark: 0x2a,
    });
    expect(reply.conntrack.tcp?.state).toBe('syn-recv');
    const last = await next(() => near(ETHERTYPES.ip, toUs({ flags: 0x10, sequence: 1001, acknowledgement: 5001 })));
    expect(last.conntrack).toMatchObject({
      id: syn.conntrack.id,
      state: 'established',
      direction: 'original',
      tcp: { state: 'established' },
      reply: { source: '10.2.0.2', destination: '10.2.0.1', protocol: 'tcp', sourcePort: 80, destinationPort: 40000 },
      sourceNat: { address: '10.2.0.1', port: 40000 },
      destinationNat: { address: '10.2.0.2', port: 80 },
    });
    expect(last.conntrack.status).toEqual(
      expect.arrayContaining(['seen-reply', 'assured', 'confirmed', 'source-nat', 'destination-nat']),
    );
    const end = await next(() => far(ETHERTYPES.ip, answer({ flags: 0x11, sequence: 5001, acknowledgement: 1001 })));
    expect(end.conntrack.tcp?.state).toBe('fin-wait');
    expect(list('ipv4').find(({ id }) => id === end.conntrack.id)).toEqual(listedOf(end.conntrack));
  });

  it('cover UDP, ICMP requests and ICMP errors', async () => {
    const datagram = ipv4({ protocol: 17, to: '10.2.0.2' }, udp({ from: 500, to: 600 }));
    const question = await next(() => near(ETHERTYPES.ip, datagram));
    expect(question.conntrack).toMatchObject({ state: 'new', direction: 'original', mark: 0 });
    expect(question.conntrack.sourceNat).toBeUndefined();
    const back = ipv4({ protocol: 17, from: '10.2.0.2', to: '10.1.0.1' }, udp({ from: 600, to: 500 }));
    const answer = await next(() => far(ETHERTYPES.ip, back));
    expect(answer.conntrack).toMatchObject({ id: question.conntrack.id, state: 'established', direction: 'reply' });
    const refused = ipv4({ protocol: 1, from: '10.2.0.2', to: '10.1.0.1' }, icmp(3, 3, '00000000', datagram));
    const error = await next(() => far(ETHERTYPES.ip, refused));
    expect(error.conntrack).toMatchObject({ id: question.conntrack.id, state: 'related', direction: 'reply' });
    const echo = await next(() => near(ETHERTYPES.ip, ipv4({ protocol: 1, to: '10.2.0.2' }, icmp(8, 0, '12340001'))));
    expect(echo.conntrack.original).toMatchObject({ protocol: 'icmp', icmpType: 8, icmpCode: 0, icmpId: 0x1234 });
  });

  it('have the state of SCTP', async () => {
    const common = (port: number, to: number, tag: number) => {
      const header = Buffer.alloc(12);
      header.writeUInt16BE(port, 0);
      header.writeUInt16BE(to, 2);
      header.writeUInt32BE(tag, 4);
      return header;
    };
    // INIT (RFC 9260, 3.3.2): its tag, window, streams out and in, first number. INIT ACK is the same with another type; COOKIE ECHO has a cookie.
    const init = (type: string, tag: string) => hex(`${type} 00 0014 ${tag} 0000ffff 0001 0001 00000001`);
    const there = (chunk: Buffer, tag: number) =>
      ipv4({ protocol: 132, to: '10.2.0.2' }, Buffer.concat([common(900, 901, tag), chunk]));
    const back = (chunk: Buffer, tag: number) =>
      ipv4({ protocol: 132, from: '10.2.0.2', to: '10.1.0.1' }, Buffer.concat([common(901, 900, tag), chunk]));
    const first = await next(() => near(ETHERTYPES.ip, there(init('01', '00000007'), 0)));
    expect(first.conntrack).toMatchObject({
      state: 'new',
      sctp: { state: 'closed', originalTag: 0, replyTag: 7 },
      original: { protocol: 'sctp', sourcePort: 900, destinationPort: 901 },
    });
    const second = await next(() => far(ETHERTYPES.ip, back(init('02', '00000009'), 7)));
    expect(second.conntrack).toMatchObject({ id: first.conntrack.id, direction: 'reply', state: 'established' });
    expect(second.conntrack.sctp).toEqual({ state: 'cookie-wait', originalTag: 9, replyTag: 7 });
    const third = await next(() => near(ETHERTYPES.ip, there(hex('0a00 0008 12345678'), 9)));
    expect(third.conntrack.sctp?.state).toBe('cookie-echoed');
    const last = await next(() => far(ETHERTYPES.ip, back(hex('0b00 0004'), 7)));
    expect(last.conntrack.sctp?.state).toBe('established');
    expect(last.conntrack.status).toContain('assured');
  });

  it('belong to a zone: the same addresses in another zone are another connection', async () => {
    const datagram = (to: number) => ipv4({ protocol: 17, to: '10.2.0.2' }, udp({ from: 600, to }));
    const zoned = await next(() => near(ETHERTYPES.ip, datagram(700)));
    expect(zoned.conntrack).toMatchObject({ zone: 7, original: { sourcePort: 600, destinationPort: 700 } });
    const other = await next(() => near(ETHERTYPES.ip, datagram(701)));
    expect(other.conntrack.zone ?? 0).toBe(0);
  });

  it('have IPv6 addresses', async () => {
    const addresses = { from: 'fd00000100000000 0000000000000001', to: 'fd00000200000000 0000000000000002' };
    const six = await next(() => near(ETHERTYPES.ip6, ipv6(17, udp({ from: 7, to: 8 }), addresses)), 'ipv6');
    expect(six.conntrack.original).toMatchObject({ source: 'fd00:1::1', destination: 'fd00:2::2', sourcePort: 7 });
    const echo = await next(() => near(ETHERTYPES.ip6, ipv6(58, icmp(128, 0, '00070001'), addresses)), 'ipv6');
    expect(echo.conntrack.original).toMatchObject({ protocol: 'icmpv6', icmpType: 128, icmpId: 7 });
  });
});
