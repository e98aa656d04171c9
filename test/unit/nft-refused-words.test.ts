import { describe, expect, test } from 'vitest';
import { NftSyntaxError, parseRuleset } from '../../src/nftables/index.ts';

/** The errors of a rule in a chain of nft 1.0.6, with their columns from the rule's beginning on. */
function errorsOf(rule: string, family: string) {
  const text = `table ${family} t {\n\tchain c {\n${rule}\n\t}\n}\n`;
  try {
    parseRuleset(text, { version: '1.0.6', source: 'x' });
  } catch (error) {
    if (!(error instanceof NftSyntaxError)) throw error;
    expect(error.code).toBe('ERR_NFT_SYNTAX');
    return error.errors.map(({ line, column, endColumn, message }) => [line, column, endColumn, message]);
  }
  return [];
}

describe('rules that nft refuses for what they say', () => {
  test.each<[family: string, rule: string, column: number, endColumn: number, message: string]>([
    ['ip', 'tcp dport foo', 11, 13, 'Could not resolve service: Servname not supported for ai_socktype'],
    ['ip', 'tcp dport 65536', 11, 15, 'Service out of range'],
    ['ip', 'ip dscp 64', 9, 10, 'Value 64 exceeds valid range 0-63'],
    ['ip', 'ip saddr 10.0.0.9-10.0.0.1', 10, 26, 'Range has zero or negative size'],
    ['ip', 'ip saddr 1.2.3.4/33', 10, 19, 'Prefix length 33 is invalid for type of 32 bits width'],
    ['ip', 'ip saddr { 1.1.1.1 : accept }', 12, 18, 'mapping outside of map context'],
    ['ip', 'ip6 saddr ::1', 1, 9, 'conflicting protocols specified: ip vs. ip6'],
    ['ip', 'hbh nexthdr tcp', 1, 11, 'cannot use exthdr with ip'],
    ['ip', 'ip saddr 1.1.1.1,2.2.2.2', 10, 16, 'Basetype of type IPv4 address is not bitmask'],
    ['ip', 'esp spi exists', 9, 14, 'datatype mismatch, expected integer, expression has type boolean type'],
    ['ip', 'esp spi ! 5', 1, 7, 'negation can only be used with singleton bitmask values'],
    ['ip', 'esp spi < { 1, 2 }', 11, 18, 'Relational expression (<) is undefined for set expressions'],
    ['ip', 'iifname "averyveryverylonginterfacename"', 9, 40, 'String exceeds maximum length of 16'],
    ['ip', 'meta nfproto ipv4', 1, 12, 'meta nfproto is only useful in the inet family'],
    ['ip', 'meta mark foo', 11, 13, 'Could not parse packet mark'],
    ['ip', 'meta hour "25:00"', 11, 17, 'wrong time format'],
    ['ip', 'accept counter packets 0 bytes 0', 8, 14, 'Statement after terminal statement has no effect'],
    ['ip', 'reject with icmpv6 no-route', 20, 27, 'conflicting protocols specified: ip vs ip6'],
    ['ip', 'redirect to :1234', 14, 17, 'transport protocol mapping is only valid after transport protocol match'],
    ['ip', 'log level info group 2', 1, 3, 'level and group are mutually exclusive'],
    [
      'inet',
      'rt nexthop 10.0.0.1',
      1,
      10,
      'cannot determine ip protocol version, use "ip nexthop" or "ip6 nexthop" instead',
    ],
    ['inet', 'tcp dport 22 dnat to 10.0.0.1', 14, 17, 'ip or ip6 must be specified with address for inet tables.'],
    ['arp', 'dnat to 1.1.1.1', 1, 4, 'NAT is only supported for IPv4/IPv6'],
    ['arp', 'reject', 1, 6, 'cannot use reject with arp'],
    ['bridge', 'fwd to lo', 1, 9, 'unsupported family'],
    ['ip', 'ip saddr vmap { 1.1.1.1 : foo }', 27, 29, 'syntax error, unexpected string'],
    ['ip', 'ip saddr { , 1.1.1.1 }', 12, 12, 'syntax error, unexpected comma'],
    ['ip', 'ip saddr { 1.1.1.1/ }', 21, 21, "syntax error, unexpected '}', expecting number"],
    ['ip', 'tcp length 5', 5, 10, 'syntax error, unexpected length'],
    ['ip', 'meta length length', 13, 18, 'syntax error, unexpected length'],
    ['ip', 'tcp option nop nop exists', 16, 18, 'syntax error, unexpected nop'],
    ['ip', 'ct zone dport', 9, 13, 'syntax error, unexpected dport'],
    ['ip', 'log group level', 11, 15, 'syntax error, unexpected level, expecting number'],
    [
      'ip',
      'masquerade random random,persistent',
      19,
      24,
      'syntax error, unexpected random, expecting newline or semicolon',
    ],
    ['ip', '"lo" ip dscp set af23', 14, 16, 'syntax error, unexpected set'],
    ['ip', 'ip saddr map { 1.1.1.1 : 2 }', 29, 29, 'syntax error, unexpected newline'],
    ['ip', 'limit rate 10/second burst 0 packets', 22, 36, 'packet limit burst must be > 0'],
    ['ip', 'quota over 2 foos', 1, 17, 'Wrong rate format'],
    ['ip', 'fib saddr . daddr oif lo', 5, 17, 'fib: saddr and daddr are mutually exclusive'],
    ['ip', 'queue num 65536', 7, 15, 'Value 65536 exceeds valid range 0-65535'],
    ['ip', 'queue to symhash mod 2 offset 65536', 10, 35, 'queue expression max value exceeds 65535'],
    ['ip', 'meta mark set ct mark | meta mark', 25, 33, 'Right hand side of binary operation (|) must be constant'],
    ['ip', 'ip ecn set ip ecn | ect1', 12, 24, 'Right hand side of binary operation (^) must be constant'],
    ['ip', 'ip dscp set ip dscp | lephb', 1, 7, 'Right hand side of binary operation (^) must be constant'],
    ['ip', 'ip version set ip version | 1', 16, 25, 'Right shift of 4 bits is undefined for type of 4 bits width'],
    ['ip', 'ip hdrlength set ip hdrlength | 1', 1, 12, 'Left shift of 8 bits is undefined for type of 4 bits width'],
    ['ip', 'redirect to :12341111', 14, 21, 'transport protocol mapping is only valid after transport protocol match'],
    ['ip', 'meta hour ssh', 11, 13, 'Second has been specified twice'],
    ['ip', 'meta skuid 4294967296', 12, 21, 'Value too large'],
    ['netdev', 'ether type ip vlan id 1', 15, 21, 'conflicting protocols specified: ether vs. vlan'],
    [
      'ip',
      'ip saddr vmap { 10.0.1.0-10.0.1.255 : accept, 10.0.1.1-10.0.2.255 : drop }',
      47,
      65,
      'conflicting intervals specified',
    ],
  ])('%s: %s is refused in the words of nft, with ERR_NFT_SYNTAX', (family, rule, column, endColumn, message) => {
    expect(errorsOf(rule, family)).toEqual([[3, column, endColumn, message]]);
  });
});

