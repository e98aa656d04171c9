import { checkInteger, checkObject } from '../codec/index.ts';
import { rangeError, typeError } from '../errors.ts';
import type { Expression } from '../nf_tables/expression.ts';

/*
 * iptables-nft lists a table only if it knows all that is in it: matches and verdicts, and of targets none but those of xtables. A native `redir`
 * in `ip nat` makes it refuse the whole table, also to others (docker, kube-proxy).
 */

/** What a redirected packet's new port may be. */
export interface IptablesRedirect {
  /** 'ip' or 'ip6'. */
  family: 'ip' | 'ip6';
  /** The port, or the first and the last of a range; the packet's own where left out. */
  to?:
    | number
    | {
        /** The first port. */
        from: number;
        /** The local port, or a range. */
        to: number;
      };
  /** As iptables' --random: the port is chosen at random. */
  random?: boolean;
}

/**
 * Makes the end of a rule as `iptables -j REDIRECT --to-ports` (ip6tables for 'ip6') writes it: a counter, and the target of xtables.
 * For rules in tables that are shared with iptables-nft (`ip nat`, `ip6 nat`), which goes on listing them; in a table of your own, the native
 * `redir` is shorter. Put the matches before it, in any order: each as a comparison of a header's field or of meta data.
 * @param redirect family, port or ports, and whether the port is chosen at random
 * @throws TypeError, RangeError with the path of the bad field
 * @example
 * const { expressions } = compileRule({ family: 'ip', statements: [tcp.dport.eq(80)] });
 * const target = iptablesRedirect({ family: 'ip', to: 8080 });
 * tx.add({ rule: { family: 'ip', table: 'nat', chain: 'PREROUTING', expressions: [...expressions, ...target] } });
 */
export function iptablesRedirect(redirect: IptablesRedirect): Expression[] {
  checkObject(redirect, [], ['family', 'to', 'random']);
  const { family, to, random } = redirect;
  if (family !== 'ip' && family !== 'ip6') throw typeError(['family'], "'ip' or 'ip6'", family);
  const flags: ('ports-specified' | 'random')[] = [];
  let port = 0;
  let lastPort = 0;
  if (to !== undefined) {
    flags.push('ports-specified');
    if (typeof to === 'object' && to !== null) {
      checkObject(to, ['to'], ['from', 'to']);
      checkInteger(to.from, ['to', 'from'], 1, 65535);
      checkInteger(to.to, ['to', 'to'], 1, 65535);
      if (to.to < to.from) throw rangeError(['to', 'to'], 'a port that is not below the first one', to.to);
      port = to.from;
      lastPort = to.to;
    } else {
      checkInteger(to, ['to'], 1, 65535);
      port = to;
      lastPort = to;
    }
  }
  if (random) flags.push('random');
  return [{ counter: {} }, { target: { name: 'REDIRECT', revision: 0, info: { flags, port, lastPort } } }];
}

/** What `-j NFLOG` has. */
export interface IptablesNflog {
  /** 0 to 65535. */
  group: number;
  /** At most 127 bytes here; iptables itself takes 63. */
  prefix?: string;
  /** Bytes of the packet that are handed over (--nflog-size); all where left out. */
  bytes?: number;
  /** Packets that the kernel gathers before it wakes the listener (--nflog-threshold). */
  threshold?: number;
}

/**
 * Makes the end of a rule as `iptables -j NFLOG` writes it: a counter and the native log.
 * iptables-nft lists it as NFLOG as long as no verdict stands in the same rule.
 * @param log group, prefix, bytes and threshold
 * @throws TypeError, RangeError with the path of the bad field
 * @example
 * tx.add({ rule: { family: 'ip', table: 'filter', chain: 'INPUT', expressions: iptablesNflog({ group: 5, prefix: 'web1 ' }) } });
 */
export function iptablesNflog(log: IptablesNflog): Expression[] {
  checkObject(log, [], ['group', 'prefix', 'bytes', 'threshold']);
  const { group, prefix, bytes, threshold } = log;
  checkInteger(group, ['group'], 0, 65535);
  return [
    { counter: {} },
    {
      log: {
        group,
        ...(prefix === undefined ? {} : { prefix }),
        ...(bytes === undefined ? {} : { snaplen: bytes }),
        ...(threshold === undefined ? {} : { queueThreshold: threshold }),
      },
    },
  ];
}
