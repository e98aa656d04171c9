import { describe, expect, it } from 'vitest';
import { formatIptables, IptablesError, type IptablesFamily, parseIptables } from '../../src/iptables/index.ts';

const CHAINS = ':INPUT ACCEPT [0:0]\n:FORWARD DROP [3:180]\n:OUTPUT ACCEPT [0:0]\n';

/** Rules as iptables-save writes them, in a table. */
const filter = (...rules: string[]): string =>
  `*filter\n${CHAINS}:mine - [0:0]\n${rules.map(rule => `${rule}\n`).join('')}COMMIT\n`;

function refusalOf(text: string, family?: IptablesFamily): IptablesError {
  try {
    parseIptables(text, family === undefined ? {} : { family });
  } catch (error) {
    if (error instanceof IptablesError) return error;
    throw error;
  }
  throw new Error(`not refused: ${text}`);
}

describe('parseIptables', () => {
  it('gives rules as data', () => {
    const { family, tables } = parseIptables(
      filter(
        '-A INPUT ! -s 10.0.0.0/8 -i eth+ -p tcp -m tcp --dport 22 -m comment --comment "a b" -j mine',
        '-A mine -g mine',
      ),
    );
    expect(family).toBe('ipv4');
    expect(tables).toEqual([
      {
        name: 'filter',
        chains: [
          {
            name: 'INPUT',
            policy: 'ACCEPT',
            counters: { packets: 0n, bytes: 0n },
            rules: [
              {
                table: 'filter',
                chain: 'INPUT',
                source: { address: '10.0.0.0', mask: '255.0.0.0', invert: true },
                inInterface: { name: 'eth+' },
                protocol: { number: 6 },
                matches: [
                  { name: 'tcp', revision: 0, info: { destinationPorts: [22, 22] } },
                  { name: 'comment', revision: 0, info: { comment: 'a b' } },
                ],
                target: { jump: 'mine' },
              },
            ],
          },
          { name: 'FORWARD', policy: 'DROP', counters: { packets: 3n, bytes: 180n }, rules: [] },
          { name: 'OUTPUT', policy: 'ACCEPT', counters: { packets: 0n, bytes: 0n }, rules: [] },
          {
            name: 'mine',
            counters: { packets: 0n, bytes: 0n },
            rules: [{ table: 'filter', chain: 'mine', matches: [], target: { goto: 'mine' } }],
          },
        ],
      },
    ]);
  });

  it('reads a text of ip6tables without being told, and names the family', () => {
    const text = filter('-A INPUT -s fe80::/64 -p ipv6-icmp -m icmp6 --icmpv6-type 128 -j ACCEPT');
    expect(parseIptables(text).family).toBe('ipv6');
    expect(formatIptables(parseIptables(text))).toBe(text);
  });

  it.each([
    ['-A INPUT -p tcp --dpor 22', '-A INPUT -p tcp -m tcp --dport 22'],
    ['-A INPUT -p 6 --syn', '-A INPUT -p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN'],
    ['-AINPUT -mlength --length=5:', '-A INPUT -m length --length 5:65535'],
    ['-A INPUT -m state --state new -j ACCEPT', '-A INPUT -m state --state NEW -j ACCEPT'],
    ['-A INPUT -m mark --mark 16 -m mark ! --mark 1/3', '-A INPUT -m mark --mark 0x10 -m mark ! --mark 0x1/0x3'],
    ['-A INPUT -m limit --limit 120/minute', '-A INPUT -m limit --limit 2/sec'],
    ['-A INPUT -s 10.1/255.255.0.0', '-A INPUT -s 10.1.0.0/16'],
    ['-A INPUT -d 10.0.0.1/255.0.0.255', '-A INPUT -d 10.0.0.1/255.0.0.255'],
    ['-A INPUT ! -i lo ! -f', '-A INPUT ! -i lo ! -f'],
    ['-A INPUT -m string --hex-string "|41 42|" --algo bm', '-A INPUT -m string --string "AB" --algo bm'],
    ['-A INPUT -m comment --comment pre"a \\"b"', '-A INPUT -m comment --comment "prea \\"b"'],
    ['-A INPUT -p udp -m multiport --ports 1,2:3', '-A INPUT -p udp -m multiport --ports 1,2:3'],
    ['-A INPUT -m time --weekdays Mon,7', '-A INPUT -m time --weekdays Mon,Sun --datestop 2038-01-19T03:14:07'],
    [
      '-A INPUT -m statistic --mode random --probability 0.1',
      '-A INPUT -m statistic --mode random --probability 0.10000000009',
    ],
    ['-A INPUT -m u32 --u32 "0>>22&0x3C@4=7"', '-A INPUT -m u32 --u32 "0x0>>0x16&0x3c@0x4=0x7"'],
    [
      '-A INPUT -m hashlimit --hashlimit 600/hour --hashlimit-name a',
      '-A INPUT -m hashlimit --hashlimit-upto 10/min --hashlimit-burst 5 --hashlimit-name a --hashlimit-htable-expire 3600000',
    ],
  ])('reads `%s` and writes it as iptables-save does', (given, written) => {
    expect(formatIptables(parseIptables(filter(given)))).toBe(filter(written));
    expect(formatIptables(parseIptables(filter(written)))).toBe(filter(written));
  });

  it('makes a rule for each pair of addresses', () => {
    const { tables } = parseIptables('*filter\n-A INPUT -s 1.1.1.1,2.2.2.2 -d 3.3.3.3,4.4.4.4\nCOMMIT\n');
    expect(
      tables[0]!.chains[0]!.rules.map(({ source, destination }) => [source?.address, destination?.address]),
    ).toEqual([
      ['1.1.1.1', '3.3.3.3'],
      ['1.1.1.1', '4.4.4.4'],
      ['2.2.2.2', '3.3.3.3'],
      ['2.2.2.2', '4.4.4.4'],
    ]);
  });

  it('keeps counters of rules, and writes them where they are asked for', () => {
    const text = filter('[5:600] -A INPUT -j DROP');
    expect(formatIptables(parseIptables(text), { counters: true })).toBe(text);
    expect(formatIptables(parseIptables(text))).toBe(filter('-A INPUT -j DROP'));
  });

  it.each([
    ['*filter\n-A INPUT --dport 80\nCOMMIT\n', 2, '--dport'],
    ['*filter\n\n-A INPUT -m length --length 70000\nCOMMIT\n', 3, '--length'],
    ['*filter\n-A INPUT -m nosuch\nCOMMIT\n', 2, 'nosuch'],
    ['*nosuch\nCOMMIT\n', 1, 'nosuch'],
    ['*filter\n-A INPUT -s 1.2.3.4/33\nCOMMIT\n', 2, '33'],
  ])('rejects %j with ERR_IPTABLES, the line and the word', (text, line, argument) => {
    const error = refusalOf(text);
    expect(error).toMatchObject({ code: 'ERR_IPTABLES', line });
    expect(String(error.argument)).toContain(argument);
  });

  it('rejects a text that is not a string with ERR_INVALID_ARG_TYPE', () => {
    expect(() => parseIptables(5 as never)).toThrow(expect.objectContaining({ code: 'ERR_INVALID_ARG_TYPE' }));
  });

  it('does to rules as data what other commands do, and rejects with ERR_IPTABLES what is not there', () => {
    const lines = ['-N ours', '-N theirs', '-A INPUT -i a', '-A INPUT -i c', '-I INPUT 2 -i b', '-R INPUT 1 -i d'];
    const more = [
      '-D INPUT -i c',
      '-A ours -i e',
      '-E ours mine',
      '-X theirs',
      '-P INPUT DROP',
      '-L',
      '-Z',
      '-C INPUT -i b',
    ];
    const [table] = parseIptables(`*filter\n${[...lines, ...more].join('\n')}\nCOMMIT\n`).tables;
    expect(table!.chains.map(({ name, rules }) => [name, ...rules.map(rule => rule.inInterface?.name)])).toEqual([
      ['mine', 'e'],
      ['INPUT', 'd', 'b'],
    ]);
    expect(table!.chains[1]!.policy).toBe('DROP');
    for (const line of ['-D INPUT 1', '-D INPUT -i x', '-I nosuch -i x', '-R INPUT 1 -i x', '-I INPUT 2 -i x'])
      expect(refusalOf(`*filter\n${line}\nCOMMIT\n`)).toMatchObject({ exitCode: 1, line: 2 });
  });

  it('reads 20,000 rules, a line of a megabyte, and a table that does not end, and stays within its stack', () => {
    const many = Array.from({ length: 20_000 }, (_, i) => `-A INPUT -s 10.0.${i >> 8}.${i & 255}/32 -j ACCEPT`);
    const text = filter(...many);
    expect(formatIptables(parseIptables(text))).toBe(text);
    expect(refusalOf(`*filter\n-A INPUT ${'! '.repeat(500_000)}\nCOMMIT\n`).line).toBe(2);
    expect(refusalOf(`*filter\n-A INPUT -m u32 --u32 "${'0&'.repeat(400_000)}"\nCOMMIT\n`).line).toBe(2);
    expect(refusalOf(`*filter\n${'-A INPUT\n'.repeat(1000)}`).exitCode).toBe(1);
  });
});
