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
