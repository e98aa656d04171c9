import { describe, expect, it } from 'vitest';
import { LOG_FLAGS } from '../../src/nf_tables/names.ts';
import {
  concatenationOf,
  datatypeByName,
  datatypeByNumber,
  TYPES,
  VERDICT_DATA_TYPE,
} from '../../src/nft/data/datatypes.ts';
import {
  DCCP_OPTION_FIELDS,
  IP_OPTIONS,
  IPV6_EXTENSIONS,
  SCTP_CHUNKS,
  TCP_OPTION_ALIASES,
  TCP_OPTIONS,
} from '../../src/nft/data/extensions.ts';
import * as keys from '../../src/nft/data/keys.ts';
import { formatPriority, parsePriority } from '../../src/nft/data/priorities.ts';
import {
  ETHER_TYPE_NUMBERS,
  type FieldRow,
  type Header,
  IP_PROTOCOL_NUMBERS,
  PROTOCOLS,
} from '../../src/nft/data/protocols.ts';
import { Names } from '../../src/nft/names.ts';
import { compileRule, log } from '../../src/nftables/index.ts';

const headers: [string, Header][] = Object.entries(PROTOCOLS);

function fieldsOf(): [string, FieldRow][] {
  const extensions = [IPV6_EXTENSIONS, TCP_OPTIONS, IP_OPTIONS, SCTP_CHUNKS].flatMap(table => Object.values(table));
  const tables: { fields: object }[] = [
    ...headers.map(([, header]) => header),
    ...extensions,
    { fields: DCCP_OPTION_FIELDS },
  ];
  return tables.flatMap(({ fields }) => Object.entries(fields) as [string, FieldRow][]);
}

describe('the tables of the language', () => {
  it('give each field the length of its type', () => {
    for (const [name, [, bits, type = 'integer']] of fieldsOf()) {
      expect(TYPES[type], name).toBeDefined();
      if (TYPES[type].bits > 0) expect(bits, name).toBe(TYPES[type].bits);
    }
  });

  it('give each key a register that fits its type', () => {
    for (const table of [keys.META, keys.CT, keys.RT, keys.SOCKET, keys.IPSEC, keys.IPSEC6, keys.TUNNEL, keys.FIB]) {
      for (const [name, { type, bits }] of Object.entries(table as Record<string, keys.KeyRow>))
        expect(TYPES[type].bits, name).toBeLessThanOrEqual(bits);
    }
    expect(Object.values(keys.META_ALIASES).every(name => name in keys.META)).toBe(true);
    expect([...keys.UNQUALIFIED_META].every(name => name in keys.META)).toBe(true);
    expect(keys.RT_NEXTHOP6.bits).toBe(128);
    expect(keys.OSF.bits).toBe(128);
    expect(keys.GENERATED.bits).toBe(32);
  });

  it('name fields and protocols that exist', () => {
    for (const [name, { fields, next, upper = {}, checksum, pseudoHeader = [], icmp = {} }] of headers) {
      for (const field of [next, checksum?.field, ...pseudoHeader, ...Object.keys(icmp)])
        if (field !== undefined) expect(fields, name).toHaveProperty([field]);
      for (const protocol of Object.values(upper)) expect(PROTOCOLS).toHaveProperty(protocol);
    }
    for (const name of [...Object.keys(IP_PROTOCOL_NUMBERS), ...Object.keys(ETHER_TYPE_NUMBERS)])
      expect(PROTOCOLS).toHaveProperty(name);
    for (const name of Object.values(TCP_OPTION_ALIASES)) expect(TCP_OPTIONS).toHaveProperty(name);
  });

  it('have no number twice for protocols and types', () => {
    expect(new Set(headers.map(([, { number }]) => number)).size).toBe(headers.length);
    expect(datatypeByNumber(7)).toBe(TYPES.ipv4_addr);
    expect(datatypeByName('inet_service')).toBe(TYPES.inet_service);
    expect(datatypeByName('time')).toBe(TYPES.time);
    expect(datatypeByName('toString')).toBeUndefined();
    expect(VERDICT_DATA_TYPE).toBe(0xffffff00);
  });

  it('number concatenations with six bits for each part', () => {
    const both = concatenationOf([TYPES.ipv4_addr, TYPES.inet_service]);
    expect(both).toMatchObject({ name: 'ipv4_addr . inet_service', id: 7 * 64 + 13, bits: 64 });
  });

  it('have what log accepts', () => {
    const compiled = (options: Parameters<typeof log>[0]) =>
      compileRule({ family: 'ip', statements: [log(options)] }).expressions;
    expect(compiled({ level: 'audit' })).toEqual([{ log: { level: 8 } }]);
    const flags = ['tcp-sequence', 'tcp-options', 'ip-options', 'skuid', 'ether'] as const;
    expect(flags.reduce((all, flag) => all | LOG_FLAGS[flag], 0)).toBe(0x2f);
    expect(compiled({ flags: 'all' })).toEqual([{ log: { flags } }]);
    expect(compiled({ flags: ['ether', 'all'] })).toEqual([{ log: { flags } }]);
    expect(compiled({ flags: ['ether', 'tcp sequence', 'ether'] })).toEqual([
      { log: { flags: ['tcp-sequence', 'ether'] } },
    ]);
    expect(() => compiled({ flags: ['everything' as 'all'] })).toThrow('tcp sequence, tcp options');
  });
});

