import type { Namespace } from '../machine/state.ts';
import { NF_ACCEPT, NF_DROP } from '../nf_tables/expressions/type.ts';
import { type ChainPath, runChain } from '../packets/chain.ts';
import { type BuiltIn, INPUT, natChains, OUTPUT, POSTROUTING, PREROUTING } from '../packets/hooks.ts';
import type { Packet } from '../packets/packet.ts';
import { isDone, type Manip, setUp, translate } from './nat.ts';
import { IPS_CONFIRMED } from './state.ts';
import { confirm, track } from './track.ts';

const CONNTRACK_PRIORITY = -200;
const DNAT_PRIORITY = -100;
const SNAT_PRIORITY = 100;
const CONFIRM_PRIORITY = 0x7fffffff;

/** The hooks of connection tracking and NAT for one family, where rules of the namespace have switched them on. */
export function connectionHooks(path: ChainPath, family: number): BuiltIn[] {
  const { namespace } = path;
  if (!tracks(namespace, family)) return [];
  const at = (hook: number, priority: number, run: (packet: Packet) => number): BuiltIn => ({
    family,
    hook,
    priority,
    run,
  });
  const tracked = (hook: number) => at(hook, CONNTRACK_PRIORITY, packet => look(path, packet, hook === PREROUTING));
  const confirmed = (hook: number) => at(hook, CONFIRM_PRIORITY, packet => end(path, packet));
  const hooks = [tracked(PREROUTING), tracked(OUTPUT), confirmed(INPUT), confirmed(POSTROUTING)];
  if (![PREROUTING, INPUT, OUTPUT, POSTROUTING].some(hook => natChains(namespace, family, hook).length > 0))
    return hooks;
  const translated = (hook: number, priority: number) =>
    at(hook, priority, packet => rewrite(path, family, hook, packet));
  return [
    ...hooks,
    translated(PREROUTING, DNAT_PRIORITY),
    translated(OUTPUT, DNAT_PRIORITY),
    translated(INPUT, SNAT_PRIORITY),
    translated(POSTROUTING, SNAT_PRIORITY),
  ];
}

function look({ namespace, engine }: ChainPath, packet: Packet, checks: boolean): number {
  if (packet.tracked === undefined && !packet.untracked) packet.tracked = track(namespace, packet, engine.now, checks);
  return NF_ACCEPT;
}

function end({ namespace, engine }: ChainPath, { tracked }: Packet): number {
  if (tracked === undefined || tracked.state === 'related') return NF_ACCEPT;
  return confirm(namespace, tracked, engine.now) ? NF_ACCEPT : NF_DROP;
}

/** The hook of NAT: chains are asked for the first packet of a connection, and later packets are rewritten as it was (nf_nat_inet_fn). */
function rewrite(path: ChainPath, family: number, hook: number, packet: Packet): number {
  const { namespace } = path;
  const { tracked } = packet;
  if (tracked === undefined) return NF_ACCEPT;
  const manip: Manip = hook === POSTROUTING || hook === INPUT ? 'source' : 'destination';
  const { connection } = tracked;
  if (tracked.state === 'new' && (connection.status & IPS_CONFIRMED) === 0 && !isDone(connection, manip)) {
    for (const chain of natChains(namespace, family, hook)) {
      const verdict = runChain(path, chain, packet, { family, hook });
      if (verdict !== NF_ACCEPT) return verdict;
      if (isDone(connection, manip)) break;
    }
    if (!isDone(connection, manip)) setUp(namespace, connection, undefined, manip);
  }
  translate(packet, tracked, manip);
  return NF_ACCEPT;
}

/** Whether a rule of the namespace has switched connection tracking on, for a family. */
function tracks({ nfTables }: Namespace, family: number): boolean {
  for (const table of nfTables.tables) {
    if (table.family !== family && table.family !== 1) continue;
    for (const { rules } of table.chains)
      for (const { expressions } of rules) if (expressions.some(({ name }) => TRACKING.has(name))) return true;
  }
  return false;
}
const TRACKING = new Set(['ct', 'nat', 'masq', 'redir', 'connlimit', 'synproxy']);