/** The errors of a text of nft 1.0.6. */
function errorsIn(text: string): string[] {
  try {
    parseRuleset(text, { version: '1.0.6', source: 'x' });
  } catch (error) {
    if (!(error instanceof NftSyntaxError)) throw error;
    return error.errors.map(({ line, column, endColumn, message }) => `${line}:${column}-${endColumn} ${message}`);
  }
  return [];
}

test('a change of a map is read in the language of nft 1.0.6, whose JSON has no words for it', () => {
  const text =
    'table ip t {\nmap m { type ipv4_addr : mark; flags dynamic; }\nchain c {\nadd @m { ip saddr : meta mark }\n}\n}\n';
  expect(errorsIn(text)).toEqual([]);
});

describe('the other parts of an error, with ERR_NFT_SYNTAX', () => {
  test.each([
    ['tcp dport 22 drop accept', '             ~~~~ ^^^^^^'],
    ['tcp dport < 1-5', '          ~ ^^^'],
    ['esp spi exists', '~~~~~~~ ^^^^^^'],
    ['esp spi ! 5', '^^^^^^^   ~'],
    ['dnat to 10.2.3.4:4242', '~~~~             ^^^^'],
    ['meta mark set ct mark | meta mark', '              ~~~~~~~~~~^^^^^^^^^'],
    ['reject with icmpx port-unreachable', '~~~~~~            ^^^^^^^^^^^^^^^^'],
    ['udp dport 53 reject with tcp reset', '~~~~~~~~~    ^^^^^^'],
    ['reject with icmpv6 no-route', '~~~~~~             ^^^^^^^^'],
    [
      'ip saddr vmap { 10.0.1.0-10.0.1.255 : accept, 10.0.1.1-10.0.2.255 : drop }',
      '                ~~~~~~~~~~~~~~~~~~~           ^^^^^^^^^^^^^^^^^^^',
    ],
  ])('%s is marked as nft marks it', (rule, marks) => {
    try {
      parseRuleset(`table ip t {\nchain c {\n${rule}\n}\n}\n`, { version: '1.0.6', source: 'x' });
      expect.unreachable();
    } catch (error) {
      if (!(error instanceof NftSyntaxError)) throw error;
      expect(error.message.split('\n').slice(1, 3)).toEqual([rule, marks]);
    }
  });
});