describe('priorities', () => {
  it.each([
    ['dstnat', 'ip', 'prerouting', -100],
    ['dstnat + 10', 'ip', 'prerouting', -90],
    ['filter - 1', 'bridge', 'input', -201],
    ['-7', 'inet', 'input', -7],
    ['dstnat', 'ip', 'forward', undefined],
    ['nonsense', 'ip', 'input', undefined],
  ])('have the value %s in %s %s', (text, family, hook, value) => {
    expect(parsePriority(text, family, hook)).toBe(value);
  });

  it.each([
    [-95, 'ip', 'prerouting', 'dstnat + 5'],
    [-95, 'ip', 'forward', '-95'],
    [0, 'netdev', 'ingress', 'filter'],
    [-200, 'bridge', 'input', 'filter'],
    [11, 'ip', 'input', '11'],
  ])('have the name %s in %s %s', (value, family, hook, text) => {
    expect(formatPriority(value, family, hook)).toBe(text);
  });
});

describe('the files of names', () => {
  const files: Record<string, string> = {
    '/etc/protocols': '# comment\nip\t0\tIP\ntcp\t6\tTCP # transmission\n',
    '/etc/services': 'http\t80/tcp\twww\nhttp 80/udp\n',
    '/etc/iproute2/rt_marks': '0x10 web\n1 one\nnot a line\n2 two\n',
    '/etc/passwd': 'root:x:0:0:root:/root:/bin/sh\nweb:x:33:33::/:/bin/false\n',
    '/etc/group': 'root:x:0:\n',
  };

  it('are read once, at the first use', () => {
    const read: string[] = [];
    const names = new Names({
      readFile(path) {
        read.push(path);
        return files[path];
      },
    });
    expect(read).toEqual([]);
    expect(names.protocols().byName.get('TCP')).toBe(6);
    expect(names.protocols().byNumber.get(6)).toBe('tcp');
    expect(names.services().byName.get('www')).toBe(80);
    expect(names.file('rt_marks').byName.get('web')).toBe(16);
    expect(names.file('rt_marks').byName.has('two')).toBe(false);
    expect(names.file('rt_realms').byName.size).toBe(0);
    expect(names.users().byName.get('web')).toBe(33);
    expect(names.groups().byName.get('root')).toBe(0);
    expect(read.filter(path => path === '/etc/protocols')).toHaveLength(1);
  });

  it('are not needed for the common protocols', () => {
    expect(new Names({ readFile: () => undefined }).protocols().byName.get('udp')).toBe(17);
  });
});
