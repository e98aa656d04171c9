import { NftSyntaxError, parseRuleset } from '../../../src/nftables/index.ts';
import { refuseControl, type Target } from './judge.ts';
import { makeText } from './others.ts';

const encode = (text: string): Uint8Array => new TextEncoder().encode(text);
const decode = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

/** An input has at most so many characters, and each makes few commands. */
const MOST_COMMANDS = 100_000;

/** A whole text of nft's language: it is commands, or an NftSyntaxError with one to ten errors. */
export const nftScript: Target = {
  name: 'text of a ruleset',
  weight: 4,
  seeds: [
    'table ip t {\n\tset s { type ipv4_addr . inet_service; flags interval; elements = { 10.0.0.1 . 22, 10.0.0.0/8 . 1-9 }; }\n\tchain c {\n\t\ttype filter hook input priority filter + 5; policy drop;\n\t\tip saddr . tcp dport @s accept\n\t\tjump { counter; drop; }\n\t}\n}\n',
    'define a = { 1, 2 }\nredefine a = 3; undefine b\ntable inet t { chain c { define p = 22\ntcp dport { $p, $a } accept\n}\n}\ninclude "x"\n',
    'add rule ip t c handle 4 counter; insert rule t c index 0 drop; replace rule t c handle 4 accept; delete rule t c handle 4\n',
    'add element t s { 1.1.1.1 counter timeout 1d2h comment "x" : 0x5, * : 2 }; flush ruleset ip6; rename chain t a b; list counters table ip t\n',
    'table t { ct helper h { type "ftp" protocol tcp; l3proto ip; }\nct timeout o { protocol udp; policy = { replied : 5s, unreplied : 3 }; }\ncounter k { packets 1 bytes 2; comment "c"; }\nquota q { over 5 mbytes used 1 bytes; }\n}',
    'map m { type mark : interval ipv4_addr; } # text\ntable netdev t { flowtable f { hook ingress priority -5; devices = { lo, "eth0" }; counter; }; chain c { type filter hook ingress devices = { lo } priority 0; }; }',
  ].map(encode),
  make: makeText,
  read(input, random) {
    const version = random.pick(['1.1.6', '1.0.6'] as const);
    const text = decode(input);
    try {
      const include = (pattern: string) => [{ name: pattern, text: text.slice(0, 40) }];
      const { nftables } = parseRuleset(text, { version, include, variables: { v: '5' } });
      if (nftables.length > MOST_COMMANDS) throw new Error(`${nftables.length} commands`);
    } catch (error) {
      if (!(error instanceof NftSyntaxError)) throw error;
      refuseControl(error.message);
      if (error.errors.length === 0 || error.errors.length > 10) throw new Error(`${error.errors.length} errors`);
    }
  },
};