describe('blocks that nft refuses, with ERR_NFT_SYNTAX', () => {
  test('a block whose } has no separator behind it goes on', () => {
    const text = 'table ip t { chain a { accept; } chain b { drop; }; chain c { drop; } }\n';
    expect(errorsIn(text)).toEqual([
      '1:34-38 syntax error, unexpected chain, expecting newline or semicolon',
      "1:71-71 syntax error, unexpected '}', expecting newline or semicolon",
      '2:1-1 syntax error, unexpected end of file',
    ]);
  });

  test('the words of a part stay keywords after an error in it', () => {
    const text = 'table ip t {\nchain c {\nlimit foo\ntcp dport rate\n}\n}\n';
    expect(errorsIn(text)).toEqual([
      '3:7-9 syntax error, unexpected string, expecting name or rate',
      '4:11-14 syntax error, unexpected rate',
    ]);
  });

  test('the last word that begins a part, behind an error, leaves its words keywords', () => {
    const text = 'table ip t {\nchain c {\nfoo ) limit accept\ntcp dport rate\n}\n}\n';
    expect(errorsIn(text)).toEqual(["3:5-5 syntax error, unexpected ')'", '4:11-14 syntax error, unexpected rate']);
  });

  test('a chain of the hook ingress needs a device in nft 1.0.6', () => {
    const text = 'table netdev t {\nchain c {\ntype filter hook ingress priority 0;\n}\n}\n';
    expect(errorsIn(text)).toEqual(["3:1-35 Missing `device' in this chain definition"]);
  });

  test.each([
    ['counter k { bytes 1; }', '2:13-17 syntax error, unexpected bytes'],
    ['limit l { 10/second; }', '2:11-12 syntax error, unexpected number'],
    ['ct expectation e { dport dport; }', '2:26-30 syntax error, unexpected dport, expecting number'],
    ['set s { type ; }', '2:14-14 syntax error, unexpected semicolon'],
    ['set s { typeof foo; }', "2:16-18 primary expression type 'symbol' lacks typeof serialization"],
  ])('objects and sets are refused in the words of nft: %s', (line, error) => {
    expect(errorsIn(`table ip t {\n${line}\n}\n`)[0]).toBe(error);
  });

  test('a line of a hook that is wrong says nothing of the chain', () => {
    const text = 'table ip t {\nchain c {\ntype filter hook input priority dstnat + ;\n}\n}\n';
    expect(errorsIn(text)).toEqual(['3:42-42 syntax error, unexpected semicolon, expecting number']);
  });

  test.each([
    [
      'type ipv4_addr\nelements = { foo, 1.1.1.1 counter }',
      '4:14-16 Could not resolve hostname: Name or service not known',
    ],
    ['type ipv4_addr\nelements = { 1.1.1.1 counter, foo }', '4:22-28 missing statement in set declaration'],
    [
      'type ipv4_addr\ncounter\ncounter\nelements = { 1.1.1.1 counter }',
      '6:14-20 number of statements mismatch, set expects 2 but element has 1',
    ],
    [
      'type ipv4_addr\nlimit rate 1/second\nelements = { 1.1.1.1 counter }',
      '5:22-28 statement mismatch, element expects counter, but set has type limit',
    ],
    ['type ipv4_addr\nelements = { 1.1.1.1 : 5 }', '2:5-5 set is not a map'],
    [
      'type integer\nelements = { foo }',
      '2:5-5 unqualified type integer specified in set definition. Try "typeof expression" instead of "type datatype".',
    ],
  ])('the elements of a set are looked at one after the other: %j', (lines, error) => {
    expect(errorsIn(`table ip t {\nset s {\n${lines}\n}\n}\n`)).toEqual([error]);
  });

  test('states of connections have to fit the protocol', () => {
    const text = 'table ip t {\nct timeout x {\nprotocol udp\npolicy = { established : 5 }\n}\n}\n';
    expect(errorsIn(text)).toEqual(['4:12-22 invalid state for this protocol']);
  });
});
