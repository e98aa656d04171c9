import { execFileSync } from 'node:child_process';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { NetNs } from '../../src/netns/index.ts';
import type { Nflog } from '../../src/nflog/index.ts';
import { bytes, FrameSender, ip, nft, Opened, take } from '../support/nflog-lab.ts';
import { kernelSuite } from '../support/where.ts';

const OUTER = '02:00:00:00:00:0a';
const INNER = '02:00:00:00:00:0b';
const UDP = '4500002186874000401130c10a0000010a000002d9aa270f000d000068656c6c6f';
/** IPv4 of a protocol, with a service byte, an id, fragment bits and what follows the header. */
const v4 = (protocol: string, rest: string, { tos = '00', fragment = '0000' } = {}) => {
  const length = (20 + bytes(rest).length).toString(16).padStart(4, '0');
  const header = bytes(`45${tos}${length} 1234 ${fragment} 40${protocol} 0000 0a000001 0a000002`);
  let sum = 0;
  for (let i = 0; i < 20; i += 2) sum += header.readUInt16BE(i);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  header.writeUInt16BE(~sum & 0xffff, 10);
  return header.toString('hex') + rest.replaceAll(' ', '');
};
const v6 = (next: string, rest: string, first = '60000000') => {
  const length = bytes(rest).length.toString(16).padStart(4, '0');
  return `${first} ${length} ${next} 40 fd000000000000000000000000000001 fd000000000000000000000000000002 ${rest}`;
};
const tcp = (flags: string, urgent = '0000') => `a40c0050 5eb7d2a4 00000001 5${flags} 1234 0000 ${urgent}`;

const IP: [string, string][] = [
  ['UDP', UDP],
  ['a SYN', v4('06', tcp('002'))],
  ['all TCP flags, reserved bits and urgent data', v4('06', tcp('fff', '0007'), { tos: 'fe' })],
  ['ECE and CWR', v4('06', tcp('0c2'))],
  ['an echo request', v4('01', '0800 0000 0007 0009')],
  ['an echo reply', v4('01', '0000 0000 0007 0009')],
  ['port unreachable', v4('01', `0303 0000 00000000 ${UDP}`)],
  ['fragmentation needed', v4('01', `0304 0000 000005dc ${UDP}`)],
  ['a redirect', v4('01', `0501 0000 0a000003 ${UDP}`)],
  ['time exceeded, cut short', v4('01', `0b00 0000 00000000 ${UDP.slice(0, 30)}`)],
  ['a parameter problem', v4('01', `0c00 0000 14000000 ${UDP}`)],
  ['an address mask request', v4('01', '1100 0000 00000000 00000000')],
  ['a first fragment', v4('11', 'd9aa270f000d000068656c6c6f000000', { fragment: '2000' })],
  ['a later fragment', v4('11', '68656c6c6f000000', { fragment: '0005' })],
  ['do not fragment and the evil bit', v4('11', 'd9aa270f000d000068656c6c6f', { fragment: 'c000' })],
  ['UDP-Lite', v4('88', 'd9aa270f 0008 0000')],
  ['ESP', v4('32', '0000002f 00000001')],
  ['AH', v4('33', '06040000 0000002f 00000001 00000000')],
  ['IGMP', v4('02', '1100 ee9b 00000000')],
  ['a header that is cut short', v4('06', 'a40c0050')],
];

const UDP6 = v6('11', '3039 270f 000d 0000 7878787878');
const IP6: [string, string][] = [
  ['UDP', UDP6],
  ['a traffic class and a flow label', v6('11', '3039 270f 0008 0000', '6ab12345')],
  ['a SYN', v6('06', tcp('002'))],
  ['hop-by-hop and destination options', v6('00', '3c00010400000000 1100010400000000 3039 270f 0008 0000')],
  ['a routing header', v6('2b', '1100000000000000 3039 270f 0008 0000')],
  ['a first fragment', v6('2c', '1100 0001 0000002a 3039 270f 0010 0000 0102030405060708')],
  ['a later fragment', v6('2c', '1100 0011 0000002a 0102030405060708')],
  ['an echo request', v6('3a', '8000 0000 0007 0009')],
  ['destination unreachable', v6('3a', `0104 0000 00000000 ${UDP6}`)],
  ['packet too big', v6('3a', `0200 0000 00000500 ${UDP6}`)],
  ['a parameter problem', v6('3a', `0401 0000 00000028 ${UDP6}`)],
  ['a router advertisement', v6('3a', '8600 0000 40000000 00000000 00000000')],
  ['nothing behind it', v6('3b', '')],
];

const ARP: [string, string][] = [
  ['a request', `0001 0800 06 04 0001 ${OUTER} 0a000001 000000000000 0a000002`],
  ['an answer', `0001 0800 06 04 0002 ${OUTER} 0a000001 ${INNER} 0a000002`],
];

/*
 * The same packet is logged to the kernel's log and to us: two rules, one behind the other. The summary says more in three places: SCTP's ports, ESP
 * over IPv6, and the sender's user without being asked.
 */
kernelSuite('the summary of a packet is the line of the kernel', () => {
  const opened = new Opened();
  let ns: NetNs;
  let frames: FrameSender;
  let log: Nflog;
  let former: string;
  const marker = `n${process.pid}x `;
  beforeAll(() => {
    execFileSync('modprobe', ['nf_log_syslog']);
    former = NetNs.home().sysctl.get('net.netfilter.nf_log_all_netns');
    NetNs.home().sysctl.set('net.netfilter.nf_log_all_netns', '1');
    ns = opened.namespace();
    ip(
      ns,
      `link add in0 address ${INNER} type veth peer name far0 address ${OUTER}`,
      'link set in0 up',
      'link set far0 up',
      'addr add 10.0.0.2/24 dev in0',
      'addr add fd00::2/64 dev in0 nodad',
    );
    for (const family of ['ip', 'ip6', 'arp']) {
      const hook = family === 'arp' ? 'input' : 'prerouting';
      const ours = family === 'arp' ? '' : `${family} saddr ${family === 'ip' ? '10.0.0.1' : 'fd00::1'}`;
      nft(
        ns,
        `table ${family} t { chain c { type filter hook ${hook} priority -500; iifname "in0" ${ours} meta mark set 0xa;
           iifname "in0" ${ours} log prefix "${marker}"; iifname "in0" ${ours} log prefix "${marker}" group 5; } }`,
      );
    }
    frames = opened.add(new FrameSender(ns, 'far0'));
    log = opened.log({ netns: ns, groups: [5] });
  });
  afterAll(() => {
    NetNs.home().sysctl.set('net.netfilter.nf_log_all_netns', former);
    opened.close();
  });

  const lines = () =>
    execFileSync('dmesg', ['--notime'], { encoding: 'utf8', maxBuffer: 1 << 26 })
      .split('\n')
      .filter(line => line.includes(marker))
      .map(line => line.slice(line.indexOf(marker)).trimEnd());

  async function compare(etherType: number, packet: string): Promise<void> {
    const before = lines().length;
    frames.send(INNER, OUTER, etherType, bytes(packet));
    const [own] = await take(log, 1);
    await expect.poll(() => lines().length, { timeout: 20_000 }).toBe(before + 1);
    expect(own!.summary()).toBe(lines().at(-1));
  }

  it.each(IP)('IPv4: %s', (_, packet) => compare(0x0800, packet));
  it.each(IP6)('IPv6: %s', (_, packet) => compare(0x86dd, packet));
  it.each(ARP)('ARP: %s', (_, packet) => compare(0x0806, packet));
});
